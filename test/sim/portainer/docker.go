// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Docker is a real engine and a real docker-compose.
type Docker struct {
	host    string
	compose string
	proxy   *httputil.ReverseProxy
}

var _ Engine = (*Docker)(nil)

// NewDocker takes the engine's address, the path of its socket or unix:// or tcp://
// and an address, and the path of docker-compose.
func NewDocker(socket, compose string) *Docker {
	if !strings.Contains(socket, "://") {
		socket = "unix://" + socket
	}
	network, address, _ := strings.Cut(socket, "://")
	var dialer net.Dialer
	d := &Docker{host: socket, compose: compose}
	d.proxy = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", "docker", "docker"
		},
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		}},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { notReached(w, err.Error()) },
		ErrorLog:     log.New(lines(func(string) {}), "", 0),
	}
	return d
}

// ServeHTTP implements Engine.
func (d *Docker) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.proxy.ServeHTTP(w, r) }

// Deploy implements Engine.
func (d *Docker) Deploy(ctx context.Context, what Deployment) (string, error) {
	dir := what.Dir
	if dir == "" {
		own, err := os.MkdirTemp("", "stack-")
		if err != nil {
			return "", fmt.Errorf("make a folder for %s: %w", what.Project, err)
		}
		defer os.RemoveAll(own)
		dir = own
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for %s: %w", what.Project, err)
	}
	file := filepath.Join(dir, composeFile)
	if err := os.WriteFile(file, []byte(what.Text), 0o600); err != nil {
		return "", fmt.Errorf("write the compose file of %s: %w", what.Project, err)
	}
	args := []string{"-f", file, "--project-name", what.Project}
	if what.Env != nil {
		if err := os.WriteFile(filepath.Join(dir, envFile), []byte(strings.Join(what.Env, "\n")+"\n"), 0o600); err != nil {
			return "", fmt.Errorf("write the values of %s: %w", what.Project, err)
		}
		args = append(args, "--env-file", envFile)
	}
	if what.Pull {
		if output, err := d.run(ctx, dir, append(args, "pull")...); err != nil {
			return output, pulling(err)
		}
	}
	return d.run(ctx, dir, append(args, "up", "-d")...)
}

func pulling(err error) error {
	var compose *ComposeError
	if errors.As(err, &compose) {
		compose.Pulling = true
	}
	return err
}

// Down implements Engine.
func (d *Docker) Down(ctx context.Context, project string) error {
	_, err := d.run(ctx, "", "--project-name", project, "down", "--remove-orphans")
	return err
}

// run runs docker-compose, with the server's environment, as Portainer does.
func (d *Docker) run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.compose, append([]string{"--host", d.host}, args...)...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if stderr.Len() == 0 {
			return "", fmt.Errorf("docker compose command failed: %w", err)
		}
		return stderr.String(), &ComposeError{Output: stderr.String()}
	}
	return stderr.String() + stdout.String(), nil
}
