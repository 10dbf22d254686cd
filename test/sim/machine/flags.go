// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"strings"
)

// flags are the options and the operands of a command line.
type flags struct {
	set  map[string][]string
	args []string
}

func (f flags) has(name string) bool { return len(f.set[name]) > 0 }

// last is the last value of an option, or fallback.
func (f flags) last(name, fallback string) string {
	if values := f.set[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return fallback
}

// option is how an option is written: its name, and whether it takes a value.
type option struct {
	name  string
	value bool
}

// parseSpec reads a list of options: "r" and "now" stand alone, "n:" takes a
// value, "lines:=n" is another name of n.
func parseSpec(spec string) map[string]option {
	out := map[string]option{}
	for _, word := range strings.Fields(spec) {
		written, name, alias := strings.Cut(word, "=")
		written, value := strings.CutSuffix(written, ":")
		if !alias {
			name = written
		}
		out[written] = option{name, value}
	}
	return out
}

// parse reads a command line; the program's own complaint is printed and ok is
// false when an option is unknown.
func (p *Process) parse(spec string) (f flags, ok bool) {
	f, bad := parseFlags(p.Args[1:], parseSpec(spec), true)
	if bad != "" {
		p.Errorf("%s", bad)
		return f, false
	}
	return f, true
}

// parseLeading reads options up to the first operand only.
func (p *Process) parseLeading(spec string) (f flags, ok bool) {
	f, bad := parseFlags(p.Args[1:], parseSpec(spec), false)
	if bad != "" {
		p.Errorf("%s", bad)
		return f, false
	}
	return f, true
}

func parseFlags(args []string, spec map[string]option, permute bool) (f flags, bad string) {
	f.set = map[string][]string{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			f.args = append(f.args, args...)
			return f, ""
		case strings.HasPrefix(arg, "--"):
			args, bad = f.long(arg[2:], args, spec)
		case len(arg) > 1 && arg[0] == '-':
			args, bad = f.short(arg[1:], args, spec)
		case !permute:
			f.args = append([]string{arg}, args...)
			return f, ""
		default:
			f.args = append(f.args, arg)
		}
		if bad != "" {
			return f, bad
		}
	}
	return f, ""
}

func (f flags) long(arg string, args []string, spec map[string]option) ([]string, string) {
	name, value, given := strings.Cut(arg, "=")
	o, known := spec[name]
	switch {
	case !known || len(name) == 1:
		return args, fmt.Sprintf("unrecognized option '--%s'", name)
	case o.value && !given && len(args) == 0:
		return args, fmt.Sprintf("option '--%s' requires an argument", name)
	case o.value && !given:
		value, args = args[0], args[1:]
	case !o.value && given:
		return args, fmt.Sprintf("option '--%s' doesn't allow an argument", name)
	}
	f.set[o.name] = append(f.set[o.name], value)
	return args, ""
}

func (f flags) short(arg string, args []string, spec map[string]option) ([]string, string) {
	for i := range len(arg) {
		o, known := spec[arg[i:i+1]]
		switch {
		case !known:
			return args, fmt.Sprintf("invalid option -- '%c'", arg[i])
		case !o.value:
			f.set[o.name] = append(f.set[o.name], "")
		case i+1 < len(arg):
			f.set[o.name] = append(f.set[o.name], arg[i+1:])
			return args, ""
		case len(args) == 0:
			return args, fmt.Sprintf("option requires an argument -- '%c'", arg[i])
		default:
			f.set[o.name] = append(f.set[o.name], args[0])
			return args[1:], ""
		}
	}
	return args, ""
}
