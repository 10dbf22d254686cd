// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const localHosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"

func TestGuestFiles(t *testing.T) {
	card := []nic{{name: "eth0"}, {name: "eth1", addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.10/24")}}}
	for _, tc := range []struct {
		reason        string
		spec          guestSpec
		hosts, resolv string
	}{
		{
			"a container, with a domain and name servers of its own",
			guestSpec{hostname: "step-ca", nics: card, search: "lan example", nameservers: []string{"10.0.0.13", "10.0.0.14"}},
			localHosts + "# --- BEGIN PVE ---\n10.0.0.10 step-ca.lan step-ca\n# --- END PVE ---\n",
			"# --- BEGIN PVE ---\nsearch lan example\nnameserver 10.0.0.13\nnameserver 10.0.0.14\n# --- END PVE ---\n",
		},
		{
			"a virtual machine without an address, and without a name server",
			guestSpec{hostname: "vm", vm: true}, localHosts + "127.0.1.1 vm\n", "nameserver 10.0.0.1\n",
		},
	} {
		if diff := cmp.Diff(tc.hosts, tc.spec.hostsFile()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.reason, diff)
		}
		if diff := cmp.Diff(tc.resolv, tc.spec.resolvFile("10.0.0.1")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.reason, diff)
		}
	}
}
