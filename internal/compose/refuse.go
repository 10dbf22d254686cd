// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"slices"
	"strings"
)

// onlyText is why nothing beside the text can be used.
const onlyText = "nothing but the text reaches the engine"

// refuse finds what can be seen in the text as it stands: above all what would make compose read a file.
func (p *parser) refuse() {
	p.checkInput()
	p.refuseTop()
	services := p.tree.get("services")
	if services.isNull() || services.kind == mapping && len(services.entries) == 0 {
		p.add(p.tree.lineOf("services"), "services", "there is none: name at least one service with its image")
		return
	}
	if services.kind != mapping {
		p.add(services.line, "services", "it must be a mapping of names to services")
		return
	}
	for _, e := range services.entries {
		p.refuseService("services."+e.key, e)
	}
	for _, top := range []string{"configs", "secrets"} {
		if files := p.tree.get(top); files != nil {
			for _, e := range files.entries {
				p.refuseFile(top, e)
			}
		}
	}
}

func (p *parser) checkInput() {
	if p.Project == "" || Normalise(p.Project) != p.Project {
		p.add(0, "", "the project %q must be lower case letters, digits, - and _, and begin with a letter or digit", p.Project)
	}
	switch p.PullPolicy {
	case "", PullAlways, PullMissing, PullNever:
	default:
		p.add(0, "", "the pull policy %q must be always, missing or never", p.PullPolicy)
	}
	for _, key := range sortedKeys(p.Labels) {
		if why := reservedLabel(key); why != "" {
			p.add(0, "", "the label %s %s", key, why)
		}
	}
}

// refusedTop are top level keys that are refused, and why.
var refusedTop = map[string]string{
	"include": "other files cannot be included, " + onlyText + ": put what they hold in here",
	"jobs":    "Portainer's compose has no jobs: make a service of it with restart: \"no\"",
	"models":  "models need a program beside the engine: run the model as a service",
}

var knownTop = []string{"name", "services", "networks", "volumes", "configs", "secrets", "version"}

func (p *parser) refuseTop() {
	for _, e := range p.tree.entries {
		why := refusedTop[e.key]
		if why == "" && !strings.HasPrefix(e.key, "x-") && !slices.Contains(knownTop, e.key) {
			why = "compose does not know this key: its keys are " + strings.Join(knownTop, ", ") + ", and x- with what you like"
		}
		if why != "" {
			p.add(e.line, e.key, "%s", why)
		}
	}
}

// refusedKeys are keys of a service that are refused, and why.
var refusedKeys = map[string]string{
	"build":      "images are not built here: build it elsewhere and name it as image",
	"env_file":   "there is no such file, " + onlyText + ": name the variables under environment, as NAME: ${NAME}, and give their values in env",
	"label_file": "there is no such file, " + onlyText + ": write the labels under labels",
	"models":     refusedTop["models"],
	"pre_start":  "Portainer's compose has no pre_start: make a service of it, and wait for it with depends_on and condition: service_completed_successfully",
	"provider":   "a provider is a program beside compose, and there is none: name an image",
}

func (p *parser) refuseService(path string, e entry) {
	service := e.value
	if service.kind != mapping {
		p.add(e.line, path, "the service must be a mapping with image")
		return
	}
	for _, key := range service.entries {
		if why := refusedKeys[key.key]; why != "" {
			p.add(key.line, path+"."+key.key, "%s", why)
		}
	}
	if extends := service.get("extends"); extends != nil && extends.get("file") != nil {
		p.add(extends.lineOf("file"), path+".extends.file",
			"another file cannot be extended, %s: put the service in here, and leave file out", onlyText)
	}
	p.refuseLabels(path+".labels", service.get("labels"))
}

// reservedLabel says why a label cannot be set.
func reservedLabel(key string) string {
	switch {
	case strings.HasPrefix(key, labelPrefix):
		return "is Phoenix's own: leave it out"
	case strings.HasPrefix(key, "com.docker.compose."):
		return "is compose's own: leave it out"
	}
	return ""
}

func (p *parser) refuseLabels(path string, labels *node) {
	if labels == nil {
		return
	}
	for _, e := range labels.entries {
		if why := reservedLabel(e.key); why != "" {
			p.add(e.line, path+"."+e.key, "the label %s", why)
		}
	}
	for _, item := range labels.items {
		key, _, _ := strings.Cut(item.value, "=")
		if why := reservedLabel(key); why != "" {
			p.add(item.line, path, "the label %s %s", key, why)
		}
	}
}

// refuseFile finds configs and secrets that only Swarm has.
func (p *parser) refuseFile(top string, e entry) {
	path := top + "." + e.key
	remedy := "give its content in configs of the DockerStack"
	if top == "secrets" {
		remedy = "name a variable of env with environment"
	}
	for _, key := range []string{"driver", "template_driver"} {
		if e.value.get(key) != nil {
			p.add(e.value.lineOf(key), path+"."+key, "only Swarm knows it, and this is no swarm: leave it out")
		}
	}
	external := e.value.get("external")
	if !external.isNull() && (external.kind != scalar || !strings.EqualFold(external.value, "false")) {
		p.add(e.value.lineOf("external"), path+".external", "only Swarm keeps %s of its own, and this is no swarm: %s", top, remedy)
	}
}
