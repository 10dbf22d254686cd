// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

func runPCT(t *tool, args []string) int { return t.guestTool(kindLXC, "pct", args[1:]) }

func runQM(t *tool, args []string) int { return t.guestTool(kindQEMU, "qm", args[1:]) }

// guestTool is pct or qm: Proxmox's command line, with the rights of root.
func (t *tool) guestTool(kind, tool string, args []string) int {
	if len(args) == 0 {
		fmt.Fprintf(t.stderr, "ERROR: no command specified\n")
		return 255
	}
	switch command, rest := args[0], args[1:]; command {
	case "exec":
		if kind == kindLXC {
			return t.exec(rest)
		}
		fmt.Fprintf(t.stderr, "ERROR: unknown command '%s %s'\n", tool, command)
		return 255
	case "set":
		return t.set(kind, tool, rest)
	case "unlock", "status", "config":
		return t.simple(kind, tool, command, rest)
	default:
		fmt.Fprintf(t.stderr, "ERROR: unknown command '%s %s'\n", tool, command)
		return 255
	}
}

func (t *tool) usage(tool, command, problem string) int {
	fmt.Fprintf(t.stderr, "%s\n%s %s <vmid> [OPTIONS]\n", strings.TrimRight(problem, "\n"), tool, command)
	return 255
}

func (t *tool) set(kind, tool string, args []string) int {
	if len(args) == 0 {
		return t.usage(tool, "set", "400 not enough arguments")
	}
	verb := "PUT"
	update, _ := loadSchema().find(verb, []string{"nodes", t.node, kind, "1", "config"})
	params, problem := readOptions(update, args[1:])
	if problem != "" {
		return t.usage(tool, "set", problem)
	}
	params["vmid"], params["node"] = args[0], t.node
	if errs := update.validate(params, true); len(errs) > 0 {
		return t.usage(tool, "set", problemText(badParams, errs))
	}
	vmid := atoi(args[0])
	unlock, err := t.s.lockFile(vmid, kind)
	if err != nil {
		fmt.Fprintln(t.stderr, err)
		return 255
	}
	defer unlock()
	set := section(params).clone()
	err = t.s.rootUpdate(t.node, kind, vmid, params)
	var refused *apiError
	switch {
	case errors.As(err, &refused) && len(refused.fields) > 0:
		return t.usage(tool, "set", problemText(refused.reason, refused.fields))
	case err != nil:
		fmt.Fprintln(t.stderr, err)
		return 255
	}
	if kind == kindQEMU {
		for key := range updateOnly {
			delete(set, key)
		}
		fmt.Fprintf(t.stdout, "update VM %d:%s\n", vmid, commandLine(set))
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
	defer s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{
		Server: s, user: &principal{user: "root@pam"}, params: params, node: node, vmid: vmid, kind: kind, now: time.Now(),
	}
	return c.update()
}

func (t *tool) simple(kind, tool, command string, args []string) int {
	if len(args) == 0 {
		return t.usage(tool, command, "400 not enough arguments")
	}
	if !vmidRE.MatchString(args[0]) {
		return t.usage(tool, command, problemText(badParams, fieldErrors{"vmid": "type check ('integer') failed - got '" + args[0] + "'"}))
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	g := t.s.guests[atoi(args[0])]
	if g == nil || g.kind != kind || g.node != t.node {
		fmt.Fprintf(t.stderr, "Configuration file '%s' does not exist\n", confPath(t.node, kind, atoi(args[0])))
		return 255
	}
	switch command {
	case "unlock":
		g.setLock("")
	case "status":
		fmt.Fprintf(t.stdout, "status: %s\n", g.status())
	default:
		for _, key := range g.conf.merged().sortedKeys() {
			fmt.Fprintf(t.stdout, "%s: %s\n", key, encodeNotes(key, g.conf.merged()[key]))
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
