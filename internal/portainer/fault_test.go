// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/pin"
)

// times makes a fault that happens n times.
func times(n int, fault func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if n == 0 {
			return false
		}
		n--
		fault(w, r)
		return true
	}
}

const page = "<html><body><h1>502 Bad Gateway</h1>nginx</body></html>"

func html(status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, page)
	}
}

// cut promises more than it sends and ends the connection.
func cut(w http.ResponseWriter, _ *http.Request) {
	conn, out, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = out.WriteString("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n[{\"Id\": 1,")
	_ = out.Flush()
	_ = conn.Close()
}

// hang never answers: a handler that returned would, if the client is slower to give up than the server to hear of it.
func hang(_ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

func text(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func huge(w http.ResponseWriter, _ *http.Request) {
	out := bufio.NewWriter(w)
	for range maxAnswer/1024 + 10 {
		if _, err := out.WriteString(strings.Repeat(" ", 1024)); err != nil {
			return
		}
	}
	_ = out.Flush()
}

// faults are what may happen to any call, and what it is to a caller.
var faults = []struct {
	reason string
	fault  func(http.ResponseWriter, *http.Request)
	kind   Kind
	again  bool // a GET is sent a second time
}{
	{"a proxy without a backend", html(502), Away, true},
	{"a proxy's own trouble", html(500), Away, true},
	{"a proxy that knows no such site", html(404), Away, true},
	{"a proxy's page instead of an answer", html(200), Away, false},
	{"nothing instead of an answer", text(200, ""), Away, false},
	{"half of an answer", text(200, `[{"Id":`), Away, false},
	{"another answer", text(200, `"hello"`), Away, false},
	{"a connection that breaks off", cut, Away, true},
	{"an answer without end", huge, Away, true},
	{"a redirection", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/api/elsewhere", http.StatusFound) }, Away, true},
	{"a busy proxy", text(429, "slow down"), Limited, false},
	{"the key is revoked", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 401, "Invalid API key", "Unauthorized") }, Unauthorized, false},
	{"a user without rights", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "Access denied", "Unauthorized") }, Forbidden, false},
	{"an odd refusal", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 418, "I'm a teapot", "") }, Invalid, false},
	{"Portainer's own trouble", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 500, "Unable to retrieve stacks from the database", "disk full")
	}, Failed, false},
}

func TestFaults(t *testing.T) {
	for _, tc := range faults {
		t.Run(tc.reason, func(t *testing.T) {
			f, c, env := site(t)
			e, err := c.Engine(env)
			succeeds(t, "engine", err)
			succeeds(t, "warm", func() error { _, err := e.Containers(t.Context()); return err }())
			reads := map[string]func(context.Context) error{
				"stacks":       func(ctx context.Context) error { _, err := c.Stacks(ctx, env); return err },
				"environments": func(ctx context.Context) error { _, err := c.Environments(ctx); return err },
				"containers":   func(ctx context.Context) error { _, err := e.Containers(ctx); return err },
				"image":        func(ctx context.Context) error { _, _, err := e.Image(ctx, "lab/hello:1"); return err },
			}
			for name, read := range reads {
				f.fault = times(-1, tc.fault)
				f.said()
				fails(t, name, read(t.Context()), tc.kind)
				want := 1
				if tc.again {
					want = 2
				}
				wants(t, name+": how often it was sent", len(f.said()), want)
			}
			f.said()
			in := NewStack{Name: "x", Text: "x"}
			_, err = c.CreateStack(t.Context(), env, in)
			fails(t, "create", err, tc.kind)
			wants(t, "what changes something is sent once", len(f.said()), 1)
		})
	}
}

func TestSecondTry(t *testing.T) {
	f, c, env := site(t)
	e, err := c.Engine(env)
	succeeds(t, "engine", err)
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request){"502": html(502), "cut": cut} {
		f.fault = times(1, fault)
		_, err := c.Stacks(t.Context(), env)
		succeeds(t, name+" once", err)
		f.fault = times(1, fault)
		_, err = e.Containers(t.Context())
		succeeds(t, name+" once", err)
	}
}

func TestCallsEnd(t *testing.T) {
	f, c, env := site(t)
	e, err := c.Engine(env)
	succeeds(t, "engine", err)
	f.fault = times(-1, hang)
	for name, use := range map[string]func(context.Context) error{
		"read": func(ctx context.Context) error { _, err := c.Stacks(ctx, env); return err },
		"deploy": func(ctx context.Context) error {
			_, err := c.CreateStack(ctx, env, NewStack{Name: "x", Text: "x"})
			return err
		},
		"ping":   func(ctx context.Context) error { return e.Ping(ctx) },
		"engine": func(ctx context.Context) error { _, err := e.Containers(ctx); return err },
		"pull":   func(ctx context.Context) error { return e.Pull(ctx, "hello:1") },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := use(ctx)
		cancel()
		fails(t, name, err, Away, "no answer in time")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v does not say why", name, err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		err = use(ctx)
		fails(t, name, err, Away, "given up")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v does not say why", name, err)
		}
	}
}

func TestStreamEnds(t *testing.T) {
	f, _, e := docked(t)
	succeeds(t, "warm", func() error { _, err := e.Containers(t.Context()); return err }())
	for _, tc := range []struct {
		reason string
		fault  func(http.ResponseWriter, *http.Request)
	}{
		{"in the middle of a line", text(200, `{"status":"Pulling"}`+"\n"+`{"stat`)},
		{"in the middle of a body", cut},
		{"with a page", html(200)},
	} {
		f.fault = times(1, tc.fault)
		fails(t, tc.reason, e.Pull(t.Context(), "hello:1"), Away)
	}
	s := &stream{body: io.NopCloser(strings.NewReader("0123456789")), left: 4, broken: func(err error) error { return err }}
	data, err := io.ReadAll(s)
	if string(data) != "0123" || err == nil {
		t.Errorf("a stream of 4 bytes gave %q, %v", data, err)
	}
}

func TestWhatAnswersIsNoEngine(t *testing.T) {
	f, _, e := docked(t)
	f.fault = times(-1, text(200, "OK"))
	fails(t, "a ping without a version", e.Ping(t.Context()), Away)
	_, err := e.Containers(t.Context())
	fails(t, "no version is remembered", err, Away)
	f.fault = nil
	_, err = e.Containers(t.Context())
	succeeds(t, "no harm is done", err)
}

func TestNobodyThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	s, err := New(Options{URL: "https://" + address})
	succeeds(t, "new", err)
	_, err = s.Status(t.Context())
	fails(t, "refused", err, Away, "connection refused", address)
	e, err := s.With("k").Engine(1)
	succeeds(t, "engine", err)
	s.remember(1, "1.41")
	_, err = e.Containers(t.Context())
	fails(t, "the library's own words are not taken", err, Away, "connection refused")
}

func TestTrust(t *testing.T) {
	f := start(t)
	own := x509.NewCertPool()
	own.AddCert(f.server.Certificate())
	address := f.server.Listener.Addr().String()
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	for _, tc := range []struct {
		reason string
		o      Options
		good   bool
	}{
		{"pinned", Options{URL: f.server.URL, Roots: own}, true},
		{"the machine's roots", Options{URL: f.server.URL}, false},
		{"other roots", Options{URL: f.server.URL, Roots: x509.NewCertPool()}, false},
		{"a name that the certificate has", Options{URL: "https://example.com", Roots: own, Dial: dial}, true},
		{"a name that it does not have", Options{URL: "https://portainer.phoenix.lan", Roots: own, Dial: dial}, false},
		{"another name is to be there", Options{URL: f.server.URL, ServerName: "portainer.phoenix.lan", Roots: own}, false},
		{"the name is overridden", Options{URL: "https://10.0.0.111:9443", ServerName: "example.com", Roots: own, Dial: dial}, true},
	} {
		s, err := New(tc.o)
		succeeds(t, tc.reason, err)
		f.said()
		_, err = s.Status(t.Context())
		if tc.good {
			succeeds(t, tc.reason, err)
			continue
		}
		fails(t, tc.reason, err, Untrusted, "certificate")
		if _, ok := pin.Shown(err); !ok {
			t.Errorf("%s: the certificate that was shown is lost", tc.reason)
		}
		fails(t, tc.reason, s.InitAdmin(t.Context(), admin, password), Untrusted)
		e, err := s.With("ptr_firstkey").Engine(1)
		succeeds(t, "engine", err)
		fails(t, tc.reason, e.Ping(t.Context()), Untrusted)
		s.remember(1, "1.41")
		_, err = e.Containers(t.Context())
		fails(t, tc.reason, err, Untrusted)
		wants(t, tc.reason+": nothing is sent", len(f.said()), 0)
	}
}

func TestOldTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // what must be refused
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	s, err := New(Options{URL: server.URL, Roots: roots})
	succeeds(t, "new", err)
	_, err = s.Status(t.Context())
	fails(t, "TLS 1.1", err, Away)
}

func TestRedirectionsGetNoKey(t *testing.T) {
	var asked int
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer other.Close()
	f, c, env := site(t)
	e, err := c.Engine(env)
	succeeds(t, "engine", err)
	for _, status := range []int{301, 302, 303, 307, 308} {
		f.fault = times(-1, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, status) })
		_, err := c.Stacks(t.Context(), env)
		fails(t, "a GET", err, Away)
		fails(t, "a PUT", c.UpdateStack(t.Context(), 1, env, StackChange{}), Away)
		fails(t, "an engine", e.Ping(t.Context()), Away)
		_, err = f.connect().SignIn(t.Context(), admin, password)
		fails(t, "a password", err, Away)
	}
	wants(t, "asked elsewhere", asked, 0)
}

// TestErrorsHoldNoSecret has a server that repeats all that it was sent, in every header and word.
func TestErrorsHoldNoSecret(t *testing.T) {
	const pass, key, value, multi = "s3cret-password-1", "ptr_s3cretkey==", `s3cret "value" $x`, "s3cret-line-one\ns3cret-line-two"
	for status := range map[int]bool{200: true, 302: true, 303: true, 400: true, 401: true, 403: true, 404: true, 409: true, 422: true, 429: true, 500: true, 502: true} {
		f := start(t)
		f.password = pass
		s := f.connect()
		session, err := s.SignIn(t.Context(), admin, pass)
		succeeds(t, "sign in", err)
		f.fault = func(w http.ResponseWriter, r *http.Request) bool {
			body, _ := io.ReadAll(r.Body)
			if r.Method == http.MethodPost && status == 200 {
				_, _ = fmt.Fprintf(w, "%s %v", body, r.Header)
				return true
			}
			seen := ""
			if strings.Contains(r.URL.Path, "/stacks") { // compose repeats what it reads
				seen = fmt.Sprintf("%s %q %s", value, value, multi)
			}
			refuse(w, status, fmt.Sprintf("%s %v %q", body, r.Header, body), seen)
			return true
		}
		c := s.With(key)
		e, err := c.Engine(1)
		succeeds(t, "engine", err)
		stack := []Variable{{"A", value}, {"B", multi}, {"C", pass}}
		_, signIn := s.SignIn(t.Context(), admin, pass)
		_, make := session.MakeKey(t.Context(), "x", pass)
		_, keys := session.Keys(t.Context())
		_, create := c.CreateStack(t.Context(), 1, NewStack{Name: "x", Text: "x", Env: stack})
		_, me := c.Me(t.Context())
		_, containers := e.Containers(t.Context())
		for name, err := range map[string]error{
			"init": s.InitAdmin(t.Context(), admin, pass), "sign in": signIn, "make key": make, "create": create,
			"update": c.UpdateStack(t.Context(), 1, 1, StackChange{Text: "x", Env: stack}),
		} {
			if err == nil && status == 200 {
				continue
			}
			all := fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err))
			for _, secret := range []string{"s3cret", "eyJ.token"} {
				if strings.Contains(all, secret) {
					t.Errorf("%s, %d: %s", name, status, all)
				}
			}
		}
		// These know no password: what they sent themselves is what they may not repeat.
		for name, err := range map[string]error{"keys": keys, "me": me, "ping": e.Ping(t.Context()), "containers": containers} {
			all := fmt.Sprintf("%v %#v", err, errors.Unwrap(err))
			if strings.Contains(all, key) || strings.Contains(all, "eyJ.token") {
				t.Errorf("%s, %d: %s", name, status, all)
			}
		}
	}
}

func TestHide(t *testing.T) {
	for _, tc := range []struct{ reason, text string }{
		{"as it is", "a pa$s'word b"}, {"as it was sent", `a ` + quote("pa$s'word") + ` b`}, {"in JSON", `{"v":"pa$s'word"}`},
	} {
		if got := hide(tc.text, []string{"pa$s'word", "x", ""}); strings.Contains(got, "word") || !strings.Contains(got, hidden) {
			t.Errorf("%s: %s", tc.reason, got)
		}
	}
	wants(t, "one within another", hide("abcdef abc", []string{"abc", "abcdef"}), "*** ***")
	wants(t, "too short to be told from other text", hide("port 80 is taken", []string{"80"}), "port 80 is taken")
}

func TestEveryCallSaysWhatItTried(t *testing.T) {
	f, c, env := site(t)
	ctx := t.Context()
	f.password = password
	s := f.connect()
	session, err := s.SignIn(ctx, admin, password)
	succeeds(t, "sign in", err)
	e, err := c.Engine(env)
	succeeds(t, "engine", err)
	f.fault = times(-1, func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 500, "Unable to read the database", "disk full")
	})
	last := func(_ any, err error) error { return err }
	status := func() error { _, err := s.Status(ctx); return err }
	for words, err := range map[string]error{
		"read status of Portainer": status(), "look for administrator": last(s.HasAdmin(ctx)), "make administrator": s.InitAdmin(ctx, admin, password),
		"sign in to Portainer as admin": last(s.SignIn(ctx, admin, password)), "list API keys": last(session.Keys(ctx)),
		"make API key": last(session.MakeKey(ctx, "x", password)), "delete API key 3": session.DeleteKey(ctx, 3), "read own user": last(c.Me(ctx)),
		"read settings": last(c.Settings(ctx)), "change settings": c.SetSettings(ctx, SettingsChange{}), "list tags": last(c.Tags(ctx)),
		"make tag x": last(c.MakeTag(ctx, "x")), "delete tag 3": c.DeleteTag(ctx, 3), "list environments": last(c.Environments(ctx)),
		"make environment x": last(c.MakeEnvironment(ctx, NewEnvironment{Name: "x"})), "change environment 3": c.UpdateEnvironment(ctx, 3, EnvironmentChange{}),
		"delete environment 3": c.DeleteEnvironment(ctx, 3), "list stacks of environment 3": last(c.Stacks(ctx, 3)), "read text of stack 3": last(c.StackFile(ctx, 3)),
		"create stack x": last(c.CreateStack(ctx, 3, NewStack{Name: "x"})), "update stack 3": c.UpdateStack(ctx, 3, 3, StackChange{}),
		"start stack 3": c.StartStack(ctx, 3, 3), "stop stack 3": c.StopStack(ctx, 3, 3), "delete stack 3": c.DeleteStack(ctx, 3, 3),
		"reach engine of environment": e.Ping(ctx), "list containers of environment": last(e.Containers(ctx)), "list images of environment": last(e.Images(ctx)),
		"pull image x of environment": e.Pull(ctx, "x"), "remove container x of environment": e.Remove(ctx, "x"), "list volumes of project x": last(e.Volumes(ctx, "x")),
		"remove volume x of environment": e.RemoveVolume(ctx, "x"),
	} {
		fails(t, words, err, Failed, words, "Unable to read the database: disk full")
	}
	_, _, err = e.Image(ctx, "x")
	fails(t, "image", err, Failed, "look for image x of environment")
}

func TestAnswersWithoutTheirPoint(t *testing.T) {
	f, c, _ := site(t)
	f.password = password
	s := f.connect()
	session, err := s.SignIn(t.Context(), admin, password)
	succeeds(t, "sign in", err)
	f.fault = times(-1, text(200, "{}"))
	_, err = s.SignIn(t.Context(), admin, password)
	fails(t, "no token", err, Away, "token")
	_, err = session.MakeKey(t.Context(), "x", password)
	fails(t, "no key", err, Away, "key")
	_, err = c.Tags(t.Context())
	fails(t, "no list", err, Away)
	f.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/users/me") {
			text(502, "")(w, r)
			return true
		}
		return false
	}
	_, err = s.SignIn(t.Context(), admin, password)
	fails(t, "half of a sign-in", err, Away)
}

func TestKindOf(t *testing.T) {
	wants(t, "an error of others", KindOf(errors.New("x")), "")
	wants(t, "none", KindOf(nil), "")
	for _, tc := range []struct {
		reason, body, message string
		status                int
		kind                  Kind
	}{
		{"details alone", `{"details":"why"}`, "why", 400, Invalid},
		{"an agent's words", `{"err":"Invalid request signature"}`, "Invalid request signature", 403, Forbidden},
		{"details say all", `{"message":"no","details":"No, because"}`, "No, because", 409, Conflict},
		{"a list", `["x"]`, "https://x answers 422 Unprocessable Entity", 422, Invalid},
		{"a timeout of a proxy", "", "https://x answers 408 Request Timeout", 408, Away},
		{"words of somebody who is away", `{"message":"starting"}`, "starting", 503, Away},
	} {
		e := refusal("https://x", &http.Response{StatusCode: tc.status}, []byte(tc.body))
		wants(t, tc.reason, []any{e.Kind, e.Message, e.Status}, []any{tc.kind, tc.message, tc.status})
	}
	long := clip(strings.Repeat("é", 3*(headMessage+tailMessage)/2+1))
	if strings.ToValidUTF8(long, "?") != long {
		t.Error("a character is cut in two")
	}
	long = clip("x" + strings.Repeat("é", headMessage+tailMessage))
	if strings.ToValidUTF8(long, "?") != long {
		t.Error("a character is cut in two")
	}
}
