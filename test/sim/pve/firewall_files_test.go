// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const clusterFW = `[OPTIONS]

enable: 1
log_ratelimit: enable=1,rate=5/minute
policy_in: DROP

[ALIASES]

GW 10.0.0.1 # the router
lan 10.0.0.0/24

[IPSET admins] # who may

!10.0.0.99
10.0.0.0/24 # all
dc/gw

[IPSET empty]


[RULES]

GROUP sg1 -i vmbr0 # ours
IN SSH(ACCEPT) -source +admins -log info
|OUT DROP -dest 10.0.0.1,10.0.0.2 -p tcp -dport 80,443 -sport 1024:65535
IN ACCEPT -p icmp -icmp-type echo-request # ping # it

[group sg1] # what ours need

IN ACCEPT -source dc/lan -p udp -dport 53

`

const hostFW = `[OPTIONS]

enable: 0
nf_conntrack_max: 300000

[RULES]

IN REJECT -i vmbr0 -p tcp -dport 111

`

const guestFW = `[OPTIONS]

enable: 1
ipfilter: 1
policy_in: DROP

[ALIASES]

gw 10.99.0.1

[IPSET ipfilter-net0]

10.99.0.101

[RULES]

IN ACCEPT -i net0 -source guest/gw

`

// TestFirewallFiles reads files and writes them: nothing changes.
func TestFirewallFiles(t *testing.T) {
	dc := parseFirewall(fwCluster, clusterFW, nil)
	for _, tc := range []struct {
		reason, text string
		level        fwLevel
		dc           *fwConf
	}{
		{"the datacenter's", clusterFW, fwCluster, nil},
		{"a node's", hostFW, fwHost, dc},
		{"a guest's", guestFW, fwGuest, dc},
		{"an empty one", "", fwGuest, dc},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			conf := parseFirewall(tc.level, tc.text, tc.dc)
			if len(conf.warnings) > 0 {
				t.Errorf("warnings: %q", conf.warnings)
			}
			for _, row := range conf.rules.rows {
				if len(row.errors) > 0 {
					t.Errorf("rule %v: %v", row.section, row.errors)
				}
			}
			// Entries are written by their addresses.
			want := strings.ReplaceAll(tc.text, "!10.0.0.99\n10.0.0.0/24 # all\n", "10.0.0.0/24 # all\n!10.0.0.99\n")
			if diff := cmp.Diff(want, conf.render()); diff != "" {
				t.Errorf("render() (-read +written):\n%s", diff)
			}
		})
	}
}

// TestFirewallByHand edits files as people do.
func TestFirewallByHand(t *testing.T) {
	for _, tc := range []struct {
		reason, path, text, want string
		warnings                 int
		errors                   map[string]string // of the first rule
	}{
		{"case and spaces", clusterFirewallFile, "[options]\n  Enable: 1\nPOLICY_IN: drop\n", "[OPTIONS]\n\nenable: 1\npolicy_in: DROP\n\n", 0, nil},
		{"comments of their own are lost when the API writes", clusterFirewallFile, "# mine\n[OPTIONS]\nenable: 1\n", "[OPTIONS]\n\nenable: 1\n\n", 0, nil},
		{"options that are none", clusterFirewallFile, "[OPTIONS]\nenable: yes\nfoo: 1\n", "", 2, nil},
		{"lines before any header", clusterFirewallFile, "IN ACCEPT\n", "", 1, nil},
		{"a header that a level does not have", "/etc/pve/nodes/pve1/host.fw", "[RULES]\nIN ACCEPT\n[IPSET web]\n10.0.0.1\n", "[RULES]\n\nIN ACCEPT\n\n", 2, nil},
		{"a name that is too long", clusterFirewallFile, "[group nineteen-characters]\nIN ACCEPT\n", "", 2, nil},
		{"long forms of parameters", "/etc/pve/firewall/101.fw", "[RULES]\nin accept\nIN ACCEPT --proto tcp --dport 22\n", "[RULES]\n\nIN accept\nIN ACCEPT -p tcp -dport 22\n\n", 0, map[string]string{"action": "unknown action 'accept'"}},
		{"parameters that are none", "/etc/pve/firewall/101.fw", "[RULES]\nIN ACCEPT -foo bar\n", "", 1, nil},
		{"a reference to nothing is kept and not applied", "/etc/pve/firewall/101.fw", "[RULES]\nIN ACCEPT -source +web\n", "[RULES]\n\nIN ACCEPT -source +web\n\n", 0, map[string]string{"source": "no such ipset 'web'"}},
		{"an address twice", clusterFirewallFile, "[IPSET web]\n10.0.0.1/32\n10.0.0.1\n", "[IPSET web]\n\n10.0.0.1\n\n", 0, nil},
		{"an enabling that was to be confirmed", clusterFirewallFile, "[OPTIONS]\nenable: 1000000\n", "[OPTIONS]\n\nenable: 0\n\n", 0, nil},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s, err := Start(t.Context(), Options{
				Nodes: []string{"pve1"}, NoSSH: true, NoTemplate: true,
				Guests: []GuestSpec{{VMID: 101, Kind: kindLXC, Config: "hostname: a\nrootfs: local-lvm:vm-101-disk-0,size=1G\n"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.mu.Lock()
			defer s.mu.Unlock()
			if err := s.writeFirewallFile(tc.path, tc.text); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{tc.path: tc.text}, s.firewallFiles("pve1")); diff != "" {
				t.Errorf("firewallFiles() (-want +got):\n%s", diff)
			}
			level := map[string]fwLevel{clusterFirewallFile: fwCluster, "/etc/pve/nodes/pve1/host.fw": fwHost}[tc.path]
			if level == "" {
				level = fwGuest
			}
			conf := parseFirewall(level, tc.text, parseFirewall(fwCluster, "", nil))
			if len(conf.warnings) != tc.warnings {
				t.Errorf("warnings %q, want %d", conf.warnings, tc.warnings)
			}
			if diff := cmp.Diff(tc.want, conf.render()); diff != "" {
				t.Errorf("render() (-want +got):\n%s", diff)
			}
			if len(conf.rules.rows) > 0 && !maps.Equal(conf.rules.rows[0].errors, section(tc.errors)) {
				t.Errorf("errors %v, want %v", conf.rules.rows[0].errors, tc.errors)
			}
			if err := s.writeFirewallFile(tc.path, ""); err != nil || len(s.firewallFiles("pve1")) > 0 {
				t.Errorf("after the removal: %v, %v", err, slices.Collect(maps.Keys(s.firewallFiles("pve1"))))
			}
		})
	}
}

// TestFirewallNoFile refuses paths that are no firewall's.
func TestFirewallNoFile(t *testing.T) {
	s, err := Start(t.Context(), Options{Nodes: []string{"pve1"}, NoSSH: true, NoTemplate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range []string{
		"/etc/pve/firewall/101.fw", "/etc/pve/firewall/web.fw", "/etc/pve/firewall/cluster.conf",
		"/etc/pve/nodes/pve2/host.fw", "/etc/pve/nodes/pve1/guest.fw", "/etc/pve/cluster.fw",
	} {
		if s.isFirewallFile(path) || s.writeFirewallFile(path, "[RULES]\n") == nil {
			t.Errorf("%s was written", path)
		}
	}
}

// FuzzFirewallFile: what was read and written is read as the same again.
func FuzzFirewallFile(f *testing.F) {
	for _, text := range []string{clusterFW, hostFW, guestFW, "[IPSET a1]\n!dc/x # y\n[RULES]\n|GROUP a -i b # c\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, level := range []fwLevel{fwCluster, fwHost, fwGuest} {
			once := parseFirewall(level, text, nil).render()
			again := parseFirewall(level, once, nil)
			if diff := cmp.Diff(once, again.render()); diff != "" {
				t.Errorf("%s of %q (-once +again):\n%s", level, text, diff)
			}
		}
	})
}
