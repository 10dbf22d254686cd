// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"cmp"
	"context"
	"net/url"
	"regexp"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// leadsOn says whether neither what a Route sends on nor those whom it asks lead back to it. Its error is an outcome.
func (k *Kind) leadsOn(ctx context.Context, r *v1alpha1.Route, from *reader, seen *Seen) error {
	around, err := k.around(ctx, r, from, func(name string) []string { return k.lookup(ctx, seen.router, name, seen.now) })
	if err != nil {
		return err
	}
	if err := around.check(seen.to.targets); err != nil {
		return err
	}
	return around.checkAsked()
}

// around is what is needed to tell where a Route leads.
func (k *Kind) around(ctx context.Context, r *v1alpha1.Route, from *reader, lookup func(name string) []string) (circle, error) {
	doors, err := k.doors(ctx, r, from)
	return circle{
		route: r, doors: doors, lookup: lookup,
		named: func(name string) (*v1alpha1.Route, error) { return k.routeOf(ctx, r, name) },
		serves: func(of *v1alpha1.Route, name, path string) (*v1alpha1.Route, error) {
			return k.serves(ctx, of, name, path)
		},
		onward: func(d door, names []string) ([]onward, error) { return k.beyond(ctx, r, d, names, from) },
	}, err
}

// checkAsked says which forwardAuth leads back, so that a request asks itself whether it may pass. To ask a server behind the
// same gateway is fine, as long as that lets the question pass without asking in a circle. Its error is an outcome.
func (c circle) checkAsked() error {
	for _, text := range authURLsOf(c.route) {
		found, err := urlTargets(text)
		if err != nil {
			return err
		}
		for _, d := range c.doors {
			if t := found[0]; c.leads(d) && d.takes(t, parsed([]string{t.host})) {
				return loop("forwardAuth %s leads back to %s", text, d.name)
			}
		}
	}
	return c.asks(c.route, map[string]bool{c.route.Name: true})
}

// asks follows whom a Route asks. asked are those that were followed; true: it is not done with yet.
func (c circle) asks(r *v1alpha1.Route, asked map[string]bool) error {
	for _, text := range authURLsOf(r) {
		u, err := url.Parse(text)
		found, wrong := urlTargets(text)
		if err != nil || wrong != nil || !c.listens(found[0].port) {
			continue
		}
		next, err := c.serves(r, found[0].host, cmp.Or(u.Path, "/"))
		if err != nil {
			return err
		}
		if next == nil {
			continue
		}
		switch open, known := asked[next.Name]; {
		case open:
			return loop("forwardAuth %s leads back to Route/%s, which asks it", text, next.Name)
		case known:
			continue
		}
		asked[next.Name] = true
		if err := c.asks(next, asked); err != nil {
			return err
		}
		asked[next.Name] = false
	}
	return nil
}

// serves finds the Route that answers for a name and a path on the gateway or the router of r, itself included, as the router
// decides it; nil: none does.
func (k *Kind) serves(ctx context.Context, r *v1alpha1.Route, name, path string) (*v1alpha1.Route, error) {
	for _, host := range []string{name, wildcardOf(name)} { // a written host goes first
		found, err := k.routesWith(ctx, r.Namespace, ByHost, host)
		if err != nil {
			return nil, err
		}
		var best *v1alpha1.Route
		highest := 0
		for i := range found {
			o := &found[i]
			if rank := rankOf(o, path); rank > highest && (o.Name == r.Name || claims(o) && meet(r, o)) {
				best, highest = o, rank
			}
		}
		if best != nil {
			return best, nil
		}
	}
	return nil, nil
}

// rankOf is how early the router looks at a Route for a path, among those of one host; 0: it does not fit.
func rankOf(r *v1alpha1.Route, path string) int {
	if r.Spec.TCP != nil {
		return 0
	}
	highest := 0
	for _, p := range pathsOf(r) {
		if p.fits(path) {
			highest = max(highest, p.rank())
		}
	}
	return highest
}

// fits says whether a path is for another one.
func (p place) fits(path string) bool {
	switch p.kind {
	case v1alpha1.PathExact:
		return path == p.value
	case v1alpha1.PathRegex:
		form, err := regexp.Compile(p.value)
		return err == nil && form.MatchString(path)
	}
	return strings.HasPrefix(path, p.value)
}

// rank is how early the router looks at a path among those of one host.
func (p place) rank() int {
	switch {
	case p.priority != 0:
		return int(p.priority)
	case p.kind == v1alpha1.PathExact:
		return 2*len(p.value) + 1
	}
	return 2 * len(p.value)
}
