// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// GuardSeconds is how long a change may go unconfirmed before the node takes it back.
	GuardSeconds = 120
	// MaxAttempts is how often a change may be taken back before it counts as refused, although nobody was there to judge it.
	MaxAttempts = 3
)

// Look is what one node says of the firewall's files and of the owner's guard.
type Look struct {
	// Digests are those of all firewall files, by their path below /etc/pve.
	Digests map[string]string
	// Ours are the files in which a group of the owner is named.
	Ours map[string]bool
	// Record is the owner's record on this node; empty: it has none.
	Record []byte
	Guard  Guard
}

// Guard is the state of the timer on one node.
type Guard struct {
	// Armed says that a copy of the files waits to be put back.
	Armed bool
	// Begun says that a file is not as the copy has it.
	Begun bool
	// Ticking says that the timer that puts it back runs. A node that was restarted has lost it.
	Ticking bool
	// Running says that the copy is being put back right now.
	Running bool
	// Change is what the copy guards.
	Change Change
	// Pending says that the node has not put its files in force yet, or does not say so.
	Pending bool
	// Halted says that the node's daemon does not run, and puts nothing in force.
	Halted bool
	// Back is what was taken back last; without a token: nothing.
	Back Change
	// Judged says that who armed Back tried to get in, and did not succeed.
	Judged bool
}

// Change is a change that a node is to take back, or took back.
type Change struct {
	// Token stands for what was declared, Session for the process that armed the change. Neither has a blank.
	Token, Session string
	// Attempt counts from 1 how often the change was armed and then taken back.
	Attempt int
	// Text says in words what it is.
	Text string
}

// line is a change as a node keeps it. What it holds needs no quotes within a shell's single ones.
func (c Change) line(judged bool) string {
	verdict := "open"
	if judged {
		verdict = "judged"
	}
	return fmt.Sprintf("%s %s %d %s %s", c.Token, c.Session, c.Attempt, verdict, base64.StdEncoding.EncodeToString([]byte(c.Text)))
}

// parseChange reads a line. One that somebody spoilt stands for no change that is known.
func parseChange(line string) (c Change, judged bool) {
	words := strings.SplitN(line, " ", 5)
	if len(words) < 4 {
		return Change{Token: words[0]}, false
	}
	attempt, err := strconv.Atoi(words[2])
	if err != nil {
		return Change{Token: words[0]}, false
	}
	c = Change{Token: words[0], Session: words[1], Attempt: attempt}
	if text, err := base64.StdEncoding.DecodeString(words[len(words)-1]); err == nil && len(words) == 5 {
		c.Text = string(text)
	}
	return c, words[3] == "judged"
}

// Stopped says that a copy waits, and nothing will put it back: the node was restarted, or the arming was cut short.
func (g Guard) Stopped() bool { return g.Armed && !g.Ticking && !g.Running }

// Refused says whether the change of that token was taken back for good: with it Phoenix does not get in, or it was taken
// back again and again.
func (g Guard) Refused(token string) bool {
	return g.Back.Token == token && (g.Judged || g.Back.Attempt >= MaxAttempts)
}

// Paths of one owner on a node.
type paths struct{ unit, copies, marker, record, boot, wants string }

func pathsOf(owner string) paths {
	id := ID(owner)
	return paths{
		unit: "phoenix-firewall-" + id, copies: "/var/lib/phoenix/firewall-" + id + ".armed",
		boot:   "/etc/systemd/system/phoenix-firewall-" + id + ".service",
		wants:  "/etc/systemd/system/multi-user.target.wants/phoenix-firewall-" + id + ".service",
		marker: "/var/lib/phoenix/firewall-" + id + ".rolledback", record: "/var/lib/phoenix/firewall-" + id + ".json",
	}
}

// RolledBackFile is where a node keeps what it took back.
func RolledBackFile(owner string) string { return pathsOf(owner).marker }

// fill puts an owner's paths into a script. What goes into a script is hexadecimal, base64 or a path that was checked.
func (p paths) fill(script string) string {
	return strings.NewReplacer("@UNIT@", p.unit, "@BOOT@", p.boot, "@WANTS@", p.wants, "@COPIES@", p.copies, "@MARKER@", p.marker, "@RECORD@", p.record, "@SECONDS@", fmt.Sprint(GuardSeconds)).Replace(script)
}

const lookScript = `export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /etc/pve && [ -d nodes ] || exit 3
for f in firewall/*.fw nodes/*/host.fw; do
  [ -f "$f" ] || continue
  sha1sum "$f"
  if grep -q -s -F @PREFIX@ "$f"; then echo "ours $f"; fi
done
if [ -d @COPIES@ ]; then
  echo "armed $(cat @COPIES@/content)"
  if [ -n "$(sh @COPIES@/restore look)" ]; then echo "begun"; fi
  unit=$(cat @COPIES@/unit 2>/dev/null || echo @UNIT@-none)
  echo "timer $(systemctl is-active "$unit.timer")"
  echo "service $(systemctl is-active "$unit.service")"
  echo "status $(pve-firewall status 2>/dev/null | grep -F Status:)"
fi
if [ -f @MARKER@ ]; then echo "rolledback $(cat @MARKER@)"; fi
if [ -f @RECORD@ ]; then echo "record $(base64 -w 0 < @RECORD@)"; fi
echo end
`

// LookScript reads everything that a node knows, in one go.
func LookScript(owner string) string {
	return pathsOf(owner).fill(strings.ReplaceAll(lookScript, "@PREFIX@", Prefix(owner)))
}

// ParseLook reads the output of LookScript.
func ParseLook(text string) (Look, error) {
	l := Look{Digests: map[string]string{}, Ours: map[string]bool{}}
	ended := false
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		ended = word == "end"
		if err := l.take(word, rest); err != nil {
			return Look{}, err
		}
	}
	if !ended {
		return Look{}, errors.New("read the firewall's files: the output was cut off")
	}
	return l, nil
}

func (l *Look) take(word, rest string) error {
	var err error
	switch word {
	case "ours":
		l.Ours[rest] = true
	case "armed":
		l.Guard.Armed = true
		l.Guard.Change, _ = parseChange(rest)
	case "begun":
		l.Guard.Begun = true
	case "timer":
		l.Guard.Ticking = rest == "active"
	case "service":
		l.Guard.Running = rest == "active" || rest == "activating"
	case "status":
		l.Guard.Halted = strings.HasPrefix(rest, "Status:") && strings.Contains(rest, "/stopped")
		l.Guard.Pending = l.Guard.Halted || !strings.HasPrefix(rest, "Status:") || strings.Contains(rest, "pending changes")
	case "rolledback":
		l.Guard.Back, l.Guard.Judged = parseChange(rest)
	case "record":
		l.Record, err = base64.StdEncoding.DecodeString(rest)
	case "end":
	default:
		l.Digests[rest] = word
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", word, err)
	}
	return nil
}

// The copies are made first and moved into place as a whole; then the timer is started. What puts them back runs again
// until it succeeds: without a quorum /etc/pve takes no writes, and while Proxmox's file system is not there it is an empty
// folder. It says nothing when nothing was changed. Only the timer that was started last may put anything back.
const armScript = `set -eu
trap '' HUP PIPE
umask 077
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /var/lib/phoenix
[ ! -d @COPIES@ ] || exit 5
rm -rf @COPIES@.new
mkdir @COPIES@.new
cd /etc/pve
[ -d nodes ] || exit 3
n=0
for f in @FILES@; do
  if [ -f "$f" ]; then cat "$f" > @COPIES@.new/$n; fi
  n=$((n+1))
done
echo '@CONTENT@' > @COPIES@.new/content
cat > @COPIES@.new/restore <<'END_OF_RESTORE'
set -u
trap '' HUP PIPE
umask 077
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /etc/pve && [ -d nodes ] || exit 1
[ "$1" = look ] || [ "$1" = "$(cat @COPIES@/unit)" ] || exit 0
put() {
  { cat "$1" > "$2.tmp.$$" && mv "$2.tmp.$$" "$2"; } 2>/dev/null || cat "$1" > "$2"
}
n=0
changed=0
for f in @FILES@; do
  copy=@COPIES@/$n
  n=$((n+1))
  if [ ! -f "$copy" ]; then
    if [ -f "$f" ]; then
      changed=1
      [ "$1" = look ] || rm -f "$f" || exit 1
    fi
  elif ! cmp -s "$copy" "$f"; then
    changed=1
    [ "$1" = look ] || put "$copy" "$f" || exit 1
  fi
done
if [ "$1" = look ]; then
  if [ "$changed" = 1 ]; then echo begun; fi
  exit 0
fi
if [ "$changed" = 1 ]; then cat @COPIES@/content > @MARKER@.new && mv @MARKER@.new @MARKER@ || exit 1; fi
rm -f @BOOT@ @WANTS@
rm -rf @COPIES@
END_OF_RESTORE
cat > @COPIES@.new/again <<'END_OF_AGAIN'
set -eu
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
@START@END_OF_AGAIN
@KEEP@sync
mv @COPIES@.new @COPIES@
rm -f @MARKER@
`

// startTimer: the unit has another name each time, as systemd may still know the one that was stopped. What it runs stands
// in a file, and no argument has a dollar sign: systemd would take it for a variable.
const startTimer = `unit=@UNIT@-$(date +%s)-$$
echo "$unit" > @COPIES@/unit
systemd-run --quiet --collect --unit="$unit" --on-active=@SECONDS@ --timer-property=AccuracySec=1s -p Restart=on-failure -p RestartSec=10 /bin/sh @COPIES@/restore "$unit"
`

// keepUnit starts the timer again when the node starts: who is locked out may well pull the plug. On a site of several nodes
// the others' timers do, and a node that was off for days must not put back what has long been confirmed.
const keepUnit = `umask 022
cat > @BOOT@ <<'END_OF_UNIT'
[Unit]
Description=Go on waiting for Phoenix to confirm the rules of the firewall
ConditionPathExists=@COPIES@/again
[Service]
Type=oneshot
ExecStart=/bin/sh @COPIES@/again
[Install]
WantedBy=multi-user.target
END_OF_UNIT
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -sf @BOOT@ @WANTS@
umask 077
`

// ArmScript copies the files, which are paths below /etc/pve, and starts the timer that puts them back. What was taken back
// before is forgotten: the change's attempt goes on counting. Alone says that no other node puts the files back. It exits with
// 5 when a copy waits already.
func ArmScript(owner string, c Change, files []string, alone bool) string {
	keep := ""
	if alone {
		keep = keepUnit
	}
	script := strings.NewReplacer("@START@", startTimer, "@KEEP@", keep, "@FILES@", strings.Join(files, " "), "@CONTENT@", c.line(false)).Replace(armScript)
	return pathsOf(owner).fill(script + startTimer)
}

const rearmScript = `set -eu
umask 077
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ -d @COPIES@ ] || exit 0
read -r token session rest < @COPIES@/content
echo "$token @SESSION@ $rest" > @COPIES@/content.new
mv @COPIES@/content.new @COPIES@/content
`

// RearmScript starts the timer again over copies that wait, in the name of another session.
func RearmScript(owner, session string) string {
	return pathsOf(owner).fill(strings.ReplaceAll(rearmScript, "@SESSION@", session) + startTimer)
}

const judgeScript = `set -eu
umask 077
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ "$(cat @MARKER@ 2>/dev/null)" = '@FROM@' ] || exit 0
echo '@TO@' > @MARKER@.new
sync
mv @MARKER@.new @MARKER@
`

// JudgeScript notes that with a change that was taken back Phoenix did not get in. It does nothing when the node does not
// speak of that change any more.
func JudgeScript(owner string, c Change) string {
	script := strings.NewReplacer("@FROM@", c.line(false), "@TO@", c.line(true)).Replace(judgeScript)
	return pathsOf(owner).fill(script)
}

const confirmScript = `set -eu
trap '' HUP PIPE
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ -d @COPIES@ ] || exit 4
unit=$(cat @COPIES@/unit 2>/dev/null || echo @UNIT@-none)
systemctl stop "$unit.timer" 2>/dev/null || :
if [ "$(systemctl is-active "$unit.timer")" = active ]; then exit 1; fi
case "$(systemctl is-active "$unit.service")" in active|activating) exit 4;; esac
[ ! -f @MARKER@ ] || exit 4
rm -f @BOOT@ @WANTS@
rm -rf @COPIES@
`

// ConfirmScript stops the timer and takes the copies away. It exits with 4 when the change was taken back meanwhile.
func ConfirmScript(owner string) string { return pathsOf(owner).fill(confirmScript) }

const recordScript = `set -eu
umask 077
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /var/lib/phoenix
base64 -d > @RECORD@.new <<'END_OF_RECORD'
@TEXT@
END_OF_RECORD
sync
mv @RECORD@.new @RECORD@
`

// tidy takes away the folder that all owners share with the last of them.
const tidy = "rmdir /var/lib/phoenix 2>/dev/null || :\n"

// RecordScript keeps a record on a node; an empty one is taken away.
func RecordScript(r Record) string {
	p := pathsOf(r.Owner)
	if r.Empty() {
		return p.fill("rm -f @RECORD@ @RECORD@.new\n" + tidy)
	}
	return p.fill(strings.ReplaceAll(recordScript, "@TEXT@", base64.StdEncoding.EncodeToString(r.Text())))
}

// ForgetScript takes away what a node says of the last change that it took back.
func ForgetScript(owner string) string {
	return pathsOf(owner).fill("rm -f @MARKER@ @MARKER@.new\n" + tidy)
}
