// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"strconv"
	"strings"
)

// names makes a set of a list.
func names(list string) map[string]bool {
	out := map[string]bool{}
	for _, name := range strings.Fields(list) {
		out[name] = true
	}
	return out
}

var (
	icmpTypes = names(`any echo-reply destination-unreachable network-unreachable host-unreachable protocol-unreachable
		port-unreachable fragmentation-needed source-route-failed network-unknown host-unknown network-prohibited host-prohibited
		TOS-network-unreachable TOS-host-unreachable communication-prohibited host-precedence-violation precedence-cutoff
		source-quench redirect network-redirect host-redirect TOS-network-redirect TOS-host-redirect echo-request
		router-advertisement router-solicitation time-exceeded ttl-zero-during-transit ttl-zero-during-reassembly
		parameter-problem ip-header-bad required-option-missing timestamp-request timestamp-reply address-mask-request address-mask-reply`)
	icmpv6Types = names(`destination-unreachable no-route communication-prohibited beyond-scope address-unreachable port-unreachable
		failed-policy reject-route packet-too-big time-exceeded ttl-zero-during-transit ttl-zero-during-reassembly parameter-problem
		bad-header unknown-header-type unknown-option echo-request echo-reply router-solicitation router-advertisement
		neighbor-solicitation neighbour-solicitation neighbor-advertisement neighbour-advertisement redirect`)
	// protocolNames are those of /etc/protocols that people write in rules.
	protocolNames = names(`ip icmp igmp ggp ipencap st tcp egp igp pup udp hmp xns-idp rdp iso-tp4 dccp xtp ddp idpr-cmtp ipv6
		ipv6-route ipv6-frag idrp rsvp gre esp ah skip ipv6-icmp icmpv6 ipv6-nonxt ipv6-opts rspf vmtp eigrp ospf ax.25 ipip
		etherip encap pim ipcomp vrrp l2tp isis sctp fc mobility-header udplite mpls-in-ip hip shim6 wesp rohc`)
	conntrackHelpers = names("amanda ftp irc netbios-ns pptp sane sip snmp tftp")

	// servicePorts are those of /etc/services that people write in rules.
	servicePorts = map[string]int{
		"ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37, "whois": 43, "domain": 53, "bootps": 67, "bootpc": 68,
		"tftp": 69, "finger": 79, "http": 80, "kerberos": 88, "pop3": 110, "sunrpc": 111, "auth": 113, "nntp": 119, "ntp": 123,
		"epmap": 135, "netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap2": 143, "snmp": 161, "snmp-trap": 162, "bgp": 179,
		"irc": 194, "ldap": 389, "https": 443, "microsoft-ds": 445, "submissions": 465, "isakmp": 500, "syslog": 514, "printer": 515,
		"submission": 587, "ipp": 631, "ldaps": 636, "domain-s": 853, "rsync": 873, "imaps": 993, "pop3s": 995, "openvpn": 1194,
		"ms-sql-s": 1433, "radius": 1812, "radius-acct": 1813, "nfs": 2049, "iscsi-target": 3260, "mysql": 3306, "ms-wbt-server": 3389,
		"nut": 3493, "svn": 3690, "epmd": 4369, "ipsec-nat-t": 4500, "sip": 5060, "sip-tls": 5061, "xmpp-client": 5222, "xmpp-server": 5269,
		"mdns": 5353, "postgresql": 5432, "amqp": 5672, "x11": 6000, "redis": 6379, "git": 9418, "http-alt": 8080,
	}
)

// parsePorts says what is wrong with a list of ports; icmp allows the names
// that ICMP types had when they stood in dport.
func parsePorts(value string, icmp bool) string {
	items := strings.Split(value, ",")
	count, isType := 0, false
	for _, item := range items {
		m := portRangeRE.FindStringSubmatch(item)
		number, err := strconv.Atoi(item)
		switch {
		case item == "":
			return "extraneous commas in list"
		case m != nil:
			count += 2
			if problem := portRange(m[1], m[2]); problem != "" {
				return problem
			}
		case err == nil && number >= 0:
			count++
			if number > 65535 {
				return fmt.Sprintf("invalid port '%s'", item)
			}
		case icmp && (icmpTypes[item] || icmpv6Types[item]):
			isType = true
		case servicePorts[item] == 0:
			return fmt.Sprintf("invalid port '%s'", item)
		}
	}
	switch {
	case isType && count > 0:
		return "ICMP ports not allowed in port range"
	case count > 15:
		return "too many entries in port list (> 15 numbers)"
	}
	return ""
}

func portRange(from, to string) string {
	for _, port := range []string{from, to} {
		if len(port) > 5 || atoi(port) > 65535 {
			return fmt.Sprintf("invalid port '%s'", port)
		}
	}
	if atoi(from) > atoi(to) {
		return fmt.Sprintf("backwards range '%s:%s' not allowed, did you mean '%s:%s'?", from, to, to, from)
	}
	return ""
}

func checkProtocol(proto string) string {
	number, err := strconv.Atoi(proto)
	if proto == "" || protocolNames[proto] || (err == nil && number >= 0 && number < 256) {
		return ""
	}
	return fmt.Sprintf("unknown protocol '%s'", proto)
}

func checkICMPType(name string) string {
	if name == "" || icmpTypes[name] || icmpv6Types[name] {
		return ""
	}
	return fmt.Sprintf("invalid icmp-type value '%s'", name)
}
