// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestAnswer proves that an answer says who gave it, and who asked for what.
func TestAnswer(t *testing.T) {
	server := httptest.NewServer(handler("stack-a"))
	defer server.Close()
	answer, err := http.Get(server.URL + "/path?x=1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.Body.Close() != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Hostname: " + host + "\n", "Name: stack-a\n", "GET /path?x=1 HTTP/1.1\n", "Host: 127.0.0.1:"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestHealth proves that the server is as healthy as it is told to be, and that the check sees it.
func TestHealth(t *testing.T) {
	server := httptest.NewServer(handler(""))
	url := server.URL + "/health"
	for _, tc := range []struct {
		reason, body string
		status       int
		well         bool
	}{
		{"it is told to be ill", "500", 200, false},
		{"to be a teapot is not well either", "418\n", 200, false},
		{"what is no number changes nothing", "well", 400, false},
		{"what is no status changes nothing", "99", 400, false},
		{"it recovers", "200", 200, true},
	} {
		answer, err := http.Post(url, "text/plain", strings.NewReader(tc.body))
		if err != nil || answer.StatusCode != tc.status || answer.Body.Close() != nil {
			t.Fatalf("%s: %v, %+v", tc.reason, err, answer)
		}
		if err := ask(t.Context(), url); (err == nil) != tc.well {
			t.Errorf("%s: the check says %v", tc.reason, err)
		}
	}
	server.Close()
	if err := ask(t.Context(), url); err == nil {
		t.Error("a server that is gone is well")
	}
}

// TestServe proves that the server ends when it is told to, without an error, and says why it cannot begin.
func TestServe(t *testing.T) {
	if err := serve(t.Context(), "256.0.0.1:0", nil); err == nil {
		t.Error("it serves at an address that there is not")
	}
	server := httptest.NewServer(nil)
	defer server.Close()
	told, tell := context.WithCancel(t.Context())
	tell()
	if err := serve(told, "127.0.0.1:0", nil); err != nil {
		t.Errorf("it was told to end: %v", err)
	}
	if err := serve(t.Context(), server.Listener.Addr().String(), nil); err == nil {
		t.Error("it serves at a port that is taken")
	}
}

// TestCount proves that a body is read to its end.
func TestCount(t *testing.T) {
	server := httptest.NewServer(handler(""))
	defer server.Close()
	answer, err := http.Post(server.URL+"/count", "text/plain", strings.NewReader(strings.Repeat("x", 3<<20)))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(answer.Body); err != nil || answer.Body.Close() != nil || string(text) != "3145728\n" {
		t.Errorf("answered %q (%v)", text, err)
	}
}

// TestTicks proves that lines come while more of them are to come.
func TestTicks(t *testing.T) {
	server := httptest.NewServer(handler(""))
	defer server.Close()
	answer, err := http.Get(server.URL + "/ticks")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(answer.Body)
	for i := range 5 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("tick %d", i) {
			t.Fatalf("line %d is %q (%v)", i, lines.Text(), lines.Err())
		}
	}
	if lines.Scan() || answer.Body.Close() != nil {
		t.Errorf("there is more: %q", lines.Text())
	}
}

// TestEcho proves that another protocol can be spoken, and that a client that does not ask for it is told.
func TestEcho(t *testing.T) {
	server := httptest.NewServer(handler(""))
	defer server.Close()
	answer, err := http.Get(server.URL + "/echo")
	if err != nil || answer.StatusCode != http.StatusUpgradeRequired || answer.Body.Close() != nil {
		t.Errorf("a plain request: %v, %+v", err, answer)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/echo", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	answer, err = http.DefaultTransport.RoundTrip(request)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %+v", err, answer)
	}
	both := answer.Body.(io.ReadWriteCloser)
	if _, err := io.WriteString(both, "hello"); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 5)
	if _, err := io.ReadFull(both, back); err != nil || string(back) != "hello" || both.Close() != nil {
		t.Errorf("it echoes %q (%v)", back, err)
	}
}
