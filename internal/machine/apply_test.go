// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const wanted = `one
enabled
active
644 root:root /etc/app/app.conf
750 root:app /etc/app/parts
600 root:root /etc/app/token
640 root:app /etc/app/parts/it's a part
644 root:root /etc/systemd/system/mnt-my\x2ddata.mount.d/50-app.conf
$(reboot)
password=hunter2-correct-horse
`

const look = "app-ask; systemctl is-enabled app; systemctl is-active app; stat -c '%a %U:%G %n' /etc/app/* /etc/app/parts/* /etc/systemd/system/mnt*/*; cat /etc/app/parts/* /etc/app/token"

func (w *world) isAsWanted(reason string) {
	w.Helper()
	if diff := cmp.Diff("  "+wanted, w.sh(look)); diff != "" {
		w.Errorf("%s: the machine is not as it was wanted (-want +got):\n%s", reason, diff)
	}
}

func TestFirstTimeAndBack(t *testing.T) {
	w := newWorld(t)
	want := service("one")
	w.converge(want)
	w.isAsWanted("first time")
	w.quiet(want)
	if got := w.sh("stat -c '%a %U %n' /var/lib/phoenix /var/lib/phoenix/*; ls -A /etc/app /etc/app/parts /run"); strings.Contains(got, "phoenix-") {
		t.Errorf("something is left over:\n%s", got)
	}
	if got := w.sh("stat -c %a /var/lib/phoenix /var/lib/phoenix/*"); got != "700\n700\n600\n" {
		t.Errorf("the record is open to others: %s", got)
	}
	w.sh("echo data >/etc/app/parts/data")
	w.clear()
	// Data stays, and a package's configuration files do when it is removed.
	got := w.sh("find /etc/app /var/lib /run/phoenix*; ls -d /etc/systemd/system/mnt*; cat /etc/app/app.conf; stat -c '%a %U:%G' /etc/app/app.conf 2>&1")
	if want := "/etc/app\n/etc/app/app.conf\n/etc/app/parts\n/etc/app/parts/data\n/var/lib\n"; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "distribution\n640 root:root\n") || strings.Contains(got, "50-app") {
		t.Errorf("after the way back:\n%s", got)
	}
	if _, ok := w.sim.Packages()["app"]; ok {
		t.Error("a package that we installed stays")
	}
	if seen, err := w.m.Observe(t.Context(), w.owner, State{}); err != nil || len(Clear(w.owner, seen)) > 0 {
		t.Errorf("a second way back: %v", err)
	}
}

func TestWhatWasThereStays(t *testing.T) {
	w := newWorld(t, "app")
	w.sh("echo mine >/etc/app/token; chmod 604 /etc/app/token; mkdir -m 711 /etc/app/parts; ln -s /etc/hostname /etc/app/link")
	before := w.snapshot()
	want := service("one")
	want.Files = append(want.Files, File{Path: "/etc/app/link", Replaces: true, Content: []byte("x")})
	w.adopt = true
	w.converge(want)
	w.quiet(want)
	w.clear()
	if diff := changed(before, w.snapshot()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if got := w.sh("readlink /etc/app/link; cat /etc/hostname"); got != "/etc/hostname\npve\n" {
		t.Errorf("a link was followed: %s", got)
	}
	if got := w.sh("app-ask"); got != "  distribution\n" {
		t.Errorf("the service does not know that everything is as it was: %s", got)
	}
}

func TestDriftIsPutBack(t *testing.T) {
	cases := map[string]struct{ reason, line string }{
		"content":        {"edited", "echo edited >/etc/app/app.conf"},
		"secret":         {"edited", "echo edited >/etc/app/token"},
		"mode":           {"opened", "chmod 666 /etc/app/token"},
		"owner":          {"given away", "chown app:app /etc/app/app.conf"},
		"gone":           {"removed", "rm /etc/app/app.conf '/etc/app/parts/it'\\''s a part'"},
		"link":           {"replaced by a link, which is not followed", "cp /etc/hostname /etc/h2; rm /etc/app/app.conf; ln -s /etc/h2 /etc/app/app.conf"},
		"directory":      {"opened", "chmod 777 /etc/app/parts; chown app /etc/app/parts; chown root /etc/app/parts"},
		"directory gone": {"removed with all", "rm -r /etc/app/parts"},
		"stopped":        {"by hand", "systemctl stop app"},
		"disabled":       {"by hand", "systemctl disable app"},
		"package":        {"removed", "apt-get remove -y app"},
		"drop-in":        {"removed with its directory", "rm -r /etc/systemd/system/mnt*"},
		"staged":         {"what a killed change left", "echo x >/etc/app/.app.conf.phoenix-new; echo y >/etc/app/app.conf"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			want := service("one")
			w.converge(want)
			w.sh(c.line)
			if steps := w.plan(want); len(steps) == 0 || len(steps[0].Changes) == 0 {
				t.Errorf("%s: the plan shows nothing", c.reason)
			}
			w.converge(want)
			w.isAsWanted(c.reason)
			w.quiet(want)
			if got := w.sh("ls -A /etc/app; cat /etc/h2 2>/dev/null"); strings.Contains(got, "phoenix-new") || strings.Contains(got, "one") {
				t.Errorf("%s: %s", c.reason, got)
			}
		})
	}
}

func TestChangeOfMind(t *testing.T) {
	w := newWorld(t, "app")
	w.sh("systemctl disable --now app; systemctl stop app")
	first := service("one")
	w.converge(first)
	second := service("two")
	second.Files = second.Files[:1]
	second.Dirs, second.Units = nil, nil
	second.Probes = nil
	w.converge(second)
	w.quiet(second)
	got := w.sh("ls -A /etc/app; cat /etc/app/app.conf; ls -d /etc/systemd/system/mnt*; systemctl is-active app; systemctl is-enabled app")
	if !strings.HasPrefix(got, "app.conf\ntwo\n") || !strings.HasSuffix(got, "inactive\ndisabled\n") || strings.Contains(got, "50-app") {
		t.Errorf("what is no longer wanted: %s", got)
	}
}

func TestTriggers(t *testing.T) {
	w := newWorld(t)
	want := service("one")
	w.converge(want)
	counts := func() [2]int { return [2]int{w.app.starts, w.app.reload} }
	before := counts()
	want.Files[1].Content = []byte("changed\n")
	w.converge(want)
	if got := counts(); got != [2]int{before[0], before[1] + 1} {
		t.Errorf("one file that reloads: %v after %v", got, before)
	}
	before = counts()
	want.Files[0].Content, want.Files[1].Content, want.Probes[0].Want = []byte("two\n"), []byte("again\n"), "two"
	w.converge(want)
	if got := counts(); got != [2]int{before[0] + 1, before[1]} {
		t.Errorf("a restart goes before a reload, and once: %v after %v", got, before)
	}
	before = counts()
	want.Files[2].Content = []byte("password=other\n")
	w.converge(want)
	if got := counts(); got != before {
		t.Errorf("a file without triggers: %v after %v", got, before)
	}
}

// TestFailedChange has each way to fail put everything back, at the first time
// and later.
func TestFailedChange(t *testing.T) {
	is := func(target any) func(error) bool { return func(err error) bool { return errors.As(err, target) } }
	cases := map[string]struct {
		reason string
		change func(*State)
		fault  string
		kind   func(error) bool
		says   string
	}{
		"validator": {"it refuses a staged file", func(s *State) { s.Files[0].Content = []byte("bad\n") }, "", is(new(*ValidateError)), "line 1"},
		"verify":    {"everything together is refused", func(s *State) { s.Files[3].Content, s.Verify[0].Argv = []byte("[Unit]\n"), []string{"false"} }, "", is(new(*ValidateError)), "all files"},
		"restart":   {"the unit does not come up again", func(s *State) { s.Files[0].Content = []byte("crash\n") }, "", is(new(*UnitError)), "configuration refused"},
		"probe":     {"the service answers something else", func(s *State) { s.Files[0].Content = []byte("mute three\n") }, "", is(new(*ProbeError)), `got "three"`},
		"match": {"the service answers something else", func(s *State) {
			s.Files[3].Content, s.Probes[0].Want, s.Probes[0].Match = []byte("[Unit]\n"), "", "^nine$"
		}, "", is(new(*ProbeError)), "probe answer"},
		"owner":  {"nobody has that name", func(s *State) { s.Files[1].Owner = "nosuch" }, "", func(err error) bool { return err != nil }, "invalid user"},
		"rename": {"the second file does not go in", func(s *State) { s.Files[0].Content, s.Files[1].Content = []byte("two\n"), []byte("x\n") }, "mv -f -T *part*", func(err error) bool { return err != nil }, "no space"},
		"reload": {"systemd does not listen", func(s *State) { s.Files[3].Content = []byte("[Unit]\n") }, "systemctl daemon-reload", is(new(*UnitError)), "no space"},
		"secret": {"a validator that prints what it reads tells nothing", func(s *State) {
			s.Files[2].Content = []byte("password=bad-hunter2-battery\n")
			s.Files[2].Validate = []string{"app-check", "{}"}
		}, "", is(new(*ValidateError)), "[secret]"},
	}
	for name, c := range cases {
		for _, later := range []bool{false, true} {
			t.Run(name+map[bool]string{false: " first", true: " later"}[later], func(t *testing.T) {
				w := newWorld(t, "app")
				if later {
					w.converge(service("one"))
				}
				before := w.snapshot()
				want := service("one")
				want.Probes[0].Patience = 10 * time.Millisecond
				if !later {
					want.Files[0].Replaces = true
				}
				c.change(&want)
				if c.fault != "" {
					w.sim.Fail(c.fault, 1, 1, "no space left")
				}
				err := w.settle(want, w.planner(want))
				if !c.kind(err) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
					t.Fatalf("%s: %v", c.reason, err)
				}
				if diff := changed(before, w.snapshot()); diff != "" {
					t.Errorf("%s: %v\nand it is not as it was (-before +after):\n%s", c.reason, err, diff)
				}
				if later {
					w.quiet(service("one"))
				}
				good := service("one")
				w.converge(good)
				w.isAsWanted(c.reason)
				w.quiet(good)
			})
		}
	}
}
