// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"fmt"
	"strconv"
	"strings"
)

// field binds one key of a property string to one member of a typed view.
type field struct {
	key string
	// read takes the text of the key into the member.
	read func(text string) error
	// write renders the member; "" means that the key is not there.
	write func() string
	// same says whether the text already means what the member holds, so that
	// it stays as Proxmox or a person wrote it ("firewall=0" is no firewall).
	same func(text string) bool
}

// decode takes the keys that are there into the view.
func decode(p *Props, fields []field) error {
	for _, f := range fields {
		text, ok := p.Get(f.key)
		if !ok {
			continue
		}
		if err := f.read(text); err != nil {
			return fmt.Errorf("read %s=%s: %w", f.key, text, err)
		}
	}
	return nil
}

// encode puts the view's members into p: what means the same keeps its text
// and place, what is zero goes, what is new comes at the end.
func encode(p *Props, fields []field) error {
	for _, f := range fields {
		old, had := p.Get(f.key)
		if had && f.same(old) {
			continue
		}
		text := f.write()
		if text == "" {
			p.Delete(f.key)
			continue
		}
		if err := p.Set(f.key, text); err != nil {
			return err
		}
	}
	return nil
}

func text(key string, v *string) field {
	return field{
		key:   key,
		read:  func(s string) error { *v = s; return nil },
		write: func() string { return *v },
		same:  func(s string) bool { return s == *v },
	}
}

// foldText is text whose case does not matter, such as a MAC address.
func foldText(key string, v *string) field {
	f := text(key, v)
	f.same = func(s string) bool { return strings.EqualFold(s, *v) }
	return f
}

// plain is a value whose zero is the same as its absence, in the form that
// parse reads and format writes.
func plain[T comparable](key string, v *T, parse func(string) (T, error), format func(T) string) field {
	var zero T
	return field{
		key: key,
		read: func(s string) (err error) {
			*v, err = parse(s)
			return err
		},
		write: func() string {
			if *v == zero {
				return ""
			}
			return format(*v)
		},
		same: func(s string) bool {
			has, err := parse(s)
			return err == nil && has == *v
		},
	}
}

// maybe is a value whose absence is something of its own.
func maybe[T comparable](key string, v **T, parse func(string) (T, error), format func(T) string) field {
	return field{
		key: key,
		read: func(s string) error {
			has, err := parse(s)
			*v = &has
			return err
		},
		write: func() string {
			if *v == nil {
				return ""
			}
			return format(**v)
		},
		same: func(s string) bool {
			has, err := parse(s)
			return err == nil && *v != nil && has == **v
		},
	}
}

func number(key string, v *int) field { return plain(key, v, strconv.Atoi, strconv.Itoa) }

// maybeNumber is a number where zero and absence differ.
func maybeNumber(key string, v **int) field { return maybe(key, v, strconv.Atoi, strconv.Itoa) }

func decimal(key string, v *float64) field { return plain(key, v, parseDecimal, formatDecimal) }

// flag is a boolean whose default is false: false and absent are the same.
func flag(key string, v *bool) field { return plain(key, v, parseBool, formatBool) }

// maybeFlag is a boolean whose absence is something of its own.
func maybeFlag(key string, v **bool) field { return maybe(key, v, parseBool, formatBool) }

func size(key string, v *int64) field { return plain(key, v, ParseSize, FormatSize) }

func list(key, separator string, v *[]string) field {
	join := func() string { return strings.Join(*v, separator) }
	return field{
		key:   key,
		read:  func(s string) error { *v = strings.Split(s, separator); return nil },
		write: join,
		same:  func(s string) bool { return s == join() },
	}
}

// parseBool reads a boolean as Proxmox VE does: 1, on, yes, true and their
// opposites in any case.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "on", "yes", "true":
		return true, nil
	case "0", "off", "no", "false":
		return false, nil
	}
	return false, fmt.Errorf("parse boolean %q", s)
}

func formatBool(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func parseDecimal(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

func formatDecimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
