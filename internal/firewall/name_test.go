// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"strings"
	"testing"
)

// TestGroupNames: a name fits Proxmox, and tells owner, content and salt apart.
func TestGroupNames(t *testing.T) {
	web := Rule{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "443", Enable: true}
	off := web
	off.Enable = false
	seen := map[string]string{}
	for _, c := range []struct {
		reason, owner string
		rules         []Rule
		salt          int
	}{
		{"one rule", owner, []Rule{web}, 0},
		{"another salt", owner, []Rule{web}, 1},
		{"another owner", owner + "2", []Rule{web}, 0},
		{"twice the rule", owner, []Rule{web, web}, 0},
		{"the rule off", owner, []Rule{off}, 0},
		{"a value in another field", owner, []Rule{{Type: "in", Action: "ACCEPT", Proto: "tcp", SPort: "443", Enable: true}}, 0},
	} {
		name := GroupName(c.owner, c.rules, c.salt)
		if len(name) > 18 || !strings.HasPrefix(name, Prefix(c.owner)) || strings.Trim(name[1:], "x0123456789abcdef") != "" {
			t.Errorf("%s: %q is no name for Proxmox", c.reason, name)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%s has the name of %s", c.reason, other)
		}
		seen[name] = c.reason
		if name != GroupName(c.owner, c.rules, c.salt) {
			t.Errorf("%s: the name changes", c.reason)
		}
	}
}

// TestMarks: whose something is, by its comment.
func TestMarks(t *testing.T) {
	for _, c := range []struct {
		reason, comment string
		ours            bool
		whose           string
	}{
		{"ours", Mark(owner), true, owner},
		{"ours with a text", MarkedComment(" the office ", owner), true, owner},
		{"ours without a text", MarkedComment("  ", owner), true, owner},
		{"another owner's", Mark(owner + "2"), false, owner + "2"},
		{"another owner's with a text", MarkedComment("x", "y"), false, "y"},
		{"nobody's", "by hand", false, ""},
		{"nobody's, who speaks of us", "for " + Mark(owner), false, ""},
		{"none", "", false, ""},
	} {
		whose, owned := MarkIn(c.comment)
		if got := Marked(c.comment, owner); got != c.ours || whose != c.whose || owned != (c.whose != "") {
			t.Errorf("%s: ours %v, whose %q %v", c.reason, got, whose, owned)
		}
	}
}

// TestLevels: a level and its file say the same.
func TestLevels(t *testing.T) {
	for _, l := range []Level{Datacenter, Node("pve-1"), Guest(101)} {
		if got, ok := LevelOf(l.File()); !ok || got != l {
			t.Errorf("%s: got %s %v", l, got, ok)
		}
	}
	for _, file := range []string{"firewall/web.fw", "nodes/a/b/host.fw", "nodes/a/lxc/101.conf", "firewall/101.fw.tmp.7", ""} {
		if l, ok := LevelOf(file); ok {
			t.Errorf("%q is taken for %s", file, l)
		}
	}
}

// TestLooks: what a node says is read in full or not at all.
func TestLooks(t *testing.T) {
	text := "0123  firewall/cluster.fw\nours firewall/cluster.fw\narmed abc S2 2 open dGV4dA==\ntimer active\nservice inactive\n" +
		"status Status: enabled/running\nrolledback def S1 3 judged dGV4dA==\nrecord e30=\nend\n"
	l, err := ParseLook(text)
	if err != nil {
		t.Fatal(err)
	}
	want := Guard{Armed: true, Ticking: true, Change: Change{"abc", "S2", 2, "text"}, Back: Change{"def", "S1", 3, "text"}, Judged: true}
	if l.Guard != want || l.Digests["firewall/cluster.fw"] != "0123" || !l.Ours["firewall/cluster.fw"] || string(l.Record) != "{}" {
		t.Errorf("%+v", l)
	}
	for reason, bad := range map[string]string{
		"cut off": strings.TrimSuffix(text, "end\n"), "no base64": strings.Replace(text, "e30=", "?", 1), "nothing": "",
	} {
		if _, err := ParseLook(bad); err == nil {
			t.Errorf("%s: no error", reason)
		}
	}
	for status, pending := range map[string]bool{
		"Status: enabled/running": false, "Status: enabled/running (pending changes)": true, "Status: enabled/stopped": true, "": true,
	} {
		l, err := ParseLook(strings.Replace(text, "Status: enabled/running", status, 1))
		if err != nil || l.Guard.Pending != pending {
			t.Errorf("status %q: pending %v, %v", status, l.Guard.Pending, err)
		}
	}
}
