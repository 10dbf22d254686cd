// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// unitProperties are in the order in which systemctl prints them.
var unitProperties = []string{
	"Type", "Restart", "RemainAfterExit", "MainPID", "Unit", "NextElapseUSecRealtime", "Result", "NRestarts", "ExecMainStartTimestamp", "ExecMainExitTimestamp",
	"ExecMainPID", "ExecMainCode", "ExecMainStatus", "Where", "What", "Options", "Id", "Names", "Requires", "Wants", "WantedBy", "After",
	"Description", "LoadState", "ActiveState", "SubState", "FragmentPath", "DropInPaths", "UnitFileState", "UnitFilePreset",
	"StateChangeTimestamp", "ActiveEnterTimestamp", "InactiveEnterTimestamp", "CanStart", "CanStop", "CanReload", "NeedDaemonReload", "Transient",
	"CollectMode", "InvocationID", "LoadError",
}

func ctlShow(p *Process, f flags, names []string) int {
	wanted := strings.Split(strings.Join(append(append([]string(nil), f.set["p"]...), f.set["P"]...), ","), ",")
	value := f.has("value") || f.has("P")
	if len(names) == 0 {
		p.Printf("Version=252.36-1~deb12u1\nArchitecture=x86-64\n")
		return 0
	}
	for i, name := range names {
		if i > 0 {
			p.Printf("\n")
		}
		have := p.M.sys.properties(name)
		for _, key := range unitProperties {
			text, there := have[key]
			if !there || wanted[0] != "" && !slices.Contains(wanted, key) {
				continue
			}
			if value {
				p.Printf("%s\n", text)
				continue
			}
			p.Printf("%s=%s\n", key, text)
		}
	}
	return 0
}

func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format("Mon 2006-01-02 15:04:05 MST")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// properties are what systemctl show prints of a unit.
func (s *manager) properties(name string) map[string]string {
	u := s.get(name)
	state, stale := s.m.unitState(name), s.stale(u)
	canReload := len(u.def().file["Service.ExecReload"]) > 0
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{
		"Id": u.name, "Names": u.name, "Description": u.def().file.get("Unit.Description", u.name), "LoadState": u.def().load, "ActiveState": u.active, "SubState": u.sub,
		"FragmentPath": u.def().fragment, "DropInPaths": strings.Join(u.def().dropins, " "), "UnitFileState": state, "StateChangeTimestamp": stamp(u.changed),
		"ActiveEnterTimestamp": stamp(u.entered), "InactiveEnterTimestamp": stamp(u.finished), "CanStart": yesNo(u.def().load == "loaded"), "CanStop": "yes",
		"CanReload": yesNo(canReload), "NeedDaemonReload": yesNo(stale), "Transient": yesNo(u.transient), "InvocationID": u.invocation,
		"Requires": u.def().file.get("Unit.Requires", ""), "Wants": u.def().file.get("Unit.Wants", ""), "After": u.def().file.get("Unit.After", ""),
		"CollectMode": map[bool]string{false: "inactive", true: "inactive-or-failed"}[u.collect],
	}
	if u.def().load == "not-found" {
		out["LoadError"] = fmt.Sprintf(`org.freedesktop.systemd1.NoSuchUnit "Unit %s not found."`, u.name)
	}
	if state != "" && state != "static" && state != "transient" {
		out["UnitFilePreset"] = "enabled"
	}
	switch path.Ext(u.name) {
	case ".service":
		u.serviceProperties(out)
	case ".mount":
		out["Where"], out["What"], out["Type"] = u.def().file.get("Mount.Where", ""), u.def().file.get("Mount.What", ""), u.def().file.get("Mount.Type", "")
		out["Options"], out["Result"] = u.def().file.get("Mount.Options", ""), u.result
	case ".timer":
		out["Unit"], out["Result"] = u.def().file.get("Timer.Unit", strings.TrimSuffix(u.name, ".timer")+".service"), u.result
		out["NextElapseUSecRealtime"] = stamp(u.due)
	}
	return out
}

func (u *unit) serviceProperties(out map[string]string) {
	pid := int64(0)
	if u.active == "active" && u.sub == "running" || u.active == "activating" {
		pid = u.pid
	}
	out["Type"], out["Restart"] = u.def().file.get("Service.Type", "simple"), u.def().file.get("Service.Restart", "no")
	out["NRestarts"] = strconv.Itoa(u.restarts)
	out["RemainAfterExit"], out["Result"] = yesNo(u.def().file.remains()), u.result
	out["MainPID"], out["ExecMainPID"] = strconv.FormatInt(pid, 10), strconv.FormatInt(u.pid, 10)
	out["ExecMainCode"], out["ExecMainStatus"] = strconv.Itoa(u.code), strconv.Itoa(u.status)
	out["ExecMainStartTimestamp"], out["ExecMainExitTimestamp"] = stamp(u.started), stamp(u.finished)
}

func ctlStatus(p *Process, _ flags, names []string) int {
	exit := 0
	for _, name := range names {
		have := p.M.sys.properties(name)
		if have["LoadState"] == "not-found" {
			fmt.Fprintf(p.Stderr, "Unit %s could not be found.\n", name)
			exit = 4
			continue
		}
		p.Printf("● %s - %s\n     Loaded: %s (%s; %s)\n     Active: %s (%s)\n", name, have["Description"], have["LoadState"], have["FragmentPath"],
			have["UnitFileState"], have["ActiveState"], have["SubState"])
		rows := p.M.sys.entries(name, "")
		for _, e := range rows[max(len(rows)-10, 0):] {
			p.Printf("%s %s %s[%d]: %s\n", e.at.UTC().Format("Jan 02 15:04:05"), p.M.Hostname(), e.tag, e.pid, e.text)
		}
		if have["ActiveState"] != "active" && exit == 0 {
			exit = 3
		}
	}
	return exit
}

func ctlCat(p *Process, _ flags, names []string) int {
	for _, name := range names {
		fragment, _, dropins := p.M.unitText(name)
		if fragment == "" {
			fmt.Fprintf(p.Stderr, "No files found for %s.\n", name)
			return 1
		}
		for _, file := range append([]string{fragment}, dropins...) {
			text, _ := p.M.readFile(file) // it was there a moment ago
			p.Printf("# %s\n%s", file, text)
		}
	}
	return 0
}

func ctlList(p *Process, f flags, _ []string) int {
	patterns := f.args[min(1, len(f.args)):]
	if !f.has("no-legend") && f.last("legend", "") != "false" {
		p.Printf("UNIT LOAD ACTIVE SUB DESCRIPTION\n")
	}
	for _, u := range p.M.sys.sorted() {
		have := p.M.sys.properties(u.name)
		kind, state := strings.TrimPrefix(path.Ext(u.name), "."), f.last("state", "")
		switch {
		case have["ActiveState"] == "inactive" && !f.has("a") && state == "",
			state != "" && state != have["ActiveState"] && state != have["SubState"],
			f.has("failed") && have["ActiveState"] != "failed",
			f.has("t") && f.last("t", "") != kind, !matchesAny(patterns, u.name):
			continue
		}
		p.Printf("%s %s %s %s %s\n", u.name, have["LoadState"], have["ActiveState"], have["SubState"], have["Description"])
	}
	return 0
}

func matchesAny(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if hit, err := path.Match(pattern, name); err == nil && hit || pattern == name || pattern+".service" == name {
			return true
		}
	}
	return len(patterns) == 0
}

func ctlTimers(p *Process, f flags, _ []string) int {
	if !f.has("no-legend") {
		p.Printf("NEXT LEFT LAST PASSED UNIT ACTIVATES\n")
	}
	for _, u := range p.M.sys.sorted() {
		have := p.M.sys.properties(u.name)
		if path.Ext(u.name) != ".timer" || have["ActiveState"] != "active" && !f.has("a") || !matchesAny(f.args[1:], u.name) {
			continue
		}
		next, left := have["NextElapseUSecRealtime"], "-"
		if next == "" {
			next = "-"
		}
		p.M.sys.mu.Lock()
		if !u.due.IsZero() {
			left = u.due.Sub(p.M.now()).Round(time.Second).String() + " left"
		}
		p.M.sys.mu.Unlock()
		p.Printf("%s %s - - %s %s\n", next, left, u.name, have["Unit"])
	}
	return 0
}

func ctlFiles(p *Process, f flags, _ []string) int {
	if !f.has("no-legend") {
		p.Printf("UNIT FILE STATE PRESET\n")
	}
	seen := map[string]bool{}
	for _, folder := range unitFolders {
		entries, err := p.M.readDir(folder)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			if entry.IsDir() || seen[entry.Base] || !matchesAny(f.args[1:], entry.Base) {
				continue
			}
			seen[entry.Base] = true
			p.Printf("%s %s enabled\n", entry.Base, p.M.unitState(entry.Base))
		}
	}
	return 0
}
