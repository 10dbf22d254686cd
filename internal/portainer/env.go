// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// names are those that compose fills in.
var names = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// taken are variables of the server's own container, which win over a stack's.
var taken = []string{"AGENT_SECRET", "DOCKER_CONFIG", "HOME", "HOSTNAME", "PATH", "PWD"}

// CheckName returns an error when a variable of this name does not reach a stack: compose could not refer to it, the
// environment of Portainer's own container wins over it, or it would steer compose itself. The error does not repeat the
// name.
func CheckName(name string) error {
	switch {
	case !names.MatchString(name):
		return errors.New("a name has letters, digits and _, and does not begin with a digit")
	case slices.Contains(taken, name):
		return errors.New("the environment of Portainer's own container has a variable of this name, which would be taken instead")
	case strings.HasPrefix(name, "COMPOSE_") && name != "COMPOSE_PROFILES":
		return errors.New("names that begin with COMPOSE_ steer compose itself")
	}
	return nil
}

// CheckValue returns an error when a variable's value cannot reach a container as it is: it is not UTF-8, or has a NUL.
// Everything else does: quotes, line ends, $ and # as well. The error does not repeat the value.
func CheckValue(value string) error {
	switch {
	case !utf8.ValidString(value):
		return errors.New("the value is not UTF-8 text")
	case strings.ContainsRune(value, 0):
		return errors.New("the value has a NUL character")
	}
	return nil
}

// quote writes a value so that compose reads it from a line of stack.env as it is: bare where it can, as Portainer's
// pages show it.
func quote(value string) string {
	switch {
	case isBare(value):
		return value
	case !strings.ContainsFunc(value, func(r rune) bool { return r == '\'' || r == '\\' || isControl(r) }):
		return "'" + value + "'"
	}
	return `"` + escapes.Replace(value) + `"`
}

// isBare says that a value needs no quotes.
func isBare(value string) bool {
	if value == "" {
		return true
	}
	first, _ := utf8.DecodeRuneInString(value)
	last, _ := utf8.DecodeLastRuneInString(value)
	return first != '\'' && first != '"' && !isBlank(first) && !isBlank(last) && !strings.ContainsAny(value, "$#") &&
		!strings.ContainsFunc(value, isControl)
}

func isBlank(r rune) bool   { return unicode.IsSpace(r) }
func isControl(r rune) bool { return unicode.IsControl(r) }

var (
	escapes   = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", `\n`, "\r", `\r`)
	unescapes = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\$`, `$`, `\n`, "\n", `\r`, "\r")
)

// unquote takes quotes of quote off, and leaves all else as it is.
func unquote(raw string) string {
	if len(raw) < 2 || raw[0] != raw[len(raw)-1] {
		return raw
	}
	value := raw[1 : len(raw)-1]
	if raw[0] == '"' {
		value = unescapes.Replace(value)
	}
	if quote(value) == raw {
		return value
	}
	return raw
}
