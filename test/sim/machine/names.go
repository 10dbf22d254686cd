// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"net"
	"net/netip"
	"strings"
)

// hostLine is a line of /etc/hosts.
type hostLine struct {
	address netip.Addr
	names   []string
}

func hostLines(m *Machine, file string) []hostLine {
	text, err := m.readFile(file)
	if err != nil {
		return nil
	}
	return parseHosts(text)
}

func parseHosts(text string) []hostLine {
	var out []hostLine
	for _, line := range lines(text) {
		line, _, _ = strings.Cut(line, "#")
		w := strings.Fields(line)
		if len(w) < 2 {
			continue
		}
		if address, err := netip.ParseAddr(w[0]); err == nil {
			out = append(out, hostLine{address, w[1:]})
		}
	}
	return out
}

var errNoName = errors.New("Name or service not known")

// Resolve finds the address of a name as the machine's programs do: its own
// files, then the name servers that it asks. The error is a *net.DNSError.
func (m *Machine) Resolve(name string) (netip.Addr, error) {
	found, err := m.resolveName(name)
	if err != nil {
		return netip.Addr{}, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return found[0], nil
}

// resolveName finds the addresses of a name as the machine's programs do.
func (m *Machine) resolveName(name string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{address}, nil
	}
	var out []netip.Addr
	for _, line := range hostLines(m, "/etc/hosts") {
		for _, one := range line.names {
			if strings.EqualFold(one, name) {
				out = append(out, line.address)
			}
		}
	}
	if len(out) == 0 && (name == m.Hostname() || name == "localhost") {
		out = append(append(out, m.Addresses()...), netip.MustParseAddr("127.0.0.1"))[:1]
	}
	if len(out) == 0 {
		out = m.lookUp(name)
	}
	if len(out) == 0 {
		return nil, errNoName
	}
	return out, nil
}
