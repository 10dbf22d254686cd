// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"strings"
)

// PendingError says that something has to end first: a transient unit of ours,
// a change of ours whose connection was cut, another's work with packages. It
// is worth a wait, not a complaint.
type PendingError struct{ What string }

// Error says what is waited for.
func (e *PendingError) Error() string { return "wait for " + e.What }

// UnsupportedError says that a machine is not one that can be worked on.
type UnsupportedError struct{ Why string }

// Error says what it lacks.
func (e *UnsupportedError) Error() string {
	return "use machine: " + e.Why + "; Debian or Ubuntu with systemd is needed"
}

// ForeignError says that paths are not ours to change.
type ForeignError struct {
	Paths []string
	// Owner whose record lists the paths; empty: they are nobody's that we know.
	Owner Owner
}

// Error names the paths and whose they are.
func (e *ForeignError) Error() string {
	whose := "there already and not ours"
	if e.Owner != "" {
		whose = "of " + string(e.Owner)
	}
	return fmt.Sprintf("take %s: %s", strings.Join(e.Paths, ", "), whose)
}

// ChangedError says that something on the machine is no longer as it was
// observed. Nothing was done; another look will tell.
type ChangedError struct{ What string }

// Error names it.
func (e *ChangedError) Error() string {
	return "change " + e.What + ": it changed since it was observed"
}

// Undone says how a change that failed was left.
type Undone struct {
	// Complete: everything is as it was. If not, the next change puts it right.
	Complete bool
}

func (u Undone) String() string {
	if u.Complete {
		return "everything was put back"
	}
	return "not everything could be put back"
}

// ValidateError says that a program refuses what was to be written, or what
// all files are together. Everything was put back.
type ValidateError struct {
	What   string // the path, or the name of the check
	Output string // of the program, without secrets
	Undone
}

// Error shows what the program said.
func (e *ValidateError) Error() string {
	return fmt.Sprintf("validate %s: %s (%s)", e.What, e.Output, e.Undone)
}

// UnitError says that a unit could not be started, stopped, reloaded or the
// like. What was changed with it was put back.
type UnitError struct {
	What   string // such as "reload dnsmasq.service"
	Output string // with the last lines of its journal, without secrets
	Undone
}

// Error shows what systemd said.
func (e *UnitError) Error() string { return fmt.Sprintf("%s: %s (%s)", e.What, e.Output, e.Undone) }

// ProbeError says that a service did not do its work after a change, within
// the probe's patience. Everything was put back.
type ProbeError struct {
	Name   string
	Output string // of the last try, without secrets
	Undone
}

// Error shows what the probe got.
func (e *ProbeError) Error() string {
	return fmt.Sprintf("probe %s: got %q (%s)", e.Name, e.Output, e.Undone)
}

// JobError says that a transient unit failed, such as an installation.
type JobError struct {
	Unit, What string // "phoenix-0a1b2c3d4e5f.service", "install dnsmasq"
	Log        string // the last lines of its journal
}

// Error shows the end of the journal.
func (e *JobError) Error() string { return fmt.Sprintf("%s (%s): %s", e.What, e.Unit, e.Log) }
