// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	portainerapi "github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// under are the services of the samples that are under the stacks: engines, server, agent.
var under = []string{"portainer-engine", "drphoenix-engine", "portainer", "drphoenix"}

// greeting is what stack-b says from when on its value comes from a Secret.
const greeting = "greeting-5e0b9a41c7"

// The texts of stack-b: of the samples, and others that are deployed in its place.
const (
	textWeb = `services:
  web:
    image: traefik/whoami:v1.10
    restart: unless-stopped
    environment:
      WHOAMI_NAME: ${GREETING}
    ports: ["8082:80"]
`
	textWorker = `  worker:
    image: traefik/whoami:v1.10
    restart: unless-stopped
    deploy:
      replicas: 2
`
	textBroken = `    entrypoint: ["/there-is-no-such-program"]
`
)

func stackKey(name string) *v1alpha1.DockerStack {
	return &v1alpha1.DockerStack{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace}}
}

// stack reads a DockerStack.
func (r *reference) stack(name string) *v1alpha1.DockerStack {
	r.Helper()
	s := stackKey(name)
	if err := r.Client.Get(test, client.ObjectKeyFromObject(s), s); err != nil {
		r.Fatal(err)
	}
	return s
}

// lookAtStacks makes Phoenix look at stacks. What it has seen of an environment stands for all its stacks, for two seconds.
func (r *reference) lookAtStacks(names ...string) {
	r.Helper()
	time.Sleep(2 * time.Second)
	for _, name := range names {
		r.lookAt(stackKey(name))
	}
}

// stacked waits until stacks are Ready with nothing left to do.
func (r *reference) stacked(names ...string) {
	r.Helper()
	for _, name := range names {
		r.within(patience, "stack "+name+" is Ready", func() error {
			s := r.stack(name)
			if status, said := condition(s, v1alpha1.ReadyCondition); status != metav1.ConditionTrue || s.Status.ObservedGeneration != s.Generation || len(s.Status.Plan) > 0 {
				return fmt.Errorf("%s; plan %+v", said, s.Status.Plan)
			}
			return nil
		})
	}
}

// compose gives stack-b another text.
func (r *reference) compose(text string) {
	r.Helper()
	r.patch(stackKey("stack-b"), fmt.Sprintf(`{"spec":{"compose":{"inline":%q}}}`, text))
}

// webSays waits until a stack's web server answers the guest traefik with a line.
func webSays(t *testing.T, port int, line string) {
	t.Helper()
	until(t, fmt.Sprintf("port %d answers %q", port, line), func() error {
		return answered(t.Context(), traefik, addresses[drphoenix], port, line)
	})
}

// containers are the IDs of the containers of a stack's service, also of stopped ones.
func containers(t *testing.T, project, service string) []string {
	t.Helper()
	return strings.Fields(inside(
		t, drphoenix, "docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", "label=com.docker.compose.project="+project,
		"--filter", "label=com.docker.compose.service="+service,
	))
}

// server is the site's Portainer, as Phoenix speaks to it.
func (r *reference) server() *portainerapi.Client {
	r.Helper()
	roots, at := x509.NewCertPool(), r.service("portainer").Status.Portainer
	if !roots.AppendCertsFromPEM([]byte(at.CABundle)) {
		r.Fatalf("the server's certificate leads to %q", at.CABundle)
	}
	s, err := portainerapi.New(portainerapi.Options{URL: at.URL, ServerName: at.ServerName, Roots: roots})
	if err != nil {
		r.Fatal(err)
	}
	return s.With(string(r.secretOf(at.APIKeySecret)["apiKey"]))
}

// stacks does to the stacks, and to what is under them, what people do.
func stacks(r *reference) {
	r.ready(under...)
	r.part("published", published)
	r.part("mended", mended)
	r.part("edited", edited)
	r.part("refused", refusedUpdate)
	r.part("pruned", pruned)
	r.part("server", serverBack)
	r.part("agent", agentBack)
}

// published asks the stacks from another guest, and looks at what their status says. Who else reaches them, the part on
// connections has tried.
func published(r *reference) {
	t := r.T
	r.stacked("stack-a", "stack-b")
	ids := containers(t, "stack-a", "web")
	if len(ids) != 1 {
		t.Fatalf("containers of stack-a: %q", ids)
	}
	webSays(t, 8081, "Hostname: "+ids[0][:12])
	webSays(t, 8082, "Name: the second stack")
	image := inside(t, drphoenix, "docker", "image", "inspect", "--format", "{{.Id}}", "traefik/whoami:v1.10")
	service := func(name, containers string, ports ...v1alpha1.StackPort) v1alpha1.StackService {
		return v1alpha1.StackService{Name: name, Image: "traefik/whoami:v1.10", Digest: image, State: "running", Containers: containers, Ports: ports}
	}
	for name, want := range map[string][]v1alpha1.StackService{
		"stack-a": {service("web", "1/1", v1alpha1.StackPort{Target: 80, Published: 8081, Protocol: "tcp"})},
		"stack-b": {service("web", "1/1", v1alpha1.StackPort{Target: 80, Published: 8082, Protocol: "tcp"}), service("worker", "2/2")},
	} {
		if diff := cmp.Diff(want, r.stack(name).Status.Services); diff != "" {
			t.Errorf("services of %s (-want +got):\n%s", name, diff)
		}
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "greeting", Namespace: world.Namespace}, StringData: map[string]string{"text": greeting}}
	r.declare(secret)
	r.patch(stackKey("stack-b"), `{"spec":{"env":[{"name":"GREETING","valueFrom":{"secretKeyRef":{"name":"greeting","key":"text"}}}]}}`)
	webSays(t, 8082, "Name: "+greeting)
	r.stacked("stack-b")
}

// mended stops and removes containers by hand.
func mended(r *reference) {
	t := r.T
	for _, tc := range []struct{ reason, project, service, how string }{
		{"stopped", "stack-a", "web", "stop"},
		{"removed", "stack-b", "web", "rm --force"},
		{"one of two removed", "stack-b", "worker", "rm --force"},
	} {
		before := containers(t, tc.project, tc.service)
		inside(t, drphoenix, "sh", "-c", "docker "+tc.how+" "+before[0])
		r.lookAtStacks(tc.project)
		until(t, tc.reason+": as many run as before", func() error {
			const script = `docker ps --quiet --filter label=com.docker.compose.project="$0" --filter label=com.docker.compose.service="$1" | wc -l`
			if got := inside(t, drphoenix, "sh", "-c", script, tc.project, tc.service); got != fmt.Sprint(len(before)) {
				return fmt.Errorf("%s, want %d", got, len(before))
			}
			return nil
		})
		r.stacked(tc.project)
	}
	webSays(t, 8081, "Hostname: "+containers(t, "stack-a", "web")[0][:12])
	webSays(t, 8082, "Name: "+greeting)
}

// edited deploys another text in Portainer.
func edited(r *reference) {
	t := r.T
	server, status := r.server(), r.stack("stack-a").Status
	id, environment := int(status.StackID), int(status.EnvironmentID)
	before, err := server.StackFile(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	all, err := server.Stacks(t.Context(), environment)
	i := slices.IndexFunc(all, func(s portainerapi.Stack) bool { return s.ID == id })
	if err != nil || i < 0 {
		t.Fatalf("stacks in Portainer: %+v (%v), want one with number %d", all, err, id)
	}
	text := strings.Replace(before, "image: traefik/whoami:v1.10", "image: traefik/whoami:v1.10\n    environment: {WHOAMI_NAME: by-hand}", 1)
	if err := server.UpdateStack(t.Context(), id, environment, portainerapi.StackChange{Text: text, Env: all[i].Env}); err != nil {
		t.Fatal(err)
	}
	webSays(t, 8081, "Name: by-hand")
	r.lookAtStacks("stack-a")
	until(t, "the text is as it was", func() error {
		now, err := server.StackFile(t.Context(), id)
		if err == nil && now != before {
			err = fmt.Errorf("%s, want %s", now, before)
		}
		return err
	})
	r.stacked("stack-a")
	until(t, "nobody is called by-hand", func() error {
		if answered(t.Context(), traefik, addresses[drphoenix], 8081, "Name: by-hand") == nil {
			return errors.New("it is")
		}
		return nil
	})
	webSays(t, 8081, "Hostname: "+containers(t, "stack-a", "web")[0][:12])
}

// refusedUpdate declares what cannot start.
func refusedUpdate(r *reference) {
	t := r.T
	r.compose(textWeb + textBroken + textWorker)
	r.within(patience, "the update is rolled back", func() error {
		s := r.stack("stack-b")
		c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.DeployedCondition)
		if c == nil || s.Status.ObservedGeneration != s.Generation || c.Reason != "RolledBack" || !strings.Contains(c.Message, "/there-is-no-such-program") || s.Status.Refused == "" {
			return fmt.Errorf("%+v", s.Status.Conditions)
		}
		return nil
	})
	webSays(t, 8082, "Name: "+greeting)
	if status, said := condition(r.stack("stack-b"), v1alpha1.ReadyCondition); status != metav1.ConditionFalse {
		t.Errorf("an update was rolled back, and Ready is %s", said)
	}
	r.compose(textWeb + textWorker)
	r.stacked("stack-b")
	if refused := r.stack("stack-b").Status.Refused; refused != "" {
		t.Errorf("what runs is declared again, and %q is refused", refused)
	}
}

// pruned takes a service out of the text.
func pruned(r *reference) {
	t := r.T
	web := containers(t, "stack-b", "web")
	r.compose(textWeb)
	until(t, "the service is gone", func() error {
		if left := containers(t, "stack-b", "worker"); len(left) > 0 {
			return fmt.Errorf("it has %q", left)
		}
		return nil
	})
	r.stacked("stack-b")
	if got := containers(t, "stack-b", "web"); !slices.Equal(got, web) {
		t.Errorf("the other service runs in %q, was in %q", got, web)
	}
	webSays(t, 8082, "Name: "+greeting)
}

// serverBack stops Portainer, and its container goes. It comes back as it was.
func serverBack(r *reference) {
	t := r.T
	key := string(r.secretOf("portainer-api-key")["apiKey"])
	inside(t, portainer, "sh", "-c", `systemctl disable --quiet --now portainer-portainer.service 2>/dev/null
		docker rm --force portainer-portainer >/dev/null 2>&1; ! docker inspect portainer-portainer >/dev/null 2>&1`)
	r.look("portainer")
	until(t, "Portainer is there again", func() error {
		_, err := r.server().Me(t.Context())
		return err
	})
	r.ready(under...)
	if got := string(r.secretOf("portainer-api-key")["apiKey"]); got != key {
		t.Error("Portainer came back, and has another key")
	}
	if got := inside(t, portainer, "systemctl", "is-enabled", "portainer-portainer.service"); got != "enabled" {
		t.Errorf("its unit is %s", got)
	}
	r.lookAtStacks("stack-a", "stack-b")
	r.stacked("stack-a", "stack-b")
}

// agentBack removes all that there is of an agent, on its machine and in Portainer.
func agentBack(r *reference) {
	t := r.T
	old := r.service("drphoenix").Status.PortainerAgent.EnvironmentID
	if err := r.server().DeleteEnvironment(t.Context(), int(old)); err != nil {
		t.Fatal(err)
	}
	inside(t, drphoenix, "sh", "-c", `systemctl disable --quiet --now portainer-agent-drphoenix.service 2>/dev/null
		rm -r /etc/systemd/system/portainer-agent-drphoenix.service /etc/portainer-agent-drphoenix; systemctl daemon-reload
		docker image rm --force portainer/agent:2.23.0 >/dev/null`)
	r.look("drphoenix")
	r.within(patience, "the agent is registered again", func() error {
		s := r.service("drphoenix")
		status, said := condition(s, v1alpha1.RegisteredCondition)
		if at := s.Status.PortainerAgent; status != metav1.ConditionTrue || at == nil || at.EnvironmentID == old {
			return fmt.Errorf("%s: %+v", said, at)
		}
		return nil
	})
	r.ready(under...)
	r.lookAtStacks("stack-a", "stack-b")
	environment := r.service("drphoenix").Status.PortainerAgent.EnvironmentID
	for _, name := range []string{"stack-a", "stack-b"} {
		r.within(patience, name+" is in the new environment", func() error {
			if s := r.stack(name); s.Status.EnvironmentID != environment {
				return fmt.Errorf("environment %d, want %d", s.Status.EnvironmentID, environment)
			}
			return nil
		})
	}
	r.stacked("stack-a", "stack-b")
	for name, line := range map[string]string{"stack-a": "Hostname: " + containers(t, "stack-a", "web")[0][:12], "stack-b": "Name: " + greeting} {
		webSays(t, map[string]int{"stack-a": 8081, "stack-b": 8082}[name], line)
	}
}

// hiddenValues looks for what only Secrets may show: in all that people see who may not read them, in the arguments of all
// processes that there were, and in the files of the machines that anybody can read.
func hiddenValues(r *reference, watched *processes) {
	t := r.T
	watched.end()
	values := map[string]string{
		"the key of Portainer's API": string(r.secretOf("portainer-api-key")["apiKey"]), "the administrator's password": string(r.secretOf("portainer-admin")["password"]),
		"the secret of agents": string(r.secretOf("portainer-agent")["secret"]), "the value of a stack's variable": greeting,
	}
	var patterns []string
	for what, value := range values {
		if len(value) < 12 {
			t.Fatalf("%s has %d characters", what, len(value))
		}
		patterns = append(patterns, value)
	}
	places := shown(r)
	planted := false
	for arguments := range watched.arguments {
		places["the arguments of a process"] += arguments + "\n"
		planted = planted || strings.Contains(arguments, canary)
	}
	if !planted {
		t.Errorf("the arguments of %d processes do not show what was planted", len(watched.arguments))
	}
	for place, text := range places {
		for what, value := range values {
			if i := strings.Index(text, value); i >= 0 {
				t.Errorf("%s: %s is shown after %q", place, what, text[max(0, i-100):i])
			}
		}
	}
	const script = `cd / && setpriv --reuid 65534 --regid 65534 --clear-groups grep -rIlF -f - etc root home run tmp var usr/local opt srv 2>/dev/null; true`
	for _, vmid := range []int{portainer, drphoenix} {
		inside(t, vmid, "sh", "-c", "echo "+canary+" >/var/tmp/canary")
		got, err := site.ExecInput(test, vmid, strings.NewReader(strings.Join(append(patterns, canary), "\n")+"\n"), "sh", "-c", script)
		if found := strings.TrimSpace(got.Stdout); err != nil || found != "var/tmp/canary" {
			t.Errorf("files of machine %d that anybody can read show a value: %q (%v, %s)", vmid, found, err, got.Stderr)
		}
		inside(t, vmid, "rm", "/var/tmp/canary")
	}
}

// stacksRemoved deletes the stacks, and then what is under them. Of that, data alone stays.
func stacksRemoved(r *reference) {
	t := r.T
	r.remove(stackKey("stack-a"), stackKey("stack-b"))
	if got := inside(t, drphoenix, "docker", "ps", "--all", "--format", "{{.Names}}"); got != "portainer-agent-drphoenix" {
		t.Errorf("without stacks the engine runs %q", got)
	}
	r.remove(serviceKey("drphoenix"), serviceKey("portainer"))
	for _, vmid := range []int{portainer, drphoenix} {
		if got := inside(t, vmid, "docker", "ps", "--all", "--quiet"); got != "" {
			t.Errorf("machine %d has containers %q", vmid, got)
		}
	}
	r.remove(serviceKey("portainer-engine"), serviceKey("drphoenix-engine"))
	const script = `ls -d /etc/portainer-* /etc/systemd/system/*portainer* /etc/systemd/system/*/*portainer* /etc/systemd/system/docker.service.d /etc/docker/daemon.json 2>/dev/null
systemctl list-units --all --plain --no-legend 'portainer*' 'docker-*.scope'
grep -l docker /var/lib/phoenix/*; pgrep -a 'dockerd|containerd-shim|docker-proxy|portainer|whoami'; true`
	for _, vmid := range []int{portainer, drphoenix} {
		if got := inside(t, vmid, "sh", "-c", script); got != "" {
			t.Errorf("machine %d still has %s", vmid, got)
		}
	}
	inside(t, portainer, "sh", "-c", "test -n \"$(ls /var/lib/portainer)\" && test -d /var/lib/docker")
	inside(t, drphoenix, "test", "-d", "/var/lib/docker")
}
