// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPublishedPorts has ports be such as an engine shows them: another form would be a difference that never goes away.
func TestPublishedPorts(t *testing.T) {
	one := []Port{{Target: 80, Published: 8080, Protocol: "tcp"}}
	cases := map[string]struct {
		reason, service, rest string
		want                  []Port
	}{
		"default network":  {"it leads to the machine", `ports: ["8080:80"]`, "", one},
		"no network":       {"the engine passes over ports", "ports: [\"8080:80\"]\n    network_mode: none", "", nil},
		"machine's own":    {"there is nothing to publish", "ports: [\"8080:80\"]\n    network_mode: host", "", nil},
		"internal network": {"it leads nowhere", "ports: [\"8080:80\"]\n    networks: [in]", "networks: {in: {internal: true}}", nil},
		"internal default": {"it leads nowhere", `ports: ["8080:80"]`, "networks: {default: {internal: true}}", nil},
		"one of two":       {"the other one leads to the machine", "ports: [\"8080:80\"]\n    networks: [in, out]", "networks: {in: {internal: true}, out: {}}", one},
		"long IPv6":        {"the engine shortens it", `ports: ["[0:0:0:0:0:0:0:1]:8080:80"]`, "", []Port{{Address: "::1", Target: 80, Published: 8080, Protocol: "tcp"}}},
		"capital IPv6":     {"the engine writes small letters", `ports: [{target: 80, published: "8080", host_ip: "FD00::1"}]`, "", []Port{{Address: "fd00::1", Target: 80, Published: 8080, Protocol: "tcp"}}},
		"all of IPv4":      {"it is the default", `ports: ["0.0.0.0:8080:80"]`, "", one},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			text := "services:\n  web:\n    image: lab/web:1\n    " + c.service + "\n" + c.rest + "\n"
			project, err := Parse(Input{Project: "blog", Text: []byte(text)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, project.Services[0].Ports); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}
