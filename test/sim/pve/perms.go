// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"sort"
	"strings"
)

// roles are the built-in roles and their privileges.
var roles = map[string]string{
	"Administrator": "Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit,Group.Allocate,Mapping.Audit,Mapping.Modify,Mapping.Use,Permissions.Modify,Pool.Allocate,Pool.Audit,Realm.Allocate,Realm.AllocateUser,SDN.Allocate,SDN.Audit,SDN.Use,Sys.AccessNetwork,Sys.Audit,Sys.Console,Sys.Incoming,Sys.Modify,Sys.PowerMgmt,Sys.Syslog,User.Modify," + vmAdmin,
	"NoAccess":      "",
	"PVEAdmin":      "Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit,Group.Allocate,Mapping.Audit,Mapping.Use,Pool.Allocate,Pool.Audit,Realm.AllocateUser,SDN.Allocate,SDN.Audit,SDN.Use,Sys.Audit,Sys.Console,Sys.Syslog,User.Modify," + vmAdmin,
	"PVEAuditor":    "Datastore.Audit,Mapping.Audit,Pool.Audit,SDN.Audit,Sys.Audit,VM.Audit,VM.GuestAgent.Audit",

	"PVEDatastoreAdmin": "Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit",
	"PVEDatastoreUser":  "Datastore.AllocateSpace,Datastore.Audit",
	"PVEMappingAdmin":   "Mapping.Audit,Mapping.Modify,Mapping.Use",
	"PVEMappingUser":    "Mapping.Audit,Mapping.Use",
	"PVEPoolAdmin":      "Pool.Allocate,Pool.Audit",
	"PVEPoolUser":       "Pool.Audit",
	"PVESDNAdmin":       "SDN.Allocate,SDN.Audit,SDN.Use",
	"PVESDNUser":        "SDN.Audit,SDN.Use",
	"PVESysAdmin":       "Sys.Audit,Sys.Console,Sys.Syslog",
	"PVETemplateUser":   "VM.Audit,VM.Clone",
	"PVEUserAdmin":      "Group.Allocate,Realm.AllocateUser,User.Modify",
	"PVEVMAdmin":        vmAdmin,
	"PVEVMUser":         "VM.Audit,VM.Backup,VM.Config.CDROM,VM.Config.Cloudinit,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.PowerMgmt",
}

const vmAdmin = "VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CDROM,VM.Config.CPU,VM.Config.Cloudinit,VM.Config.Disk,VM.Config.HWType,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.GuestAgent.Unrestricted,VM.Migrate,VM.PowerMgmt,VM.Replicate,VM.Snapshot,VM.Snapshot.Rollback"

// aclEntry gives a user or a token a role on a path.
type aclEntry struct {
	path, kind, who, role string
	propagate             bool
}

type privileges map[string]bool

// privileges are what a principal may do on a path. A token without privilege
// separation has its user's; one with has what both have.
func (a *access) privileges(s *Server, p *principal, path string) privileges {
	own := a.lookup(s, p.user, "user", path)
	account := a.users[p.user]
	if p.token == "" || account == nil {
		return own
	}
	if token := account.tokens[p.token]; token != nil && !token.privsep {
		return own
	}
	both := privileges{}
	for privilege := range a.lookup(s, p.id(), "token", path) {
		if own[privilege] {
			both[privilege] = true
		}
	}
	return both
}

func (a *access) lookup(s *Server, who, kind, path string) privileges {
	out := privileges{}
	if who == "root@pam" {
		return out.add("Administrator")
	}
	for _, role := range a.rolesOn(who, kind, path) {
		out.add(role)
	}
	if pool := s.poolOf(path); pool != "" {
		for _, role := range a.rolesOn(who, kind, "/pool/"+pool) {
			out.add(role)
		}
	}
	return out
}

func (p privileges) add(role string) privileges {
	for _, privilege := range strings.Split(roles[role], ",") {
		if privilege != "" {
			p[privilege] = true
		}
	}
	return p
}

// rolesOn walks down the path: a deeper entry replaces what came from above.
func (a *access) rolesOn(who, kind, path string) []string {
	var current []string
	for _, prefix := range pathPrefixes(path) {
		var here []string
		for _, e := range a.acl {
			if e.path == prefix && e.who == who && e.kind == kind && (e.propagate || prefix == path) {
				here = append(here, e.role)
			}
		}
		if len(here) > 0 {
			current = here
		}
	}
	for _, role := range current {
		if role == "NoAccess" {
			return nil
		}
	}
	return current
}

func pathPrefixes(path string) []string {
	out := []string{"/"}
	current := ""
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		if part != "" {
			current += "/" + part
			out = append(out, current)
		}
	}
	return out
}

// poolOf is the pool that a path's guest or storage belongs to, or "".
func (s *Server) poolOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) != 2 {
		return ""
	}
	for _, name := range sortedNames(s.pools) {
		p := s.pools[name]
		if (parts[0] == "vms" && p.guests[atoi(parts[1])]) || (parts[0] == "storage" && p.storages[parts[1]]) {
			return name
		}
	}
	return ""
}

// can tells whether the caller has a privilege on a path.
func (c *call) can(path, privilege string) bool {
	return c.access.privileges(c.Server, c.user, path)[privilege]
}

// need refuses unless the caller has every privilege on a path.
func (c *call) need(path string, wanted ...string) error {
	have := c.access.privileges(c.Server, c.user, path)
	for _, privilege := range wanted {
		if !have[privilege] {
			return permError(path + ", " + privilege)
		}
	}
	return nil
}

// permit evaluates a schema's permission.
func (a *access) permit(s *Server, user *principal, perm map[string]any, params map[string]string) error {
	who, _ := perm["user"].(string)
	if who == "world" {
		return nil
	}
	if user == nil {
		return errNoTicket
	}
	if who == "all" || user.root() {
		return nil
	}
	check, ok := perm["check"].([]any)
	if !ok {
		return permError("user != root@pam")
	}
	return a.evaluate(s, user, check, params)
}

func (a *access) evaluate(s *Server, user *principal, check []any, params map[string]string) error {
	word, _ := check[0].(string)
	switch word {
	case "and":
		for _, part := range check[1:] {
			if err := a.evaluate(s, user, toList(part), params); err != nil {
				return err
			}
		}
		return nil
	case "or":
		for _, part := range check[1:] {
			if a.evaluate(s, user, toList(part), params) == nil {
				return nil
			}
		}
		return permError("")
	case "perm":
		return a.checkPath(s, user, check, params)
	case "perm-modify":
		return a.needAny(s, user, params["path"], []string{"Permissions.Modify"})
	case "userid-param":
		if second, _ := check[1].(string); second == "self" && params["userid"] != user.user {
			return permError("")
		}
		return nil
	case "userid-group":
		return a.needAny(s, user, "/access/groups", toStrings(check[1]))
	}
	return permError(word)
}

// checkPath evaluates ["perm", path, privileges, "any", 1] and its relatives.
func (a *access) checkPath(s *Server, user *principal, check []any, params map[string]string) error {
	path, _ := check[1].(string)
	for name, value := range params {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	wanted := toStrings(check[2])
	for i, option := range check[3:] {
		if option == "require_param" && params[toString(check[3+i+1])] == "" {
			return permError("")
		}
		if option == "any" {
			return a.needAny(s, user, path, wanted)
		}
	}
	for _, privilege := range wanted {
		if err := a.needAny(s, user, path, []string{privilege}); err != nil {
			return err
		}
	}
	return nil
}

func (a *access) needAny(s *Server, user *principal, path string, wanted []string) error {
	have := a.privileges(s, user, path)
	for _, privilege := range wanted {
		if have[privilege] {
			return nil
		}
	}
	return permError(path + ", " + strings.Join(wanted, "|"))
}

func toList(v any) []any {
	l, _ := v.([]any)
	return l
}

func toString(v any) string {
	text, _ := v.(string)
	return text
}

func toStrings(v any) []string {
	var out []string
	for _, item := range toList(v) {
		out = append(out, toString(item))
	}
	return out
}

func sortedNames[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}
