// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// result is what the text asks for.
func (p *parser) result() *Project {
	project := &Project{Text: p.text, Variables: sortedKeys(p.used)}
	all := p.typed.AllServices()
	for _, name := range sortedKeys(all) {
		project.Services = append(project.Services, p.service(all[name]))
	}
	for _, short := range sortedKeys(p.typed.Volumes) {
		v := p.typed.Volumes[short]
		project.Volumes = append(project.Volumes, Volume{Short: short, Name: v.Name, External: bool(v.External)})
	}
	project.Images = p.images()
	return project
}

func (p *parser) service(s types.ServiceConfig) Service {
	service := Service{Name: s.Name, Image: s.Image, PullPolicy: pullPolicy(s), OneShot: oneShot(s)}
	if has(p.typed.Services, s.Name) {
		service.Containers = s.GetScale()
	}
	service.Healthcheck = checksHealth(s)
	if p.publishes(s) {
		service.Ports = ports(s.Ports)
	}
	return service
}

// publishes says whether an engine can publish ports of a service: it passes over those of one without a network that leads
// to its machine.
func (p *parser) publishes(s types.ServiceConfig) bool {
	if s.NetworkMode == "host" || s.NetworkMode == "none" {
		return false
	}
	for name := range s.Networks {
		if !p.typed.Networks[name].Internal {
			return true
		}
	}
	return len(s.Networks) == 0
}

func pullPolicy(s types.ServiceConfig) string {
	switch s.PullPolicy {
	case PullAlways, PullNever:
		return s.PullPolicy
	}
	return PullMissing
}

// oneShot asks the restart policy as compose does: what deploy says comes first. Who publishes a port or has a health check
// is there to stay, whatever the policy, whose default is no: stopped by hand, it is put back.
func oneShot(s types.ServiceConfig) bool {
	if len(s.Ports) > 0 || checksHealth(s) {
		return false
	}
	policy, _, _ := strings.Cut(s.Restart, ":")
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil {
		policy = s.Deploy.RestartPolicy.Condition
	}
	return slices.Contains([]string{"", "no", "none", "on-failure"}, policy)
}

func checksHealth(s types.ServiceConfig) bool {
	h := s.HealthCheck
	return h != nil && !h.Disable && len(h.Test) > 0 && h.Test[0] != "NONE"
}

func ports(declared []types.ServicePortConfig) []Port {
	var all []Port
	for _, d := range declared {
		port := Port{Address: d.HostIP, Target: int(d.Target), Protocol: cmp.Or(strings.ToLower(d.Protocol), "tcp")}
		first, last, isRange := strings.Cut(d.Published, "-")
		port.Published, _ = strconv.Atoi(first)
		if isRange {
			port.Through, _ = strconv.Atoi(last)
		}
		if port.Through == port.Published {
			port.Through = 0
		}
		if address, err := netip.ParseAddr(d.HostIP); err == nil { // as the engine writes it
			port.Address = address.String()
		}
		if port.Address == "0.0.0.0" {
			port.Address = ""
		}
		all = append(all, port)
	}
	slices.SortFunc(all, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Published, b.Published), cmp.Compare(a.Target, b.Target),
			cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Address, b.Address))
	})
	return all
}

// images are those of the services that no profile switches off, also of those with no replicas: compose pulls them too.
func (p *parser) images() []Image {
	eagerness := []string{PullNever, PullMissing, PullAlways}
	policies := map[string]string{}
	for _, s := range p.typed.Services {
		policy := pullPolicy(s)
		if slices.Index(eagerness, policy) > slices.Index(eagerness, policies[s.Image]) {
			policies[s.Image] = policy
		}
	}
	var all []Image
	for _, name := range sortedKeys(policies) {
		all = append(all, Image{Name: name, PullPolicy: policies[name]})
	}
	return all
}
