// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
)

// check finds what compose takes and what does not work all the same, and names what compose names badly.
func (p *parser) check() {
	all := p.typed.AllServices()
	if len(p.typed.Services) == 0 {
		p.add(p.tree.lineOf("services"), "services",
			"all have profiles, and none of them is on: leave profiles out, or name them in env as %s", profilesVariable)
	}
	for _, name := range sortedKeys(all) {
		service := all[name]
		p.checkImage(service)
		p.checkRun(service)
		p.checkVolumes(service)
		p.checkReferences(service)
		p.checkReadOnly(service)
	}
	p.checkFiles()
	p.checkDrivers()
	p.checkNames(all)
	p.checkPorts()
}

// at is the line of a path, or of as much of it as stands in the user's text.
func (p *parser) at(path string) int {
	line, _ := p.tree.follow(path)
	return line
}

func (p *parser) addAt(path, format string, args ...any) {
	p.add(p.at(path), path, format, args...)
}

func (p *parser) raw(path string) string {
	n := p.tree
	for rest := path; rest != "" && n != nil; {
		length, _, found := n.step(rest)
		if found == nil {
			return ""
		}
		n, rest = found.value, strings.TrimPrefix(rest[length:], ".")
	}
	if n == nil {
		return ""
	}
	return n.value
}

func (p *parser) checkImage(s types.ServiceConfig) {
	path := "services." + s.Name
	if s.Image == "" {
		p.addAt(path, "it has no image: name one")
		return
	}
	if _, err := reference.ParseAnyReference(s.Image); err != nil {
		p.addAt(path+".image", "%.200q is not the name of an image, such as nginx:1.27 or registry.lan/app@sha256:...", p.raw(path+".image"))
	}
	switch s.PullPolicy {
	case "", PullAlways, PullMissing, PullNever, types.PullPolicyIfNotPresent:
	default:
		p.addAt(path+".pull_policy", "it must be always, missing, if_not_present or never")
	}
}

var restart = regexp.MustCompile(`^(|no|always|unless-stopped|on-failure(:[0-9]+)?)$`)

func (p *parser) checkRun(s types.ServiceConfig) {
	path := "services." + s.Name
	if h := s.HealthCheck; h != nil && len(h.Test) > 0 && !slices.Contains([]string{"CMD", "CMD-SHELL", "NONE"}, h.Test[0]) {
		p.addAt(path+".healthcheck.test", "a list must begin with CMD, CMD-SHELL or NONE")
	}
	if s.ContainerName != "" && s.GetScale() > 1 {
		p.addAt(path+".container_name", "%d containers cannot have one name: leave it out", s.GetScale())
	}
	if !restart.MatchString(s.Restart) {
		p.addAt("services."+s.Name+".restart", `it must be "no", always, unless-stopped, on-failure, or on-failure:5`)
	}
}

func (p *parser) checkVolumes(s types.ServiceConfig) {
	for i, v := range s.Volumes {
		path := fmt.Sprintf("services.%s.volumes[%d]", s.Name, i)
		switch {
		case v.Type == types.VolumeTypeBind && !strings.HasPrefix(v.Source, "/"):
			p.addAt(path, "%s is not absolute, and there is no folder beside the text: write a path of the engine's machine, "+
				"such as /srv/data, or use a volume", p.quoted(path))
		case v.Type == types.VolumeTypeVolume && v.Source != "" && !has(p.typed.Volumes, v.Source):
			p.addAt(path, "there is no volume %s: declare it under volumes", p.named(v.Source))
		}
	}
}

// quoted is the user's own text of a path, without values.
func (p *parser) quoted(path string) string {
	if raw := p.raw(path); raw != "" {
		return fmt.Sprintf("%.200q", raw)
	}
	if raw := p.raw(path + ".source"); raw != "" {
		return fmt.Sprintf("%.200q", raw)
	}
	return "the path"
}

func has[V any](m map[string]V, key string) bool {
	_, ok := m[key]
	return ok
}

// checkReferences names what a service needs and the text does not have.
func (p *parser) checkReferences(s types.ServiceConfig) {
	path := "services." + s.Name
	for i, c := range s.Configs {
		if !has(p.typed.Configs, c.Source) {
			p.addAt(fmt.Sprintf("%s.configs[%d]", path, i), "there is no config %s: declare it under configs, or in configs of the DockerStack", p.named(c.Source))
		}
	}
	for i, c := range s.Secrets {
		if !has(p.typed.Secrets, c.Source) {
			p.addAt(fmt.Sprintf("%s.secrets[%d]", path, i), "there is no secret %s: declare it under secrets, with environment and the name of a variable", p.named(c.Source))
		}
	}
	for _, name := range sortedKeys(s.Networks) {
		if s.NetworkMode == "" && !has(p.typed.Networks, name) {
			p.addAt(path+".networks", "there is no network %s: declare it under networks", p.named(name))
		}
	}
	for _, name := range sortedKeys(s.DependsOn) {
		_, started := p.typed.Services[name]
		switch {
		case started || !s.DependsOn[name].Required:
		case !has(p.typed.AllServices(), name):
			p.addAt(path+".depends_on", "there is no service %s", p.named(name))
		case has(p.typed.Services, s.Name):
			p.addAt(path+".depends_on", "the service %s is not started, as none of its profiles is on: say required: false, or give both the same profiles", p.named(name))
		}
	}
}

// checkReadOnly finds contents that compose could not copy into a container.
func (p *parser) checkReadOnly(s types.ServiceConfig) {
	if !s.ReadOnly {
		return
	}
	const why = "compose copies its content into the container, which read_only forbids: leave read_only out, or use a file of the machine"
	for i, c := range s.Configs {
		if p.typed.Configs[c.Source].File == "" {
			p.addAt(fmt.Sprintf("services.%s.configs[%d]", s.Name, i), "%s", why)
		}
	}
	for i, c := range s.Secrets {
		if p.typed.Secrets[c.Source].File == "" {
			p.addAt(fmt.Sprintf("services.%s.secrets[%d]", s.Name, i), "%s", why)
		}
	}
}

// checkFiles refuses files beside the text as configs and secrets: those of the engine's machine are mounted.
func (p *parser) checkFiles() {
	for _, name := range sortedKeys(p.typed.Configs) {
		if file := p.typed.Configs[name].File; file != "" && !strings.HasPrefix(file, "/") {
			p.addAt("configs."+name+".file", "there is no such file, %s: name the config in configs of the DockerStack, or write its content", onlyText)
		}
		if content := p.tree.get("configs").get(name).get("content"); content != nil && p.typed.Configs[name].Content == "" {
			p.addAt("configs."+name+".content", "it is empty, and compose makes no empty files: give it a line, or leave the config out")
		}
	}
	for _, name := range sortedKeys(p.typed.Secrets) {
		if file := p.typed.Secrets[name].File; file != "" && !strings.HasPrefix(file, "/") {
			p.addAt("secrets."+name+".file", "there is no such file, %s: name a variable of env with environment instead", onlyText)
		}
	}
}

// checkDrivers refuses volumes that are folders beside the text.
func (p *parser) checkDrivers() {
	for _, name := range sortedKeys(p.typed.Volumes) {
		options := p.typed.Volumes[name].DriverOpts
		bound := false
		for option := range strings.SplitSeq(options["o"], ",") {
			bound = bound || strings.TrimSpace(option) == "bind" || strings.TrimSpace(option) == "rbind"
		}
		if device, ok := options["device"]; ok && bound && !strings.HasPrefix(device, "/") {
			path := "volumes." + name + ".driver_opts.device"
			p.addAt(path, "%s is not absolute, and there is no folder beside the text: write a path of the engine's machine", p.quoted(path))
		}
	}
}

// checkNames refuses one name for two containers.
func (p *parser) checkNames(all types.Services) {
	taken := map[string]string{}
	for _, name := range sortedKeys(all) {
		container := all[name].ContainerName
		if container == "" {
			continue
		}
		if other, twice := taken[container]; twice {
			p.addAt("services."+name+".container_name", "the service %s has the same: leave it out, compose finds a name", other)
		}
		taken[container] = name
	}
}

// Bounds of published ports: a range in a text of a few bytes must not become millions of them.
const (
	maxRange = 1000
	maxPorts = 2000
)

var portRange = regexp.MustCompile(`([0-9]{1,5})-([0-9]{1,5})`)

// checkRanges bounds the ports of the text, before compose writes them out one by one.
func (p *parser) checkRanges() {
	total := 0
	for _, e := range p.tree.get("services").entries {
		for _, key := range []string{"ports", "expose"} {
			e.value.get(key).eachScalar("services."+e.key+"."+key, func(path string, n *node) {
				filled, err := p.substitute(n.value)
				if err != nil {
					return // compose will say so
				}
				total += 1 + p.checkRange(path, n, filled)
			})
		}
		if ports := e.value.get("ports"); ports != nil && len(p.problems) == 0 {
			p.checkShort("services."+e.key+".ports", ports.items)
		}
	}
	if total > maxPorts && len(p.problems) == 0 {
		p.add(p.tree.lineOf("services"), "services", "they have more than %d ports", maxPorts)
	}
}

// checkRange bounds the ranges within one value, and counts their ports.
func (p *parser) checkRange(path string, n *node, filled string) int {
	total := 0
	for _, found := range portRange.FindAllStringSubmatch(filled, -1) {
		first, _ := strconv.Atoi(found[1])
		last, _ := strconv.Atoi(found[2])
		if last-first >= maxRange {
			p.add(n.line, path, "a range of ports must not exceed %d", maxRange)
		}
		total += max(0, last-first)
	}
	return total
}

// checkShort reads ports of the short form, one by one: compose does not say which of them it does not like.
func (p *parser) checkShort(path string, items []*node) {
	for i, n := range items {
		if n.kind != scalar {
			continue
		}
		filled, err := p.substitute(n.value)
		if err != nil {
			continue
		}
		if _, err := types.ParsePortConfig(filled); err != nil {
			p.add(n.line, fmt.Sprintf("%s[%d]", path, i), "%.100q is not a port, such as 8080:80 or 127.0.0.1:8080:80/tcp (compose says: %s)",
				n.value, p.hide(err.Error()))
		}
	}
}

func (n *node) eachScalar(path string, visit func(path string, n *node)) {
	if n != nil {
		n.walk(path, visit)
	}
}

type binding struct {
	address, protocol string
	port              int
}

// checkPorts refuses one port of the machine for two containers.
func (p *parser) checkPorts() {
	taken := map[binding]string{}
	for _, name := range sortedKeys(p.typed.Services) {
		s := p.service(p.typed.Services[name])
		for _, port := range s.Ports {
			if port.Published != 0 && s.Containers > 0 {
				p.checkPort("services."+name+".ports", s, port, taken)
			}
		}
	}
}

func (p *parser) checkPort(path string, s Service, port Port, taken map[binding]string) {
	if room := max(port.Through-port.Published, 0) + 1; s.Containers > room {
		p.addAt(path, "%d containers cannot share the published port %s: publish a range of %d ports, or none",
			s.Containers, portText(port), s.Containers)
	}
	if port.Through != 0 {
		return
	}
	b := binding{port.Address, port.Protocol, port.Published}
	if other, twice := taken[b]; twice {
		p.addAt(path, "port %s is published by the service %s already", portText(port), other)
	}
	taken[b] = s.Name
}

func portText(p Port) string {
	if p.Through != 0 {
		return fmt.Sprintf("%d-%d/%s", p.Published, p.Through, p.Protocol)
	}
	return fmt.Sprintf("%d/%s", p.Published, p.Protocol)
}
