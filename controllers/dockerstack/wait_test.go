// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// TestPullHangs has a pull not come to an end: who declares another text, or deletes the stack, does not wait for it.
func TestPullHangs(t *testing.T) {
	hang := func(w *world) {
		w.server.Fail("POST", "/endpoints/*/docker/*images/create*", 1, sim.Fault{Hang: true})
		w.pass("blog")
		w.says(w.get("blog"), "Ready", "False Pulling")
		asked := func(r sim.Request) bool { return strings.Contains(r.Path, "images/create") }
		for range 1000 {
			if slices.ContainsFunc(w.server.Requests(), asked) {
				return
			}
			w.wakeSome()
		}
		w.Fatal("nothing is pulled")
	}
	t.Run("Edited", func(t *testing.T) {
		w := newWorld(t)
		w.declare("blog", nil)
		hang(w)
		w.text("blog", strings.Replace(blog, "lab/web:1", "lab/web:2", 1))
		w.pass("blog")
		w.wake("blog")
		w.ready("blog")
		want(w, "image", w.container("drphoenix", "blog", "web").Image, "lab/web:2")
	})
	t.Run("Deleted", func(t *testing.T) {
		w := newWorld(t)
		w.declare("blog", nil)
		hang(w)
		w.delete(w.get("blog"))
		w.pass("blog")
		w.wake("blog")
		w.pass("blog")
		if w.exists("blog") {
			t.Errorf("it is still there: %s", condition(w.get("blog"), "Ready"))
		}
	})
}

// TestSecretInImage has the value of a Secret be part of an image's name: nothing but the containers shows it.
func TestSecretInImage(t *testing.T) {
	w := newWorld(t, secretOf("db", map[string]string{"password": "pass-word", "registry": "registry-token"}))
	const name = "lab/registry-token:1"
	w.images.Push(name, sim.NewImage("token 1"))
	heal := w.images.Break(name, fmt.Errorf("pull access denied for %s", name))
	w.declare("blog", func(s *v1alpha1.DockerStack) {
		s.Spec.Compose.Inline = strings.Replace(blog, "lab/web:1", "lab/${REGISTRY}:1", 1)
		s.Spec.Env = []v1alpha1.StackVariable{ofSecret("PASSWORD", "db", "password"), ofSecret("REGISTRY", "db", "registry")}
	})
	var told string
	note := func(s *v1alpha1.DockerStack) { told += fmt.Sprintf("%+v\n", s) }
	note(w.until("blog", "False PullFailed", "***"))
	heal()
	note(w.ready("blog"))
	want(w, "image", w.container("drphoenix", "blog", "web").Image, name)
	want(w, "status", w.get("blog").Status.Services[1].Image, "lab/***:1")
	w.edit("blog", func(s *v1alpha1.DockerStack) { s.Spec.PullPolicy = v1alpha1.PullNever })
	edit(w, &corev1.Secret{}, "db", func(s *corev1.Secret) { s.Data["registry"] = []byte("second-token") })
	note(w.until("blog", "False ImageMissing", "lab/***:1"))
	told += w.log.String() + strings.Join(w.events.all(), "\n")
	for _, secret := range []string{"registry-token", "second-token"} {
		if at := strings.Index(told, secret); at >= 0 {
			t.Errorf("%s is told: %q", secret, told[max(0, at-200):at+len(secret)])
		}
	}
}

// TestLargeSecret has a config of many lines: to hide them takes no time worth speaking of.
func TestLargeSecret(t *testing.T) {
	var page strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&page, "l%d\n", i)
	}
	w := newWorld(t, secretOf("page", map[string]string{"page": page.String()}))
	w.declare("blog", func(s *v1alpha1.DockerStack) {
		s.Spec.Configs = []v1alpha1.StackConfig{{Name: "page", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "page", Key: "page"}}}
	})
	w.ready("blog")
	w.quiet("blog")
}

// TestForeignSecretAtTheEnd deletes a stack whose Secret's name is somebody else's: that one stays, and keeps nobody.
func TestForeignSecretAtTheEnd(t *testing.T) {
	w := newWorld(t, secretOf("blog-stack", map[string]string{"mine": "mine"}))
	w.declare("blog", nil)
	w.until("blog", "False NotOwned")
	w.remove("blog")
	want(w, "entries", len(w.secret("blog-stack").Data), 1)
}

// TestTextLost has Portainer lose the text of a stack: it is deployed anew, and can be removed.
func TestTextLost(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	lose := func() func() {
		return w.server.Fail("GET", "/stacks/*/file", 0, sim.Fault{Status: 500, Message: "Unable to retrieve Compose file from disk"})
	}
	heal := lose()
	w.restart()
	w.sleep(time.Minute)
	w.server.ForgetRequests()
	w.step("blog")
	want(w, "calls", w.writes(), []string{"PUT /stacks/1"})
	heal()
	w.ready("blog")
	lose()
	w.restart()
	w.remove("blog")
	want(w, "containers", w.containers("drphoenix", "blog"), nil)
}
