// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// systemctl is all of systemd that the scripts need here: one unit whose state
// is a file, and a list of what it was told.
const systemctl = `#!/bin/sh
echo "$*" >>DIR/calls
case $1 in
is-system-running) echo running ;;
is-active) state=$(cat DIR/active); [ "$2" = -q ] || echo "$state"; [ "$state" = active ] ;;
start | restart) grep -q crash DIR/app/app.conf 2>/dev/null && { echo failed >DIR/active; echo "it does not come up"; exit 1; }; echo active >DIR/active ;;
stop) echo inactive >DIR/active ;;
enable) echo enabled >DIR/enabled ;;
disable) echo disabled >DIR/enabled ;;
show)
	shift 3
	first=yes
	for unit; do
		[ "$first" = yes ] || echo
		first=no
		printf 'Id=%s\nLoadState=loaded\nActiveState=%s\nSubState=x\nUnitFileState=%s\n' "$unit" "$(cat DIR/active)" "$(cat DIR/enabled)"
	done
	;;
esac
`

// folder runs the scripts by the computer's own shell and programs, with the
// store, the lock, the distribution and systemd in a folder of the test. The
// paths of its States are in there, too.
type folder struct {
	*local
	pairs   []string
	replace *strings.Replacer
}

func (f *folder) Run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	result, err := f.local.Run(ctx, argv, []byte(f.replace.Replace(string(stdin))))
	result.Stdout = bytes.ReplaceAll(result.Stdout, []byte(f.dir+"/store"), []byte(store))
	return result, err
}

func newFolder(t *testing.T, more ...string) (dir string, m *Machine) {
	t.Helper()
	dir = t.TempDir()
	me := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bin", "store", "app"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/systemctl", strings.ReplaceAll(systemctl, "DIR", dir), 0o755)
	write("bin/journalctl", "#!/bin/sh\necho journal of \"$@\"\n", 0o755)
	write("bin/dpkg-query", "#!/bin/sh\nexit 1\n", 0o755)
	write("os-release", "ID=debian\n", 0o644)
	write("active", "inactive\n", 0o644)
	write("enabled", "disabled\n", 0o644)
	pairs := []string{
		store, dir + "/store", "/run/phoenix-", dir + "/run-", "/etc/os-release", dir + "/os-release",
		"PATH=" + searchPath, "PATH=" + dir + "/bin:" + os.Getenv("PATH"), "root:root 0600", me + " 0600",
	}
	for _, text := range more {
		pairs = append(pairs, strings.NewReplacer("DIR", dir, "ME", me).Replace(text))
	}
	return dir, New(&folder{&local{dir: dir}, pairs, strings.NewReplacer(pairs...)}, Options{Clock: instant{}})
}

// realState is a State below a folder, of files that belong to whoever tests.
func realState(dir, value string) State {
	user, group := fmt.Sprint(os.Getuid()), fmt.Sprint(os.Getgid())
	odd := dir + `/app/it's $(odd) \x2d Grüße; "`
	return State{
		Dirs: []Dir{{Path: dir + "/app/parts", Owner: user, Group: group, Mode: 0o750}},
		Files: []File{
			{Path: dir + "/app/app.conf", Owner: user, Group: group, Mode: 0o640, Content: []byte(value + "\n"), Replaces: true, Validate: []string{"grep", "-v", "bad", "{}"}, Triggers: []Trigger{{"app.service", Restart}}},
			{Path: strings.TrimSuffix(odd, `"`), Owner: user, Group: group, Content: []byte{0, 1, 0xff, '\n'}},
			{Path: dir + "/app/parts/secret", Owner: user, Group: group, Secret: true, Content: []byte("hunter2\n")},
		},
		Units:  []Unit{{Name: "app.service", Enabled: true, Running: true}, {Name: `mnt-my\x2ddata.mount`}},
		Verify: []Command{{Name: "whole", Argv: []string{"test", "-f", dir + "/app/app.conf"}}},
		Probes: []Probe{{Name: "value", Argv: []string{"cat", dir + "/app/app.conf"}, Want: value, Match: "^[a-z ]+$", Patience: 1}},
		Reads:  []string{dir + "/app/*", dir + "/none/*"},
	}
}

// contents is all that is below a folder.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		raw, _ := os.ReadFile(path)    // a directory has none
		target, _ := os.Readlink(path) // nor a link but a link
		out = append(out, fmt.Sprintf("%s %s %q %s", strings.TrimPrefix(path, dir), info.Mode(), raw, target))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// settled does what is to be done, and then finds nothing.
func settled(t *testing.T, m *Machine, plan func(Seen) ([]Step, error), want State) error {
	t.Helper()
	for range 5 {
		seen, err := m.Observe(t.Context(), planOwner, want)
		if err != nil {
			return err
		}
		steps, err := plan(seen)
		if err != nil || len(steps) == 0 {
			return err
		}
		if err := steps[0].Do(t.Context(), m); err != nil {
			return err
		}
	}
	return errors.New("it does not come to an end")
}

// TestRealShell has the computer's own sh and coreutils carry out what the
// simulated machine did in the other tests.
func TestRealShell(t *testing.T) {
	dir, m := newFolder(t)
	apply := func(s State) error {
		return settled(t, m, func(seen Seen) ([]Step, error) { return Plan(planOwner, s, seen, PlanOptions{}) }, s)
	}
	if err := os.Symlink("/nowhere", dir+"/app/app.conf"); err != nil {
		t.Fatal(err)
	}
	empty := contents(t, dir+"/app")
	if err := apply(realState(dir, "one")); err != nil {
		t.Fatal(err)
	}
	seen, err := m.Observe(t.Context(), planOwner, realState(dir, "one"))
	if err != nil || !seen.Probes[0].OK || string(seen.Contents[dir+"/app/app.conf"]) != "one\n" || len(seen.Contents) != 2 {
		t.Errorf("%v, probes %+v, contents %q", err, seen.Probes, seen.Contents)
	}
	one := contents(t, dir+"/app")
	for _, c := range []struct {
		value, reason string
		kind          any
	}{
		{"bad", "refused by the validator", new(*ValidateError)}, {"crash", "the unit fails", new(*UnitError)}, {"0", "the probe fails", new(*ProbeError)},
	} {
		if err := apply(realState(dir, c.value)); !errors.As(err, c.kind) || strings.Contains(err.Error(), "not rolled back") {
			t.Errorf("%s: %v", c.reason, err)
		}
		if diff := changed(one, contents(t, dir+"/app")); diff != "" {
			t.Errorf("%s (-before +after):\n%s", c.reason, diff)
		}
		if err := apply(realState(dir, "one")); err != nil {
			t.Error(err)
		}
	}
	if err := apply(realState(dir, "two")); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir+"/store"); strings.Contains(got, "hunter2") || strings.Contains(got, ".old") || strings.Contains(got, ".tmp") || !strings.Contains(got, ".original Lrwx") {
		t.Errorf("the store is not tidy:\n%s", got)
	}
	if err := settled(t, m, func(seen Seen) ([]Step, error) { return Clear(planOwner, seen), nil }, State{}); err != nil {
		t.Fatal(err)
	}
	if diff := changed(empty, contents(t, dir+"/app")); diff != "" {
		t.Errorf("after the way back (-before +after):\n%s", diff)
	}
	if left, err := os.ReadDir(dir + "/store"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the store is left, with %v: %v", left, err)
	}
	if locks, _ := filepath.Glob(dir + "/run-*"); len(locks) > 0 { // the pattern is a good one
		t.Errorf("locks that are left: %v", locks)
	}
}

// TestExchangedDirectory lays a link where a directory was when it was looked
// at, as a guest can in what is exported to it: where it leads, nothing changes.
func TestExchangedDirectory(t *testing.T) {
	for _, c := range []struct{ at, reason string }{{"app/out", "itself"}, {"app", "the one above it"}} {
		dir, m := newFolder(t)
		if err := errors.Join(os.MkdirAll(dir+"/app/out", 0o755), os.MkdirAll(dir+"/victim/out", 0o700)); err != nil {
			t.Fatal(err)
		}
		want := State{Dirs: []Dir{{Path: dir + "/app/out", Mode: 0o777}}}
		seen, err := m.Observe(t.Context(), planOwner, want)
		if err != nil {
			t.Fatal(err)
		}
		steps, err := Plan(planOwner, want, seen, PlanOptions{})
		if err != nil || len(steps) != 1 {
			t.Fatalf("%+v, %v", steps, err)
		}
		if err := errors.Join(os.Rename(dir+"/"+c.at, dir+"/moved"), os.Symlink(dir+"/victim", dir+"/"+c.at)); err != nil {
			t.Fatal(err)
		}
		err = steps[0].Do(t.Context(), m)
		info, lookErr := os.Stat(dir + "/victim/out")
		top, topErr := os.Stat(dir + "/victim")
		if lookErr != nil || topErr != nil || err == nil || info.Mode().Perm() != 0o700 || top.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, and where the link leads: %v, %v (%v, %v)", c.reason, err, top.Mode(), info.Mode(), lookErr, topErr)
		}
		if err := errors.Join(os.Remove(dir+"/"+c.at), os.Rename(dir+"/moved", dir+"/"+c.at)); err != nil {
			t.Fatal(err)
		}
		if err := settled(t, m, func(seen Seen) ([]Step, error) { return Plan(planOwner, want, seen, PlanOptions{}) }, want); err != nil {
			t.Error(err)
		}
	}
}
