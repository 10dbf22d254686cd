// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	projectVariable  = "COMPOSE_PROJECT_NAME" // compose knows it by itself
	profilesVariable = "COMPOSE_PROFILES"

	maxVariableDepth = 16
	// maxSubstitution bounds the work of filling in one value: its bytes times its variables with defaults.
	maxSubstitution = 16 << 20
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// lookup is the value of a variable.
func (p *parser) lookup(name string) (string, bool) {
	if v, ok := p.Values[name]; ok {
		return v, true
	}
	return p.Project, name == projectVariable
}

// useVariables finds the variables in the text, and those without a value.
func (p *parser) useVariables() {
	p.used = map[string]bool{}
	p.tree.walk("", func(path string, n *node) {
		if n.tag != "!!str" || !strings.Contains(n.value, "$") {
			return
		}
		t := scanner{parser: p}
		t.scan(n.value, true, 0)
		if t.err == nil && t.operators*len(n.value) > maxSubstitution {
			t.err = errors.New("it has too many variables with defaults: give it as a config, or make it shorter")
		}
		if t.err != nil {
			p.add(n.line, path, "%v", t.err)
		}
	})
	for _, e := range p.tree.get("services").entries {
		p.usePassed("services."+e.key+".environment", e.value.get("environment"))
	}
	p.useFiles("configs")
	p.useFiles("secrets")
	p.checkName()
}

// useFiles finds the variables that become the content of configs or secrets.
func (p *parser) useFiles(top string) {
	files := p.tree.get(top)
	for _, name := range files.names() {
		if n := files.get(name).get("environment"); n.text() != "" && !strings.Contains(n.value, "$") {
			p.usePlain(top+"."+name+".environment", n.line, n.value,
				"it would be one of Portainer's own environment: give it in env")
		}
	}
}

func (p *parser) checkName() {
	name := p.tree.get("name")
	if name.text() == "" || len(p.problems) > 0 {
		return
	}
	if filled, err := p.substitute(name.value); err == nil && filled != p.Project {
		p.add(name.line, "name", "the project is called %s: leave name out, or write the same", p.Project)
	}
}

func (n *node) names() []string {
	var all []string
	if n != nil {
		for _, e := range n.entries {
			all = append(all, e.key)
		}
	}
	return all
}

// usePassed finds the variables of environment that are named without a value: they are passed on.
func (p *parser) usePassed(path string, environment *node) {
	if environment == nil {
		return
	}
	remedy := "it would not be set in the container: give it in env, or write " // and how
	for _, e := range environment.entries {
		if e.value.isNull() {
			p.usePlain(path+"."+e.key, e.line, e.key, remedy+e.key+`: ""`)
		}
	}
	for i, item := range environment.items {
		if item.kind == scalar && item.tag == "!!str" && item.value != "" && !strings.ContainsAny(item.value, "=$") {
			p.usePlain(fmt.Sprintf("%s[%d]", path, i), item.line, item.value, remedy+item.value+"=")
		}
	}
}

// usePlain notes the use of a variable that must have a value.
func (p *parser) usePlain(path string, line int, name, remedy string) {
	if name == "" {
		return
	}
	p.use(name)
	if _, ok := p.lookup(name); !ok {
		p.add(line, path, "the variable %s has no value: %s", name, remedy)
	}
}

func (p *parser) use(name string) {
	if name != projectVariable {
		p.used[name] = true
	}
}

// scanner reads the variables of one value as compose does: $NAME, ${NAME}, and ${NAME} with one of the operators
// :- - :? ? :+ + and what follows it, in which variables can stand again. $$ is a dollar; so is one that nothing of this
// kind follows.
type scanner struct {
	*parser
	operators int
	err       error // the first
}

var operators = []string{":-", ":?", ":+", "-", "?", "+"}

// scan reads text. Variables that are not evaluated, as a default that is not taken, need no value.
func (t *scanner) scan(text string, evaluated bool, depth int) {
	if depth > maxVariableDepth {
		t.fail("variables stand within variables deeper than %d levels", maxVariableDepth)
		return
	}
	for {
		_, rest, found := strings.Cut(text, "$")
		if !found || t.err != nil {
			return
		}
		name := leadingName(rest)
		switch {
		case strings.HasPrefix(rest, "$"):
			text = rest[1:]
		case name != "":
			t.require(name, evaluated)
			text = rest[len(name):]
		case strings.HasPrefix(rest, "{"):
			inner, after, ok := cutBraced(rest)
			if !ok {
				t.fail("a variable begins with ${ and does not end: write }, or $$ for a dollar")
				return
			}
			t.braced(inner, evaluated, depth)
			text = after
		default:
			text = rest
		}
	}
}

func (t *scanner) fail(format string, args ...any) {
	if t.err == nil {
		t.err = fmt.Errorf(format, args...)
	}
}

// braced reads what stands between ${ and }.
func (t *scanner) braced(inner string, evaluated bool, depth int) {
	name := leadingName(inner)
	if name == "" {
		t.fail("${ must be followed by a variable's name: write $$ for a dollar")
		return
	}
	if inner == name {
		t.require(name, evaluated)
		return
	}
	for _, operator := range operators {
		if rest, ok := strings.CutPrefix(inner[len(name):], operator); ok {
			t.operators++
			t.operate(name, operator, rest, evaluated, depth)
			return
		}
	}
	t.fail("after ${%s must come }, or :- and a default: write $$ for a dollar", name)
}

func (t *scanner) operate(name, operator, rest string, evaluated bool, depth int) {
	t.use(name)
	value, ok := t.lookup(name)
	if strings.HasPrefix(operator, ":") && value == "" {
		ok = false
	}
	switch operator[len(operator)-1] {
	case '-':
		t.scan(rest, evaluated && !ok, depth+1)
	case '+':
		t.scan(rest, evaluated && ok, depth+1)
	case '?':
		if evaluated && !ok {
			t.fail("the variable %s must have a value (%.200s): give it in env", name, rest)
		}
		t.scan(rest, false, depth+1)
	}
}

func (t *scanner) require(name string, evaluated bool) {
	t.use(name)
	if _, ok := t.lookup(name); evaluated && !ok {
		t.fail("the variable %s has no value and no default: give it in env, write ${%s:-default}, or $$ for a dollar", name, name)
	}
}

// leadingName is the variable's name that text begins with.
func leadingName(text string) string {
	for i, c := range []byte(text) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return text[:i]
		}
	}
	return text
}

// cutBraced splits text that begins with { behind the } that belongs to it.
func cutBraced(text string) (inner, after string, ok bool) {
	open := 0
	for i, c := range []byte(text) {
		switch c {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				return text[1:i], text[i+1:], true
			}
		}
	}
	return "", "", false
}
