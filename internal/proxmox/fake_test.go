// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/internal/pin"
)

// answer is one recorded answer: status line without the protocol, and body.
type answer struct {
	status, body string
	// cut breaks the connection instead of answering.
	cut bool
}

func data(json string) answer { return answer{status: "200 OK", body: `{"data":` + json + `}`} }

// refusal is an error as Proxmox VE sends it: in the status line and the body.
func refusal(code int, message string) answer {
	return answer{status: fmt.Sprintf("%d %s", code, message), body: fmt.Sprintf(`{"data":null,"message":%q}`, message+"\n")}
}

func invalid(fields string) answer {
	return answer{
		status: "400 Parameter verification failed.",
		body:   `{"data":null,"message":"Parameter verification failed.\n","errors":` + fields + `}`,
	}
}

// call is one request as it arrived.
type call struct {
	method, path, body string
	query              url.Values
	header             http.Header
}

// recorded is an HTTPS server that gives recorded answers: the reason phrase
// of the status line included, which net/http's own server cannot set.
type recorded struct {
	*httptest.Server

	mu      sync.Mutex
	answers map[string][]answer // "GET /path": in turn, the last one for ever
	calls   []call
	hook    func(call) // runs before the answer
}

func record(t *testing.T, answers map[string][]answer) *recorded {
	t.Helper()
	r := &recorded{answers: answers}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	r.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what some cases test
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *recorded) endpoint() Endpoint {
	return Endpoint{
		URL: r.URL, TokenID: "root@pam!t1", TokenSecret: "5ecret-5ecret-5ecret",
		TLS:    pin.Config{Fingerprint: pin.FormatFingerprint(sha256.Sum256(r.Certificate().Raw))},
		Limits: Limits{RequestsPerSecond: 1e6, Burst: 1e6},
	}
}

func (r *recorded) client(t *testing.T) *Client {
	t.Helper()
	c, err := New(r.endpoint())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (r *recorded) serve(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	got := call{
		method: request.Method, path: strings.TrimPrefix(request.URL.Path, "/api2/json"), body: string(body),
		query: request.URL.Query(), header: request.Header.Clone(),
	}
	r.mu.Lock()
	r.calls = append(r.calls, got)
	key := got.method + " " + got.path
	list := r.answers[key]
	now := answer{status: "501 Method '" + key + "' not implemented", body: `{"data":null}`}
	if len(list) > 0 {
		now = list[0]
	}
	if len(list) > 1 {
		r.answers[key] = list[1:]
	}
	hook := r.hook
	r.mu.Unlock()
	if hook != nil {
		hook(got)
	}
	if now.status == "200 OK" && !now.cut { // keeps the connection
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		_, _ = io.WriteString(w, now.body)
		return
	}
	wire, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = wire.Close() }()
	if !now.cut {
		_, _ = fmt.Fprintf(wire, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", now.status, len(now.body), now.body)
	}
}

// count returns how many calls of "METHOD /path" arrived.
func (r *recorded) count(key string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.calls {
		if c.method+" "+c.path == key {
			n++
		}
	}
	return n
}

func (r *recorded) last() call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[len(r.calls)-1]
}
