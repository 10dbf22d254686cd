// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	kclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// shop is a stack with a config, a value of a Secret, a volume and two containers of one service.
const (
	shop = `
configs: [{name: page, configMapKeyRef: {name: pages, key: index}}]
env: [{name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: shop, key: password}}}]
compose:
  inline: |
    services:
      web:
        image: "traefik/whoami:v1.10"
        restart: unless-stopped
        ports: ["8081:80"]
        environment: {PASSWORD: "${DB_PASSWORD}"}
        configs: [{source: page, target: /page}]
        volumes: ["data:/data"]
      worker: {image: "traefik/whoami:v1.10", restart: unless-stopped, deploy: {replicas: 2}}
    volumes: {data: {}}
deleteVolumes: []
`
	firstPassword, secondPassword = "correct-horse-battery-staple", "another-horse-with-a-battery"
)

// TestStack takes an engine, Portainer, its agent and a stack from YAML to containers, through changes, drift and a text
// that cannot be deployed, and away again.
func TestStack(t *testing.T) {
	t.Parallel()
	w := newStackStage(t)
	w.secret("shop", map[string]string{"password": firstPassword})
	pages := &corev1.ConfigMap{Data: map[string]string{"index": "the first page"}}
	pages.Name, pages.Namespace = "pages", w.namespace
	if err := kube.Create(context.Background(), pages); err != nil {
		t.Fatal(err)
	}
	stack := w.stack("shop", shop)
	for _, part := range []struct {
		name string
		run  func(*stackStage, *v1alpha1.DockerStack)
	}{
		{"from nothing", stackFromNothing},
		{"at rest", stackAtRest},
		{"a ConfigMap changes", stackConfigMap},
		{"a Secret changes", stackSecret},
		{"changed by hand", stackDrift},
		{"observed", stackObserved},
		{"a text that fails", stackRolledBack},
		{"a service goes", stackPruned},
		{"Portainer restored from a backup", stackRestored},
		{"the end", stackEnds},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(w.with(t), stack) }) {
			return
		}
	}
}

func stackFromNothing(w *stackStage, stack *v1alpha1.DockerStack) {
	for _, o := range []object{w.engine, w.server, w.agent, stack} {
		w.ready(o)
	}
	w.says(w.agent, "Registered", "True", "agent", "10.0.5.2:9001")
	w.says(stack, "Deployed", "True Deployed", "stack shop in agent")
	w.says(stack, "Healthy", "True Healthy", "all 2 services run")
	web := w.only("shop", "web")
	if !slices.Contains(web.Env, "PASSWORD="+firstPassword) || len(web.Files) != 1 || web.Files["/page"] != "the first page" {
		w.Errorf("the container has %v and %v", web.Env, web.Files)
	}
	if n := len(w.containers("shop", "worker")); n != 2 || stack.Status.Ready != "2/2" {
		w.Errorf("%d workers; the status says %s", n, stack.Status.Ready)
	}
	w.answers("10.0.5.2:8081")
	for name, entry := range map[string]string{"portainer-admin": "password", "portainer-api-key": "apiKey", "portainer-agent": "secret", "shop-stack": "compose.yaml"} {
		if s := w.secretNamed(name); s == nil || len(s.Data[entry]) == 0 {
			w.Errorf("Secret %s has no %s", name, entry)
		}
	}
}

// answers proves that a port of the site takes connections.
func (w *stackStage) answers(address string) {
	w.Helper()
	conn, err := w.site.DialContext(context.Background(), "tcp", address)
	if err != nil {
		w.Errorf("the stack's port: %v", err)
		return
	}
	_ = conn.Close() // it was only tried
}

// stackAtRest proves that passes in sync write nothing: not to machines, not to Portainer, not to the API server.
func stackAtRest(w *stackStage, stack *v1alpha1.DockerStack) {
	var before []string
	w.until("all is at rest", func() error {
		seen := append(w.versions([]object{stack}), w.containers("shop", "")[0].ID)
		if w.rest([]*machine.Machine{w.box()}, w.engine, w.server, w.agent); !slices.Equal(seen, before) {
			before = seen
			return errors.New("the stack changes")
		}
		return nil
	})
	w.portainer().ForgetRequests()
	w.until("Portainer is asked again", func() error { return atLeast(20, len(w.portainer().Requests())) })
	if asked := w.asked(); len(asked) > 0 {
		w.Errorf("passes in sync ask Portainer for %v", asked)
	}
	if after := append(w.versions([]object{stack}), w.containers("shop", "")[0].ID); !slices.Equal(before, after) {
		w.Errorf("passes in sync changed %v to %v", before, after)
	}
}

func stackConfigMap(w *stackStage, stack *v1alpha1.DockerStack) {
	before := w.only("shop", "web").ID
	edit(w, &corev1.ConfigMap{}, "pages", `{"data":{"index":"the second page"}}`)
	w.until("the page is deployed", func() error {
		if all := w.containers("shop", "web"); len(all) != 1 || all[0].Files["/page"] != "the second page" {
			return errors.New("it is the first one")
		}
		return nil
	})
	w.ready(stack)
	if w.only("shop", "web").ID == before {
		w.Error("the container is the old one")
	}
}

func stackSecret(w *stackStage, stack *v1alpha1.DockerStack) {
	workers := w.containers("shop", "worker")
	edit(w, &corev1.Secret{}, "shop", `{"stringData":{"password":"`+secondPassword+`"}}`)
	w.until("the password is deployed", func() error {
		if all := w.containers("shop", "web"); len(all) != 1 || !slices.Contains(all[0].Env, "PASSWORD="+secondPassword) {
			return errors.New("it is the first one")
		}
		return nil
	})
	w.ready(stack)
	for i, c := range w.containers("shop", "worker") {
		if c.ID != workers[i].ID {
			w.Error("a container that does not have the password was made anew")
		}
	}
	text, err := json.Marshal(stack)
	if err != nil || strings.Contains(string(text), firstPassword) || strings.Contains(string(text), secondPassword) {
		w.Errorf("the status shows a password (%v): %s", err, text)
	}
}

// edit patches an object that is not Phoenix's.
func edit(w *stackStage, o kclient.Object, name, patch string) {
	w.Helper()
	o.SetName(name)
	o.SetNamespace(w.namespace)
	if err := kube.Patch(context.Background(), o, kclient.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		w.Fatal(err)
	}
}

// stackDrift does to containers what people do.
func stackDrift(w *stackStage, stack *v1alpha1.DockerStack) {
	for reason, harm := range map[string]func(id string) error{
		"stopped": func(id string) error { return w.box().Engine().Stop(context.Background(), id, 0) },
		"removed": func(id string) error { return w.box().Engine().Remove(id, true, false) },
	} {
		others := len(w.containers("shop", "worker"))
		if err := harm(w.only("shop", "web").ID); err != nil {
			w.Fatal(err)
		}
		w.until("a container that was "+reason+" is put back", func() error {
			if all := w.containers("shop", "web"); len(all) != 1 || all[0].State != "running" {
				return errors.New(describe(stack))
			}
			return nil
		})
		w.ready(stack)
		if n := len(w.containers("shop", "worker")); n != others {
			w.Errorf("%d workers, were %d", n, others)
		}
	}
	w.answers("10.0.5.2:8081")
}

// stackObserved proves that a stack that is only observed is planned, and left alone.
func stackObserved(w *stackStage, stack *v1alpha1.DockerStack) {
	w.portainer().ForgetRequests()
	before := w.only("shop", "web").ID
	w.change(stack, `{management: Observe, labels: {tier: front}}`)
	w.says(stack, "Ready", "True Drifted")
	w.says(stack, "Deployed", "False TextChanged")
	if plan := stack.Status.Plan; len(plan) != 1 || plan[0].Reason != "Redeploying" || plan[0].Field != "compose" {
		w.Errorf("the plan is %v", plan)
	}
	if asked := w.asked(); len(asked) > 0 || w.only("shop", "web").ID != before {
		w.Errorf("a stack that is observed asks Portainer for %v", asked)
	}
	w.change(stack, `{management: Enforce}`)
	w.ready(stack)
	if got := w.only("shop", "web").Labels["tier"]; got != "front" {
		w.Errorf("the label is %q", got)
	}
}

// stackRolledBack has an image that is nowhere, and a port that is another stack's.
func stackRolledBack(w *stackStage, stack *v1alpha1.DockerStack) {
	w.get(stack)
	good, before := stack.Spec.Compose.Inline, w.only("shop", "web").ID
	w.change(stack, composed(strings.Replace(good, "traefik/whoami:v1.10", "traefik/whoami:v0.0", 1)))
	w.says(stack, "Ready", "False PullFailed", "traefik/whoami:v0.0")
	if got := w.only("shop", "web"); got.ID != before || got.State != "running" {
		w.Error("a pull that failed touched the container")
	}
	w.change(stack, composed(strings.Replace(good, "8081:80", "9443:80", 1)))
	w.says(stack, "Deployed", "False RolledBack", "9443", "rolled back to what ran before")
	w.until("what ran before runs again", func() error {
		if all := w.containers("shop", "web"); len(all) != 1 || all[0].State != "running" || all[0].Ports[0].Published != 8081 {
			return errors.New(describe(stack))
		}
		return nil
	})
	w.says(stack, "Ready", "False RolledBack")
	w.says(stack, "Healthy", "True")
	w.change(stack, composed(strings.Replace(good, "8081:80", "8082:80", 1)))
	w.ready(stack)
	w.answers("10.0.5.2:8082")
	if stack.Status.Refused != "" {
		w.Errorf("it is still refused: %q", stack.Status.Refused)
	}
}

// stackPruned takes a service out of the text, and updates the image of the other.
func stackPruned(w *stackStage, stack *v1alpha1.DockerStack) {
	w.change(stack, composed(`
services:
  web:
    image: "traefik/whoami:v1.11"
    restart: unless-stopped
    ports: ["8082:80"]
    volumes: ["data:/data"]
volumes: {data: {}}
`)+"\nconfigs: null")
	w.ready(stack)
	if got := w.only("shop", "web").Image; got != "traefik/whoami:v1.11" {
		w.Errorf("the image is %s", got)
	}
	if left := w.containers("shop", "worker"); len(left) > 0 {
		w.Errorf("%d workers are left", len(left))
	}
}

// stackRestored gives Portainer a database of a time before the key, the environment and the stack of now.
func stackRestored(w *stackStage, stack *v1alpha1.DockerStack) {
	old := w.portainer().Backup()
	w.change(stack, `labels: {tier: back}`)
	w.ready(stack)
	if err := kube.Delete(context.Background(), w.secretNamed("portainer-api-key")); err != nil {
		w.Fatal(err)
	}
	w.until("there is another key", func() error {
		if s := w.secretNamed("portainer-api-key"); s == nil || len(s.Data["apiKey"]) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	w.ready(w.server)
	key := string(w.secretNamed("portainer-api-key").Data["apiKey"])
	if err := w.portainer().Restore(old); err != nil {
		w.Fatal(err)
	}
	w.until("the key of the restored server is in the Secret", func() error {
		if s := w.secretNamed("portainer-api-key"); s == nil || string(s.Data["apiKey"]) == key {
			return errors.New(describe(w.server))
		}
		return nil
	})
	for _, o := range []object{w.server, w.agent, stack} {
		w.ready(o)
	}
	w.until("the stack is as it should be", func() error {
		if w.get(stack); !strings.HasPrefix(condition(stack, "Deployed"), "True") || w.only("shop", "web").Labels["tier"] != "back" {
			return errors.New(describe(stack))
		}
		return nil
	})
}

// stackEnds deletes all at once, as one does with a namespace: what needs something goes before it.
func stackEnds(w *stackStage, stack *v1alpha1.DockerStack) {
	box := w.box()
	for _, o := range []object{w.engine, w.server, w.agent, stack} {
		w.remove(o)
	}
	for _, o := range []object{stack, w.agent, w.server, w.engine} {
		w.gone(o)
	}
	if left := w.containers("shop", ""); len(left) > 0 {
		w.Errorf("%d containers are left", len(left))
	}
	var volumes []string
	for _, v := range box.Engine().Volumes() {
		volumes = append(volumes, v.Name)
	}
	if !slices.Contains(volumes, "shop_data") {
		w.Errorf("the volume is not there: %v", volumes)
	}
	if w.recorded(box) {
		w.Error("something of ours is left on the machine")
	}
	if w.secretNamed("portainer-admin") == nil || w.secretNamed("portainer-agent") == nil {
		w.Error("the keys of Portainer, whose data is still there, are gone")
	}
}
