// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// clock is set by the test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a server with an engine, and a stranger who talks to it.
type world struct {
	*testing.T
	server *portainer.Server
	engine *portainer.Memory
	clock  *clock
	url    string
	client *http.Client
	header http.Header
	ended  chan error
}

const password = "correct horse battery"

// start starts a server; options may be changed before.
func start(t *testing.T, change func(*portainer.Options)) *world {
	t.Helper()
	c := &clock{now: time.Unix(1800000000, 0)}
	engine := portainer.NewMemory(portainer.MemoryOptions{
		Images: map[string]string{"web:1": "web", "web:2": "web two", "lab/broken:1": "broken"}, Registry: portainer.NewRegistry(nil), Clock: c.Now,
	})
	o := portainer.Options{Engine: engine, Clock: c.Now, AgentSecret: "s3cret"}
	if change != nil {
		change(&o)
	}
	s, err := portainer.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, server: s, engine: engine, clock: c, header: http.Header{}, ended: make(chan error, 1)}
	w.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:forbidigo,gosec // a stranger's client
	w.url = "https://" + w.listen(func(l net.Listener) { w.ended <- s.Serve(l) }) + "/api"
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		_ = s.Close()
	})
	return w
}

// listen gives a listener to something that serves, and says where it is.
func (w *world) listen(serve func(net.Listener)) string {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	go serve(l)
	return l.Addr().String()
}

// call sends a request and gives the status and the answer.
func (w *world) call(method, path string, body any) (int, string) {
	w.Helper()
	code, text, err := w.try(w.Context(), method, path, body)
	if err != nil {
		w.Fatal(err)
	}
	return code, text
}

func (w *world) try(ctx context.Context, method, path string, body any) (int, string, error) {
	var reader io.Reader = http.NoBody
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case map[string]string: // a form
		var buffer bytes.Buffer
		form := multipart.NewWriter(&buffer)
		for name, value := range b {
			if err := form.WriteField(name, value); err != nil {
				w.Fatal(err)
			}
		}
		_ = form.Close()
		reader, kind = &buffer, form.FormDataContentType()
	default:
		text, err := json.Marshal(b)
		if err != nil {
			w.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, w.url+path, reader)
	if err != nil {
		w.Fatal(err)
	}
	r.Header = w.header.Clone()
	r.Header.Set("Content-Type", kind)
	answer, err := w.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// want sends a request and expects a status, and words in the answer.
func (w *world) want(reason string, code int, words, method, path string, body any) string {
	w.Helper()
	got, text := w.call(method, path, body)
	if got != code || !strings.Contains(text, words) {
		w.Errorf("%s: %s %s gave %d, want %d with %q:\n%s", reason, method, path, got, code, words, text)
	}
	return text
}

// read takes an answer apart.
func read[T any](t *testing.T, text string) T {
	t.Helper()
	var out T
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("read %s: %v", text, err)
	}
	return out
}

type object = map[string]any

// admin makes the first administrator and signs in.
func (w *world) admin() {
	w.Helper()
	w.want("the first administrator", 200, `"Username":"root"`, "POST", "/users/admin/init", object{"Username": "root", "Password": password})
	w.signIn()
}

func (w *world) signIn() {
	w.Helper()
	text := w.want("sign in", 200, "jwt", "POST", "/auth", object{"Username": "root", "Password": password})
	w.header.Set("Authorization", "Bearer "+read[struct{ JWT string }](w.T, text).JWT)
}

// local makes the environment of the server's own engine.
func (w *world) local() {
	w.Helper()
	w.want("a local environment", 200, `"Id":1`, "POST", "/endpoints", map[string]string{"Name": "local", "EndpointCreationType": "1"})
}

func TestSessionsAndKeys(t *testing.T) {
	w := start(t, nil)
	w.want("public", 200, `"Version":"2.23.0"`, "GET", "/system/status", nil)
	w.want("no administrator yet", 404, "No administrator", "GET", "/users/admin/check", nil)
	w.want("nobody", 401, "missing", "GET", "/endpoints", nil)
	w.want("too short", 400, "Password does not meet the requirements", "POST", "/users/admin/init", object{"Username": "root", "Password": "elevenchars"})
	w.want("a space", 400, "whitespace", "POST", "/users/admin/init", object{"Username": "ro ot", "Password": password})
	w.admin()
	w.want("an administrator", 204, "", "GET", "/users/admin/check", nil)
	w.want("only one", 409, "An administrator user already exists", "POST", "/users/admin/init", object{"Username": "other", "Password": password})
	w.want("wrong password", 422, "Invalid credentials", "POST", "/auth", object{"Username": "root", "Password": "wrong"})
	w.want("wrong name", 422, "Invalid credentials", "POST", "/auth", object{"Username": "toor", "Password": password})
	if me := w.want("me", 200, `"Username":"root"`, "GET", "/users/me", nil); strings.Contains(me, "assword\":\"") {
		t.Errorf("the user shows its password: %s", me)
	}
	w.want("a key without the password", 400, "Invalid password", "POST", "/users/1/tokens", object{"description": "phoenix"})
	w.want("a key without a description", 400, "Invalid description", "POST", "/users/1/tokens", object{"password": password})
	w.want("a key with a wrong password", 403, "Current password", "POST", "/users/1/tokens", object{"password": "wrong", "description": "phoenix"})
	made := w.want("a key", 201, "rawAPIKey", "POST", "/users/1/tokens", object{"password": password, "description": "phoenix"})
	raw := read[struct{ RawAPIKey string }](t, made).RawAPIKey
	w.header.Set("X-API-Key", raw)
	w.want("a key and a token", 403, "not allowed at the same time", "GET", "/users/me", nil)
	jwt := w.header.Get("Authorization")
	w.header.Del("Authorization")
	w.want("by key", 200, `"Id":1`, "GET", "/users/me", nil)
	w.want("a key makes no key", 401, "Auth not supported", "POST", "/users/1/tokens", object{"password": password, "description": "other"})
	if list := w.want("keys", 200, `"description":"phoenix"`, "GET", "/users/1/tokens", nil); strings.Contains(list, raw) || strings.Contains(list, "digest") {
		t.Errorf("the list shows the key: %s", list)
	}
	w.clock.Add(9 * time.Hour)
	w.want("keys do not end", 200, "", "GET", "/users/me", nil)
	w.header.Set("Authorization", jwt)
	w.header.Del("X-API-Key")
	w.want("sessions end after eight hours", 401, "Invalid JWT token", "GET", "/users/me", nil)
	w.header.Del("Authorization")
	w.header.Set("X-API-Key", raw)
	w.want("a shorter session", 200, `"UserSessionTimeout":"5m"`, "PUT", "/settings", object{"UserSessionTimeout": "5m", "EnableTelemetry": false})
	w.want("no duration", 400, "Invalid user session timeout", "PUT", "/settings", object{"UserSessionTimeout": "soon"})
	w.want("settings", 200, `"SnapshotInterval":"5m"`, "GET", "/settings", nil)
	w.header.Del("X-API-Key")
	w.signIn()
	w.clock.Add(6 * time.Minute)
	w.want("ended", 401, "", "GET", "/users/me", nil)
	w.header.Del("Authorization")
	w.header.Set("X-API-Key", raw)
	w.want("the key is deleted", 204, "", "DELETE", "/users/1/tokens/1", nil)
	w.want("and is good for nothing", 401, "", "GET", "/users/me", nil)
}

func TestPasswordAndLogout(t *testing.T) {
	w := start(t, nil)
	w.admin()
	w.want("logout", 204, "", "POST", "/auth/logout", nil)
	w.want("is out", 401, "", "GET", "/users/me", nil)
	w.header.Del("Authorization")
	w.signIn()
	w.want("wrong", 403, "Current password", "PUT", "/users/1/passwd", object{"password": "wrong", "newPassword": "another long word"})
	w.want("short", 400, "minimum strength", "PUT", "/users/1/passwd", object{"password": password, "newPassword": "short"})
	w.clock.Add(time.Second)
	w.want("changed", 204, "", "PUT", "/users/1/passwd", object{"password": password, "newPassword": "another long word"})
	w.want("ends sessions", 401, "", "GET", "/users/me", nil)
	w.header.Del("Authorization")
	w.want("the old one is wrong", 422, "", "POST", "/auth", object{"Username": "root", "Password": password})
}

func TestSignInIsLimited(t *testing.T) {
	w := start(t, nil)
	w.want("the first administrator", 200, "", "POST", "/users/admin/init", object{"Username": "root", "Password": password})
	for range 10 {
		w.want("wrong", 422, "", "POST", "/auth", object{"Username": "root", "Password": "wrong"})
	}
	w.want("the eleventh within a second", 403, "Access denied", "POST", "/auth", object{"Username": "root", "Password": "wrong"})
	w.clock.Add(59 * time.Minute)
	w.want("for an hour", 403, "Access denied", "POST", "/auth", object{"Username": "root", "Password": password})
	w.clock.Add(2 * time.Minute)
	w.want("and no longer", 200, "jwt", "POST", "/auth", object{"Username": "root", "Password": password})
	for range 30 {
		w.clock.Add(time.Second)
		w.want("slow ones are not limited", 422, "", "POST", "/auth", object{"Username": "root", "Password": "wrong"})
	}
}

func TestTheWaitForAnAdministratorEnds(t *testing.T) {
	for name, c := range map[string]struct {
		lock   bool
		made   bool
		reason string
	}{
		"ends":     {reason: "without an administrator the server ends itself"},
		"is there": {made: true, reason: "with one it stays"},
		"locks":    {lock: true, reason: "or it answers nothing but 303"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, func(o *portainer.Options) { o.AdminLock = c.lock })
			if c.made {
				w.admin()
			}
			w.clock.Add(4 * time.Minute)
			w.want("in time", 200, "", "GET", "/system/status", nil)
			w.clock.Add(time.Minute)
			w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			code, text, err := w.try(t.Context(), "GET", "/system/status", nil)
			switch {
			case c.made:
				if err != nil || code != 200 {
					t.Errorf("%s: %d %v", c.reason, code, err)
				}
			case c.lock:
				if code != 303 || !strings.Contains(text, "Administrator initialization timeout") {
					t.Errorf("%s: %d %s %v", c.reason, code, text, err)
				}
			default:
				if ended := <-w.ended; err == nil || !errors.Is(ended, portainer.ErrNoAdmin) {
					t.Errorf("%s: %v; the server ended with %v", c.reason, err, ended)
				}
			}
		})
	}
}

func TestDatabaseSurvives(t *testing.T) {
	dir := t.TempDir()
	w := start(t, func(o *portainer.Options) { o.Data = dir })
	empty := w.server.Backup()
	w.admin()
	w.local()
	raw := read[struct{ RawAPIKey string }](t, w.want("a key", 201, "", "POST", "/users/1/tokens", object{"password": password, "description": "phoenix"})).RawAPIKey
	instance := w.want("status", 200, "", "GET", "/system/status", nil)
	old := w.server.Backup()
	w.want("a tag", 200, `"ID":1`, "POST", "/tags", object{"Name": "phoenix"})
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-w.ended; !errors.Is(err, portainer.ErrClosed) {
		t.Errorf("closed with %v", err)
	}

	again := start(t, func(o *portainer.Options) { o.Data = dir })
	again.header = w.header.Clone()
	again.want("sessions end with the server", 401, "", "GET", "/users/me", nil)
	again.header = http.Header{"X-Api-Key": {raw}}
	again.want("keys do not", 200, `"root"`, "GET", "/users/me", nil)
	again.want("tags", 200, "phoenix", "GET", "/tags", nil)
	again.want("the same instance", 200, instance, "GET", "/system/status", nil)
	if err := again.server.Restore(old); err != nil {
		t.Fatal(err)
	}
	again.want("an old backup has no new things", 200, "[]", "GET", "/tags", nil)
	again.want("but what was there", 200, `"local"`, "GET", "/endpoints", nil)
	if err := again.server.Restore(empty); err != nil {
		t.Fatal(err)
	}
	again.want("an older one has no key", 401, "", "GET", "/tags", nil)
	again.want("nor an administrator", 404, "", "GET", "/users/admin/check", nil)
	if err := again.server.Restore(nil); err != nil {
		t.Fatal(err)
	}
	if now := again.want("made anew", 200, "", "GET", "/system/status", nil); now == instance {
		t.Error("a server that was made anew is the same instance")
	}
}
