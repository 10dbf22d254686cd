// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// observePatience bounds an observation, on top of its probes.
	observePatience = time.Minute
	// readLimit bounds a file of State.Reads.
	readLimit = 256 << 10
	// imageTry bounds a question to the Docker engine.
	imageTry = 10 * time.Second
)

// Seen is what an owner sees of a machine.
type Seen struct {
	// OS is the distribution, "debian" or "ubuntu", and System what systemd says
	// of the whole, such as "running" or "degraded".
	OS, System string
	// Paths are those of the State, of the record, and the directories above
	// them. One that is not there is not in it.
	Paths map[string]Path
	// Packages are the versions of those that are installed.
	Packages map[string]string
	// Users are those of State.Users that are there.
	Users map[string]bool
	// Images are the IDs of those of State.Images that are there, by name.
	Images map[string]string
	// NoEngine says why no Docker engine answers, so that nothing is known of
	// images; empty: one does, or State has none.
	NoEngine string
	Units    map[string]UnitStatus
	// Probes are the results, in the order of State.Probes.
	Probes []ProbeResult
	// Contents are the files that State.Reads names.
	Contents map[string][]byte

	unsupported string
	recordBytes []byte
	record      *record
	others      []claims
	jobLogs     map[string]string // of the transient units that failed or run
	needed      []string          // packages that a removal left for others
	made        map[string]string // IDs of images that jobs made, by name
	curl        bool              // the program is there; known with downloads alone
	bare        bool              // the store is there, and nothing is in it
}

// Path is what stands at a path; a symbolic link is not followed.
type Path struct {
	Kind         string // "file", "directory", "link" or "other"
	Mode         string // octal, such as "0644"
	Owner, Group string // names, or numbers that have none
	UID, GID     string
	Hash         string // SHA-256 of a file's content, in hex
	Target       string // of a link
}

// UnitStatus is how systemd has a unit.
type UnitStatus struct {
	Load    string // "loaded", "not-found", "masked" ...
	Active  string // "active", "inactive", "failed", "activating" ...
	Sub     string // such as "running", "exited", "auto-restart"
	Enabled string // "enabled", "disabled", "static" ..., empty for a unit without a file
}

// Runs says whether the unit works or is about to.
func (u UnitStatus) Runs() bool {
	return u.Active == "active" || u.Active == "reloading" || u.Active == "activating" || u.Active == "refreshing"
}

// ProbeResult is what one try of a probe gave.
type ProbeResult struct {
	Name     string
	OK       bool
	ExitCode int
	Output   string
}

// Observe looks at everything that matters to an owner, in one round trip and
// without a change. Its errors are IsAway, *PendingError while a change or a
// transient unit of this owner runs or the machine shuts down, *InvalidError
// for the State, or say what could not be read.
func (m *Machine) Observe(ctx context.Context, owner Owner, want State) (Seen, error) {
	if err := owner.validate(); err != nil {
		return Seen{}, err
	}
	if err := want.validate(); err != nil {
		return Seen{}, err
	}
	patience := observePatience + time.Duration(len(want.Probes))*probeTry + time.Duration(len(want.Images))*imageTry
	result, err := m.carry(ctx, &passenger{script: observeScript(owner, want), patience: patience, reads: true})
	if err != nil {
		return Seen{}, fmt.Errorf("observe: %w", err)
	}
	if result.ExitCode != 0 {
		return Seen{}, fmt.Errorf("observe: exit code %d: %s", result.ExitCode, oneLine(string(result.Stderr)))
	}
	seen, err := parseSeen(owner, want, result.Stdout)
	if err != nil {
		return Seen{}, fmt.Errorf("observe: %w", err)
	}
	return seen, nil
}

// observeFunctions print sections: a line that begins with @, then lines of
// the section, none of which can: they begin with a slash, a digit or a letter,
// or are base64.
const observeFunctions = `
# recorded PREFIX FUNCTION ARGS...: calls the function with what the record lists after the prefix, too
recorded() {
	prefix=$1 next=$2
	shift 2
	if [ -f "$rec" ] && [ ! -L "$rec" ]; then
		while IFS= read -r line; do
			case $line in
			"$prefix"*)
				line=${line#"$prefix"}
				line=${line%%'"'*}
				case $line in
				*'\\'*) line=$(printf '%s\n' "$line" | sed 's/\\\\/\\/g') ;;
				esac
				set -- "$@" "$line"
				;;
			esac
		done <"$rec"
	fi
	"$next" "$@"
}
dirs() { recorded '{"dir":"' look "$@"; }
jobs_too() { recorded '{"job":"' look_units "$@"; }
form='%a|%u|%g|%U|%G|%F|%n' newline='
'
# network_of PATH: sets at to where the network's file system is mounted that PATH is on
network_of() {
	at=
	for on in $networks; do
		case $1/ in
		"$on"/*) at=$on ;;
		esac
	done
	[ -n "$at" ]
}
# look PATH...: whoever looks at a network's file system whose server is away waits until it is back. So a place where
# one is mounted is asked for with patience, and it is a directory if nobody answers; what is below is not looked at then
look() {
	networks=$(sed -n -E 's/^[^ ]+ ([^ ]+) (nfs|nfs4|cifs|smb3|ceph|fuse\.sshfs|fuse\.glusterfs) .*/\1/p' /proc/mounts 2>/dev/null)
	far=
	for p; do
		shift
		if network_of "$p"; then
			case $newline$far in
			*"|$p$newline"*) continue ;; # asked for before
			esac
			answer=$(timeout 2 stat -c "$form" "$at" 2>/dev/null)
			if [ "$at" = "$p" ]; then
				far="$far${answer:-755|0|0|root|root|directory|$p}$newline"
				p=${p%/*}
			elif [ -z "$answer" ]; then
				echo @away
				printf '%s' "$at" | base64
				p=
			fi
		fi
		[ -z "$p" ] || set -- "$@" "$p"
	done
	echo @links
	for p; do
		if [ -L "$p" ]; then
			printf '%s\n' "$p"
			readlink "$p" | base64 | tr -d '\n'
			echo
		fi
	done
	echo @hashes
	hashes "$@"
	echo @paths
	above "$@"
}
hashes() {
	n=$#
	for p; do
		if [ -f "$p" ] && [ ! -L "$p" ]; then set -- "$@" "$p"; fi
	done
	shift "$n"
	[ $# -eq 0 ] || timeout 60 sha256sum "$@"
}
above() {
	for p; do
		d=${p%/*}
		while [ -n "$d" ]; do
			set -- "$@" "$d"
			d=${d%/*}
		done
	done
	printf '%s' "$far"
	[ $# -eq 0 ] || stat -c "$form" "$@" 2>/dev/null
}
look_packages() {
	[ $# -eq 0 ] || dpkg-query -W -f '${db:Status-Abbrev}|${Package}|${Version}\n' "$@" 2>/dev/null
}
look_units() {
	[ $# -gt 0 ] || return 0
	for u; do printf 'unit %s\n' "$u"; done
	echo @show
	systemctl show -p Id,LoadState,ActiveState,SubState,UnitFileState "$@"
}
job_logs() {
	for u; do
		case $(systemctl is-active "$u") in
		failed | active | activating | reloading | deactivating)
			echo @job
			printf '%s\n' "$u"
			journalctl -u "$u" -n 25 -o cat --no-pager | base64
			;;
		esac
	done
}
take() {
	[ -f "$1" ] || return 0
	if [ "$(wc -c <"$1")" -gt "$limit" ]; then
		echo @toolong
		printf '%s' "$1" | base64
	else
		echo @read
		printf '%s' "$1" | base64
		echo @content
		base64 <"$1"
	fi
}
others() {
	for f in "$store"/*.json; do
		if [ -f "$f" ] && [ "$f" != "$rec" ]; then
			echo @other
			grep -E '^("owner":|[{]"(path|dir|package|unit|image)":)' "$f"
		fi
	done
}
`

// sharedFunctions are of observations and changes alike.
const sharedFunctions = `
# usual COMMAND...: what others make is open to others as it would be without us
usual() (
	umask 022
	"$@"
)
# held: whether a change runs, by its lock, the time it may take, and its process where that can be seen
held() {
	[ -d "$lock" ] || return 1
	holder= until=0
	if [ -f "$lock/holder" ]; then read -r holder until <"$lock/holder"; fi
	[ "$until" -gt "$(date +%s)" ] || return 1
	[ ! -d "/proc/$$" ] || [ -d "/proc/$holder" ]
}
# ask WANT MATCH COMMAND...: one try of a probe; sets got and gotcode
ask() {
	want=$1 match=$2
	shift 2
	if [ -z "$want$match" ]; then
		got=$(timeout 5 "$@" 2>&1)
	else
		got=$(timeout 5 "$@" 2>/dev/null)
	fi
	gotcode=$?
	got=${got#"${got%%[![:space:]]*}"}
	got=${got%"${got##*[![:space:]]}"}
	[ "$gotcode" -eq 0 ] || return 1
	if [ -n "$want" ] && [ "$got" != "$want" ]; then return 1; fi
	if [ -n "$match" ]; then printf '%s\n' "$got" | grep -q -E -e "$match" || return 1; fi
}
`

// probeTry bounds one try of a probe, as ask has it.
const probeTry = 5 * time.Second

func (s *script) places(owner Owner) {
	s.line("store=%s rec=%s keep=%s lock=%s", word(store), word(owner.record()), word(owner.keep()), word(owner.lock()))
}

func observeScript(owner Owner, want State) string {
	var s script
	s.WriteString(sharedFunctions)
	s.WriteString(observeFunctions)
	s.places(owner)
	s.line("limit=%d", readLimit)
	s.line("echo @system")
	s.line("systemctl is-system-running 2>/dev/null")
	s.line("echo @os")
	s.line("base64 </etc/os-release 2>/dev/null")
	s.line("if held; then echo @held; fi")
	s.line(`if [ -f "$rec" ] && [ ! -L "$rec" ]; then echo @record; base64 <"$rec"; fi`)
	s.line(`if [ ! -e "$rec" ] && [ -d "$store" ] && [ -z "$(ls -A "$store")" ]; then echo @bare; fi`)
	s.line("others")
	s.line(`recorded '{"path":"' dirs %s`, words(want.paths(owner)))
	packages := want.Packages
	if want.downloads() {
		packages = append(slices.Clone(packages), downloaders...)
		s.line("if command -v curl >/dev/null; then echo @curl; fi")
	}
	if len(want.Users) > 0 {
		s.line("echo @users")
		s.line("getent passwd %s", words(want.userNames()))
	}
	want.lookImages(&s, owner)
	s.line("echo @packages")
	s.line(`recorded '{"package":"' look_packages %s`, words(sorted(packages)))
	s.line("echo @units")
	s.line(`recorded '{"unit":"' jobs_too %s`, words(want.unitNames()))
	s.line(`recorded '{"job":"' job_logs`)
	s.line(`if [ -f "$keep/needed" ]; then echo @needed; cat "$keep/needed"; fi`)
	for _, glob := range want.Reads {
		s.line(`for f in %s; do take "$f"; done`, pattern(glob))
	}
	for i, p := range want.Probes {
		s.line("ask %s %s %s", word(strings.TrimSpace(p.Want)), word(p.Match), words(p.Argv))
		s.line(`printf '@probe %%d %%d %%d\n' %d "$?" "$gotcode"`, i)
		s.line(`printf '%%s' "$got" | tail -c 2000 | base64`)
	}
	s.line("echo @end; exit 0")
	return s.String()
}

// paths are those of all files and directories, and of where artifacts wait.
func (s *State) paths(owner Owner) []string {
	var list []string
	for _, d := range s.Dirs {
		list = append(list, d.Path)
	}
	for _, f := range s.Files {
		list = append(list, f.Path)
	}
	for i := range s.Artifacts {
		list = append(list, s.Artifacts[i].Path, s.Artifacts[i].staged(owner))
	}
	for i := range s.Images {
		if a := s.Images[i].source(); a != nil {
			list = append(list, a.staged(owner))
		}
	}
	return list
}

func (s *State) userNames() []string {
	var list []string
	for _, u := range s.Users {
		list = append(list, u.Name)
	}
	return list
}

// unitNames are the units that are wanted and those that take changes.
func (s *State) unitNames() []string {
	var list []string
	for _, u := range s.Units {
		list = append(list, u.Name)
	}
	var triggers []Trigger
	for _, f := range s.Files {
		triggers = append(triggers, f.Triggers...)
	}
	for _, a := range s.Artifacts {
		triggers = append(triggers, a.Triggers...)
	}
	for _, i := range s.Images {
		triggers = append(triggers, i.Triggers...)
	}
	for _, t := range triggers {
		list = append(list, t.Unit)
	}
	return sorted(list)
}

// section is a part of an observation.
type section struct {
	name   string
	fields []string
	lines  []string
}

func sections(out []byte) []section {
	var list []section
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		if head, ok := strings.CutPrefix(line, "@"); ok {
			fields := strings.Fields(head + " ")
			if len(fields) == 0 {
				fields = []string{""}
			}
			list = append(list, section{name: fields[0], fields: fields[1:]})
			continue
		}
		if len(list) > 0 {
			last := &list[len(list)-1]
			last.lines = append(last.lines, line)
		}
	}
	return list
}

// bytes decodes a section of base64.
func (s section) bytes() []byte { return decode(strings.Join(s.lines, "")) }

// text is the first line, or nothing.
func (s section) text() string {
	if len(s.lines) == 0 {
		return ""
	}
	return s.lines[0]
}

// trimmed is decoded text without the white space around it.
func (s section) trimmed() string { return string(bytes.TrimSpace(s.bytes())) }
