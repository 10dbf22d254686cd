// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of a text, which keep a small one from growing without end through its anchors.
const (
	maxText   = 1 << 20 // bytes
	maxNodes  = 50_000  // with every anchor in all its places
	maxSent   = 4 << 20 // bytes of the text that is sent
	maxScalar = 4 << 20 // bytes of all keys and values, with every anchor in all its places
	maxDepth  = 64
	maxWidth  = 4096 // entries of one mapping
)

type kind int

const (
	scalar kind = iota
	list
	mapping
)

// node is a part of a text: YAML without anchors, merges, comments and styles.
type node struct {
	kind    kind
	line    int
	tag     string // of a scalar: !!str, !!int, !!bool, !!float or !!null
	value   string // of a scalar, as written
	items   []*node
	entries []entry
}

type entry struct {
	key   string
	line  int
	value *node
}

func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, e := range n.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// set puts an entry in the place of one of the same key, or behind all others.
func (n *node) set(key string, value *node) {
	for i, e := range n.entries {
		if e.key == key {
			n.entries[i].value = value
			return
		}
	}
	n.entries = append(n.entries, entry{key: key, line: value.line, value: value})
}

// line of a key, for what is wrong with the key itself.
func (n *node) lineOf(key string) int {
	for _, e := range n.entries {
		if e.key == key {
			return e.line
		}
	}
	return n.line
}

func (n *node) isNull() bool { return n == nil || n.kind == scalar && n.tag == "!!null" }

// equal compares meanings: the order of entries makes no difference.
func (n *node) equal(o *node) bool {
	if n.kind != o.kind || len(n.items) != len(o.items) || len(n.entries) != len(o.entries) {
		return false
	}
	if n.kind == scalar {
		return n.tag == o.tag && (n.tag == "!!null" || n.value == o.value)
	}
	for i := range n.items {
		if !n.items[i].equal(o.items[i]) {
			return false
		}
	}
	for _, e := range n.entries {
		other := o.get(e.key)
		if other == nil || !e.value.equal(other) {
			return false
		}
	}
	return true
}

// walk calls visit for every scalar, with its path.
func (n *node) walk(path string, visit func(path string, n *node)) {
	if n.kind == scalar {
		visit(path, n)
	}
	for i, item := range n.items {
		item.walk(fmt.Sprintf("%s[%d]", path, i), visit)
	}
	for _, e := range n.entries {
		e.value.walk(join(path, e.key), visit)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// readTree reads a text of one YAML document, whose top is a mapping.
func readTree(text []byte) (*node, problems) {
	r := &reader{active: map[*yaml.Node]bool{}}
	if len(text) > maxText {
		r.add(0, "", "the text has %d bytes: it must not exceed %d", len(text), maxText)
		return nil, r.problems
	}
	if !utf8.Valid(text) {
		r.add(0, "", "the text is not UTF-8")
		return nil, r.problems
	}
	document := r.document(text)
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	top := r.expand(document, "", 0)
	if len(r.problems) == 0 && top.kind != mapping {
		r.add(top.line, "", "the text is not a mapping: it must have services")
	}
	return top, r.problems
}

// reader makes nodes of YAML.
type reader struct {
	problems
	active        map[*yaml.Node]bool // what is being expanded: an anchor within itself would have no end
	nodes, bytes  int
	outOfBoundary bool
}

var yamlError = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)

// countsFromZero are the errors of the library's parser, which counts lines from 0 where its scanner counts from 1.
var countsFromZero = regexp.MustCompile(`^did not find expected (<document start>|node content|'-' indicator|key|',' or)`)

// document is the only document of a text.
func (r *reader) document(text []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	err := decoder.Decode(&first)
	if errors.Is(err, io.EOF) || err == nil && len(first.Content) == 0 {
		r.add(0, "", "the text is empty: it must have services")
		return nil
	}
	if err == nil {
		if err = decoder.Decode(&second); errors.Is(err, io.EOF) {
			return first.Content[0]
		}
	}
	if err != nil {
		found := yamlError.FindStringSubmatch(err.Error())
		line := 0
		if found != nil {
			line, _ = strconv.Atoi(found[1])
			err = errors.New(strings.TrimPrefix(err.Error(), found[0]))
			if countsFromZero.MatchString(err.Error()) {
				line++
			}
		}
		r.add(line, "", "this is not YAML: %v", err)
		return nil
	}
	r.add(second.Line, "", "a second document begins here: a stack is one, take the line --- out")
	return nil
}

// expand makes a node of a YAML node, with anchors and merges in their places.
func (r *reader) expand(y *yaml.Node, path string, depth int) *node {
	n := &node{line: y.Line, tag: "!!null"}
	if !r.within(y, depth) {
		return n
	}
	if y.Kind == yaml.AliasNode {
		if r.active[y.Alias] {
			r.add(y.Line, path, "the anchor %s stands within itself", y.Value)
			return n
		}
		return r.expand(y.Alias, path, depth+1)
	}
	r.active[y] = true
	defer delete(r.active, y)
	switch y.Kind {
	case yaml.SequenceNode:
		n.kind = list
		r.ownTag(y, path, "!!seq")
		for i, item := range y.Content {
			n.items = append(n.items, r.expand(item, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
	case yaml.MappingNode:
		n.kind = mapping
		r.ownTag(y, path, "!!map")
		r.entries(n, y, path, depth)
	default:
		r.scalar(n, y, path)
	}
	return n
}

// within counts a node against the bounds.
func (r *reader) within(y *yaml.Node, depth int) bool {
	r.nodes++
	r.bytes += len(y.Value)
	if r.outOfBoundary || r.nodes <= maxNodes && r.bytes <= maxScalar && depth <= maxDepth {
		return !r.outOfBoundary
	}
	r.outOfBoundary = true
	switch {
	case depth > maxDepth:
		r.add(y.Line, "", "the text is nested deeper than %d levels", maxDepth)
	case r.nodes > maxNodes:
		r.add(y.Line, "", "the text has more than %d keys and values, with its anchors in all their places", maxNodes)
	default:
		r.add(y.Line, "", "the text has more than %d bytes, with its anchors in all their places", maxScalar)
	}
	return false
}

// ownTag refuses tags that change what is read.
func (r *reader) ownTag(y *yaml.Node, path, want string) {
	switch tag := y.ShortTag(); tag {
	case want:
	case "!reset", "!override":
		r.add(y.Line, path, "%s changes another file, and there is none: leave it out", tag)
	default:
		r.add(y.Line, path, "the tag %s is not known: leave it out", tag)
	}
}

func (r *reader) scalar(n *node, y *yaml.Node, path string) {
	n.kind, n.tag, n.value = scalar, y.ShortTag(), y.Value
	switch n.tag {
	case "!!str", "!!null":
	case "!!int", "!!bool", "!!float":
		var v any
		if err := y.Decode(&v); err != nil {
			r.add(y.Line, path, "the value is not what its tag %s says", n.tag)
		}
		if f, ok := v.(float64); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
			r.add(y.Line, path, "YAML takes this for infinity, or for no number: put it in quotes")
		}
	case "!!timestamp":
		r.add(y.Line, path, "YAML takes this for a date: put it in quotes")
	case "!!merge":
		r.add(y.Line, path, "<< is a key: as a value put it in quotes")
	default:
		r.ownTag(y, path, "!!str")
	}
}

// entries reads a mapping: its own keys, then what it merges and lacks.
func (r *reader) entries(n *node, y *yaml.Node, path string, depth int) {
	if len(y.Content)/2 > maxWidth {
		r.add(y.Line, path, "the mapping has more than %d keys", maxWidth)
		return
	}
	seen := map[string]int{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		name, ok := r.key(key, path)
		if !ok {
			continue
		}
		if line, twice := seen[name]; twice {
			r.add(key.Line, join(path, name), "the key stands in line %d already: keep one of them", line)
			continue
		}
		seen[name] = key.Line
		if key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		n.entries = append(n.entries, entry{name, key.Line, r.expand(value, join(path, name), depth+1)})
	}
	for _, m := range merged {
		r.merge(n, m, path, depth)
	}
}

// key is a key as text: a string, also through an anchor.
func (r *reader) key(y *yaml.Node, path string) (string, bool) {
	if y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	if y.Kind == yaml.ScalarNode && (y.ShortTag() == "!!str" || y.ShortTag() == "!!merge") {
		r.nodes++
		r.bytes += len(y.Value)
		return y.Value, true
	}
	if y.Kind == yaml.ScalarNode {
		r.add(y.Line, path, "the key %.40s is not a string: put it in quotes", y.Value)
	} else {
		r.add(y.Line, path, "a key must be a string")
	}
	return "", false
}

// merge adds what a mapping lacks from the one, or the list of them, behind <<.
func (r *reader) merge(n *node, y *yaml.Node, path string, depth int) {
	from := r.expand(y, join(path, "<<"), depth+1)
	sources := []*node{from}
	if from.kind == list {
		sources = from.items
	}
	for _, source := range sources {
		if source.kind != mapping {
			r.add(y.Line, join(path, "<<"), "only mappings can be merged")
			continue
		}
		for _, e := range source.entries {
			if n.get(e.key) == nil {
				n.entries = append(n.entries, e)
			}
		}
	}
}
