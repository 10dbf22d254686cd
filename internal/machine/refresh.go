// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"slices"
	"strings"
)

// ownedRefresh is a command that a change has to run.
type ownedRefresh struct {
	Argv []string `json:"refresh"`
}

// String names it for people: a script by the name that it is given as $0.
func (r ownedRefresh) String() string {
	if len(r.Argv) == 4 && r.Argv[0] == "sh" && r.Argv[1] == "-c" {
		return r.Argv[3]
	}
	return strings.Join(r.Argv, " ")
}

// addRefresh adds the command of a file that changes or goes.
func (c *change) addRefresh(argv []string) {
	known := slices.ContainsFunc(c.refreshes, func(r ownedRefresh) bool { return slices.Equal(r.Argv, argv) })
	if len(argv) > 0 && !known {
		c.refreshes = append(c.refreshes, ownedRefresh{argv})
	}
}

// refresh is the command line of one. The program of files that go may have
// gone before them; that of files that are wanted must be there.
func (c *change) refresh(r ownedRefresh) string {
	line := fmt.Sprintf("usual timeout %d %s", refreshPatience, words(r.Argv))
	if slices.ContainsFunc(c.p.files, func(f goal) bool { return slices.Equal(f.Refresh, r.Argv) }) {
		return line
	}
	return "perhaps " + line
}

// undoRefreshes has what was made of the files made of those that are back.
func (c *change) undoRefreshes(s *script) {
	if len(c.refreshes) == 0 {
		return
	}
	s.line(`if [ -n "$refreshed" ]; then`)
	for _, r := range c.refreshes {
		s.line("perhaps usual timeout %d %s >/dev/null 2>&1 || undone=no", refreshPatience, words(r.Argv))
	}
	s.line(":")
	s.line("fi")
}
