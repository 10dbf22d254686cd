// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const owner = machine.Owner("home/Guest/lab/web/trust")

// instant is a clock whose timers fire at once.
type instant struct{ clock.RealClock }

func (i instant) NewTimer(time.Duration) clock.Timer { return i.RealClock.NewTimer(0) }

// world is a simulated machine and the way to it.
type world struct {
	*testing.T
	sim *sim.Machine
	run *machine.Machine
}

func newWorld(t *testing.T, installed ...string) *world {
	t.Helper()
	w := &world{T: t, sim: sim.New(sim.Options{Hostname: "web", Installed: installed})}
	w.sim.Boot()
	t.Cleanup(w.sim.Halt)
	w.run = machine.New(w, machine.Options{Clock: instant{}})
	return w
}

// Run runs a command on the simulated machine.
func (w *world) Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error) {
	var out, errs bytes.Buffer
	exit, err := w.sim.Session(ctx, argv, bytes.NewReader(stdin), &out, &errs)
	if err != nil {
		return machine.Result{}, machine.Away(err)
	}
	return machine.Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), ExitCode: exit}, nil
}

func (w *world) shell(line string) string {
	w.Helper()
	var out bytes.Buffer
	if exit := w.sim.Shell(w.Context(), line, strings.NewReader(""), &out, &out); exit != 0 {
		w.Fatalf("%s: exit %d: %s", line, exit, &out)
	}
	return out.String()
}

// trusted says whether a program on the machine trusts the root.
func (w *world) trusted(r Root) bool {
	text, err := w.sim.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	return err == nil && strings.Contains(text, string(r.pem()))
}

func (w *world) look(roots ...Root) *Store {
	w.Helper()
	for range 200 { // a job may run
		s, err := Look(w.Context(), w.run, owner, roots)
		var pending *machine.PendingError
		if err == nil {
			return s
		}
		if !errors.As(err, &pending) {
			w.Fatal(err)
		}
	}
	w.Fatal("a job does not end")
	return nil
}

// reach takes steps until none is left.
func (w *world) reach(o Options, roots ...Root) *Store {
	w.Helper()
	for range 50 {
		s := w.look(roots...)
		steps, err := s.Plan(o)
		if err != nil {
			w.Fatal(err)
		}
		if len(steps) == 0 {
			return s
		}
		var pending *machine.PendingError
		if err := steps[0].Do(w.Context(), w.run); err != nil && !errors.As(err, &pending) {
			w.Fatalf("%s: %v", steps[0].Message, err)
		}
	}
	w.Fatal("it does not come to an end")
	return nil
}

// TestStore walks a store through its life: from a bare machine, over a rotation, to what was before.
func TestStore(t *testing.T) {
	for name, installed := range map[string][]string{"bare": nil, "with the package": {"ca-certificates"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, installed...)
			one, two := newRoot(t, "One Root CA"), newRoot(t, "Two Root CA")
			s := w.reach(Options{}, one)
			if len(s.Missing()) != 0 || !w.trusted(one) || len(s.Ours()) != 1 {
				t.Errorf("want it trusted: missing %v, ours %v", s.Missing(), s.Ours())
			}
			writes := w.sim.Writes()
			w.reach(Options{}, one)
			if w.sim.Writes() != writes {
				t.Errorf("%d writes in sync", w.sim.Writes()-writes)
			}
			w.reach(Options{}, two, one)
			if !w.trusted(one) || !w.trusted(two) {
				t.Error("both are trusted during a rotation")
			}
			writes = w.sim.Writes()
			w.reach(Options{}, one, two)
			if w.sim.Writes() != writes {
				t.Error("the order of the roots is no difference")
			}
			w.reach(Options{}, two)
			if w.trusted(one) || !w.trusted(two) {
				t.Error("what left the bundle is trusted no more, the other is")
			}
			s = w.reach(Options{Keep: true})
			if !w.trusted(two) {
				t.Error("what may be of an authority that is not known stays")
			}
			if diff := cmp.Diff([]string{two.Fingerprint}, Fingerprints(s.Ours())); diff != "" {
				t.Errorf("ours (-want +got):\n%s", diff)
			}
			w.reach(Options{Keep: true}, one)
			if !w.trusted(one) || !w.trusted(two) {
				t.Error("one comes, the other stays")
			}
			w.reach(Options{})
			if w.trusted(one) || w.trusted(two) {
				t.Error("nothing of ours is trusted in the end")
			}
			_, there := w.sim.Packages()["ca-certificates"]
			if there != (len(installed) > 0) {
				t.Errorf("the package is there: %t", there)
			}
			if left := strings.TrimSpace(w.shell("find /var/lib -name '*phoenix*'; find /usr/local -name '*phoenix*'; find /etc/ssl -name '*.crt' -name '*phoenix*'")); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

// TestDrift has what people do to a store seen and put right.
func TestDrift(t *testing.T) {
	w := newWorld(t, "ca-certificates")
	one := newRoot(t, "One Root CA")
	w.reach(Options{}, one)
	for reason, line := range map[string]string{
		"the file is gone":                   "rm " + one.path(),
		"the file and the bundle":            "rm " + one.path() + " && update-ca-certificates",
		"the file is another":                "echo hello >" + one.path() + " && update-ca-certificates",
		"it may not be read":                 "chmod 600 " + one.path(),
		"the bundle is without it":           "cp " + one.path() + " /tmp/one && rm " + one.path() + " && update-ca-certificates && cp /tmp/one " + one.path(),
		"the bundle is gone":                 "rm /etc/ssl/certs/ca-certificates.crt",
		"the package is gone":                "apt-get remove -y ca-certificates",
		"the record is gone, and the bundle": "rm -r /var/lib/phoenix && rm " + one.path() + " && update-ca-certificates",
	} {
		w.shell(line)
		s := w.reach(Options{}, one)
		if len(s.Missing()) != 0 || !w.trusted(one) || len(s.Ours()) != 1 {
			t.Errorf("%s: missing %v, ours %v", reason, s.Missing(), s.Ours())
		}
	}
	w.shell("rm /etc/ssl/certs/ca-certificates.crt")
	heal := w.sim.Fail("update-ca-certificates*", 0, 1, "no space left on device\n")
	s := w.look(one)
	steps, err := s.Plan(Options{})
	if err != nil || len(steps) != 1 || len(s.Missing()) != 1 {
		t.Fatalf("want one step: %v, %v", steps, err)
	}
	var failed *RefreshError
	if err := steps[0].Do(t.Context(), w.run); !errors.As(err, &failed) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("want the program's words: %v", err)
	}
	heal()
	w.reach(Options{}, one)
}

// TestRefreshFails has a root that cannot be taken put back, and one that cannot be let go of stay.
func TestRefreshFails(t *testing.T) {
	w := newWorld(t, "ca-certificates")
	one, two := newRoot(t, "One Root CA"), newRoot(t, "Two Root CA")
	w.reach(Options{}, one)
	for reason, wanted := range map[string][]Root{"to take one": {one, two}, "to let go of one": {two}, "to let go of all": nil} {
		heal := w.sim.Fail("update-ca-certificates*", 0, 1, "rehash: error\n")
		steps, err := w.look(wanted...).Plan(Options{})
		if err != nil || len(steps) != 1 {
			t.Fatalf("%s: want one step: %v, %v", reason, steps, err)
		}
		if err := steps[0].Do(t.Context(), w.run); err == nil || !strings.Contains(err.Error(), "rehash: error") {
			t.Errorf("%s: want the program's words: %v", reason, err)
		}
		heal()
		if s := w.look(one); !w.trusted(one) || w.trusted(two) || len(s.Ours()) != 1 {
			t.Errorf("%s: want it as before: %v", reason, s.Ours())
		}
	}
	w.reach(Options{})
}

// TestForeign leaves what others have put there alone.
func TestForeign(t *testing.T) {
	w := newWorld(t, "ca-certificates")
	one, two := newRoot(t, "One Root CA"), newRoot(t, "Two Root CA")
	theirs := two.path()
	if err := w.sim.WriteFile(theirs, string(two.pem()), 0o644); err != nil {
		t.Fatal(err)
	}
	w.reach(Options{Keep: true}, one)
	w.reach(Options{})
	if _, err := w.sim.ReadFile(theirs); err != nil {
		t.Errorf("a root of somebody's, under such a name: %v", err)
	}
	if err := w.sim.WriteFile(one.path(), "mine", 0o644); err != nil {
		t.Fatal(err)
	}
	var foreign *machine.ForeignError
	if _, err := w.look(one).Plan(Options{}); !errors.As(err, &foreign) {
		t.Errorf("want a foreign file named: %v", err)
	}
	w.reach(Options{Adopt: true}, one)
	w.reach(Options{})
	if text, err := w.sim.ReadFile(one.path()); err != nil || text != "mine" {
		t.Errorf("what was taken over comes back: %q, %v", text, err)
	}
}

// TestDescribe names the roots that a change concerns.
func TestDescribe(t *testing.T) {
	w := newWorld(t)
	one, two := newRoot(t, "One Root CA"), newRoot(t, "Two Root CA")
	w.reach(Options{}, one)
	w.shell("chmod 600 " + one.path())
	s := w.look(two)
	steps, err := s.Plan(Options{})
	if err != nil || len(steps) != 1 {
		t.Fatalf("want one step: %v, %v", steps, err)
	}
	got := map[string]string{}
	for _, c := range steps[0].Changes {
		from, to := s.Describe(c)
		got[from] = to
	}
	if diff := cmp.Diff(map[string]string{"": two.String(), one.String(): ""}, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}
