// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"regexp"
	"slices"
	"strings"
)

// exactHost goes before every priority that can be declared.
const exactHost = 1_000_000

// group is a rule with its priority.
type group struct {
	hosts    []string
	paths    []Path
	priority int
}

// groups takes a Route apart by priority, the highest first: written hosts before wildcards, longer paths before shorter.
func (r Route) groups() []group {
	var written, wild []string
	for _, host := range r.Hosts {
		if strings.HasPrefix(host, "*.") {
			wild = append(wild, host)
		} else {
			written = append(written, host)
		}
	}
	var groups []group
	for _, class := range []struct {
		hosts []string
		base  int
	}{{written, exactHost}, {wild, 0}} {
		if len(class.hosts) == 0 {
			continue
		}
		byPriority := map[int][]Path{}
		for _, p := range r.Paths {
			at := class.base + r.priorityOf(p)
			byPriority[at] = append(byPriority[at], p)
		}
		if len(r.Paths) == 0 {
			byPriority[class.base+r.priorityOf(Path{Value: "/"})] = nil
		}
		for priority, paths := range byPriority {
			groups = append(groups, group{hosts: class.hosts, paths: paths, priority: priority})
		}
	}
	slices.SortFunc(groups, func(a, b group) int { return b.priority - a.priority })
	return groups
}

func (r Route) priorityOf(p Path) int {
	if r.Priority != 0 {
		return r.Priority
	}
	if p.Type == Exact {
		return 2*len(p.Value) + 1
	}
	return 2 * len(p.Value)
}

// rule is what Traefik compares a request with. Its values hold no backtick, in which they stand.
func (g group) rule() string {
	rule := g.hostRule("Host", "HostRegexp")
	if len(g.paths) == 0 {
		return rule
	}
	var paths []string
	for _, p := range g.paths {
		matcher := "PathPrefix"
		switch p.Type {
		case Exact:
			matcher = "Path"
		case Regex:
			matcher = "PathRegexp"
		}
		paths = append(paths, matcher+"(`"+p.Value+"`)")
	}
	return braced(rule, len(g.hosts)) + " && " + braced(strings.Join(paths, " || "), len(paths))
}

func (g group) sniRule() string { return g.hostRule("HostSNI", "HostSNIRegexp") }

func (g group) hostRule(exact, pattern string) string {
	var hosts []string
	for _, host := range g.hosts {
		if rest, wild := strings.CutPrefix(host, "*"); wild {
			hosts = append(hosts, pattern+"(`^[^.]+"+regexp.QuoteMeta(rest)+"$`)")
		} else {
			hosts = append(hosts, exact+"(`"+host+"`)")
		}
	}
	return strings.Join(hosts, " || ")
}

// braced puts braces around what is more than one.
func braced(rule string, parts int) string {
	if parts == 1 {
		return rule
	}
	return "(" + rule + ")"
}
