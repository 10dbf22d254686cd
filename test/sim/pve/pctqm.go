// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

func runPCT(m *machine, args []string) int { return m.guestTool(kindLXC, "pct", args[1:]) }

func runQM(m *machine, args []string) int { return m.guestTool(kindQEMU, "qm", args[1:]) }

// guestTool is pct or qm: Proxmox's command line, with the rights of root.
func (m *machine) guestTool(kind, tool string, args []string) int {
	if len(args) == 0 {
		fmt.Fprintf(m.stderr, "ERROR: no command specified\n")
		return 255
	}
	switch command, rest := args[0], args[1:]; command {
	case "set":
		return m.set(kind, tool, rest)
	case "unlock", "status", "config":
		return m.simple(kind, tool, command, rest)
	default:
		fmt.Fprintf(m.stderr, "ERROR: unknown command '%s %s'\n", tool, command)
		return 255
	}
}

func (m *machine) usage(tool, command, problem string) int {
	fmt.Fprintf(m.stderr, "%s\n%s %s <vmid> [OPTIONS]\n", strings.TrimRight(problem, "\n"), tool, command)
	return 255
}

func (m *machine) set(kind, tool string, args []string) int {
	if len(args) == 0 {
		return m.usage(tool, "set", "400 not enough arguments")
	}
	verb := "PUT"
	update, _ := loadSchema().find(verb, []string{"nodes", m.node, kind, "1", "config"})
	params, problem := readOptions(update, args[1:])
	if problem != "" {
		return m.usage(tool, "set", problem)
	}
	params["vmid"], params["node"] = args[0], m.node
	if errs := update.validate(params, true); len(errs) > 0 {
		return m.usage(tool, "set", problemText(badParams, errs))
	}
	vmid := atoi(args[0])
	unlock, err := m.s.lockFile(vmid, kind)
	if err != nil {
		fmt.Fprintln(m.stderr, err)
		return 255
	}
	defer unlock()
	set := section(params).clone()
	err = m.s.rootUpdate(m.node, kind, vmid, params)
	var refused *apiError
	switch {
	case errors.As(err, &refused) && len(refused.fields) > 0:
		return m.usage(tool, "set", problemText(refused.reason, refused.fields))
	case err != nil:
		fmt.Fprintln(m.stderr, err)
		return 255
	}
	if kind == kindQEMU {
		for key := range updateOnly {
			delete(set, key)
		}
		fmt.Fprintf(m.stdout, "update VM %d:%s\n", vmid, commandLine(set))
	}
	return 0
}

func problemText(reason string, errs fieldErrors) string {
	var b strings.Builder
	fmt.Fprintf(&b, "400 %s\n", reason)
	for _, name := range errs.sorted() {
		fmt.Fprintf(&b, "%s: %s\n", name, errs[name])
	}
	return b.String()
}

// readOptions reads --key value, --key=value and -key value; an option of type
// boolean may stand alone.
func readOptions(m *method, args []string) (params map[string]string, problem string) {
	params = map[string]string{}
	for i := 0; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "-") {
			return nil, "400 too many arguments"
		}
		key, value, given := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		p, _ := m.prop(key)
		switch {
		case p == nil:
			return nil, fmt.Sprintf("Unknown option: %s\n400 unable to parse option", key)
		case given:
		case i+1 < len(args) && (p.Type != "boolean" || !strings.HasPrefix(args[i+1], "-")):
			i++
			value = args[i]
		case p.Type == "boolean":
			value = "1"
		default:
			return nil, fmt.Sprintf("Option %s requires an argument\n400 unable to parse option", key)
		}
		if before, twice := params[key]; twice {
			value = before + "\x00" + value
		}
		params[key] = value
	}
	return params, ""
}

// rootUpdate changes a guest's configuration as root@pam on its node.
func (s *Server) rootUpdate(node, kind string, vmid int, params map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{
		Server: s, user: &principal{user: "root@pam"}, params: params, node: node, vmid: vmid, kind: kind, now: time.Now(),
	}
	return c.update()
}

func (m *machine) simple(kind, tool, command string, args []string) int {
	if len(args) == 0 {
		return m.usage(tool, command, "400 not enough arguments")
	}
	if !vmidRE.MatchString(args[0]) {
		return m.usage(tool, command, problemText(badParams, fieldErrors{"vmid": "type check ('integer') failed - got '" + args[0] + "'"}))
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	g := m.s.guests[atoi(args[0])]
	if g == nil || g.kind != kind || g.node != m.node {
		fmt.Fprintf(m.stderr, "Configuration file '%s' does not exist\n", confPath(m.node, kind, atoi(args[0])))
		return 255
	}
	switch command {
	case "unlock":
		g.setLock("")
	case "status":
		fmt.Fprintf(m.stdout, "status: %s\n", g.status())
	default:
		for _, key := range g.conf.merged().sortedKeys() {
			fmt.Fprintf(m.stdout, "%s: %s\n", key, encodeNotes(key, g.conf.merged()[key]))
		}
	}
	return 0
}

// encodeNotes keeps notes on one line.
func encodeNotes(key, value string) string {
	if key != "description" {
		return value
	}
	return strings.ReplaceAll(encodeText(strings.TrimRight(value, "\n")), "%3A", ":")
}
