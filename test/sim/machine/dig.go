// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

var digTypes = []string{"A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "ANY"}

// question is one question of a dig.
type question struct {
	name, kind string
}

// digging is a call of dig.
type digging struct {
	p         *Process
	server    string
	port      int
	short     bool
	answer    bool // +noall +answer
	tries     int
	kind      string // of the next question
	questions []question
}

func runDig(_ context.Context, p *Process) int {
	d := &digging{p: p, port: 53, tries: 3}
	for args := p.Args[1:]; len(args) > 0; {
		rest, bad := d.argument(args)
		if bad != "" {
			fmt.Fprintln(p.Stderr, bad)
			return 1
		}
		args = rest
	}
	if len(d.questions) == 0 {
		d.questions = []question{{".", "NS"}}
	}
	if d.server == "" {
		servers := p.M.nameservers("/etc/resolv.conf")
		d.server = "127.0.0.1"
		if len(servers) > 0 {
			d.server = servers[0].String()
		}
	}
	addresses, err := p.M.resolveName(d.server)
	if err != nil {
		p.Printf("dig: couldn't get address for '%s': not found\n", d.server)
		return 10
	}
	exit := 0
	for _, q := range d.questions {
		exit = max(exit, d.ask(netip.AddrPortFrom(addresses[0], uint16(d.port)), q))
	}
	return exit
}

// argument takes the next argument, and its value.
func (d *digging) argument(args []string) (rest []string, bad string) {
	arg := args[0]
	value := ""
	if len(args) > 1 {
		value = args[1]
	}
	switch {
	case strings.HasPrefix(arg, "@"):
		d.server = arg[1:]
	case strings.HasPrefix(arg, "+"):
		return args[1:], d.plus(arg[1:])
	case arg == "-p" || arg == "-t" || arg == "-q" || arg == "-c" || arg == "-x" || arg == "-b":
		if len(args) < 2 {
			return nil, "dig: option requires an argument -- " + arg[1:]
		}
		return args[2:], d.valued(arg, value)
	case arg == "-4" || arg == "-6":
	case strings.HasPrefix(arg, "-"):
		return nil, "Invalid option: " + arg
	case slices.Contains(digTypes, strings.ToUpper(arg)) && len(d.questions) > 0:
		d.questions[len(d.questions)-1].kind = strings.ToUpper(arg)
	case strings.EqualFold(arg, "IN"):
	default:
		d.add(arg)
	}
	return args[1:], ""
}

func (d *digging) add(name string) {
	d.questions = append(d.questions, question{name, first(d.kind, "A")})
	d.kind = ""
}

func (d *digging) plus(option string) string {
	name, value, _ := strings.Cut(option, "=")
	switch name {
	case "short":
		d.short = true
	case "answer":
		d.answer = true
	case "tries":
		d.tries = max(atoi(value), 1)
	case "retry":
		d.tries = atoi(value) + 1
	case "time", "timeout", "noall", "norecurse", "recurse", "nocmd", "noquestion", "nostats", "nocomments", "tcp", "notcp", "noedns", "edns", "nocookie", "nosearch", "search", "noauthority", "noadditional", "ignore", "bufsize":
	default:
		return "Invalid option: +" + option
	}
	return ""
}

func (d *digging) valued(option, value string) string {
	switch option {
	case "-p":
		d.port = atoi(value)
		if d.port <= 0 || d.port > 65535 {
			return "dig: couldn't parse port number '" + value + "': bad number"
		}
	case "-t":
		if d.kind = strings.ToUpper(value); len(d.questions) > 0 {
			d.questions[len(d.questions)-1].kind = d.kind
			d.kind = ""
		}
	case "-q":
		d.add(value)
	case "-x":
		addr, err := netip.ParseAddr(value)
		if err != nil {
			return "Invalid IP address " + value
		}
		d.questions = append(d.questions, question{reverseName(addr), "PTR"})
	}
	return ""
}

// ask asks one question and prints what comes.
func (d *digging) ask(server netip.AddrPort, q question) int {
	p := d.p
	out, err := p.M.ask(server, q.name, q.kind, 0)
	if err != nil {
		for range d.tries {
			p.Printf(";; communications error to %s#%d: %v\n", server.Addr(), server.Port(), err)
		}
		if !d.short {
			p.Printf("\n; <<>> DiG 9.18.28-1~deb12u2-Debian <<>> %s\n;; global options: +cmd\n", strings.Join(p.Args[1:], " "))
		}
		p.Printf(";; no servers could be reached\n")
		return 9
	}
	name := strings.TrimSuffix(q.name, ".") + "."
	if d.short {
		for _, r := range out.records {
			p.Printf("%s\n", r.data)
		}
		return 0
	}
	if !d.answer {
		authority := ""
		if out.own {
			authority = "aa "
		}
		p.Printf("\n; <<>> DiG 9.18.28-1~deb12u2-Debian <<>> %s\n; (1 server found)\n;; global options: +cmd\n;; Got answer:\n", strings.Join(p.Args[1:], " "))
		p.Printf(";; ->>HEADER<<- opcode: QUERY, status: %s, id: %d\n", out.rcode, p.pid)
		p.Printf(";; flags: qr %srd ra; QUERY: 1, ANSWER: %d, AUTHORITY: 0, ADDITIONAL: 1\n\n", authority, len(out.records))
		p.Printf(";; QUESTION SECTION:\n;%s\t\tIN\t%s\n\n", name, q.kind)
		if len(out.records) > 0 {
			p.Printf(";; ANSWER SECTION:\n")
		}
	}
	for _, r := range out.records {
		p.Printf("%s.\t0\tIN\t%s\t%s\n", strings.TrimSuffix(r.name, "."), r.kind, r.data)
	}
	if !d.answer {
		p.Printf("\n;; Query time: 0 msec\n;; SERVER: %s#%d(%s) (UDP)\n;; WHEN: %s\n;; MSG SIZE  rcvd: 56\n\n",
			server.Addr(), server.Port(), server.Addr(), p.M.now().UTC().Format("Mon Jan 02 15:04:05 MST 2006"))
	}
	return 0
}

// lookUp asks the machine's own name servers for a name's addresses, as the C
// library does: with the domains that it searches.
func (m *Machine) lookUp(name string) []netip.Addr {
	for _, one := range m.candidates(name) {
		for _, server := range m.nameservers("/etc/resolv.conf") {
			if out := m.addressesFrom(server, one); len(out) > 0 {
				return out
			}
		}
	}
	return nil
}

// candidates are the names that stand for a name, in the order of asking.
func (m *Machine) candidates(name string) []string {
	names := []string{strings.TrimSuffix(name, ".")}
	text, err := m.readFile("/etc/resolv.conf")
	if err != nil || strings.HasSuffix(name, ".") {
		return names
	}
	for _, line := range lines(text) {
		if w := strings.Fields(line); len(w) > 1 && (w[0] == "search" || w[0] == "domain") {
			for _, domain := range w[1:] {
				names = append(names, name+"."+domain)
			}
		}
	}
	if !strings.Contains(name, ".") {
		slices.Reverse(names)
	}
	return names
}

func (m *Machine) addressesFrom(server netip.Addr, name string) []netip.Addr {
	var out []netip.Addr
	for _, kind := range []string{"A", "AAAA"} {
		got, err := m.ask(netip.AddrPortFrom(server, 53), name, kind, 0)
		if err != nil {
			continue
		}
		for _, r := range got.records {
			if addr, err := netip.ParseAddr(r.data); err == nil {
				out = append(out, addr)
			}
		}
	}
	return out
}
