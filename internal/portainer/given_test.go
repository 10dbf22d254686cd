// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"cmp"
	"context"
	"crypto/x509"
	"os"
	"slices"
	"strings"
	"testing"
)

// given is a server that the environment names, by an API key that goes with the test, with its first engine that is up; and
// if it names none, a simulated one. PORTAINER_CA is a file with what the server's certificate leads to, where the machine
// does not know that, and PORTAINER_IMAGE an image that it can pull and that goes on running; default: traefik/whoami:v1.10.
func given(t *testing.T) (c *Client, environment int, image string) {
	t.Helper()
	ctx, o, user, pass := t.Context(), Options{URL: os.Getenv("PORTAINER_URL")}, os.Getenv("PORTAINER_USER"), os.Getenv("PORTAINER_PASSWORD")
	if o.URL == "" {
		_, c, environment := build(t).begin()
		return c, environment, "lab/web:1"
	}
	if path := os.Getenv("PORTAINER_CA"); path != "" {
		text, err := os.ReadFile(path)
		succeeds(t, "read roots", err)
		o.Roots = x509.NewCertPool()
		wants(t, "roots", o.Roots.AppendCertsFromPEM(text), true)
	}
	s, err := New(o)
	succeeds(t, "server", err)
	t.Cleanup(s.Close)
	session, err := s.SignIn(ctx, user, pass)
	succeeds(t, "sign in", err)
	raw, err := session.MakeKey(ctx, "phoenix test", pass)
	succeeds(t, "key", err)
	keys, err := session.Keys(ctx)
	succeeds(t, "keys", err)
	key := keys[slices.IndexFunc(keys, func(k Key) bool { return k.Description == "phoenix test" })].ID
	t.Cleanup(func() { succeeds(t, "revoke", session.DeleteKey(context.WithoutCancel(ctx), key)) })
	all, err := s.With(raw).Environments(ctx)
	succeeds(t, "environments", err)
	at := slices.IndexFunc(all, func(e Environment) bool { return e.Up })
	if at < 0 {
		t.Fatalf("no environment of %+v is up", all)
	}
	return s.With(raw), all[at].ID, cmp.Or(os.Getenv("PORTAINER_IMAGE"), "traefik/whoami:v1.10")
}

// A stack is deployed, edited, broken and removed at whichever server there is.
func TestGivenServer(t *testing.T) {
	c, env, image := given(t)
	ctx, values := t.Context(), []Variable{{"PHOENIX_STACK", "test"}, {"VALUE", `it's "a" $ecret # \ with` + "\ntwo lines"}}
	e, err := c.Engine(env)
	succeeds(t, "engine", err)
	succeeds(t, "pull", e.Pull(ctx, image))
	info, _, err := e.Image(ctx, image)
	succeeds(t, "image", err)
	text := "services:\n  web:\n    image: " + image + "\n    environment: {VALUE: \"${VALUE}\"}\n"
	s, err := c.CreateStack(ctx, env, NewStack{Name: "phoenix-test", Text: text, Env: values})
	succeeds(t, "create", err)
	t.Cleanup(func() { _ = c.DeleteStack(context.WithoutCancel(ctx), s.ID, env) }) // of a test that ended before
	_, err = c.CreateStack(ctx, env, NewStack{Name: "phoenix-test", Text: text})
	fails(t, "the same name", err, Conflict)
	running := func() []Container {
		all, err := e.Containers(ctx)
		succeeds(t, "containers", err)
		return slices.DeleteFunc(all, func(c Container) bool { return c.Project != "phoenix-test" })
	}
	first := running()
	if len(first) != 1 || first[0].Service != "web" || first[0].State != "running" || first[0].ImageID != info.ID || first[0].ConfigHash == "" {
		t.Fatalf("it runs %+v", first)
	}
	edited := strings.Replace(text, "environment: {", "environment: {MORE: text, ", 1)
	succeeds(t, "update", c.UpdateStack(ctx, s.ID, env, StackChange{Text: edited, Env: values}))
	if now := running(); len(now) != 1 || now[0].ConfigHash == first[0].ConfigHash {
		t.Errorf("after an update it runs %+v", now)
	}
	file, err := c.StackFile(ctx, s.ID)
	succeeds(t, "file", err)
	wants(t, "the text", file, edited)
	stacks, err := c.Stacks(ctx, env)
	succeeds(t, "list", err)
	wants(t, "the values", stacks[slices.IndexFunc(stacks, func(o Stack) bool { return o.ID == s.ID })].Env, values)
	bad := strings.Replace(text, image, "phoenix.invalid/none:1", 1)
	fails(t, "an image that there is not", c.UpdateStack(ctx, s.ID, env, StackChange{Text: bad, Env: values}), Failed)
	succeeds(t, "delete", c.DeleteStack(ctx, s.ID, env))
	fails(t, "twice", c.DeleteStack(ctx, s.ID, env), NotFound)
	wants(t, "nothing is left", len(running()), 0)
}
