// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

func TestServesUntilItIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"--nodes", "pve1,pve2", "--task-time", "20ms", "--guest", "lxc:101:nginx:running", "--fault", "GET /nodes status=596 reason=Broken pipe"}, in)
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("read the first line: %v", err)
	}
	var a announcement
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		t.Fatalf("decode %q: %v", line, err)
	}
	client := trusting(t, a.CAFile)
	for _, tc := range []struct{ reason, path, status, body string }{
		{"the API answers", "/version", "200 OK", "9.2"},
		{"the guest runs", "/nodes/pve1/lxc/101/status/current", "200 OK", `"running"`},
		{"the fault strikes", "/nodes", "596 Broken pipe", ""},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+"/api2/json"+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "PVEAPIToken="+a.TokenID+"="+a.TokenSecret)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatalf("ask: %v", err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.Status != tc.status || !strings.Contains(string(body), tc.body) {
				t.Errorf("%s: %q %s, %v; want %q with %q", tc.path, resp.Status, body, err, tc.status, tc.body)
			}
		})
	}
	if len(a.SSH) != 2 || a.SSH[1].Name != "pve2" {
		t.Errorf("doors: %+v", a.SSH)
	}
	for _, door := range a.SSH {
		if info, err := os.Stat(door.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("key of %s: %v, %v; want mode 0600", door.Name, info, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(a.CAFile)); !os.IsNotExist(err) {
		t.Errorf("the folder of keys is there after the end: %v", err)
	}
}

func trusting(t *testing.T, caFile string) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatalf("read the authority: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestFaultFlags(t *testing.T) {
	for _, tc := range []struct {
		reason, text string
		want         pve.Fault
		err          string
	}{
		{"a status", "PUT /nodes/*/lxc/*/config status=500 reason=got timeout from=2 to=3",
			pve.Fault{Method: "PUT", Path: "/nodes/*/lxc/*/config", Status: 500, Reason: "got timeout", From: 2, To: 3}, ""},
		{"any method, cut after a delay", "* /** cut=after delay=20ms", pve.Fault{Path: "/**", Cut: pve.CutAfter, Delay: 20 * time.Millisecond}, ""},
		{"no path", "PUT status=500", pve.Fault{}, "want METHOD PATH"},
		{"an unknown setting", "PUT /x frob=1", pve.Fault{Method: "PUT", Path: "/x"}, "frob: unknown setting"},
		{"a number that is none", "PUT /x status=abc", pve.Fault{Method: "PUT", Path: "/x"}, "status:"},
		{"an unknown cut", "PUT /x cut=middle", pve.Fault{Method: "PUT", Path: "/x"}, "before or after"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, err := parseFault(tc.text)
			if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreUnexported(pve.Fault{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTaskFaultFlags(t *testing.T) {
	for _, tc := range []struct {
		reason, text string
		want         pve.TaskFault
		err          string
	}{
		{"a failure of one guest's", "vzcreate 101 fail=no space left times=1", pve.TaskFault{Kind: "vzcreate", ID: "101", Fail: "no space left", Times: 1}, ""},
		{"warnings and a lost record", "* warnings=2 lost=true delay=1s", pve.TaskFault{Warnings: 2, Lost: true, Delay: time.Second}, ""},
		{"an unknown setting", "vzcreate frob=1", pve.TaskFault{Kind: "vzcreate"}, "frob: unknown setting"},
		{"nothing", "", pve.TaskFault{}, "want KIND"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, err := parseTaskFault(tc.text)
			if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreUnexported(pve.TaskFault{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestGuestFlags(t *testing.T) {
	for _, tc := range []struct {
		reason, text, kind string
		running            bool
		bad                bool
	}{
		{"a running container", "lxc:101:nginx:running", "lxc", true, false},
		{"a VM", "qemu:1001:portainer", "qemu", false, false},
		{"no name", "lxc:101", "", false, true},
		{"an id that is no number", "lxc:abc:x", "", false, true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, err := parseGuest(tc.text)
			if (err != nil) != tc.bad || got.Kind != tc.kind || got.Running != tc.running {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
