// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/pin"
)

func TestNewRefuses(t *testing.T) {
	good := Endpoint{
		URL: "https://10.0.0.13:8006", TokenID: "root@pam!t1", TokenSecret: "x",
		TLS: pin.Config{Fingerprint: strings.Repeat("ab", 32)},
	}
	cases := map[string]struct {
		reason string
		change func(*Endpoint)
		want   string // part of the error; empty: accepted
	}{
		"good":         {"the usual one", func(*Endpoint) {}, ""},
		"slash":        {"people add one", func(e *Endpoint) { e.URL += "/" }, ""},
		"whole path":   {"or copy all of it", func(e *Endpoint) { e.URL += "/api2/json/" }, ""},
		"http":         {"the token would be read on the way", func(e *Endpoint) { e.URL = "http://10.0.0.13:8006" }, "https"},
		"no scheme":    {"a host alone", func(e *Endpoint) { e.URL = "10.0.0.13" }, "https"},
		"password":     {"no passwords in URLs, and none in the error", func(e *Endpoint) { e.URL = "https://root:pw0rd@10.0.0.13" }, "xxxxx"},
		"broken":       {"not a URL", func(e *Endpoint) { e.URL = "https://[::1" }, "URL"},
		"no name":      {"a user is no token", func(e *Endpoint) { e.TokenID = "root@pam" }, "user@realm!name"},
		"user of mail": {"a realm's users may be mail addresses", func(e *Endpoint) { e.TokenID = "ann@example.org@oidc!phoenix" }, ""},
		"with secret":  {"a whole header is no ID", func(e *Endpoint) { e.TokenID = "root@pam!t1=x" }, "user@realm!name"},
		"two lines":    {"no header can carry them", func(e *Endpoint) { e.TokenSecret = "x\nx" }, "line break"},
		"no secret":    {"the Secret's key is empty", func(e *Endpoint) { e.TokenSecret = "" }, "secret is empty"},
		"nothing pin":  {"never the system's roots", func(e *Endpoint) { e.TLS = pin.Config{} }, "neither"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e := good
			c.change(&e)
			_, err := New(e)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: New() = %v, want %q", c.reason, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "pw0rd") {
				t.Errorf("%s: the error shows the password: %v", c.reason, err)
			}
		})
	}
}

func TestPinnedCertificate(t *testing.T) {
	site := record(t, map[string][]answer{"GET /version": {data(`{"release":"9.2","version":"9.2.11"}`)}})
	shown := pin.FormatFingerprint(sha256.Sum256(site.Certificate().Raw))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: site.Certificate().Raw})
	cases := map[string]struct {
		reason  string
		trust   pin.Config
		trusted bool
	}{
		"fingerprint": {"as the node shows it", pin.Config{Fingerprint: shown}, true},
		"CA":          {"the cluster's own authority", pin.Config{CA: ca}, true},
		"other":       {"the error must show what is served", pin.Config{Fingerprint: strings.Repeat("ab", 32)}, false},
		"other name":  {"a CA signs for names", pin.Config{CA: ca, ServerName: "pve.invalid"}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e := site.endpoint()
			e.TLS = c.trust
			client, err := New(e)
			if err != nil {
				t.Fatal(err)
			}
			before := site.count("GET /version")
			version, err := client.Version(t.Context())
			if c.trusted {
				if err != nil || version != "9.2.11" {
					t.Fatalf("%s: %q, %v", c.reason, version, err)
				}
				return
			}
			if got, ok := pin.Shown(err); !ok || got != shown || !IsUntrusted(err) || !IsUnreachable(err) {
				t.Errorf("%s: %v shows %q", c.reason, err, got)
			}
			if site.count("GET /version") != before {
				t.Errorf("%s: the request with the token was sent", c.reason)
			}
		})
	}
}

func TestWrongCertificateIsShownEachTime(t *testing.T) {
	site := record(t, nil)
	e := site.endpoint()
	e.TLS = pin.Config{Fingerprint: strings.Repeat("ab", 32)}
	client, err := New(e)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * tripAfter {
		if _, err := client.Version(t.Context()); !IsUntrusted(err) {
			t.Fatalf("what is served must be told for as long as it is wrong: %v", err)
		}
	}
}

func TestConnectionIsKept(t *testing.T) {
	site := record(t, map[string][]answer{"GET /version": {data(`{"version":"9.2.11"}`)}})
	client := site.client(t)
	var dialled atomic.Int32
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{ConnectStart: func(string, string) { dialled.Add(1) }})
	for range 5 {
		if _, err := client.Version(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := dialled.Load(); n != 1 {
		t.Errorf("five calls made %d connections: a call on a new one costs 48 ms", n)
	}
}

// TestCutAfterAccepted breaks the connection after the site took a POST. The
// error must say that the outcome is unknown, and the write must not be sent
// again: go-proxmox's own retries would.
func TestCutAfterAccepted(t *testing.T) {
	const path = "/nodes/pve1/lxc/101/status/start"
	site := record(t, map[string][]answer{
		"POST " + path: {{cut: true}},
		"GET /version": {data(`{"version":"9.2.11"}`)},
	})
	client := site.client(t)
	if _, err := client.Version(t.Context()); err != nil { // so that the POST goes over a kept connection
		t.Fatal(err)
	}
	upid, err := client.Start(t.Context(), guest101)
	if !IsUnreachable(err) || upid != "" {
		t.Errorf("Start() = %q, %v, want an unreachable error", upid, err)
	}
	var e *Error
	if !errors.As(err, &e) || e.Code != 0 {
		t.Errorf("%v claims an answer", err)
	}
	if n := site.count("POST " + path); n != 1 {
		t.Errorf("the start was sent %d times", n)
	}
}

// wire is a site in memory for tests of time.
type wire func(*http.Request) (*http.Response, error)

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

func say(status int, body string) (*http.Response, error) {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

func wired(t *testing.T, l Limits, w wire) *Client {
	t.Helper()
	c, err := New(Endpoint{
		URL: "https://10.0.0.13:8006", TokenID: "root@pam!t1", TokenSecret: "x", Limits: l,
		TLS: pin.Config{Fingerprint: strings.Repeat("ab", 32)},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.carrier.base = w
	return c
}

func TestOnlyReadsAreRepeated(t *testing.T) {
	refused := errors.New("connection refused")
	cases := map[string]struct {
		reason string
		call   func(context.Context, *Client) error
		status int // 0: no answer
		want   int
	}{
		"read, cut":   {"a GET changes nothing", func(ctx context.Context, c *Client) error { _, err := c.Version(ctx); return err }, 0, readAttempts},
		"read, 595":   {"a node may come back", func(ctx context.Context, c *Client) error { _, err := c.Config(ctx, guest101); return err }, 595, readAttempts},
		"read, 596":   {"polls are cut off under load", func(ctx context.Context, c *Client) error { _, err := c.Config(ctx, guest101); return err }, 596, readAttempts},
		"read, 500":   {"an answer is an answer", func(ctx context.Context, c *Client) error { _, err := c.Version(ctx); return err }, 500, 1},
		"read, 403":   {"it stays denied", func(ctx context.Context, c *Client) error { _, err := c.Version(ctx); return err }, 403, 1},
		"POST, cut":   {"it may have been carried out", func(ctx context.Context, c *Client) error { _, err := c.Start(ctx, guest101); return err }, 0, 1},
		"POST, 595":   {"it may have been carried out", func(ctx context.Context, c *Client) error { _, err := c.Start(ctx, guest101); return err }, 595, 1},
		"create, 596": {"there would be two", func(ctx context.Context, c *Client) error { _, err := c.Create(ctx, "pve1", LXC, 7, nil); return err }, 596, 1},
		"PUT, 595": {"with no target go-proxmox takes it for success", func(ctx context.Context, c *Client) error {
			return c.SetConfig(ctx, guest101, "", nil, []string{"tags"})
		}, 595, 1},
		"DELETE, 595":    {"a second one could hit a new guest", func(ctx context.Context, c *Client) error { _, err := c.Destroy(ctx, guest101); return err }, 595, 1},
		"DELETE, cut":    {"a second one could hit a new guest", func(ctx context.Context, c *Client) error { _, err := c.Destroy(ctx, guest101); return err }, 0, 1},
		"raw DELETE 595": {"with no target go-proxmox takes it for success", func(ctx context.Context, c *Client) error { return c.call(ctx, "DELETE", "/nodes/pve1/x", nil, nil) }, 595, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				client := wired(t, Limits{}, func(*http.Request) (*http.Response, error) {
					sent++
					if c.status == 0 {
						return nil, refused
					}
					return say(c.status, "")
				})
				if err := c.call(t.Context(), client); err == nil {
					t.Errorf("%s: no error", c.reason)
				}
				if sent != c.want {
					t.Errorf("%s: sent %d times, want %d", c.reason, sent, c.want)
				}
			})
		})
	}
}

func TestRepeatedReadSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		client := wired(t, Limits{}, func(*http.Request) (*http.Response, error) {
			if sent++; sent < readAttempts {
				return nil, io.ErrUnexpectedEOF
			}
			return say(200, `{"data":{"version":"9.2.11"}}`)
		})
		if version, err := client.Version(t.Context()); err != nil || version != "9.2.11" {
			t.Errorf("Version() = %q, %v", version, err)
		}
	})
}

// TestWaitsHonourTheContext holds every place that waits to the context: the
// token bucket, the pause before a repetition, and a site that is silent.
func TestWaitsHonourTheContext(t *testing.T) {
	cases := map[string]struct {
		reason string
		limits Limits
		wire   wire
		warmUp int
	}{
		"bucket": {"the bucket is empty for an hour", Limits{RequestsPerSecond: 1.0 / 3600, Burst: 1}, func(*http.Request) (*http.Response, error) {
			return say(200, `{"data":{}}`)
		}, 1},
		"pause": {"between two attempts", Limits{}, func(*http.Request) (*http.Response, error) { return nil, io.EOF }, 0},
		"silence": {"nobody answers", Limits{}, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := wired(t, c.limits, c.wire)
				for range c.warmUp {
					if _, err := client.Version(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
				defer cancel()
				start := time.Now()
				if _, err := client.Version(ctx); err == nil {
					t.Errorf("%s: no error", c.reason)
				}
				if took := time.Since(start); took > 30*time.Millisecond {
					t.Errorf("%s: returned %v after the context's end", c.reason, took-30*time.Millisecond)
				}
			})
		})
	}
}

func TestSilenceEndsAfterThirtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := wired(t, Limits{}, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		start := time.Now()
		_, err := client.Version(t.Context())
		if !IsUnreachable(err) || time.Since(start) != callTimeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestTokenBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := wired(t, Limits{RequestsPerSecond: 10, Burst: 5}, func(*http.Request) (*http.Response, error) {
			return say(200, `{"data":{}}`)
		})
		start := time.Now()
		for range 25 {
			if _, err := client.Version(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		// Five at once, twenty at ten a second.
		if took := time.Since(start).Round(time.Millisecond); took != 2*time.Second {
			t.Errorf("25 calls took %v, want 2s", took)
		}
	})
}

func TestGivenUpCallsTakeNoTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := wired(t, Limits{RequestsPerSecond: 1, Burst: 1}, func(*http.Request) (*http.Response, error) {
			return say(200, `{"data":{}}`)
		})
		start := time.Now()
		for i := range 21 { // the first has a token, the others give up at once
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := client.Version(ctx); (err == nil) != (i == 0) {
				t.Fatalf("call %d: %v", i, err)
			}
			cancel()
		}
		if _, err := client.Version(t.Context()); err != nil || time.Since(start) > 2*time.Second {
			t.Errorf("after twenty calls that were given up the next waits %v: %v", time.Since(start), err)
		}
	})
}

func TestEndpointBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent, up := 0, false
		client := wired(t, Limits{}, func(*http.Request) (*http.Response, error) {
			if sent++; up {
				return say(200, `{"data":"UPID:pve1:00000001:00000002:6B01EDC6:vzstart:101:root@pam!t1:"}`)
			}
			return nil, errors.New("connection refused")
		})
		start := func() error { _, err := client.Start(t.Context(), guest101); return err }
		for range tripAfter {
			if err := start(); !IsUnreachable(err) || errors.Is(err, ErrBreakerOpen) {
				t.Fatalf("before the breaker opens: %v", err)
			}
		}
		if err := start(); !errors.Is(err, ErrBreakerOpen) || !IsUnreachable(err) || sent != tripAfter {
			t.Fatalf("after %d failures a call was sent (%d): %v", tripAfter, sent, err)
		}
		time.Sleep(openFor + time.Second)
		if err := start(); errors.Is(err, ErrBreakerOpen) || sent != tripAfter+1 {
			t.Fatalf("after %v no trial was made: %v", openFor, err)
		}
		if err := start(); !errors.Is(err, ErrBreakerOpen) {
			t.Fatalf("one failed trial must keep the breaker open: %v", err)
		}
		up = true
		time.Sleep(openFor + time.Second)
		for range 3 {
			if err := start(); err != nil {
				t.Fatalf("the site is back: %v", err)
			}
		}
	})
}

func TestBreakerCountsOnlySilence(t *testing.T) {
	cases := map[string]struct {
		reason string
		status int
		body   string
	}{
		"500": {"the site works: the guest does not exist", 500, `{"data":null,"message":"x"}`},
		"403": {"the site works: the token may not", 403, `{"data":null,"message":"x"}`},
		"400": {"the site works: the parameter is wrong", 400, `{"data":null,"message":"x"}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := wired(t, Limits{}, func(*http.Request) (*http.Response, error) { return say(c.status, c.body) })
				for range 3 * tripAfter {
					if _, err := client.Config(t.Context(), guest101); err == nil || IsUnreachable(err) {
						t.Fatalf("%s: %v", c.reason, err)
					}
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a caller without patience says nothing of the site
		client := wired(t, Limits{}, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		for range 3 * tripAfter {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := client.Version(ctx); errors.Is(err, ErrBreakerOpen) {
				t.Fatal("calls that their caller gave up opened the breaker")
			}
			cancel()
		}
	})
}

func TestNodeBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := map[string]int{}
		client := wired(t, Limits{}, func(r *http.Request) (*http.Response, error) {
			node := nodeOf(strings.TrimPrefix(r.URL.Path, "/api2/json"))
			if sent[node]++; node == "pve2" {
				return say(595, "")
			}
			return say(200, `{"data":null}`)
		})
		write := func(node string) error {
			return client.SetConfig(t.Context(), Ref{Node: node, Type: LXC, VMID: 7}, "", map[string]string{"memory": "512"}, nil)
		}
		for range 2 * tripAfter {
			if err := write("pve2"); !IsUnreachable(err) {
				t.Fatalf("the dead node answered: %v", err)
			}
		}
		if sent["pve2"] != tripAfter {
			t.Errorf("%d calls went to the dead node, want %d", sent["pve2"], tripAfter)
		}
		if err := write("pve1"); err != nil {
			t.Errorf("a dead node keeps its neighbour from being worked with: %v", err)
		}
		if _, err := client.Version(t.Context()); err != nil {
			t.Errorf("a dead node keeps the site from being asked: %v", err)
		}
	})
}

func TestBounds(t *testing.T) {
	t.Run("parameters", func(t *testing.T) {
		sent := 0
		client := wired(t, Limits{}, func(*http.Request) (*http.Response, error) { sent++; return say(200, `{"data":null}`) })
		err := client.SetConfig(t.Context(), guest101, "", map[string]string{"description": strings.Repeat("x", maxRequest)}, nil)
		if !IsInvalid(err) || sent != 0 {
			t.Errorf("Proxmox VE takes 512 KiB, sent %d times: %v", sent, err)
		}
	})
	t.Run("answer", func(t *testing.T) {
		client := wired(t, Limits{}, func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Status: "200 OK", Body: io.NopCloser(io.LimitReader(endless{}, 2*maxAnswer))}, nil
		})
		if _, err := client.Version(t.Context()); err == nil || !strings.Contains(err.Error(), "longer") {
			t.Errorf("an endless answer was read: %v", err)
		}
	})
	t.Run("error text", func(t *testing.T) {
		client := wired(t, Limits{}, func(*http.Request) (*http.Response, error) {
			return say(500, `{"data":null,"message":"`+strings.Repeat("x", 1<<20)+`"}`)
		})
		if _, err := client.Version(t.Context()); err == nil || len(err.Error()) > 2*maxText {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
