// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	debianMain = "user www-data;\ninclude /etc/nginx/modules-enabled/*.conf;\nevents {\n\tworker_connections 768;\n}\nhttp {\n\tinclude /etc/nginx/mime.types;\n" +
		"\tinclude /etc/nginx/conf.d/*.conf;\n\tinclude sites-enabled/*;\n}\n"
	debianSite = "# Default server configuration\nserver {\n\tlisten 80 default_server;\n\tlisten [::]:80 default_server;\n\troot /var/www/html;\n" +
		"\tindex index.html index.htm index.nginx-debian.html;\n\tserver_name _;\n\tlocation / {\n\t\ttry_files $uri $uri/ =404;\n\t}\n}\n"
	hand = "/etc/nginx/conf.d/hand.conf"
)

// takeOut makes the files as they are once the conflicts are taken out, as whoever takes them over does.
func takeOut(files map[string]string, found []Conflict) map[string]string {
	after := map[string]string{}
	for path, content := range files {
		var lines []string
		for i, line := range strings.Split(content, "\n") {
			at := slices.IndexFunc(found, func(f Conflict) bool { return f.Path == path && f.First <= i+1 && i+1 <= f.Last })
			switch {
			case at < 0:
				lines = append(lines, line)
			case found[at].Instead != "":
				lines = append(lines, found[at].Instead)
			}
		}
		after[path] = strings.Join(lines, "\n")
	}
	return after
}

func TestConflicts(t *testing.T) {
	for name, c := range map[string]struct {
		reason, file string
		want         []string // the conflicts, with the lines that go
		left         string   // what is left of the file
	}{
		"beside": {
			"another name, another port, and the machine's own address are in nobody's way",
			"server { listen 80; server_name other.lan; }\nserver { listen 8080 default_server; server_name phoenix.lan; }\nserver { listen 127.0.0.1:80; listen [::1]:443; }\n",
			nil, "server { listen 80; server_name other.lan; }\nserver { listen 8080 default_server; server_name phoenix.lan; }\nserver { listen 127.0.0.1:80; listen [::1]:443; }\n",
		},
		"wider": {
			"an exact name and a wildcard stand beside each other", "server { listen 443 ssl; server_name deep.phoenix.lan *.example.org ~^shop; }\n", nil,
			"server { listen 443 ssl; server_name deep.phoenix.lan *.example.org ~^shop; }\n",
		},
		"default server alone": {
			"it does nothing else, so it goes", "server {\n\tlisten 443 ssl default_server;\n\tserver_name _;\n\treturn 444;\n}\n",
			[]string{"line 2 (listen 443 ssl default_server;) is the default server of port 443, which the service is; 1-5"}, "",
		},
		"default server of a name": {
			"the name is still served", "server {\n\tlisten 443 ssl default_server; # all\n\tlisten\t[::]:443 default ssl;\n\tserver_name other.lan;\n}\n",
			[]string{
				"line 2 (listen 443 ssl default_server;) is the default server of port 443, which the service is; 2-2",
				"line 3 (listen [::]:443 default ssl;) is the default server of port 443, which the service is; 3-3",
			}, "server {\n\tlisten 443 ssl; # all\n\tlisten\t[::]:443 ssl;\n\tserver_name other.lan;\n}\n",
		},
		"the same name": {
			"whoever comes first would answer", "server {\n\tlisten 80;\n\tserver_name Phoenix.lan;\n}\n",
			[]string{"line 3 (server_name Phoenix.lan;) serves phoenix.lan, which is declared; 1-4"}, "",
		},
		"the same name among others": {
			"the others are still served", "server {\n\tlisten 80;\n\tserver_name a.lan .phoenix.lan shop.example.org b.lan; # names\n}\n",
			[]string{
				"line 3 (server_name a.lan .phoenix.lan shop.example.org b.lan;) serves *.phoenix.lan, which is declared; 3-3",
				"line 3 (server_name a.lan .phoenix.lan shop.example.org b.lan;) serves phoenix.lan, which is declared; 3-3",
				"line 3 (server_name a.lan .phoenix.lan shop.example.org b.lan;) serves shop.example.org, which is declared; 3-3",
			}, "server {\n\tlisten 80;\n\tserver_name a.lan b.lan; # names\n}\n",
		},
		"half of a name": {
			"what is not declared of it is still served", "server {\n\tlisten 80;\n\tserver_name .shop.example.org;\n}\n",
			[]string{"line 3 (server_name .shop.example.org;) serves shop.example.org, which is declared; 3-3"},
			"server {\n\tlisten 80;\n\tserver_name *.shop.example.org;\n}\n",
		},
		"the same name on another port too": {
			"there it is still served", "server {\n\tlisten 80;\n\tlisten 8080;\n\tserver_name phoenix.lan;\n}\n",
			[]string{"line 2 (listen 80;) receives phoenix.lan, which is declared; 2-2"}, "server {\n\tlisten 8080;\n\tserver_name phoenix.lan;\n}\n",
		},
		"an address of its own": {
			"it is asked before all that receive everywhere", "server {\n\tlisten 10.0.0.153:443 ssl;\n\tserver_name other.lan;\n}\n",
			[]string{"line 2 (listen 10.0.0.153:443 ssl;) answers port 443 of 10.0.0.153 in the place of the service; 2-2"},
			"server {\n\tlisten *:443 ssl;\n\tserver_name other.lan;\n}\n",
		},
		"an address of its own without a port": {
			"that is 80", "server {\n\tlisten [fd00::1];\n\tserver_name other.lan;\n}\n",
			[]string{"line 2 (listen [fd00::1];) answers port 80 of fd00::1 in the place of the service; 2-2"},
			"server {\n\tlisten [::];\n\tserver_name other.lan;\n}\n",
		},
		"no place": {
			"a server without one receives on port 80", "server { server_name phoenix.lan; }\n",
			[]string{"line 1 (server_name phoenix.lan;) serves phoenix.lan, which is declared; 1-1"}, "",
		},
		"a range": {
			"80 is among them", "server {\n\tlisten 79-81;\n\tserver_name phoenix.lan;\n}\n",
			[]string{"line 3 (server_name phoenix.lan;) serves phoenix.lan, which is declared; 1-4"}, "",
		},
		"on one line": {
			"no word can be taken out for sure, so the server goes", "server { listen 80 default_server; server_name other.lan; }\n",
			[]string{"line 1 (listen 80 default_server;) is the default server of port 80, which the service is; 1-1"}, "",
		},
		"a socket too": {
			"it is not ours", "server {\n\tlisten unix:/run/x;\n\tlisten 80 default_server;\n}\n",
			[]string{"line 3 (listen 80 default_server;) is the default server of port 80, which the service is; 3-3"}, "server {\n\tlisten unix:/run/x;\n\tlisten 80;\n}\n",
		},
		"another protocol": {
			"HTTP/3 comes over UDP", "server {\n\tlisten 8443 ssl;\n\tlisten 443 quic reuseport;\n\tserver_name phoenix.lan;\n}\n", nil,
			"server {\n\tlisten 8443 ssl;\n\tlisten 443 quic reuseport;\n\tserver_name phoenix.lan;\n}\n",
		},
		"comments and quotes": {
			"they are no directives", "# server { listen 80 default_server; }\nserver { listen 81; return 200 \"} server { listen 80 default_server; }\"; }\n", nil,
			"# server { listen 80 default_server; }\nserver { listen 81; return 200 \"} server { listen 80 default_server; }\"; }\n",
		},
		"broken": {
			"what can be read counts; nginx refuses the file itself", "server { listen 80 default_server; server_name x\n",
			[]string{"line 1 (listen 80 default_server;) is the default server of port 80, which the service is; 1-1"}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{MainFile: debianMain, hand: c.file}
			found := site().Conflicts(files)
			var got []string
			for _, f := range found {
				if f.Path != hand {
					t.Errorf("%s is in the way", f.Path)
				}
				got = append(got, fmt.Sprintf("%s; %d-%d", strings.TrimPrefix(f.String(), hand+" "), f.First, f.Last))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			after := takeOut(files, found)
			if diff := cmp.Diff(c.left, after[hand]); diff != "" {
				t.Errorf("%s: what is left (-want +got):\n%s", c.reason, diff)
			}
			if again := site().Conflicts(after); len(again) > 0 {
				t.Errorf("%s: what is left is in the way: %v", c.reason, again)
			}
		})
	}
}

func TestStockSite(t *testing.T) {
	const place = "/etc/nginx/sites-enabled/default"
	for name, c := range map[string]struct {
		reason, path, content string
		config                func(*Config)
		found                 int
		stock                 bool
	}{
		"as it comes":   {"nobody wrote it", place, debianSite, nil, 2, true},
		"changed":       {"somebody's pages are there", place, strings.Replace(debianSite, "/var/www/html", "/srv/www", 1), nil, 2, false},
		"named":         {"somebody's name is there", place, strings.Replace(debianSite, "server_name _", "server_name x.lan", 1), nil, 2, false},
		"more in it":    {"somebody's location is there", place, strings.Replace(debianSite, "\tserver_name", "\tlocation /x { return 200; }\n\tserver_name", 1), nil, 2, false},
		"passes on":     {"somebody's backend is there", place, strings.Replace(debianSite, "try_files $uri $uri/ =404", "proxy_pass http://10.0.0.1", 1), nil, 2, false},
		"another name":  {"the distribution has it at one place", "/etc/nginx/sites-enabled/site", debianSite, nil, 2, false},
		"another port":  {"it is in nobody's way", place, debianSite, func(c *Config) { c.HTTPPort = 8080 }, 0, false},
		"not reachable": {"it is not enabled", "/etc/nginx/sites-available/default", debianSite, nil, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			config := site()
			if c.config != nil {
				c.config(&config)
			}
			found := config.Conflicts(map[string]string{MainFile: debianMain, c.path: c.content})
			if len(found) != c.found {
				t.Fatalf("%s: %v, want %d", c.reason, found, c.found)
			}
			for _, f := range found {
				if f.Stock != c.stock {
					t.Errorf("%s: stock is %t, want %t", c.reason, f.Stock, c.stock)
				}
			}
		})
	}
}

func TestIncludes(t *testing.T) {
	files := map[string]string{
		MainFile: debianMain,
		hand:     "include snippets/shared.conf;\nserver {\n\tinclude /srv/sites/*/listen;\n\tlocation / { include proxy_params; }\n\tinclude fastcgi.conf;\n}\ninclude /proc/self/x;\ninclude [ab].conf;\n",
	}
	want := []string{"/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*", "/etc/nginx/snippets/shared.conf", "/srv/sites/*/listen"}
	if diff := cmp.Diff(want, Includes(files)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Includes(nil); got != nil {
		t.Errorf("without files: %v", got)
	}
}

func TestIncludedListen(t *testing.T) {
	files := map[string]string{
		MainFile: debianMain, hand: "server {\n\tinclude /etc/nginx/snippets/listen;\n\tserver_name _;\n}\nserver {\n\tlisten 81;\n\tinclude snippets/listen;\n\tserver_name other.lan;\n}\n",
		"/etc/nginx/snippets/listen": "listen 80 default_server;\n",
	}
	found := site().Conflicts(files)
	want := []string{
		hand + " line 1 (listen 80 default_server; of /etc/nginx/snippets/listen) is the default server of port 80, which the service is",
		"/etc/nginx/snippets/listen line 1 (listen 80 default_server;) is the default server of port 80, which the service is",
	}
	var got []string
	for _, f := range found {
		got = append(got, f.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if again := site().Conflicts(takeOut(files, found)); len(again) > 0 {
		t.Errorf("what is left is in the way: %v", again)
	}
}

// TestEndlessIncludes ends: files may include each other, which nginx refuses.
func TestEndlessIncludes(t *testing.T) {
	files := map[string]string{MainFile: debianMain}
	for i := range 8 {
		files[fmt.Sprintf("/etc/nginx/conf.d/%d.conf", i)] = "include conf.d/*.conf;\nserver { include conf.d/*.conf; listen 80 default_server; }\n"
	}
	if found := site().Conflicts(files); len(found) == 0 {
		t.Error("nothing is found")
	}
	if found := site().Conflicts(map[string]string{MainFile: "http {" + strings.Repeat("server {", 5000)}); len(found) > 0 {
		t.Errorf("a broken file has %v", found)
	}
}

func TestBucketSizeOfOthers(t *testing.T) {
	found := site().Conflicts(map[string]string{MainFile: "http {\n\tserver_names_hash_bucket_size 64;\n}\n"})
	if len(found) != 1 || found[0].String() != MainFile+" line 2 (server_names_hash_bucket_size 64;) is set by the service too, and may be set once" {
		t.Errorf("found %v", found)
	}
}

func TestStreamsOfOthers(t *testing.T) {
	const main = "include streams.conf;\nhttp {\n}\n"
	for name, c := range map[string]struct {
		reason string
		config Config
		file   string
		want   []string
	}{
		"beside": {
			"another port is in nobody's way", site(), "stream {\n\tserver { listen 5432; }\n\tserver { listen 127.0.0.1:443; }\n\tserver { listen 443 udp; }\n}\n", nil,
		},
		"the same port": {
			"one of the two would not receive", site(), "stream {\n\tserver {\n\t\tlisten 443;\n\t}\n}\n",
			[]string{"/etc/nginx/streams.conf line 2 (server {) receives on port 443 in the place of the service; 2-4"},
		},
		"a second block": {
			"nginx takes one alone", everything(), "stream {\n\tserver { listen 5432; }\n}\n",
			[]string{"/etc/nginx/streams.conf line 1 (stream {) is there already: nginx takes one, and passThrough is it; 1-3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{MainFile: main, "/etc/nginx/streams.conf": c.file}
			var got []string
			found := c.config.Conflicts(files)
			for _, f := range found {
				got = append(got, fmt.Sprintf("%s; %d-%d", f, f.First, f.Last))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if again := c.config.Conflicts(takeOut(files, found)); len(again) > 0 {
				t.Errorf("%s: what is left is in the way: %v", c.reason, again)
			}
		})
	}
}
