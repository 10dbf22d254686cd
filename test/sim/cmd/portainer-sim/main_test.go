// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// output says where the command serves.
type output struct {
	mu      sync.Mutex
	text    strings.Builder
	address chan string
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, address, found := strings.Cut(string(b), "server on "); found {
		o.address <- strings.TrimSpace(address)
	}
	return o.text.Write(b)
}

// serving starts the command, and gives its address and what waits for its end.
func serving(t *testing.T, env map[string]string, args ...string) (address string, end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := &output{address: make(chan string, 1)}, make(chan error, 1)
	go func() { ended <- run(ctx, args, func(name string) string { return env[name] }, out) }()
	end = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	select {
	case address = <-out.address:
	case err := <-ended:
		t.Fatalf("it ended: %v\n%s", err, out.text.String())
	}
	t.Cleanup(func() { _ = end() })
	return address, end
}

// get asks as a stranger does.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:forbidigo,gosec // a stranger's client
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestServer(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	address, end := serving(t, nil, "/portainer", "--http-disabled", "--bind-https", "127.0.0.1:0", "--data", data)
	if code, text := get(t, "https://"+address+"/api/system/status"); code != 200 || !strings.Contains(text, portainer.Version) {
		t.Errorf("status: %d %s", code, text)
	}
	if err := end(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Stat(filepath.Join(data, "portainer.json")); err != nil {
		t.Error(err)
	}
}

func TestServerWithoutAnAdministratorEnds(t *testing.T) {
	err := run(t.Context(), []string{"portainer", "--http-disabled", "--bind-https", "127.0.0.1:0", "--data", t.TempDir(), "--admin-wait", "10ms"}, func(string) string { return "" }, io.Discard)
	if !errors.Is(err, portainer.ErrNoAdmin) {
		t.Errorf("it ended with %v", err)
	}
}

func TestAgent(t *testing.T) {
	for _, args := range [][]string{{"/app/agent"}, {"portainer-sim", "agent"}} {
		address, end := serving(t, map[string]string{"AGENT_SECRET": "s3cret"}, append(args, "--bind", "127.0.0.1:0")...)
		if code, _ := get(t, "https://"+address+"/ping"); code != 204 {
			t.Errorf("ping: %d", code)
		}
		if code, text := get(t, "https://"+address+"/info"); code != 403 {
			t.Errorf("without a signature: %d %s", code, text)
		}
		if err := end(); err != nil {
			t.Errorf("%v ended with %v", args, err)
		}
	}
}

// TestDockerRunsCompose puts a program in docker-compose's place that tells how it was
// called.
func TestDockerRunsCompose(t *testing.T) {
	dir := t.TempDir()
	compose := filepath.Join(dir, "docker-compose")
	const script = "#!/bin/sh\n" +
		"echo \"$@\" | sed 's/127.0.0.1:[0-9]*/HOST/' >> " + "\"$(dirname \"$0\")/calls\"\n" +
		"case \"$*\" in *' up '*) cat stack.env docker-compose.yml >> \"$(dirname \"$0\")/calls\"; echo 'Error response from daemon: no' >&2; exit 1;; esac\n"
	if err := os.WriteFile(compose, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	own := portainer.NewDocker("tcp://127.0.0.1:1", compose)
	_, err := own.Deploy(t.Context(), portainer.Deployment{Project: "shop", Dir: data, Text: "services: {}\n", Env: []string{"A=b"}, Pull: true})
	var failed *portainer.ComposeError
	if !errors.As(err, &failed) || failed.Pulling || failed.Output != "Error response from daemon: no\n" {
		t.Errorf("deploy: %v", err)
	}
	if err := own.Down(t.Context(), "shop"); err != nil {
		t.Errorf("down: %v", err)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	want := strings.ReplaceAll(`--host tcp://HOST -f DIR/docker-compose.yml --project-name shop --env-file stack.env pull
--host tcp://HOST -f DIR/docker-compose.yml --project-name shop --env-file stack.env up -d
A=b
services: {}
--host tcp://HOST --project-name shop down --remove-orphans
`, "DIR", data)
	if err != nil || string(calls) != want {
		t.Errorf("it was called:\n%s\nwant:\n%s(%v)", calls, want, err)
	}
	for _, name := range []string{"stack.env", "docker-compose.yml"} {
		if seen, err := os.Stat(filepath.Join(data, name)); err != nil || seen.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, seen, err)
		}
	}
}
