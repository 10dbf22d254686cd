// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// TestPower switches guests off and on, from the spec and against what people do.
func TestPower(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	for name, base := range map[string]string{"container": container, "vm": vm} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, set{})
			s.guest(name, base, `{power: Stopped, rootDisk: {size: 1Gi}, shutdownTimeout: 30s}`)
			g, state := s.readyGuest(name)
			if state.Running || !state.Started.IsZero() {
				t.Errorf("a guest that is to be off was started: %+v", state)
			}
			s.says(g, "Running", "False Stopped")

			s.change(g, `power: Running`)
			g, state = s.readyGuest(name)
			s.runs(g, true)

			if err := s.site.Power(state.VMID, false); err != nil { // somebody stops it
				t.Fatal(err)
			}
			s.runs(g, true)
			s.readyGuest(name)

			s.change(g, `management: Observe`)
			s.ready(g)
			if err := s.site.Power(state.VMID, false); err != nil {
				t.Fatal(err)
			}
			s.says(g, "Drifted", "True Drifted")
			s.runs(g, false)

			s.change(g, `{management: Enforce, power: Stopped}`)
			s.readyGuest(name)
			if err := s.site.Power(state.VMID, true); err != nil { // somebody starts it
				t.Fatal(err)
			}
			s.runs(g, false)
			s.readyGuest(name)
		})
	}
	s.guest("stubborn", vm, `{rootDisk: {size: 1Gi}, shutdownTimeout: 1s}`)
	g, state := s.readyGuest("stubborn")
	if err := s.site.Behave(state.VMID, pve.Behaviour{IgnoresShutdown: true}); err != nil {
		t.Fatal(err)
	}
	s.site.ForgetRequests()
	s.change(g, `power: Stopped`)
	s.readyGuest("stubborn")
	if n := s.site.CountRequests("POST", "/nodes/*/qemu/*/status/*"); n != 1 {
		t.Errorf("%d power calls for one stop, want 1: %v", n, s.site.Writes())
	}
}

func (s *stage) runs(o object, want bool) {
	s.Helper()
	g := s.named(o.GetName())
	s.until(fmt.Sprintf("%s runs: %v", o.GetName(), want), func() error {
		s.get(g)
		if state := s.outside(g); state.Running != want || (g.Status.Power == "Running") != want {
			return errors.New(describe(g))
		}
		return nil
	})
}

// TestRestartPolicy has changes that only a restart applies.
func TestRestartPolicy(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("machine", vm, `{restartPolicy: null, cores: 1, memory: 1Gi, rootDisk: {size: 1Gi}}`)
	g, state := s.readyGuest("machine")

	s.change(g, `cores: 4`)
	s.says(g, "Ready", "True RestartRequired", "restartPolicy is Never")
	if diff := cmp.Diff([]string{"cores"}, g.Status.PendingRestart); diff != "" {
		t.Errorf("pendingRestart (-want +got):\n%s", diff)
	}
	if len(g.Status.Plan) != 1 || g.Status.Plan[0].Impact != "Restart" || g.Status.Plan[0].To != "4" {
		t.Errorf("plan %+v", g.Status.Plan)
	}
	if now := s.outside(g); now.Options["cores"] != "1" || now.Pending["cores"] != "4" || !now.Started.Equal(state.Started) {
		t.Errorf("the guest was restarted, or the change does not wait: %+v", now)
	}

	// Somebody restarts it.
	for _, on := range []bool{false, true} {
		if err := s.site.Power(state.VMID, on); err != nil {
			t.Fatal(err)
		}
	}
	g, state = s.readyGuest("machine")
	s.agrees("restarted by hand", state, []string{"cores=4"})

	// A change that somebody takes back is no reason for a restart.
	s.change(g, `cores: 2`)
	s.says(g, "Ready", "True RestartRequired")
	s.change(g, `cores: 4`)
	g, _ = s.readyGuest("machine")

	s.change(g, `{restartPolicy: WhenRequired, memory: 2Gi}`)
	g, now := s.readyGuest("machine")
	s.agrees("restarted by policy", now, []string{"memory=2048", "cores=4"})
	if !now.Started.After(state.Started) || len(g.Status.PendingRestart) > 0 {
		t.Errorf("not restarted: %v after %v, pending %v", now.Started, state.Started, g.Status.PendingRestart)
	}
}
