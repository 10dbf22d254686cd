// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// The lines between which Proxmox VE keeps what is its own in a container's files.
const (
	fenceBegin = "# --- BEGIN PVE ---\n"
	fenceEnd   = "# --- END PVE ---\n"
)

// fenced puts the text between Proxmox VE's lines in a container's file; a VM's file has none.
func (s guestSpec) fenced(text string) string {
	if s.vm {
		return text
	}
	return fenceBegin + text + fenceEnd
}

// hostsFile is the guest's /etc/hosts.
func (s guestSpec) hostsFile() string {
	text := "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
	address, names := "127.0.1.1", s.hostname
	if a, ok := s.address(); ok {
		address = a.String()
	}
	if domain := strings.Fields(s.search); len(domain) > 0 {
		names = s.hostname + "." + domain[0] + " " + s.hostname
	}
	return text + s.fenced(address+" "+names+"\n")
}

// address is the guest's first fixed address.
func (s guestSpec) address() (netip.Addr, bool) {
	for _, n := range s.nics {
		if len(n.addresses) > 0 {
			return n.addresses[0].Addr(), true
		}
	}
	return netip.Addr{}, false
}

// resolvFile is the guest's /etc/resolv.conf, with the host's name server when the guest has none of its own.
func (s guestSpec) resolvFile(host string) string {
	var b strings.Builder
	if s.search != "" {
		fmt.Fprintf(&b, "search %s\n", s.search)
	}
	servers := s.nameservers
	if len(servers) == 0 {
		servers = []string{host}
	}
	for _, server := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	return s.fenced(b.String())
}
