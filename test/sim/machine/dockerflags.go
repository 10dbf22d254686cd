// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"strings"
)

// parseDocker reads a command line as docker and its like do: options that stand
// alone may have =true or =false. permute lets options stand behind operands.
func parseDocker(args []string, spec map[string]option, permute bool) (f flags, bad string) {
	f.set = map[string][]string{}
	for len(args) > 0 && bad == "" {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			f.args = append(f.args, args...)
			return f, ""
		case strings.HasPrefix(arg, "--"):
			args, bad = f.dockerLong(arg, args, spec)
		case len(arg) > 1 && arg[0] == '-':
			args, bad = f.dockerShort(arg, args, spec)
		default:
			f.args = append(f.args, arg)
			if !permute {
				f.args = append(f.args, args...)
				return f, ""
			}
		}
	}
	return f, bad
}

func (f flags) dockerLong(arg string, args []string, spec map[string]option) ([]string, string) {
	name, value, given := strings.Cut(arg[2:], "=")
	o, known := spec[name]
	switch {
	case !known || len(name) == 1:
		return args, "unknown flag: --" + name
	case !o.value && (!given || value == "true"):
		f.set[o.name] = []string{""}
	case !o.value && value == "false":
		delete(f.set, o.name)
	case !o.value:
		return args, fmt.Sprintf("invalid argument %q for \"--%s\" flag: strconv.ParseBool: parsing %q: invalid syntax", value, name, value)
	case !given && len(args) == 0:
		return args, "flag needs an argument: --" + name
	case !given:
		f.set[o.name] = append(f.set[o.name], args[0])
		return args[1:], ""
	default:
		f.set[o.name] = append(f.set[o.name], value)
	}
	return args, ""
}

func (f flags) dockerShort(arg string, args []string, spec map[string]option) ([]string, string) {
	for i := 1; i < len(arg); i++ {
		letter := arg[i : i+1]
		o, known := spec[letter]
		switch {
		case !known:
			return args, fmt.Sprintf("unknown shorthand flag: '%s' in -%s", letter, arg[i:])
		case !o.value:
			f.set[o.name] = []string{""}
		case i+1 < len(arg):
			f.set[o.name] = append(f.set[o.name], strings.TrimPrefix(arg[i+1:], "="))
			return args, ""
		case len(args) == 0:
			return args, fmt.Sprintf("flag needs an argument: '%s' in -%s", letter, letter)
		default:
			f.set[o.name] = append(f.set[o.name], args[0])
			return args[1:], ""
		}
	}
	return args, ""
}
