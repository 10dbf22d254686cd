// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

func TestDialContext(t *testing.T) {
	web := machine.NewMirror()
	web.Put("http://mirror.lan/x", []byte("x"))
	site, err := pve.Start(t.Context(), pve.Options{NoSSH: true, NoTemplate: true, Web: web.Get, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Running: true, Config: "hostname: static\nnet0: name=eth0,bridge=vmbr0,ip=10.0.0.153/24\n"},
		{VMID: 102, Kind: "lxc", Config: "hostname: off\nnet0: name=eth0,bridge=vmbr0,ip=10.0.0.12/24\n"},
		{VMID: 103, Kind: "lxc", Running: true, Config: "hostname: leased\nnet0: name=eth0,bridge=vmbr0,ip=dhcp\n", Behaviour: pve.Behaviour{DHCP: "10.0.0.77/24"}},
		{VMID: 1001, Kind: "qemu", Running: true, Config: "name: cloud\nagent: 1\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n", Behaviour: pve.Behaviour{DHCP: "10.0.0.78/24"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(site.Close)
	const serve = "apt-get update && apt-get install -y nginx-light curl && curl -fsSL -o /srv/x http://mirror.lan/x"
	for name, m := range map[string]*machine.Machine{"node": site.Machine("phoenix"), "static": site.GuestMachine(101), "leased": site.GuestMachine(103), "cloud": site.GuestMachine(1001)} {
		var said strings.Builder
		if exit := m.Shell(t.Context(), serve, nil, io.Discard, &said); exit != 0 {
			t.Fatalf("%s: exit %d: %s", name, exit, said.String())
		}
	}
	cases := []struct {
		reason, network, address string
		want                     error
	}{
		{"a node", "tcp", "10.0.0.13:80", nil},
		{"a node by its name", "tcp", "phoenix:80", nil},
		{"a container's own address", "tcp", "10.0.0.153:80", nil},
		{"as IPv6 writes it", "tcp", "[::ffff:10.0.0.153]:80", nil},
		{"a container's lease", "tcp", "10.0.0.77:80", nil},
		{"a VM's lease", "tcp", "10.0.0.78:80", nil},
		{"nothing listens", "tcp", "10.0.0.153:443", syscall.ECONNREFUSED},
		{"a guest that is off", "tcp", "10.0.0.12:80", syscall.EHOSTUNREACH},
		{"nobody's address", "tcp", "10.0.0.99:80", syscall.EHOSTUNREACH},
		{"nobody's name", "tcp", "nobody.lan:80", &net.DNSError{}},
		{"no port", "tcp", "10.0.0.13", &net.AddrError{}},
		{"another protocol", "udp", "10.0.0.13:53", net.UnknownNetworkError("udp")},
	}
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			conn, err := site.DialContext(t.Context(), tc.network, tc.address)
			if err == nil {
				_ = conn.Close()
			}
			var operation *net.OpError
			var dns *net.DNSError
			var malformed *net.AddrError
			switch {
			case errors.As(tc.want, &dns):
				if !errors.As(err, &dns) || !dns.IsNotFound {
					t.Errorf("got %v", err)
				}
			case errors.As(tc.want, &malformed):
				if !errors.As(err, &malformed) {
					t.Errorf("got %v", err)
				}
			case !errors.Is(err, tc.want) || err != nil && !errors.As(err, &operation):
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	if exit := site.GuestMachine(101).Shell(t.Context(), "systemctl stop nginx", nil, nil, nil); exit != 0 {
		t.Fatalf("stop nginx: exit %d", exit)
	}
	if _, err := site.DialContext(t.Context(), "tcp", "10.0.0.153:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a program that has ended: %v", err)
	}
	site.SetNodeOnline("phoenix", false, 0)
	if _, err := site.DialContext(t.Context(), "tcp", "10.0.0.13:80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("a node that is down: %v", err)
	}
}
