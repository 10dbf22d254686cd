// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// site is a ready fake with one environment.
func site(t *testing.T) (f *fake, c *Client, environment int) {
	t.Helper()
	f, c = ready(t)
	f.engines["tcp://10.0.0.102:9001"] = newEngine()
	id, err := c.MakeEnvironment(t.Context(), NewEnvironment{Name: "drphoenix", URL: "tcp://10.0.0.102:9001", Agent: true})
	succeeds(t, "environment", err)
	f.said()
	return f, c, id
}

func TestStackLife(t *testing.T) {
	f, c, env := site(t)
	ctx := t.Context()
	text := "services: {web: {image: lab/hello:1}}\n"
	s, err := c.CreateStack(ctx, env, NewStack{Name: "My-App", Text: text, Env: []Variable{{"PHOENIX_STACK", "lab/host/default/my-app"}, {"PASSWORD", "a $b"}}})
	succeeds(t, "create", err)
	want := Stack{ID: s.ID, Name: "my-app", EnvironmentID: env, Active: true, Updated: f.clock, Env: []Variable{{"PHOENIX_STACK", "lab/host/default/my-app"}, {"PASSWORD", "a $b"}}}
	wants(t, "as it is kept, the name normalised", s, want)
	wants(t, "what the containers see", f.deployed["my-app"], map[string]string{"PHOENIX_STACK": "lab/host/default/my-app", "PASSWORD": "a $b"})
	_, err = c.CreateStack(ctx, env, NewStack{Name: "my-APP", Text: text})
	fails(t, "two names that normalise to one", err, Conflict, "my-app")

	got, err := c.Stacks(ctx, env)
	succeeds(t, "list", err)
	wants(t, "one", got, []Stack{want})
	file, err := c.StackFile(ctx, s.ID)
	succeeds(t, "file", err)
	wants(t, "unchanged", file, text)

	succeeds(t, "update", c.UpdateStack(ctx, s.ID, env, StackChange{Text: text + "# 2\n", Env: want.Env, Pull: true}))
	if body := f.body(fmt.Sprintf("PUT /stacks/%d", s.ID)); !strings.Contains(body, `"pullImage":true`) {
		t.Errorf("pull was asked for, sent was %s", body)
	}
	got, err = c.Stacks(ctx, env)
	succeeds(t, "list", err)
	wants(t, "a later date", got[0].Updated, want.Updated+1)
	succeeds(t, "update without values", c.UpdateStack(ctx, s.ID, env, StackChange{Text: text}))
	if body := f.body(fmt.Sprintf("PUT /stacks/%d", s.ID)); !strings.Contains(body, `"env":[]`) {
		t.Errorf("the values are always sent whole, sent was %s", body)
	}

	fails(t, "it runs", c.StartStack(ctx, s.ID, env), Conflict)
	succeeds(t, "stop", c.StopStack(ctx, s.ID, env))
	fails(t, "twice", c.StopStack(ctx, s.ID, env), Invalid, "already inactive")
	got, err = c.Stacks(ctx, env)
	succeeds(t, "list", err)
	wants(t, "stopped", got[0].Active, false)
	succeeds(t, "start", c.StartStack(ctx, s.ID, env))

	fails(t, "in no environment", c.DeleteStack(ctx, s.ID, 99), NotFound)
	succeeds(t, "204", c.DeleteStack(ctx, s.ID, env))
	fails(t, "twice", c.DeleteStack(ctx, s.ID, env), NotFound)
	_, err = c.StackFile(ctx, s.ID)
	fails(t, "gone", err, NotFound)
	fails(t, "gone", c.UpdateStack(ctx, s.ID, env, StackChange{Text: text}), NotFound)
	fails(t, "gone", c.StartStack(ctx, s.ID, env), NotFound)
	fails(t, "gone", c.StopStack(ctx, s.ID, env), NotFound)
	_, err = c.CreateStack(ctx, 99, NewStack{Name: "x", Text: text})
	fails(t, "an environment that is gone", err, NotFound)
}

func TestStacksOfOthers(t *testing.T) {
	f, c, env := site(t)
	f.stacks[7] = fakeStack{Name: "swarm", Type: 1, Environment: env + 1, Status: 1}
	f.stacks[8] = fakeStack{Name: "ours", Type: 2, Environment: env, Status: 1, CreationDate: 5, UpdateDate: 3}
	f.stacks[9] = fakeStack{Name: "theirs", Type: 2, Environment: env + 1, Status: 1}
	got, err := c.Stacks(t.Context(), env)
	succeeds(t, "list", err)
	wants(t, "ours alone", got, []Stack{{ID: 8, Name: "ours", EnvironmentID: env, Active: true, Updated: 5}})
	f.said()
	_, err = c.Stacks(t.Context(), 0)
	fails(t, "Portainer would list all", err, Invalid)
	wants(t, "nothing is sent", len(f.said()), 0)
}

func TestFailedDeployment(t *testing.T) {
	f, c, env := site(t)
	ctx := t.Context()
	f.deploy = func(text string, env map[string]string) string {
		if strings.Contains(text, "8080") {
			return "\x1b[31m Container web-1  Starting \x1b[0m\nError response from daemon: driver failed programming external connectivity on endpoint web-1: Bind for 0.0.0.0:8080 failed: port is already allocated; DB=" + env["DB"] + "\a"
		}
		return ""
	}
	bad := NewStack{Name: "web", Text: "services: {web: {ports: ['8080:80']}}", Env: []Variable{{"DB", "pgpassword1"}, {"PORT", "8080"}}, Plain: []string{"PORT"}}
	_, err := c.CreateStack(ctx, env, bad)
	fails(t, "compose's words", err, Failed, "port is already allocated", "0.0.0.0:8080", "DB=***")
	if strings.ContainsAny(err.Error(), "\x1b\a") || strings.Contains(err.Error(), "pgpassword1") || strings.Count(err.Error(), "already allocated") != 1 {
		t.Errorf("untidy: %q", err)
	}
	got, err := c.Stacks(ctx, env)
	succeeds(t, "list", err)
	wants(t, "no record is kept", len(got), 0)

	good := bad
	good.Text = "services: {web: {ports: ['8081:80']}}"
	s, err := c.CreateStack(ctx, env, good)
	succeeds(t, "create", err)
	fails(t, "update", c.UpdateStack(ctx, s.ID, env, StackChange{Text: bad.Text, Env: bad.Env}), Failed, "0.0.0.0:***") // PORT is not said to be plain
	file, err := c.StackFile(ctx, s.ID)
	succeeds(t, "file", err)
	wants(t, "the record has the old text", file, good.Text)
	fails(t, "and is active without a container", c.StartStack(ctx, s.ID, env), Invalid, "already active")
}

func TestLongWords(t *testing.T) {
	f, c, env := site(t)
	f.deploy = func(string, map[string]string) string {
		return "first words " + strings.Repeat("Pulling ä€ ", 5000) + "hunter22hunter the cause"
	}
	_, err := c.CreateStack(t.Context(), env, NewStack{Name: "web", Text: "x", Env: []Variable{{"P", "hunter22hunter"}}})
	fails(t, "both ends are kept", err, Failed, "first words", "*** the cause")
	if len(err.Error()) > headMessage+tailMessage+100 {
		t.Errorf("%d bytes", len(err.Error()))
	}
}

func TestRefusedVariables(t *testing.T) {
	f, c, env := site(t)
	for _, tc := range []struct {
		reason string
		env    []Variable
		words  string
	}{
		{"a line of its own", []Variable{{"A\nB", "x"}}, "letters"},
		{"no name", []Variable{{"", "x"}}, "letters"},
		{"compose skips those", []Variable{{"1A", "x"}}, "digit"},
		{"twice", []Variable{{"A", "x"}, {"A", "y"}}, "twice"},
		{"Portainer's own wins", []Variable{{"PATH", "/hunter22hunter"}}, "Portainer's own"},
		{"steers compose", []Variable{{"COMPOSE_FILE", "hunter22hunter"}}, "steer"},
		{"NUL", []Variable{{"A", "hunter22hunter\x00"}}, "NUL"},
		{"not UTF-8", []Variable{{"A", "hunter22hunter\xff"}}, "UTF-8"},
	} {
		_, err := c.CreateStack(t.Context(), env, NewStack{Name: "x", Text: "x", Env: tc.env})
		fails(t, tc.reason, err, Invalid, tc.words)
		fails(t, tc.reason, c.UpdateStack(t.Context(), 1, env, StackChange{Text: "x", Env: tc.env}), Invalid, tc.words)
		if strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%s: %v", tc.reason, err)
		}
	}
	wants(t, "nothing is sent", len(f.said()), 0)
	for _, name := range []string{"A", "_x9", "COMPOSE_PROFILES", "DOCKER_GID", "PHOENIX_STACK"} {
		succeeds(t, name, CheckName(name))
	}
}

func TestEngineIsAway(t *testing.T) {
	f, c, env := site(t)
	for _, tc := range []struct {
		reason, message, details string
		kind                     Kind
	}{
		{"before anything was done", "Unable to check for name collision", "error during connect: Get https://10.0.0.102:9001/containers/json: dial tcp: i/o timeout", Away},
		{"in the middle", "failed to deploy a stack: Cannot connect to the Docker daemon at tcp://127.0.0.1:45123. Is the docker daemon running?", "", Away},
		{"a registry, not the engine", "failed to deploy a stack: Error response from daemon: Get \"https://registry-1.docker.io/v2/\": dial tcp: connect: connection refused", "", Failed},
		{"Portainer's own trouble", "Unable to persist the stack inside the database", "disk full", Failed},
	} {
		f.fault = func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, 500, tc.message, tc.details)
			return true
		}
		_, err := c.CreateStack(t.Context(), env, NewStack{Name: "x", Text: "x"})
		fails(t, tc.reason, err, tc.kind, tc.message, tc.details)
	}
}

func TestVariablesAsContainersSeeThem(t *testing.T) {
	_, c, env := site(t)
	var all []Variable
	for i, value := range awkward {
		all = append(all, Variable{"V" + strings.Repeat("_", i), value})
	}
	s, err := c.CreateStack(t.Context(), env, NewStack{Name: "x", Text: "x", Env: all})
	succeeds(t, "create", err)
	if diff := cmp.Diff(all, s.Env); diff != "" {
		t.Errorf("what comes back is what was sent (-want +got):\n%s", diff)
	}
}
