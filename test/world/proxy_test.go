// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	netproxy "golang.org/x/net/proxy"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

func TestProxy(t *testing.T) {
	before := runtime.NumGoroutine()
	site, err := pve.Start(t.Context(), pve.Options{NoSSH: true, NoTemplate: true, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Running: true, Config: "hostname: nginx\nnet0: name=eth0,bridge=vmbr0,ip=10.0.0.153/24\n"},
		{VMID: 102, Kind: "lxc", Config: "hostname: off\nnet0: name=eth0,bridge=vmbr0,ip=10.0.0.12/24\n"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProxy(t.Context(), site)
	if err != nil {
		t.Fatal(err)
	}
	if exit := site.GuestMachine(101).Shell(t.Context(), "apt-get update && apt-get install -y nginx-light", nil, nil, nil); exit != 0 {
		t.Fatalf("install nginx: exit %d", exit)
	}
	if exit := site.Machine("phoenix").Shell(t.Context(), "echo 10.0.0.153 nginx.phoenix.lan >> /etc/hosts", nil, nil, nil); exit != 0 {
		t.Fatalf("name nginx: exit %d", exit)
	}
	address, _ := strings.CutPrefix(p.environment()[0], "ALL_PROXY=")
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := netproxy.FromURL(parsed, &net.Dialer{})
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DialContext: dialer.(netproxy.ContextDialer).DialContext}
	get := func(target string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := tr.RoundTrip(request)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return err.Error()
		}
		return answer.Status + " " + string(body)
	}
	cases := []struct{ reason, url, want string }{
		{"a guest by its address", "http://10.0.0.153/", "Welcome to nginx!"},
		{"a guest by its name", "http://nginx.phoenix.lan/", "Welcome to nginx!"},
		{"a name that nobody has", "http://nobody.phoenix.lan/", "host unreachable"},
		{"a guest on which nothing listens", "http://10.0.0.153:8080/", "connection refused"},
		{"a guest that is off", "http://10.0.0.12/", "host unreachable"},
		{"an address that nobody has", "http://10.9.9.9/", "host unreachable"},
		{"a node on which nothing listens", "http://10.0.0.13:8080/", "connection refused"},
	}
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			if got := get(tc.url); !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if err := p.Close(); err != nil { // with a connection that waits for the next request
		t.Error(err)
	}
	if got := get("http://10.0.0.153/"); !strings.Contains(got, "refused") {
		t.Errorf("a closed proxy: %q", got)
	}
	site.Close()
	for range 500 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
}
