// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nfs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func site() Config {
	return Config{About: "HostService home/exports", Exports: []Export{
		{Source: "exports[media]", Path: "/srv/media", Clients: []Client{
			{Source: "exports[media].clients[0]", Network: "10.0.0.0/24", ReadOnly: true, Async: true, Squash: All},
			{Source: "exports[media].clients[1]", Network: "10.0.0.102/32"},
			{Source: "exports[media].clients[2]", Network: "FD00::/64", Squash: None},
			{Source: "exports[media].clients[3]", Network: "10.0.0.102/32", ReadOnly: true},
		}},
		{Source: "exports[empty]", Path: "/srv/empty"},
		{Source: "exports[data]", Path: "/srv/data", Clients: []Client{{Source: "exports[data].clients[0]", Network: "10.0.0.111/32"}}},
	}}
}

const wantKernel = `# HostService home/exports
# Made by Phoenix: what is changed here by hand is put back.
/srv/data 10.0.0.111/32(rw,sync,no_subtree_check,root_squash)
/srv/media 10.0.0.102/32(rw,sync,no_subtree_check,root_squash) 10.0.0.0/24(ro,async,no_subtree_check,all_squash) fd00::/64(rw,sync,no_subtree_check,no_root_squash)
`

const wantGanesha = `# HostService home/exports
# Made by Phoenix: what is changed here by hand is put back.
EXPORT {
	Export_Id = 29116;
	Path = "/srv/data";
	Pseudo = "/srv/data";
	Protocols = 4;
	Transports = TCP;
	SecType = sys;
	Access_Type = NONE;
	FSAL {
		Name = VFS;
	}
	CLIENT {
		Clients = 10.0.0.111/32;
		Protocols = 4;
		Access_Type = RW;
		Squash = Root_Squash;
	}
}
EXPORT {
	Export_Id = 15368;
	Path = "/srv/media";
	Pseudo = "/srv/media";
	Protocols = 4;
	Transports = TCP;
	SecType = sys;
	Access_Type = NONE;
	FSAL {
		Name = VFS;
	}
	CLIENT {
		Clients = 10.0.0.102/32;
		Protocols = 4;
		Access_Type = RW;
		Squash = Root_Squash;
	}
	CLIENT {
		Clients = 10.0.0.0/24;
		Protocols = 4;
		Access_Type = RO;
		Squash = All_Squash;
	}
	CLIENT {
		Clients = fd00::/64;
		Protocols = 4;
		Access_Type = RW;
		Squash = No_Root_Squash;
	}
}
`

const wantMain = `# HostService home/exports
# Made by Phoenix: what is changed here by hand is put back.
%include "/etc/ganesha/ganesha.conf"
NFS_CORE_PARAM {
	Protocols = 4;
	Enable_NLM = false;
	Enable_RQUOTA = false;
}
NFSv4 {
	Graceless = true;
}
%include "/etc/phoenix/nfs-ganesha/exports/exports.conf"
`

const wantUnit = `# HostService home/exports
# Made by Phoenix: what is changed here by hand is put back.
[Service]
ExecStart=
ExecStart=/usr/bin/ganesha.nfsd -L /var/log/ganesha/ganesha.log -f /etc/phoenix/nfs-ganesha/exports/ganesha.conf -N NIV_EVENT
`

func TestRender(t *testing.T) {
	about := site().About
	for name, c := range map[string]struct {
		want   string
		render func() ([]byte, error)
	}{
		"kernel":  {wantKernel, site().Kernel},
		"ganesha": {wantGanesha, site().Ganesha},
		"ganesha main": {wantMain, func() ([]byte, error) {
			return GaneshaMain(about, "/etc/ganesha/ganesha.conf", "/etc/phoenix/nfs-ganesha/exports/exports.conf")
		}},
		"ganesha unit": {wantUnit, func() ([]byte, error) { return GaneshaUnit(about, "/etc/phoenix/nfs-ganesha/exports/ganesha.conf") }},
	} {
		got, err := c.render()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestExportsStayThemselves(t *testing.T) {
	before, err := site().Ganesha()
	if err != nil {
		t.Fatal(err)
	}
	c := site()
	c.Exports = c.Exports[2:]
	after, err := c.Ganesha()
	if err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`Export_Id = (\d+)`)
	if a, b := number.FindString(string(before)), number.FindString(string(after)); a != b {
		t.Errorf("the number of an export changed from %q to %q with another one: clients would lose their files", a, b)
	}
	seen := map[int]bool{}
	var many []Export
	for n := range 2000 {
		many = append(many, Export{Path: fmt.Sprintf("/srv/%d", n)})
	}
	for path, id := range identities(many) {
		if seen[id] || id < 1000 || id > 64999 {
			t.Fatalf("%s has the number %d, which is another's or not one", path, id)
		}
		seen[id] = true
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		change func(*Config)
		field  string
	}{
		"a space in a path":       {"it would end the path", func(c *Config) { c.Exports[0].Path = "/srv/a *(rw)" }, "exports[media].path"},
		"a line in a path":        {"it would be an export of its own", func(c *Config) { c.Exports[0].Path = "/srv/a\n/ *(rw)" }, "exports[media].path"},
		"a quote in a path":       {"it would end the path", func(c *Config) { c.Exports[0].Path = `/srv/a"; Path = "/` }, "exports[media].path"},
		"the parent":              {"it would be another directory", func(c *Config) { c.Exports[0].Path = "/srv/../etc" }, "exports[media].path"},
		"the root":                {"it would be everything", func(c *Config) { c.Exports[0].Path = "/" }, "exports[media].path"},
		"a shell":                 {"it is no path", func(c *Config) { c.Exports[0].Path = "/$(reboot)" }, "exports[media].path"},
		"twice":                   {"one directory has one list of clients", func(c *Config) { c.Exports[1].Path = "/srv/media" }, "exports[empty].path"},
		"everybody":               {"it is no network", func(c *Config) { c.Exports[0].Clients[0].Network = "*" }, "exports[media].clients[0]"},
		"options behind":          {"they would count", func(c *Config) { c.Exports[0].Clients[0].Network = "10.0.0.0/24(no_root_squash)" }, "exports[media].clients[0]"},
		"an address in a network": {"it is written in two ways", func(c *Config) { c.Exports[0].Clients[0].Network = "10.0.0.5/24" }, "exports[media].clients[0]"},
		"a squash of no kind":     {"there are three", func(c *Config) { c.Exports[0].Clients[0].Squash = 7 }, "exports[media].clients[0].squash"},
		"a comment with a line":   {"it would be an export", func(c *Config) { c.About = "a\n/ *(rw)" }, "about"},
	} {
		t.Run(name, func(t *testing.T) {
			config := site()
			c.change(&config)
			for server, render := range map[string]func() ([]byte, error){"kernel": config.Kernel, "ganesha": config.Ganesha} {
				got, err := render()
				var refused *FieldError
				if !errors.As(err, &refused) || refused.Field != c.field || got != nil {
					t.Errorf("%s: %s: error %v, want one of %s", server, c.reason, err, c.field)
				}
			}
		})
	}
	for _, path := range []string{"/a b", "a", "/a\nb", `/a"`} {
		_, main := GaneshaMain("x", "/d", path)
		_, unit := GaneshaUnit("x", path)
		if main == nil || unit == nil {
			t.Errorf("the path %q is taken", path)
		}
	}
}

// FuzzRender declares paths and networks of all sorts: what is rendered reads as exactly what was declared.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{"/srv/data", "/srv/a *(rw)", "/a\n/ *(rw)", `/a";`, "/../x", "/", "", "/a//b", "/a/."} {
		f.Add(seed, "10.0.0.0/24", false)
	}
	for _, seed := range []string{"*", "10.0.0.1/32", "fd00::/64", "10.0.0.0/24(rw)", "::ffff:10.0.0.0/120", "fe80::%x/64"} {
		f.Add("/srv/data", seed, true)
	}
	f.Fuzz(func(t *testing.T, path, network string, readOnly bool) {
		c := Config{About: "HostService a/b", Exports: []Export{
			{Source: "a", Path: path, Clients: []Client{{Source: "c", Network: network, ReadOnly: readOnly}}},
			{Source: "b", Path: "/other", Clients: []Client{{Source: "d", Network: "10.9.9.9/32"}}},
		}}
		kernel, err := c.Kernel()
		if err != nil {
			return
		}
		var lines []string
		for line := range strings.SplitSeq(string(kernel), "\n") {
			if line != "" && line[0] != '#' {
				lines = append(lines, line)
			}
		}
		if len(lines) != 2 {
			t.Fatalf("two exports are %d lines: %q", len(lines), lines)
		}
		for _, line := range lines {
			if words := strings.Fields(line); len(words) != 2 || exported(line) != words[0] || words[0] != path && words[0] != "/other" {
				t.Fatalf("the line %q is not the export of %q", line, path)
			}
		}
		if got := c.KernelConflicts(map[string]string{"f": string(kernel)}); len(got) != 2 {
			t.Fatalf("%d of the exports are read again, want both: %v", len(got), got)
		}
		ganesha, err := c.Ganesha()
		if err != nil {
			t.Fatal(err)
		}
		if got := c.GaneshaConflicts(map[string]string{"f": string(ganesha)}); len(got) != 2 {
			t.Fatalf("%d of Ganesha's exports are read again, want both: %v", len(got), got)
		}
		if n := strings.Count(string(ganesha), "CLIENT"); n != 2 {
			t.Fatalf("two clients are %d", n)
		}
	})
}
