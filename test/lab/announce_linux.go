// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// announce tells everybody on the network which card has the guest's addresses now: an address may have been another
// guest's, which neighbours remember for some seconds.
func (g *guest) announce() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := enterNetwork(g.network())
		for _, n := range g.spec.nics {
			for _, a := range n.addresses {
				if err == nil && a.Addr().Is4() && !n.down {
					err = announce(n.name, a.Addr())
				}
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("announce addresses of guest %s: %w", g.name, err)
	}
	return nil
}

// announce sends one gratuitous ARP answer in the calling thread's network.
func announce(name string, address netip.Addr) error {
	card, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ARP))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(protocol))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // it was sent, or not
	to := &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: card.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	return unix.Sendto(fd, gratuitousARP(card.HardwareAddr, address), 0, to)
}

// gratuitousARP is the answer that nobody asked for: the address has this card.
func gratuitousARP(mac net.HardwareAddr, address netip.Addr) []byte {
	head := []byte{0, 1, 8, 0, 6, 4, 0, 2} // Ethernet, IPv4, their lengths, an answer
	return slices.Concat(head, mac, address.AsSlice(), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, address.AsSlice())
}
