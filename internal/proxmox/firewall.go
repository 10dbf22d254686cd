// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// EmptyFirewallDigest is the digest of a level without options, and of a list
// without rules, aliases, groups, sets or entries. Proxmox VE puts a list's
// digest into its rows, so that an empty list shows none.
const EmptyFirewallDigest = "da39a3ee5e6b4b0d3255bfef95601890afd80709"

// FirewallLevel says whose firewall is meant: the datacenter's (zero), a
// node's, a guest's, or a security group's (rules only). At most one member is
// set. Rules of the datacenter are for all nodes and come after the node's own;
// guests do not have them.
type FirewallLevel struct {
	Node  string
	Guest *Ref
	Group string
}

// String names the level: "datacenter", "node pve1", "lxc/101 on pve1",
// "group web".
func (l FirewallLevel) String() string {
	switch {
	case l.Group != "":
		return "group " + l.Group
	case l.Guest != nil:
		return l.Guest.String()
	case l.Node != "":
		return "node " + l.Node
	}
	return "datacenter"
}

// path is the level's path in the API with rest behind it, such as "/options".
func (l FirewallLevel) path(rest string) (string, error) {
	members := 0
	base := "/cluster/firewall"
	if l.Node != "" {
		members, base = members+1, "/nodes/"+url.PathEscape(l.Node)+"/firewall"
	}
	if l.Guest != nil {
		members, base = members+1, l.Guest.path("/firewall")
	}
	if l.Group != "" {
		members++
		var isRules bool
		if rest, isRules = strings.CutPrefix(rest, "/rules"); !isRules {
			return "", fmt.Errorf("address firewall of %s: a group has rules and nothing else", l)
		}
		base += "/groups/" + url.PathEscape(l.Group)
	}
	if members > 1 {
		return "", fmt.Errorf("address firewall of %s: more than one level is named", l)
	}
	return base + rest, nil
}

// The texts that tell refusals of the firewall apart, beside those that they
// share with configurations.
var (
	textFirewallAbsent = regexp.MustCompile(`^no rule at position \d+|^no such security group '|^no such IPSet '|^no such alias$|^no such IP/Network` +
		`|^(?:Security group|IPSet) '[^']*' does not exist`)
	textFirewallExists = regexp.MustCompile(`^(?:Security group|IPSet|alias|address) '[^']*' (?:does )?already exists?`)
	textNotEmpty       = regexp.MustCompile(`^(?:Security group|IPSet) '[^']*' is not empty`)
)

// IsFirewallAbsent says that the rule, group, alias, set or entry that a call
// is about is not there. A rule that refers to an absent one is IsInvalid.
func IsFirewallAbsent(err error) bool { return fits(err, textFirewallAbsent) }

// IsFirewallExists says that a group, alias, set or entry is there already.
func IsFirewallExists(err error) bool { return fits(err, textFirewallExists) }

// IsFirewallNotEmpty says that a group with rules, or a set with entries, was
// to be deleted.
func IsFirewallNotEmpty(err error) bool { return fits(err, textNotEmpty) }

// FirewallOptions reads what is set of a level's options, without defaults,
// and their digest. Booleans are "1" and "0".
func (c *Client) FirewallOptions(ctx context.Context, l FirewallLevel) (map[string]string, string, error) {
	path, err := l.path("/options")
	if err != nil {
		return nil, "", err
	}
	var answer map[string]scalar
	if err := c.get(ctx, path, nil, &answer); err != nil {
		return nil, "", err
	}
	options := make(map[string]string, len(answer))
	for name, value := range answer {
		options[name] = string(value)
	}
	digest := options["digest"]
	delete(options, "digest")
	return options, digest, nil
}

// SetFirewallOptions sets and deletes a level's options, if the digest is
// still that of its options (else IsConflict); an empty digest writes in any
// case. A deleted option has its default again. Deleting an option that is not
// set is fine; one that the level does not have is IsInvalid. With nothing to
// set or delete it makes no call.
func (c *Client) SetFirewallOptions(ctx context.Context, l FirewallLevel, digest string, set map[string]string, del []string) error {
	if len(set) == 0 && len(del) == 0 {
		return nil
	}
	params := maps.Clone(set)
	if params == nil {
		params = map[string]string{}
	}
	if len(del) > 0 {
		params["delete"] = strings.Join(del, ",")
	}
	return c.writeFirewall(ctx, http.MethodPut, l, "/options", digest, params)
}

// writeFirewall makes one call that changes a level, with the digest if there
// is one. What Proxmox VE would write into its file as more than one line is
// not sent.
func (c *Client) writeFirewall(ctx context.Context, method string, l FirewallLevel, rest, digest string, params map[string]string) error {
	path, err := l.path(rest)
	if err != nil {
		return err
	}
	if fields := unfit(params); len(fields) > 0 {
		return &Error{Method: method, Path: path, Code: http.StatusBadRequest, Reason: "not sent", Fields: fields}
	}
	if digest != "" {
		params = maps.Clone(params)
		if params == nil {
			params = map[string]string{}
		}
		params["digest"] = digest
	}
	return c.call(ctx, method, path, params, nil)
}

// unfit says which values cannot stand on a line of a firewall file. Proxmox VE
// writes a comment with a line break as it is, so that a rule could stand
// behind it; a value "-" it takes for "delete".
func unfit(params map[string]string) map[string]string {
	fields := map[string]string{}
	for name, value := range params {
		switch {
		case !utf8.ValidString(value):
			fields[name] = "is not UTF-8"
		case strings.ContainsFunc(value, unicode.IsControl), strings.ContainsAny(value, "\u2028\u2029"):
			fields[name] = "holds a line break or another control character"
		case value == "-":
			fields[name] = `is "-", which Proxmox VE takes for nothing`
		case name != "comment" && strings.ContainsFunc(value, unicode.IsSpace):
			fields[name] = "holds a space"
		}
	}
	return fields
}

// The names that mean the same before and after Proxmox VE has read its file:
// it takes those of groups and sets in lower case.
var (
	firewallName  = regexp.MustCompile(`^[a-z][a-z0-9_-]+$`)
	firewallAlias = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]+$`)
)

func checkFirewallName(method, path, parameter, name string, limit int, pattern *regexp.Regexp) error {
	if pattern.MatchString(name) && len(name) <= limit {
		return nil
	}
	want := fmt.Sprintf("is not of the form %s with at most %d characters", pattern, limit)
	return &Error{Method: method, Path: path, Code: http.StatusBadRequest, Reason: "not sent", Fields: map[string]string{parameter: want}}
}

// FirewallMacros lists the names of the macros, such as "SSH".
func (c *Client) FirewallMacros(ctx context.Context) ([]string, error) {
	var rows []struct {
		Macro scalar `json:"macro"`
	}
	if err := c.get(ctx, "/cluster/firewall/macros", nil, &rows); err != nil {
		return nil, err
	}
	macros := make([]string, 0, len(rows))
	for _, row := range rows {
		macros = append(macros, string(row.Macro))
	}
	return macros, nil
}

// firewallConflict is what Proxmox VE says to a stale digest, for the calls
// whose digest it does not look at.
func firewallConflict(method, path string) error {
	return &Error{
		Method: method, Path: path, Code: http.StatusInternalServerError,
		Reason: "detected modified configuration - file changed by other user? Try again.",
	}
}

var errNoPosition = errors.New("there is no such position")
