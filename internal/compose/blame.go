// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"cmp"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// blame makes problems of what compose says, each with the line of what it speaks of.
func (p *parser) blame(err error) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, one := range joined.Unwrap() {
			p.blame(one)
		}
		return
	}
	said := saidItem.ReplaceAllString(err.Error(), ".$1")
	said = saidQuoted.ReplaceAllString(said, "$1:")
	said = saidPrefix.ReplaceAllString(said, "")
	line, path := p.locate(said)
	said = strings.TrimSuffix(said, ": invalid compose project")
	if path != "" {
		said = strings.TrimLeft(strings.TrimPrefix(said, path), ": ")
	}
	said = strings.TrimPrefix(said, "failed to cast to expected type: ")
	if said == "false schema" || saidKey.MatchString(said) {
		said = "it does not know this key here"
		if resource.MatchString(path) {
			said = "a name has letters, digits, dots, - and _ only"
		}
	}
	p.add(line, path, "compose says: %s", p.hide(said))
}

var (
	saidPath    = regexp.MustCompile(`\b(?:services|networks|volumes|configs|secrets|name|x-[A-Za-z0-9_-]+)[A-Za-z0-9_.\[\]-]*`)
	saidService = regexp.MustCompile("\\bservice [\"'`]?([A-Za-z0-9._-]+)")
	saidCycle   = regexp.MustCompile(`(?:cycle detected|Circular reference):\s+([A-Za-z0-9._-]+)`)
	resource    = regexp.MustCompile(`^(?:services|networks|volumes|configs|secrets)\.[^.]*$`)
	saidItem    = regexp.MustCompile(`\[([A-Za-z][A-Za-z0-9._-]*)\]`)
	saidQuoted  = regexp.MustCompile(`'(services\.[^']*)'`)
	saidPrefix  = regexp.MustCompile(`^(?:validating|parsing|failed to parse) compose\.yaml: |^error while interpolating `)
	saidKey     = regexp.MustCompile(`additional properties? '([^']+)'|additional properties? "([^"]+)"`)
)

// locate finds what compose speaks of: the path in its words that leads furthest into the text.
func (p *parser) locate(said string) (line int, path string) {
	line, path = 0, ""
	for _, found := range saidPath.FindAllString(said, -1) {
		if l, at := p.tree.follow(found); len(at) > len(path) {
			line, path = l, at
		}
	}
	if found := saidService.FindStringSubmatch(said); found != nil && path == "" {
		line, path = p.tree.follow("services." + found[1])
	}
	if path == "" {
		line, path = p.locateValue(said)
	}
	if found := saidCycle.FindStringSubmatch(said); found != nil {
		key := ".depends_on"
		if strings.HasPrefix(said, "Circular") {
			key = ".extends"
		}
		line, path = p.tree.follow("services." + found[1] + key)
	}
	if found := saidKey.FindStringSubmatch(said); found != nil {
		if l, at := p.tree.follow(strings.TrimPrefix(path+"."+found[1]+found[2], ".")); len(at) > len(path) {
			line, path = l, at
		}
	}
	return line, path
}

// locateValue finds the longest value of the text that stands in what compose says.
func (p *parser) locateValue(said string) (line int, path string) {
	longest := 3 // shorter ones stand there by chance
	p.tree.walk("", func(at string, n *node) {
		if len(n.value) > longest && n.tag == "!!str" && strings.Contains(said, n.value) {
			longest, line, path = len(n.value), n.line, at
		}
	})
	return line, path
}

// follow goes along a path as far as it leads: keys, and places in lists as .0 or [0]. Keys may hold dots.
func (n *node) follow(path string) (line int, at string) {
	line = 0
	rest := strings.TrimRight(path, ".:")
	for rest != "" {
		length, key, found := n.step(rest)
		if found == nil {
			break
		}
		n, rest = found.value, strings.TrimPrefix(rest[length:], ".")
		line, at = found.line, at+key
	}
	return line, strings.TrimPrefix(at, ".")
}

// step finds the entry or item that path begins with, the longest of them.
func (n *node) step(path string) (length int, key string, found *entry) {
	for i, item := range n.items {
		for _, form := range []string{"[" + strconv.Itoa(i) + "]", strconv.Itoa(i)} {
			if begins(path, form) {
				return len(form), "[" + strconv.Itoa(i) + "]", &entry{line: item.line, value: item}
			}
		}
	}
	for i, e := range n.entries {
		if len(e.key) > length && begins(path, e.key) {
			length, key, found = len(e.key), "."+e.key, &n.entries[i]
		}
	}
	return length, key, found
}

func begins(path, step string) bool {
	rest, ok := strings.CutPrefix(path, step)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// hidden stands for what an error must not hold.
const hidden = "…"

var notWord = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// hide takes values out of what compose says: those of the Input, their parts, and all of the text that may be as secret.
func (p *parser) hide(said string) string {
	secrets := map[string]bool{} // and whether they may be part of a longer word
	p.tree.walk("", func(path string, n *node) {
		if n.tag == "!!str" && mayBeSecret(path) {
			hideParts(secrets, n.value, false)
		}
	})
	for _, value := range p.Values {
		hideParts(secrets, value, true)
	}
	return replaceAll(said, secrets)
}

// named is a name as an error may quote it: as it is where the user wrote it so, without values where it is made of them.
func (p *parser) named(name string) string {
	written := false
	p.tree.walk("", func(path string, n *node) {
		written = written || !mayBeSecret(path) && !strings.Contains(n.value, "$") && strings.Contains(n.value, name)
	})
	if written {
		return name
	}
	return p.hide(name)
}

func replaceAll(said string, secrets map[string]bool) string {
	longest := slices.SortedFunc(maps.Keys(secrets), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	for _, secret := range longest {
		if secrets[secret] && len(secret) > 3 {
			said = strings.ReplaceAll(said, secret, hidden)
		} else {
			said = replaceWords(said, secret)
		}
	}
	if cut := []rune(said); len(cut) > 400 {
		said = string(cut[:400]) + hidden
	}
	return strings.Join(strings.Fields(said), " ")
}

func hideParts(secrets map[string]bool, value string, within bool) {
	if value == "" || len(value) > 4096 { // compose does not quote as much
		return
	}
	secrets[value] = within
	secrets[strings.Trim(strconv.Quote(value), `"`)] = within
	for _, part := range notWord.Split(value, -1) {
		if len(part) > 3 {
			secrets[part] = within
		}
	}
}

// open are the parts of a text that errors may quote; what stands below other keys may be as secret as a value. The content
// of configs is never quoted by compose, and too long to look for.
var open = regexp.MustCompile(`^(services\.[^.]+\.(image|ports|volumes|networks|depends_on|extends|container_name|configs|` +
	`secrets|restart|profiles|deploy|network_mode|pull_policy|healthcheck\.[a-su-z_]+|[a-z]+_limit)\b|networks\.|volumes\.|configs\.|name$)`)

func mayBeSecret(path string) bool { return !open.MatchString(path) }

// replaceWords hides a secret where it is a word of its own.
func replaceWords(said, secret string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(said, secret)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if wordEnds(b.String()) || wordBegins(after) {
			b.WriteString(secret)
		} else {
			b.WriteString(hidden)
		}
		said = after
	}
}

func wordEnds(text string) bool   { return text != "" && wordByte(text[len(text)-1]) }
func wordBegins(text string) bool { return text != "" && wordByte(text[0]) }

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
