// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"strings"
	"testing"
)

// The smallest HostServices that are right.
const (
	dnsmasq = `
kind: HostService
spec:
  hostRef: {name: phoenix}
  dnsmasq: {listenAddresses: [10.0.0.13]}`
	firewall = `
kind: HostService
spec:
  hostRef: {name: phoenix}
  firewall: {}`
	nfs = `
kind: HostService
spec:
  hostRef: {name: phoenix}
  nfs: {exports: [{name: data, path: /srv/data, clients: [{cidr: 10.0.0.0/24}]}]}`
)

func TestHostServiceRefused(t *testing.T) {
	t.Parallel()
	checkRefused(t, dnsmasq, []refused{
		{"no machine", `hostRef: null`, "spec", "exactly one of hostRef and guestRef"},
		{"two machines", `guestRef: {name: a}`, "spec", "exactly one of hostRef and guestRef"},
		{"a node of a guest", `{hostRef: null, guestRef: {name: a}, node: pve1}`, "node", "belongs to hostRef"},
		{"a node by its DNS name", `node: pve1.lan`, "spec.node", "letters, digits and -"},
		{"no service", `dnsmasq: null`, "spec", "exactly one of dnsmasq, docker, firewall, nfs, nginx, portainer, portainerAgent, stepCA and traefik"},
		{"two services", `firewall: {}`, "spec", "exactly one of dnsmasq, docker, firewall, nfs, nginx, portainer, portainerAgent, stepCA and traefik"},
		{"an unknown service", `bind9: {}`, "spec.bind9", "unknown field"},
	})
}

func TestDnsmasqRefused(t *testing.T) {
	t.Parallel()
	checkRefused(t, dnsmasq, []refused{
		{"nowhere to listen", `dnsmasq: {listenAddresses: []}`, "spec.dnsmasq.listenAddresses", "at least 1 items"},
		{"listening by an interface's name", `dnsmasq: {listenAddresses: [vmbr0]}`, "spec.dnsmasq.listenAddresses[0]", "for example 10.0.0.13"},
		{"listening everywhere", `dnsmasq: {listenAddresses: ["0.0.0.0"]}`, "spec.dnsmasq.listenAddresses[0]", "IP address of the machine"},
		{"an upstream by name", `dnsmasq: {upstreams: [dns.quad9.net]}`, "spec.dnsmasq.upstreams[0]", "for example 9.9.9.9"},
		{"itself as upstream", `dnsmasq: {upstreams: [10.0.0.13]}`, "spec.dnsmasq", "dnsmasq would ask itself"},
		{"itself as upstream by loopback", `dnsmasq: {upstreams: [127.0.0.1]}`, "spec.dnsmasq.upstreams[0]", "another machine"},
		{"itself for a zone", `dnsmasq: {zones: [{domain: example.org, servers: [10.0.0.13]}]}`, "spec.dnsmasq", "dnsmasq would ask itself"},
		{"a zone without servers", `dnsmasq: {zones: [{domain: example.org, servers: []}]}`, "spec.dnsmasq.zones[0].servers", "at least 1 items"},
		{"a zone twice", `dnsmasq: {zones: [{domain: a.org, servers: [9.9.9.9]}, {domain: a.org, servers: [9.9.9.10]}]}`, "spec.dnsmasq.zones[1]", "Duplicate value"},
		{"a domain in capitals", `dnsmasq: {domain: LAN}`, "spec.dnsmasq.domain", "lower case"},
		{"a domain that would end its line", `dnsmasq: {domain: "lan\naddress=/#/1.2.3.4"}`, "spec.dnsmasq.domain", "DNS domain"},
		{"a record of nothing", `dnsmasq: {records: [{name: nas}]}`, "spec.dnsmasq.records[0]", "exactly one of addresses, cname, text and srv"},
		{"a record of two types", `dnsmasq: {records: [{name: nas, addresses: [10.0.0.9], cname: x}]}`, "spec.dnsmasq.records[0]", "exactly one"},
		{"a record's address with a prefix", `dnsmasq: {records: [{name: nas, addresses: [10.0.0.9/24]}]}`, "spec.dnsmasq.records[0].addresses[0]", "for example 10.0.0.20"},
		{"a name that would be an option", `dnsmasq: {records: [{name: "x\naddress=/#/1.2.3.4", addresses: [10.0.0.9]}]}`, "spec.dnsmasq.records[0].name", "DNS name in lower case"},
		{"a name that a shell would run", `dnsmasq: {records: [{name: "$(reboot)", addresses: [10.0.0.9]}]}`, "spec.dnsmasq.records[0].name", "DNS name in lower case"},
		{"a name with an empty label", `dnsmasq: {records: [{name: "a..b", addresses: [10.0.0.9]}]}`, "spec.dnsmasq.records[0].name", "for example nas"},
		{"a name that begins like an option", `dnsmasq: {records: [{name: "-x", addresses: [10.0.0.9]}]}`, "spec.dnsmasq.records[0].name", "DNS name"},
		{"a wildcard, which subdomains is for", `dnsmasq: {records: [{name: "*.apps", addresses: [10.0.0.9]}]}`, "spec.dnsmasq.records[0].name", "DNS name"},
		{"sub-domains of a cname", `dnsmasq: {records: [{name: www, cname: nginx, subdomains: true}]}`, "spec.dnsmasq.records[0]", "subdomains belongs to addresses"},
		{"a text with a quote", `dnsmasq: {records: [{name: txt, text: ['a"b']}]}`, "spec.dnsmasq.records[0].text[0]", "without the double quote"},
		{"a text of two lines", `dnsmasq: {records: [{name: txt, text: ["a\nport=0"]}]}`, "spec.dnsmasq.records[0].text[0]", "printable ASCII"},
		{"an srv record without a service", `dnsmasq: {records: [{name: ldap, srv: {target: nas, port: 389}}]}`, "spec.dnsmasq.records[0]", "for example _ldap._tcp"},
		{"an srv record without a port", `dnsmasq: {records: [{name: _ldap._tcp, srv: {target: nas}}]}`, "spec.dnsmasq.records[0].srv.port", "Required value"},
		{"a lease that ends at once", `dnsmasq: {dhcp: {ranges: [{first: 10.0.0.200, last: 10.0.0.250, lease: 1s}]}}`, "spec.dnsmasq.dhcp.ranges[0].lease", "from 2m to 8760h"},
		{"a range of IPv6", `dnsmasq: {dhcp: {ranges: [{first: "fd00::1", last: "fd00::9"}]}}`, "spec.dnsmasq.dhcp.ranges[0].first", "IPv4 address"},
		{"a reservation of an address for two", `dnsmasq: {dhcp: {ranges: [{first: 10.0.0.200, last: 10.0.0.250}], reservations: [{guestRef: {name: a}, address: 10.0.0.30}, {guestRef: {name: b}, address: 10.0.0.30}]}}`,
			"spec.dnsmasq.dhcp.reservations[1]", "Duplicate value"},
	})
}

func TestNFSRefused(t *testing.T) {
	t.Parallel()
	export := func(e string) string { return "nfs: {exports: [" + e + "]}" }
	checkRefused(t, nfs, []refused{
		{"no exports", `nfs: {exports: []}`, "spec.nfs.exports", "at least 1 items"},
		{"the whole machine", export(`{name: a, path: /, clients: [{cidr: 10.0.0.0/24}]}`), "spec.nfs.exports[0].path", "absolute and not /"},
		{"a way up", export(`{name: a, path: /srv/../etc, clients: [{cidr: 10.0.0.0/24}]}`), "spec.nfs.exports[0].path", "without '.' and '..'"},
		{"a path with a space, which ends it in /etc/exports", export(`{name: a, path: "/srv/a *(rw,no_root_squash)", clients: [{cidr: 10.0.0.0/24}]}`), "spec.nfs.exports[0].path", "for example /srv/data"},
		{"nobody may mount it", export(`{name: a, path: /srv/a, clients: []}`), "spec.nfs.exports[0].clients", "at least 1 items"},
		{"a client who is nobody", export(`{name: a, path: /srv/a, clients: [{readOnly: true}]}`), "spec.nfs.exports[0].clients[0]", "exactly one of guestRef and cidr"},
		{"a client by name", export(`{name: a, path: /srv/a, clients: [{cidr: "*"}]}`), "spec.nfs.exports[0].clients[0].cidr", "for example 10.0.0.0/24"},
		{"a network with host bits", export(`{name: a, path: /srv/a, clients: [{cidr: 10.0.0.7/24}]}`), "spec.nfs.exports[0].clients[0].cidr", "must be a network"},
		{"a mode of decimals", export(`{name: a, path: /srv/a, mode: "0789", clients: [{cidr: 10.0.0.0/24}]}`), "spec.nfs.exports[0].mode", "octal"},
		{"an owner with a colon", export(`{name: a, path: /srv/a, owner: "root:root", clients: [{cidr: 10.0.0.0/24}]}`), "spec.nfs.exports[0].owner", "name or number"},
		{"a directory twice", export(`{name: a, path: /srv/a, clients: [{cidr: 10.0.0.0/24}]}, {name: b, path: /srv/a, clients: [{cidr: 10.0.1.0/24}]}`), "spec.nfs.exports", "must differ from each other"},
		{"a directory within another", export(`{name: a, path: /srv/a, clients: [{cidr: 10.0.0.0/24}]}, {name: b, path: /srv/a/b, clients: [{cidr: 10.0.1.0/24}]}`), "spec.nfs.exports", "must not lie within another"},
		{"a name twice", export(`{name: a, path: /srv/a, clients: [{cidr: 10.0.0.0/24}]}, {name: a, path: /srv/b, clients: [{cidr: 10.0.1.0/24}]}`), "spec.nfs.exports[1]", "Duplicate value"},
		{"another server", `nfs: {server: unfs3}`, "spec.nfs.server", `"Kernel", "Ganesha"`},
		{"a squash by its option", export(`{name: a, path: /srv/a, clients: [{cidr: 10.0.0.0/24, squash: no_root_squash}]}`), "spec.nfs.exports[0].clients[0].squash", `"Root", "All", "None"`},
	})
	checkRefused(t, container, []refused{
		{"an NFS mount of a container", `nfsMounts: [{path: /mnt/a, export: {serviceRef: {name: nfs}, name: data}}]`, "nfsMounts", "give it mountPoints[].export"},
		{"an export and a volume", `mountPoints: [{path: /mnt/a, volume: {size: 1Gi}, export: {serviceRef: {name: nfs}, name: data}}]`, "spec.mountPoints[0]", "exactly one of volume, bind and export"},
		{"an export that is nobody's", `mountPoints: [{path: /mnt/a, export: {name: data}}]`, "spec.mountPoints[0].export.serviceRef", "Required value"},
	})
	checkRefused(t, vm, []refused{
		{"an NFS mount without the agent", `nfsMounts: [{path: /mnt/a, export: {serviceRef: {name: nfs}, name: data}}]`, "nfsMounts", "needs agent: true"},
		{"a mount over everything", `{agent: true, nfsMounts: [{path: /, export: {serviceRef: {name: nfs}, name: data}}]}`, "spec.nfsMounts[0].path", "absolute and not /"},
	})
	checkRefused(t, host, []refused{
		{"the whole node to export", `allow: {exportPaths: ["/"]}`, "spec.allow.exportPaths[0]", "absolute and not /"},
	})
}

func TestFirewallRefused(t *testing.T) {
	t.Parallel()
	rule := func(r string) string { return "firewall: {datacenter: {rules: [" + r + "]}}" }
	checkRefused(t, firewall, []refused{
		{"a firewall in a guest", `{hostRef: null, guestRef: {name: a}}`, "firewall", "hostRef without node"},
		{"a firewall of one node", `node: pve1`, "firewall", "hostRef without node"},
		{"flows that there are not", `firewall: {flows: Auto}`, "spec.firewall.flows", `"Derive", "None"`},
		{"a policy in capitals", `firewall: {datacenter: {policyIn: DROP}}`, "spec.firewall.datacenter.policyIn", `"Accept", "Drop", "Reject"`},
		{"a rule without an action", rule(`{protocol: tcp}`), "spec.firewall.datacenter.rules[0].action", "Required value"},
		{"ports without a protocol", rule(`{action: Accept, ports: "22"}`), "spec.firewall.datacenter.rules[0]", "need protocol: tcp, udp or sctp"},
		{"a macro with ports", rule(`{action: Accept, macro: SSH, protocol: tcp, ports: "22"}`), "spec.firewall.datacenter.rules[0]", "leave those out, or the macro"},
		{"a macro with a line break", rule(`{action: Accept, macro: "SSH\n|IN ACCEPT"}`), "spec.firewall.datacenter.rules[0].macro", "name of a Proxmox firewall macro"},
		{"ports with a space", rule(`{action: Accept, protocol: tcp, ports: "80, 443"}`), "spec.firewall.datacenter.rules[0].ports", "without spaces"},
		{"ports by name", rule(`{action: Accept, protocol: tcp, ports: https}`), "spec.firewall.datacenter.rules[0].ports", "for example 80,443"},
		{"an ICMP type of TCP", rule(`{action: Accept, protocol: tcp, icmpType: echo-request}`), "spec.firewall.datacenter.rules[0]", "needs protocol: icmp"},
		{"an ICMP type by number", rule(`{action: Accept, protocol: icmp, icmpType: "8"}`), "spec.firewall.datacenter.rules[0].icmpType", "for example echo-request"},
		{"a source that is nobody", rule(`{action: Accept, source: {}}`), "spec.firewall.datacenter.rules[0].source", "exactly one of address, alias, ipSet and guestRef"},
		{"a source that is two", rule(`{action: Accept, source: {address: 10.0.0.1, alias: office}}`), "spec.firewall.datacenter.rules[0].source", "exactly one"},
		{"a source with host bits", rule(`{action: Accept, source: {address: 10.0.0.7/24}}`), "spec.firewall.datacenter.rules[0].source.address", "for example 10.0.0.0/24"},
		{"a comment of two lines", rule(`{action: Accept, comment: "a\nb"}`), "spec.firewall.datacenter.rules[0].comment", "on one line"},
		{"a protocol by number", rule(`{action: Accept, protocol: "6"}`), "spec.firewall.datacenter.rules[0].protocol", `"tcp"`},
		{"an alias in capitals", `firewall: {datacenter: {aliases: [{name: Office, address: 10.0.0.0/24}]}}`, "spec.firewall.datacenter.aliases[0].name", "lower case"},
		{"an alias twice", `firewall: {datacenter: {aliases: [{name: of, address: 10.0.0.0/24}, {name: of, address: 10.1.0.0/24}]}}`, "spec.firewall.datacenter.aliases[1]", "Duplicate value"},
		{"a set's entry that is nobody", `firewall: {datacenter: {ipSets: [{name: admins, entries: [{except: true}]}]}}`, "spec.firewall.datacenter.ipSets[0].entries[0]", "exactly one of address and guestRef"},
		{"a node twice", `firewall: {nodes: [{name: pve1}, {name: pve1}]}`, "spec.firewall.nodes[1]", "Duplicate value"},
		{"a guest without a name", `firewall: {guests: [{enabled: true}]}`, "spec.firewall.guests[0].name", "Required value"},
		{"too long a comment", rule(`{action: Accept, comment: ` + strings.Repeat("a", 129) + `}`), "spec.firewall.datacenter.rules[0].comment", "more than 128"},
	})
}
