// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Owner is on whose behalf a machine is changed, such as
// "home/HostService/default/dns": letters, digits and -._/ alone. What it owns
// stands in a record on the machine.
type Owner string

// State is what one owner wants of a machine. What it does not name is not
// touched.
type State struct {
	// Users are made before anything is given to them.
	Users []User
	// Packages of Debian that are to be installed; never upgraded.
	Packages []string
	// Artifacts are programs that the machine downloads. Where it lacks curl to
	// do so, the packages curl and ca-certificates become the owner's, too.
	Artifacts []Artifact
	// Images of the Docker engine are there before anything below. Archives of
	// them are downloaded as artifacts are.
	Images []Image
	Dirs   []Dir
	Files  []File
	Units  []Unit
	// Verify runs after all files are in place and before any unit hears of it;
	// another exit code than 0 puts everything back.
	Verify []Command
	Probes []Probe
	// Reads are paths, in which * and ? are wildcards, of files to read in
	// full, up to 256 KiB each: see Seen.Contents.
	Reads []string
}

// Dir is a directory. It is made when absent, its owner and mode are its own
// alone, and it is never removed with anything in it.
type Dir struct {
	Path string
	// Owner and Group are names or numbers; empty: as it is, root when it is made.
	Owner, Group string
	// Mode are permission bits; 0: as they are, 0755 when it is made.
	Mode fs.FileMode
}

// File is a regular file with all of its content.
type File struct {
	Path         string
	Owner, Group string      // names or numbers; empty: root
	Mode         fs.FileMode // permission bits; 0: 0644, and 0600 of a Secret
	Content      []byte
	// Secret content is shown as a keyed hash, and taken out of what validators print.
	Secret bool
	// Validate is a command that must exit with 0 before the file takes its
	// place: "{}" in its arguments is the path of the staged file.
	Validate []string
	// Triggers are for units that run while the file changes.
	Triggers []Trigger
	// Refresh is a command that must exit with 0 after this file changed or went,
	// such as update-ca-certificates; empty: none. It runs within a minute, before
	// Verify and before any unit hears of the change, once for all the files that
	// name the same, and again after a change was put back. That a command of a
	// file that went is no longer installed is no failure. A script, sh -c SCRIPT
	// NAME, is shown by its name.
	Refresh []string
	// Early puts the file into its place before packages are installed, and has
	// apt read its lists anew then: for a source that alone has one of them. It
	// has neither Triggers nor Refresh, as those of packages are not there yet.
	Early bool
	// Replaces says that the path is the distribution's or somebody's own: what
	// is there is kept and comes back when the file goes.
	Replaces bool
}

// Action is what a unit does to take a change.
type Action string

// The actions. Reload restarts a unit that cannot reload.
const (
	Reload  Action = "Reload"
	Restart Action = "Restart"
)

// Trigger has a unit take a change, if it runs. Of several for one unit,
// Restart goes before Reload, and it happens once.
type Trigger struct {
	Unit   string
	Action Action
}

// Unit is a unit of systemd. False is not "stopped" or "disabled" but as it is.
type Unit struct {
	Name             string
	Enabled, Running bool
}

// Command is a check with a name for people.
type Command struct {
	Name string
	Argv []string
}

// Probe asks whether the service does its work. It runs in every Observe, and
// after a change until it succeeds or its patience ends; then everything is
// put back. It succeeds when it exits with 0 and its output fits.
type Probe struct {
	Name string
	Argv []string
	// Want is the whole output without the white space around it; empty: any.
	Want string
	// Match is a POSIX extended regular expression that a line must match; empty: any.
	Match string
	// Patience after a change; 0: 5 s. One try may take 5 s.
	Patience time.Duration
}

// InvalidError says what of a State cannot be.
type InvalidError struct{ What, Why string }

// Error names the part and the reason.
func (e *InvalidError) Error() string { return fmt.Sprintf("read state: %s: %s", e.What, e.Why) }

func invalid(why string, format string, values ...any) error {
	return &InvalidError{What: fmt.Sprintf(format, values...), Why: why}
}

var (
	ownerForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,511}$`)
	packageForm = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,127}$`)
	unitForm    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,200}\.(service|socket|timer|mount|automount|path|target|swap)$`)
	userForm    = regexp.MustCompile(`^([a-z_][a-z0-9_-]{0,31}|[0-9]{1,10})$`)
)

// Places that are not for a State: our own, and those where the kernel's files
// are no files.
var reserved = []string{store, "/proc", "/sys", "/dev", "/run/phoenix"}

func (o Owner) validate() error {
	if !ownerForm.MatchString(string(o)) {
		return invalid("want letters, digits and -._/", "owner %.80q", string(o))
	}
	return nil
}

// validate refuses what cannot be carried out exactly as it is written.
func (s *State) validate() error {
	for _, name := range s.Packages {
		if !packageForm.MatchString(name) {
			return invalid("is no name of a package", "package %.80q", name)
		}
	}
	if err := s.validateUsers(); err != nil {
		return err
	}
	taken := map[string]bool{}
	for i := range s.Artifacts {
		if err := s.Artifacts[i].validate(taken); err != nil {
			return err
		}
	}
	if err := s.validateImages(); err != nil {
		return err
	}
	for _, dir := range s.Dirs {
		if err := validatePlace(dir.Path, dir.Owner, dir.Group, dir.Mode, taken); err != nil {
			return err
		}
	}
	for i := range s.Files {
		if err := s.Files[i].validate(taken); err != nil {
			return err
		}
	}
	if err := s.validateUnits(); err != nil {
		return err
	}
	return s.validateChecks()
}

func (f *File) validate(taken map[string]bool) error {
	if err := validatePlace(f.Path, f.Owner, f.Group, f.Mode, taken); err != nil {
		return err
	}
	if f.Early && len(f.Triggers)+len(f.Refresh) > 0 {
		return invalid("an early file has no triggers and no refresh", "path %s", f.Path)
	}
	if len(f.Validate) > 0 {
		if err := validateArgv(f.Validate); err != nil {
			return invalid(err.Error(), "validator of %s", f.Path)
		}
	}
	if len(f.Refresh) > 0 {
		if err := validateArgv(f.Refresh); err != nil {
			return invalid(err.Error(), "refresh of %s", f.Path)
		}
	}
	return validateTriggers(f.Triggers, f.Path)
}

func validateTriggers(triggers []Trigger, of string) error {
	for _, t := range triggers {
		if !unitForm.MatchString(t.Unit) {
			return invalid("is no name of a unit", "trigger %.80q of %s", t.Unit, of)
		}
		if t.Action != Reload && t.Action != Restart {
			return invalid("want Reload or Restart", "action %.80q of %s", string(t.Action), of)
		}
	}
	return nil
}

func validatePlace(p, owner, group string, mode fs.FileMode, taken map[string]bool) error {
	if why := badPath(p); why != "" {
		return invalid(why, "path %.80q", p)
	}
	if taken[p] {
		return invalid("is there twice", "path %s", p)
	}
	taken[p] = true
	for _, name := range []string{owner, group} {
		if name != "" && !userForm.MatchString(name) {
			return invalid("is no name or number of a user or group", "owner %.80q of %s", name, p)
		}
	}
	if mode&^0o7777 != 0 {
		return invalid("want permission bits alone", "mode %#o of %s", uint32(mode), p)
	}
	return nil
}

// badPath says what is wrong with a path. A double quote is refused because
// the record is read by the shell too.
func badPath(p string) string {
	switch {
	case !path.IsAbs(p) || path.Clean(p) != p || p == "/":
		return "want an absolute path without . and .. and doubled or final slashes"
	case len(p) > 1024:
		return "it is longer than 1024 bytes"
	case len(path.Base(p)) > 200: // a staged file's name is longer
		return "its name is longer than 200 bytes"
	case !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsPrint(r) || r == '"' }):
		return "it holds a double quote or a character that does not print"
	}
	for _, place := range reserved {
		if p == place || strings.HasPrefix(p, place+"/") {
			return "it is below " + place
		}
	}
	return ""
}

func (s *State) validateUnits() error {
	seen := map[string]bool{}
	for _, u := range s.Units {
		switch {
		case !unitForm.MatchString(u.Name):
			return invalid("is no name of a unit", "unit %.80q", u.Name)
		case seen[u.Name]:
			return invalid("is there twice", "unit %s", u.Name)
		}
		seen[u.Name] = true
	}
	return nil
}

func (s *State) validateChecks() error {
	for _, c := range s.Verify {
		if err := validateArgv(c.Argv); err != nil {
			return invalid(err.Error(), "check %.80q", c.Name)
		}
	}
	for _, p := range s.Probes {
		if err := validateArgv(p.Argv); err != nil {
			return invalid(err.Error(), "probe %.80q", p.Name)
		}
		if p.Patience < 0 || p.Patience > 10*time.Minute {
			return invalid("want at most ten minutes of patience", "probe %.80q", p.Name)
		}
		if strings.ContainsAny(p.Want+p.Match, "\x00") || strings.Contains(p.Match, "\n") {
			return invalid("what it wants holds a NUL byte or is more than a line to match", "probe %.80q", p.Name)
		}
	}
	for _, glob := range s.Reads {
		if why := badPath(glob); why != "" {
			return invalid(why, "path to read %.80q", glob)
		}
	}
	return nil
}

func validateArgv(argv []string) error {
	_, err := Quote(argv)
	if err == nil && strings.HasPrefix(argv[0], "-") {
		return errors.New("the name of the program begins with a dash")
	}
	return err
}

// sorted returns a list in order and without doubles.
func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
