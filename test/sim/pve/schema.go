// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

//go:embed schema.table
var schemaTable []byte

// property is one parameter of a method, or one key of a property string.
type property struct {
	Type      string   `json:"type"`
	Format    string   `json:"format"`
	Enum      []string `json:"enum"`
	Minimum   any      `json:"minimum"`
	Maximum   any      `json:"maximum"`
	MinLength int      `json:"minLength"`
	MaxLength int      `json:"maxLength"`
	Pattern   string   `json:"pattern"`
	Requires  string   `json:"requires"`
	Optional  int      `json:"optional"`

	defaultKey bool
	re         *regexp.Regexp
}

// method is one row of the schema.
type method struct {
	Perm    map[string]any       `json:"perm"`
	NoToken bool                 `json:"noToken"`
	Daemon  bool                 `json:"daemon"`
	Proxy   bool                 `json:"proxy"`
	Props   map[string]*property `json:"props"`

	key      string // "VERB /path/{var}"
	verb     string
	segments []string
}

type schema struct {
	methods []*method
}

var loadSchema = sync.OnceValue(func() *schema {
	s := &schema{}
	for _, line := range bytes.Split(bytes.TrimSpace(schemaTable), []byte("\n")) {
		key, doc, _ := bytes.Cut(line, []byte("\t"))
		m := &method{key: string(key)}
		if err := json.Unmarshal(doc, m); err != nil {
			panic(fmt.Sprintf("decode schema.table %s: %v", key, err))
		}
		verb, path, _ := strings.Cut(m.key, " ")
		m.verb = verb
		m.segments = strings.Split(strings.Trim(path, "/"), "/")
		for _, p := range m.Props {
			p.compile()
		}
		s.methods = append(s.methods, m)
	}
	return s
})

func (p *property) compile() {
	if p.Pattern != "" {
		p.re = regexp.MustCompile("^(?:" + p.Pattern + ")$")
	}
}

// find returns the method for a verb and a path's segments, with the values of
// the path's variables, or nil.
func (s *schema) find(verb string, segments []string) (*method, map[string]string) {
	var best *method
	var bestVars map[string]string
	for _, m := range s.methods {
		if m.verb != verb {
			continue
		}
		vars, ok := m.match(segments)
		if ok && (best == nil || len(vars) < len(bestVars)) {
			best, bestVars = m, vars
		}
	}
	return best, bestVars
}

func (m *method) match(segments []string) (map[string]string, bool) {
	vars := map[string]string{}
	for i, want := range m.segments {
		if i >= len(segments) {
			return nil, false
		}
		if !strings.HasPrefix(want, "{") {
			if want != segments[i] {
				return nil, false
			}
			continue
		}
		name := strings.Trim(want, "{}")
		last := i == len(m.segments)-1
		if last && (name == "volume" || name == "cidr") && len(segments) > len(m.segments) {
			vars[name] = strings.Join(segments[i:], "/")
			return vars, true
		}
		vars[name] = segments[i]
	}
	return vars, len(segments) == len(m.segments)
}

var numbered = regexp.MustCompile(`^([a-z]+)(0|[1-9][0-9]*)$`)

// indexLimits are the highest indices of numbered options, by guest type.
var indexLimits = map[string]map[string]int{
	kindLXC: {"net": 31, "mp": 255, "unused": 255, "dev": 255},
	kindQEMU: {
		"net": 31, "scsi": 30, "virtio": 15, "sata": 5, "ide": 3, "unused": 255, "ipconfig": 31,
		"hostpci": 15, "usb": 13, "numa": 7, "parallel": 2, "serial": 3, "virtiofs": 9,
	},
}

// prop finds the property for a parameter; numbered options (net0) stand in the
// schema as net[n]. It returns the name under which formats know it.
func (m *method) prop(name string) (*property, string) {
	if p, ok := m.Props[name]; ok {
		return p, name
	}
	match := numbered.FindStringSubmatch(name)
	if match == nil {
		return nil, ""
	}
	p, ok := m.Props[match[1]+"[n]"]
	if !ok {
		return nil, ""
	}
	var index int
	if _, err := fmt.Sscan(match[2], &index); err != nil {
		return nil, ""
	}
	if limit, limited := indexLimits[m.kind()][match[1]]; limited && index > limit {
		return nil, ""
	}
	return p, match[1]
}

// kind is the type of guest that a method is about, or "".
func (m *method) kind() string {
	if len(m.segments) > 2 && m.segments[0] == "nodes" {
		switch m.segments[2] {
		case kindLXC, kindQEMU:
			return m.segments[2]
		}
	}
	return ""
}
