// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import "fmt"

// Conflicts names the declared aliases and sets that are somebody else's.
func Conflicts(w Want, s State) []string {
	var out []string
	check := func(kind, name, comment string) {
		owner, owned := MarkIn(comment)
		switch {
		case Marked(comment, w.Owner):
		case owned:
			out = append(out, fmt.Sprintf("%s %s belongs to owner %s", kind, name, owner))
		case !w.Adopt:
			out = append(out, fmt.Sprintf("%s %s exists and nobody owns it", kind, name))
		}
	}
	for _, name := range sorted(w.Aliases) {
		if now, there := s.Aliases[name]; there {
			check("alias", name, now.Comment)
		}
	}
	for _, name := range sorted(w.Sets) {
		if now, there := s.Sets[name]; there {
			check("IP set", name, now.Comment)
		}
	}
	return out
}
