// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"fmt"
	"slices"
	"strings"
)

// Props is a property string of a guest's configuration, such as
// "name=eth0,bridge=vmbr0,ip=dhcp". It keeps the order of its keys and the
// keys that nobody here knows, so that what is read and rendered again is the
// same text.
//
// The first value may stand without its key: the default key of that kind of
// property string ("volume" in "local:8,mp=/data"). The zero value is empty
// and ready to use, but knows no default key.
type Props struct {
	defaultKey string
	entries    []prop
}

type prop struct {
	key, value string
	bare       bool // rendered without its key
}

// NewProps returns an empty property string; a value that is set under
// defaultKey is rendered first and without its key.
func NewProps(defaultKey string) Props { return Props{defaultKey: defaultKey} }

// ParseProps reads a property string by the rules of Proxmox VE 9.2: parts
// that hold only blanks are passed over, a key appears once, no value is empty,
// and one value may stand without its key where defaultKey is not empty.
func ParseProps(s, defaultKey string) (Props, error) {
	p := NewProps(defaultKey)
	for part := range strings.SplitSeq(s, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		entry := prop{value: part, key: defaultKey, bare: true}
		if key, value, found := strings.Cut(part, "="); found {
			entry = prop{key: key, value: value}
		}
		switch {
		case entry.bare && defaultKey == "":
			return Props{}, fmt.Errorf("parse property string %q: value %q has no key", s, part)
		case entry.key == "" || entry.value == "":
			return Props{}, fmt.Errorf("parse property string %q: part %q lacks a key or a value", s, part)
		case p.index(entry.key) >= 0:
			return Props{}, fmt.Errorf("parse property string %q: key %q appears twice", s, entry.key)
		}
		p.entries = append(p.entries, entry)
	}
	return p, nil
}

// Get returns the value of key and whether it is there.
func (p *Props) Get(key string) (value string, ok bool) {
	if i := p.index(key); i >= 0 {
		return p.entries[i].value, true
	}
	return "", false
}

// Set gives key a value: in its place when it is there, else at the end (the
// default key: at the front, without its key). It returns an error for a key
// or value that the format cannot carry: an empty one, one with a comma or a
// control character, a key with "=". So a value can never bring in a second
// key.
func (p *Props) Set(key, value string) error {
	if key == "" || strings.ContainsFunc(key, breaksKey) {
		return fmt.Errorf("set property %q: not a key", key)
	}
	if strings.TrimSpace(value) == "" || strings.ContainsFunc(value, breaksValue) {
		return fmt.Errorf("set property %s: value %q is blank or holds a comma or a control character", key, value)
	}
	bare := key == p.defaultKey && !strings.Contains(value, "=")
	if i := p.index(key); i >= 0 {
		p.entries[i].value = value
		p.entries[i].bare = p.entries[i].bare && bare
		return nil
	}
	if bare {
		p.entries = slices.Insert(p.entries, 0, prop{key: key, value: value, bare: true})
		return nil
	}
	p.entries = append(p.entries, prop{key: key, value: value})
	return nil
}

// Delete removes key; an absent key is fine.
func (p *Props) Delete(key string) {
	p.entries = slices.DeleteFunc(p.entries, func(e prop) bool { return e.key == key })
}

// Keys returns the keys in their order.
func (p *Props) Keys() []string {
	keys := make([]string, 0, len(p.entries))
	for _, e := range p.entries {
		keys = append(keys, e.key)
	}
	return keys
}

// Empty says whether there is no key.
func (p *Props) Empty() bool { return len(p.entries) == 0 }

// Clone returns an independent copy.
func (p *Props) Clone() Props {
	return Props{defaultKey: p.defaultKey, entries: slices.Clone(p.entries)}
}

// String renders the property string in its order.
func (p Props) String() string {
	var b strings.Builder
	for i, e := range p.entries {
		if i > 0 {
			b.WriteByte(',')
		}
		if !e.bare {
			b.WriteString(e.key)
			b.WriteByte('=')
		}
		b.WriteString(e.value)
	}
	return b.String()
}

// Equal says whether both hold the same keys and values, in any order, with
// the default key written out or not.
func (p *Props) Equal(other Props) bool {
	if len(p.entries) != len(other.entries) {
		return false
	}
	for _, e := range p.entries {
		if value, ok := other.Get(e.key); !ok || value != e.value {
			return false
		}
	}
	return true
}

// EqualProps says whether two property strings mean the same: order and the
// spelling of the default key do not count. Strings that cannot be parsed are
// equal only when they are the same text.
func EqualProps(a, b, defaultKey string) bool {
	if a == b {
		return true
	}
	left, err := ParseProps(a, defaultKey)
	if err != nil {
		return false
	}
	right, err := ParseProps(b, defaultKey)
	return err == nil && left.Equal(right)
}

func (p *Props) index(key string) int {
	return slices.IndexFunc(p.entries, func(e prop) bool { return e.key == key })
}

// rename gives the entry of a key another key and value in the same place.
func (p *Props) rename(key, newKey, value string) error {
	i := p.index(key)
	old := p.entries[i]
	p.entries[i] = prop{key: newKey, bare: newKey == p.defaultKey}
	if err := p.Set(newKey, value); err != nil {
		p.entries[i] = old
		return err
	}
	return nil
}

func breaksValue(r rune) bool { return r == ',' || r < ' ' || r == 0x7f }

func breaksKey(r rune) bool { return r == '=' || r == ' ' || breaksValue(r) }
