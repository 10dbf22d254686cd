// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const dropIn = `bind-dynamic
listen-address=10.0.0.13
no-hosts
domain=lan
local=/lan/
domain-needed
no-resolv
server=9.9.9.9
server=/corp.example/10.0.0.1
server=/dead.example/10.0.0.77
hostsdir=/etc/phoenix/hosts
addn-hosts=/etc/phoenix/more
host-record=rec.lan,rec,10.0.0.40,fd00::40
address=/apps.example.org/10.0.0.12
local=/apps.example.org/
address=/*.wild.example.org/10.0.0.13
local=/*.wild.example.org/
address=/ads.example/
address=/zero.example/#
cname=www.lan,nas.lan
cname=nowhere.lan,outside.example.com
srv-host=_ldap._tcp.lan,nas.lan,389,1,2
txt-record=about.lan,"hello, world","#2"
ptr-record=9.0.0.10.in-addr.arpa,nine.lan
dhcp-range=10.0.0.200,10.0.0.250,3600s
`

func resolving(t *testing.T) (*machine.Machine, *machine.Machine) {
	t.Helper()
	network := machine.NewNetwork()
	network.Outside(addr("9.9.9.9"), map[string]netip.Addr{"example.com": addr("192.0.2.1")})
	server := booted(t, machine.Options{Hostname: "phoenix", Network: network, Addresses: []netip.Addr{addr("10.0.0.13"), addr("10.0.9.13")}, Installed: []string{"dnsmasq", "bind9-dnsutils"}})
	client := booted(t, machine.Options{Network: network, Addresses: []netip.Addr{addr("10.0.0.20")}, Installed: []string{"bind9-dnsutils"}})
	other := booted(t, machine.Options{Hostname: "corp", Network: network, Addresses: []netip.Addr{addr("10.0.0.1")}, Installed: []string{"dnsmasq"}})
	must(t, other, "echo 'host-record=db.corp.example,10.9.9.9' > /etc/dnsmasq.d/x; systemctl restart dnsmasq")
	for name, text := range map[string]string{
		"/etc/dnsmasq.d/phoenix": dropIn, "/etc/phoenix/hosts/a": "10.0.0.30 nas.lan nas\nfd00::30 nas.lan nas\n10.0.0.10 step-ca.lan step-ca\n", "/etc/phoenix/more": "10.0.0.31 twice.lan\n10.0.0.32 twice.lan\n10.0.0.12 apps.example.org\n",
	} {
		if err := server.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(t, server, "dnsmasq --test -7 /etc/dnsmasq.d; systemctl restart dnsmasq")
	return server, client
}

func TestResolver(t *testing.T) {
	_, client := resolving(t)
	play(t, client, []script{
		{"an address", "dig +short +time=1 +tries=1 @10.0.0.13 step-ca.lan", "", "10.0.0.10\n", "", 0},
		{"case does not matter", "dig +short @10.0.0.13 Step-CA.LAN.", "", "10.0.0.10\n", "", 0},
		{"a short name", "dig +short @10.0.0.13 nas", "", "10.0.0.30\n", "", 0},
		{"of the other family", "dig +short @10.0.0.13 nas.lan AAAA", "", "fd00::30\n", "", 0},
		{"a name that has none of that family", "dig @10.0.0.13 step-ca.lan AAAA | grep -o 'status: [A-Z]*, \\|ANSWER: .'", "", "status: NOERROR, \nANSWER: 0\n", "", 0},
		{"a name in the domain that does not exist", "dig @10.0.0.13 nope.lan | grep -o 'status: [A-Z]*'; dig +short @10.0.0.13 nope.lan", "", "status: NXDOMAIN\n", "", 0},
		{"a plain name is not asked for elsewhere", "dig @10.0.0.13 plain | grep -o 'status: [A-Z]*'", "", "status: NXDOMAIN\n", "", 0},
		{"back from an address", "dig +short @10.0.0.13 -x 10.0.0.30; dig +short @10.0.0.13 -x fd00::30; dig +short @10.0.0.13 9.0.0.10.in-addr.arpa PTR", "", "nas.lan.\nnas.lan.\nnine.lan.\n", "", 0},
		{"another name", "dig +short @10.0.0.13 www.lan; dig +noall +answer @10.0.0.13 www.lan CNAME", "", "nas.lan.\n10.0.0.30\nwww.lan.\t0\tIN\tCNAME\tnas.lan.\n", "", 0},
		{"another name of what is not known here", "dig @10.0.0.13 nowhere.lan | grep -o 'status: [A-Z]*'", "", "status: NXDOMAIN\n", "", 0},
		{"a service and a text", "dig +short @10.0.0.13 _ldap._tcp.lan SRV; dig +short @10.0.0.13 -t TXT about.lan", "", "1 2 389 nas.lan.\n\"hello, world\" \"#2\"\n", "", 0},
		{"a host record", "dig +short @10.0.0.13 rec.lan; dig +short @10.0.0.13 rec AAAA; dig +short @10.0.0.13 -x 10.0.0.40", "", "10.0.0.40\nfd00::40\nrec.lan.\n", "", 0},
		{"sub-domains of an address", "dig +short @10.0.0.13 a.b.apps.example.org; dig @10.0.0.13 x.apps.example.org AAAA | grep -o 'status: [A-Z]*'", "", "10.0.0.12\nstatus: NOERROR\n", "", 0},
		{"all below a domain, and not the domain", "dig +short @10.0.0.13 a.b.wild.example.org; dig @10.0.0.13 x.wild.example.org AAAA | grep -o 'status: [A-Z]*'; dig @10.0.0.13 wild.example.org | grep -o 'status: [A-Z]*'", "", "10.0.0.13\nstatus: NOERROR\nstatus: NXDOMAIN\n", "", 0},
		{"a domain that does not exist", "dig @10.0.0.13 x.ads.example | grep -o 'status: [A-Z]*'; dig +short @10.0.0.13 zero.example", "", "status: NXDOMAIN\n0.0.0.0\n", "", 0},
		{"two addresses are two answers", "dig +short @10.0.0.13 twice.lan", "", "10.0.0.31\n10.0.0.32\n", "", 0},
		{"what others know", "dig +short @10.0.0.13 example.com; dig @10.0.0.13 nope.example.com | grep -o 'status: [A-Z]*'", "", "192.0.2.1\nstatus: NXDOMAIN\n", "", 0},
		{"a zone of another server", "dig +short @10.0.0.13 db.corp.example", "", "10.9.9.9\n", "", 0},
		{"a zone whose server is off", "dig +short +tries=1 @10.0.0.13 db.dead.example", "", ";; communications error to 10.0.0.13#53: timed out\n;; no servers could be reached\n", "", 9},
		{"an address that it does not listen on", "dig +short +tries=1 @10.0.9.13 nas.lan", "", ";; communications error to 10.0.9.13#53: connection refused\n;; no servers could be reached\n", "", 9},
		{"no machine there", "dig +short +tries=1 @10.0.0.99 nas.lan", "", ";; communications error to 10.0.0.99#53: timed out\n;; no servers could be reached\n", "", 9},
		{"two questions", "dig +short @10.0.0.13 nas.lan A step-ca.lan", "", "10.0.0.30\n10.0.0.10\n", "", 0},
		{"the whole answer", "dig @10.0.0.13 nas.lan | grep -v '^;\\|^$'", "", "nas.lan.\t0\tIN\tA\t10.0.0.30\n", "", 0},
		{"the machine's own resolver", "printf 'search lan\\nnameserver 10.0.0.13\\n' > /etc/resolv.conf; dig +short nas.lan; getent hosts step-ca; getent hosts nope", "", "10.0.0.30\n10.0.0.10       step-ca\n", "", 2},
	})
}

func TestResolverChanges(t *testing.T) {
	server, client := resolving(t)
	const ask = "dig +short @10.0.0.13 "
	step := func(reason, change, question, want string) {
		t.Helper()
		must(t, server, change)
		if got, _, _ := run(t, client, ask+question, ""); got != want {
			t.Errorf("%s: %s is %q, want %q", reason, question, got, want)
		}
	}
	step("a new file in the hostsdir is seen at once", "echo '10.0.0.50 new.lan' > /etc/phoenix/hosts/b", "new.lan", "10.0.0.50\n")
	step("one that takes another's place", "echo '10.0.0.51 new.lan' > /etc/phoenix/hosts/.b; mv /etc/phoenix/hosts/.b /etc/phoenix/hosts/b", "new.lan", "10.0.0.51\n")
	step("one with a dot is not read", "echo '10.0.0.52 dot.lan' > /etc/phoenix/hosts/.c", "dot.lan", "")
	step("one that goes", "rm /etc/phoenix/hosts/b", "new.lan", "")
	step("further hosts wait for SIGHUP", "echo '10.0.0.60 late.lan' >> /etc/phoenix/more", "late.lan", "")
	step("and come with it", "systemctl reload dnsmasq", "late.lan", "10.0.0.60\n")
	step("another option waits for a restart", "echo 'host-record=opt.lan,10.0.0.70' > /etc/dnsmasq.d/opt; systemctl reload dnsmasq", "opt.lan", "")
	step("and comes with it", "systemctl restart dnsmasq", "opt.lan", "10.0.0.70\n")
	step("a file that dpkg left is not read", "echo 'host-record=old.lan,10.0.0.71' > /etc/dnsmasq.d/opt.dpkg-old; systemctl restart dnsmasq", "old.lan", "")
	step("a record and a host are two answers", "echo '10.0.0.70 opt.lan' > /etc/phoenix/hosts/d", "opt.lan", "10.0.0.70\n10.0.0.70\n")
	step("without anybody to ask", "sed -i '/^server=9/d' /etc/dnsmasq.d/phoenix; systemctl restart dnsmasq; rm /etc/phoenix/hosts/d", "example.com", "")
	if got := must(t, client, "dig @10.0.0.13 example.com | grep -o 'status: [A-Z]*'"); got != "status: REFUSED\n" {
		t.Errorf("without anybody to ask: %q", got)
	}
	must(t, server, "systemctl stop dnsmasq")
	if got, _, exit := run(t, client, ask+"+tries=1 nas.lan", ""); exit != 9 || !strings.Contains(got, "connection refused") {
		t.Errorf("a resolver that is stopped: %d %q", exit, got)
	}
}

func TestResolverChecks(t *testing.T) {
	m := booted(t, machine.Options{Addresses: []netip.Addr{addr("10.0.0.13")}, Installed: []string{"dnsmasq"}})
	for _, tc := range []struct{ reason, text, problem string }{
		{"nothing", "", ""},
		{"comments and quotes", "# a\n\n  domain=lan # b\ntxt-record=a.lan,\"x # y\"\n", ""},
		{"an unknown option", "domain=lan\nfrob=1\n", "bad option at line 2"},
		{"a value missing", "address\n", "missing parameter at line 1"},
		{"a value too much", "no-hosts=1\n", "extraneous parameter at line 1"},
		{"an address without a domain", "address=1.2.3.4\n", "error at line 1"},
		{"an address that is none", "address=/x/1.2.3\n", "bad address at line 1"},
		{"a server that is none", "server=ns.example\n", "bad address at line 1"},
		{"a port", "server=1.2.3.4#70000\n", "bad port at line 1"},
		{"a host record without an address", "host-record=a.lan\n", "bad host-record at line 1"},
		{"an alias of itself", "cname=a.lan,a.lan\n", "bad CNAME at line 1"},
		{"an alias twice", "cname=a.lan,b.lan\ncname=a.lan,c.lan\n", "duplicate CNAME at line 2"},
		{"a service's port", "srv-host=_x._tcp,a,99999\n", "invalid port number at line 1"},
		{"a service's priority", "srv-host=_x._tcp,a,1,x\n", "invalid priority at line 1"},
		{"an open quote", "txt-record=a,\"b\n", "missing \" at line 1"},
		{"a pointer", "ptr-record=a,b,c\n", "bad PTR record at line 1"},
		{"a range", "dhcp-range=here\n", "bad dhcp-range at line 1"},
		{"a range backwards", "dhcp-range=10.0.0.9,10.0.0.1,1h\n", "inconsistent DHCP range at line 1"},
		{"a lease", "dhcp-range=10.0.0.1,10.0.0.9,long\n", "bad dhcp-range at line 1"},
		{"good ranges", "dhcp-range=set:a,10.0.0.1,10.0.0.9,255.255.255.0,12h\ndhcp-range=fd00::1,fd00::9,64,1h\n", ""},
		{"a reservation", "dhcp-host=bc:24:11:00:00:01,10.0.0.30,app,infinite\n", ""},
		{"a hardware address", "dhcp-host=bc:24:11:00:00,10.0.0.30\n", "bad hex constant at line 1"},
		{"an option of DHCP", "dhcp-option=router,1\n", "bad dhcp-option at line 1"},
		{"a name that breaks out", "cname=a.lan,b(c).lan\n", "bad CNAME at line 1"},
		{"a port twice", "port=53\nport=54\n", "illegal repeated keyword at line 2"},
		{"an address to listen on", "listen-address=lo\n", "error at line 1"},
		{"a network backwards", "rev-server=10.0.0.0/24,10.0.0.1\n", ""},
		{"another network backwards", "rev-server=10.0.0.0/25,10.0.0.1\n", "bad prefix length at line 1"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if err := m.WriteFile("/etc/dnsmasq.d/x", tc.text, 0o644); err != nil {
				t.Fatal(err)
			}
			want, status := "dnsmasq: syntax check OK.\n", 0
			if tc.problem != "" {
				want, status = "\ndnsmasq: "+tc.problem+" of /etc/dnsmasq.d/x\n", 1
			}
			for _, command := range []string{"dnsmasq --test -C /etc/dnsmasq.d/x", "dnsmasq --test --conf-dir=/etc/dnsmasq.d,.bak", "/usr/share/dnsmasq/systemd-helper checkconfig"} {
				if _, stderr, exit := run(t, m, command, ""); stderr != want || exit != status {
					t.Errorf("%s: exit %d, %q, want %q", command, exit, stderr, want)
				}
			}
			_, stderr, exit := run(t, m, "systemctl restart dnsmasq", "")
			if (exit == 0) != (status == 0) {
				t.Errorf("restart: exit %d, %s", exit, stderr)
			}
		})
	}
	play(t, m, []script{
		{"a file that is not there", "dnsmasq --test -C /none", "", "", "\ndnsmasq: cannot read /none: No such file or directory\n", 3},
		{"an address of somebody else", "printf 'bind-interfaces\\nlisten-address=10.0.0.99\\n' > /etc/dnsmasq.d/x; systemctl restart dnsmasq 2>/dev/null; systemctl is-active dnsmasq; journalctl -u dnsmasq -o cat | grep -c 'Cannot assign requested address'", "", "failed\n1\n", "", 0},
		{"which it may be with bind-dynamic", "sed -i s/bind-interfaces/bind-dynamic/ /etc/dnsmasq.d/x; systemctl restart dnsmasq; systemctl is-active dnsmasq", "", "active\n", "", 0},
		{"a fresh one runs", "rm /etc/dnsmasq.d/x; systemctl restart dnsmasq && systemctl is-active dnsmasq; ls /etc/dnsmasq.d; id -u dnsmasq", "", "active\nREADME\n108\n", "", 0},
	})
}
