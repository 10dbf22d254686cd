// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFiles looks at what becomes of the routes a and b, which are served, when other files come.
func TestFiles(t *testing.T) {
	good := route("c", "Host(`c`)", "http://10.0.0.1:80", "")
	for _, tc := range []struct {
		reason, name, text string
		taken              bool   // whether c is served afterwards
		log                string // what it says
	}{
		{"one more", "c.yml", good, true, ""},
		{"another ending", "c.yaml", good, true, ""},
		{"JSON is YAML", "c.yml", `{"http": {"routers": {"c": {"rule": "Host(` + "`c`" + `)", "service": "a", "entryPoints": ["web"]}}}}`, true, ""},
		{"in a folder is not seen until something else changes", "d/c.yml", good, false, ""},
		{"what is no dynamic file", "c.txt", good, false, ""},
		{"broken YAML stops everything from being taken", "c.yml", good + "x: {", false, "/etc/traefik/routes/c.yml: yaml: line "},
		{"an unknown field likewise", "c.yml", good + "tcp: {routers: {x: {rules: y}}}\n", false, "/etc/traefik/routes/c.yml: field not found, node: rules"},
		{"an empty section likewise", "c.yml", good + "tcp: {routers: {}}\n", false, "/etc/traefik/routes/c.yml: routers cannot be a standalone element (type map[string]*dynamic.TCPRouter)"},
		{"an empty file says nothing", "c.yml", "# " + good[:4], false, ""},
		{"it is a template", "c.yml", strings.ReplaceAll(good, "Host(`c`)", "Host(`{{ \"C\" | lower }}`)"), true, ""},
		{"what is no template stops everything", "c.yml", strings.ReplaceAll(good, "Host(`c`)", "Host(`c`) && !Header(`A`, `{{`)"), false, "/etc/traefik/routes/c.yml: template: :"},
		{"another router of a name is left out", "c.yml", good + "    a: {loadBalancer: {servers: [{url: 'http://10.0.0.2:80'}]}}\n", true, "HTTP service already configured, skipping filename=c.yml"},
		{"what is nowhere is not an error", "c.yml", good + "    unused: {loadBalancer: {servers: [{url: 'http://10.0.0.9:80'}]}}\n", true, ""},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := newSite(t)
			s.serve("10.0.0.1:80", echo("one"))
			s.serve("10.0.0.2:80", echo("two"))
			s.start(route("a", "Host(`a`)", "http://10.0.0.1:80", ""), route("b", "Host(`b`)", "http://10.0.0.1:80", ""))
			s.disk.put("/etc/traefik/routes/"+tc.name, tc.text)
			switch {
			case tc.taken:
				s.await("the route", func() bool { return s.get("http://c/").status == http.StatusOK })
			case tc.log != "":
				s.await("the log", func() bool { return strings.Contains(s.log(), tc.log) })
			}
			if !strings.Contains(s.log(), tc.log) {
				t.Errorf("the log does not say %q:\n%s", tc.log, s.log())
			}
			for host, want := range map[string]int{"a": 200, "b": 200, "c": map[bool]int{true: 200, false: 404}[tc.taken]} {
				if got := s.get("http://" + host + "/"); got.status != want || host == "a" && !strings.HasPrefix(got.body, "one") {
					t.Errorf("%s: %d %s", host, got.status, got.body)
				}
			}
		})
	}
}

func TestFilesThatAreBadAtTheStart(t *testing.T) {
	s := newSite(t)
	s.serve("10.0.0.1:80", echo("one"))
	s.start(route("a", "Host(`a`)", "http://10.0.0.1:80", ""), "nonsense: {")
	if got := s.get("http://a/"); got.status != http.StatusNotFound {
		t.Errorf("with a bad file beside it: %d", got.status)
	}
	s.disk.put("/etc/traefik/routes/1.yml", "")
	s.await("the route", func() bool { return s.get("http://a/").status == http.StatusOK })
	s.disk.put("/etc/traefik/routes/0.yml", "")
	s.await("the end of the last route", func() bool { return s.get("http://a/").status == http.StatusNotFound })
}

func TestFolderThatIsNotThere(t *testing.T) {
	s := newSite(t)
	s.disk.put("/etc/traefik/routes/.keep", "")
	s.start()
	if !strings.Contains(s.log(), "Cannot start the provider *file.Provider error=\"unable to read directory /etc/traefik/routes: open /etc/traefik/routes: ") {
		t.Error(s.log())
	}
	if got := s.get("http://a/"); got.status != http.StatusNotFound {
		t.Errorf("nothing is served: %d", got.status)
	}
}

func TestDisabled(t *testing.T) {
	const ok = "{loadBalancer: {servers: [{url: 'http://10.0.0.1:80'}]}}"
	for _, tc := range []struct {
		reason, router, services, middlewares string
		status                                string
		want                                  []string
		beside                                map[string]string // errors of services and middlewares
	}{
		{"a service that is missing", "service: x", ok, "", "disabled", []string{`the service "x@file" does not exist`}, nil},
		{"no service", "", ok, "", "disabled", []string{"router has no service and no child routers", "router must have either a service or child routers"}, nil},
		{"a service of another provider", "service: a@docker", ok, "", "disabled", []string{`the service "a@docker" does not exist`}, nil},
		{"a service without a type", "service: a", "{loadBalancer: {servers: []}, weighted: {services: [{name: a}]}}", "", "disabled",
			[]string{"cannot create service: multi-types service not supported, consider declaring two different pieces of service instead"},
			map[string]string{"a@file": "cannot create service: multi-types service not supported, consider declaring two different pieces of service instead"}},
		{"a service of itself", "service: a", "{weighted: {services: [{name: a}]}}", "", "disabled",
			[]string{`building HTTP service "a": could not instantiate service a@file: recursion detected in service:a@file->service:a@file`},
			map[string]string{"a@file": `could not instantiate service a@file: recursion detected in service:a@file->service:a@file`}},
		{"a transport that is missing", "service: a", "{loadBalancer: {serversTransport: t, servers: [{url: 'http://x'}]}}", "", "disabled",
			[]string{"error building proxy for server URL http://x: getting RoundTripper: servers transport not found t@file"}, map[string]string{"a@file": "error building proxy for server URL http://x: getting RoundTripper: servers transport not found t@file"}},
		{"a URL that is none", "service: a", "{loadBalancer: {servers: [{url: 'http://x:y'}]}}", "", "disabled",
			[]string{`error parsing server URL http://x:y: parse "http://x:y": invalid port ":y" after host`}, nil},
		{"a strategy that is none", "service: a", "{loadBalancer: {strategy: x, servers: [{url: 'http://x'}]}}", "", "disabled", []string{`unsupported load-balancer strategy "x"`}, nil},
		{"a middleware that is missing", "service: a, middlewares: [m]", ok, "", "disabled", []string{`middleware "m@file" does not exist`}, nil},
		{"an expression that is none", "service: a, middlewares: [m]", ok, "{redirectRegex: {regex: '(', replacement: x}}", "disabled", []string{"error parsing regexp: missing closing ): `(`"}, map[string]string{"m@file": "error parsing regexp: missing closing ): `(`"}},
		{"a middleware of two types", "service: a, middlewares: [m]", ok, "{addPrefix: {prefix: /x}, stripPrefix: {prefixes: [/x]}}", "disabled", []string{"cannot create middleware: multi-types middleware not supported, consider declaring two different pieces of middleware instead"}, nil},
		{"headers without any", "service: a, middlewares: [m]", ok, "{headers: {isDevelopment: false}}", "disabled", []string{"headers configuration not valid"}, nil},
		{"users that are none", "service: a, middlewares: [m]", ok, "{basicAuth: {users: ['a:b:c']}}", "disabled", []string{"error parsing BasicUser: a:b:c"}, nil},
		{"addresses that are none", "service: a, middlewares: [m]", ok, "{ipAllowList: {sourceRange: [x]}}", "disabled", []string{"cannot parse CIDRs [x]: parsing CIDR trusted IPs <nil>: invalid CIDR address: x"}, nil},
		{"attempts that are none", "service: a, middlewares: [m]", ok, "{retry: {initialInterval: 1s}}", "disabled", []string{"incorrect (or empty) value for attempt (0)"}, nil},
		{"a chain of itself", "service: a, middlewares: [m]", ok, "{chain: {middlewares: [m]}}", "disabled", []string{"could not instantiate middleware m@file: recursion detected in middleware:m@file->middleware:m@file"}, nil},
		{"an entry point that is none", "service: a, entryPoints: [webb]", ok, "", "disabled", []string{`entryPoint "webb" doesn't exist`, "no valid entryPoint for this router"}, nil},
		{"one of two", "service: a, entryPoints: [web, webb]", ok, "", "warning", []string{`entryPoint "webb" doesn't exist`}, nil},
		{"too much", "service: a, priority: 9223372036854775000", ok, "", "disabled", []string{"the router priority 9223372036854775000 exceeds the max user-defined priority 9223372036854774807"}, nil},
		{"TLS options that are missing", "service: a, tls: {options: o}", ok, "", "disabled", []string{"building router handler: unknown TLS options: o@file"}, nil},
		{"nothing wrong", "service: a, middlewares: [m]", ok, "{compress: {}}", "enabled", nil, nil},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			router := tc.router
			if !strings.Contains(router, "entryPoints") {
				router = strings.TrimSuffix("entryPoints: [web], "+router, ", ")
			}
			text := fmt.Sprintf("http:\n  routers:\n    a: {rule: Host(`a`), %s}\n  services:\n    a: %s\n", router, tc.services)
			if tc.middlewares != "" {
				text += "  middlewares:\n    m: " + tc.middlewares + "\n"
			}
			s := newSite(t)
			s.serve("10.0.0.1:80", echo("one"))
			s.start(text, route("b", "Host(`b`)", "http://10.0.0.1:80", ""))
			got := s.raw()
			slices.Sort(got.Routers["a@file"].Error)
			slices.Sort(tc.want)
			if diff := cmp.Diff(tc.want, got.Routers["a@file"].Error); diff != "" || got.Routers["a@file"].Status != tc.status {
				t.Error(got.Routers["a@file"].Status, diff)
			}
			for name, want := range tc.beside {
				one, there := got.Services[name]
				if !there {
					one = got.Middlewares[name]
				}
				if one.Status != "disabled" || !slices.Contains(one.Error, want) {
					t.Errorf("%s is %s: %v", name, one.Status, one.Error)
				}
			}
			if answer := s.get("http://b/"); answer.status != http.StatusOK {
				t.Errorf("the other one: %d", answer.status)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	s := newSite(t)
	s.serve("10.0.0.1:80", echo("one"))
	accept := s.faults.Reject("a", "not today")
	s.start(route("a", "Host(`a`)", "http://10.0.0.1:80", ""))
	if got := s.raw().Routers["a@file"]; got.Status != "disabled" || !slices.Equal(got.Error, []string{"not today"}) {
		t.Errorf("a router that is rejected: %+v", got)
	}
	accept()
	s.disk.put("/etc/traefik/routes/0.yml", route("a", "Host(`a`) && Path(`/`)", "http://10.0.0.1:80", ""))
	s.await("the router", func() bool { return s.get("http://a/").status == http.StatusOK })

	listen := s.faults.IgnoreChanges()
	before := s.server.Loads()
	s.disk.put("/etc/traefik/routes/0.yml", "")
	if got := s.get("http://a/"); got.status != http.StatusOK || s.server.Loads() != before {
		t.Errorf("a change that is not noticed: %d", got.status)
	}
	listen()
	s.disk.put("/etc/traefik/routes/1.yml", route("b", "Host(`b`)", "http://10.0.0.1:80", ""))
	s.await("the next change", func() bool {
		return s.get("http://b/").status == http.StatusOK && s.get("http://a/").status == http.StatusNotFound
	})

	end := s.faults.FailAPI("/api/rawdata", 1, http.StatusInternalServerError)
	defer end()
	if got := s.api("rawdata"); got.status != http.StatusInternalServerError {
		t.Errorf("an API that fails: %d", got.status)
	}
	if got := s.api("rawdata"); got.status != http.StatusOK {
		t.Errorf("an API that failed once: %d", got.status)
	}
	end = s.faults.FailAPI("*", 0, 0)
	hung := make(chan answer)
	go func() { hung <- s.api("version") }()
	end()
	if got := <-hung; got.status != 0 && got.status != http.StatusOK {
		t.Errorf("an API that hangs: %d", got.status)
	}
}
