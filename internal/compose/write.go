// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// heading tells who finds the text in Portainer.
const heading = "# Phoenix deploys this text and puts edits of it back: change the DockerStack instead.\n"

// write makes the one text of a tree: keys sorted, no comments, no anchors.
func (n *node) write() (string, error) {
	var b bytes.Buffer
	b.WriteString(heading)
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(n.yaml()); err != nil {
		return "", fmt.Errorf("write text: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return "", fmt.Errorf("write text: %w", err)
	}
	return b.String(), nil
}

func (n *node) yaml() *yaml.Node {
	switch n.kind {
	case list:
		y := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: emptyStyle(len(n.items))}
		for _, item := range n.items {
			y.Content = append(y.Content, item.yaml())
		}
		return y
	case mapping:
		y := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Style: emptyStyle(len(n.entries))}
		sorted := slices.SortedFunc(slices.Values(n.entries), func(a, b entry) int { return cmp.Compare(a.key, b.key) })
		for _, e := range sorted {
			key := &node{kind: scalar, tag: "!!str", value: e.key}
			y.Content = append(y.Content, key.yaml(), e.value.yaml())
		}
		return y
	}
	if n.tag == "!!null" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: n.tag, Value: "null"}
	}
	y := &yaml.Node{Kind: yaml.ScalarNode, Tag: n.tag, Value: n.value}
	if n.tag == "!!str" {
		y.Style = stringStyle(n.value)
	}
	return y
}

func emptyStyle(length int) yaml.Style {
	if length == 0 {
		return yaml.FlowStyle
	}
	return 0
}

var (
	// plain are strings that mean themselves to every reader of YAML, as an image's name does.
	plain = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./${}-]*(:[A-Za-z0-9_./${}-]+)*$`)
	// notPlain are those of them that some readers take for a boolean or nothing.
	notPlain = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null)$`)
	// block are lines that read well as they stand: printable, none with white space at an end, none indented at the top.
	block = regexp.MustCompile(`^([!-~]([ -~\t]*[!-~])?)(\n|\n[ \t]*[!-~]|\n[ \t]*[!-~][ -~\t]*[!-~])*\n?$`)
)

func stringStyle(value string) yaml.Style {
	switch {
	case strings.Contains(value, "\n") && block.MatchString(value) && !strings.HasSuffix(value, "\n\n"):
		return yaml.LiteralStyle
	case plain.MatchString(value) && !notPlain.MatchString(value):
		return 0
	}
	return yaml.DoubleQuotedStyle
}
