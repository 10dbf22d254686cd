// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/controllers"
	client "github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// stackFault is something that goes wrong at Portainer while a stack is changed.
type stackFault struct {
	reason, method, path string
	times                int
	fault                portainer.Fault
	// until names the reason of Ready before the fault is healed; empty: it heals itself.
	until string
	// jump says that two minutes have to go by, after which a deployment that nobody follows is over.
	jump bool
	// most is how many deployments the change may take.
	most int
}

var stackFaults = []stackFault{
	{"the list of stacks fails", "GET", "/stacks", 2, portainer.Fault{Status: 500}, "", false, 1},
	{"a proxy refuses the list of containers", "GET", "/endpoints/*/docker/*", 2, portainer.Fault{Status: 502}, "", false, 1},
	{"the deployment fails without a word of compose's", "PUT", "/stacks/*", 1, portainer.Fault{Status: 503}, "", true, 2},
	{"cut before the deployment began", "PUT", "/stacks/*", 1, portainer.Fault{Cut: true}, "", true, 2},
	{"cut after it was deployed", "PUT", "/stacks/*", 1, portainer.Fault{Cut: true, After: true}, "", false, 1},
	{"hangs, and is cut", "PUT", "/stacks/*", 1, portainer.Fault{Hang: true, After: true}, "Redeploying", false, 1},
}

// TestStackFaults has Portainer go wrong in one way after the other while a stack changes: the end is the same, nothing is
// there twice, and what took effect is not done again. Nobody knows that of what was cut before: it is done again once it
// cannot go on any more.
func TestStackFaults(t *testing.T) {
	t.Parallel()
	ahead := &jumping{}
	w := newStackStage(t, func(o *controllers.Options) { o.Clock = ahead })
	stack := w.stack("web", ``)
	w.ready(stack)
	w.until("the stack is recorded", func() error {
		if s := w.secretNamed("web-stack"); s == nil || len(s.Data["compose.yaml"]) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	for i, f := range stackFaults {
		t.Run(f.reason, func(t *testing.T) {
			w := w.with(t)
			w.portainer().ForgetRequests()
			heal := w.portainer().Fail(f.method, f.path, f.times, f.fault)
			defer heal()
			turn := fmt.Sprint(i)
			w.change(stack, `labels: {turn: "`+turn+`"}`)
			if f.until != "" {
				w.says(stack, "Ready", "False "+f.until)
				heal()
			}
			if f.jump {
				w.says(stack, "Ready", "False Deploying", "may still go on")
				ahead.by(3 * time.Minute)
			}
			w.until("the change is there", func() error {
				if all := w.containers("web", ""); len(all) != 1 || all[0].State != "running" || all[0].Labels["turn"] != turn {
					return errors.New(describe(stack))
				}
				return nil
			})
			w.ready(stack)
			if asked := w.asked(); len(asked) > f.most {
				t.Errorf("Portainer was asked for %v, want %d at most", asked, f.most)
			}
		})
	}
	t.Run("the key is refused", func(t *testing.T) {
		w := w.with(t)
		key := w.secretNamed("portainer-api-key")
		edit(w, key.DeepCopy(), key.Name, `{"stringData":{"apiKey":"ptr_no-key-of-this-server"}}`)
		w.until("there is another key", func() error {
			if s := w.secretNamed(key.Name); strings.HasPrefix(string(s.Data["apiKey"]), "ptr_no-key") {
				return errors.New(describe(w.server))
			}
			return nil
		})
		w.change(stack, `labels: {turn: last}`)
		w.ready(w.server)
		w.ready(stack)
		if got := w.only("web", "web").Labels["turn"]; got != "last" {
			t.Errorf("the label is %q", got)
		}
	})
}

// TestStackOwners has several want one project: two DockerStacks, and people who were there before.
func TestStackOwners(t *testing.T) {
	t.Parallel()
	w := newStackStage(t)
	w.Run("two stacks of one project", func(t *testing.T) {
		w := w.with(t)
		elder := w.stack("elder", `project: one`)
		w.ready(elder)
		younger := w.stack("younger", `{project: one, compose: {inline: "services: {other: {image: 'traefik/whoami:v1.11'}}"}}`)
		w.says(younger, "Ready", "False ProjectTaken", "elder")
		w.ready(elder)
		w.only("one", "web")
		w.remove(elder)
		w.gone(elder)
		w.ready(younger)
		w.only("one", "other")
		if left := w.containers("one", "web"); len(left) > 0 {
			t.Errorf("%d containers of the elder are left", len(left))
		}
	})
	w.Run("a stack of somebody else", func(t *testing.T) {
		w := w.with(t)
		user, environment := w.user()
		text := "services: {theirs: {image: 'nginx:1.27'}}"
		if _, err := user.CreateStack(context.Background(), environment, client.NewStack{Name: "blog", Text: text}); err != nil {
			t.Fatal(err)
		}
		before := w.only("blog", "theirs").ID
		w.portainer().ForgetRequests()
		blog := w.stack("blog", ``)
		w.says(blog, "Ready", "False NotOwned", "adoptionPolicy: IfUnowned")
		w.says(blog, "Deployed", "False NotOwned")
		if asked := w.asked(); len(asked) > 0 || w.only("blog", "theirs").ID != before {
			t.Errorf("a foreign stack was touched: %v", asked)
		}
		w.change(blog, `adoptionPolicy: IfUnowned`)
		w.ready(blog)
		w.only("blog", "web")
		if left := w.containers("blog", "theirs"); len(left) > 0 {
			t.Errorf("%d containers are left of what was taken over", len(left))
		}
	})
	w.Run("a text that cannot be deployed", func(t *testing.T) {
		w := w.with(t)
		w.portainer().ForgetRequests()
		built := w.stack("built", `{compose: {inline: "services: {web: {build: .}}"}}`)
		w.says(built, "Ready", "False Invalid", "services.web.build")
		first := w.stack("first", composed("services:\n  web: {image: \"traefik/whoami:v1.10\", ports: [\"9001:80\"]}"))
		w.says(first, "Ready", "False DeployFailed", "9001")
		w.until("what is left of it is removed", func() error {
			if left := w.containers("first", ""); len(left) > 0 {
				return fmt.Errorf("%d containers", len(left))
			}
			return nil
		})
		w.change(first, composed("services:\n  web: {image: \"traefik/whoami:v1.10\", ports: [\"8088:80\"]}"))
		w.ready(first)
	})
}

// by goes ahead.
func (j *jumping) by(d time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ahead += d
}
