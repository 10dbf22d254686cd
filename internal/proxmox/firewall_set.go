// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// maxFirewallName is how long the name of an alias or a set may be.
const maxFirewallName = 64

// FirewallAlias is a name for an address or network of the datacenter or a
// guest. Its name means the same in any case. Proxmox VE keeps 10.0.0.1/32 as
// 10.0.0.1, and fd00::1/128 as fd00::1.
type FirewallAlias struct{ Name, CIDR, Comment string }

// FirewallAliases lists a level's aliases and the digest of the list. Nodes
// have none.
func (c *Client) FirewallAliases(ctx context.Context, l FirewallLevel) ([]FirewallAlias, string, error) {
	path, err := l.path("/aliases")
	if err != nil {
		return nil, "", err
	}
	var rows []struct {
		Name    scalar `json:"name"`
		CIDR    scalar `json:"cidr"`
		Comment scalar `json:"comment"`
		Digest  scalar `json:"digest"`
	}
	if err := c.get(ctx, path, nil, &rows); err != nil {
		return nil, "", err
	}
	digest, aliases := EmptyFirewallDigest, make([]FirewallAlias, 0, len(rows))
	for _, row := range rows {
		digest = string(row.Digest)
		aliases = append(aliases, FirewallAlias{Name: string(row.Name), CIDR: string(row.CIDR), Comment: string(row.Comment)})
	}
	return aliases, digest, nil
}

// CreateFirewallAlias makes an alias; IsFirewallExists when there is one.
func (c *Client) CreateFirewallAlias(ctx context.Context, l FirewallLevel, alias FirewallAlias) error {
	params := map[string]string{"name": alias.Name, "cidr": alias.CIDR}
	addComment(params, alias.Comment)
	return c.writeNamed(ctx, http.MethodPost, l, "/aliases", alias.Name, "", firewallAlias, params)
}

// SetFirewallAlias changes an alias; IsFirewallAbsent when there is none. No
// comment takes the comment away.
func (c *Client) SetFirewallAlias(ctx context.Context, l FirewallLevel, digest string, alias FirewallAlias) error {
	params := map[string]string{"cidr": alias.CIDR}
	addComment(params, alias.Comment)
	return c.writeNamed(ctx, http.MethodPut, l, "/aliases/"+url.PathEscape(alias.Name), alias.Name, digest, firewallAlias, params)
}

// DeleteFirewallAlias deletes an alias; one that is not there is fine. Rules
// that use it stay, with Errors, and are not applied any more.
func (c *Client) DeleteFirewallAlias(ctx context.Context, l FirewallLevel, digest, name string) error {
	return c.writeNamed(ctx, http.MethodDelete, l, "/aliases/"+url.PathEscape(name), name, digest, firewallAlias, nil)
}

// FirewallIPSet is a set of addresses of the datacenter or a guest.
type FirewallIPSet struct{ Name, Comment string }

// FirewallIPSets lists a level's sets and the digest of the list, which is not
// about their entries. Nodes have none.
func (c *Client) FirewallIPSets(ctx context.Context, l FirewallLevel) ([]FirewallIPSet, string, error) {
	path, err := l.path("/ipset")
	if err != nil {
		return nil, "", err
	}
	var rows []struct {
		Name    scalar `json:"name"`
		Comment scalar `json:"comment"`
		Digest  scalar `json:"digest"`
	}
	if err := c.get(ctx, path, nil, &rows); err != nil {
		return nil, "", err
	}
	digest, sets := EmptyFirewallDigest, make([]FirewallIPSet, 0, len(rows))
	for _, row := range rows {
		digest = string(row.Digest)
		sets = append(sets, FirewallIPSet{Name: string(row.Name), Comment: string(row.Comment)})
	}
	return sets, digest, nil
}

// FirewallIPSetEntry is an address, a network, or an alias in a set. Proxmox VE
// keeps a network without its bits of a host and a single address without a
// prefix; it refuses a prefix of 0.
type FirewallIPSetEntry struct {
	CIDR string
	// NoMatch takes the entry out of a larger network of the same set.
	NoMatch bool
	Comment string
	// Errors are what is wrong with the entry, as of a rule. Read only.
	Errors map[string]string
}

// FirewallIPSetEntries lists a set's entries and their digest;
// IsFirewallAbsent when there is no such set.
func (c *Client) FirewallIPSetEntries(ctx context.Context, l FirewallLevel, set string) ([]FirewallIPSetEntry, string, error) {
	path, err := l.path("/ipset/" + url.PathEscape(set))
	if err != nil {
		return nil, "", err
	}
	var rows []struct {
		CIDR    scalar            `json:"cidr"`
		NoMatch truth             `json:"nomatch"`
		Comment scalar            `json:"comment"`
		Errors  map[string]scalar `json:"errors"`
		Digest  scalar            `json:"digest"`
	}
	if err := c.get(ctx, path, nil, &rows); err != nil {
		return nil, "", err
	}
	digest, entries := EmptyFirewallDigest, make([]FirewallIPSetEntry, 0, len(rows))
	for _, row := range rows {
		digest = string(row.Digest)
		entries = append(entries, FirewallIPSetEntry{
			CIDR: string(row.CIDR), NoMatch: bool(row.NoMatch), Comment: string(row.Comment), Errors: complaints(row.Errors),
		})
	}
	return entries, digest, nil
}

// CreateFirewallIPSet makes an empty set; IsFirewallExists when there is one.
// The name has lower case letters, digits, - and _, at most 64.
func (c *Client) CreateFirewallIPSet(ctx context.Context, l FirewallLevel, name, comment string) error {
	params := map[string]string{"name": name}
	addComment(params, comment)
	return c.writeNamed(ctx, http.MethodPost, l, "/ipset", name, "", firewallName, params)
}

// SetFirewallIPSetComment changes a set's comment; the digest is that of the
// list of sets.
func (c *Client) SetFirewallIPSetComment(ctx context.Context, l FirewallLevel, digest, name, comment string) error {
	params := map[string]string{"name": name, "rename": name, "comment": strings.TrimSpace(comment)}
	return c.writeNamed(ctx, http.MethodPost, l, "/ipset", name, digest, firewallName, params)
}

// DeleteFirewallIPSet deletes a set that has no entries (else
// IsFirewallNotEmpty). Rules that use it stay, with Errors, and are not applied
// any more.
func (c *Client) DeleteFirewallIPSet(ctx context.Context, l FirewallLevel, name string) error {
	return c.writeNamed(ctx, http.MethodDelete, l, "/ipset/"+url.PathEscape(name), name, "", firewallAlias, nil)
}

// AddFirewallIPSetEntry adds an entry; IsFirewallExists when the set has its
// address. There is no digest for it.
func (c *Client) AddFirewallIPSetEntry(ctx context.Context, l FirewallLevel, set string, entry FirewallIPSetEntry) error {
	params := entry.params()
	params["cidr"] = entry.CIDR
	return c.writeNamed(ctx, http.MethodPost, l, "/ipset/"+url.PathEscape(set), set, "", firewallAlias, params)
}

// SetFirewallIPSetEntry changes NoMatch and Comment of an entry;
// IsFirewallAbsent when the set does not have its address.
func (c *Client) SetFirewallIPSetEntry(ctx context.Context, l FirewallLevel, set, digest string, entry FirewallIPSetEntry) error {
	return c.writeNamed(ctx, http.MethodPut, l, entryPath(set, entry.CIDR), set, digest, firewallAlias, entry.params())
}

// DeleteFirewallIPSetEntry deletes an entry; an address that the set does not
// have is fine.
func (c *Client) DeleteFirewallIPSetEntry(ctx context.Context, l FirewallLevel, set, digest, cidr string) error {
	return c.writeNamed(ctx, http.MethodDelete, l, entryPath(set, cidr), set, digest, firewallAlias, nil)
}

// entryPath keeps a network's slash out of the path's own.
func entryPath(set, cidr string) string {
	return "/ipset/" + url.PathEscape(set) + "/" + url.PathEscape(cidr)
}

func (e FirewallIPSetEntry) params() map[string]string {
	params := map[string]string{"nomatch": "0"}
	if e.NoMatch {
		params["nomatch"] = "1"
	}
	addComment(params, e.Comment)
	return params
}

func addComment(params map[string]string, comment string) {
	if comment = strings.TrimSpace(comment); comment != "" {
		params["comment"] = comment
	}
}

// writeNamed writes what has a name, if the name can be one.
func (c *Client) writeNamed(
	ctx context.Context, method string, l FirewallLevel, rest, name, digest string, pattern *regexp.Regexp, params map[string]string,
) error {
	if err := checkFirewallName(method, rest, "name", name, maxFirewallName, pattern); err != nil {
		return err
	}
	return c.writeFirewall(ctx, method, l, rest, digest, params)
}
