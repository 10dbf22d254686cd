// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack_test

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// must fails when something that a test does itself does not succeed.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// TestDrift changes something outside, and has it seen and put back.
func TestDrift(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(w *world)
		why    string // of the condition Deployed
		calls  []string
		told   string // by the event, if it is not why
	}{
		"ContainerStopped": {
			"somebody stops a container", func(w *world) {
				w.must(w.engines["drphoenix"].Stop(w.Context(), w.container("drphoenix", "blog", "web").ID, 0))
			}, "ContainerStopped", []string{"PUT /stacks/1"}, "",
		},
		"ContainerRemoved": {
			"somebody removes a container", func(w *world) {
				w.must(w.engines["drphoenix"].Remove(w.container("drphoenix", "blog", "web").ID, true, false))
			}, "ContainerMissing", []string{"PUT /stacks/1"}, "",
		},
		"AllRemoved": {
			"all containers are gone, and Portainer still says that the stack is active", func(w *world) {
				w.must(w.engines["drphoenix"].Down(w.Context(), "blog"))
			}, "ContainerMissing", []string{"PUT /stacks/1"}, "",
		},
		"StoppedInPortainer": {
			"somebody stops the stack in Portainer's pages", func(w *world) {
				s, _ := w.stack("blog")
				w.must(w.admin.StopStack(w.Context(), s.ID, s.EnvironmentID))
			}, "StoppedInPortainer", []string{"PUT /stacks/1"}, "",
		},
		"DeletedInPortainer": {
			"somebody deletes the stack in Portainer's pages", func(w *world) {
				s, _ := w.stack("blog")
				w.must(w.admin.DeleteStack(w.Context(), s.ID, s.EnvironmentID))
			}, "NotDeployed", []string{"POST /stacks/create/standalone/string"}, "Deploying",
		},
		"TextEdited": {
			"somebody edits the text in Portainer's pages", func(w *world) {
				w.portainerEdit("blog", func(text string, env []portainer.Variable) (string, []portainer.Variable) {
					return strings.Replace(text, "hello", "goodbye", 1), env
				})
			}, "EditedInPortainer", []string{"PUT /stacks/1"}, "",
		},
		"LabelsEdited": {
			"somebody takes our marks out of the text: the record's own mark is left", func(w *world) {
				w.portainerEdit("blog", func(text string, env []portainer.Variable) (string, []portainer.Variable) {
					return strings.ReplaceAll(text, "phoenix-hypervisor.io/stack: site/home/blog", "a: b"), env
				})
			}, "EditedInPortainer", []string{"PUT /stacks/1"}, "",
		},
		"ServiceAdded": {
			"somebody adds a service in Portainer's pages: its container goes, too", func(w *world) {
				w.portainerEdit("blog", func(text string, env []portainer.Variable) (string, []portainer.Variable) {
					return strings.Replace(text, "services:\n", "services:\n  more:\n    image: lab/web:1\n    restart: always\n", 1), env
				})
			}, "EditedInPortainer", []string{"POST /endpoints/2/docker/v1.41/containers/more/stop", "DELETE /endpoints/2/docker/v1.41/containers/more", "PUT /stacks/1"}, "",
		},
		"ValueEdited": {
			"somebody edits a value in Portainer's pages", func(w *world) {
				w.portainerEdit("blog", func(text string, env []portainer.Variable) (string, []portainer.Variable) {
					for i := range env {
						if env[i].Name == "PASSWORD" {
							env[i].Value = "another"
						}
					}
					return text, env
				})
			}, "EditedInPortainer", []string{"PUT /stacks/1"}, "",
		},
		"ValuesCleared": {
			"another client leaves the values out, which clears them, our mark as well", func(w *world) {
				w.portainerEdit("blog", func(text string, _ []portainer.Variable) (string, []portainer.Variable) { return text, nil })
			}, "EditedInPortainer", []string{"PUT /stacks/1"}, "",
		},
		"ImageMoved": {
			"somebody gives the tag to another image on the machine", func(w *world) {
				w.images.Push("lab/web:1", sim.NewImage("web 1 mended"))
				_, err := w.engines["drphoenix"].Pull(w.Context(), "lab/web:1")
				w.must(err)
			}, "ImageChanged", []string{"PUT /stacks/1"}, "",
		},
		"EngineRestarted": {
			"the machine was off: containers come back by themselves, and nothing is done", func(w *world) {
				w.engines["drphoenix"].Halt(false)
				w.engines["drphoenix"].Boot()
			}, "", nil, "",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.declare("blog", nil)
			w.ready("blog")
			w.sleep(time.Minute)
			c.change(w)
			w.sleep(time.Minute)
			more := ""
			for _, one := range w.engines["drphoenix"].Containers() {
				if one.Labels["com.docker.compose.service"] == "more" {
					more = one.ID
				}
			}

			w.edit("blog", func(s *v1alpha1.DockerStack) { s.Spec.Management = v1alpha1.ManagementObserve })
			w.server.ForgetRequests()
			w.pass("blog")
			s := w.get("blog")
			if got := condition(s, v1alpha1.DriftedCondition); (got != "none") != (c.why != "") {
				t.Errorf("%s: under Observe, Drifted is %q with the plan %+v", c.reason, got, s.Status.Plan)
			}
			if c.why != "" {
				w.says(s, "Deployed", "False "+c.why)
			}
			want(w, c.reason+": calls under Observe", w.writes(), nil)

			w.edit("blog", func(s *v1alpha1.DockerStack) { s.Spec.Management = "" })
			events := len(w.events.all())
			w.ready("blog")
			var calls []string
			for _, call := range w.writes() {
				calls = append(calls, strings.ReplaceAll(call, cmp.Or(more, "-"), "more"))
			}
			want(w, c.reason+": calls", calls, c.calls)
			if told := strings.Join(w.events.all()[events:], "\n"); !strings.Contains(told, cmp.Or(c.told, c.why)) {
				t.Errorf("%s: events are\n%s", c.reason, told)
			}
			want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
			if got := w.container("drphoenix", "blog", "db").Env; !slices.Contains(got, "PASSWORD=pass-word") {
				t.Errorf("the database has the environment %q", got)
			}
			w.quiet("blog")
		})
	}
}

// TestStoppedAgain has a container stopped again and again: each time it comes back at once.
func TestStoppedAgain(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	for range 8 {
		w.sleep(time.Minute)
		w.must(w.engines["drphoenix"].Stop(w.Context(), w.container("drphoenix", "blog", "web").ID, 0))
		w.sleep(time.Second * 3)
		w.step("blog")
		w.step("blog")
		w.says(w.get("blog"), "Ready", "True InSync")
	}
}

// TestSpurious changes how the text is written, and not what it means.
func TestSpurious(t *testing.T) {
	cases := map[string]string{
		"LineEnds":   strings.ReplaceAll(blog, "\n", "\r\n"),
		"Spaces":     strings.ReplaceAll(blog, "\n", "  \n\n"),
		"Comments":   "# a blog\n" + blog,
		"KeyOrder":   "volumes:\n  data: {}\n" + strings.TrimSuffix(blog, "volumes:\n  data: {}\n"),
		"Quotes":     strings.ReplaceAll(blog, "lab/web:1", `"lab/web:1"`),
		"ListLayout": strings.ReplaceAll(blog, `ports: ["8080:80"]`, "ports:\n      - \"8080:80\""),
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.declare("blog", nil)
			before := w.ready("blog").Status.Deployed
			w.text("blog", text)
			w.server.ForgetRequests()
			after := w.ready("blog")
			want(w, "calls", w.writes(), nil)
			want(w, "hash", after.Status.Deployed, before)
			w.quiet("blog")
		})
	}
}

// TestValues takes values, configs and texts from Secrets and ConfigMaps, and deploys again when they change.
func TestValues(t *testing.T) {
	w := newWorld(t, secretOf("db", map[string]string{"password": "first-secret"}), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "texts"}, Data: map[string]string{
			"compose.yaml": strings.Replace(blog, "    ports:", "    configs: [page]\n    ports:", 1), "page": "<h1>first page</h1>", "greeting": "hi",
		},
	})
	of := func(key string) *v1alpha1.ConfigMapKeyReference {
		return &v1alpha1.ConfigMapKeyReference{Name: "texts", Key: key}
	}
	w.declare("blog", func(s *v1alpha1.DockerStack) {
		s.Spec.Compose = v1alpha1.ComposeSource{ConfigMapKeyRef: of("compose.yaml")}
		s.Spec.Env = []v1alpha1.StackVariable{
			ofSecret("PASSWORD", "db", "password"), {Name: "GREETING", ValueFrom: &v1alpha1.StackValueSource{ConfigMapKeyRef: of("greeting")}},
		}
		s.Spec.Configs = []v1alpha1.StackConfig{{Name: "page", ConfigMapKeyRef: of("page")}}
		s.Spec.Labels = map[string]string{"team": "web"}
	})
	var refs []string
	for _, r := range w.kind.Refs(w.get("blog")) {
		refs = append(refs, r.Kind+"/"+r.Name+" "+r.Condition)
	}
	want(w, "references", refs, []string{"HostService/drphoenix Registered", "ConfigMap/texts ", "Secret/db "})
	w.ready("blog")
	env := func(service, name string) string {
		for _, e := range w.container("drphoenix", "blog", service).Env {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value
			}
		}
		return ""
	}
	page := func() string { return w.container("drphoenix", "blog", "web").Files["/page"] }
	want(w, "password", env("db", "PASSWORD"), "first-secret")
	want(w, "greeting", env("web", "GREETING"), "hi")
	want(w, "page", page(), "<h1>first page</h1>")
	want(w, "label", w.container("drphoenix", "blog", "db").Labels["team"], "web")
	w.quiet("blog")

	web := w.container("drphoenix", "blog", "web").ID
	edit(w, &corev1.Secret{}, "db", func(s *corev1.Secret) { s.Data["password"] = []byte("second-secret") })
	w.pass("blog")
	w.says(w.get("blog"), "Deployed", "False ValuesChanged", "env[PASSWORD]")
	w.wake("blog")
	w.ready("blog")
	want(w, "password", env("db", "PASSWORD"), "second-secret")
	want(w, "web, which does not use it,", w.container("drphoenix", "blog", "web").ID, web)

	edit(w, &corev1.ConfigMap{}, "texts", func(c *corev1.ConfigMap) { c.Data["page"] = "<h1>second page</h1>" })
	w.ready("blog")
	want(w, "page", page(), "<h1>second page</h1>")
	w.quiet("blog")
}

// TestSourcesMissing waits for what a stack is made of, and says what that is.
func TestSourcesMissing(t *testing.T) {
	cases := map[string]struct {
		reason  string
		change  func(s *v1alpha1.DockerStack)
		want    string
		says    []string
		stalled bool
	}{
		"NoSecret": {"a Secret may come", func(s *v1alpha1.DockerStack) {
			s.Spec.Env = []v1alpha1.StackVariable{ofSecret("PASSWORD", "none", "a")}
		}, "False SourceMissing", []string{"waiting for Secret/none: not found"}, false},
		"NoEntry": {"an entry may come", func(s *v1alpha1.DockerStack) {
			s.Spec.Env = []v1alpha1.StackVariable{ofSecret("PASSWORD", "portainer-api-key", "a")}
		}, "False SourceMissing", []string{"Secret/portainer-api-key: it has no entry a"}, false},
		"NoConfigMap": {"a ConfigMap may come", func(s *v1alpha1.DockerStack) {
			s.Spec.Compose = v1alpha1.ComposeSource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "none", Key: "a"}}
		}, "False SourceMissing", []string{"ConfigMap/none"}, false},
		"NoValue":   {"only a new spec helps", func(s *v1alpha1.DockerStack) { s.Spec.Env = nil }, "False Invalid", []string{"line 12", "PASSWORD"}, true},
		"Build":     {"only a new spec helps", func(s *v1alpha1.DockerStack) { s.Spec.Compose.Inline = "services:\n  web:\n    build: .\n" }, "False Invalid", []string{"line 3", "build"}, true},
		"NoYAML":    {"only a new spec helps", func(s *v1alpha1.DockerStack) { s.Spec.Compose.Inline = "services: [" }, "False Invalid", []string{"line 2"}, true},
		"TakenName": {"Portainer's own environment would win", func(s *v1alpha1.DockerStack) { s.Spec.Env = append(s.Spec.Env, plain("PATH", "/bin")) }, "False Invalid", []string{"env[PATH]"}, true},
		"NUL":       {"no environment can have it", func(s *v1alpha1.DockerStack) { s.Spec.Env = append(s.Spec.Env, plain("A", "a\x00b")) }, "False Invalid", []string{"env[A]"}, true},
		"NoRoom":    {"the name is not that of an environment, but part of one", func(s *v1alpha1.DockerStack) { s.Spec.Environment = named("drpho") }, "False EnvironmentMissing", []string{`no environment "drpho"`, `"drphoenix", "local"`}, false},
		"NoAgent":   {"the HostService is of another sort", func(s *v1alpha1.DockerStack) { s.Spec.Environment.AgentRef.Name = "odd" }, "False WrongService", []string{"HostService/odd is no portainerAgent"}, true},
		"NoServer": {"the HostService is of another sort", func(s *v1alpha1.DockerStack) {
			s.Spec.Environment = v1alpha1.StackEnvironment{PortainerRef: &v1alpha1.LocalReference{Name: "odd"}, Name: "local"}
		}, "False WrongService", []string{"HostService/odd is no portainer"}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			odd := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "odd"}}
			for _, condition := range []string{v1alpha1.RegisteredCondition, v1alpha1.ServingCondition} {
				odd.Status.Conditions = append(odd.Status.Conditions, metav1.Condition{Type: condition, Status: metav1.ConditionTrue, Reason: "So"})
			}
			w := newWorld(t, odd)
			w.declare("blog", c.change)
			w.server.ForgetRequests()
			w.pass("blog")
			s := w.get("blog")
			w.says(s, "Ready", c.want, c.says...)
			deployed := c.want
			if strings.Contains(deployed, "EnvironmentMissing") {
				deployed = strings.Replace(deployed, "False", "Unknown", 1)
				w.says(s, "Healthy", deployed, c.says...)
			}
			w.says(s, "Deployed", deployed, c.says...)
			if stalled := condition(s, v1alpha1.StalledCondition) != "none"; stalled != c.stalled {
				t.Errorf("%s: stalled is %v", c.reason, stalled)
			}
			want(w, "calls", w.writes(), nil)
		})
	}
}

func named(environment string) v1alpha1.StackEnvironment {
	return v1alpha1.StackEnvironment{PortainerRef: &v1alpha1.LocalReference{Name: "portainer"}, Name: environment}
}

// TestNamedEnvironment runs a stack in an environment that Phoenix did not make.
func TestNamedEnvironment(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", func(s *v1alpha1.DockerStack) { s.Spec.Environment = named("local") })
	s := w.ready("blog")
	want(w, "containers", w.containers("local", "blog"), []string{"db running", "web running"})
	want(w, "environment", s.Status.Environment, "local")
	w.quiet("blog")
}

// TestPrune removes what the text does not have any more, which Portainer leaves running.
func TestPrune(t *testing.T) {
	cut := func(text string) string {
		return text[:strings.Index(text, "  db:")] + "volumes:\n  data: {}\n"
	}
	cases := map[string]struct {
		reason string
		prune  *bool
		text   func(string) string
		want   []string
	}{
		"Gone":     {"a service is gone", nil, cut, []string{"web running"}},
		"Kept":     {"prune is off", new(bool), cut, []string{"db running", "web running"}},
		"Renamed":  {"the new name needs the old one's port", nil, func(s string) string { return strings.Replace(s, "  web:", "  front:", 1) }, []string{"db running", "front running"}},
		"Profiled": {"a profile that is off", nil, func(s string) string { return strings.Replace(s, "  db:", "  db:\n    profiles: [extra]", 1) }, []string{"web running"}},
		"Replicas": {"no replicas", nil, func(s string) string { return strings.Replace(s, "  db:", "  db:\n    deploy: {replicas: 0}", 1) }, []string{"web running"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.declare("blog", func(s *v1alpha1.DockerStack) { s.Spec.Prune = c.prune })
			w.ready("blog")
			w.text("blog", c.text(blog))
			s := w.ready("blog")
			want(w, c.reason, w.containers("drphoenix", "blog"), c.want)
			if all := w.engines["drphoenix"].Volumes(); len(all) != 1 || all[0].Name != "blog_data" {
				t.Errorf("volumes are %+v", all)
			}
			w.says(s, "Healthy", "True Healthy")
			w.quiet("blog")
		})
	}
}

// TestPruneLater removes the containers of a service when prune comes to be on.
func TestPruneLater(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", func(s *v1alpha1.DockerStack) { s.Spec.Prune = new(bool) })
	w.ready("blog")
	w.text("blog", strings.Replace(blog, "  db:", "  db:\n    profiles: [extra]", 1))
	w.ready("blog")
	w.edit("blog", func(s *v1alpha1.DockerStack) { s.Spec.Prune = nil })
	w.server.ForgetRequests()
	w.ready("blog")
	want(w, "containers", w.containers("drphoenix", "blog"), []string{"web running"})
	if calls := strings.Join(w.writes(), "; "); strings.Contains(calls, "/stacks") || !strings.Contains(calls, "DELETE /endpoints/2/docker/v1.41/containers/") {
		t.Errorf("calls are %s", calls)
	}
}

// TestPullAlways looks for newer images now and then, and deploys them.
func TestPullAlways(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", func(s *v1alpha1.DockerStack) { s.Spec.PullPolicy = v1alpha1.PullAlways })
	w.ready("blog")
	w.quiet("blog")
	before, db := w.container("drphoenix", "blog", "web").ImageID, w.container("drphoenix", "blog", "db").ID
	w.images.Push("lab/web:1", sim.NewImage("web 1 mended"))
	w.ready("blog")
	want(w, "image, before it is time to look,", w.container("drphoenix", "blog", "web").ImageID, before)
	w.sleep(15 * time.Minute)
	w.ready("blog")
	if after := w.container("drphoenix", "blog", "web").ImageID; after == before {
		t.Error("the newer image does not run")
	}
	want(w, "db, whose image is the same,", w.container("drphoenix", "blog", "db").ID, db)
	w.quiet("blog")

	// A registry that is away is said, and disturbs nothing.
	heal := w.images.Break("lab/web:1", context.DeadlineExceeded)
	w.sleep(15 * time.Minute)
	w.until("blog", "False PullFailed", "lab/web:1")
	want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
	w.says(w.get("blog"), "Healthy", "True Healthy")
	heal()
	w.sleep(15 * time.Minute)
	w.ready("blog")
}

// TestImages says what is wrong with images before anything is touched.
func TestImages(t *testing.T) {
	cases := map[string]struct {
		reason string
		policy v1alpha1.PullPolicy
		want   string
		says   []string
		mend   func(w *world)
	}{
		"NotPulled": {"the registry does not have it", "", "False PullFailed", []string{"lab/web:3"}, func(w *world) { w.images.Push("lab/web:3", sim.NewImage("web 3")) }},
		"Never": {"it must be there", v1alpha1.PullNever, "False ImageMissing", []string{"lab/web:3", "load it there"}, func(w *world) {
			w.images.Push("lab/web:3", sim.NewImage("web 3"))
			_, err := w.engines["drphoenix"].Pull(w.Context(), "lab/web:3")
			w.must(err)
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.declare("blog", nil)
			w.ready("blog")
			web := w.container("drphoenix", "blog", "web").ID
			w.edit("blog", func(s *v1alpha1.DockerStack) {
				s.Spec.PullPolicy, s.Spec.Compose.Inline = c.policy, strings.Replace(blog, "lab/web:1", "lab/web:3", 1)
			})
			w.server.ForgetRequests()
			s := w.until("blog", c.want, c.says...)
			w.says(s, "Deployed", "False TextChanged")
			want(w, c.reason+": web", w.container("drphoenix", "blog", "web").ID, web)
			if calls := strings.Join(w.writes(), "; "); strings.Contains(calls, "/stacks") {
				t.Errorf("calls are %s", calls)
			}
			c.mend(w)
			w.sleep(20 * time.Minute)
			w.ready("blog")
			want(w, "image", w.container("drphoenix", "blog", "web").Image, "lab/web:3")
		})
	}
}

// TestProjectTaken lets the older one of two stacks have the project that both their names come to.
func TestProjectTaken(t *testing.T) {
	w := newWorld(t)
	w.declare("a-b", nil)
	w.ready("a-b")
	w.sleep(time.Second)
	w.declare("a.b", nil)
	w.declare("c", func(s *v1alpha1.DockerStack) { s.Spec.Project, s.Spec.Environment = "a-b", named("drphoenix") })
	w.declare("d", func(s *v1alpha1.DockerStack) { s.Spec.Project, s.Spec.Environment = "a-b", named("local") })
	w.server.ForgetRequests()
	for _, name := range []string{"a.b", "c"} {
		w.pass(name)
		w.says(w.get(name), "Ready", "False ProjectTaken", "DockerStack/a-b has it in this environment, and is older")
		w.says(w.get(name), "Stalled", "True ProjectTaken")
	}
	want(w, "calls", w.writes(), nil)
	w.ready("d")
	w.pass("a-b")
	w.says(w.get("a-b"), "Ready", "True InSync")

	// The younger one goes and takes nothing with it; once the older one is gone, it is another's turn.
	w.remove("c")
	want(w, "containers", w.containers("drphoenix", "a-b"), []string{"db running", "web running"})
	w.remove("a-b")
	w.ready("a.b")
	want(w, "owner", w.container("drphoenix", "a-b", "web").Labels["phoenix-hypervisor.io/stack"], "site/home/a.b")
}

// TestForeign leaves alone what is somebody else's, unless it may be taken.
func TestForeign(t *testing.T) {
	record := func(owner string) func(w *world) {
		return func(w *world) {
			env := []portainer.Variable{{Name: "PASSWORD", Value: "theirs"}}
			if owner != "" {
				env = append(env, portainer.Variable{Name: "PHOENIX_STACK", Value: owner})
			}
			_, err := w.admin.CreateStack(w.Context(), w.ids["drphoenix"], portainer.NewStack{Name: "blog", Text: blog, Env: env})
			w.must(err)
		}
	}
	project := func(owner string) func(w *world) {
		return func(w *world) {
			text := blog
			if owner != "" {
				text = strings.ReplaceAll(blog, "    restart:", "    labels: {phoenix-hypervisor.io/stack: "+owner+"}\n    restart:")
			}
			_, err := w.engines["drphoenix"].Deploy(w.Context(), sim.Deployment{Project: "blog", Text: text, Env: []string{"PASSWORD=theirs"}})
			w.must(err)
		}
	}
	cases := map[string]struct {
		reason string
		before func(w *world)
		adopt  bool
		says   []string // empty: it is taken
	}{
		"Record":         {"a stack in Portainer without a mark", record(""), false, []string{"stack blog (1) is there already and not ours", "adoptionPolicy: IfUnowned"}},
		"RecordOfOther":  {"another installation's", record("other/home/blog"), false, []string{"project blog is of other/home/blog"}},
		"OtherNotTaken":  {"what has an owner is never taken", record("other/home/blog"), true, []string{"project blog is of other/home/blog"}},
		"RecordTaken":    {"nobody's, and it may be taken", record(""), true, nil},
		"Project":        {"a project that was started on the machine", project(""), false, []string{"is there already and not ours"}},
		"ProjectOfOther": {"another installation's, whose record is lost", project("other/home/blog"), true, []string{"project blog is of other/home/blog"}},
		"ProjectTaken":   {"nobody's, and it may be taken", project(""), true, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.before(w)
			web := w.container("drphoenix", "blog", "web").ID
			w.declare("blog", func(s *v1alpha1.DockerStack) {
				if c.adopt {
					s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned
				}
			})
			if len(c.says) == 0 {
				w.ready("blog")
				want(w, "owner", w.container("drphoenix", "blog", "db").Labels["phoenix-hypervisor.io/stack"], "site/home/blog")
				w.quiet("blog")
				return
			}
			w.server.ForgetRequests()
			w.pass("blog")
			w.says(w.get("blog"), "Ready", "False NotOwned", c.says...)
			w.says(w.get("blog"), "Stalled", "True NotOwned")
			w.remove("blog")
			want(w, c.reason+": calls", w.writes(), nil)
			want(w, c.reason+": web", w.container("drphoenix", "blog", "web").ID, web)
		})
	}
}

// TestLostStatus gives another cluster the same objects: it finds all of it again, and changes nothing.
func TestLostStatus(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	deployed := w.ready("blog").Status
	spec := w.get("blog").Spec
	w.dies()
	again := newWorldLike(t, w)
	again.declare("blog", func(s *v1alpha1.DockerStack) { s.Spec = spec })
	again.server.ForgetRequests()
	s := again.ready("blog")
	want(again, "calls", again.writes(), nil)
	want(again, "stack", s.Status.StackID, deployed.StackID)
	if s.Status.Deployed == "" || s.Status.Deployed == deployed.Deployed {
		t.Errorf("the hash %q has the key of the cluster before", s.Status.Deployed)
	}
	again.quiet("blog")

	// Somebody deletes the Secret: it is written anew, and nothing else is done.
	again.delete(again.secret("blog-stack"))
	again.server.ForgetRequests()
	again.ready("blog")
	want(again, "calls", again.writes(), nil)
	if s := again.secret("blog-stack"); s == nil || len(s.Data["compose.yaml"]) == 0 || len(s.OwnerReferences) != 1 || s.OwnerReferences[0].UID != types.UID("uid of blog") {
		t.Errorf("the Secret is %+v", s)
	}

	// A Secret of that name that is somebody's stays so.
	again.delete(again.secret("blog-stack"))
	again.create(secretOf("blog-stack", map[string]string{"mine": "mine"}))
	again.pass("blog")
	again.says(again.get("blog"), "Ready", "False NotOwned", "Secret/blog-stack: it is there already")
	want(again, "entries", len(again.secret("blog-stack").Data), 1)
}

// TestBackup restores an old backup of Portainer: records that are older, or not there.
func TestBackup(t *testing.T) {
	cases := map[string]struct {
		reason string
		early  bool // the backup is from before the stack
	}{"Older": {"the record has the text of before", false}, "None": {"the record is not there", true}}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			backup := w.server.Backup()
			w.declare("blog", nil)
			w.ready("blog")
			if !c.early {
				backup = w.server.Backup()
				w.edit("blog", func(s *v1alpha1.DockerStack) { s.Spec.Env = []v1alpha1.StackVariable{plain("PASSWORD", "newer")} })
				w.ready("blog")
			}
			db := w.container("drphoenix", "blog", "db").ID
			w.must(w.server.Restore(backup))
			w.sleep(time.Hour)
			w.ready("blog")
			want(w, c.reason+": db, which is as it should be,", w.container("drphoenix", "blog", "db").ID, db)
			w.quiet("blog")
			w.remove("blog")
			want(w, "containers", w.containers("drphoenix", "blog"), nil)
		})
	}
}
