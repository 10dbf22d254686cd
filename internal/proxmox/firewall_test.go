// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recordedRules is a host's answer after some rules, a move and a group.
const recordedRules = `[{"digest":"9e1204a33451324cdeec4b6dd9751153704b3c4e","enable":1,"iface":"net0","type":"group","pos":0,"action":"sg1"},{"source":"10.99.0.0/24","action":"ACCEPT","dport":"22","proto":"tcp","comment":"ssh","type":"in","ipversion":4,"pos":1,"digest":"9e1204a33451324cdeec4b6dd9751153704b3c4e","enable":1},{"action":"ACCEPT","proto":"udp","comment":"z","dport":"53","pos":2,"type":"in","enable":0,"digest":"9e1204a33451324cdeec4b6dd9751153704b3c4e"}]`

var (
	level101 = FirewallLevel{Guest: &Ref{Node: "pve1", Type: LXC, VMID: 101}}
	base101  = "/nodes/pve1/lxc/101/firewall"
)

// TestFirewallReads reads answers as a host gave them.
func TestFirewallReads(t *testing.T) {
	r := record(t, map[string][]answer{
		"GET " + base101 + "/options":     {data(`{"policy_in":"DROP","enable":1,"ipfilter":1,"digest":"cf0c74d651f2314ef799568eaa32dcc6542f4e07"}`)},
		"GET " + base101 + "/rules":       {data(recordedRules)},
		"GET " + base101 + "/ipset/web":   {data(`[{"digest":"526bdfc09b960f17e34966732125218e09007343","cidr":"10.1.0.0/16"}]`)},
		"GET /cluster/firewall/options":   {data(`{"digest":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}`)},
		"GET /cluster/firewall/rules":     {data(`[]`)},
		"GET /nodes/pve1/firewall/rules":  {data(`[{"type":"in","action":"ACCEPT","source":"+web","enable":1,"pos":0,"errors":{"source":"no such ipset 'web'"},"digest":"aa"}]`)},
		"GET /cluster/firewall/macros":    {data(`[{"macro":"SSH","descr":"Secure shell traffic"}]`)},
		"GET /cluster/firewall/groups":    {data(`[{"group":"sg1","comment":"ours","digest":"bb"}]`)},
		"GET /cluster/firewall/aliases":   {data(`[{"name":"gw","cidr":"10.99.0.1","ipversion":4,"digest":"cc"}]`)},
		"GET /cluster/firewall/ipset":     {data(`[{"name":"web","comment":"x","digest":"dd"}]`)},
		"GET /cluster/firewall/ipset/web": {data(`[]`)},
	})
	c, ctx := r.client(t), t.Context()
	type read struct {
		Value  any
		Digest string
	}
	reading := func(v any, digest string, err error) read {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		return read{v, digest}
	}
	options := func(l FirewallLevel) read { v, d, err := c.FirewallOptions(ctx, l); return reading(v, d, err) }
	rules := func(l FirewallLevel) read { v, d, err := c.FirewallRules(ctx, l); return reading(v, d, err) }
	entries := func(l FirewallLevel) read {
		v, d, err := c.FirewallIPSetEntries(ctx, l, "web")
		return reading(v, d, err)
	}
	groups, groupsDigest, groupsErr := c.FirewallGroups(ctx)
	aliases, aliasesDigest, aliasesErr := c.FirewallAliases(ctx, FirewallLevel{})
	sets, setsDigest, setsErr := c.FirewallIPSets(ctx, FirewallLevel{})
	macros, macrosErr := c.FirewallMacros(ctx)
	for _, tc := range []struct {
		reason    string
		got, want read
	}{
		{"options are text", options(level101), read{map[string]string{"policy_in": "DROP", "enable": "1", "ipfilter": "1"}, "cf0c74d651f2314ef799568eaa32dcc6542f4e07"}},
		{"no options", options(FirewallLevel{}), read{map[string]string{}, EmptyFirewallDigest}},
		{"rules", rules(level101), read{[]FirewallRule{
			{Type: "group", Action: "sg1", Iface: "net0", Enabled: true},
			{Type: "in", Action: "ACCEPT", Proto: "tcp", DPort: "22", Source: "10.99.0.0/24", Comment: "ssh", Enabled: true, Pos: 1, IPVersion: 4},
			{Type: "in", Action: "ACCEPT", Proto: "udp", DPort: "53", Comment: "z", Pos: 2},
		}, "9e1204a33451324cdeec4b6dd9751153704b3c4e"}},
		{"no rules show no digest", rules(FirewallLevel{}), read{[]FirewallRule{}, EmptyFirewallDigest}},
		{"a rule that is not applied", rules(FirewallLevel{Node: "pve1"}), read{[]FirewallRule{
			{Type: "in", Action: "ACCEPT", Source: "+web", Enabled: true, Errors: map[string]string{"source": "no such ipset 'web'"}},
		}, "aa"}},
		{"a set's entries", entries(level101), read{[]FirewallIPSetEntry{{CIDR: "10.1.0.0/16"}}, "526bdfc09b960f17e34966732125218e09007343"}},
		{"an empty set", entries(FirewallLevel{}), read{[]FirewallIPSetEntry{}, EmptyFirewallDigest}},
		{"groups", reading(groups, groupsDigest, groupsErr), read{[]FirewallGroup{{"sg1", "ours"}}, "bb"}},
		{"aliases", reading(aliases, aliasesDigest, aliasesErr), read{[]FirewallAlias{{Name: "gw", CIDR: "10.99.0.1"}}, "cc"}},
		{"sets", reading(sets, setsDigest, setsErr), read{[]FirewallIPSet{{"web", "x"}}, "dd"}},
		{"macros", reading(macros, "", macrosErr), read{[]string{"SSH"}, ""}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestFirewallWrites is about the calls that go out, each once.
func TestFirewallWrites(t *testing.T) {
	for _, tc := range []struct {
		reason string
		do     func(context.Context, *Client) error
		want   string // "METHOD /path?query body"; "" for no call
	}{
		{"options", func(ctx context.Context, c *Client) error {
			return c.SetFirewallOptions(ctx, FirewallLevel{Node: "pve1"}, "aa", map[string]string{"enable": "0"}, []string{"ndp", "tcpflags"})
		}, `PUT /nodes/pve1/firewall/options {"delete":"ndp,tcpflags","digest":"aa","enable":"0"}`},
		{"no options", func(ctx context.Context, c *Client) error {
			return c.SetFirewallOptions(ctx, FirewallLevel{}, "aa", nil, nil)
		}, ""},
		{"a rule that is off says so", func(ctx context.Context, c *Client) error {
			return c.AddFirewallRule(ctx, FirewallLevel{Group: "sg1"}, "", 0, FirewallRule{Type: "in", Action: "ACCEPT", Macro: "SSH", Comment: " a # b "})
		}, `POST /cluster/firewall/groups/sg1 {"action":"ACCEPT","comment":"a # b","enable":"0","macro":"SSH","type":"in"}`},
		{"a change deletes what is open", func(ctx context.Context, c *Client) error {
			return c.SetFirewallRule(ctx, level101, "aa", 2, FirewallRule{Type: "in", Action: "ACCEPT", Proto: "icmp", ICMPType: "echo-request", Enabled: true})
		}, `PUT ` + base101 + `/rules/2 {"action":"ACCEPT","delete":"macro,source,dest,sport,dport,iface,log,comment","digest":"aa","enable":"1","icmp-type":"echo-request","proto":"icmp","type":"in"}`},
		{"a move down counts the rule itself", func(ctx context.Context, c *Client) error {
			return c.MoveFirewallRule(ctx, level101, "aa", 0, 2)
		}, `PUT ` + base101 + `/rules/0 {"digest":"aa","moveto":"3"}`},
		{"a move up does not", func(ctx context.Context, c *Client) error {
			return c.MoveFirewallRule(ctx, level101, "aa", 2, 0)
		}, `PUT ` + base101 + `/rules/2 {"digest":"aa","moveto":"0"}`},
		{"a move to where it is", func(ctx context.Context, c *Client) error {
			return c.MoveFirewallRule(ctx, level101, "aa", 2, 2)
		}, ""},
		{"a deletion has no body", func(ctx context.Context, c *Client) error {
			return c.DeleteFirewallRule(ctx, FirewallLevel{}, "aa", 1)
		}, `DELETE /cluster/firewall/rules/1?digest=aa `},
		{"a group", func(ctx context.Context, c *Client) error {
			return c.CreateFirewallGroup(ctx, "phoenix-dc", "ours")
		}, `POST /cluster/firewall/groups {"comment":"ours","group":"phoenix-dc"}`},
		{"a group's comment", func(ctx context.Context, c *Client) error {
			return c.SetFirewallGroupComment(ctx, "aa", "sg1", "new")
		}, `POST /cluster/firewall/groups {"comment":"new","digest":"aa","group":"sg1","rename":"sg1"}`},
		{"a group goes", func(ctx context.Context, c *Client) error {
			return c.DeleteFirewallGroup(ctx, "sg1")
		}, `DELETE /cluster/firewall/groups/sg1 `},
		{"an alias", func(ctx context.Context, c *Client) error {
			return c.CreateFirewallAlias(ctx, FirewallLevel{}, FirewallAlias{Name: "gw", CIDR: "10.0.0.1"})
		}, `POST /cluster/firewall/aliases {"cidr":"10.0.0.1","name":"gw"}`},
		{"an alias changes", func(ctx context.Context, c *Client) error {
			return c.SetFirewallAlias(ctx, level101, "aa", FirewallAlias{Name: "gw", CIDR: "10.0.0.2", Comment: "x"})
		}, `PUT ` + base101 + `/aliases/gw {"cidr":"10.0.0.2","comment":"x","digest":"aa"}`},
		{"an alias goes", func(ctx context.Context, c *Client) error {
			return c.DeleteFirewallAlias(ctx, FirewallLevel{}, "aa", "gw")
		}, `DELETE /cluster/firewall/aliases/gw?digest=aa `},
		{"a set", func(ctx context.Context, c *Client) error {
			return c.CreateFirewallIPSet(ctx, FirewallLevel{}, "web", "")
		}, `POST /cluster/firewall/ipset {"name":"web"}`},
		{"a set's comment", func(ctx context.Context, c *Client) error {
			return c.SetFirewallIPSetComment(ctx, FirewallLevel{}, "aa", "web", "")
		}, `POST /cluster/firewall/ipset {"comment":"","digest":"aa","name":"web","rename":"web"}`},
		{"a set goes", func(ctx context.Context, c *Client) error {
			return c.DeleteFirewallIPSet(ctx, FirewallLevel{}, "web")
		}, `DELETE /cluster/firewall/ipset/web `},
		{"an entry", func(ctx context.Context, c *Client) error {
			return c.AddFirewallIPSetEntry(ctx, FirewallLevel{}, "web", FirewallIPSetEntry{CIDR: "10.0.0.0/24", NoMatch: true, Comment: "x"})
		}, `POST /cluster/firewall/ipset/web {"cidr":"10.0.0.0/24","comment":"x","nomatch":"1"}`},
		{"an entry matches again", func(ctx context.Context, c *Client) error {
			return c.SetFirewallIPSetEntry(ctx, FirewallLevel{}, "web", "aa", FirewallIPSetEntry{CIDR: "10.0.0.0/24"})
		}, `PUT /cluster/firewall/ipset/web/10.0.0.0/24 {"digest":"aa","nomatch":"0"}`},
		{"an entry goes", func(ctx context.Context, c *Client) error {
			return c.DeleteFirewallIPSetEntry(ctx, FirewallLevel{}, "web", "aa", "fd00::/64")
		}, `DELETE /cluster/firewall/ipset/web/fd00::/64?digest=aa `},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			method, rest, _ := strings.Cut(tc.want, " ")
			path, _, _ := strings.Cut(rest, " ")
			path, _, _ = strings.Cut(path, "?")
			r := record(t, map[string][]answer{method + " " + path: {data("null")}})
			if err := tc.do(t.Context(), r.client(t)); err != nil {
				t.Fatal(err)
			}
			if tc.want == "" {
				if len(r.calls) > 0 {
					t.Errorf("calls %v, want none", r.calls)
				}
				return
			}
			last := r.last()
			got := last.method + " " + last.path
			if len(last.query) > 0 {
				got += "?" + last.query.Encode()
			}
			if got += " " + tidy(t, last.body); got != tc.want || len(r.calls) != 1 {
				t.Errorf("%d calls, the last one\n%s, want\n%s", len(r.calls), got, tc.want)
			}
		})
	}
}

// tidy puts the keys of a JSON object in order.
func tidy(t *testing.T, body string) string {
	t.Helper()
	if body == "" {
		return ""
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestFirewallNotSent is about what would break out of a line of a file.
func TestFirewallNotSent(t *testing.T) {
	r := record(t, nil)
	c, ctx := r.client(t), t.Context()
	rule := func(change func(*FirewallRule)) error {
		hostile := FirewallRule{Type: "in", Action: "ACCEPT", Enabled: true}
		change(&hostile)
		return c.AddFirewallRule(ctx, FirewallLevel{Node: "pve1"}, "", 0, hostile)
	}
	for _, tc := range []struct {
		reason, field string
		err           error
	}{
		{"a rule behind a comment", "comment", rule(func(r *FirewallRule) { r.Comment = "x\nIN ACCEPT" })},
		{"with another line break", "comment", rule(func(r *FirewallRule) { r.Comment = "x\rIN ACCEPT" })},
		{"with Unicode's", "comment", rule(func(r *FirewallRule) { r.Comment = "x\u2028IN ACCEPT" })},
		{"a NUL", "comment", rule(func(r *FirewallRule) { r.Comment = "x\x00" })},
		{"no text", "comment", rule(func(r *FirewallRule) { r.Comment = "\xff" })},
		{"a comment that would be taken away", "comment", rule(func(r *FirewallRule) { r.Comment = "-" })},
		{"a parameter behind another", "source", rule(func(r *FirewallRule) { r.Source = "10.0.0.1 -p tcp" })},
		{"a parameter in a port", "dport", rule(func(r *FirewallRule) { r.DPort = "22\t-log" })},
		{"an action with a comment", "action", rule(func(r *FirewallRule) { r.Action = "ACCEPT # DROP" })},
		{"a change, too", "macro", c.SetFirewallRule(ctx, level101, "aa", 0, FirewallRule{Type: "in", Action: "DROP", Macro: "SSH\n"})},
		{"an option", "enable", c.SetFirewallOptions(ctx, FirewallLevel{}, "", map[string]string{"enable": "1\n[RULES]"}, nil)},
		{"an entry", "cidr", c.AddFirewallIPSetEntry(ctx, FirewallLevel{}, "web", FirewallIPSetEntry{CIDR: "10.0.0.1\n10.0.0.2"})},
		{"a set's comment", "comment", c.CreateFirewallIPSet(ctx, FirewallLevel{}, "web", "x\n10.0.0.1")},
		{"a group's comment", "comment", c.CreateFirewallGroup(ctx, "sg1", "x\nIN ACCEPT")},
		{"a group's name in capitals, which becomes another", "group", c.CreateFirewallGroup(ctx, "SG1", "")},
		{"a group's name of 19 characters", "group", c.CreateFirewallGroup(ctx, strings.Repeat("a", 19), "")},
		{"a set's name in capitals", "name", c.CreateFirewallIPSet(ctx, FirewallLevel{}, "Web", "")},
		{"a path in a name", "name", c.DeleteFirewallIPSet(ctx, FirewallLevel{}, "../groups")},
		{"a path in a group's name", "group", c.DeleteFirewallGroup(ctx, "a/0")},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			var e *Error
			if !IsInvalid(tc.err) || !errors.As(tc.err, &e) || e.Fields[tc.field] == "" {
				t.Errorf("error %v, want one about %s", tc.err, tc.field)
			}
		})
	}
	if len(r.calls) > 0 {
		t.Errorf("calls %v, want none", r.calls)
	}
}

func TestFirewallLevels(t *testing.T) {
	guest := level101.Guest
	for _, tc := range []struct {
		reason     string
		level      FirewallLevel
		rest       string
		path, name string
		err        string
	}{
		{"the datacenter", FirewallLevel{}, "/options", "/cluster/firewall/options", "datacenter", ""},
		{"a node", FirewallLevel{Node: "pve1"}, "/rules/2", "/nodes/pve1/firewall/rules/2", "node pve1", ""},
		{"a guest", level101, "/aliases", base101 + "/aliases", "lxc/101 on pve1", ""},
		{"a group's rules", FirewallLevel{Group: "sg1"}, "/rules", "/cluster/firewall/groups/sg1", "group sg1", ""},
		{"a group's rule", FirewallLevel{Group: "sg1"}, "/rules/3", "/cluster/firewall/groups/sg1/3", "group sg1", ""},
		{"a group's options", FirewallLevel{Group: "sg1"}, "/options", "", "group sg1", "a group has rules and nothing else"},
		{"two at once", FirewallLevel{Node: "pve1", Guest: guest}, "/rules", "", "lxc/101 on pve1", "more than one level is named"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			path, err := tc.level.path(tc.rest)
			if path != tc.path || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("path() = %q, %v; want %q, %q", path, err, tc.path, tc.err)
			}
			if got := tc.level.String(); got != tc.name {
				t.Errorf("String() = %q, want %q", got, tc.name)
			}
		})
	}
}

// TestFirewallErrors tells recorded refusals apart.
func TestFirewallErrors(t *testing.T) {
	kinds := map[string]func(error) bool{
		"absent": IsFirewallAbsent, "exists": IsFirewallExists, "not empty": IsFirewallNotEmpty, "conflict": IsConflict, "invalid": IsInvalid,
		"no quorum": IsNoQuorum, "unauthorized": IsUnauthorized, "denied": IsDenied, "guest": IsNotExist,
	}
	for _, tc := range []struct {
		reason string
		answer answer
		want   []string
	}{
		{"a position", refusal(500, "no rule at position 9"), []string{"absent"}},
		{"a group", refusal(500, "no such security group 'sg1'"), []string{"absent"}},
		{"a set", refusal(500, "no such IPSet 'web'"), []string{"absent"}},
		{"an alias", invalid(`{"name":"no such alias"}`), []string{"absent", "invalid"}},
		{"an entry", invalid(`{"cidr":"no such IP/Network"}`), []string{"absent", "invalid"}},
		{"a group to be renamed", invalid(`{"group":"Security group 'sg1' does not exist"}`), []string{"absent", "invalid"}},
		{"a rule's alias", invalid(`{"source":"no such alias 'gw'"}`), []string{"invalid"}},
		{"a rule's set", invalid(`{"source":"no such ipset 'web'"}`), []string{"invalid"}},
		{"a set's name is taken", invalid(`{"name":"IPSet 'web' already exists"}`), []string{"exists", "invalid"}},
		{"an address is there", invalid(`{"cidr":"address '10.1.0.0/16' already exists"}`), []string{"exists", "invalid"}},
		{"an alias is there", invalid(`{"name":"alias 'gw' already exists"}`), []string{"exists", "invalid"}},
		{"a group's new name is taken", invalid(`{"group":"Security group 'a' does already exist"}`), []string{"exists", "invalid"}},
		{"entries", refusal(500, "IPSet 'web' is not empty"), []string{"not empty"}},
		{"rules", refusal(500, "Security group 'web' is not empty"), []string{"not empty"}},
		{"a stale digest", refusal(500, "detected modified configuration - file changed by other user? Try again."), []string{"conflict"}},
		{"no quorum", refusal(500, "cfs-lock 'firewall' error: no quorum!"), []string{"no quorum"}},
		{"no token", answer{status: "401 Authentication failed!"}, []string{"unauthorized"}},
		{"a privilege", refusal(403, "Permission check failed (/, Sys.Modify)"), []string{"denied"}},
		{"no guest", refusal(500, "Configuration file 'nodes/pve1/lxc/101.conf' does not exist"), []string{"guest"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			r := record(t, map[string][]answer{"DELETE /cluster/firewall/rules/0": {tc.answer}})
			err := r.client(t).DeleteFirewallRule(t.Context(), FirewallLevel{}, "", 0)
			want, got := map[string]bool{}, map[string]bool{}
			for _, name := range tc.want {
				want[name] = true
			}
			for name, is := range kinds {
				if is(err) {
					got[name] = true
				}
			}
			if !maps.Equal(want, got) {
				t.Errorf("%v is %v, want %v", err, got, want)
			}
		})
	}
}

func TestParseFirewallDigests(t *testing.T) {
	const sum = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	for _, tc := range []struct {
		reason, out string
		want        map[string]string
		fails       bool
	}{
		{"none", "", map[string]string{}, false},
		{
			"all levels", sum + "  /etc/pve/firewall/cluster.fw\n" + sum + "  /etc/pve/firewall/101.fw\n" + sum + "  /etc/pve/nodes/pve1/host.fw\n",
			map[string]string{"/etc/pve/firewall/cluster.fw": sum, "/etc/pve/firewall/101.fw": sum, "/etc/pve/nodes/pve1/host.fw": sum}, false,
		},
		{"something else", "Last login: today\n", nil, true},
		{"a short sum", sum[1:] + "  /etc/pve/firewall/cluster.fw\n", nil, true},
		{"another file", sum + "  /etc/pve/user.cfg\n", nil, true},
		{"half a line", sum + "\n", nil, true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, err := ParseFirewallDigests([]byte(tc.out))
			if diff := cmp.Diff(tc.want, got); diff != "" || (err != nil) != tc.fails {
				t.Errorf("error %v, digests (-want +got):\n%s", err, diff)
			}
		})
	}
}
