// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRules(t *testing.T) {
	for _, tc := range []struct {
		reason, rule string
		yes, no      []string
	}{
		{"a host, in any case, with a port or a dot", "Host(`A.lan`)", []string{"http://a.lan/", "http://A.LAN:80/x", "http://a.lan./"}, []string{"http://b.lan/", "http://x.a.lan/"}},
		{"one label by an expression", "HostRegexp(`^[^.]+\\.apps\\.lan$`)", []string{"http://x.apps.lan/"}, []string{"http://apps.lan/", "http://y.x.apps.lan/"}},
		{"a prefix is one of letters", "Host(`a`) && PathPrefix(`/api`)", []string{"http://a/api", "http://a/api/x", "http://a/apiary"}, []string{"http://a/", "http://b/api"}},
		{"a path", "Path(`/x`)", []string{"http://a/x", "http://a/x?y=z"}, []string{"http://a/x/", "http://a/"}},
		{"a path by an expression", "PathRegexp(`^/v[0-9]+/`)", []string{"http://a/v1/x", "http://a/v23/"}, []string{"http://a/v/"}},
		{"and goes before or", "Host(`a`) || Host(`b`) && Path(`/x`)", []string{"http://a/", "http://b/x"}, []string{"http://b/"}},
		{"brackets", "(Host(`a`) || Host(`b`)) && Path(`/x`)", []string{"http://a/x", "http://b/x"}, []string{"http://a/", "http://b/"}},
		{"not", "Host(`a`) && !PathPrefix(`/x`)", []string{"http://a/"}, []string{"http://a/x"}},
		{"not of brackets", "!(Host(`a`) || Path(`/x`))", []string{"http://b/"}, []string{"http://a/", "http://b/x"}},
		{"names in other cases, and quotes", "HOST(\"a\") && pathprefix(`/`) && Pathprefix(`/x`)", []string{"http://a/x"}, []string{"http://b/x"}},
		{"what need not be encoded is not", "Path(`/a b~`)", []string{"http://a/a%20b%7E"}, []string{"http://a/a%2Fb"}},
		{"what would mean something else stays encoded", "PathPrefix(`/a%2Fb`)", []string{"http://a/a%2Fb"}, []string{"http://a/a/b"}},
		{"paths are cleaned before", "Path(`/b`)", []string{"http://a/x/../b", "http://a//b"}, []string{"http://a/x"}},
		{"a method", "Method(`get`)", []string{"http://a/"}, nil},
		{"a question", "Query(`q`, `1`) || QueryRegexp(`r`, `^x`)", []string{"http://a/?q=1", "http://a/?r=xy"}, []string{"http://a/?q=2", "http://a/?r=yx"}},
		{"a client", "ClientIP(`127.0.0.0/8`)", []string{"http://a/"}, nil},
		{"another client", "ClientIP(`10.0.0.1`)", nil, []string{"http://a/"}},
		{"a header", "HeaderRegexp(`user-agent`, `^Go`) && !Header(`X-A`, `b`)", []string{"http://a/"}, nil},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := newSite(t)
			s.serve("10.0.0.1:80", echo("one"))
			s.start(route("a", tc.rule, "http://10.0.0.1:80", ""))
			if bad := s.raw().Routers["a@file"].Error; bad != nil {
				t.Fatal(bad)
			}
			for _, url := range tc.yes {
				if got := s.get(url); got.status != 200 {
					t.Errorf("%s: %d", url, got.status)
				}
			}
			for _, url := range tc.no {
				if got := s.get(url); got.status != 404 {
					t.Errorf("%s: %d", url, got.status)
				}
			}
		})
	}
}

func TestBadRules(t *testing.T) {
	for _, tc := range []struct{ reason, rule, want string }{
		{"none", "", "1:1: expected operand, found 'EOF'"},
		{"a bracket that is missing", "Host(`a`", "1:9: missing ',' before newline in argument list"},
		{"an unknown matcher", "Hots(`a`)", "unsupported function: Hots"},
		{"a number", "Host(1)", "reflect: cannot use int as type string in Call"},
		{"too many", "Host(`a`, `b`)", "WHOLE adding rule Host(`a`, `b`): error while adding rule Host: unexpected number of parameters; got 2, expected one of [1]"},
		{"nothing in it", "Host(``)", "WHOLE adding rule Host(``): error while checking rule Host: empty args for matcher Host, []"},
		{"no arguments", "Host()", "WHOLE adding rule Host(): error while checking rule Host: no args for matcher Host"},
		{"an expression that is none", "PathRegexp(`(`)", "WHOLE adding rule PathRegexp(`(`): error while adding rule PathRegexp: compiling PathPrefix matcher: error parsing regexp: missing closing ): `(`"},
		{"an expression of hosts that is none", "Path(`/`) && HostRegexp(`[`)", "WHOLE adding rule Path(`/`) && HostRegexp(`[`): error while adding rule HostRegexp: compiling HostRegexp matcher: error parsing regexp: missing closing ]: `[`"},
		{"on the left of a pair", "HostRegexp(`[`) && Path(`/`)", "WHOLE adding rule HostRegexp(`[`) && Path(`/`): error while adding rule and: error while adding rule HostRegexp: compiling HostRegexp matcher: error parsing regexp: missing closing ]: `[`"},
		{"a path without a slash", "PathPrefix(`x`)", "WHOLE adding rule PathPrefix(`x`): error while adding rule PathPrefix: path \"x\" does not start with a '/'"},
		{"letters that no host has", "Host(`ä`)", "WHOLE adding rule Host(`ä`): error while adding rule Host: invalid value \"ä\" for Host matcher, non-ASCII characters are not allowed"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := newSite(t)
			s.start(route("a", tc.rule, "http://10.0.0.1:80", ""), route("b", "Host(`b`)", "http://10.0.0.1:80", ""))
			want, whole := strings.CutPrefix(tc.want, "WHOLE ")
			if !whole {
				want = fmt.Sprintf("parsing rule %s: %s", tc.rule, want)
			}
			want = fmt.Sprintf("error while parsing rule %s: %s", tc.rule, want)
			got := s.raw()
			if diff := cmp.Diff([]string{want}, got.Routers["a@file"].Error); diff != "" {
				t.Error(diff)
			}
			if got.Routers["a@file"].Status != "disabled" || got.Routers["b@file"].Status != "enabled" {
				t.Errorf("the router is %s, the other one %s", got.Routers["a@file"].Status, got.Routers["b@file"].Status)
			}
		})
	}
}

func TestPriority(t *testing.T) {
	for _, tc := range []struct {
		reason        string
		first, second string
		more          [2]string
		want          string
	}{
		{"the longer rule goes first", "Host(`a`)", "Host(`a`) && PathPrefix(`/x`)", [2]string{}, "two"},
		{"whatever it is", "Host(`a`) || Host(`a`) || Host(`a`)", "Host(`a`) && PathPrefix(`/x`)", [2]string{}, "one"},
		{"unless one says more", "Host(`a`)", "Host(`a`) && PathPrefix(`/x`)", [2]string{", priority: 100", ""}, "one"},
		{"a negative one is last", "Host(`a`) && PathPrefix(`/x`)", "Host(`a`)", [2]string{", priority: -1", ""}, "two"},
	} {
		s := newSite(t)
		s.serve("10.0.0.1:80", echo("one"))
		s.serve("10.0.0.2:80", echo("two"))
		s.start(route("a", tc.first, "http://10.0.0.1:80", tc.more[0]), route("b", tc.second, "http://10.0.0.2:80", tc.more[1]))
		if got := s.get("http://a/x").header.Get("X-Backend"); got != tc.want {
			t.Errorf("%s: %s", tc.reason, got)
		}
		if got := s.raw().Routers["b@file"].Priority; tc.more[1] == "" && got != len(tc.second) {
			t.Errorf("%s: priority %d", tc.reason, got)
		}
	}
}
