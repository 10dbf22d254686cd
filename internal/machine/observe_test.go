// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestObserve(t *testing.T) {
	w := newWorld(t, "app")
	w.sh("echo b >/etc/app/b.conf; printf '@end\\n\\0\\377' >/srv/x; mv /srv/x \"/etc/app/it's \\\"odd\\\".conf\"; ln -s /etc/app/b.conf /etc/app/l.conf; mkdir /etc/app/d.conf")
	want := State{
		Packages: []string{"app", "curl"},
		Files:    []File{{Path: "/etc/app/l.conf"}, {Path: "/etc/app/none.conf"}},
		Dirs:     []Dir{{Path: "/etc/app/d.conf"}},
		Units:    []Unit{{Name: "app.service"}, {Name: "nosuch.service"}, {Name: `mnt-my\x2ddata.mount`}},
		Probes: []Probe{
			{Name: "right", Argv: []string{"app-ask"}, Want: " distribution\n"},
			{Name: "wrong", Argv: []string{"app-ask"}, Want: "other"},
			{Name: "matched", Argv: []string{"app-ask"}, Match: "^(a|dist)[a-z]+$"},
			{Name: "missing", Argv: []string{"nosuch", "$(reboot)"}},
			{Name: "exit code", Argv: []string{"sh", "-c", "echo it hurts >&2; exit 3"}},
		},
		Reads: []string{"/etc/app/*.conf", "/etc/none/*"},
	}
	writes := w.sim.Writes()
	seen, err := w.m.Observe(t.Context(), w.owner, want)
	if err != nil {
		t.Fatal(err)
	}
	if n := w.sim.Writes() - writes; n != 0 || w.door.trips != 1 {
		t.Errorf("a look writes %d times in %d round trips", n, w.door.trips)
	}
	probes := []ProbeResult{
		{"right", true, 0, "distribution"}, {"wrong", false, 0, "distribution"}, {"matched", true, 0, "distribution"},
		{"missing", false, 127, "timeout: failed to run command 'nosuch': No such file or directory"}, {"exit code", false, 3, "it hurts"},
	}
	if len(seen.Probes) == 5 { // the words are timeout's
		probes[3].Output = seen.Probes[3].Output
	}
	if diff := cmp.Diff(probes, seen.Probes); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
	contents := map[string][]byte{
		"/etc/app/app.conf": []byte("distribution\n"), "/etc/app/b.conf": []byte("b\n"), "/etc/app/l.conf": []byte("b\n"),
		`/etc/app/it's "odd".conf`: []byte("@end\n\x00\xff"),
	}
	if diff := cmp.Diff(contents, seen.Contents); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}
	if got := seen.Paths["/etc/app/l.conf"]; got.Kind != "link" || got.Target != "/etc/app/b.conf" || got.Hash != "" {
		t.Errorf("a link: %+v", got)
	}
	if _, ok := seen.Paths["/etc/app/none.conf"]; ok || seen.Paths["/etc/app/d.conf"].Kind != "directory" || seen.Paths["/etc"].Kind != "directory" {
		t.Errorf("paths: %+v", seen.Paths)
	}
	if seen.Packages["app"] != "1.2-3" || seen.Packages["curl"] != "" || seen.OS != "debian" {
		t.Errorf("packages %v on %s", seen.Packages, seen.OS)
	}
	if u := seen.Units["app.service"]; !u.Runs() || !u.enabled() || seen.Units["nosuch.service"].Load != "not-found" || len(seen.Units) != 3 {
		t.Errorf("units: %+v", seen.Units)
	}
}

func TestReadTooLong(t *testing.T) {
	w := newWorld(t)
	w.sim.Fail("wc -c", 1, 0, "") // so that the size is not looked at
	w.sh("i=0; printf 0123456789abcdef >/etc/long; while [ $i -lt 15 ]; do cat /etc/long /etc/long >/etc/l2; mv /etc/l2 /etc/long; i=$((i+1)); done")
	w.sh("wc -c </dev/null") // uses the fault up
	_, err := w.m.Observe(t.Context(), w.owner, State{Reads: []string{"/etc/long"}})
	if err == nil || !strings.Contains(err.Error(), "/etc/long: it is longer") {
		t.Errorf("Observe() = %v", err)
	}
}

func TestForeign(t *testing.T) {
	file := File{Path: "/srv/a/file", Content: []byte("ours\n")}
	cases := map[string]struct {
		reason, line string
		replaces     bool
		plain, adopt string // the path that is refused; empty: taken
	}{
		"absent":          {"nothing in the way", "", false, "", ""},
		"there":           {"somebody's", "mkdir -p /srv/a; echo theirs >/srv/a/file", false, "/srv/a/file", ""},
		"replaces":        {"declared to be taken", "mkdir -p /srv/a; echo theirs >/srv/a/file", true, "", ""},
		"identical":       {"content, owner and mode", "mkdir -p /srv/a; echo ours >/srv/a/file", false, "", ""},
		"identical bytes": {"with another mode it is somebody's", "mkdir -p /srv/a; echo ours >/srv/a/file; chmod 600 /srv/a/file", false, "/srv/a/file", ""},
		"link":            {"is never followed", "mkdir -p /srv/a; echo ours >/srv/b; ln -s /srv/b /srv/a/file", false, "/srv/a/file", ""},
		"dangling":        {"is there, too", "mkdir -p /srv/a; ln -s /nowhere /srv/a/file", false, "/srv/a/file", ""},
		"directory":       {"is nobody's to take", "mkdir -p /srv/a/file", true, "/srv/a/file", "/srv/a/file"},
		"parent":          {"a file is no directory", "echo x >/srv/a", true, "/srv/a", "/srv/a"},
		"root's link":     {"of a parent is the administrator's own", "mkdir /srv/b; ln -s /srv/b /srv/a", false, "", ""},
		"another's link":  {"of a parent leads wherever they want", "mkdir /srv/b; ln -s /srv/b /srv/a; chown -h www-data /srv/a", true, "/srv/a", "/srv/a"},
	}
	for name, c := range cases {
		for _, adopt := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " adopt"}[adopt], func(t *testing.T) {
				w := newWorld(t)
				w.adopt = adopt
				w.sh(c.line)
				f := file
				f.Replaces = c.replaces
				before, refused := w.snapshot(), c.plain
				if adopt {
					refused = c.adopt
				}
				writes := w.sh("stat -c %y%i /srv/a/file")
				err := w.settle(State{Files: []File{f}}, w.planner(State{Files: []File{f}}))
				var foreign *ForeignError
				if refused == "" && err != nil || refused != "" && (!errors.As(err, &foreign) || !cmp.Equal(foreign.Paths, []string{refused})) {
					t.Fatalf("%s: %v", c.reason, err)
				}
				if name == "identical" && w.sh("stat -c %y%i /srv/a/file") != writes {
					t.Errorf("%s: it was written all the same", c.reason)
				}
				if refused == "" {
					w.quiet(State{Files: []File{f}})
					if got := w.sh("cat /srv/a/file"); got != "ours\n" {
						t.Errorf("%s: %q", c.reason, got)
					}
					w.clear()
				}
				if diff := changed(before, w.snapshot()); diff != "" {
					t.Errorf("%s (-before +after):\n%s", c.reason, diff)
				}
			})
		}
	}
}

func TestValidation(t *testing.T) {
	file := func(f File) State { return State{Files: []File{f}} }
	program := func(change func(*Artifact)) State {
		a := Artifact{
			URL: "https://mirror.lan:8443/step-ca_0.30.2.tar.gz?a=$b&c='d'%20", SHA256: strings.Repeat("0a", 32), Member: "step-ca_0.30.2/step-ca", Path: "/usr/local/bin/step-ca",
			Mode: 0o750, Triggers: []Trigger{{"step-ca.service", Restart}},
		}
		change(&a)
		return State{Artifacts: []Artifact{a}, Users: []User{{Name: "step-ca", Home: "/var/lib/step-ca"}, {Name: "_other"}}}
	}
	image := func(change func(*Image)) State {
		i := Image{Name: "registry.lan:5000/lab/a__b.c-d:1.2_x-Y", Archive: &Archive{URL: "https://mirror.lan/x.tar?a='b'", SHA256: strings.Repeat("0a", 32)}, Triggers: []Trigger{{"app.service", Restart}}}
		change(&i)
		return State{Images: []Image{i}}
	}
	pulled := func(name string) State { return State{Images: []Image{{Name: name}}} }
	cases := map[string]struct {
		reason string
		state  State
		says   string
	}{
		"image":           {"all of it", image(func(*Image) {}), ""},
		"image digest":    {"pinned", pulled("lab/app:1@sha256:" + strings.Repeat("0a", 32)), ""},
		"image option":    {"an option of docker", pulled("--all-tags"), "image"},
		"image command":   {"more than a name", pulled("x;reboot"), "image"},
		"image line":      {"two names", pulled("x:1\ny:1"), "image"},
		"image empty":     {"no name", pulled(""), "image"},
		"image upper":     {"docker refuses it, too", pulled("Lab/app"), "image"},
		"image tag":       {"docker refuses it, too", pulled("app:-x"), "image"},
		"image long":      {"longer than any", pulled(strings.Repeat("x", 513)), "image"},
		"image twice":     {"from where?", State{Images: []Image{{Name: "app"}, {Name: "app:latest"}}}, "twice"},
		"image archive":   {"a digest is of a registry", image(func(i *Image) { i.Name += "@sha256:" + strings.Repeat("0a", 32) }), "digest"},
		"image scheme":    {"curl would read a file", image(func(i *Image) { i.Archive.URL = "file:///etc/shadow" }), "http://"},
		"image hash":      {"of another archive", image(func(i *Image) { i.Archive.SHA256 = "" }), "64"},
		"image unit":      {"more than a unit", image(func(i *Image) { i.Triggers[0].Unit = "x; reboot" }), "trigger"},
		"early":           {"a source", file(File{Path: "/etc/apt/sources.list.d/x.sources", Early: true, Replaces: true, Validate: []string{"true"}}), ""},
		"early trigger":   {"of a unit that is not there yet", file(File{Path: "/etc/x", Early: true, Triggers: []Trigger{{"a.service", Reload}}}), "early"},
		"early refresh":   {"by a program that is not there yet", file(File{Path: "/etc/x", Early: true, Refresh: []string{"x"}}), "early"},
		"fine":            {"all kinds", service("one"), ""},
		"relative":        {"to what?", file(File{Path: "etc/x"}), "absolute"},
		"dots":            {"leads elsewhere", file(File{Path: "/etc/app/../shadow"}), "absolute"},
		"root":            {"is no file", file(File{Path: "/"}), "absolute"},
		"line break":      {"no path of a service has one", file(File{Path: "/etc/a\nb"}), "print"},
		"NUL":             {"ends a path", file(File{Path: "/etc/a\x00"}), "print"},
		"quote":           {"the record would not be readable", file(File{Path: `/etc/a"b`}), "double quote"},
		"not text":        {"nobody could read it", file(File{Path: "/etc/a\xff"}), "print"},
		"ours":            {"the record is not for it", file(File{Path: "/var/lib/phoenix/x"}), "below /var/lib/phoenix"},
		"kernel's":        {"no rename there", file(File{Path: "/proc/sys/net/x"}), "below /proc"},
		"twice":           {"which one?", State{Files: []File{{Path: "/etc/x"}, {Path: "/etc/x"}}}, "twice"},
		"file and folder": {"which one?", State{Dirs: []Dir{{Path: "/etc/x"}}, Files: []File{{Path: "/etc/x"}}}, "twice"},
		"owner":           {"an option of chown", file(File{Path: "/etc/x", Owner: "--reference=/etc/shadow"}), "owner"},
		"group":           {"two in one", file(File{Path: "/etc/x", Group: "a:b"}), "owner"},
		"mode":            {"not a permission", file(File{Path: "/etc/x", Mode: 0o100644}), "permission"},
		"package option":  {"an option of apt-get", State{Packages: []string{"--allow-unauthenticated"}}, "package"},
		"package file":    {"apt-get would install it", State{Packages: []string{"./x.deb"}}, "package"},
		"package version": {"would be a downgrade", State{Packages: []string{"x=1"}}, "package"},
		"unit option":     {"an option of systemctl", State{Units: []Unit{{Name: "--all.service"}}}, "unit"},
		"unit kind":       {"of which kind?", State{Units: []Unit{{Name: "app"}}}, "unit"},
		"unit glob":       {"more than one", State{Units: []Unit{{Name: "*.service"}}}, "unit"},
		"unit twice":      {"which one?", State{Units: []Unit{{Name: "a.service"}, {Name: "a.service", Running: true}}}, "twice"},
		"trigger":         {"more than a unit", file(File{Path: "/etc/x", Triggers: []Trigger{{"a.service; reboot", Reload}}}), "trigger"},
		"action":          {"not one of ours", file(File{Path: "/etc/x", Triggers: []Trigger{{"a.service", "kill"}}}), "action"},
		"validator":       {"nothing to run", file(File{Path: "/etc/x", Validate: []string{""}}), "validator"},
		"verify":          {"an option of timeout", State{Verify: []Command{{Name: "v", Argv: []string{"-k", "x"}}}}, "dash"},
		"probe":           {"nothing to run", State{Probes: []Probe{{Name: "p"}}}, "probe"},
		"probe match":     {"two patterns in one", State{Probes: []Probe{{Name: "p", Argv: []string{"x"}, Match: "a\nb"}}}, "line"},
		"long name":       {"a staged file's name is longer", file(File{Path: "/etc/" + strings.Repeat("x", 201)}), "200"},
		"refresh":         {"nothing to run", file(File{Path: "/etc/x", Refresh: []string{""}}), "refresh"},
		"user":            {"an option of useradd", State{Users: []User{{Name: "-o"}}}, "user"},
		"user number":     {"a number is no name", State{Users: []User{{Name: "100"}}}, "user"},
		"user twice":      {"which home?", State{Users: []User{{Name: "a"}, {Name: "a", Home: "/srv"}}}, "twice"},
		"home":            {"would give another shell", State{Users: []User{{Name: "a", Home: "/srv:/bin/sh"}}}, "home"},
		"artifact":        {"all of it", program(func(*Artifact) {}), ""},
		"artifact v6":     {"brackets of an address", program(func(a *Artifact) { a.URL = "http://[::1]:8080/x" }), ""},
		"artifact path":   {"a file is there, too", State{Files: []File{{Path: "/usr/bin/x"}}, Artifacts: program(func(a *Artifact) { a.Path = "/usr/bin/x" }).Artifacts}, "twice"},
		"artifact scheme": {"curl would read a file", program(func(a *Artifact) { a.URL = "file:///etc/shadow" }), "http://"},
		"artifact option": {"an option of curl", program(func(a *Artifact) { a.URL = "-K/etc/x" }), "http://"},
		"artifact host":   {"from where?", program(func(a *Artifact) { a.URL = "https:///x" }), "host"},
		"artifact user":   {"an argument is no place for a password", program(func(a *Artifact) { a.URL = "https://u:p@host/x" }), "password"},
		"artifact glob":   {"several to curl", program(func(a *Artifact) { a.URL = "https://host/x[1-9]" }), "%XX"},
		"artifact line":   {"two lines", program(func(a *Artifact) { a.URL = "https://host/x\ny" }), "http://"},
		"artifact hash":   {"of another program", program(func(a *Artifact) { a.SHA256 = "abc" }), "64"},
		"artifact member": {"an option of tar", program(func(a *Artifact) { a.Member = "--to-command=reboot" }), "member"},
		"artifact unit":   {"more than a unit", program(func(a *Artifact) { a.Triggers = []Trigger{{"x", Reload}} }), "trigger"},
		"read":            {"from where?", State{Reads: []string{"*"}}, "absolute"},
	}
	w := newWorld(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := w.m.Observe(t.Context(), w.owner, c.state)
			_, planned := Plan(w.owner, c.state, Seen{OS: "debian"}, PlanOptions{})
			var bad *InvalidError
			if c.says == "" {
				if err != nil || planned != nil {
					t.Errorf("%s: %v", c.reason, err)
				}
				return
			}
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.says) || !errors.As(planned, &bad) {
				t.Errorf("%s: %v, %v", c.reason, err, planned)
			}
		})
	}
	for _, owner := range []Owner{"", "a b", `a"b`, "a\nb", "-x"} {
		if _, err := w.m.Observe(t.Context(), owner, State{}); err == nil {
			t.Errorf("owner %q is taken", owner)
		}
	}
}
