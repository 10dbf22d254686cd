// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// jobFunctions begin the script of a transient unit. It waits for a lock that
// another package manager holds; files of ours at the places of a package's
// own stay, nobody is asked about them, and no service is restarted for its
// libraries' sake. What an end in the middle left is put right by repair.
const jobFunctions = `export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C PATH=` + searchPath + `
get() { apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o APT::Install-Recommends=false "$@"; }
repair() { dpkg --force-confdef --force-confold --configure -a; }
known() { for p; do apt-cache policy "$p" | grep -q 'Candidate: [^(]' || return 1; done; }
there() { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^.i'; }
`

// installJob fails rather than take away a package that conflicts. One source
// that cannot be read, such as that of a subscription which the host has not,
// fails an update, but not what comes from the others.
const installJob = jobFunctions + installFunctions

// freshInstallJob is installJob for a source that is new: what apt knows of the
// packages may be from another.
const freshInstallJob = jobFunctions + `
get update
` + installFunctions

const installFunctions = `
add() { get -o APT::Get::Remove=false install "$@"; }
known "$@" || get update
add "$@" || { repair; get update; add "$@"; } || exit 1
for p; do there "$p" || { echo "$p is not installed after its installation: is it a virtual package?"; exit 1; }; done
`

// removeJob leaves a package alone, and notes it, whose removal would take one
// along that is not ours.
const removeJob = jobFunctions + `
note=$1
shift
for p; do
	going=$(get -s remove "$p") || { repair && going=$(get -s remove "$p"); } || exit 1
	for other in $(printf '%s\n' "$going" | sed -n 's/^Remv \([^ ]*\).*/\1/p'); do
		case " $* " in
		*" $other "*) ;;
		*) echo "$p stays: $other needs it"; mkdir -p "${note%/*}"; echo "$p" >>"$note"; continue 2 ;;
		esac
	done
	get remove "$p" || { repair && get remove "$p"; } || exit 1
done
`

// locked is how apt and dpkg speak of a lock that another holds.
var locked = regexp.MustCompile(`(?i)could not get lock|unable to (?:acquire|lock)|is another process using it|frontend lock`)

// waitsFor finds in apt's words the lock that it waits for, and who holds it.
var waitsFor = regexp.MustCompile(`(?i)lock (/[^ ]*[^ .])\.?(?: It is held by (process [0-9]+(?: \([^)]*\))?))?`)

// waiting says which lock a job waits for, if it was that of which it spoke last.
func waiting(log string) string {
	lines := strings.Split(log, "\n")
	last := lines[len(lines)-1]
	found := waitsFor.FindStringSubmatch(last)
	switch {
	case found == nil || !locked.MatchString(last):
		return ""
	case found[2] == "":
		return ", which waits for the lock " + found[1]
	}
	return ", which waits for the lock " + found[1] + " of " + found[2]
}

// missing are the wanted packages that are not installed.
func (p *planner) missing() []string {
	return slices.DeleteFunc(sorted(p.want.Packages), func(name string) bool {
		_, installed := p.seen.Packages[name]
		return installed
	})
}

// dropped are packages that we installed and nobody wants any more.
func (p *planner) dropped() []string {
	var list []string
	if p.seen.record == nil {
		return nil
	}
	for _, owns := range p.seen.record.Packages {
		_, installed := p.seen.Packages[owns.Name]
		needed := slices.Contains(p.want.Packages, owns.Name) || slices.Contains(p.seen.needed, owns.Name) ||
			p.claimed(func(o claims) map[string]bool { return o.packages }, owns.Name)
		if owns.Installed && installed && !needed {
			list = append(list, owns.Name)
		}
	}
	return sorted(list)
}

// install is the step that installs what is missing.
func (p *planner) install() []Step {
	missing := p.missing()
	if len(missing) == 0 {
		return nil
	}
	j := job{
		p: p, key: "install " + strings.Join(sorted(p.want.Packages), " "), what: "install " + strings.Join(missing, " "),
		text: installJob, args: missing, installs: missing,
	}
	if slices.ContainsFunc(p.want.Files, func(f File) bool { return f.Early }) {
		j.text = freshInstallJob
	}
	step := Step{Reason: ReasonInstall, Message: j.what, Do: j.do}
	for _, name := range missing {
		step.Changes = append(step.Changes, Change{What: "package " + name, To: "installed", Impact: ImpactNone})
	}
	return []Step{step}
}

// uninstall is the step that removes what is not needed.
func (p *planner) uninstall() []Step {
	dropped := p.dropped()
	if len(dropped) == 0 {
		return nil
	}
	j := job{
		p: p, key: "remove", what: "remove " + strings.Join(dropped, " "),
		text: removeJob, args: append([]string{p.owner.needed()}, dropped...),
	}
	step := Step{Reason: ReasonRemove, Message: j.what, Do: j.do}
	for _, name := range dropped {
		step.Changes = append(step.Changes, Change{What: "package " + name, From: p.seen.Packages[name], Impact: ImpactOutage})
	}
	return []Step{step}
}

// needed is the file that lists the packages that removeJob left.
func (o Owner) needed() string { return o.keep() + "/needed" }

// job is a transient unit to be.
type job struct {
	p        *planner
	key      string // the same for every try at the same thing
	what     string
	text     string // of its script
	args     []string
	installs []string
	image    *imageGoal // nil: it makes none
}

// unit names the job by its owner and what it is for, so that the same job is
// never started twice at once, and is recognised when it failed.
func (j job) unit() string {
	return "phoenix-" + shortHash([]byte(string(j.p.owner)+"\x00"+j.key)) + ".service"
}

// do starts the job. One that failed before is told first, and started when
// the step is taken again.
func (j job) do(ctx context.Context, m *Machine) error {
	failed := j.p.seen.Units[j.unit()].Active == "failed"
	log := j.p.seen.jobLogs[j.unit()]
	if failed && (j.image != nil || !locked.MatchString(log)) {
		if err := j.run(ctx, m, j.forget()); err != nil {
			return err
		}
		return j.failure(j.p.jobs()[0].What, log)
	}
	if err := j.run(ctx, m, j.forget()+j.start()); err != nil {
		return err
	}
	if failed {
		return &PendingError{"the lock of the package manager, which another holds"}
	}
	return &PendingError{j.unit() + " (" + j.what + ")"}
}

func (j job) run(ctx context.Context, m *Machine, text string) error {
	result, err := m.carry(ctx, &passenger{script: text, patience: scriptPatience, firm: true})
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", j.what, err)
	case result.ExitCode == exitChanged:
		return &ChangedError{j.p.owner.record()}
	case result.ExitCode != 0:
		return fmt.Errorf("%s: exit code %d: %s", j.what, result.ExitCode, oneLine(string(result.Stderr)))
	}
	return nil
}

// exitChanged is how the script says that the record is not as it was seen.
const exitChanged = 75

// forget takes the failed units of this owner off systemd's list.
func (j job) forget() string {
	var s script
	for _, old := range j.p.jobs() {
		if j.p.seen.Units[old.Unit].Active == "failed" {
			s.line("systemctl reset-failed %s", word(old.Unit))
		}
	}
	s.line(":")
	return s.String()
}

func (p *planner) jobs() []ownedJob {
	if p.seen.record == nil {
		return nil
	}
	return p.seen.record.Jobs
}

// start writes the record and starts the unit, which outlives the connection
// and is there to be looked at when it fails.
func (j job) start() string {
	var s script
	s.WriteString(changeFunctions)
	s.places(j.p.owner)
	state := "none"
	if len(j.p.seen.recordBytes) > 0 {
		state = "file " + fullHash(j.p.seen.recordBytes)
	}
	s.line("umask 077")
	s.line(`[ "$(state "$rec")" = %s ] || exit %d`, word(state), exitChanged)
	s.line(`mkdir -p "$keep" || exit 1`)
	// systemd would put variables of its own into arguments with a dollar sign.
	s.data([]byte(j.text), `put "$keep"/job <<'%s' || exit 1`, endOfData)
	s.data(j.record().render(), `put "$rec" <<'%s' || exit 1`, endOfData)
	s.line(`systemd-run --quiet --unit=%s -p RuntimeMaxSec=3600 sh "$keep"/job %s`, word(j.unit()), words(j.args))
	return s.String()
}

// record is what the record says from now on: packages that we install are
// ours before they are there.
func (j job) record() *record {
	r := newRecord(j.p.owner)
	if had := j.p.seen.record; had != nil {
		*r = *had
		r.Packages = slices.Clone(r.Packages)
	}
	r.Jobs = []ownedJob{{Unit: j.unit(), What: j.what}}
	for _, name := range j.installs {
		if r.pkg(name) == nil { // one that was there before us stays somebody's
			r.Packages = append(r.Packages, ownedPackage{Name: name, Installed: true})
		}
	}
	if j.image != nil {
		r.making(j.p.owns(*j.image))
	}
	return r
}
