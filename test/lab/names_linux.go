// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// UpstreamName is a name that the resolver at the Gateway answers with UpstreamAddress. It answers no other but those in
// Options.Names: what stands for the resolvers of the world, to which a site's own forwards.
const (
	UpstreamName    = "upstream.example"
	UpstreamAddress = "192.0.2.53"
)

// resolver answers questions for names by UDP.
type resolver struct{ names map[string]netip.Addr }

// serveNames answers until the lab stops.
func (l *Lab) serveNames(ctx context.Context) error {
	r := &resolver{names: map[string]netip.Addr{UpstreamName + ".": netip.MustParseAddr(UpstreamAddress)}}
	for name, address := range l.options.Names {
		r.names[strings.ToLower(strings.TrimSuffix(name, "."))+"."] = address
	}
	var lc net.ListenConfig
	c, err := lc.ListenPacket(ctx, "udp", Gateway+":53")
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	l.closers = append(l.closers, c)
	l.running.Go(func() { r.serve(c) })
	return nil
}

func (r *resolver) serve(c net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer, err := r.answer(buf[:n]); err == nil {
			_, _ = c.WriteTo(answer, from) // who asked asks again
		}
	}
}

// answer is the message that answers another one.
func (r *resolver) answer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	if m.Response || len(m.Questions) != 1 {
		return nil, fmt.Errorf("not one question: %v", m.Questions)
	}
	q := m.Questions[0]
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: m.ID, Response: true, RecursionDesired: m.RecursionDesired, RecursionAvailable: true, RCode: dnsmessage.RCodeSuccess,
		},
		Questions: m.Questions,
	}
	address, known := r.names[strings.ToLower(q.Name.String())]
	head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
	switch {
	case !known:
		reply.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA && address.Is4():
		reply.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: address.As4()}}}
	case q.Type == dnsmessage.TypeAAAA && address.Is6():
		reply.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}}}
	}
	return reply.Pack()
}
