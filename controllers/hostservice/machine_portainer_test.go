// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	simportainer "github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

func TestFleetFromNothing(t *testing.T) {
	w := newFleet(t)
	w.declare()
	w.settle()
	main, box := w.get("main").Status, w.get("drphoenix").Status
	if p := main.Portainer; p == nil || p.URL != "https://10.0.0.111:9443" || p.ServerName != "portainer.phoenix.lan" || p.Version != "2.23.0" || p.InstanceID == "" ||
		p.APIKeySecret != "main-api-key" || p.AgentSecret != "main-agent" || p.CABundle != string(w.secret("portainer-tls").Data["ca.crt"]) {
		t.Errorf("the status of the server is %+v", p)
	}
	all := w.environments()
	if len(all) != 1 || all[0].Name != "drphoenix" || all[0].URL != "tcp://10.0.0.102:9001" || !all[0].Agent || len(all[0].TagIDs) != 1 {
		t.Fatalf("the server has %+v", all)
	}
	want := &v1alpha1.PortainerAgentStatus{Environment: "drphoenix", EnvironmentID: int32(all[0].ID), Address: "10.0.0.102:9001"}
	if diff := cmp.Diff(want, box.PortainerAgent); diff != "" {
		t.Errorf("the status of the agent (-want +got):\n%s", diff)
	}
	if main.Service != "portainer" || box.Service != "portainerAgent" || w.get("docker-1").Status.Service != "docker" || box.Machine != "Guest/drphoenix" {
		t.Errorf("services are %q, %q", main.Service, box.Service)
	}
	for at, file := range map[string]string{
		fleetServer + " /etc/portainer-main/tls.key": "600", fleetServer + " /etc/portainer-main/agent.env": "600", fleetServer + " /etc/portainer-main": "700",
		fleetServer + " /var/lib/portainer": "700", fleetBox + " /etc/portainer-agent-drphoenix/agent.env": "600",
	} {
		machine, path, _ := strings.Cut(at, " ")
		if got := strings.TrimSpace(w.on(machine, "stat -c %a "+path)); got != file {
			t.Errorf("%s has mode %s, want %s", at, got, file)
		}
	}
	w.leaks()
	w.still()
	w.restart()
	w.server().ForgetRequests()
	w.settle()
	if diff := cmp.Diff([]string{"POST /api/auth"}, w.asked()); diff != "" {
		t.Errorf("a manager that starts anew asks for more than whether the password fits (-want +got):\n%s", diff)
	}
	w.still()
}

// leaks asserts that no key stands in an object but its Secret, in an event, or in an argument of a command.
func (w *fleet) leaks() {
	w.t.Helper()
	var said []string
	for len(w.events.Events) > 0 {
		said = append(said, <-w.events.Events)
	}
	for _, name := range w.left() {
		said = append(said, fmt.Sprintf("%+v", *w.get(name)))
	}
	for _, m := range w.machines {
		for _, c := range m.Commands() {
			said = append(said, c.Line)
		}
	}
	for _, name := range []string{fleetServer, fleetBox} {
		said = append(said, w.on(name, "cat /etc/systemd/system/*.service; journalctl -o cat --no-pager; docker ps -a --no-trunc"))
	}
	for secret, entry := range map[string]string{"main-admin": "password", "main-api-key": "apiKey", "main-agent": "secret", "portainer-tls": corev1.TLSPrivateKeyKey} {
		value := string(w.secret(secret).Data[entry])
		if entry == corev1.TLSPrivateKeyKey {
			value = strings.Split(value, "\n")[1]
		}
		for _, text := range said {
			if strings.Contains(text, value) {
				w.t.Errorf("%s of Secret %s stands in %.300q", entry, secret, text)
			}
		}
	}
}

// TestFleetIsPutBack: what was lost, changed or restored is put back, and in the end everything is as it was declared.
func TestFleetIsPutBack(t *testing.T) {
	w := newFleet(t)
	w.declare()
	w.settle()
	admin := string(w.secret("main-admin").Data["password"])
	instance := w.get("main").Status.Portainer.InstanceID
	ours := func() (id int, url string) {
		all := w.environments()
		if len(all) != 1 {
			t.Fatalf("the server has %+v", all)
		}
		return all[0].ID, all[0].URL
	}
	first, _ := ours()
	backup := w.server().Backup()

	t.Run("renewed certificate", func(t *testing.T) {
		w.put("portainer-tls", time.Hour, "portainer.phoenix.lan")
		w.settle()
		if id, _ := ours(); id != first {
			t.Errorf("the environment is %d, was %d", id, first)
		}
		w.still()
	})
	t.Run("key lost", func(t *testing.T) {
		if err := w.client.Delete(t.Context(), w.secret("main-api-key")); err != nil {
			t.Fatal(err)
		}
		heal := w.server().Fail("POST", "/users/*/tokens", 1, simportainer.Fault{Cut: true, After: true})
		defer heal()
		w.settle()
		w.still()
	})
	t.Run("old backup", func(t *testing.T) {
		if err := w.server().Restore(backup); err != nil {
			t.Fatal(err)
		}
		w.restart() // who signed in three times within ten minutes has to wait
		w.settle()
		if id, _ := ours(); id != first {
			t.Errorf("the environment is %d, was %d", id, first)
		}
		w.still()
	})
	t.Run("data lost", func(t *testing.T) {
		w.on(fleetServer, "systemctl stop portainer-main; rm -r /var/lib/portainer/*; systemctl start portainer-main")
		w.restart()
		w.settle()
		if now := w.get("main").Status.Portainer.InstanceID; now == instance || string(w.secret("main-admin").Data["password"]) != admin {
			t.Errorf("the instance is %q, was %q; or the password is another one", now, instance)
		}
		ours()
		w.still()
	})
	t.Run("container and unit by hand", func(t *testing.T) {
		w.on(fleetBox, "systemctl disable --now portainer-agent-drphoenix; echo x >/etc/portainer-agent-drphoenix/agent.env")
		w.on(fleetServer, "echo '# by hand' >>/etc/docker/daemon.json")
		w.settle()
		w.still()
	})
	t.Run("certificate lost", func(t *testing.T) {
		data := w.secret("portainer-tls").Data
		if err := w.client.Delete(t.Context(), w.secret("portainer-tls")); err != nil {
			t.Fatal(err)
		}
		s := w.until("main", "False CertificateMissing", "what the machine has is served on")
		if got := svcCondition(s, v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") {
			t.Errorf("Serving is %q", got)
		}
		w.write("portainer-tls", data)
		w.settle()
		w.still()
	})
	t.Run("other secret of agents", func(t *testing.T) {
		s := w.secret("main-agent")
		s.Data["secret"] = []byte("chosen-by-hand")
		if err := w.client.Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		w.settle()
		if got := w.on(fleetBox, "cat /etc/portainer-agent-drphoenix/agent.env"); got != "AGENT_SECRET=chosen-by-hand\n" {
			t.Errorf("the agent has %q", got)
		}
		w.still()
	})
	t.Run("locked", func(t *testing.T) {
		started := w.machines[fleetServer].Unit("portainer-main.service").Invocation
		w.locked = true
		w.settle()
		if w.machines[fleetServer].Unit("portainer-main.service").Invocation == started {
			t.Error("the server was not restarted")
		}
	})
	t.Run("rebuilt at another address", func(t *testing.T) {
		id, _ := ours()
		w.build(fleetBox, "10.0.0.103")
		g := &v1alpha1.Guest{}
		if err := w.client.Get(t.Context(), svcName(fleetBox), g); err != nil {
			t.Fatal(err)
		}
		g.Status.Addresses = []string{"10.0.0.103"}
		if err := w.client.Status().Update(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		w.restart()
		w.settle()
		if now, url := ours(); now != id || url != "tcp://10.0.0.103:9001" {
			t.Errorf("environment %d is at %s, want %d at the new address", now, url, id)
		}
		w.still()
	})
}

// TestFleetGoes: dependents go first, and nothing of ours is left; data and keys stay.
func TestFleetGoes(t *testing.T) {
	w := newFleet(t)
	w.on(fleetServer, `mkdir -p /etc/docker; echo '{"debug": true}' >/etc/docker/daemon.json`)
	w.declare()
	w.settle()
	key := w.key()
	w.delete("docker-1", "main", "docker-2")
	for _, name := range []string{"docker-1", "main", "docker-2"} {
		w.until(name, "False InUse", "in use by HostService/")
	}
	w.delete("drphoenix")
	w.let("drphoenix")
	if all, err := key.Environments(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("the server has %+v (%v)", all, err)
	}
	if tags, err := key.Tags(t.Context()); err != nil || len(tags) > 0 {
		t.Errorf("the server has the tags %+v (%v)", tags, err)
	}
	w.let(w.left()...)
	if got := w.on(fleetServer, "cat /etc/docker/daemon.json"); got != "{\"debug\": true}\n" {
		t.Errorf("the file of before is %q", got)
	}
	for _, name := range []string{fleetServer, fleetBox} {
		if got := w.on(name, "ls -d /var/lib/phoenix /etc/portainer-* /etc/systemd/system/portainer-* 2>/dev/null"); strings.Contains(got, "/") {
			t.Errorf("on %s there is still %s", name, got)
		}
	}
	if got := w.on(fleetServer, "ls /var/lib/portainer"); !strings.Contains(got, "portainer.db") {
		t.Errorf("the data is %q", got)
	}
	for _, secret := range []string{"main-admin", "main-api-key", "main-agent"} {
		if !w.has(secret) {
			t.Errorf("Secret %s is gone", secret)
		}
	}
}

// TestAgentGoesWithoutItsGuest: what stands in Portainer is cleaned up all the same.
func TestAgentGoesWithoutItsGuest(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		before func(w *fleet)
		want   int // environments that are left
	}{
		"gone":         {"the Guest was destroyed: the environment goes", func(*fleet) {}, 0},
		"server goes":  {"the server is away and goes too: nothing waits for it", func(w *fleet) { w.machines[fleetServer].Halt(); w.delete("main") }, -1},
		"server's too": {"so does the Guest of the server", func(w *fleet) { w.lose(fleetServer) }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFleet(t)
			w.declare()
			w.settle()
			key := w.key()
			w.machines[fleetBox].Halt()
			w.lose(fleetBox)
			c.before(w)
			w.delete("drphoenix")
			w.let("drphoenix")
			if c.want < 0 {
				return
			}
			if all, err := key.Environments(t.Context()); err != nil || len(all) != c.want {
				t.Errorf("%s: the server has %+v (%v)", c.reason, all, err)
			}
		})
	}
}

// TestAgentWaitsForItsServer: a server that is away is not gone.
func TestAgentWaitsForItsServer(t *testing.T) {
	w := newFleet(t)
	w.declare()
	w.settle()
	w.on(fleetServer, "systemctl stop portainer-main")
	w.delete("drphoenix")
	w.until("drphoenix", "False PortainerAway", "reach https://10.0.0.111:9443")
	w.on(fleetServer, "systemctl start portainer-main")
	w.let("drphoenix")
}

// TestEngineDoesNotComeUp: a configuration with which the engine does not run is put back, and says why.
func TestEngineDoesNotComeUp(t *testing.T) {
	w := newFleet(t)
	w.create(on(fleetBox, "docker-2", func(s *v1alpha1.HostServiceSpec) { s.Docker = &v1alpha1.Docker{} }))
	w.until("docker-2", "True InSync", "")
	before := w.on(fleetBox, "cat /etc/docker/daemon.json")
	w.on(fleetBox, "docker pull -q traefik/whoami:v1.10; docker run -d --name web traefik/whoami:v1.10")
	heal := w.machines[fleetBox].Fail("systemctl*restart docker.service", 1, 1, "Job for docker.service failed because the control process exited with error code.")
	w.edit("docker-2", func(s *v1alpha1.HostService) { s.Spec.Docker.Logs = &v1alpha1.DockerLogs{MaxFiles: 7} })
	w.until("docker-2", "False UnitFailed", "docker.service")
	if now := w.on(fleetBox, "cat /etc/docker/daemon.json"); now != before {
		t.Errorf("the configuration is %s", now)
	}
	heal()
	w.until("docker-2", "True InSync", "")
	if now := w.on(fleetBox, "cat /etc/docker/daemon.json"); !strings.Contains(now, `"max-file": "7"`) {
		t.Errorf("the configuration is %s", now)
	}
	if got := w.on(fleetBox, "docker ps --format '{{.Names}}'"); got != "web\n" {
		t.Errorf("containers that run are %q: restarts of the engine must not touch them", got)
	}
}

// TestEngineOfDocker: the source of the packages is there before they are.
func TestEngineOfDocker(t *testing.T) {
	w := newFleet(t)
	w.create(on(fleetBox, "docker-2", func(s *v1alpha1.HostServiceSpec) {
		s.Docker = &v1alpha1.Docker{PackageName: "docker-ce", DataRoot: "/srv/docker", Repository: &v1alpha1.AptRepository{
			URL: "https://download.docker.com/linux/debian", Suite: "bookworm", Key: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ\n-----END PGP PUBLIC KEY BLOCK-----",
		}}
	}))
	w.until("docker-2", "True InSync", "")
	if got := w.on(fleetBox, "docker info --format '{{.DockerRootDir}}'; dpkg-query -W -f '${Package}\\n' docker-ce"); got != "/srv/docker\ndocker-ce\n" {
		t.Errorf("the engine is %q", got)
	}
	w.delete("docker-2")
	w.let(w.left()...)
	if got := w.on(fleetBox, "ls /etc/apt/sources.list.d /etc/systemd/system/docker.service.d 2>/dev/null"); strings.Contains(got, "phoenix") {
		t.Errorf("there is still %s", got)
	}
}
