// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// pveFirewall is the program pve-firewall of a node.
func (s *Server) pveFirewall(node string, args []string, out, errs io.Writer) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[node]
	if len(args) == 0 || n == nil {
		fmt.Fprintln(errs, "ERROR: no command specified")
		return 255
	}
	s.settleFirewall(time.Now())
	switch d := s.fw.of(node); args[0] {
	case "status":
		s.firewallStatus(n, out, errs)
	case "compile":
		s.firewallCompile(n, out, errs)
	case "start", "restart":
		d.stopped = false
		s.applyFirewall(n)
		s.tellFirewall()
	case "stop":
		d.stopped = true
		s.tellFirewall()
	default:
		fmt.Fprintf(errs, "ERROR: unknown command 'pve-firewall %s'\n", args[0])
		return 255
	}
	return 0
}

// firewallConfs reads a node's files and prints what is wrong in them.
func (s *Server) firewallConfs(n *node, errs io.Writer) (dc, host *fwConf) {
	dc = parseFirewall(fwCluster, s.firewall.text, nil)
	host = parseFirewall(fwHost, n.firewall.text, dc)
	for _, warning := range append(dc.warnings, host.warnings...) {
		fmt.Fprintln(errs, warning)
	}
	return dc, host
}

func (s *Server) firewallStatus(n *node, out, errs io.Writer) {
	dc, _ := s.firewallConfs(n, errs)
	enabled, running, pending := "disabled", "running", ""
	if atoi(dc.options["enable"]) > 0 {
		enabled = "enabled"
	}
	switch {
	case s.fw.of(n.name).stopped:
		running = "stopped"
	case s.firewallPending(n):
		pending = " (pending changes)"
	}
	fmt.Fprintf(out, "Status: %s/%s%s\n", enabled, running, pending)
}

// firewallCompile prints the node's rules as its files write them: the
// simulator knows no chains.
func (s *Server) firewallCompile(n *node, out, errs io.Writer) {
	dc, host := s.firewallConfs(n, errs)
	fmt.Fprint(out, host.rules.lines(true)+dc.rules.lines(true))
	for _, name := range sortedNames(dc.groups) {
		fmt.Fprintf(out, "[group %s]\n%s", name, dc.groups[name].lines(false))
	}
	if s.firewallPending(n) {
		fmt.Fprintln(out, "detected changes")
	} else {
		fmt.Fprintln(out, "no changes")
	}
	if atoi(dc.options["enable"]) == 0 {
		fmt.Fprintln(out, "firewall disabled")
	}
	for _, l := range append([]*fwList{host.rules, dc.rules}, sortedLists(dc.groups)...) {
		l.complain(errs)
	}
}

func sortedLists(lists map[string]*fwList) []*fwList {
	var out []*fwList
	for _, name := range sortedNames(lists) {
		out = append(out, lists[name])
	}
	return out
}

// complain prints the rules that are not applied, with the reasons.
func (l *fwList) complain(errs io.Writer) {
	for _, row := range l.rows {
		if len(row.errors) == 0 {
			continue
		}
		line := (&fwList{rows: []fwRow{row}}).lines(true)
		fmt.Fprintf(errs, "errors in rule parameters: %s\n", strings.TrimSpace(line))
		for _, name := range row.errors.sortedKeys() {
			fmt.Fprintf(errs, "  %s: %s\n", name, row.errors[name])
		}
	}
}

func runPVEFirewall(t *tool, args []string) int {
	return t.s.pveFirewall(t.node, args[1:], t.stdout, t.stderr)
}
