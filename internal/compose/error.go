// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// maxErrors is how many errors are returned at most: the first by line.
const maxErrors = 10

// Error is one thing that is wrong with a text.
type Error struct {
	Line int    // in the user's text, from 1; 0: in none of its lines
	Path string // such as services.web.ports[0]; empty: the text as a whole
	Why  string // what is wrong, and what to do
}

// Error names line, path and reason.
func (e *Error) Error() string {
	switch {
	case e.Line == 0 && e.Path == "":
		return e.Why
	case e.Line == 0:
		return e.Path + ": " + e.Why
	case e.Path == "":
		return fmt.Sprintf("line %d: %s", e.Line, e.Why)
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Path, e.Why)
}

// problems are the errors that were found.
type problems []*Error

func (p *problems) add(line int, path, format string, args ...any) {
	found := &Error{Line: line, Path: path, Why: fmt.Sprintf(format, args...)}
	for _, e := range *p {
		if *e == *found {
			return
		}
	}
	*p = append(*p, found)
}

// join is the first of them by line, as one error.
func (p problems) join() error {
	sorted := slices.SortedStableFunc(slices.Values(p), func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path))
	})
	var all []error
	for _, e := range sorted[:min(len(sorted), maxErrors)] {
		all = append(all, e)
	}
	return errors.Join(all...)
}
