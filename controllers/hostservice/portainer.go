// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// A Portainer server is two things: a container on a machine, with its certificate and the secret of its agents (here and in
// container.go), and an API, whose administrator, key and settings are made (portainer_observe.go, portainer_plan.go). What
// must not be lost stands in Secrets (portainer_keys.go).

const (
	defaultPortainerPort = 9443
	defaultPortainerData = "/var/lib/portainer"
)

// portainerRefs: all work goes through the Guest, with its Docker engine and the certificate. The Secrets are followed.
func portainerRefs(s *v1alpha1.HostService) []reconcile.Ref {
	spec := s.Spec.Portainer
	refs := []reconcile.Ref{reconcile.Every("HostService")}
	if s.Spec.GuestRef != nil {
		through := reconcile.Through("Guest", s.Spec.GuestRef.Name, v1alpha1.ReachableCondition)
		through.Vanishes = true
		refs = append(refs, through)
	}
	if spec.DockerRef != nil {
		refs = append(refs, reconcile.Hard("HostService", spec.DockerRef.Name, v1alpha1.ServingCondition))
	}
	if spec.CertificateRef != nil {
		refs = append(refs, reconcile.Hard("Certificate", spec.CertificateRef.Name, v1alpha1.IssuedCondition))
	}
	if spec.SecretRef != nil {
		refs = append(refs, reconcile.Soft("Secret", spec.SecretRef.Name))
	}
	for _, name := range []string{adminSecretOf(s), apiKeySecretOf(s.Name), agentSecretOf(s.Name)} {
		refs = append(refs, reconcile.Soft("Secret", name))
	}
	return refs
}

func portainerPort(spec *v1alpha1.Portainer) int { return int(cmp.Or(spec.Port, defaultPortainerPort)) }

func portainerData(spec *v1alpha1.Portainer) string {
	return cmp.Or(string(spec.DataDir), defaultPortainerData)
}

// serverParts is what a Portainer server is made of.
type serverParts struct {
	s       *v1alpha1.HostService
	address string // of the machine
	pair    tlsPair
	// kept says that the pair is the one that the machine has already, as the Secret's cannot be used.
	kept bool
	// agent is the secret of agents, of its Secret or, where that is lost, of the machine; empty: there is none yet.
	agent string
}

func (p *serverParts) container() container {
	spec, name := p.s.Spec.Portainer, "portainer-"+fileName(p.s)
	c := container{s: p.s, name: name, description: "Portainer", image: spec.Image, folders: []string{portainerData(spec)}}
	c.options = []string{
		"-p", strconv.Itoa(portainerPort(spec)) + ":" + strconv.Itoa(defaultPortainerPort),
		"-v", dockerSocket + ":" + dockerSocket, "-v", portainerData(spec) + ":/data", "-v", c.folder() + ":/certs:ro",
		"--env-file", c.file("agent.env"),
	}
	c.arguments = []string{"--sslcert", "/certs/tls.crt", "--sslkey", "/certs/tls.key", "--http-disabled"}
	return c
}

// clash refuses a server that would be in the way of an older one on its machine.
func (p *serverParts) clash(t target, older []v1alpha1.HostService) error {
	own := p.s.Spec.Portainer
	i := slices.IndexFunc(older, func(o v1alpha1.HostService) bool {
		other := o.Spec.Portainer
		return other != nil && (portainerPort(other) == portainerPort(own) || portainerData(other) == portainerData(own))
	})
	if i < 0 {
		return nil
	}
	return reconcile.Stall(AlreadyServedReason, fmt.Errorf(
		"run Portainer on %s: HostService/%s has the port or the dataDir already, and is older: set others, or delete one of them", t, older[i].Name))
}

// design is the state of the machine. Without a certificate or the secret, it is what can be told beforehand.
func (p *serverParts) design() design {
	spec, c := p.s.Spec.Portainer, p.container()
	d := design{fields: noField}
	d.want.Packages, d.want.Images = []string{"curl"}, c.images()
	data := machine.Dir{Path: portainerData(spec)}
	if spec.DataDir == "" { // ours alone; else it may be a mount, which is as its maker wants it
		data = machine.Dir{Path: data.Path, Owner: "root", Group: "root", Mode: 0o700}
	}
	d.want.Dirs = []machine.Dir{data, {Path: c.folder(), Owner: "root", Group: "root", Mode: 0o700}}
	if p.pair.leaf != nil {
		d.want.Files = append(
			d.want.Files, machine.File{Path: c.file("tls.crt"), Content: p.pair.chain, Triggers: c.restart()},
			machine.File{Path: c.file("tls.key"), Content: p.pair.key, Mode: 0o600, Secret: true, Triggers: c.restart()},
		)
		d.want.Probes = []machine.Probe{p.probe()}
	}
	if p.agent != "" {
		d.want.Files = append(d.want.Files, c.agentEnvironment(p.agent))
	}
	d.want.Files = append(d.want.Files, c.unitFile())
	d.want.Units = []machine.Unit{{Name: c.unit(), Enabled: true, Running: true}}
	d.want.Reads = p.lost()
	d.complete = p.complete()
	return d
}

// lost are the files of the machine that stand in for Secrets that are lost or cannot be used.
func (p *serverParts) lost() []string {
	c := p.container()
	var paths []string
	if p.pair.problem != nil && !p.kept {
		paths = append(paths, c.file("tls.crt"), c.file("tls.key"))
	}
	if p.agent == "" {
		paths = append(paths, c.file("agent.env"))
	}
	return paths
}

// complete takes over what the machine has of what is lost.
func (p *serverParts) complete() func(contents map[string][]byte) (*design, error) {
	if len(p.lost()) == 0 {
		return nil
	}
	return func(contents map[string][]byte) (*design, error) {
		c, found := p.container(), false
		if pair, ok := keptPair(contents[c.file("tls.crt")], contents[c.file("tls.key")]); ok && p.pair.problem != nil {
			pair.problem = p.pair.problem
			p.pair, p.kept, found = pair, true, true
		}
		if secret := agentSecretIn(contents[c.file("agent.env")]); p.agent == "" && checkAgentSecret(secret) == nil {
			p.agent, found = secret, true
		}
		if !found {
			return nil, nil
		}
		d := p.design()
		d.complete = nil
		return &d, nil
	}
}

// probe asks on the machine itself, and whether it is served with its key and no other. A server that waited for its
// administrator in vain sends everybody elsewhere: it answers, and has to be restarted.
func (p *serverParts) probe() machine.Probe {
	sum := sha256.Sum256(p.pair.leaf.RawSubjectPublicKeyInfo)
	return machine.Probe{
		Name: "Portainer", Match: "^(200|303)$", Patience: containerPatience, Argv: []string{
			"curl", "--silent", "--output", "/dev/null", "--noproxy", "*", "--max-time", "4", "--write-out", "%{http_code}",
			"--insecure", "--pinnedpubkey", "sha256//" + base64.StdEncoding.EncodeToString(sum[:]), portainerURL(p.s.Spec.Portainer, p.address) + "/api/system/status",
		},
	}
}

// portainerURL is how a server is reached: by address, as whoever answers names may be away.
func portainerURL(spec *v1alpha1.Portainer, address string) string {
	return "https://" + net.JoinHostPort(address, strconv.Itoa(portainerPort(spec)))
}

// serverName is a name that a certificate is good for: that of the Guest, another one of its own, or the address.
func serverName(pair tlsPair, guest *v1alpha1.Guest, address string) string {
	names := dnsNames(pair.leaf)
	own := guestName(guest)
	for _, name := range names {
		if name == own || strings.HasPrefix(name, own+".") {
			return name
		}
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "*") {
			return name
		}
	}
	if pair.leaf.VerifyHostname(address) == nil {
		return address
	}
	if len(names) > 0 {
		return strings.Replace(names[0], "*", own, 1)
	}
	return ""
}
