// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// TestFailsOverWhatNobodyKnows deploys what fails over a stack of which no Secret tells: it comes back, and is not cleared.
func TestFailsOverWhatNobodyKnows(t *testing.T) {
	bad := strings.Replace(blog, "lab/db:1", "lab/broken:1", 1)
	cases := map[string]struct {
		reason string
		before func(w *world)
	}{
		"Secret lost": {"the record has the text that ran", func(w *world) {
			w.declare("blog", nil)
			w.ready("blog")
			w.delete(w.secret("blog-stack"))
			w.restart()
			w.text("blog", bad)
		}},
		"Adopted": {"it ran before it was taken over", func(w *world) {
			_, err := w.admin.CreateStack(w.Context(), w.ids["drphoenix"], portainer.NewStack{
				Name: "blog", Text: blog, Env: []portainer.Variable{{Name: "PASSWORD", Value: "theirs"}},
			})
			w.must(err)
			w.declare("blog", func(s *v1alpha1.DockerStack) {
				s.Spec.AdoptionPolicy, s.Spec.Compose.Inline = v1alpha1.AdoptionIfUnowned, bad
			})
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.before(w)
			w.sleep(time.Minute)
			w.until("blog", "False DeployFailed", "exec")
			w.sleep(10 * time.Minute)
			w.until("blog", "False DeployFailed", "exec")
			want(w, c.reason+": containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
			_, text := w.mustStack("blog")
			if strings.Contains(text, "broken") {
				t.Errorf("%s: the record has %s", c.reason, text)
			}
			w.text("blog", blog)
			w.ready("blog")
			w.quiet("blog")
		})
	}
}

// TestNumberReused has Portainer give the number of a stack's environment to another one: nothing is deployed there.
func TestNumberReused(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	was := w.ids["drphoenix"]
	name := "other"
	w.must(w.admin.UpdateEnvironment(w.Context(), was, portainer.EnvironmentChange{Name: &name}))
	w.server.ForgetRequests()
	w.until("blog", "False EnvironmentMissing", "other", "drphoenix")
	want(w, "containers", w.containers("drphoenix", "blog"), nil)
	if calls := w.writes(); slices.ContainsFunc(calls, func(c string) bool { return strings.Contains(c, "stacks") }) {
		t.Errorf("calls are %q", calls)
	}
	name = "drphoenix"
	w.must(w.admin.UpdateEnvironment(w.Context(), was, portainer.EnvironmentChange{Name: &name}))
	w.ready("blog")
}

// TestRefusedBeforeItBegan has the engine fail before anything is deployed: the text is not to blame.
func TestRefusedBeforeItBegan(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	w.sleep(time.Minute)
	w.text("blog", strings.Replace(blog, "  db:", "  base:", 1)) // the old container goes first
	w.server.Fail("DELETE", "/endpoints/*/docker/*", 1, sim.Fault{Status: 500, Message: "device or resource busy"})
	s := w.until("blog", "False DeployFailed", "busy")
	want(w, "refused", s.Status.Refused, "")
	w.ready("blog")
}
