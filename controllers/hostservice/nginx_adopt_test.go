// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/nginx"
)

func TestTakeOverWithAnotherLine(t *testing.T) {
	mark := takenMark("HostService home/gate")
	const before = "server {\n\tlisten 80 default_server;\n\tserver_name x;\n}\n"
	lines := []handLine{{first: 2, last: 2, instead: "\tlisten 80;"}}
	after := takeOver(before, mark, lines)
	want := "server {\n#(HostService home/gate) \tlisten 80 default_server;\n\tlisten 80; #(HostService home/gate)\n\tserver_name x;\n}\n"
	if after != want {
		t.Errorf("taken over: %q, want %q", after, want)
	}
	again, taken := revive(after, mark)
	if diff := cmp.Diff(map[int]bool{2: true}, taken); diff != "" || again != before {
		t.Errorf("revived: %q with %v, want what was before", again, taken)
	}
	if twice := takeOver(again, mark, lines); twice != after {
		t.Errorf("taken over once more: %q", twice)
	}
}

const (
	stockMain = "http {\n\tinclude /etc/nginx/conf.d/*.conf;\n\tinclude /etc/nginx/sites-enabled/*;\n}\n"
	stockSite = "server {\n\tlisten 80 default_server;\n\tlisten [::]:80 default_server;\n\troot /var/www/html;\n\tindex index.html;\n\tserver_name _;\n\tlocation / {\n\t\ttry_files $uri $uri/ =404;\n\t}\n}\n"
	sitePath  = "/etc/nginx/sites-enabled/default"
)

// TestStockSiteGoes: nobody wrote the distribution's site, so nobody is asked.
func TestStockSiteGoes(t *testing.T) {
	s := testGate(testServer("site"))
	d, err := designNginx(s, gateTarget(), []tlsPair{tlsPairFor(t, "phoenix.lan")}, routers{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]machine.Path{sitePath: {Kind: "link", Target: "/etc/nginx/sites-available/default"}}
	contents := map[string][]byte{nginx.MainFile: []byte(stockMain), sitePath: []byte(stockSite), "/etc/nginx/conf.d/phoenix-gate.conf": []byte("server { listen 80 default_server; }")}
	for range 2 { // the second time it is ours already
		found := readByHand(d, about(s), contents)
		if way := found.inTheWay(false); len(way) > 0 {
			t.Fatalf("in the way is %+v", way)
		}
		files := found.rewrites(about(s), false, d.triggers, there)
		if len(files) != 1 || files[0].Path != sitePath || !files[0].Replaces || strings.Contains(string(files[0].Content), "\nserver") || len(files[0].Triggers) != 1 {
			t.Fatalf("rewritten is %+v, want the site as comments", files)
		}
		contents[sitePath] = files[0].Content
	}
	s.Spec.Nginx.HTTPPort = 8080
	if d, err = designNginx(s, gateTarget(), []tlsPair{tlsPairFor(t, "phoenix.lan")}, routers{}, nil); err != nil {
		t.Fatal(err)
	}
	if files := readByHand(d, about(s), contents).rewrites(about(s), false, nil, there); len(files) != 0 {
		t.Errorf("the site is in nobody's way any more, and stays %+v", files)
	}
}

func TestSitesByHand(t *testing.T) {
	s := testGate(testServer("site"))
	d, err := designNginx(s, gateTarget(), []tlsPair{tlsPairFor(t, "phoenix.lan")}, routers{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string][]byte{
		nginx.MainFile: []byte(stockMain), sitePath: []byte(strings.Replace(stockSite, "/var/www/html", "/srv/www", 1)),
		"/etc/nginx/conf.d/site.conf": []byte("include snippets/x.conf;\nserver {\n\tlisten 443 ssl default_server;\n\tserver_name phoenix.lan other.lan;\n}\n"),
	}
	found := readByHand(d, about(s), contents)
	if diff := cmp.Diff([]string{"/etc/nginx/snippets/x.conf"}, found.reads); diff != "" {
		t.Errorf("to be read as well (-want +got):\n%s", diff)
	}
	got := outcome(notOwned(found.inTheWay(false)).Do(t.Context()))
	const want = "NotOwned /etc/nginx/conf.d/site.conf line 3 (listen 443 ssl default_server;) is the default server of port 443, which the service is; " +
		"/etc/nginx/conf.d/site.conf line 4 (server_name phoenix.lan other.lan;) serves phoenix.lan, which is declared; " +
		sitePath + " line 2 (listen 80 default_server;) is the default server of port 80, which the service is; " +
		sitePath + " line 3 (listen [::]:80 default_server;) is the default server of port 80, which the service is: " +
		"take it out there, or set adoptionPolicy: IfUnowned to have it taken over"
	if got != want {
		t.Errorf("it says\n%s\nwant\n%s", got, want)
	}
	if files := found.rewrites(about(s), false, nil, nil); len(files) > 0 {
		t.Errorf("without being asked it rewrites %+v", files)
	}
	files := found.rewrites(about(s), true, nil, nil)
	if len(files) != 2 || !strings.Contains(string(files[0].Content), "\n\tserver_name other.lan; #(HostService home/gate)\n") || len(found.inTheWay(true)) > 0 {
		t.Errorf("taken over are %+v", files)
	}
}
