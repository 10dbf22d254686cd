// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func (c *dnsConf) hostRecord(arg string) string {
	line := hostLine{}
	var addresses []netip.Addr
	for i, word := range strings.Split(arg, ",") {
		word = strings.TrimSpace(word)
		if addr, err := netip.ParseAddr(word); err == nil {
			addresses = append(addresses, addr)
			continue
		}
		if _, err := strconv.Atoi(word); err == nil && i > 0 {
			continue // its time to live
		}
		name, ok := domainName(word)
		if !ok {
			return "bad name in host-record"
		}
		line.names = append(line.names, name)
	}
	if len(line.names) == 0 || len(addresses) == 0 {
		return "bad host-record"
	}
	for _, addr := range addresses {
		c.names = append(c.names, hostLine{addr, line.names})
	}
	return ""
}

func (c *dnsConf) cname(arg string) string {
	words := strings.Split(arg, ",")
	if _, err := strconv.Atoi(words[len(words)-1]); err == nil && len(words) > 2 {
		words = words[:len(words)-1] // its time to live
	}
	if len(words) < 2 {
		return "bad CNAME"
	}
	target, ok := domainName(strings.TrimSpace(words[len(words)-1]))
	if !ok {
		return "bad CNAME"
	}
	for _, word := range words[:len(words)-1] {
		alias, ok := domainName(strings.TrimSpace(word))
		switch {
		case !ok || alias == target:
			return "bad CNAME"
		case c.cnames[alias] != "":
			return "duplicate CNAME"
		}
		c.cnames[alias] = target
	}
	return ""
}

func (c *dnsConf) srv(arg string) string {
	words := strings.Split(arg, ",")
	name, ok := domainName(words[0])
	if !ok || len(words) > 5 {
		return "bad SRV record"
	}
	target, numbers := ".", []int{1, 0, 0}
	if len(words) > 1 && words[1] != "" {
		if target, ok = domainName(words[1]); !ok {
			return "bad SRV target"
		}
		target += "."
	}
	for i, word := range words[min(2, len(words)):] {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n > 65535 {
			return []string{"invalid port number", "invalid priority", "invalid weight"}[i]
		}
		numbers[i] = n
	}
	c.records = append(c.records, record{name, "SRV", fmt.Sprintf("%d %d %d %s", numbers[1], numbers[2], numbers[0], target)})
	return ""
}

func (c *dnsConf) txt(arg string) string {
	words := strings.Split(arg, ",")
	name, ok := domainName(words[0])
	if !ok {
		return "bad TXT record"
	}
	var parts []string
	for _, word := range words[1:] {
		word = reveal(word)
		if len(word) > 255 {
			return "bad TXT record"
		}
		parts = append(parts, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word)+`"`)
	}
	if len(parts) == 0 {
		parts = []string{`""`}
	}
	c.records = append(c.records, record{name, "TXT", strings.Join(parts, " ")})
	return ""
}

func (c *dnsConf) ptr(arg string) string {
	words := strings.Split(arg, ",")
	name, ok := domainName(words[0])
	if !ok || len(words) > 2 {
		return "bad PTR record"
	}
	target := ""
	if len(words) == 2 {
		if target, ok = domainName(words[1]); !ok {
			return "bad PTR record"
		}
	}
	c.records = append(c.records, record{name, "PTR", target + "."})
	return ""
}

var (
	leaseTime  = regexp.MustCompile(`^(?:\d+[smhdwSMHDW]?|infinite|deprecated)$`)
	macAddress = regexp.MustCompile(`^(?:[0-9A-Fa-f*]{1,2}(?::[0-9A-Fa-f*]{1,2}){5})$`)
	dhcpTag    = regexp.MustCompile(`^(?:tag|set|net|interface|constructor):.+$`)
	optionName = regexp.MustCompile(`^(?:option6?:[a-z0-9-]+|\d{1,3})$`)
)

// dhcpRange is [tag:x,]START[,END|mode][,netmask[,broadcast]][,lease].
func (c *dnsConf) dhcpRange(arg string) string {
	words := strings.Split(arg, ",")
	for len(words) > 0 && dhcpTag.MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) == 0 {
		return "bad dhcp-range"
	}
	start, err := netip.ParseAddr(words[0])
	if err != nil {
		return "bad dhcp-range"
	}
	if len(words) == 1 {
		return "bad dhcp-range"
	}
	modes := []string{"static", "proxy", "ra-only", "slaac", "ra-names", "ra-stateless", "ra-advrouter", "off-link"}
	for i, word := range words[1:] {
		addr, err := netip.ParseAddr(word)
		switch {
		case err == nil && i == 0 && (addr.Is4() != start.Is4() || addr.Less(start)):
			return "inconsistent DHCP range"
		case err == nil, slices.Contains(modes, word), leaseTime.MatchString(word), dhcpTag.MatchString(word):
		default:
			return "bad dhcp-range"
		}
	}
	c.ranges++
	return ""
}

// dhcpHost is [MAC,...][,id:x][,set:tag][,address][,name][,lease][,ignore].
func dhcpHost(_ *dnsConf, arg string) string {
	for _, word := range strings.Split(arg, ",") {
		word = strings.TrimSpace(word)
		if strings.HasPrefix(word, "id:") || dhcpTag.MatchString(word) || word == "ignore" || leaseTime.MatchString(word) {
			continue
		}
		if _, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
			continue
		}
		if strings.Contains(word, ":") {
			if !macAddress.MatchString(word) {
				return "bad hex constant"
			}
			continue
		}
		if _, ok := domainName(word); !ok {
			return "bad DHCP host name"
		}
	}
	return ""
}

func dhcpOption(_ *dnsConf, arg string) string {
	words := strings.Split(arg, ",")
	for len(words) > 0 && (dhcpTag.MatchString(words[0]) || strings.HasPrefix(words[0], "encap:") || strings.HasPrefix(words[0], "vendor:")) {
		words = words[1:]
	}
	if len(words) == 0 || !optionName.MatchString(words[0]) {
		return "bad dhcp-option"
	}
	return ""
}
