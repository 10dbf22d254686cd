// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fwDelay is how long a change takes to be in effect: the daemon's round.
const fwDelay = 10 * time.Second

// fwDaemons are the nodes' firewall services. The lock of the site guards all
// but the serial one.
type fwDaemons struct {
	nodes   map[string]*fwDaemon
	telling bool       // somebody will be told of a change
	serial  sync.Mutex // one telling at a time
}

// fwDaemon is a node's firewall service: what it has put into effect.
type fwDaemon struct {
	stopped       bool
	cluster, host string    // the files in effect
	changed       time.Time // since when they are others; zero: they are not
}

func (d *fwDaemons) of(node string) *fwDaemon {
	if d.nodes == nil {
		d.nodes = map[string]*fwDaemon{}
	}
	if d.nodes[node] == nil {
		d.nodes[node] = &fwDaemon{}
	}
	return d.nodes[node]
}

// storeFirewall replaces a firewall file. The site must be locked.
func (s *Server) storeFirewall(f *firewall, text string) {
	if f.text == text {
		return
	}
	now := time.Now()
	s.settleFirewall(now) // what is due comes into effect without this change
	f.text = text
	for _, n := range s.nodes {
		d := s.fw.of(n.name)
		if d.changed.IsZero() && s.firewallPending(n) {
			d.changed = now
		}
	}
	s.tellFirewall()
}

// firewallPending tells whether a node's files are not those in effect. The
// site must be locked.
func (s *Server) firewallPending(n *node) bool {
	d := s.fw.of(n.name)
	return d.cluster != s.firewall.text || d.host != n.firewall.text
}

// settleFirewall puts into effect what is due. The site must be locked.
func (s *Server) settleFirewall(now time.Time) {
	for _, n := range s.nodes {
		d := s.fw.of(n.name)
		if !d.changed.IsZero() && now.Sub(d.changed) >= s.scaled(fwDelay) {
			s.applyFirewall(n)
		}
	}
}

// applyFirewall puts a node's files into effect. The site must be locked.
func (s *Server) applyFirewall(n *node) {
	d := s.fw.of(n.name)
	d.cluster, d.host, d.changed = s.firewall.text, n.firewall.text, time.Time{}
}

// tellFirewall tells who wants to know that the firewall changed. The site must
// be locked; the telling is not done under the lock.
func (s *Server) tellFirewall() {
	if s.opts.OnFirewall == nil || s.fw.telling {
		return
	}
	s.fw.telling = true
	s.running.Go(func() {
		s.fw.serial.Lock()
		defer s.fw.serial.Unlock()
		s.mu.Lock()
		s.fw.telling = false
		s.mu.Unlock()
		s.opts.OnFirewall()
	})
}

// Admits tells what a node's firewall, as far as it is in effect, does with a
// new TCP connection from an address to one of the node's ports: ACCEPT, DROP
// or REJECT. A loopback address stands for Options.ManagerAddress.
func (s *Server) Admits(node string, from netip.Addr, port int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleFirewall(time.Now())
	d := s.fw.of(node)
	if d.stopped || s.nodes[node] == nil {
		return "ACCEPT"
	}
	if from = from.Unmap(); from.IsLoopback() || !from.IsValid() {
		from = s.opts.ManagerAddress
	}
	dc := parseFirewall(fwCluster, d.cluster, nil)
	host := parseFirewall(fwHost, d.host, dc)
	if !filters(dc, host) {
		return "ACCEPT"
	}
	p := &fwPacket{dc: dc, from: from, port: port, bridge: s.nodes[node].bridges[0]}
	return p.verdict(host)
}

// guarded is a listener behind a node's firewall: connections that it does not
// let in are never accepted.
type guarded struct {
	net.Listener
	s    *Server
	node string
	port int
}

// guard puts a listener behind a node's firewall, as the given port.
func (s *Server) guard(l net.Listener, node string, port int) net.Listener {
	return &guarded{Listener: l, s: s, node: node, port: port}
}

// Accept implements net.Listener.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, _ := netip.ParseAddrPort(c.RemoteAddr().String())
		switch g.s.Admits(g.node, from.Addr(), g.port) {
		case "ACCEPT":
			return c, nil
		case "REJECT":
			abort(c)
		default:
			g.ignore(c)
		}
	}
}

// abort resets a connection.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset rather than an end; either will do
	}
	_ = c.Close() // the connection is gone either way
}

// ignore never answers. The connection ends after ten seconds of the site's
// time, so that nobody has to wait for a patience of real time.
func (g *guarded) ignore(c net.Conn) {
	g.s.running.Go(func() {
		g.s.pause(nil, g.s.scaled(10*time.Second))
		abort(c)
	})
}

// fwPacket is a new TCP connection on its way into a node.
type fwPacket struct {
	dc     *fwConf
	from   netip.Addr
	port   int
	bridge string
}

const (
	nodeAddress  = "10.0.0.13"
	localNetwork = "10.0.0.0/24"
)

// managementPorts are let in from the management set, after all rules: the API,
// SSH, consoles and migrations.
var managementPorts = []string{"8006", "22", "3128", "5900:5999", "60000:60050"}

// verdict goes through the node's rules, the datacenter's, those that are built
// in, and the policy.
func (p *fwPacket) verdict(host *fwConf) string {
	for _, conf := range []*fwConf{host, p.dc} {
		for _, row := range conf.rules.rows {
			if action := p.rule(row); action != "" {
				return action
			}
		}
	}
	management := &fwList{rows: []fwRow{{section: section{"cidr": localNetwork}}}}
	if alias := p.dc.alias("local_network"); alias != nil {
		management.rows[0].section["cidr"] = alias["cidr"]
	}
	if own := p.dc.sets["management"]; own != nil {
		management.rows = append(management.rows, own.rows...)
	}
	if p.inSet(management, p.from) && matchPorts(strings.Join(managementPorts, ","), p.port) {
		return "ACCEPT"
	}
	return first(p.dc.options["policy_in"], "DROP")
}

// rule is what a rule says to the packet, "" for nothing.
func (p *fwPacket) rule(row fwRow) string {
	rule := row.section
	version := 4
	if p.from.Is6() {
		version = 6
	}
	switch {
	case len(row.errors) > 0 || rule["enable"] == "0":
		return ""
	case rule["ipversion"] != "" && atoi(rule["ipversion"]) != version:
		return ""
	case rule["iface"] != "" && rule["iface"] != p.bridge:
		return ""
	case rule["type"] == "group":
		return p.group(rule["action"])
	case rule["type"] != "in" || !p.address(rule["source"], p.from) || !p.address(rule["dest"], netip.MustParseAddr(nodeAddress)):
		return ""
	case !p.service(rule):
		return ""
	}
	return rule["action"]
}

func (p *fwPacket) group(name string) string {
	group := p.dc.groups[name]
	if group == nil {
		return ""
	}
	for _, row := range group.rows {
		if row.section["type"] == "group" {
			continue
		}
		if action := p.rule(row); action != "" {
			return action
		}
	}
	return ""
}

// service tells whether a rule is about the packet's protocol and port.
func (p *fwPacket) service(rule section) bool {
	parts := []MacroPart{{}}
	if rule["macro"] != "" {
		parts = Macro(rule["macro"], atoi(rule["ipversion"]))
	}
	for _, part := range parts {
		proto := first(rule["proto"], part.Proto)
		isTCP := proto == "" || proto == "tcp" || proto == "6"
		ours := first(rule["sport"], part.SPort) == "" // the packet comes from any port
		if isTCP && ours && matchPorts(first(rule["dport"], part.DPort), p.port) {
			return true
		}
	}
	return false
}

func matchPorts(spec string, port int) bool {
	if spec == "" {
		return true
	}
	for _, item := range strings.Split(spec, ",") {
		from, to, isRange := strings.Cut(item, ":")
		switch number, err := strconv.Atoi(from); {
		case isRange && port >= number && port <= atoi(to):
			return true
		case !isRange && err == nil && number == port:
			return true
		case err != nil && servicePorts[from] == port:
			return true
		}
	}
	return false
}

// address tells whether an address is what a rule's source or dest says.
func (p *fwPacket) address(spec string, addr netip.Addr) bool {
	switch {
	case spec == "":
		return true
	case strings.HasPrefix(spec, "+"):
		m := fwSetRefRE.FindStringSubmatch(spec)
		return m != nil && p.dc.sets[m[1]] != nil && p.inSet(p.dc.sets[m[1]], addr)
	case fwAliasRE.MatchString(spec):
		row := p.dc.findAlias(spec, nil)
		return row != nil && within(row["cidr"], addr) >= 0
	}
	for _, item := range strings.Split(spec, ",") {
		if from, to, isRange := strings.Cut(item, "-"); isRange {
			a, errA := netip.ParseAddr(from)
			b, errB := netip.ParseAddr(to)
			return errA == nil && errB == nil && !addr.Less(a) && !b.Less(addr)
		}
		if within(item, addr) >= 0 {
			return true
		}
	}
	return false
}

// inSet tells whether an address is in a set: its smallest network decides.
func (p *fwPacket) inSet(set *fwList, addr netip.Addr) bool {
	best, in := -1, false
	for _, row := range set.rows {
		cidr := row.section["cidr"]
		if fwAliasRE.MatchString(cidr) {
			cidr = p.dc.findAlias(cidr, nil)["cidr"]
		}
		if bits := within(cidr, addr); bits > best && len(row.errors) == 0 {
			best, in = bits, row.section["nomatch"] != "1"
		}
	}
	return in
}

// within returns how many bits of a network an address has in common with it,
// -1 when it is not in it.
func within(cidr string, addr netip.Addr) int {
	if one, err := netip.ParseAddr(cidr); err == nil {
		cidr = netip.PrefixFrom(one, one.BitLen()).String()
	}
	if p, err := netip.ParsePrefix(cidr); err == nil && p.Contains(addr) {
		return p.Bits()
	}
	return -1
}
