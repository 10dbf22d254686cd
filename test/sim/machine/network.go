// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"net/netip"
	"sync"
)

// Network is what machines of one site know each other by: their addresses.
// Every address reaches every other one.
type Network struct {
	mu      sync.Mutex
	by      map[netip.Addr]*Machine
	resolve func(netip.Addr) *Machine
	servers map[netip.Addr]map[string]netip.Addr // see Outside
	engines map[string]*dockerEngine
}

// NewNetwork makes a network without machines.
func NewNetwork() *Network { return &Network{by: map[netip.Addr]*Machine{}} }

// OnUnknown names the function that is asked for the machine of an address that
// no machine has taken; it returns nil for none.
func (n *Network) OnUnknown(find func(netip.Addr) *Machine) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resolve = find
}

// At is the machine that has an address and runs, or nil.
func (n *Network) At(address netip.Addr) *Machine {
	n.mu.Lock()
	m, find := n.by[address.Unmap()], n.resolve
	n.mu.Unlock()
	if m == nil && find != nil {
		m = find(address)
	}
	if m == nil || !m.Running() {
		return nil
	}
	return m
}

func (n *Network) move(m *Machine, old, fresh []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range old {
		if n.by[a.Unmap()] == m {
			delete(n.by, a.Unmap())
		}
	}
	for _, a := range fresh {
		n.by[a.Unmap()] = m
	}
}

// Leave takes the machine off its network.
func (m *Machine) Leave() { m.SetAddresses() }

// reach finds the machine behind an address as this machine sees it: itself on
// loopback and on its own addresses.
func (m *Machine) reach(address netip.Addr) *Machine {
	if address.IsLoopback() {
		return m
	}
	for _, own := range m.Addresses() {
		if own == address.Unmap() {
			return m
		}
	}
	return m.net.At(address)
}

// source is the address with which the machine appears at another one.
func (m *Machine) source(to netip.Addr) netip.Addr {
	if to.IsLoopback() {
		return to
	}
	addresses := m.Addresses()
	for _, own := range addresses {
		if own == to {
			return own
		}
	}
	for _, own := range addresses {
		if own.Is4() == to.Is4() {
			return own
		}
	}
	return netip.IPv4Unspecified()
}
