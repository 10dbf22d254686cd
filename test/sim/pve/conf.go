// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"crypto/sha1" // the digest that Proxmox itself uses
	"encoding/hex"
	"fmt"
	"net/url"
	"sort"
	"strings"
)

const (
	kindLXC  = "lxc"
	kindQEMU = "qemu"
)

// section is one part of a configuration: option -> value.
type section map[string]string

func (s section) clone() section {
	out := make(section, len(s))
	for k, v := range s {
		out[k] = v
	}
	return out
}

func (s section) sortedKeys() []string {
	keys := make([]string, 0, len(s))
	for k := range s {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// conf is a guest's configuration file, taken apart.
type conf struct {
	kind      string
	main      section
	raw       [][2]string // lxc.* lines
	pending   section     // what waits; "delete" lists the options to go
	snapshots map[string]section
}

func newConf(kind string) *conf {
	return &conf{kind: kind, main: section{}, pending: section{}, snapshots: map[string]section{}}
}

func digestOf(text string) string {
	sum := sha1.Sum([]byte(text)) // the digest that Proxmox itself uses
	return hex.EncodeToString(sum[:])
}

func pendingHeader(kind string) string {
	if kind == kindLXC {
		return "pve:pending"
	}
	return "PENDING"
}

// parseConf reads a file in Proxmox's format.
func parseConf(kind, text string) *conf {
	c := newConf(kind)
	current, description := c.main, ""
	finish := func() {
		if description == "" {
			return
		}
		if kind == kindQEMU {
			description = strings.TrimRight(description, " \t\r\n")
		}
		current["description"] = description
		description = ""
	}
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "["):
			finish()
			current = c.section(strings.Trim(strings.TrimSpace(line), "[]"))
		case strings.HasPrefix(line, "#"):
			description += decodeText(line[1:]) + "\n"
		default:
			key, value, ok := strings.Cut(line, ":")
			if !ok {
				continue
			}
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if kind == kindLXC && strings.HasPrefix(key, "lxc.") {
				c.raw = append(c.raw, [2]string{key, value})
				continue
			}
			current[key] = value
		}
	}
	finish()
	return c
}

func (c *conf) section(name string) section {
	if name == pendingHeader(c.kind) {
		return c.pending
	}
	s := section{}
	c.snapshots[name] = s
	return s
}

// text renders the file: notes first, then the options by name.
func (c *conf) text() string {
	var b strings.Builder
	writeSection(&b, c.main)
	for _, line := range c.raw {
		fmt.Fprintf(&b, "%s: %s\n", line[0], line[1])
	}
	if len(c.pending) > 0 {
		fmt.Fprintf(&b, "\n[%s]\n", pendingHeader(c.kind))
		writeSection(&b, c.pending)
	}
	names := make([]string, 0, len(c.snapshots))
	for name := range c.snapshots {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&b, "\n[%s]\n", name)
		writeSection(&b, c.snapshots[name])
	}
	return b.String()
}

func writeSection(b *strings.Builder, s section) {
	if notes := strings.TrimRight(s["description"], "\n"); notes != "" {
		for _, line := range strings.Split(notes, "\n") {
			b.WriteString("#" + encodeText(line) + "\n")
		}
	}
	for _, key := range s.sortedKeys() {
		if key != "description" {
			fmt.Fprintf(b, "%s: %s\n", key, s[key])
		}
	}
}

// encodeText escapes what Proxmox escapes in notes: control and high bytes and
// the colon. A percent sign is left alone, by Proxmox too.
func encodeText(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c == ':' || c > 0x7e {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func decodeText(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if plain, err := url.PathUnescape(text[i : i+3]); err == nil {
				b.WriteString(plain)
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// deletions are the options that wait to be deleted.
func (c *conf) deletions() map[string]bool {
	out := map[string]bool{}
	for _, key := range strings.Split(c.pending["delete"], ",") {
		if key = strings.TrimPrefix(key, "!"); key != "" {
			out[key] = true
		}
	}
	return out
}

func (c *conf) setDeletions(keys map[string]bool) {
	names := make([]string, 0, len(keys))
	for k := range keys {
		names = append(names, k)
	}
	sort.Strings(names)
	if len(names) == 0 {
		delete(c.pending, "delete")
		return
	}
	c.pending["delete"] = strings.Join(names, ",")
}

// setPending makes a value wait, and clears the wish to delete the option.
func (c *conf) setPending(key, value string) {
	c.pending[key] = value
	gone := c.deletions()
	delete(gone, key)
	c.setDeletions(gone)
}

// deletePending makes the deletion of an option wait.
func (c *conf) deletePending(key string) {
	delete(c.pending, key)
	if _, there := c.main[key]; !there {
		return
	}
	gone := c.deletions()
	gone[key] = true
	c.setDeletions(gone)
}

// revert forgets what waits for an option.
func (c *conf) revert(key string) {
	delete(c.pending, key)
	gone := c.deletions()
	delete(gone, key)
	c.setDeletions(gone)
}

// tidyPending drops what waits although it is so already.
func (c *conf) tidyPending() {
	for key, value := range c.pending {
		if current, ok := c.main[key]; ok && key != "delete" && current == value {
			delete(c.pending, key)
		}
	}
	gone := c.deletions()
	for key := range gone {
		if _, there := c.main[key]; !there {
			delete(gone, key)
		}
	}
	c.setDeletions(gone)
}

// merged is the configuration with what waits laid over it.
func (c *conf) merged() section {
	out := c.main.clone()
	for key, value := range c.pending {
		if key != "delete" {
			out[key] = value
		}
	}
	for key := range c.deletions() {
		delete(out, key)
	}
	return out
}
