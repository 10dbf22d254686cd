// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// archiveOf is an archive of a program at a version, as projects publish them.
func archiveOf(t *testing.T, version string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	archive := tar.NewWriter(z)
	for _, f := range [][2]string{{"tool/README.md", "read me"}, {"tool/empty", ""}, {"tool/bin/tool", "tool " + version + "\n"}} {
		err := archive.WriteHeader(&tar.Header{Name: f[0], Mode: 0o755, Size: int64(len(f[1]))})
		if _, more := archive.Write([]byte(f[1])); err != nil || more != nil {
			t.Fatal(err, more)
		}
	}
	if err := errors.Join(archive.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const mirror = "https://mirror.lan:8443/tool_"

// tooled is a State with a user of its own, a program from an archive, one that
// is a file, and files of which something is made.
func (w *world) tooled(version string) State {
	w.Helper()
	archive, plain := archiveOf(w.T, version), []byte("helper "+version+"\n")
	w.web.Put(mirror+version+".tar.gz?a=$HOME&b='c'", archive)
	w.web.Put(mirror+version, plain)
	return State{
		Users: []User{{Name: "tool", Home: "/var/lib/tool"}, {Name: "www-data"}},
		Artifacts: []Artifact{
			{
				URL: mirror + version + ".tar.gz?a=$HOME&b='c'", SHA256: fullHash(archive), Member: "tool/bin/tool", Path: "/usr/local/bin/tool",
				Triggers: []Trigger{{"app.service", Restart}},
			},
			{URL: mirror + version, SHA256: fullHash(plain), Path: "/usr/local/lib/tool/helper", Mode: 0o750},
		},
		Files: []File{
			{Path: "/etc/app/tool.conf", Owner: "tool", Group: "tool", Content: []byte("tool " + version + "\n")},
			{Path: "/etc/app/trust/a", Content: []byte("root " + version + "\n"), Refresh: []string{"app-refresh"}},
			{Path: "/etc/app/trust/b", Content: []byte("root b\n"), Refresh: []string{"app-refresh"}},
		},
		Units: []Unit{{Name: "app.service", Running: true}},
	}
}

const toolLook = "stat -c '%a %U:%G %n' /usr/local/bin/tool /usr/local/lib/tool/helper /etc/app/tool.conf; cat /usr/local/bin/tool /usr/local/lib/tool/helper /etc/app/bundle; " +
	"getent passwd tool | cut -d: -f1,6,7"

func (w *world) hasTool(version, reason string) {
	w.Helper()
	want := "755 root:root /usr/local/bin/tool\n750 root:root /usr/local/lib/tool/helper\n644 tool:tool /etc/app/tool.conf\n" +
		"tool VERSION\nhelper VERSION\nroot VERSION\nroot b\ntool:/var/lib/tool:/usr/sbin/nologin\n"
	if diff := cmp.Diff(strings.ReplaceAll(want, "VERSION", version), w.sh(toolLook)); diff != "" {
		w.Errorf("%s: the machine is not as it was wanted (-want +got):\n%s", reason, diff)
	}
}

func TestTool(t *testing.T) {
	w := newWorld(t, "app", "curl", "ca-certificates")
	w.sh("app-refresh")
	before := w.snapshot()
	one := w.tooled("1")
	if got := len(w.plan(one)); got != 3 { // two downloads, and the change
		t.Errorf("%d steps", got)
	}
	w.converge(one)
	w.hasTool("1", "first time")
	w.quiet(one)
	if got := w.sh("stat -c '%a %n' /var/lib/phoenix/*.d; ls -A /var/lib/phoenix/*.d | grep download; ls -d /var/lib/tool"); strings.Contains(got, "download") || strings.Contains(got, "/var/lib/tool\n") {
		t.Errorf("left behind, or made though nobody asked for it: %s", got)
	}
	starts, asked := w.app.starts, len(w.web.Requests())
	two := w.tooled("2")
	w.converge(two)
	w.hasTool("2", "another version")
	w.quiet(two)
	if w.app.starts != starts+1 || len(w.web.Requests()) != asked+2 {
		t.Errorf("%d starts and %d requests for another version", w.app.starts-starts, len(w.web.Requests())-asked)
	}
	moved := w.tooled("2")
	for i := range moved.Artifacts {
		moved.Artifacts[i].URL = strings.Replace(moved.Artifacts[i].URL, "mirror.lan", "elsewhere.lan", 1)
	}
	w.quiet(moved) // what is there is what it would give
	w.clear()
	if diff := changed(before, w.snapshot()); diff != "" {
		t.Errorf("after the way back (-before +after):\n%s", diff)
	}
	if got := w.sh("id -un tool"); got != "tool\n" {
		t.Errorf("a user went, whose files may be anywhere: %s", got)
	}
}

func TestToolDrift(t *testing.T) {
	cases := map[string]struct {
		reason, line string
		requests     int
	}{
		"edited":         {"the record knows what was put there", "echo x >>/usr/local/bin/tool", 1},
		"edited plain":   {"the declared hash knows, too", "echo x >>/usr/local/lib/tool/helper", 1},
		"gone":           {"with its folder", "rm -r /usr/local/lib/tool", 1},
		"mode":           {"without a download", "chmod 777 /usr/local/bin/tool", 0},
		"owner":          {"without a download", "chown www-data:www-data /usr/local/lib/tool/helper", 0},
		"link":           {"which is not followed", "mv /usr/local/bin/tool /srv/tool; ln -s /srv/tool /usr/local/bin/tool", 1},
		"both":           {"two downloads", "echo x >/usr/local/bin/tool; rm /usr/local/lib/tool/helper", 2},
		"left over":      {"by a killed download", "for d in /var/lib/phoenix/*.d; do echo x >$d/x.download.part; done; rm /usr/local/bin/tool", 1},
		"curl went":      {"and is not needed", "apt-get remove -y curl ca-certificates; chmod 700 /usr/local/bin/tool", 0},
		"curl is needed": {"and comes again", "apt-get remove -y curl ca-certificates; rm /usr/local/bin/tool", 1},
		"user":           {"is made again, and has its file", "sed -i '/^tool:/d' /etc/passwd", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "app", "curl", "ca-certificates")
			want := w.tooled("1")
			w.converge(want)
			w.sh(c.line)
			asked := len(w.web.Requests())
			if steps := w.plan(want); len(steps) == 0 || len(steps[0].Changes) == 0 {
				t.Errorf("%s: the plan shows nothing", c.reason)
			}
			w.converge(want)
			w.hasTool("1", c.reason)
			w.quiet(want)
			if got := len(w.web.Requests()) - asked; got != c.requests {
				t.Errorf("%s: %d requests, want %d", c.reason, got, c.requests)
			}
			if got := w.sh("ls -A /var/lib/phoenix/*.d"); strings.Contains(got, "download") {
				t.Errorf("%s: left behind: %s", c.reason, got)
			}
		})
	}
}

// A machine without curl gets it, and loses it again with the owner.
func TestToolBringsCurl(t *testing.T) {
	w := newWorld(t, "app")
	want := w.tooled("1")
	if steps := w.plan(want); steps[0].Message != "install ca-certificates curl" {
		t.Errorf("the first step is %s", steps[0].Message)
	}
	if err := w.settle(want, w.planner(want)); err != nil {
		w.Fatalf("%v after %q", err, w.web.Requests())
	}
	w.quiet(want)
	if got := w.sim.Packages(); got["curl"] == "" || got["ca-certificates"] == "" {
		t.Errorf("packages %v", got)
	}
	other := *w
	other.owner = "home/HostService/default/other"
	second := State{Artifacts: []Artifact{want.Artifacts[1]}}
	second.Artifacts[0].Path = "/usr/local/bin/other"
	other.converge(second)
	without := want
	without.Artifacts = nil
	w.converge(without)
	w.quiet(without)
	if got := w.sim.Packages(); got["curl"] != "" || got["ca-certificates"] != "" {
		t.Errorf("packages that nobody needs any more: %v", got)
	}
	other.quiet(second)
	other.clear()
	w.clear()
	if got := w.sh("ls /usr/local/bin/tool /usr/local/bin/other /var/lib/phoenix 2>&1 | grep -v 'No such'"); got != "" {
		t.Errorf("left behind: %s", got)
	}
}

func TestDownloadFails(t *testing.T) {
	cases := map[string]struct {
		reason string
		fault  func(*world, *State) (mended func())
		says   string // all of it but for the unit
	}{
		"404":     {"it names the URL and curl's words", func(w *world, _ *State) func() { return w.web.Fail("*tar.gz*", 0, 404, nil) }, "curl: (22) The requested URL returned error: 404"},
		"no host": {"curl's words", func(w *world, _ *State) func() { return w.web.Fail("*tar.gz*", 0, 0, sim.ErrNoHost) }, "curl: (6) Could not resolve host: mirror.lan"},
		"no route": {"curl's words", func(w *world, _ *State) func() { return w.web.Fail("*tar.gz*", 0, 0, syscall.EHOSTUNREACH) },
			"curl: (7) Failed to connect to mirror.lan port 8443 after 0 ms: Couldn't connect to server"},
		"cut": {"half of it is nothing", func(w *world, _ *State) func() { return w.web.Fail("*tar.gz*", 0, 0, sim.ErrCutShort) }, "curl: (18) transfer closed with outstanding read data remaining"},
		"hash": {"the mirror has something else", func(w *world, s *State) func() { w.web.Put(s.Artifacts[0].URL, []byte("evil")); return func() {} },
			"the SHA-256 of what it gives is " + fullHash([]byte("evil")) + ", want WANT"},
		"nothing":   {"the mirror has an empty file", func(w *world, s *State) func() { w.web.Put(s.Artifacts[0].URL, nil); return func() {} }, "the SHA-256 of what it gives is " + fullHash(nil) + ", want WANT"},
		"no member": {"tar's words", func(_ *world, s *State) func() { s.Artifacts[0].Member = "tool/bin/nosuch"; return func() {} }, "tar: tool/bin/nosuch: Not found in archive; tar: Exiting with failure status due to previous errors"},
		"empty":     {"no program is empty", func(_ *world, s *State) func() { s.Artifacts[0].Member = "tool/empty"; return func() {} }, "its member tool/empty is empty"},
		"no archive": {"tar's words", func(w *world, s *State) func() {
			w.web.Put(s.Artifacts[0].URL, []byte("text"))
			s.Artifacts[0].SHA256 = fullHash([]byte("text"))
			return func() {}
		}, "gzip: stdin: not in gzip format; tar: Child returned status 1; tar: Error is not recoverable: exiting now"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "app", "curl", "ca-certificates")
			one, two := w.tooled("1"), w.tooled("2")
			w.converge(one)
			mended := c.fault(w, &two)
			want := "download " + two.Artifacts[0].URL + " (UNIT): " + strings.ReplaceAll(c.says, "WANT", two.Artifacts[0].SHA256)
			for range 2 {
				failed := until[*JobError](w, two)
				if got := strings.ReplaceAll(failed.Error(), failed.Unit, "UNIT"); got != want {
					t.Errorf("%s:\n%s\nwant\n%s", c.reason, got, want)
				}
				w.hasTool("1", "what was there stays")
			}
			if got := w.sh("ls -A /var/lib/phoenix/*.d; systemctl list-units --all 'phoenix-*'"); strings.Contains(got, "download") || strings.Contains(got, "failed") {
				t.Errorf("%s: left behind: %s", c.reason, got)
			}
			mended()
			three := w.tooled("3")
			w.converge(three)
			w.hasTool("3", "another one is wanted")
			w.quiet(three)
		})
	}
}

// TestDownloadIsGivenUp fails, and then nobody wants it any more.
func TestDownloadIsGivenUp(t *testing.T) {
	w := newWorld(t, "app", "curl", "ca-certificates")
	w.sh("app-refresh")
	before := w.snapshot()
	want := w.tooled("1")
	w.web.Fail("*", 0, 404, nil)
	_ = until[*PendingError](w, want)
	for n := 0; !strings.Contains(w.sh("systemctl list-units --all 'phoenix-*'"), "failed"); n++ {
		if n == 400 {
			t.Fatal("the download does not fail")
		}
		time.Sleep(2 * time.Millisecond)
	}
	w.clear()
	if diff := changed(before, w.snapshot()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if got := w.sh("systemctl list-units --all 'phoenix-*'"); strings.Contains(got, "failed") {
		t.Errorf("the failed unit stays on systemd's list:\n%s", got)
	}
}

// One download does for two places, and another owner's place is not taken.
func TestToolInTwoPlaces(t *testing.T) {
	w := newWorld(t, "app", "curl", "ca-certificates")
	a := w.tooled("1").Artifacts[0]
	b := a
	b.Path, b.Mode = "/usr/local/sbin/tool", 0o700
	want := State{Artifacts: []Artifact{a, b}}
	w.converge(want)
	w.quiet(want)
	if got := w.sh("stat -c %a /usr/local/bin/tool /usr/local/sbin/tool; cat /usr/local/sbin/tool"); got != "755\n700\ntool 1\n" || len(w.web.Requests()) != 1 {
		t.Errorf("%q after %q", got, w.web.Requests())
	}
	other := *w
	other.owner, other.adopt = "home/HostService/default/other", true
	var foreign *ForeignError
	if _, err := other.pass(State{Artifacts: []Artifact{b}}, other.planner(State{Artifacts: []Artifact{b}})); !errors.As(err, &foreign) || foreign.Owner != w.owner {
		t.Errorf("a place of another owner: %v", err)
	}
}

// TestDownloadIsTriedAgain leaves a mirror that is away alone until it is back.
func TestDownloadIsTriedAgain(t *testing.T) {
	w := newWorld(t, "app", "curl", "ca-certificates")
	want := w.tooled("1")
	w.web.Fail("*", 2, 503, nil)
	for range 2 {
		if failed := until[*JobError](w, want); !strings.Contains(failed.Error(), "503") {
			t.Error(failed)
		}
	}
	w.converge(want)
	w.hasTool("1", "the mirror is back")
	w.quiet(want)
}

func TestDownloadGoesOn(t *testing.T) {
	w := newWorld(t, "app", "curl", "ca-certificates")
	want := w.tooled("1")
	release := w.sim.Hold("curl *")
	pending := until[*PendingError](w, want)
	if !strings.HasPrefix(pending.What, "phoenix-") || !strings.Contains(pending.What, "(download "+want.Artifacts[0].URL+")") {
		t.Errorf("it does not say what is waited for: %v", pending)
	}
	w.sim.Halt() // a boot in the middle
	release()
	w.sim.Boot()
	w.converge(want)
	w.hasTool("1", "after a boot")
	w.quiet(want)
}

func TestToolIsForeign(t *testing.T) {
	cases := map[string]struct {
		reason, line string
		refused      string
		adopt        bool
		requests     int
	}{
		"there":     {"somebody's", "echo theirs >/usr/local/bin/tool; chmod 700 /usr/local/bin/tool", "/usr/local/bin/tool", false, 0},
		"adopt":     {"it is kept and comes back", "echo theirs >/usr/local/bin/tool; chmod 700 /usr/local/bin/tool", "", true, 2},
		"link":      {"it is kept and comes back", "ln -s /bin/true /usr/local/bin/tool", "", true, 2},
		"identical": {"that it is what the URL would give, its hash says", "mkdir -p /usr/local/lib/tool; printf 'helper 1\\n' >/usr/local/lib/tool/helper; chmod 750 /usr/local/lib/tool/helper", "", false, 1},
		"folder":    {"is nobody's to take", "mkdir -p /usr/local/bin/tool", "/usr/local/bin/tool", true, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "app", "curl", "ca-certificates")
			w.adopt = c.adopt
			w.sh("app-refresh; " + c.line)
			before := w.snapshot()
			want := w.tooled("1")
			err := w.settle(want, w.planner(want))
			var foreign *ForeignError
			if c.refused == "" && err != nil || c.refused != "" && (!errors.As(err, &foreign) || !cmp.Equal(foreign.Paths, []string{c.refused})) {
				t.Fatalf("%s: %v", c.reason, err)
			}
			if got := len(w.web.Requests()); got != c.requests {
				t.Errorf("%s: %d requests", c.reason, got)
			}
			if c.refused == "" {
				w.hasTool("1", c.reason)
				w.quiet(want)
			}
			w.clear()
			if diff := changed(before, w.snapshot()); diff != "" && name != "identical" {
				t.Errorf("%s (-before +after):\n%s", c.reason, diff)
			}
		})
	}
}

// TestToolIsRefused puts the old program back when the unit does not come up
// with the new one, and does not download the new one for every try.
func TestToolIsRefused(t *testing.T) {
	w := newWorld(t, "app", "curl", "ca-certificates")
	one, two := w.tooled("1"), w.tooled("2")
	w.converge(one)
	before, refreshes := w.snapshot(), w.app.refreshes
	two.Probes = []Probe{{Name: "version", Argv: []string{"grep", "-q", "tool 1", "/usr/local/bin/tool"}, Patience: time.Millisecond}}
	for range 3 {
		var probe *ProbeError
		if err := w.settle(two, w.planner(two)); !errors.As(err, &probe) || !probe.Complete {
			t.Fatalf("%v", err)
		}
		w.hasTool("1", "it was put back")
	}
	if got := len(w.web.Requests()); got != 4 {
		t.Errorf("%d requests", got)
	}
	if w.app.refreshes != refreshes+6 {
		t.Errorf("%d refreshes: once a change and once on the way back", w.app.refreshes-refreshes)
	}
	w.converge(one)
	w.quiet(one)
	if diff := changed(before, w.snapshot()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestUserWithGroup(t *testing.T) {
	w := newWorld(t)
	w.sh("groupadd --system tool")
	want := State{Users: []User{{Name: "tool"}}}
	if steps := w.plan(want); len(steps) != 1 || steps[0].Message != "make user tool" || !cmp.Equal(steps[0].Changes, []Change{{What: "user tool", To: "made", Impact: ImpactNone}}) {
		t.Errorf("%+v", steps)
	}
	w.converge(want)
	w.quiet(want)
	if got := w.sh("id -gn tool; getent passwd tool | cut -d: -f6; ls /var/lib/phoenix 2>&1"); !strings.HasPrefix(got, "tool\n/nonexistent\n") || !strings.Contains(got, "No such file") {
		t.Error(got)
	}
}

func TestUserIsRefused(t *testing.T) {
	w := newWorld(t, "app")
	before := w.snapshot()
	w.sim.Fail("useradd *", 1, 1, "useradd: cannot lock /etc/passwd; try again later.")
	want := State{Users: []User{{Name: "tool"}}, Files: []File{{Path: "/etc/app/x", Owner: "tool"}}}
	err := w.settle(want, w.planner(want))
	if err == nil || err.Error() != "rolled back: write user tool: useradd: cannot lock /etc/passwd; try again later." {
		t.Error(err)
	}
	if diff := changed(before, w.snapshot()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	w.converge(want)
	w.quiet(want)
}

// TestToolIsCut breaks the connection around both kinds of steps.
func TestToolIsCut(t *testing.T) {
	for name, when := range map[string]sim.Cut{"before": sim.CutBefore, "during": sim.CutDuring, "after": sim.CutAfter} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "app", "curl", "ca-certificates")
			one, two := w.tooled("1"), w.tooled("2")
			w.converge(one)
			cut := 0
			for range 400 {
				seen, err := w.m.Observe(t.Context(), w.owner, two)
				var pending *PendingError
				var moved *ChangedError // by the step that was cut and goes on
				if errors.As(err, &pending) {
					time.Sleep(2 * time.Millisecond)
					continue
				}
				steps, planned := w.planner(two)(seen)
				if err != nil || planned != nil {
					t.Fatal(err, planned)
				}
				if len(steps) == 0 {
					break
				}
				if cut++; cut%2 == 1 { // each is cut once, and tried again
					w.sim.Cut("sh", 1, when)
				}
				if err := steps[0].Do(t.Context(), w.m); err != nil && !IsAway(err) && !errors.As(err, &pending) && !errors.As(err, &moved) {
					t.Fatalf("%s: %v", steps[0].Message, err)
				}
			}
			w.hasTool("2", name)
			w.quiet(two)
		})
	}
}
