// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"slices"
	"strings"
)

func listUsers(c *call) (any, error) {
	rows := []map[string]any{}
	for _, id := range sortedNames(c.access.users) {
		if id == c.user.user || c.can("/access/groups", "User.Modify") || c.can("/access/groups", "Sys.Audit") {
			rows = append(rows, userRow(id, c.access.users[id]))
		}
	}
	return rows, nil
}

func userRow(id string, a *account) map[string]any {
	_, realm, _ := strings.Cut(id, "@")
	return map[string]any{"userid": id, "enable": 1, "expire": 0, "realm-type": realm, "comment": a.comment}
}

func createUser(c *call) (any, error) {
	id := c.params["userid"]
	if c.access.users[id] != nil {
		return nil, failf("create user failed: user '%s' already exists", id)
	}
	c.access.users[id] = &account{password: c.params["password"], comment: c.params["comment"], tokens: map[string]*apiToken{}}
	return nil, nil
}

func (c *call) account() (*account, error) {
	a := c.access.users[c.params["userid"]]
	if a == nil {
		return nil, failf("no such user ('%s')", c.params["userid"])
	}
	return a, nil
}

func getUser(c *call) (any, error) {
	a, err := c.account()
	if err != nil {
		return nil, err
	}
	row := userRow(c.params["userid"], a)
	delete(row, "userid")
	delete(row, "realm-type")
	row["groups"] = []string{}
	tokens := map[string]any{}
	for name, t := range a.tokens {
		tokens[name] = t.info()
	}
	row["tokens"] = tokens
	return row, nil
}

func deleteUser(c *call) (any, error) {
	if _, err := c.account(); err != nil {
		return nil, err
	}
	id := c.params["userid"]
	delete(c.access.users, id)
	c.access.acl = slices.DeleteFunc(c.access.acl, func(e aclEntry) bool { return e.who == id || strings.HasPrefix(e.who, id+"!") })
	return nil, nil
}

func (t *apiToken) info() map[string]any {
	out := map[string]any{"privsep": bit(t.privsep), "expire": t.expire}
	if t.comment != "" {
		out["comment"] = t.comment
	}
	return out
}

func listTokens(c *call) (any, error) {
	a, err := c.account()
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	for _, name := range sortedNames(a.tokens) {
		row := a.tokens[name].info()
		row["tokenid"] = name
		rows = append(rows, row)
	}
	return rows, nil
}

func (c *call) token() (*account, *apiToken, error) {
	a, err := c.account()
	if err != nil {
		return nil, nil, err
	}
	t := a.tokens[c.params["tokenid"]]
	if t == nil {
		return nil, nil, failf("no such token '%s' for user '%s'", c.params["tokenid"], c.params["userid"])
	}
	return a, t, nil
}

func getToken(c *call) (any, error) {
	_, t, err := c.token()
	if err != nil {
		return nil, err
	}
	return t.info(), nil
}

func createToken(c *call) (any, error) {
	a, err := c.account()
	if err != nil {
		return nil, err
	}
	name := c.params["tokenid"]
	if a.tokens[name] != nil {
		return nil, paramError("tokenid", "Token already exists.")
	}
	t := &apiToken{secret: randomUUID(), privsep: c.params["privsep"] != "0", comment: c.params["comment"], expire: int64(atoi(c.params["expire"]))}
	a.tokens[name] = t
	info := t.info()
	delete(info, "expire")
	return map[string]any{"value": t.secret, "full-tokenid": c.params["userid"] + "!" + name, "info": info}, nil
}

func deleteToken(c *call) (any, error) {
	a, _, err := c.token()
	if err != nil {
		return nil, err
	}
	delete(a.tokens, c.params["tokenid"])
	return nil, nil
}

func listACL(c *call) (any, error) {
	rows := []map[string]any{}
	for _, e := range c.access.acl {
		if c.can(e.path, "Permissions.Modify") || c.can("/access", "Sys.Audit") {
			rows = append(rows, map[string]any{"path": e.path, "propagate": bit(e.propagate), "ugid": e.who, "type": e.kind, "roleid": e.role})
		}
	}
	return rows, nil
}

func updateACL(c *call) (any, error) {
	for _, role := range splitList(c.params["roles"]) {
		if _, ok := roles[role]; !ok {
			return nil, failf("ACL update failed: role '%s' does not exist", role)
		}
		for kind, param := range map[string]string{"user": "users", "token": "tokens"} {
			for _, who := range splitList(c.params[param]) {
				user, _, _ := strings.Cut(who, "!")
				if c.access.users[user] == nil {
					return nil, failf("ACL update failed: user '%s' does not exist", user)
				}
				c.access.grant(aclEntry{path: c.params["path"], kind: kind, who: who, role: role, propagate: c.params["propagate"] != "0"}, c.params["delete"] == "1")
			}
		}
	}
	return nil, nil
}

// grant sets an entry anew, or takes it away.
func (a *access) grant(e aclEntry, away bool) {
	a.acl = slices.DeleteFunc(a.acl, func(x aclEntry) bool {
		return x.path == e.path && x.who == e.who && x.kind == e.kind && x.role == e.role
	})
	if !away {
		a.acl = append(a.acl, e)
	}
}

func listRoles(*call) (any, error) {
	rows := []map[string]any{}
	for _, name := range sortedNames(roles) {
		rows = append(rows, map[string]any{"roleid": name, "privs": roles[name], "special": 1})
	}
	return rows, nil
}

func listDomains(*call) (any, error) {
	return []map[string]any{
		{"comment": "Linux PAM standard authentication", "realm": "pam", "type": "pam"},
		{"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"},
	}, nil
}

// getPermissions are the effective privileges by path: of a given path, or of
// the top paths and all that the access list names.
func getPermissions(c *call) (any, error) {
	p := &principal{user: c.user.user, token: c.user.token}
	if id := c.params["userid"]; id != "" && id != c.user.id() {
		if err := c.need("/access", "Sys.Audit"); err != nil && !strings.HasPrefix(id, c.user.user+"!") {
			return nil, err
		}
		p.user, p.token, _ = strings.Cut(id, "!")
	}
	paths := []string{"/", "/access", "/nodes", "/pool", "/sdn", "/storage", "/vms"}
	for _, e := range c.access.acl {
		paths = append(paths, e.path)
	}
	if path := c.params["path"]; path != "" {
		paths = []string{path}
	}
	out := map[string]map[string]int{}
	for _, path := range paths {
		have := map[string]int{}
		for privilege := range c.access.privileges(c.Server, p, path) {
			have[privilege] = 1
		}
		if len(have) > 0 || c.params["path"] != "" {
			out[path] = have
		}
	}
	return out, nil
}
