// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// FuzzRender declares values of all sorts. What is refused is refused; what is rendered reads as exactly what was
// declared, with not a directive more.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{"a.lan", "*.lan", "x;\nload_module y", `a"b`, "a{", "}", "$host", "a b", "a#b", "~^x", ".lan", "A", "ä", "\x00", "", "/etc/x.crt", "/a;b"} {
		f.Add(seed, "b.lan", "/etc/x.crt", "HostService home/nginx", "servers[a]", 80, 443)
		f.Add("a.lan", seed, seed, seed, seed, 8080, 8443)
	}
	f.Fuzz(func(t *testing.T, name, other, file, about, source string, http, https int) {
		c := Config{About: about, HTTPPort: http, HTTPSPort: https, Servers: []Server{
			{Source: source, Names: []string{name, other}, Certificate: file, Key: file},
			{Source: "servers[z]", Names: []string{"z." + strings.TrimPrefix(other, "*.")}, Certificate: file, Key: file},
		}}
		for range 3 {
			text, err := c.Render()
			if err == nil {
				if diff := cmp.Diff(declared(c), read(t, string(text))); diff != "" {
					t.Fatalf("what is read is not what was declared (-declared +read):\n%s", diff)
				}
				if found := c.Conflicts(map[string]string{MainFile: "http {\n" + string(text) + "}"}); len(found) < 4+2*len(c.Servers) {
					t.Fatalf("its own file in somebody else's hands is in the way with %v alone", found)
				}
			}
			c.Servers = c.Servers[:max(0, len(c.Servers)-1)]
		}
	})
}

// declared are the directives that a configuration asks for, in order.
func declared(c Config) []string {
	var want []string
	if c.wide() {
		want = append(want, "server_names_hash_bucket_size 512")
	}
	listens := func(flags string) []string {
		return []string{"server", "> listen " + flags, "> listen [::]:" + flags}
	}
	http, https := strconv.Itoa(c.HTTPPort), strconv.Itoa(c.HTTPSPort)
	want = append(want, append(listens(http+" default_server"), "> server_name _", "> return 444")...)
	want = append(want, append(listens(https+" ssl http2 default_server"), "> server_name _", "> ssl_protocols TLSv1.2 TLSv1.3", "> ssl_reject_handshake on", "> return 421")...)
	to := "https://$host"
	if c.HTTPSPort != 443 {
		to += ":" + https
	}
	for _, s := range c.Servers {
		names := "> server_name " + strings.Join(s.Names, " ")
		want = append(want, append(listens(http), names, "> return 308 "+to+"$request_uri")...)
		want = append(want, append(listens(https+" ssl http2"), names, "> ssl_protocols TLSv1.2 TLSv1.3", "> ssl_certificate "+s.Certificate,
			"> ssl_certificate_key "+s.Key, "> return 404")...)
	}
	return want
}

// read takes a file apart with a parser that knows nginx's directives, and where each may stand.
func read(t *testing.T, text string) []string {
	t.Helper()
	payload, err := crossplane.Parse("nginx.conf", &crossplane.ParseOptions{
		SingleFile: true, StopParsingOnError: true, ErrorOnUnknownDirectives: true, DirectiveSources: []crossplane.MatchFunc{crossplane.MatchOss126},
		Open: func(string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("events {}\nhttp {\n" + text + "}\n")), nil
		},
	})
	if err != nil || len(payload.Config) != 1 || len(payload.Config[0].Parsed) != 2 {
		t.Fatalf("it cannot be read: %v in\n%s", err, text)
	}
	var facts []string
	for _, d := range payload.Config[0].Parsed[1].Block {
		facts = append(facts, strings.TrimSpace(d.Directive+" "+strings.Join(d.Args, " ")))
		for _, inner := range d.Block {
			facts = append(facts, fmt.Sprintf("> %s %s", inner.Directive, strings.Join(inner.Args, " ")))
			if len(inner.Block) > 0 {
				t.Fatalf("%s has a block", inner.Directive)
			}
		}
	}
	return facts
}
