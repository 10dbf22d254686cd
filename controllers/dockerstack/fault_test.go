// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// TestRollBack deploys what fails, and has what ran before come back.
func TestRollBack(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	good := w.ready("blog").Status.Deployed
	w.sleep(time.Minute)

	// Portainer removes all containers of a stack whose update fails.
	events := len(w.events.all())
	w.server.ForgetRequests()
	w.text("blog", strings.Replace(blog, "lab/db:1", "lab/broken:1", 1))
	s := w.until("blog", "False RolledBack", "rolled back to what ran before", "exec", "it is tried again at")
	w.says(s, "Deployed", "False RolledBack", "exec")
	w.says(s, "Healthy", "True Healthy")
	want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
	want(w, "image", w.container("drphoenix", "blog", "db").Image, "lab/db:1")
	want(w, "hash", s.Status.Deployed, good)
	if s.Status.Refused == "" || s.Status.Refused == good || s.Status.Ready != "2/2" {
		t.Errorf("status is %+v", s.Status)
	}
	want(w, "calls", slices.DeleteFunc(w.writes(), func(c string) bool { return strings.Contains(c, "docker") }), []string{"PUT /stacks/1", "PUT /stacks/1"})
	told := w.events.reasons(events)
	want(w, "events", slices.DeleteFunc(told, func(e string) bool { return strings.HasPrefix(e, "Warning Container") }),
		[]string{"Normal Pulling", "Normal Redeploying", "Normal RollingBack", "Warning RolledBack"})

	// It is not tried again; what was rolled back to is kept in its place; another manager knows all that.
	w.server.ForgetRequests()
	w.restart()
	w.until("blog", "False RolledBack")
	w.sleep(10 * time.Minute)
	w.until("blog", "False RolledBack")
	want(w, "calls", w.writes(), nil)
	w.must(w.engines["drphoenix"].Stop(w.Context(), w.container("drphoenix", "blog", "web").ID, 0))
	w.sleep(time.Minute)
	w.pass("blog")
	w.wake("blog")
	w.until("blog", "False RolledBack")
	want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
	want(w, "image", w.container("drphoenix", "blog", "db").Image, "lab/db:1")

	// After an hour it is tried once more.
	w.server.ForgetRequests()
	w.sleep(time.Hour)
	w.until("blog", "False RolledBack")
	if calls := w.writes(); !slices.Contains(calls, "PUT /stacks/1") {
		t.Errorf("calls after an hour are %q", calls)
	}

	// Another text is tried at once, and the one of before is in sync at once.
	w.text("blog", blog)
	w.server.ForgetRequests()
	s = w.ready("blog")
	want(w, "calls", w.writes(), nil)
	want(w, "refused", s.Status.Refused, "")
	w.text("blog", strings.Replace(blog, "lab/web:1", "lab/web:2", 1))
	w.ready("blog")
	want(w, "image", w.container("drphoenix", "blog", "web").Image, "lab/web:2")
	w.quiet("blog")
}

// TestFirstFails deploys what fails for the first time: nothing is left of it.
func TestFirstFails(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", func(s *v1alpha1.DockerStack) {
		s.Spec.Compose.Inline = strings.Replace(blog, "lab/db:1", "lab/broken:1", 1)
	})
	s := w.until("blog", "False DeployFailed", "exec")
	w.says(s, "Deployed", "False DeployFailed", "exec")
	w.says(s, "Healthy", "False NotDeployed")
	want(w, "containers", w.containers("drphoenix", "blog"), nil)
	if _, there := w.stack("blog"); there {
		t.Error("a record is left")
	}
	w.server.ForgetRequests()
	w.sleep(30 * time.Minute)
	w.until("blog", "False DeployFailed")
	want(w, "calls", w.writes(), nil)
	w.text("blog", blog)
	w.ready("blog")
	w.quiet("blog")
}

// TestRollBackFails keeps trying to come back to what ran before.
func TestRollBackFails(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	heal := w.server.Fail("PUT", "/stacks/*", 0, sim.Fault{Status: 500, Message: "compose says no", After: false})
	w.must(w.engines["drphoenix"].Down(w.Context(), "blog"))
	w.text("blog", strings.Replace(blog, "hello", "bye", 1))
	s := w.until("blog", "False DeployFailed", "compose says no")
	w.says(s, "Healthy", "False NotDeployed", "db: 0/1")
	heal()
	w.until("blog", "False RolledBack", "compose says no")
	want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
}

// TestSameFails has a deployment fail that nothing new is to blame for: it is tried again, and nothing is refused.
func TestSameFails(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	w.must(w.engines["drphoenix"].Down(w.Context(), "blog"))
	w.server.Fail("PUT", "/stacks/*", 3, sim.Fault{Status: 500, Message: "port is already allocated"})
	w.sleep(time.Minute)
	s := w.until("blog", "False DeployFailed", "port is already allocated")
	want(w, "refused", s.Status.Refused, "")
	w.ready("blog")
	want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
}

// TestCrash does not deploy again and again what ends by itself.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", func(s *v1alpha1.DockerStack) {
		s.Spec.Compose.Inline = "services:\n  web:\n    image: lab/web:1\n    restart: always\n  crash:\n    image: lab/crash:1\n  job:\n    image: lab/job:1\n"
	})
	for begin := w.clock.Now(); w.clock.Now().Before(begin.Add(2 * time.Hour)); {
		w.sleep(min(w.step("blog"), 3*time.Minute))
	}
	deploys := 0
	for _, r := range w.server.Requests() {
		if r.Method == "PUT" {
			deploys++
		}
	}
	if deploys < 5 || deploys > 14 {
		t.Errorf("it was deployed %d times in two hours", deploys)
	}
	s := w.get("blog")
	w.says(s, "Deployed", "False ContainerStopped")
	w.says(s, "Healthy", "False ContainerStopped", "crash: 0/1 exited")
	want(w, "ready", s.Status.Ready, "2/3")
}

// TestSick tells of containers that are not healthy, and leaves them as they are.
func TestSick(t *testing.T) {
	w := newWorld(t)
	check := "    healthcheck: {test: [CMD, /check]}\n"
	w.declare("blog", func(s *v1alpha1.DockerStack) {
		s.Spec.Compose.Inline = strings.Replace(strings.Replace(blog, "lab/web:1", "lab/sick:1", 1), "    ports:", check+"    ports:", 1)
	})
	s := w.until("blog", "False Unhealthy", "services[web].health is unhealthy")
	w.says(s, "Deployed", "True Deployed")
	w.says(s, "Healthy", "False Unhealthy", "web: 1/1 running unhealthy")
	want(w, "ready", s.Status.Ready, "1/2")
	id := w.container("drphoenix", "blog", "web").ID
	w.server.ForgetRequests()
	w.sleep(time.Hour)
	w.pass("blog")
	want(w, "calls", w.writes(), nil)
	w.must(w.engines["drphoenix"].SetHealth(id, "healthy"))
	w.ready("blog")
	w.quiet("blog")
}

// TestFaults has Portainer fail in all ways while a stack is made and changed. It comes to rest, each time with one stack.
func TestFaults(t *testing.T) {
	faults := map[string]sim.Fault{
		"500":      {Status: 500},
		"502":      {Status: 502},
		"Cut":      {Cut: true},
		"CutAfter": {Cut: true, After: true},
		"401":      {Status: 401},
		"409":      {Status: 409},
		"400":      {Status: 400},
	}
	calls := map[string][2]string{
		"Stacks": {"GET", "/stacks"}, "File": {"GET", "/stacks/*/file"}, "Containers": {"GET", "*/containers/json"}, "Create": {"POST", "/stacks/create/*"},
		"Update": {"PUT", "/stacks/*"}, "Images": {"GET", "*/images/*"}, "Pull": {"POST", "*/images/create"}, "Delete": {"DELETE", "/stacks/*"},
	}
	for fault, f := range faults {
		for call, of := range calls {
			t.Run(call+"/"+fault, func(t *testing.T) {
				w := newWorld(t)
				w.server.Fail(of[0], of[1], 1, f)
				w.declare("blog", nil)
				settle(w, "blog")
				w.server.Fail(of[0], of[1], 1, f)
				w.edit("blog", func(s *v1alpha1.DockerStack) {
					s.Spec.Compose.Inline = strings.Replace(blog, "lab/web:1", "lab/web:2", 1)
				})
				settle(w, "blog")
				want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
				want(w, "image", w.container("drphoenix", "blog", "web").Image, "lab/web:2")
				w.quiet("blog")
				w.server.Fail(of[0], of[1], 1, f)
				w.remove("blog")
				want(w, "containers", w.containers("drphoenix", "blog"), nil)
				if _, there := w.stack("blog"); there {
					t.Error("a record is left")
				}
			})
		}
	}
}

// settle makes passes until it is in sync; what was refused takes an hour.
func settle(w *world, name string) {
	w.Helper()
	w.sleep(3 * time.Second)
	for range lookLimit {
		after := w.step(name)
		if strings.HasPrefix(condition(w.get(name), v1alpha1.ReadyCondition), "True InSync") {
			return
		}
		w.sleep(min(after, 20*time.Minute))
	}
	w.Fatalf("%s is %q", name, condition(w.get(name), v1alpha1.ReadyCondition))
}

// TestAway says that Portainer cannot be asked, and takes what was true for no proof.
func TestAway(t *testing.T) {
	cases := map[string]struct {
		reason string
		fault  sim.Fault
		want   string
	}{
		"Away":         {"nothing can be said", sim.Fault{Status: 502}, "Unknown Failed"},
		"Unauthorized": {"another key will come", sim.Fault{Status: 401}, "False Unauthorized"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.declare("blog", nil)
			w.ready("blog")
			heal := w.server.Fail("", "*", 0, c.fault)
			w.sleep(time.Minute)
			s := w.until("blog", c.want, "ask HostService/portainer")
			w.says(s, "Deployed", "True Deployed")
			heal()
			w.sleep(5 * time.Minute)
			w.ready("blog")
		})
	}

	// The environment of the agent is not at Portainer any more.
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	w.must(w.admin.DeleteEnvironment(w.Context(), w.ids["drphoenix"]))
	w.server.ForgetRequests()
	w.sleep(time.Minute)
	w.until("blog", "False EnvironmentMissing", "drphoenix")
	want(w, "calls", w.writes(), nil)
}

// TestKilled kills the manager in the middle of deployments that go on at Portainer: they are not made twice.
func TestKilled(t *testing.T) {
	cases := map[string]struct {
		reason string
		update bool
		lost   bool // Portainer loses the deployment, too
		calls  []string
	}{
		"Create":     {"the first deployment goes on", false, false, []string{"POST /stacks/create/standalone/string"}},
		"Update":     {"another deployment goes on", true, false, []string{"PUT /stacks/1"}},
		"CreateLost": {"nothing came of it: it is made again", false, true, []string{"POST /stacks/create/standalone/string", "POST /stacks/create/standalone/string"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.declare("blog", nil)
			if c.update {
				w.ready("blog")
				w.text("blog", strings.Replace(blog, "lab/web:1", "lab/web:2", 1))
			}
			w.pass("blog") // pulls
			w.wake("blog")
			w.server.ForgetRequests()
			heal := func() {}
			if c.lost {
				heal = w.server.Fail("POST", "/stacks/*", 1, sim.Fault{Hang: true})
			}
			release := w.engines["drphoenix"].Hold("blog")
			w.pass("blog")
			for !slices.ContainsFunc(w.server.Requests(), func(r sim.Request) bool { return strings.HasPrefix(r.Path, "/api/stacks") && r.Writes() }) {
				time.Sleep(time.Millisecond)
			}
			w.restart()
			for range 3 {
				w.sleep(3 * time.Second)
				w.pass("blog")
				w.says(w.get("blog"), "Ready", "False Deploying", "may still go on")
			}
			release()
			heal()
			for !c.lost && len(w.containers("drphoenix", "blog")) < 2 {
				time.Sleep(time.Millisecond)
			}
			w.until("blog", "True InSync")
			var calls []string
			for _, call := range w.writes() {
				if strings.Contains(call, " /stacks") {
					calls = append(calls, call)
				}
			}
			want(w, c.reason, calls, c.calls)
			w.quiet("blog")
		})
	}
}

// TestCut loses the connection while a deployment is asked for: it may go on, so that it is not asked for again at once.
func TestCut(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	w.text("blog", strings.Replace(blog, "hello", "bye", 1))
	w.server.Fail("PUT", "/stacks/*", 1, sim.Fault{Cut: true})
	w.server.ForgetRequests()
	w.step("blog")
	for range 5 {
		w.sleep(20 * time.Second)
		w.step("blog")
		w.says(w.get("blog"), "Ready", "False Deploying", "may still go on")
	}
	want(w, "calls", w.writes(), []string{"PUT /stacks/1"})
	w.sleep(20 * time.Second)
	w.ready("blog")
	want(w, "calls", w.writes(), []string{"PUT /stacks/1", "PUT /stacks/1"})
}

// TestOtherCompose has Portainer come with a compose that reckons otherwise what containers are made of.
func TestOtherCompose(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	edit(w, &corev1.Secret{}, "blog-stack", func(s *corev1.Secret) {
		notes := string(s.Data["notes.json"])
		made := w.container("drphoenix", "blog", "web").Labels["com.docker.compose.config-hash"]
		if !strings.Contains(notes, made) {
			t.Fatalf("%s is not in %s", made, notes)
		}
		s.Data["notes.json"] = []byte(strings.ReplaceAll(notes, made, "by another reckoning"))
	})
	w.server.ForgetRequests()
	w.ready("blog")
	want(w, "calls", w.writes(), []string{"PUT /stacks/1"})
	w.quiet("blog")
}

// TestSameSecond changes a stack in the very second in which it was made: Portainer's record bears the same time.
func TestSameSecond(t *testing.T) {
	w := newWorld(t)
	soon := func() {
		w.Helper()
		for range 6 {
			w.step("blog")
			if strings.HasPrefix(condition(w.get("blog"), "Ready"), "True InSync") {
				return
			}
		}
		w.Fatalf("blog is %q", condition(w.get("blog"), "Ready"))
	}
	w.declare("blog", nil)
	soon()
	w.server.ForgetRequests()
	w.text("blog", strings.Replace(blog, "hello", "bye", 1))
	soon()
	want(w, "calls", w.writes(), []string{"PUT /stacks/1"})
	w.quiet("blog")
}

// TestShutDown ends a manager in the middle of a deployment: it waits for nothing, and the next one looks again.
func TestShutDown(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.pass("blog")
	w.wake("blog")
	release := w.engines["drphoenix"].Hold("blog")
	defer release()
	w.pass("blog")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.kind.Start(ctx) }()
	cancel()
	select {
	case err := <-ended:
		w.must(err)
	case <-time.After(patience):
		t.Fatal("the job does not end")
	}
	w.sleep(time.Minute)
	w.pass("blog") // begins nothing
}

// TestRemove deletes stacks, and what they leave behind.
func TestRemove(t *testing.T) {
	cases := map[string]struct {
		reason     string
		change     func(s *v1alpha1.DockerStack)
		before     func(w *world)
		containers []string
		volumes    []string
	}{
		"Delete":  {"containers go, volumes stay", nil, nil, nil, []string{"blog_data"}},
		"Volumes": {"volumes go that are named", func(s *v1alpha1.DockerStack) { s.Spec.DeleteVolumes = []string{"data", "none"} }, nil, nil, nil},
		"Retain": {"nothing is touched", func(s *v1alpha1.DockerStack) {
			s.Spec.DeletionPolicy, s.Spec.DeleteVolumes = v1alpha1.DeletionRetain, []string{"data"}
		}, nil, []string{"db running", "web running"}, []string{"blog_data"}},
		"RecordLost": {"Portainer lost its record: the containers go all the same", nil, func(w *world) {
			w.must(w.server.Restore(w.backup))
		}, nil, []string{"blog_data"}},
		"SecretLost": {"the Secret is gone before", func(s *v1alpha1.DockerStack) { s.Spec.DeleteVolumes = []string{"data"} }, func(w *world) {
			w.delete(w.secret("blog-stack"))
		}, nil, nil},
		"Taken": {"somebody put another mark on it", func(s *v1alpha1.DockerStack) { s.Spec.DeleteVolumes = []string{"data"} }, func(w *world) {
			w.portainerEdit("blog", func(text string, _ []portainer.Variable) (string, []portainer.Variable) {
				return strings.ReplaceAll(text, "site/home/blog", "other/home/blog"), []portainer.Variable{{Name: "PASSWORD", Value: "a"}}
			})
		}, []string{"db running", "web running"}, []string{"blog_data"}},
		"AgentGone": {"there is nothing left to clean up through", nil, func(w *world) {
			w.delete(&v1alpha1.HostService{ObjectMeta: w.about("drphoenix")})
		}, []string{"db running", "web running"}, []string{"blog_data"}},
		"GuestGoes": {"the guest takes all with it", nil, func(w *world) {
			edit(w, &v1alpha1.Guest{}, "drphoenix", func(g *v1alpha1.Guest) {
				g.Spec.DeletionPolicy, g.Finalizers = v1alpha1.DeletionDelete, []string{v1alpha1.Finalizer}
			})
			w.delete(&v1alpha1.Guest{ObjectMeta: w.about("drphoenix")})
			w.server.Fail("", "*", 0, sim.Fault{Status: 502})
		}, []string{"db running", "web running"}, []string{"blog_data"}},
		"KeyGone": {"the server goes, and its key went before", nil, func(w *world) {
			edit(w, &v1alpha1.HostService{}, "portainer", func(s *v1alpha1.HostService) { s.Finalizers = []string{v1alpha1.Finalizer} })
			w.delete(&v1alpha1.HostService{ObjectMeta: w.about("portainer")})
			w.delete(w.secret("portainer-api-key"))
		}, []string{"db running", "web running"}, []string{"blog_data"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.backup = w.server.Backup()
			w.declare("blog", c.change)
			w.declare("shop", func(s *v1alpha1.DockerStack) { s.Spec.Compose.Inline = strings.Replace(blog, "8080", "8081", 1) })
			w.ready("blog")
			w.ready("shop")
			w.sleep(time.Minute)
			if c.before != nil {
				c.before(w)
			}
			w.sleep(time.Minute)
			w.remove("blog")
			want(w, c.reason+": containers", w.containers("drphoenix", "blog"), c.containers)
			var volumes []string
			for _, v := range w.engines["drphoenix"].Volumes() {
				if v.Labels["com.docker.compose.project"] == "blog" {
					volumes = append(volumes, v.Name)
				}
			}
			want(w, c.reason+": volumes", volumes, c.volumes)
			want(w, "another stack", w.containers("drphoenix", "shop"), []string{"db running", "web running"})
		})
	}
}

// TestRemoveNever deletes a stack that never came to be, as nothing that it needs did.
func TestRemoveNever(t *testing.T) {
	w := newWorld(t)
	edit(w, &v1alpha1.HostService{}, "portainer", func(*v1alpha1.HostService) {})
	s := &v1alpha1.HostService{}
	w.must(w.api.Get(w.Context(), types.NamespacedName{Namespace: namespace, Name: "portainer"}, s))
	s.Status = v1alpha1.HostServiceStatus{}
	w.must(w.api.Status().Update(w.Context(), s))
	w.declare("blog", nil)
	w.pass("blog")
	w.says(w.get("blog"), "Ready", "False DependencyNotReady", "HostService/portainer: not Serving yet")
	w.remove("blog")
}

// TestRemoveMidway deletes a stack while its deployment goes on that a dead manager began.
func TestRemoveMidway(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.pass("blog")
	w.wake("blog")
	release := w.engines["drphoenix"].Hold("blog")
	w.pass("blog")
	for w.secret("blog-stack") == nil || !slices.ContainsFunc(w.server.Requests(), func(r sim.Request) bool { return strings.HasPrefix(r.Path, "/api/stacks/create") }) {
		time.Sleep(time.Millisecond)
	}
	w.restart()
	w.delete(w.get("blog"))
	w.sleep(3 * time.Second)
	w.pass("blog")
	w.says(w.get("blog"), "Ready", "False Deploying", "may still go on")
	release()
	for len(w.containers("drphoenix", "blog")) < 2 {
		time.Sleep(time.Millisecond)
	}
	for range lookLimit {
		if !w.exists("blog") {
			break
		}
		w.sleep(min(w.step("blog"), time.Minute))
	}
	want(w, "containers", w.containers("drphoenix", "blog"), nil)
	if _, there := w.stack("blog"); there || w.exists("blog") {
		t.Error("something is left")
	}
}

// TestGit follows a repository.
func TestGit(t *testing.T) {
	w := newWorld(t, secretOf("git", map[string]string{"username": "me", "password": "git-token"}))
	w.repo.set(blog, "a", nil)
	w.declare("blog", func(s *v1alpha1.DockerStack) {
		s.Spec.Compose = v1alpha1.ComposeSource{Git: &v1alpha1.ComposeGit{URL: "https://git.lan/stacks.git", Ref: "main", CredentialsSecretRef: &v1alpha1.LocalReference{Name: "git"}}}
	})
	s := w.ready("blog")
	want(w, "commit", s.Status.Commit, strings.Repeat("a", 40))
	w.says(s, "Deployed", "True Deployed", "of commit aaaa")
	if from := w.repo.asked; from.Path != "compose.yaml" || from.Ref != "main" || from.Username != "me" || from.Password != "git-token" {
		t.Errorf("it asks for %s %s of %s as %s", from.Ref, from.Path, from.URL, from.Username)
	}
	w.quiet("blog")
	heads, fetches := w.repo.counts()
	want(w, "looks within the interval", []int{heads, fetches}, []int{0, 1})
	if next, due := w.kind.Next(w.get("blog")), w.clock.Now().Add(5*time.Minute); next.After(due) || next.Before(due.Add(-time.Minute)) {
		t.Errorf("it is looked at again at %s, not at about %s", next, due)
	}

	// Another commit with the same text is noted; another text is deployed.
	look := func(text, commit string, err error) {
		w.repo.set(text, commit, err)
		w.sleep(5 * time.Minute)
		w.pass("blog")
		w.wake("blog")
	}
	w.server.ForgetRequests()
	look(blog+"# more\n", "b", nil)
	s = w.ready("blog")
	want(w, "calls", w.writes(), nil)
	want(w, "commit", s.Status.Commit, strings.Repeat("b", 40))
	look(strings.Replace(blog, "lab/web:1", "lab/web:2", 1), "c", nil)
	s = w.ready("blog")
	want(w, "image", w.container("drphoenix", "blog", "web").Image, "lab/web:2")
	want(w, "commit", s.Status.Commit, strings.Repeat("c", 40))

	// A server that is away, and a text that is wrong, leave all as it is.
	look("", "c", errors.New("dial git.lan as me:git-token: no route to host"))
	s = w.until("blog", "False GitFailed", "look at https://git.lan/stacks.git", "no route to host")
	w.says(s, "Deployed", "True Deployed")
	if said := condition(s, "Ready"); strings.Contains(said, "git-token") {
		t.Errorf("the token is told: %s", said)
	}
	look("services: {web: {build: .}}", "d", nil)
	s = w.until("blog", "False Invalid", "build")
	if condition(s, "Stalled") != "none" {
		t.Error("nobody but the repository helps, and it is not looked at any more")
	}
	want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
	look(blog, "e", nil)
	w.ready("blog")
	want(w, "image", w.container("drphoenix", "blog", "web").Image, "lab/web:1")
	w.quiet("blog")
}

// TestGitFirst has nothing to deploy as long as the repository does not answer.
func TestGitFirst(t *testing.T) {
	w := newWorld(t)
	w.repo.set("", "a", errors.New("no route to host"))
	w.declare("blog", func(s *v1alpha1.DockerStack) {
		s.Spec.Compose = v1alpha1.ComposeSource{Git: &v1alpha1.ComposeGit{URL: "https://git.lan/stacks.git"}}
	})
	w.until("blog", "False GitFailed", "no route to host")
	w.repo.set(blog, "a", nil)
	w.ready("blog")
	w.edit("blog", func(s *v1alpha1.DockerStack) { s.Spec.Compose.Git.CABundle = "none" })
	w.pass("blog")
	w.says(w.get("blog"), "Ready", "False Invalid", "compose.git.caBundle holds no certificate")
}

// TestSecretsStaySecret looks for values of Secrets in all that is not their Secret, after all went wrong that can.
func TestSecretsStaySecret(t *testing.T) {
	const first, second, third, page = "first-password", "second-$pass\"word' #\n2nd line", "third-password", "hidden-page"
	w := newWorld(t, secretOf("db", map[string]string{"password": first, "page": page + "\nmore-of-the-page\n"}),
		secretOf("text", map[string]string{"compose.yaml": strings.Replace(blog, "GREETING: ${GREETING:-hello}", "TOKEN: token-in-the-text", 1)}))
	w.declare("blog", func(s *v1alpha1.DockerStack) {
		s.Spec.Compose = v1alpha1.ComposeSource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "text", Key: "compose.yaml"}}
		s.Spec.Env = []v1alpha1.StackVariable{ofSecret("PASSWORD", "db", "password")}
		s.Spec.Configs = []v1alpha1.StackConfig{{Name: "page", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "db", Key: "page"}}}
	})
	set := func(value string) {
		edit(w, &corev1.Secret{}, "db", func(s *corev1.Secret) { s.Data["password"] = []byte(value) })
	}
	w.ready("blog")
	w.server.Fail("PUT", "/stacks/*", 1, sim.Fault{Status: 500, Message: `yaml: "` + second + `" and "second-$pass\"word' #\n2nd line" token-in-the-text ` + page + " " + first})
	set(second)
	s := w.until("blog", "False RolledBack", "***")
	w.sleep(time.Hour)
	w.ready("blog")
	if env := w.container("drphoenix", "blog", "db").Env; !slices.Contains(env, "PASSWORD="+second) {
		t.Errorf("the database has %q", env)
	}
	heal := w.images.Break("lab/web:2", errors.New("pull with "+third+" denied"))
	set(third)
	edit(w, &corev1.Secret{}, "text", func(s *corev1.Secret) {
		s.Data["compose.yaml"] = []byte(strings.Replace(blog, "lab/web:1", "lab/web:2", 1))
	})
	w.until("blog", "False PullFailed")
	heal()
	w.edit("blog", func(s *v1alpha1.DockerStack) { s.Spec.Management = v1alpha1.ManagementObserve })
	w.pass("blog")
	edit(w, &corev1.Secret{}, "text", func(s *corev1.Secret) {
		s.Data["compose.yaml"] = []byte("services:\n  web:\n    image: in-valid image: " + page)
	})
	w.pass("blog")

	told := w.log.String() + strings.Join(w.events.all(), "\n") + fmt.Sprintf("%+v %+v", s, w.get("blog"))
	families, err := w.registry.Gather()
	w.must(err)
	for _, f := range families {
		told += f.String()
	}
	var vault = w.secret("blog-stack")
	told += string(vault.Data["notes.json"])
	for _, secret := range []string{first, "second-$pass", "2nd line", third, page, "more-of-the-page", "token-in-the-text", w.key} {
		if strings.Contains(told, secret) {
			at := strings.Index(told, secret)
			t.Errorf("%q is told: %q", secret, told[max(0, at-200):at+len(secret)])
		}
	}
	if !strings.Contains(told, "phoenix_dockerstack_services") && len(families) != 1 {
		t.Errorf("metrics are %v", families)
	}
}

// TestMany has the stacks of an environment share what is read of it, and not all be deployed at once.
func TestMany(t *testing.T) {
	w := newWorld(t)
	edit(w, &v1alpha1.Host{}, "phoenix", func(h *v1alpha1.Host) { h.Spec.Limits = &v1alpha1.HostLimits{Tasks: new(int32(2))} })
	var names []string
	for i := range 12 {
		name := "blog-" + string(rune('a'+i))
		names = append(names, name)
		w.declare(name, func(s *v1alpha1.DockerStack) {
			s.Spec.Compose.Inline = strings.ReplaceAll(blog, `    ports: ["8080:80"]`+"\n", "")
		})
	}
	for _, image := range []string{"lab/web:1", "lab/db:1"} {
		_, err := w.engines["drphoenix"].Pull(t.Context(), image)
		w.must(err)
	}
	var release []func()
	for _, name := range names {
		release = append(release, w.engines["drphoenix"].Hold(name))
	}
	for range 3 {
		for _, name := range names {
			w.pass(name)
		}
		w.sleep(2 * time.Second)
	}
	busy := map[string]int{}
	for _, name := range names {
		busy[strings.Fields(condition(w.get(name), "Ready"))[1]]++
	}
	want(w, "stacks by what they do", busy, map[string]int{"Deploying:": 2, "Busy:": 10})
	for _, free := range release {
		free()
	}
	for end := time.Now().Add(patience); ; w.sleep(3 * time.Second) { // the end of one lets the next one begin
		done := 0
		for _, name := range names {
			w.pass(name)
			if strings.HasPrefix(condition(w.get(name), "Ready"), "True InSync") {
				done++
			}
		}
		if done == len(names) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d come to be in sync", done, len(names))
		}
		w.wakeSome()
	}

	w.sleep(time.Minute)
	w.server.ForgetRequests()
	for _, name := range names {
		w.pass(name)
	}
	if n := len(w.server.Requests()); n != 2 {
		t.Errorf("%d requests for a pass over all: %+v", n, w.server.Requests())
	}
}
