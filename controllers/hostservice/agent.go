// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// A Portainer agent is two things: a container on a machine, which lets in who has the secret of agents, and an environment of
// a Portainer server. The tag of the environment says whose it is.

const defaultAgentPort = 9001

// agentRefs: the Guest, its engine, and the server are needed for every step. What there is to clean up does not go with the
// Guest: Portainer keeps an environment whose agent is gone.
func agentRefs(s *v1alpha1.HostService) []reconcile.Ref {
	spec := s.Spec.PortainerAgent
	refs := []reconcile.Ref{reconcile.Every("HostService")}
	if s.Spec.GuestRef != nil {
		refs = append(refs, reconcile.Ref{
			Kind: "Guest", Name: s.Spec.GuestRef.Name, Condition: v1alpha1.ReachableCondition, Keeps: true, Blinds: true,
		})
	}
	if spec.DockerRef != nil {
		refs = append(refs, reconcile.Hard("HostService", spec.DockerRef.Name, v1alpha1.ServingCondition))
	}
	return append(
		refs, reconcile.Hard("HostService", spec.PortainerRef.Name, v1alpha1.ServingCondition),
		reconcile.Soft("Secret", agentSecretOf(spec.PortainerRef.Name)), reconcile.Soft("Secret", apiKeySecretOf(spec.PortainerRef.Name)),
	)
}

func agentPort(spec *v1alpha1.PortainerAgent) int { return int(cmp.Or(spec.Port, defaultAgentPort)) }

// environmentOf is the name of the engine in Portainer.
func environmentOf(s *v1alpha1.HostService) string {
	return cmp.Or(s.Spec.PortainerAgent.Environment, s.Name)
}

// environmentTag marks an environment of ours.
func environmentTag(owner machine.Owner) string {
	sum := sha256.Sum256([]byte(owner))
	return tagPrefix + hex.EncodeToString(sum[:])[:12]
}

// tagPrefix begins every tag by which Phoenix marks an environment.
const tagPrefix = "phoenix-"

// agentParts is what an agent is made of.
type agentParts struct {
	s *v1alpha1.HostService
	// address of the machine, dataRoot of its engine, and the secret that the server has.
	address, dataRoot, secret string
}

// place is where Portainer reaches the agent.
func (p agentParts) place() string {
	return net.JoinHostPort(p.address, strconv.Itoa(agentPort(p.s.Spec.PortainerAgent)))
}

func (p agentParts) url() string { return "tcp://" + p.place() }

func (p agentParts) container() container {
	spec := p.s.Spec.PortainerAgent
	c := container{
		s: p.s, name: "portainer-agent-" + fileName(p.s), description: "Portainer agent", image: spec.Image, folders: []string{p.dataRoot},
	}
	c.options = []string{
		"-p", strconv.Itoa(agentPort(spec)) + ":" + strconv.Itoa(defaultAgentPort), "-v", dockerSocket + ":" + dockerSocket,
		"-v", p.dataRoot + "/volumes:" + defaultDataRoot + "/volumes", "-v", "/:/host", "--env-file", c.file("agent.env"),
	}
	return c
}

// clash refuses an agent that would be in the way of an older one.
func (p agentParts) clash(t target, older []v1alpha1.HostService) error {
	i := slices.IndexFunc(older, func(o v1alpha1.HostService) bool {
		return o.Spec.PortainerAgent != nil && agentPort(o.Spec.PortainerAgent) == agentPort(p.s.Spec.PortainerAgent)
	})
	if i < 0 {
		return nil
	}
	return reconcile.Stall(AlreadyServedReason, fmt.Errorf(
		"run an agent on %s: HostService/%s has port %d already, and is older: set another one, or delete one of them", t, older[i].Name, agentPort(p.s.Spec.PortainerAgent)))
}

// design is the state of the machine.
func (p agentParts) design() design {
	c := p.container()
	d := design{fields: noField}
	d.want.Packages, d.want.Images = []string{"curl"}, c.images()
	d.want.Dirs = []machine.Dir{{Path: c.folder(), Owner: "root", Group: "root", Mode: 0o700}}
	d.want.Files = []machine.File{c.agentEnvironment(p.secret), c.unitFile()}
	d.want.Units = []machine.Unit{{Name: c.unit(), Enabled: true, Running: true}}
	d.want.Probes = []machine.Probe{{
		// Whom it lets in, Portainer finds out: that it speaks is enough.
		Name: "the agent", Match: "^[2-4][0-9][0-9]$", Patience: containerPatience, Argv: []string{
			"curl", "--silent", "--insecure", "--output", "/dev/null", "--noproxy", "*", "--max-time", "4", "--write-out", "%{http_code}",
			"https://" + p.place() + "/ping",
		},
	}}
	return d
}
