// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package firewall compares a declared Proxmox firewall with the observed one and says which calls lead from the one to
// the other, in an order that never leaves a level without its rules or with a part of them. It is pure: it makes no call,
// and knows neither Kubernetes nor the driver.
//
// All rules of an owner stand in security groups that are named by their content and are complete before anything refers
// to them. A level has one reference to its group, so that one call replaces all of its rules at once. (Proxmox takes no
// interface in a group; a level whose rules name interfaces has one reference for each run of rules with the same one.)
package firewall

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Level is a place where rules stand: "datacenter", "node/NAME" or "guest/VMID".
type Level string

// Datacenter is the level of the whole site.
const Datacenter Level = "datacenter"

// Node returns the level of a node.
func Node(name string) Level { return Level("node/" + name) }

// Guest returns the level of a guest.
func Guest(vmid int) Level { return Level("guest/" + strconv.Itoa(vmid)) }

// Node returns the node's name, if the level is one's.
func (l Level) Node() (string, bool) { return strings.CutPrefix(string(l), "node/") }

// VMID returns the guest's number, if the level is one's.
func (l Level) VMID() (int, bool) {
	text, ok := strings.CutPrefix(string(l), "guest/")
	if !ok {
		return 0, false
	}
	vmid, err := strconv.Atoi(text)
	return vmid, err == nil
}

// File is where Proxmox keeps the level, below /etc/pve.
func (l Level) File() string {
	if node, ok := l.Node(); ok {
		return "nodes/" + node + "/host.fw"
	}
	if vmid, ok := l.VMID(); ok {
		return "firewall/" + strconv.Itoa(vmid) + ".fw"
	}
	return "firewall/cluster.fw"
}

// LevelOf is the level that a file below /etc/pve keeps.
func LevelOf(file string) (Level, bool) {
	if file == Datacenter.File() {
		return Datacenter, true
	}
	if rest, ok := strings.CutPrefix(file, "nodes/"); ok {
		node, ok := strings.CutSuffix(rest, "/host.fw")
		return Node(node), ok && !strings.Contains(node, "/")
	}
	rest, ok := strings.CutPrefix(file, "firewall/")
	text, isFile := strings.CutSuffix(rest, ".fw")
	vmid, err := strconv.Atoi(text)
	return Guest(vmid), ok && isFile && err == nil
}

// GroupType is the Type of a rule that refers to the group in its Action.
const GroupType = "group"

// Rule is a rule by Proxmox's names and values. What it does not restrict is "".
type Rule struct {
	Type, Action, Macro, Proto, Source, Dest, SPort, DPort, Iface, ICMPType, Log, Comment string
	Enable                                                                                bool
}

// Entry is an address or network of a set; NoMatch takes it out of a larger one.
type Entry struct {
	CIDR    string
	NoMatch bool
}

// Alias is a name for an address. The comment of ours ends in the mark.
type Alias struct{ CIDR, Comment string }

// Set is a named set of addresses.
type Set struct {
	Comment string
	Entries []Entry
}

// Group is a security group. Only those of the owner have their rules read.
type Group struct {
	Comment string
	Rules   []Rule
}

// LevelState is what stands on one level.
type LevelState struct {
	Options map[string]string // as set, without defaults
	Rules   []Rule
}

// State is what was observed. Levels has those of the Want, and all others on which something of the owner stands.
type State struct {
	Levels  map[Level]LevelState
	Groups  map[string]Group
	Aliases map[string]Alias
	Sets    map[string]Set
}

// LevelWant is what is declared for one level. Options that are not named are not touched.
type LevelWant struct {
	Options map[string]string
	Rules   []Rule
}

// Want is what is declared. The empty one, with an Owner, takes everything of the owner away.
type Want struct {
	// Owner is the text that tells the owner's things from others'.
	Owner string
	// Exclusive keeps our references above all other rules.
	Exclusive bool
	// Adopt takes over aliases and sets of the same name that nobody owns.
	Adopt   bool
	Levels  map[Level]LevelWant
	Aliases map[string]Alias
	Sets    map[string]Set
	// Lifeline are guest levels that can cut the owner off, as those of the datacenter and of nodes can.
	Lifeline []Level
}

// Guarded says whether a change of the level can cut the owner off.
func (w Want) Guarded(l Level) bool {
	_, guest := l.VMID()
	return !guest || slices.Contains(w.Lifeline, l)
}

// sorted returns the keys of a map in order.
func sorted[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
