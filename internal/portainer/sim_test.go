// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sim "github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// world is a simulated Portainer server, an engine in memory behind its agent, and a registry.
type world struct {
	t        *testing.T
	server   *sim.Server
	engine   *sim.Memory
	registry *sim.Registry
	agent    *sim.Agent
	agentAt  string
	url      string
	roots    *x509.CertPool

	mu  sync.Mutex
	now time.Time
}

const agentSecret = "agent-secret-1"

// certificate is one for 127.0.0.1.
func certificate(t *testing.T) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &s.TLS.Certificates[0], roots
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	succeeds(t, "listen", err)
	return l
}

func build(t *testing.T) *world {
	t.Helper()
	own, roots := certificate(t)
	w := &world{t: t, roots: roots, now: time.Unix(1_700_000_000, 0), registry: sim.NewRegistry(map[string]string{"lab/web:1": "web one", "lab/web:2": "web two", "lab/job:1": "job", "lab/broken:1": "broken"})}
	w.engine = sim.NewMemory(sim.MemoryOptions{Registry: w.registry, Clock: w.clock})
	var err error
	w.server, err = sim.New(sim.Options{
		Certificate: func() (*tls.Certificate, error) { return own, nil }, AgentSecret: agentSecret, Clock: w.clock, AdminLock: true,
	})
	succeeds(t, "server", err)
	l := listen(t, "127.0.0.1:0")
	w.url = "https://" + l.Addr().String()
	go func() { _ = w.server.Serve(l) }()
	t.Cleanup(func() { _ = w.server.Close() })
	w.startAgent("127.0.0.1:0", agentSecret)
	return w
}

func (w *world) startAgent(address, secret string) {
	w.t.Helper()
	agent, err := sim.NewAgent(sim.AgentOptions{Engine: w.engine, Secret: secret, Clock: w.clock})
	succeeds(w.t, "agent", err)
	l := listen(w.t, address)
	w.agent, w.agentAt = agent, l.Addr().String()
	go func() { _ = agent.Serve(l) }()
	w.t.Cleanup(func() { _ = agent.Close() })
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) connect() *Server {
	w.t.Helper()
	s, err := New(Options{URL: w.url, Roots: w.roots})
	succeeds(w.t, "server", err)
	w.t.Cleanup(s.Close)
	return s
}

// begin makes the administrator, a key, and the environment behind the agent.
func (w *world) begin() (*Server, *Client, int) {
	w.t.Helper()
	ctx, s := w.t.Context(), w.connect()
	succeeds(w.t, "administrator", s.InitAdmin(ctx, admin, password))
	session, err := s.SignIn(ctx, admin, password)
	succeeds(w.t, "sign in", err)
	raw, err := session.MakeKey(ctx, "phoenix lab", password)
	succeeds(w.t, "key", err)
	c := s.With(raw)
	env, err := c.MakeEnvironment(ctx, NewEnvironment{Name: "drphoenix", URL: "tcp://" + w.agentAt, Agent: true})
	succeeds(w.t, "environment", err)
	return s, c, env
}

func TestSimulatedServersLife(t *testing.T) {
	w := build(t)
	ctx, s := t.Context(), w.connect()
	status, err := s.Status(ctx)
	succeeds(t, "status", err)
	if status.Version != sim.Version || status.InstanceID == "" {
		t.Errorf("Status() = %+v", status)
	}
	has, err := s.HasAdmin(ctx)
	succeeds(t, "nobody", err)
	wants(t, "nobody", has, false)
	fails(t, "short", s.InitAdmin(ctx, admin, "short"), Invalid)
	succeeds(t, "administrator", s.InitAdmin(ctx, admin, password))
	fails(t, "twice", s.InitAdmin(ctx, admin, password), Conflict)
	has, err = s.HasAdmin(ctx)
	succeeds(t, "somebody", err)
	wants(t, "somebody", has, true)
	_, err = s.SignIn(ctx, admin, "wrong wrong wrong")
	fails(t, "wrong", err, BadCredentials)
	session, err := s.SignIn(ctx, admin, password)
	succeeds(t, "sign in", err)
	wants(t, "an administrator", session.Me(), User{ID: 1, Name: admin, Admin: true})
	_, err = session.MakeKey(ctx, "phoenix lab", "wrong wrong wrong")
	fails(t, "wrong", err, BadCredentials)
	raw, err := session.MakeKey(ctx, "phoenix lab", password)
	succeeds(t, "key", err)
	c := s.With(raw)
	me, err := c.Me(ctx)
	succeeds(t, "me", err)
	wants(t, "me", me, session.Me())

	hour, off := time.Hour, false
	succeeds(t, "settings", c.SetSettings(ctx, SettingsChange{SessionTimeout: &hour, Telemetry: &off}))
	settings, err := c.Settings(ctx)
	succeeds(t, "settings", err)
	wants(t, "settings", settings, Settings{SessionTimeout: time.Hour, SnapshotInterval: 5 * time.Minute})
	w.wait(9 * time.Hour)
	_, err = session.Keys(ctx)
	fails(t, "a session ends", err, Unauthorized)
	session, err = s.SignIn(ctx, admin, password)
	succeeds(t, "sign in again", err)
	keys, err := session.Keys(ctx)
	succeeds(t, "keys", err)
	wants(t, "keys", keys, []Key{{ID: keys[0].ID, Description: "phoenix lab"}})
	succeeds(t, "revoke", session.DeleteKey(ctx, keys[0].ID))
	fails(t, "twice", session.DeleteKey(ctx, keys[0].ID), NotFound)
	_, err = c.Me(ctx)
	fails(t, "revoked", err, Unauthorized)
}

func TestSimulatedEnvironments(t *testing.T) {
	w := build(t)
	_, c, env := w.begin()
	ctx := t.Context()
	tag, err := c.MakeTag(ctx, "phoenix-0123456789ab")
	succeeds(t, "tag", err)
	_, err = c.MakeTag(ctx, "phoenix-0123456789ab")
	fails(t, "taken", err, Conflict)
	tags, err := c.Tags(ctx)
	succeeds(t, "tags", err)
	wants(t, "tags", tags, []Tag{{ID: tag, Name: "phoenix-0123456789ab"}})
	succeeds(t, "mark", c.UpdateEnvironment(ctx, env, EnvironmentChange{TagIDs: []int{tag}}))
	want := []Environment{{ID: env, Name: "drphoenix", URL: "tcp://" + w.agentAt, Agent: true, Up: true, TagIDs: []int{tag}}}
	got, err := c.Environments(ctx)
	succeeds(t, "list", err)
	wants(t, "list", got, want)
	_, err = c.MakeEnvironment(ctx, NewEnvironment{Name: "drphoenix", URL: "tcp://" + w.agentAt, Agent: true})
	fails(t, "taken", err, Conflict)

	first := w.agentAt
	w.startAgent("127.0.0.1:0", "another secret")
	_, err = c.MakeEnvironment(ctx, NewEnvironment{Name: "other", URL: "tcp://" + w.agentAt, Agent: true})
	fails(t, "another secret", err, Failed)
	e, err := c.Engine(env)
	succeeds(t, "engine", err)
	succeeds(t, "the first still answers", e.Ping(ctx))
	moved := "tcp://" + w.agentAt
	succeeds(t, "move", c.UpdateEnvironment(ctx, env, EnvironmentChange{URL: &moved}))
	fails(t, "it does not know us", e.Ping(ctx), Forbidden)
	_ = w.agent.Close()
	fails(t, "it is gone", e.Ping(ctx), Away)
	w.wait(time.Hour)
	got, err = c.Environments(ctx)
	succeeds(t, "list", err)
	wants(t, "Portainer found that out, too", got[0].Up, false)
	moved = "tcp://" + first
	succeeds(t, "back", c.UpdateEnvironment(ctx, env, EnvironmentChange{URL: &moved}))
	succeeds(t, "there again", e.Ping(ctx))
	succeeds(t, "delete tag", c.DeleteTag(ctx, tag))
	fails(t, "twice", c.DeleteTag(ctx, tag), NotFound)
	succeeds(t, "delete", c.DeleteEnvironment(ctx, env))
	fails(t, "twice", c.DeleteEnvironment(ctx, env), NotFound)
	fails(t, "gone", e.Ping(ctx), NotFound)
}

const composeText = `services:
  web:
    image: lab/web:1
    ports: ["127.0.0.1:8080:80"]
    environment: {SECRET: "${SECRET}"}
    volumes: ["data:/data"]
    deploy: {replicas: 1}
  job:
    image: lab/job:1
volumes: {data: {}}
`

func TestSimulatedStack(t *testing.T) {
	w := build(t)
	_, c, env := w.begin()
	ctx := t.Context()
	e, err := c.Engine(env)
	succeeds(t, "engine", err)

	succeeds(t, "pull", e.Pull(ctx, "lab/web:1"))
	fails(t, "no such tag", e.Pull(ctx, "lab/web:9"), NotFound)
	_, found, err := e.Image(ctx, "lab/web:2")
	succeeds(t, "look", err)
	wants(t, "not there", found, false)
	web, found, err := e.Image(ctx, "lab/web:1")
	succeeds(t, "look", err)
	wants(t, "there", found && len(web.Digests) == 1 && strings.HasPrefix(web.ID, "sha256:"), true)

	values := []Variable{{"PHOENIX_STACK", "lab/host/default/web"}, {"SECRET", `it's "a" $ecret # \ with` + "\ntwo lines"}}
	s, err := c.CreateStack(ctx, env, NewStack{Name: "Web", Text: composeText, Env: values})
	succeeds(t, "create", err)
	wants(t, "record", s, Stack{ID: s.ID, Name: "web", EnvironmentID: env, Env: values, Active: true, Updated: w.clock().Unix()})
	_, err = c.CreateStack(ctx, env, NewStack{Name: "WEB", Text: composeText})
	fails(t, "the same name", err, Conflict)
	all, err := e.Containers(ctx)
	succeeds(t, "containers", err)
	if len(all) != 2 || all[0].Service != "job" || all[0].State != "exited" || all[0].ExitCode != 0 || all[1].State != "running" || all[1].ImageID != web.ID || all[1].Image != "lab/web:1" || all[1].ConfigHash == "" {
		t.Fatalf("Containers() = %+v", all)
	}
	wants(t, "ports", all[1].Ports, []Port{{Address: "127.0.0.1", Target: 80, Published: 8080, Protocol: "tcp"}})
	inside, err := w.engine.Container(all[1].ID)
	succeeds(t, "container", err)
	if !slices.Contains(inside.Env, "SECRET="+values[1].Value) {
		t.Errorf("the container sees %q", inside.Env)
	}
	volumes, err := e.Volumes(ctx, "web")
	succeeds(t, "volumes", err)
	wants(t, "volumes", volumes, []Volume{{Name: "web_data", Short: "data"}})
	fails(t, "in use", e.RemoveVolume(ctx, "web_data"), Conflict)

	w.wait(time.Minute)
	bad := strings.ReplaceAll(composeText, "lab/web:1", "lab/broken:1")
	fails(t, "a container that does not start", c.UpdateStack(ctx, s.ID, env, StackChange{Text: bad, Env: values}), Failed)
	all, err = e.Containers(ctx)
	succeeds(t, "containers", err)
	wants(t, "they are all gone", len(all), 0)
	file, err := c.StackFile(ctx, s.ID)
	succeeds(t, "file", err)
	wants(t, "the record has the old text", file, composeText)
	fails(t, "and is active", c.StartStack(ctx, s.ID, env), Invalid)

	one := "services: {web: {image: 'lab/web:2'}, other: {image: 'lab/web:1'}}\n"
	succeeds(t, "update", c.UpdateStack(ctx, s.ID, env, StackChange{Text: one, Env: values[:1], Pull: true}))
	less := "services: {web: {image: 'lab/web:2'}}\n"
	succeeds(t, "update", c.UpdateStack(ctx, s.ID, env, StackChange{Text: less, Env: values[:1]}))
	stacks, err := c.Stacks(ctx, env)
	succeeds(t, "list", err)
	wants(t, "the values that were sent", stacks[0].Env, values[:1])
	wants(t, "a new date", stacks[0].Updated, w.clock().Unix())
	all, err = e.Containers(ctx)
	succeeds(t, "containers", err)
	at := slices.IndexFunc(all, func(c Container) bool { return c.Service == "other" })
	if at < 0 {
		t.Fatal("a service that is not in the text any more went by itself")
	}
	succeeds(t, "prune", e.Remove(ctx, all[at].ID))
	fails(t, "twice", e.Remove(ctx, all[at].ID), NotFound)

	fails(t, "it runs", c.StartStack(ctx, s.ID, env), Conflict)
	succeeds(t, "stop", c.StopStack(ctx, s.ID, env))
	fails(t, "twice", c.StopStack(ctx, s.ID, env), Invalid)
	succeeds(t, "start", c.StartStack(ctx, s.ID, env))
	succeeds(t, "delete", c.DeleteStack(ctx, s.ID, env))
	fails(t, "twice", c.DeleteStack(ctx, s.ID, env), NotFound)
	all, err = e.Containers(ctx)
	succeeds(t, "containers", err)
	wants(t, "nothing is left", len(all), 0)
	succeeds(t, "its data", e.RemoveVolume(ctx, "web_data"))
	fails(t, "twice", e.RemoveVolume(ctx, "web_data"), NotFound)
}

func TestSimulatedTrouble(t *testing.T) {
	w := build(t)
	s, c, env := w.begin()
	ctx := t.Context()
	e, err := c.Engine(env)
	succeeds(t, "engine", err)
	succeeds(t, "pull", e.Pull(ctx, "lab/web:1"))
	text := "services: {web: {image: 'lab/web:1'}}\n"

	w.server.Fail(http.MethodGet, "/stacks", 1, sim.Fault{Cut: true})
	_, err = c.Stacks(ctx, env)
	succeeds(t, "a second try", err)
	w.server.Fail(http.MethodPost, "/stacks/create/*", 1, sim.Fault{Cut: true, After: true})
	_, err = c.CreateStack(ctx, env, NewStack{Name: "web", Text: text})
	fails(t, "the answer is lost", err, Away)
	stacks, err := c.Stacks(ctx, env)
	succeeds(t, "list", err)
	wants(t, "it took place, once", len(stacks), 1)
	heal := w.server.Fail(http.MethodGet, "/endpoints/*", 0, sim.Fault{Hang: true})
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	_, err = e.Containers(short)
	cancel()
	heal()
	fails(t, "silence", err, Away)
	w.server.Fail(http.MethodGet, "/stacks", 2, sim.Fault{Status: 503})
	_, err = c.Stacks(ctx, env)
	fails(t, "twice in a row", err, Away)

	_ = w.agent.Close()
	_, err = e.Containers(ctx)
	fails(t, "no agent is no empty list", err, Away)
	_, err = c.CreateStack(ctx, env, NewStack{Name: "other", Text: text})
	fails(t, "no agent", err, Away)
	w.startAgent(w.agentAt, agentSecret)
	all, err := e.Containers(ctx)
	succeeds(t, "the agent is back", err)
	wants(t, "and so is what runs", len(all), 1)

	old := w.server.Backup()
	session, err := s.SignIn(ctx, admin, password)
	succeeds(t, "sign in", err)
	raw, err := session.MakeKey(ctx, "later", password)
	succeeds(t, "a key that the backup does not have", err)
	succeeds(t, "restore", w.server.Restore(old))
	_, err = s.With(raw).Me(ctx)
	fails(t, "an old backup", err, Unauthorized)
	_, err = c.Me(ctx)
	succeeds(t, "what it has is good", err)

	for range 20 {
		if _, err = s.SignIn(ctx, admin, "wrong wrong wrong"); KindOf(err) != BadCredentials {
			break
		}
	}
	fails(t, "too many", err, Limited)
	_, err = s.SignIn(ctx, admin, password)
	fails(t, "even the right one", err, Limited)
	_, err = c.Me(ctx)
	succeeds(t, "keys go on", err)
	w.wait(2 * time.Hour)
	_, err = s.SignIn(ctx, admin, password)
	succeeds(t, "an hour is over", err)
}

func TestSimulatedServerThatWaitedInVain(t *testing.T) {
	w := build(t)
	w.wait(6 * time.Minute)
	fails(t, "too late", w.connect().InitAdmin(t.Context(), admin, password), Locked)
}
