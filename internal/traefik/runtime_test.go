// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// raw is what Traefik 3.6 answers, cut to what is of interest.
const raw = `{
 "routers": {
  "aa-blog@file": {"entryPoints":["web"],"service":"aa-blog","rule":"Host(` + "`a.lan`" + `)","priority":1000002,"observability":{"accessLogs":true},"status":"enabled","using":["web"]},
  "aa-shop@file": {"service":"aa-shop","rule":"Host(","error":["error while parsing rule Host(: 1:6: expected ')', found 'EOF'"],"status":"disabled"},
  "aa-shop-2@file": {"service":"aa-shop","error":["error while parsing rule Host(: 1:6: expected ')', found 'EOF'"],"status":"disabled"},
  "aa-shopping@file": {"service":"aa-shopping","error":["somebody else's"],"status":"disabled"},
  "aa-old@docker": {"error":["of another provider"],"status":"disabled"},
  "api@internal": {"entryPoints":["traefik"],"service":"api@internal","rule":"PathPrefix(` + "`/api`" + `)","priority":2147483646,"status":"enabled"}
 },
 "middlewares": {
  "aa-blog-1122334455667788@file": {"headers":{"customRequestHeaders":{"X-Phoenix-Version":"1122334455667788"}},"status":"enabled"},
  "aa-blog-m0@file": {"headers":{"customRequestHeaders":{"X-Phoenix-Version":"declared"}},"status":"enabled","usedBy":["aa-blog@file"]},
  "aa-shop-99@file": {"headers":{"customRequestHeaders":{"X-Phoenix-Version":"99"}},"status":"enabled"},
  "aa-shop-m0@file": {"basicAuth":{"users":["ann:$2y$"]},"error":["error parsing BasicUser"],"status":"disabled"},
  "aa-db-77@file": {"headers":{"customRequestHeaders":{"X-Phoenix-Version":"77"}},"status":"enabled"}
 },
 "services": {
  "aa-blog@file": {"loadBalancer":{"servers":[{"url":"http://10.0.0.2"},{"url":"http://10.0.0.1"}]},"status":"enabled","serverStatus":{"http://10.0.0.2":"DOWN","http://10.0.0.1":"UP","http://10.0.0.0":"DOWN"}},
  "aa-shop@file": {"status":"disabled"}
 },
 "tcpRouters": {"aa-db@file": {"error":["unknown entry point"],"status":"disabled"}}
}`

func TestRuntimeIsRead(t *testing.T) {
	r, err := ParseRuntime([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		reason, name, version string
		want                  State
	}{
		{"the version that was asked for, and who is down", "aa-blog", "1122334455667788", State{Version: "1122334455667788", Loaded: true, Down: []string{"http://10.0.0.0", "http://10.0.0.2"}}},
		{"another version, and a declared header that looks like one", "aa-blog", "declared", State{Version: "1122334455667788", Down: []string{"http://10.0.0.0", "http://10.0.0.2"}}},
		{"errors once each, and not those of a longer name", "aa-shop", "99", State{Version: "99", Loaded: true, Errors: []string{
			"error while parsing rule Host(: 1:6: expected ')', found 'EOF'", "service aa-shop is disabled", "error parsing BasicUser",
		}}},
		{"a route of TCP", "aa-db", "77", State{Version: "77", Loaded: true, Errors: []string{"unknown entry point"}}},
		{"nothing is loaded", "aa-new", "11", State{}},
		{"what another provider has is not ours", "aa-old", "11", State{}},
		{"no version is none", "aa-new", "", State{}},
		{"the beginning of a name", "aa", "11", State{}},
	} {
		if diff := cmp.Diff(c.want, r.Look(c.name, c.version)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
	if _, err := ParseRuntime([]byte("404 page not found\n")); err == nil {
		t.Error("what is no JSON is read")
	}
	if r, err := ParseRuntime([]byte("{}")); err != nil || r.Look("a", "b").Loaded {
		t.Errorf("a Traefik without a file has one: %v", err)
	}
}
