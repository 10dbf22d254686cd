// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
)

// containerPatience is how long a program in a container may take from a restart to its first answer. A new version of it
// may have to bring its database up to date first.
const containerPatience = 2 * time.Minute

// container is a service that runs in a container of the machine's Docker engine. A unit of systemd holds it: so it comes
// back by itself, and goes with its machine's.
type container struct {
	s *v1alpha1.HostService
	// name of the container, of its unit and of its folder below /etc.
	name, description string
	image             v1alpha1.DockerImage
	// folders of the machine that have to be mounted first.
	folders []string
	// options of docker run, and arguments of the program.
	options, arguments []string
}

func (c container) unit() string         { return c.name + ".service" }
func (c container) folder() string       { return "/etc/" + c.name }
func (c container) file(n string) string { return c.folder() + "/" + n }
func (c container) restart() (t []machine.Trigger) {
	return []machine.Trigger{{Unit: c.unit(), Action: machine.Restart}}
}

// images are what the machine needs for it.
func (c container) images() []machine.Image {
	i := machine.Image{Name: c.image.Name, Triggers: c.restart()}
	if a := c.image.Archive; a != nil {
		i.Archive = &machine.Archive{URL: a.URL, SHA256: a.SHA256}
	}
	return []machine.Image{i}
}

// unitFile is the unit.
func (c container) unitFile() machine.File {
	run := append([]string{"/usr/bin/docker", "run", "--rm", "--name", c.name}, c.options...)
	run = append(append(run, c.image.Name), c.arguments...)
	return machine.File{Path: "/etc/systemd/system/" + c.unit(), Triggers: c.restart(), Content: []byte(madeFor(c.s) + `[Unit]
Description=` + c.description + ` of ` + about(c.s) + `
Requires=` + dockerUnit + `
After=` + dockerUnit + ` network-online.target
Wants=network-online.target
RequiresMountsFor=` + strings.Join(c.folders, " ") + `
StartLimitIntervalSec=0

[Service]
ExecStartPre=-/usr/bin/docker rm -f ` + c.name + `
ExecStart=` + strings.Join(run, " ") + `
ExecStop=/usr/bin/docker stop -t 20 ` + c.name + `
TimeoutStopSec=40
SuccessExitStatus=143
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
`)}
}

// agentEnvironment is the file by which a program learns the secret of agents: an argument would be for all to see.
func (c container) agentEnvironment(secret string) machine.File {
	return machine.File{Path: c.file("agent.env"), Content: []byte(agentVariable + secret + "\n"), Mode: 0o600, Secret: true, Triggers: c.restart()}
}

// agentVariable begins the line with the secret of agents.
const agentVariable = "AGENT_SECRET="

// agentSecretIn is the secret that such a file has; empty: none.
func agentSecretIn(file []byte) string {
	for line := range strings.Lines(string(file)) {
		if secret, ok := strings.CutPrefix(strings.TrimSpace(line), agentVariable); ok {
			return secret
		}
	}
	return ""
}
