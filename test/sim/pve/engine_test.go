// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

func TestGuestsRunDocker(t *testing.T) {
	site := start(t, pve.Options{NoSSH: true, NoTemplate: true, Registry: machine.DockerHub(), Guests: []pve.GuestSpec{
		{VMID: 1002, Kind: "qemu", Running: true, Config: "name: drphoenix\nagent: 1\nnet0: virtio=BC:24:11:00:00:02,bridge=vmbr0\nipconfig0: ip=10.0.0.102/24\n"},
	}})
	a := asRootToken(t, site)
	do := func(m *machine.Machine, line string) {
		t.Helper()
		var said strings.Builder
		if exit := m.Shell(t.Context(), line, nil, io.Discard, &said); exit != 0 {
			t.Fatalf("%s: exit %d: %s", line, exit, said.String())
		}
	}
	do(site.GuestMachine(1002), "apt-get update && apt-get install -y docker.io")
	engine := site.GuestMachine(1002).Engine()
	if _, err := engine.Deploy(t.Context(), portainer.Deployment{Project: "a", Text: "services:\n  web:\n    image: traefik/whoami:v1.10\n    restart: unless-stopped\n    ports: ['8081:80']\n"}); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return site.DialContext(ctx, network, address)
		},
	}}
	answers := func() string {
		answer, err := client.Get("http://10.0.0.102:8081/")
		if err != nil {
			return err.Error()
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return err.Error()
		}
		return string(body)
	}
	if got := answers(); !strings.HasPrefix(got, "Hostname: ") {
		t.Errorf("a stack on a guest: %s", got)
	}
	a.mustTask("POST " + qemuPath + "/1002/status/stop")
	if got := answers(); !strings.Contains(got, "no route to host") {
		t.Errorf("a stack on a guest that is off: %s", got)
	}
	a.mustTask("POST " + qemuPath + "/1002/status/start")
	if got := answers(); !strings.HasPrefix(got, "Hostname: ") {
		t.Errorf("a stack on a guest that was off: %s", got)
	}
}
