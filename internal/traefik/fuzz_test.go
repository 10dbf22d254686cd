// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"fmt"
	"testing"
	"time"
)

// FuzzRoute has every text of a Route be anything: it is refused, or stands in the file as it is and nowhere else.
func FuzzRoute(f *testing.F) {
	f.Add("a.lan", "/x", "http://10.0.0.1:80", "X-A", `{{ env "A" }}`, "^/a", "/b", "ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", 3)
	f.Add("a.lan`) || Host(`b.lan", "/`", "https://[::1]", "X\n", "a\r\nb", "(", "{{{{", "a\nb:c", -1)
	f.Add("*.a.lan", "/{{}}", "h2c://a.lan", "A", "\u2028\x7f", "^https://{{{", "${1}{{{", "é:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", 0)
	f.Fuzz(func(t *testing.T, host, path, url, header, value, regex, replacement, user string, number int) {
		r := Route{
			Name: "0123456789ab-a", About: header, Hosts: []string{host, "b.lan"},
			Paths:   []Path{{Prefix, path}, {Exact, path}, {Regex, regex}},
			Servers: []Server{{url, number}, {"http://10.0.0.2", 1}}, Priority: number,
			HealthCheck: &HealthCheck{Path: path, Interval: time.Duration(number), Status: number},
			Middlewares: []Middleware{
				{Redirect: &Redirect{Regex: regex, Replacement: replacement}},
				{Headers: &Headers{Request: []Header{{header, value}}}},
				{BasicAuth: &BasicAuth{Users: []string{user}, Realm: value}},
				{StripPrefix: &StripPrefix{Prefixes: []string{path}}},
			},
		}
		render(t, r)
		// Each alone, as one that is refused would hide the others.
		render(t, Route{Name: "a", Hosts: []string{host}, Servers: r.Servers[:1]})
		for i := range r.Paths {
			render(t, Route{Name: "a", Hosts: []string{"a.lan"}, Paths: r.Paths[i : i+1], Servers: r.Servers[1:]})
		}
		for i := range r.Middlewares {
			render(t, Route{Name: "a", About: value, Hosts: []string{"a.lan"}, Middlewares: r.Middlewares[i : i+1]})
		}
		render(t, Route{Name: "a", Hosts: []string{host}, Servers: []Server{{url, 1}, {"10.0.0.1:" + value, 2}}, TCP: &TCP{ProxyProtocol: number}})
	})
}

// render fails when a Route that is taken says something else when it is read, or has more rules than it has groups.
func render(t *testing.T, r Route) {
	t.Helper()
	content, version, err := r.Render()
	if err != nil {
		if len(refusals(err)) == 0 {
			t.Fatalf("refused without a field: %v", err)
		}
		return
	}
	comesBack(t, r, content, version)
	for _, g := range r.groups() {
		if got, want := backticks(g.rule()), 2*(len(g.hosts)+len(g.paths)); got != want {
			t.Fatalf("%d backticks in %s, want %d", got, fmt.Sprintf("%q", g.rule()), want)
		}
	}
}

func backticks(rule string) int {
	n := 0
	for i := range len(rule) {
		if rule[i] == '`' {
			n++
		}
	}
	return n
}
