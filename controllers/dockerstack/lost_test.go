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

// stackCalls are the requests that deployed or removed a stack.
func (w *world) stackCalls() []string {
	return slices.DeleteFunc(w.writes(), func(call string) bool { return !strings.Contains(call, " /stacks") })
}

// asked waits until Portainer was asked to deploy or remove a stack as many times.
func (w *world) asked(times int) {
	w.Helper()
	for end := time.Now().Add(patience); len(w.stackCalls()) < times; w.wakeSome() {
		if time.Now().After(end) {
			w.Fatalf("Portainer was asked for %q", w.stackCalls())
		}
	}
}

// edited has somebody edit a stack in Portainer's pages.
func (w *world) edited() {
	w.Helper()
	w.portainerEdit("blog", func(text string, env []portainer.Variable) (string, []portainer.Variable) {
		return strings.Replace(text, "hello", "goodbye", 1), env
	})
}

// removed has somebody remove the container of a service.
func (w *world) removed(service string) {
	w.Helper()
	w.must(w.engines["drphoenix"].Remove(w.container("drphoenix", "blog", service).ID, true, false))
}

// TestNextDrift has something else go wrong at once after a deployment: when Portainer has answered, that one is over, and
// it is mended at once; when the answer is lost, it may go on, and the next one waits.
func TestNextDrift(t *testing.T) {
	const put = "PUT /stacks/1"
	cases := map[string]struct {
		reason string
		fault  *sim.Fault
		before func(w *world)
		waits  bool
	}{
		"Answered":     {"it is over", nil, nil, false},
		"AnsweredDead": {"it is over, and the next manager knows it by the Secret", nil, func(w *world) { w.restart() }, false},
		"Refused":      {"an error is an answer", &sim.Fault{Status: 500, Message: "compose says no", After: true}, nil, false},
		"RefusedDead":  {"the next manager knows that by the Secret", &sim.Fault{Status: 500, Message: "compose says no", After: true}, func(w *world) { w.restart() }, false},
		"Forbidden":    {"nothing was begun", &sim.Fault{Status: 403}, nil, false},
		"Cut":          {"nobody knows whether it goes on", &sim.Fault{Cut: true, After: true}, nil, true},
		"CutDead":      {"neither does the next manager", &sim.Fault{Cut: true, After: true}, func(w *world) { w.restart() }, true},
		"Proxy":        {"a proxy gave up waiting, and Portainer did not", &sim.Fault{Status: 504, After: true}, nil, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.declare("blog", nil)
			w.ready("blog")
			w.sleep(time.Minute)
			w.edited()
			w.sleep(time.Minute)
			if c.fault != nil {
				w.server.Fail("PUT", "/stacks/*", 1, *c.fault)
			}
			w.server.ForgetRequests()
			w.step("blog")
			want(w, "calls", w.stackCalls(), []string{put})
			w.removed("web")
			if c.before != nil {
				c.before(w)
			}
			w.step("blog")
			if !c.waits {
				want(w, c.reason+": calls", w.stackCalls(), []string{put, put})
				want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
				w.ready("blog")
				w.quiet("blog")
				return
			}
			for range 5 {
				w.says(w.get("blog"), "Ready", "False Deploying", "may still go on")
				w.sleep(20 * time.Second)
				w.step("blog")
			}
			want(w, c.reason+": calls", w.stackCalls(), []string{put})
			w.sleep(20 * time.Second)
			w.ready("blog")
			want(w, "calls", w.stackCalls(), []string{put, put})
			w.quiet("blog")
		})
	}
}

// TestKilledLate kills the manager after it has followed a deployment for long: the time that it may go on begins then.
func TestKilledLate(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	w.sleep(time.Minute)
	w.edited()
	w.sleep(time.Minute)
	w.server.ForgetRequests()
	release := w.engines["drphoenix"].Hold("blog")
	w.pass("blog")
	w.asked(1)
	w.sleep(20 * time.Minute)
	w.restart()
	for range 6 {
		w.pass("blog")
		w.says(w.get("blog"), "Ready", "False Deploying", "may still go on")
		w.sleep(15 * time.Second)
	}
	want(w, "calls", w.stackCalls(), []string{"PUT /stacks/1"})
	release()
	w.until("blog", "True InSync")
	want(w, "calls", w.stackCalls(), []string{"PUT /stacks/1"})
	w.quiet("blog")
}

// TestBackLost loses the answer when what ran before is put back: it may go on, and nothing else is deployed meanwhile.
func TestBackLost(t *testing.T) {
	w := newWorld(t)
	_, err := w.admin.CreateStack(t.Context(), w.ids["drphoenix"], portainer.NewStack{
		Name: "blog", Text: blog, Env: []portainer.Variable{{Name: "PASSWORD", Value: "theirs"}},
	})
	w.must(err)
	w.declare("blog", func(s *v1alpha1.DockerStack) {
		s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned
		s.Spec.Compose.Inline = strings.Replace(blog, "lab/db:1", "lab/broken:1", 1)
	})
	w.step("blog") // pulls
	w.server.ForgetRequests()
	w.server.Fail("PUT", "/stacks/*", 1, sim.Fault{Status: 500, Message: "compose says no"})
	w.server.Fail("PUT", "/stacks/*", 1, sim.Fault{Cut: true})
	w.step("blog")
	for range 5 {
		w.sleep(20 * time.Second)
		w.step("blog")
		w.says(w.get("blog"), "Ready", "False Deploying", "may still go on")
	}
	want(w, "calls", w.stackCalls(), []string{"PUT /stacks/1", "PUT /stacks/1"})
	w.until("blog", "False DeployFailed", "exec")
	want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
}

// TestRemoveHanging deletes a stack whose deployment, or removal, does not come to an end.
func TestRemoveHanging(t *testing.T) {
	cases := map[string]struct{ reason, method string }{
		"Deployment": {"it is given up, and may go on for a while", "PUT"},
		"Removal":    {"it is asked for again", "DELETE"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.declare("blog", nil)
			w.ready("blog")
			w.sleep(time.Minute)
			w.edited()
			if c.method == "DELETE" {
				w.sleep(time.Minute)
				w.ready("blog")
			}
			w.sleep(time.Minute)
			w.server.ForgetRequests()
			w.server.Fail(c.method, "/stacks/*", 1, sim.Fault{Hang: true})
			if c.method == "PUT" {
				w.pass("blog")
				w.asked(1)
			}
			w.delete(w.get("blog"))
			begun := w.clock.Now()
			after := w.pass("blog")
			w.asked(1)
			if after > 6*time.Minute { // with what the loop spreads
				t.Errorf("%s: it is looked at after %s", c.reason, after)
			}
			w.sleep(4 * time.Minute)
			if after = w.pass("blog"); after <= 0 || after > 2*time.Minute {
				t.Errorf("%s: it is looked at after %s", c.reason, after)
			}
			want(w, "calls", len(w.stackCalls()), 1)
			w.sleep(2 * time.Minute)
			w.pass("blog")
			w.wake("blog")
			for w.exists("blog") && w.clock.Now().Before(begun.Add(10*time.Minute)) {
				w.sleep(min(w.step("blog"), time.Minute))
			}
			if w.exists("blog") {
				t.Errorf("%s: after %s, it is %s", c.reason, w.clock.Now().Sub(begun), condition(w.get("blog"), "Ready"))
			}
			want(w, "containers", w.containers("drphoenix", "blog"), nil)
		})
	}
}

// TestPorts publishes other ports: what is in a volume without a name goes on with the new container.
func TestPorts(t *testing.T) {
	const text = `services:
  web:
    image: lab/web:1
    restart: unless-stopped
    ports: ["8080:80"]
    volumes: ["/var/lib/web"]
  more:
    image: lab/web:1
    restart: unless-stopped
    ports: ["8081:80"]
`
	w := newWorld(t)
	w.declare("blog", func(s *v1alpha1.DockerStack) { s.Spec.Compose.Inline = text })
	w.ready("blog")
	before := w.container("drphoenix", "blog", "web")
	for name, other := range map[string]string{
		"another": strings.Replace(text, "8080", "8090", 1),
		"swapped": strings.NewReplacer("8080", "8081", "8081", "8080").Replace(text),
	} {
		w.sleep(time.Minute)
		w.server.ForgetRequests()
		w.text("blog", other)
		w.ready("blog")
		now := w.container("drphoenix", "blog", "web")
		if now.ID == before.ID || now.Ports[0] == before.Ports[0] {
			t.Errorf("%s: web publishes %+v", name, now.Ports)
		}
		want(w, name+": volume", now.Mounts[0].Source, before.Mounts[0].Source)
		if calls := w.writes(); slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, "DELETE") }) {
			t.Errorf("%s: calls are %q", name, calls)
		}
		before = now
	}
}
