// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// moveTool and syncTool note which files take a name before their content is on disk.
const (
	moveTool = `#!/bin/sh
eval "from=\${$(($# - 1))}"
[ -L "$from" ] || grep -qxF -e "$from" DIR/synced 2>/dev/null || printf '%s\n' "$from" >>DIR/early
exec REAL "$@"
`
	syncTool = `#!/bin/sh
printf '%s\n' "$@" >>DIR/synced
exec REAL "$@"
`
)

// TestPowerLoss has every file on disk before a rename makes it what counts:
// else a machine that loses its power is left with an empty one, and an
// original would be lost with the record that speaks of it.
func TestPowerLoss(t *testing.T) {
	dir, m := newFolder(t)
	for name, text := range map[string]string{"mv": moveTool, "sync": syncTool} {
		tool, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		text = strings.NewReplacer("DIR", dir, "REAL", tool).Replace(text)
		if err := os.WriteFile(dir+"/bin/"+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/app/app.conf", []byte("theirs\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ value, reason string }{{"one", "first"}, {"two", "again"}, {"crash", "put back"}} {
		want := realState(dir, c.value)
		err := settled(t, m, func(seen Seen) ([]Step, error) { return Plan(planOwner, want, seen, PlanOptions{}) }, want)
		if (err != nil) != (c.value == "crash") {
			t.Errorf("%s: %v", c.reason, err)
		}
	}
	if err := settled(t, m, func(seen Seen) ([]Step, error) { return Clear(planOwner, seen), nil }, State{}); err != nil {
		t.Fatal(err)
	}
	if early, err := os.ReadFile(dir + "/early"); err == nil {
		t.Errorf("renamed before they were on disk:\n%s", early)
	}
	synced, err := os.ReadFile(dir + "/synced")
	if err != nil || !strings.Contains(string(synced), ".json.new\n") || !strings.Contains(string(synced), dir+"/store\n") {
		t.Errorf("neither record nor store are on disk: %v\n%s", err, synced)
	}
}

// TestEmptyRecord is told at once: a change would find it changed for ever.
func TestEmptyRecord(t *testing.T) {
	w := newWorld(t, "app")
	w.converge(service("one"))
	record := w.owner.record()
	w.sh("cp -p " + record + " /var/tmp/kept; true >" + record)
	if _, err := w.m.Observe(t.Context(), w.owner, service("two")); err == nil || !strings.Contains(err.Error(), record+": it is empty") {
		t.Errorf("Observe() = %v", err)
	}
	w.sh("mv /var/tmp/kept " + record)
	w.converge(service("two"))
	w.quiet(service("two"))
}
