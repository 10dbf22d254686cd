// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
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

// String begins an error, as it matters most to those who use a service.
func (u Undone) String() string {
	if u.Complete {
		return "rolled back: "
	}
	return "not rolled back in full: "
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
	return fmt.Sprintf("%svalidate %s: %s", e.Undone, e.What, said(e.Output))
}

// RefreshError says that a command failed that had to run after files changed.
// Everything was put back, and the command was run again.
type RefreshError struct {
	What   string // the command
	Output string // of the command, without secrets
	Undone
}

// Error shows what the command said.
func (e *RefreshError) Error() string {
	return fmt.Sprintf("%srun %s: %s", e.Undone, e.What, said(e.Output))
}

// UnitError says that a unit could not be started, stopped, reloaded or the
// like. What was changed with it was put back.
type UnitError struct {
	What   string // such as "reload dnsmasq.service"
	Output string // with the last lines of its journal, without secrets
	Undone
}

// Error shows what systemd said.
func (e *UnitError) Error() string {
	return fmt.Sprintf("%s%s: %s", e.Undone, e.What, said(e.Output))
}

// ProbeError says that a service did not do its work after a change, within
// the probe's patience. Everything was put back.
type ProbeError struct {
	Name   string
	Output string // of the last try, without secrets
	Undone
}

// Error shows what the probe got.
func (e *ProbeError) Error() string {
	return fmt.Sprintf("%sprobe %s: got %q", e.Undone, e.Name, oneLine(e.Output))
}

// JobError says that a transient unit failed, such as an installation or a
// download.
type JobError struct {
	Unit, What string // "phoenix-0a1b2c3d4e5f.service", "install dnsmasq"
	Log        string // the last lines of its journal, of this try alone where they reach so far
}

// Error shows the end of the journal.
func (e *JobError) Error() string {
	return fmt.Sprintf("%s (%s): %s", e.What, e.Unit, said(e.Log))
}

// ImageError says that an image could not be pulled or loaded. That its archive
// could not be downloaded is a *JobError.
type ImageError struct {
	Name   string
	Output string // of docker; or why there is no engine
	// NoEngine: the machine has no Docker engine, or it does not run or answer.
	NoEngine bool
}

// Error shows what docker said.
func (e *ImageError) Error() string {
	what := "get image " + e.Name + ": "
	if e.NoEngine {
		what += "no Docker engine: "
	}
	return what + said(e.Output)
}

// lineLength bounds what an error tells of a program's words.
const lineLength = 300

// chatter is what systemd says of every unit that starts, ends or fails.
var chatter = regexp.MustCompile(`^(Started |Starting |Finished |Stopped |Stopping |Reloaded |Reloading |Job for .* failed |See "systemctl status |Failed to start |` +
	`\S+: (Failed with result |(Main|Control) process exited|Consumed |Deactivated successfully|Scheduled restart job))`)

// oneLine is what a program said in one line: the end of it, as that is where a
// program says why it gave up, and without systemd's chatter unless that is all.
func oneLine(text string) string {
	var told, all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		all = append(all, line)
		if !chatter.MatchString(line) {
			told = append(told, line)
		}
	}
	if len(told) == 0 {
		told = all
	}
	return tail(strings.Join(slices.Compact(told), "; "), lineLength)
}

// said is oneLine of a program that failed, which may have had no words for it.
func said(text string) string { return cmp.Or(oneLine(text), "it said nothing") }

// lastTry is what a unit's journal says since it was last started.
func lastTry(log string) string {
	lines := strings.Split(log, "\n")
	for i, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, "Started ") && i < len(lines)-1 {
			return strings.Join(lines[i+1:], "\n")
		}
	}
	return log
}
