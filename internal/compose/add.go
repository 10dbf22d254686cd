// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxConfig is how many bytes one config holds at most.
const maxConfig = 1 << 20

// addAll puts the configs, labels and pull policy of the Input into the text.
func (p *parser) addAll() {
	p.tree.remove("version") // compose ignores it and warns of it
	p.addConfigs()
	labels := map[string]string{}
	for key, value := range p.Labels {
		labels[key] = value
	}
	if p.Owner != "" {
		labels[OwnerLabel] = p.Owner
	}
	services := p.tree.get("services")
	for _, e := range services.entries {
		if hash := p.hashFiles(services, e.key); hash != "" {
			labels[FilesLabel] = hash
		} else {
			delete(labels, FilesLabel)
		}
		p.addLabels("services."+e.key, e.value, labels)
		if p.PullPolicy != "" {
			e.value.set("pull_policy", literal(p.PullPolicy, e.line))
		}
	}
}

// hashFiles is a hash of the configs and secrets that a service is given and that are not files of the machine, or empty
// when there is none.
func (p *parser) hashFiles(services *node, name string) string {
	found := map[string]string{}
	for seen := map[string]bool{}; name != "" && !seen[name]; {
		seen[name] = true
		service := services.get(name)
		for _, top := range []string{"configs", "secrets"} {
			for _, source := range service.get(top).sources() {
				if content, ok := p.fileContent(top, source); ok {
					found[top+"."+source] = content
				}
			}
		}
		extends := service.get("extends")
		if name = extends.text(); name == "" {
			name = extends.get("service").text()
		}
	}
	if len(found) == 0 {
		return ""
	}
	hash := sha256.New()
	for _, key := range sortedKeys(found) {
		fmt.Fprintf(hash, "%q %q\n", key, found[key])
	}
	return hex.EncodeToString(hash.Sum(nil))[:16]
}

// fileContent is what a container finds in a config or secret.
func (p *parser) fileContent(top, name string) (string, bool) {
	file := p.tree.get(top).get(name)
	if content := file.get("content"); content != nil {
		filled, err := p.substitute(content.text())
		return filled, err == nil
	}
	return p.lookup(file.get("environment").text())
}

// text is the value of a string, and empty for all else.
func (n *node) text() string {
	if n == nil || n.kind != scalar || n.tag != "!!str" {
		return ""
	}
	return n.value
}

// sources are the names in the configs or secrets of a service, of their short and long form.
func (n *node) sources() []string {
	var names []string
	if n != nil {
		for _, item := range n.items {
			names = append(names, item.text()+item.get("source").text())
		}
	}
	return names
}

func (n *node) remove(key string) {
	for i, e := range n.entries {
		if e.key == key {
			n.entries = append(n.entries[:i:i], n.entries[i+1:]...)
			return
		}
	}
}

// literal is a string as it stands in a text, where no $ means a variable.
func literal(value string, line int) *node {
	return &node{kind: scalar, line: line, tag: "!!str", value: strings.ReplaceAll(value, "$", "$$")}
}

func (p *parser) addConfigs() {
	if len(p.Configs) == 0 {
		return
	}
	configs := p.tree.get("configs")
	if configs.isNull() {
		configs = &node{kind: mapping, line: p.tree.lineOf("configs")}
		p.tree.set("configs", configs)
	}
	if configs.kind != mapping {
		p.add(configs.line, "configs", "it must be a mapping of names to configs")
		return
	}
	for _, name := range sortedKeys(p.Configs) {
		p.addConfig(configs, name, p.Configs[name])
	}
}

func (p *parser) addConfig(configs *node, name string, content []byte) {
	path := "configs." + name
	switch {
	case len(content) == 0:
		p.add(0, path, "its content is empty, and compose makes no empty files: give it a line, or leave the config out")
		return
	case len(content) > maxConfig:
		p.add(0, path, "its content has %d bytes: it must not exceed %d", len(content), maxConfig)
		return
	case !utf8.Valid(content):
		p.add(0, path, "its content is not text in UTF-8: mount a volume instead")
		return
	}
	config := configs.get(name)
	if config.isNull() {
		config = &node{kind: mapping, line: configs.lineOf(name)}
		configs.set(name, config)
	}
	if config.kind != mapping {
		p.add(config.line, path, "it must be a mapping")
		return
	}
	for _, key := range []string{"content", "file", "environment"} {
		if config.get(key) != nil {
			p.add(config.lineOf(key), path+"."+key, "configs of the DockerStack has the content of %s: leave one of them out", name)
		}
	}
	config.set("content", literal(string(content), config.line))
}

// addLabels sets labels of a service, which may stand there as a mapping or as a list of key=value.
func (p *parser) addLabels(path string, service *node, labels map[string]string) {
	if len(labels) == 0 {
		return
	}
	own := service.get("labels")
	if own.isNull() {
		own = &node{kind: mapping, line: service.line}
		service.set("labels", own)
	}
	switch own.kind {
	case mapping:
		for _, key := range sortedKeys(labels) {
			own.set(key, literal(labels[key], own.line))
		}
	case list:
		var kept []*node
		for _, item := range own.items {
			key, _, _ := strings.Cut(item.value, "=")
			if _, replaced := labels[key]; !replaced || item.kind != scalar {
				kept = append(kept, item)
			}
		}
		for _, key := range sortedKeys(labels) {
			kept = append(kept, literal(key+"="+labels[key], own.line))
		}
		own.items = kept
	default:
		p.add(own.line, path+".labels", "it must be a mapping, or a list of key=value")
	}
}
