// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	dnsLabel    = `[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?`
	dnsNameRE   = regexp.MustCompile(`^` + dnsLabel + `(?:\.` + dnsLabel + `)*$`)
	configIDRE  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]+$`)
	storageIDRE = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]$`)
	tagRE       = regexp.MustCompile(`^(?i:[a-z0-9_][a-z0-9_\-+.]*)$`)
	vmidRE      = regexp.MustCompile(`^[1-9][0-9]{2,8}$`)
	macRE       = regexp.MustCompile(`^[a-fA-F0-9][02468aceACE][:a-fA-F0-9]{15}$`)
	macFormRE   = regexp.MustCompile(`^[a-fA-F0-9]{2}(?::[a-fA-F0-9]{2}){5}$`)
	volumeIDRE  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]:.+$`)
	diskSizeRE  = regexp.MustCompile(`^\d+(?:\.\d+)?[KMGT]?$`)
	userIDRE    = regexp.MustCompile(`^[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+$`)
	startupRE   = regexp.MustCompile(`^(?:order=\d+|\d+|up=\d+|down=\d+)$`)
	tokenRE     = regexp.MustCompile(`^[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+![A-Za-z][A-Za-z0-9.\-_]+$`)
	ifaceRE     = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{1,20}(?:[:.]\d+)?$`)
)

// formatChecks are the named formats: each returns what is wrong, or "". Where
// a message ends without a line break, checkFormat appends it, as Perl's die.
var formatChecks = map[string]func(string) string{
	"pve-vmid":          match(vmidRE, "value does not look like a valid VM ID"),
	"pve-node":          match(dnsNameRE, "value does not look like a valid node name"),
	"dns-name":          match(dnsNameRE, "value does not look like a valid DNS name"),
	"pve-configid":      match(configIDRE, "invalid configuration ID"),
	"pve-storage-id":    match(storageIDRE, "storage ID contains illegal characters"),
	"pve-userid":        match(userIDRE, "value does not look like a valid user name"),
	"pve-tokenid":       match(tokenRE, "value does not look like a valid token ID"),
	"pve-poolid":        match(regexp.MustCompile(`^[A-Za-z0-9.\-_]+(?:/[A-Za-z0-9.\-_]+){0,2}$`), "value does not look like a valid pool name"),
	"pve-iface":         match(ifaceRE, "invalid network interface name"),
	"mac-addr":          checkMAC,
	"disk-size":         match(diskSizeRE, "value does not look like a valid disk size"),
	"pve-volume-id":     match(volumeIDRE, "unable to parse volume ID"),
	"ipv4":              checkIP(true, false, "value does not look like a valid IPv4 address"),
	"ipv6":              checkIP(false, true, "value does not look like a valid IPv6 address"),
	"address":           checkAddress,
	"CIDR":              checkCIDR,
	"pve-ipv4-config":   checkIPConfig(true),
	"pve-ipv6-config":   checkIPConfig(false),
	"urlencoded":        checkURLEncoded,
	"pve-tag":           match(tagRE, "invalid characters in tag"),
	"pve-startup-order": checkStartup,
	"lxc-mp-path":       checkMountPath,
	"lxc-ip-with-ll-iface": func(v string) string {
		host, _, _ := strings.Cut(v, "%")
		return checkIP(true, true, "value does not look like a valid IP address")(host)
	},
	"pve-lxc-dev-string": match(regexp.MustCompile(`^/dev/\S+$`), "not a valid device string"),
	"pve-hotplug-features": func(v string) string {
		for _, f := range strings.FieldsFunc(v, isListSeparator) {
			switch f {
			case "network", "disk", "cpu", "memory", "usb", "cloudinit", "0", "1":
			default:
				return "unable to parse hotplug option"
			}
		}
		return ""
	},
	"pve-lxc-mp-string": func(v string) string {
		if strings.HasPrefix(v, "/") || volumeIDRE.MatchString(v) {
			return ""
		}
		return "unable to parse lxc mount point"
	},
	"pve-volume-id-or-qm-path": func(v string) string {
		if v == "none" || v == "cdrom" || strings.HasPrefix(v, "/") || volumeIDRE.MatchString(v) {
			return ""
		}
		return "unable to parse volume ID '" + v + "'"
	},
}

func isListSeparator(r rune) bool {
	return r == ',' || r == ';' || r == ' ' || r == 0 || r == '\n' || r == '\t'
}

// checkFormat tests a value against a named format, a list of it ("-list"), or
// a property string: one that the schema names itself, or the one of its option.
func checkFormat(format, kind, option, path, value string) string {
	if check, ok := formatChecks[format]; ok {
		if problem := check(value); problem != "" {
			return problem + "\n"
		}
		return ""
	}
	if single, isList := strings.CutSuffix(format, "-list"); isList {
		check := formatChecks[single]
		for _, item := range strings.FieldsFunc(value, isListSeparator) {
			if check == nil {
				break
			}
			if problem := check(item); problem != "" {
				return problem + "\n"
			}
		}
		return ""
	}
	name := format
	if format == "property-string" {
		name = kind + "." + option
	}
	f, ok := parsedFormats()[name]
	if !ok {
		return ""
	}
	_, problem := f.parse(kind, path, value)
	return problem
}

func match(re *regexp.Regexp, problem string) func(string) string {
	return func(v string) string {
		if re.MatchString(v) {
			return ""
		}
		return problem
	}
}

func checkMAC(v string) string {
	if macRE.MatchString(v) && macFormRE.MatchString(v) {
		return ""
	}
	return "value does not look like a valid unicast MAC address"
}

func checkIP(v4, v6 bool, problem string) func(string) string {
	return func(v string) string {
		addr, err := netip.ParseAddr(v)
		if err != nil || (addr.Is4() && !v4) || (addr.Is6() && !v6) {
			return problem
		}
		return ""
	}
}

func checkAddress(v string) string {
	if _, err := netip.ParseAddr(v); err == nil || dnsNameRE.MatchString(v) {
		return ""
	}
	return "value does not look like a valid address"
}

func checkCIDR(v string) string {
	if _, err := netip.ParsePrefix(v); err != nil {
		return "value does not look like a valid CIDR network"
	}
	return ""
}

func checkIPConfig(v4 bool) func(string) string {
	return func(v string) string {
		family := "ipv6"
		if v4 {
			family = "ipv4"
		}
		if v == "dhcp" || v == "manual" || (v == "auto" && !v4) {
			return ""
		}
		prefix, err := netip.ParsePrefix(v)
		if err == nil && prefix.Addr().Is4() == v4 {
			return ""
		}
		return fmt.Sprintf("value does not look like a valid %s network configuration", family)
	}
}

func checkURLEncoded(v string) string {
	for _, r := range v {
		if r != '%' && !strings.ContainsRune("-_.!~*'()", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return "invalid urlencoded string"
		}
	}
	plain, err := url.PathUnescape(v)
	if err != nil {
		return "invalid urlencoded string"
	}
	for _, line := range strings.Split(strings.TrimSpace(plain), "\n") {
		if problem := checkSSHKey(line); problem != "" {
			return problem
		}
	}
	return ""
}

// checkSSHKey accepts empty lines, comments and lines with a decodable key.
func checkSSHKey(line string) string {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return ""
	}
	for _, field := range strings.Fields(line) {
		if blob, err := base64.StdEncoding.DecodeString(field); err == nil && len(blob) > 16 {
			return ""
		}
	}
	return "SSH public key validation error"
}

func checkStartup(v string) string {
	for _, part := range strings.Split(v, ",") {
		if !startupRE.MatchString(part) {
			return "unable to parse startup options"
		}
	}
	return ""
}

func checkMountPath(v string) string {
	if !strings.HasPrefix(v, "/") || strings.Contains(v, "/../") || strings.HasSuffix(v, "/..") {
		return "value does not look like a valid mount point path"
	}
	return ""
}

// parseSize reads a size as Proxmox writes it (4M, 8G, 1.5G, bytes).
func parseSize(text string) (int64, bool) {
	if !diskSizeRE.MatchString(text) {
		return 0, false
	}
	unit := int64(1)
	if i := strings.IndexByte("KMGT", text[len(text)-1]); i >= 0 {
		unit = 1 << (10 * (i + 1))
		text = text[:len(text)-1]
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, false
	}
	return int64(n * float64(unit)), true
}

// formatSize writes bytes as Proxmox does: the largest unit that is exact.
func formatSize(n int64) string {
	for i := 4; i > 0; i-- {
		if unit := int64(1) << (10 * i); n >= unit && n%unit == 0 {
			return strconv.FormatInt(n/unit, 10) + string(" KMGT"[i])
		}
	}
	return strconv.FormatInt(n, 10)
}
