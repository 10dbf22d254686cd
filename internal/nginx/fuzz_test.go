// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// FuzzRender declares values of all sorts. What is refused is refused; what is rendered has exactly the directives of one
// without anything odd in it, each with as many words, and the values as the words that they were declared as.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{"a.lan", "*.lan", "x;\nload_module y", `a"b`, "a{", "}", "$host", "a b", "a#b", "~^x", ".lan", "A", "ä", "\x00", "", "/etc/x.crt", "/a;b", "10.0.0.0/8", "::1"} {
		f.Add(seed, "/etc/x.crt", "HostService home/nginx", "servers[a]", "10.0.0.0/8", "traefik", "10.0.0.12", "DENY", 80, 443)
		f.Add("a.lan", seed, seed, seed, seed, seed, seed, seed, 8080, 8443)
	}
	f.Fuzz(func(t *testing.T, name, file, about, source, network, router, address, word string, http, https int) {
		odd, plain := everything(), everything()
		odd.About, odd.Folder, odd.HTTPPort, odd.HTTPSPort = about, file, http, https
		odd.Servers[1] = Server{Source: source, Names: []string{name}, Certificate: file, Key: file}
		odd.Inside[0], odd.Upstreams[1].Router, odd.Upstreams[1].Address, odd.Headers.FrameOptions = network, router, address, word
		plain.Headers.FrameOptions = word // an empty one is not sent
		got, err := odd.Render()
		if err != nil {
			return
		}
		want, err := plain.Render()
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range [][2][]byte{{want.Main, got.Main}, {want.Server, got.Server}, {want.Stream, got.Stream}} {
			if diff := cmp.Diff(shape(t, pair[0]), shape(t, pair[1])); diff != "" {
				t.Fatalf("there are other directives (-want +got):\n%s", diff)
			}
		}
		words := wordsOf(t, got.Main)
		for _, value := range []string{name, file, netip.MustParsePrefix(network).Masked().String(), upstream(router)} {
			if !slices.Contains(words, value) {
				t.Fatalf("%q is not a word of\n%s", value, got.Main)
			}
		}
		if found := odd.Conflicts(map[string]string{MainFile: "http {\n" + string(got.Main) + "}"}); len(found) < 3 {
			t.Fatalf("its own file in somebody else's hands is in the way with %v alone", found)
		}
	})
}

// FuzzRouteFiles declares hosts and routers of all sorts: each host that is taken is one entry of a map.
func FuzzRouteFiles(f *testing.F) {
	for _, seed := range []string{"a.lan", "*.lan", "default", "include", "\\default", "x y", "x;y z", `"`, "~.*", "a`b", "a\nb", strings.Repeat("a", 63) + ".lan"} {
		f.Add(seed, "b.lan", "traefik", "Route home/x", "0123456789ab-x", true, false)
		f.Add("a.lan", seed, seed, seed, seed, false, true)
	}
	f.Fuzz(func(t *testing.T, host, other, router, about, prefix string, internal, shared bool) {
		r := RouteEntry{About: about, Hosts: []string{host, other}, Router: router, Internal: internal}
		if shared {
			r.Shared = r.Hosts
		}
		files, err := RouteFiles(routesAt, prefix, r)
		if err != nil {
			return
		}
		if len(files) != 1 || strings.Contains(prefix, "/") {
			t.Fatalf("there are %d files for %q", len(files), prefix)
		}
		for _, content := range files {
			entries := shape(t, slices.Concat([]byte("map $host $x {\n"), content, []byte("}\n")))
			if diff := cmp.Diff([]string{"map 2", "> 1", "> 1"}, entries); diff != "" {
				t.Fatalf("these are not two entries (-want +got):\n%s", diff)
			}
		}
	})
}

// shape is the directives of a text with the number of their words, those of blocks behind them; what stands in a map or
// geo has no name of its own.
func shape(t *testing.T, text []byte) []string {
	t.Helper()
	var lines []string
	var walk func(list []*directive, indent, within string)
	walk = func(list []*directive, indent, within string) {
		for _, d := range list {
			name := d.name() + " "
			if within == "map" || within == "geo" {
				name = ""
			}
			lines = append(lines, fmt.Sprintf("%s%s%d", indent, name, len(d.words)-1))
			walk(d.block, indent+"> ", d.name())
		}
	}
	walk(parse("x.conf", string(text)), "", "")
	return lines
}

// wordsOf are all words of a text, in no directive in particular.
func wordsOf(t *testing.T, text []byte) []string {
	t.Helper()
	var words []string
	var walk func(list []*directive)
	walk = func(list []*directive) {
		for _, d := range list {
			words = append(words, d.words...)
			for _, word := range d.words {
				words = append(words, strings.TrimSuffix(word, "/"+serverFile))
			}
			walk(d.block)
		}
	}
	walk(parse("x.conf", string(text)))
	return words
}

// TestReadable reads the files with a parser that knows nginx's directives, and where each may stand.
func TestReadable(t *testing.T) {
	for name, config := range map[string]Config{"site": site(), "everything": everything()} {
		files, err := config.Render()
		if err != nil {
			t.Fatal(err)
		}
		whole := fmt.Sprintf("%s\nevents {}\nhttp {\n%s\nserver {\n%s\n}\n}\n", files.Stream, files.Main, files.Server)
		_, err = crossplane.Parse("nginx.conf", &crossplane.ParseOptions{
			SingleFile: true, StopParsingOnError: true, ErrorOnUnknownDirectives: true, DirectiveSources: []crossplane.MatchFunc{crossplane.MatchOss126},
			Open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(whole)), nil },
		})
		if err != nil {
			t.Errorf("%s cannot be read: %v", name, err)
		}
	}
}
