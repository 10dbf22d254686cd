// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// owner is whose a guest is: what its marks are made of.
type owner struct {
	id    string // the Host's ownerID
	guest string // namespace/name of the Guest
}

// tag is the tag by which the guest is found in the list of all guests.
func (o owner) tag() string {
	sum := sha256.Sum256([]byte(o.id + "|Guest|" + o.guest))
	return tagPrefix + hex.EncodeToString(sum[:])[:12]
}

// Tag is the tag that a Guest's guest on a Host bears in Proxmox.
func Tag(h *v1alpha1.Host, g *v1alpha1.Guest) string { return ownerOf(h, g).tag() }

const (
	tagPrefix  = "phoenix-"
	fence      = "<!-- phoenix-hypervisor.io "
	stageClone = "clone"
	mountsNFS  = "nfs"
	trustRoots = "roots"
)

var (
	markTag     = regexp.MustCompile("^" + tagPrefix + "[0-9a-f]{12}$")
	hotplugText = regexp.MustCompile("(?i)unable to hot-?(un)?plug|hotplug problem")
	inUseText   = regexp.MustCompile("(?i)still in use|linked clone")
)

// mark is the fenced line at the end of a guest's notes that says whose it is.
type mark struct {
	owner owner
	vmid  int
	// slots are the devices that the spec declared: they are taken out when the spec drops them.
	slots []string
	// detached are volumes that came out of such slots and still exist, unused.
	detached []string
	// mounts says that the spec declared nfsMounts: there may be some in the VM.
	mounts bool
	// trust says that the spec declared trustAuthorities: the guest may trust roots of ours.
	trust bool
	// stage is stageClone until the first configuration after a clone.
	stage string
}

// line renders the mark.
func (m mark) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%sowner=%s guest=%s vmid=%d", fence, m.owner.id, m.owner.guest, m.vmid)
	for _, part := range []struct{ key, value string }{
		{"slots", strings.Join(m.slots, ",")}, {"detached", strings.Join(m.detached, ",")}, {"stage", m.stage},
		{"mounts", map[bool]string{true: mountsNFS}[m.mounts]}, {"trust", map[bool]string{true: trustRoots}[m.trust]},
	} {
		if part.value != "" {
			fmt.Fprintf(&b, " %s=%s", part.key, part.value)
		}
	}
	return b.String() + " -->"
}

// readMarks takes a guest's notes apart into a person's text and the marks. A line that is fenced but cannot be read is a
// mark of nobody that we know.
func readMarks(description string) (text string, marks []mark) {
	var lines []string
	for line := range strings.SplitSeq(description, "\n") {
		body, fenced := strings.CutPrefix(strings.TrimSpace(line), fence)
		if !fenced {
			lines = append(lines, line)
			continue
		}
		marks = append(marks, readMark(strings.TrimSuffix(body, "-->")))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n"), marks
}

func readMark(body string) mark {
	var m mark
	for part := range strings.FieldsSeq(body) {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "owner":
			m.owner.id = value
		case "guest":
			m.owner.guest = value
		case "vmid":
			m.vmid, _ = strconv.Atoi(value)
		case "slots":
			m.slots = strings.Split(value, ",")
		case "detached":
			m.detached = strings.Split(value, ",")
		case "stage":
			m.stage = value
		case "mounts":
			m.mounts = value == mountsNFS
		case "trust":
			m.trust = value == trustRoots
		}
	}
	return m
}

// writeMark puts the mark below a person's text.
func writeMark(text string, m mark) string {
	if text == "" {
		return m.line()
	}
	return text + "\n\n" + m.line()
}

// claim is what the marks of a guest say of its owner.
type claim int

const (
	unmarked claim = iota // nobody's
	tagged                // bears our tag, but no line: somebody cut the line out
	ours                  // the line names us and this VMID
	copied                // the line names us and another VMID: a clone or a restore made by hand
	foreign               // somebody else's
)

// judge says whose a guest with this VMID, notes and tags is.
func (o owner) judge(vmid int, description string, tags []string) (claim, mark) {
	_, marks := readMarks(description)
	if i := slices.IndexFunc(marks, func(m mark) bool { return m.owner != o }); i >= 0 {
		return foreign, marks[i]
	}
	if i := slices.IndexFunc(marks, func(m mark) bool { return m.vmid == vmid }); i >= 0 {
		return ours, marks[i]
	}
	switch {
	case len(marks) > 0:
		return copied, marks[0]
	case slices.Contains(tags, o.tag()):
		return tagged, mark{owner: o, vmid: vmid}
	}
	if i := slices.IndexFunc(tags, markTag.MatchString); i >= 0 {
		return foreign, mark{owner: owner{id: "tag " + tags[i]}}
	}
	return unmarked, mark{}
}

// String names the owner as a message does.
func (o owner) String() string {
	switch {
	case o.id == "":
		return "somebody whose mark cannot be read"
	case o.guest == "":
		return "the owner with the " + o.id
	}
	return fmt.Sprintf("Guest/%s of owner %s", o.guest, o.id)
}
