// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEveryMethodOfTheTableHasAHandler(t *testing.T) {
	var methods []string
	for _, m := range loadSchema().methods {
		methods = append(methods, m.key)
	}
	named := map[string]bool{}
	for _, key := range methods {
		named[key] = true
	}
	if diff := cmp.Diff(sortedNames(handlers), sortedNames(named)); diff != "" {
		t.Errorf("-handlers +table:\n%s", diff)
	}
}

// TestFormatsOfTheTableAreKnown finds formats that nothing checks: a value of
// such a format would always pass.
func TestFormatsOfTheTableAreKnown(t *testing.T) {
	anything := map[string]bool{ // formats whose values the simulator only stores
		"pve-fw-addr-spec": true, "pve-fw-dport-spec": true, "pve-fw-sport-spec": true, "pve-fw-protocol-spec": true,
		"pve-fw-icmp-type-spec": true, "IPorCIDRorAlias": true, "email-opt": true, "pve-groupid-list": true, "pve-roleid-list": true,
		"pve-cpuset": true, "pve-ct-timezone": true, "pve-task-status-type-list": true, "pve-ha-resource-or-vm-id": true,
		"storage-pair-list": true, "bridge-pair-list": true, "pve-storage-content": true, "pve-storage-content-list": true,
		"pve-bridge-id-list": true, "pve-qm-bootdisk": true, "pve-realm": true, "pve-priv-list": true, "pve-fw-conntrack-helper": true,
	}
	for _, m := range loadSchema().methods {
		for name, p := range m.Props {
			single := strings.TrimSuffix(p.Format, "-list")
			base := strings.TrimSuffix(name, "[n]")
			known := p.Format == "" || anything[p.Format] || formatChecks[single] != nil || parsedFormats()[p.Format] != nil ||
				(p.Format == "property-string" && parsedFormats()[m.kind()+"."+base] != nil)
			if !known {
				t.Errorf("%s %s: nothing checks the format %s", m.key, name, p.Format)
			}
		}
	}
}

func TestNamedFormats(t *testing.T) {
	for _, tc := range []struct {
		reason, format, value string
		ok                    bool
	}{
		{"a host name", "dns-name", "nginx.example", true},
		{"an underscore is no host name", "dns-name", "ng_inx", false},
		{"a list of tags", "pve-tag-list", "web;phoenix-0123456789ab", true},
		{"a tag with a space in it is two", "pve-tag-list", "a b", true},
		{"a tag with a slash", "pve-tag-list", "a/b", false},
		{"an even first byte", "mac-addr", "BC:24:11:00:00:01", true},
		{"a multicast address", "mac-addr", "01:24:11:00:00:01", false},
		{"an IPv4 configuration", "pve-ipv4-config", "10.0.0.1/24", true},
		{"no prefix length", "pve-ipv4-config", "10.0.0.1", false},
		{"auto is for IPv6", "pve-ipv4-config", "auto", false},
		{"auto", "pve-ipv6-config", "auto", true},
		{"a start-up order", "pve-startup-order", "order=1,up=30,down=60", true},
		{"a start-up order with a word", "pve-startup-order", "order=first", false},
		{"a key, percent-encoded", "urlencoded", "ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAAIHJhbmRvbWtleXJhbmRvbWtleXJhbmRvbWtleQ%3D%3D%20me", true},
		{"a plus for a space", "urlencoded", "ssh-ed25519+AAAA", false},
		{"nameservers", "lxc-ip-with-ll-iface-list", "10.0.0.13 fe80::1%eth0", true},
		{"a hot-plug feature", "pve-hotplug-features", "network,disk", true},
		{"an unknown feature", "pve-hotplug-features", "network,tea", false},
		{"a size", "disk-size", "4G", true},
		{"a size with a blank", "disk-size", "4 G", false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if problem := checkFormat(tc.format, kindLXC, "", "x", tc.value); (problem == "") != tc.ok {
				t.Errorf("%s %q: %q, want ok: %v", tc.format, tc.value, problem, tc.ok)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	for _, tc := range []struct {
		reason, text string
		bytes        int64
		back         string
	}{
		{"gigabytes", "8G", 8 << 30, "8G"},
		{"a fraction falls to the unit that is exact", "1.5G", 1536 << 20, "1536M"},
		{"bytes", "512", 512, "512"},
		{"terabytes", "2T", 2 << 40, "2T"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			n, ok := parseSize(tc.text)
			if !ok || n != tc.bytes || formatSize(n) != tc.back {
				t.Errorf("%s is %d, %s; want %d, %s", tc.text, n, formatSize(n), tc.bytes, tc.back)
			}
		})
	}
}

func TestConfigurationFileRoundTrips(t *testing.T) {
	for _, tc := range []struct{ reason, kind, text string }{
		{"nothing", kindLXC, ""},
		{"a container with notes, raw lines, what waits and a snapshot", kindLXC,
			"#line one\n#url http%3A//x\narch: amd64\nhostname: a\nlxc.cap.drop: \nlxc.mount.entry: a b\n\n[pve:pending]\ndelete: swap\nnameserver: 1.1.1.1\n\n[s1]\n#before\nhostname: old\n"},
		{"a VM with notes, what waits and two snapshots", kindQEMU,
			"#hi\nmemory: 512\nname: v\n\n[PENDING]\ncores: 2\n\n[a]\nname: x\n\n[b]\nname: y\n"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if diff := cmp.Diff(tc.text, parseConf(tc.kind, tc.text).text()); diff != "" {
				t.Errorf("-read +written:\n%s", diff)
			}
		})
	}
}
