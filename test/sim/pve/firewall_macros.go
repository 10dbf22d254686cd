// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"strings"
	"sync"
)

// macroTable are Proxmox's macros: a name, then PROTO[/DPORT[/SPORT]] for each
// rule that it stands for.
const macroTable = `Amanda udp/10080 tcp/10080
Auth tcp/113
BGP tcp/179
BitTorrent tcp/6881:6889 udp/6881
BitTorrent32 tcp/6881:6999 udp/6881
CVS tcp/2401
Ceph tcp/6789 tcp/3300 tcp/6800:7300
Citrix tcp/1494 udp/1604 tcp/2598
DAAP tcp/3689 udp/3689
DCC tcp/6277
DHCPfwd udp/67:68/67:68
DHCPv6 udp/546:547/546:547
DNS udp/53 tcp/53
Distcc tcp/3632
FTP tcp/21
Finger tcp/79
GNUnet tcp/2086 udp/2086 tcp/1080 udp/1080
GRE 47
Git tcp/9418
HKP tcp/11371
HTTP tcp/80
HTTPS tcp/443
ICPV2 udp/3130
ICQ tcp/5190
IMAP tcp/143
IMAPS tcp/993
IPIP 94
IPsec udp/500/500 50
IPsecah udp/500/500 51
IPsecnat udp/500 udp/4500 50
IRC tcp/6667
Jetdirect tcp/9100
L2TP udp/1701
LDAP tcp/389
LDAPS tcp/636
MDNS udp/5353
MSNP tcp/1863
MSSQL tcp/1433
Mail tcp/25 tcp/465 tcp/587
Munin tcp/4949
MySQL tcp/3306
NNTP tcp/119
NNTPS tcp/563
NTP udp/123
NeighborDiscovery icmpv6/router-solicitation icmpv6/router-advertisement icmpv6/neighbor-solicitation icmpv6/neighbor-advertisement
OSPF 89
OpenVPN udp/1194
PCA udp/5632 tcp/5631
PMG tcp/8006
POP3 tcp/110
POP3S tcp/995
PPtP 47 tcp/1723
Ping icmp/echo-request
PostgreSQL tcp/5432
Printer tcp/515
RDP tcp/3389
RIP udp/520
RNDC tcp/953
Razor tcp/2703
Rdate tcp/37
Rsync tcp/873
SANE tcp/6566
SMB udp/135 udp/137:139 udp/1024:65535/137 tcp/135
SMBswat tcp/901
SMTP tcp/25
SMTPS tcp/465
SNMP udp/161:162 tcp/161
SPAMD tcp/783
SPICEproxy tcp/3128
SSH tcp/22
SVN tcp/3690
SixXS tcp/3874 udp/3740 41 udp/5072
Squid tcp/3128
Submission tcp/587
Syslog udp/514 tcp/514
TFTP udp/69
Telnet tcp/23
Telnets tcp/992
Time tcp/37
Trcrt udp/33434:33524 icmp/echo-request
VNC tcp/5900:5999
VNCL tcp/5500
Web tcp/80 tcp/443
Webcache tcp/8080
Webmin tcp/10000
Whois tcp/43`

// MacroPart is one of the rules that a macro stands for.
type MacroPart struct {
	// Proto is a name or a number.
	Proto string
	// DPort and SPort are ports or ranges "from:to"; "" is any.
	DPort, SPort string
	// ICMPType is set instead of DPort where Proto is icmp or icmpv6.
	ICMPType string
}

func (p MacroPart) dport() string { return first(p.DPort, p.ICMPType) }

type fwMacro struct {
	name string
	all  []MacroPart
}

var loadMacros = sync.OnceValue(func() []*fwMacro {
	var out []*fwMacro
	for _, line := range strings.Split(macroTable, "\n") {
		fields := strings.Fields(line)
		m := &fwMacro{name: fields[0]}
		for _, field := range fields[1:] {
			parts := append(strings.Split(field, "/"), "", "")
			part := MacroPart{Proto: parts[0], DPort: parts[1], SPort: parts[2]}
			if isICMP(part.Proto) {
				part.DPort, part.ICMPType = "", part.DPort
			}
			m.all = append(m.all, part)
		}
		out = append(out, m)
	}
	return out
})

// findMacro returns a macro by its name in any case, or nil.
func findMacro(name string) *fwMacro {
	for _, m := range loadMacros() {
		if strings.EqualFold(m.name, name) {
			return m
		}
	}
	return nil
}

// parts are a macro's rules for an IP version (0: either).
func (m *fwMacro) parts(version int) []MacroPart {
	var out []MacroPart
	for _, part := range m.all {
		if part.Proto == "icmp" && version == 6 {
			part.Proto = "icmpv6"
		}
		out = append(out, part)
	}
	return out
}

// Macro returns the rules that a macro stands for in an IP version (4, 6, or 0
// for either), nil when there is no such macro. A rule's own ports and protocol
// add to them.
func Macro(name string, version int) []MacroPart {
	if m := findMacro(name); m != nil {
		return m.parts(version)
	}
	return nil
}

// listMacros lists the macros. Proxmox describes most of them in a phrase; here
// each is described by its name, as Proxmox does where it has no phrase.
func listMacros(*fwCall) (any, error) {
	rows := []map[string]any{}
	for _, m := range loadMacros() {
		rows = append(rows, map[string]any{"macro": m.name, "descr": m.name})
	}
	return rows, nil
}
