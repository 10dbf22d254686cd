// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// wants compares and says why it matters.
func wants[T any](t *testing.T, reason string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", reason, diff)
	}
}

// fails wants an error of a kind.
func fails(t *testing.T, reason string, err error, kind Kind, words ...string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind || KindOf(err) != kind {
		t.Fatalf("%s: got %v (%s), want %s", reason, err, KindOf(err), kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: got %v, want %q in it", reason, err, w)
		}
	}
}

func succeeds(t *testing.T, reason string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", reason, err)
	}
}

func TestNewRefusesURLs(t *testing.T) {
	for _, tc := range []struct{ reason, url string }{
		{"a key would travel in the open", "http://10.0.0.111:9443"},
		{"there is no host", "https://"},
		{"a path is not ours to add to", "https://10.0.0.111:9443/portainer"},
		{"a password in a URL ends up in logs", "https://admin:hunter22hunter@10.0.0.111"},
		{"a query means nothing", "https://10.0.0.111?x=1"},
		{"it is no URL", "https://%zz"},
	} {
		s, err := New(Options{URL: tc.url})
		if err == nil || s != nil || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%s: New(%q) = %v, %v", tc.reason, tc.url, s, err)
		}
	}
	if _, err := New(Options{URL: "https://portainer.phoenix.lan:9443/"}); err != nil {
		t.Errorf("a slash at the end is common: %v", err)
	}
}

func TestFirstHour(t *testing.T) {
	f := start(t)
	s, ctx := f.connect(), t.Context()
	status, err := s.Status(ctx)
	succeeds(t, "everybody may ask", err)
	wants(t, "what it is", status, Status{Version: "2.23.0", InstanceID: "299ab403"})

	has, err := s.HasAdmin(ctx)
	succeeds(t, "404 is an answer here", err)
	wants(t, "nobody yet", has, false)
	fails(t, "too short", s.InitAdmin(ctx, admin, "hunter22"), Invalid, "requirements")
	succeeds(t, "long enough", s.InitAdmin(ctx, admin, password))
	has, err = s.HasAdmin(ctx)
	succeeds(t, "204 without a body", err)
	wants(t, "made", has, true)
	fails(t, "a second one", s.InitAdmin(ctx, admin, password), Conflict, "already exists")

	_, err = s.SignIn(ctx, admin, "wrong wrong wrong")
	fails(t, "another password", err, BadCredentials, "Invalid credentials")
	session, err := s.SignIn(ctx, admin, password)
	succeeds(t, "the right one", err)
	wants(t, "who that is", session.Me(), User{ID: 1, Name: admin, Admin: true})

	_, err = session.MakeKey(ctx, "phoenix lab", "wrong wrong wrong")
	fails(t, "403 for a password", err, BadCredentials, "password")
	_, err = session.MakeKey(ctx, "phoenix lab", "")
	fails(t, "400 without a password", err, Invalid)
	_, err = session.MakeKey(ctx, strings.Repeat("x", 128), password)
	fails(t, "400 for a long description", err, Invalid)
	raw, err := session.MakeKey(ctx, "phoenix lab", password)
	succeeds(t, "201 with the key", err)
	keys, err := session.Keys(ctx)
	succeeds(t, "keys", err)
	if len(keys) != 1 || keys[0].Description != "phoenix lab" || keys[0].ID == 0 {
		t.Fatalf("Keys() = %+v", keys)
	}

	client := s.With(" " + raw + "\n") // as it comes out of a file
	me, err := client.Me(ctx)
	succeeds(t, "the key works", err)
	wants(t, "for the same user", me, User{ID: 1, Name: admin, Admin: true})
	succeeds(t, "revoke", session.DeleteKey(ctx, keys[0].ID))
	fails(t, "twice", session.DeleteKey(ctx, keys[0].ID), NotFound)
	_, err = client.Me(ctx)
	fails(t, "a key that is gone", err, Unauthorized)
}

func TestSessionEnds(t *testing.T) {
	f := start(t)
	f.password = password
	s := f.connect()
	session, err := s.SignIn(t.Context(), admin, password)
	succeeds(t, "sign in", err)
	f.mu.Lock()
	clear(f.tokens)
	f.mu.Unlock()
	_, err = session.Keys(t.Context())
	fails(t, "the token ran out", err, Unauthorized)
	_, err = session.MakeKey(t.Context(), "x", password)
	fails(t, "the token ran out", err, Unauthorized)
}

func TestSignInLimit(t *testing.T) {
	f := start(t)
	f.password = password
	s := f.connect()
	session, err := s.SignIn(t.Context(), admin, password)
	succeeds(t, "sign in", err)
	for range 9 {
		_, err := s.SignIn(t.Context(), admin, "wrong wrong wrong")
		fails(t, "within the limit", err, BadCredentials)
	}
	_, err = s.SignIn(t.Context(), admin, password)
	fails(t, "the right password does not help any more", err, Limited)
	_, err = session.MakeKey(t.Context(), "x", password)
	fails(t, "new keys have the same limit", err, Limited)
	if got := len(slices.DeleteFunc(f.said(), func(r string) bool { return r != "POST /auth" })); got != 11 {
		t.Errorf("%d sign-ins were sent for 11: a repeated one would count", got)
	}
}

func TestServerThatWaitedInVain(t *testing.T) {
	f := start(t)
	f.locked = true
	s := f.connect()
	_, err := s.HasAdmin(t.Context())
	fails(t, "303 is no redirection to follow", err, Locked, "Administrator initialization timeout")
	fails(t, "too late", s.InitAdmin(t.Context(), admin, password), Locked)
	_, err = s.Status(t.Context())
	fails(t, "not even that", err, Locked)
}

func TestSettings(t *testing.T) {
	f, c := ready(t)
	got, err := c.Settings(t.Context())
	succeeds(t, "read", err)
	wants(t, "the defaults", got, Settings{SessionTimeout: 8 * time.Hour, SnapshotInterval: 5 * time.Minute, Telemetry: true})

	hour, half, off := time.Hour, 90*time.Second, false
	succeeds(t, "one", c.SetSettings(t.Context(), SettingsChange{Telemetry: &off}))
	wants(t, "only that is sent", f.body("PUT /settings"), `{"EnableTelemetry":false}`)
	succeeds(t, "two", c.SetSettings(t.Context(), SettingsChange{SessionTimeout: &hour, SnapshotInterval: &half}))
	wants(t, "as its pages write it", f.body("PUT /settings"), `{"UserSessionTimeout":"1h","SnapshotInterval":"1m30s"}`)
	got, err = c.Settings(t.Context())
	succeeds(t, "read again", err)
	wants(t, "changed", got, Settings{SessionTimeout: time.Hour, SnapshotInterval: 90 * time.Second})
	wants(t, "the rest stays", f.settings["LogoURL"], any("x"))
	f.settings["SnapshotInterval"] = "often"
	got, err = c.Settings(t.Context())
	succeeds(t, "a strange value", err)
	wants(t, "is none", got.SnapshotInterval, 0)
}

func TestShortDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		8 * time.Hour: "8h", 5 * time.Minute: "5m", 30 * time.Second: "30s", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m",
		time.Hour + time.Second: "1h0m1s", 0: "0s", 10 * time.Second: "10s", 20 * time.Hour: "20h",
	} {
		wants(t, "as people write it", *short(&d), want)
	}
}

func TestTagsAndEnvironments(t *testing.T) {
	f, c := ready(t)
	ctx := t.Context()
	f.engines["tcp://10.0.0.102:9001"], f.engines["unix:///var/run/docker.sock"] = newEngine(), newEngine()
	tag, err := c.MakeTag(ctx, "phoenix-0123456789ab")
	succeeds(t, "tag", err)
	_, err = c.MakeTag(ctx, "phoenix-0123456789ab")
	fails(t, "names of tags are unique", err, Conflict)
	tags, err := c.Tags(ctx)
	succeeds(t, "list", err)
	wants(t, "one", tags, []Tag{{ID: tag, Name: "phoenix-0123456789ab"}})

	id, err := c.MakeEnvironment(ctx, NewEnvironment{Name: "drphoenix", URL: "tcp://10.0.0.102:9001", Agent: true, TagIDs: []int{tag}})
	succeeds(t, "a multipart form, with TLS for an agent", err)
	local, err := c.MakeEnvironment(ctx, NewEnvironment{Name: "local", URL: "unix:///var/run/docker.sock"})
	succeeds(t, "without TLS for a socket", err)
	_, err = c.MakeEnvironment(ctx, NewEnvironment{Name: "drphoenix", URL: "unix:///var/run/docker.sock"})
	fails(t, "names are unique", err, Conflict, "not unique")
	_, err = c.MakeEnvironment(ctx, NewEnvironment{Name: "gone", URL: "tcp://10.0.0.9:9001", Agent: true})
	fails(t, "an agent that does not answer", err, Failed, "connection refused", "environment type")

	want := []Environment{
		{ID: id, Name: "drphoenix", URL: "tcp://10.0.0.102:9001", Agent: true, Up: true, TagIDs: []int{tag}},
		{ID: local, Name: "local", URL: "unix:///var/run/docker.sock", Up: true, TagIDs: []int{}},
	}
	got, err := c.Environments(ctx)
	succeeds(t, "list without snapshots", err)
	wants(t, "both", got, want)

	address, name := "tcp://10.0.0.103:9001", "local"
	succeeds(t, "one field", c.UpdateEnvironment(ctx, id, EnvironmentChange{URL: &address}))
	fails(t, "a name that is taken", c.UpdateEnvironment(ctx, id, EnvironmentChange{Name: &name}), Conflict)
	got, err = c.Environments(ctx)
	succeeds(t, "list", err)
	want[0].URL = address
	wants(t, "name and tags stay", got, want)
	succeeds(t, "no tags", c.UpdateEnvironment(ctx, id, EnvironmentChange{TagIDs: []int{}}))
	wants(t, "an empty list is sent", f.body(fmt.Sprintf("PUT /endpoints/%d", id)), `{"TagIDs":[]}`)
	succeeds(t, "tag again", c.UpdateEnvironment(ctx, id, EnvironmentChange{TagIDs: []int{tag}}))
	succeeds(t, "delete the tag", c.DeleteTag(ctx, tag))
	fails(t, "twice", c.DeleteTag(ctx, tag), NotFound)
	got, err = c.Environments(ctx)
	succeeds(t, "list", err)
	wants(t, "off the environment as well", len(got[0].TagIDs), 0)

	succeeds(t, "204", c.DeleteEnvironment(ctx, id))
	fails(t, "twice", c.DeleteEnvironment(ctx, id), NotFound)
	fails(t, "gone", c.UpdateEnvironment(ctx, id, EnvironmentChange{URL: &address}), NotFound)
}
