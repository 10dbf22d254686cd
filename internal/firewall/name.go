// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	ownerDigits   = 6
	contentDigits = 8
	// maxSalt bounds how many groups of one content may stand spoilt at the same time.
	maxSalt = 8
	// marker begins every mark.
	marker = "phoenix "
)

// Mark is the comment that tells what is the owner's.
func Mark(owner string) string { return marker + owner }

// MarkedComment is a comment with a text of its own beside the mark.
func MarkedComment(text, owner string) string {
	if text = strings.TrimSpace(text); text == "" {
		return Mark(owner)
	}
	return text + " (" + Mark(owner) + ")"
}

// Marked says whether a comment bears the owner's mark.
func Marked(comment, owner string) bool {
	return comment == Mark(owner) || strings.HasSuffix(comment, " ("+Mark(owner)+")")
}

// MarkIn returns the owner that a comment names, whoever it is.
func MarkIn(comment string) (owner string, ok bool) {
	if owner, ok = strings.CutPrefix(comment, marker); ok {
		return owner, true
	}
	at := strings.LastIndex(comment, " ("+marker)
	if at < 0 || !strings.HasSuffix(comment, ")") {
		return "", false
	}
	return strings.TrimSuffix(comment[at+len(" ("+marker):], ")"), true
}

// Prefix is what the names of all groups of an owner begin with.
func Prefix(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return "px" + hex.EncodeToString(sum[:])[:ownerDigits]
}

// ID is the short name of an owner, for files and units.
func ID(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return hex.EncodeToString(sum[:])[:12]
}

// GroupName is the name of the group with these rules: at most 18 characters, as Proxmox takes. The salt is above 0 when
// a group of that name was spoilt by somebody while it is in use.
func GroupName(owner string, rules []Rule, salt int) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%d\n", owner, salt)
	for _, r := range rules {
		fmt.Fprintf(h, "%q\n", []string{
			r.Type, r.Action, r.Macro, r.Proto, r.Source, r.Dest, r.SPort, r.DPort, r.ICMPType, r.Log, r.Comment, fmt.Sprint(r.Enable),
		})
	}
	return Prefix(owner) + hex.EncodeToString(h.Sum(nil))[:contentDigits]
}

// run is a run of rules with the same interface.
type run struct {
	iface string
	rules []Rule // without the interface
}

// runsOf splits rules where the interface changes.
func runsOf(rules []Rule) []run {
	var runs []run
	for _, r := range rules {
		iface := r.Iface
		r.Iface, r.Comment = "", strings.TrimSpace(r.Comment)
		if len(runs) == 0 || runs[len(runs)-1].iface != iface {
			runs = append(runs, run{iface: iface})
		}
		last := &runs[len(runs)-1]
		last.rules = append(last.rules, r)
	}
	return runs
}
