// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

// Verb is what a call does.
type Verb string

// The calls, each one request to Proxmox. What is made goes to the top: Proxmox takes no position.
const (
	CreateGroup Verb = "create group"
	DeleteGroup Verb = "delete group" // an empty one
	AddRule     Verb = "add rule"     // at the top
	SetRule     Verb = "set rule"     // all of it
	MoveRule    Verb = "move rule"    // so that it is at To afterwards
	DeleteRule  Verb = "delete rule"
	SetOptions  Verb = "set options"
	CreateAlias Verb = "create alias"
	SetAlias    Verb = "set alias"
	DeleteAlias Verb = "delete alias"
	CreateSet   Verb = "create set"
	CommentSet  Verb = "comment set"
	DeleteSet   Verb = "delete set" // an empty one
	AddEntry    Verb = "add entry"
	SetEntry    Verb = "set entry"
	DeleteEntry Verb = "delete entry"
)

// Call is one request. Rules are a group's when Group is set, else a level's.
type Call struct {
	Verb    Verb
	Level   Level
	Group   string
	Name    string // of the alias or set
	Comment string // of the group, alias or set
	CIDR    string // of the alias
	Entry   Entry
	Pos, To int
	Rule    Rule
	Set     map[string]string
	Delete  []string
}
