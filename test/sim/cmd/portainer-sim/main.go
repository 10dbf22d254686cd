// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Command portainer-sim is a simulated Portainer server and, called by the name
// agent or with agent as its first argument, a simulated agent. It takes the flags of the real server, as far
// as they do something here. Both use the engine at /var/run/docker.sock; the server deploys with
// the program docker-compose beside it.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args, os.Getenv, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "portainer-sim:", err)
		os.Exit(1)
	}
}

// run is the command: args begin with its name.
func run(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	log := func(line string) { fmt.Fprintln(out, line) }
	switch {
	case filepath.Base(args[0]) == "agent":
		return runAgent(ctx, args[1:], env, log)
	case len(args) > 1 && args[1] == "agent":
		return runAgent(ctx, args[2:], env, log)
	}
	return runServer(ctx, args[1:], env, log)
}

// beside is a program in the folder of this one; "" when it is not there.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// flags of the server and the agent.
type flags struct {
	*flag.FlagSet
	socket, compose, listen, plain, cert, key, data string
	wait                                            time.Duration
	noPlain, lock                                   bool
}

func serverFlags(args []string) (*flags, error) {
	f := &flags{FlagSet: flag.NewFlagSet("portainer", flag.ContinueOnError)}
	f.StringVar(&f.cert, "sslcert", "", "file of the certificate; none: one of its own")
	f.StringVar(&f.key, "sslkey", "", "file of its key")
	f.BoolVar(&f.noPlain, "http-disabled", false, "serve HTTPS only")
	f.StringVar(&f.data, "data", "/data", "folder of the database and of the stacks")
	f.StringVar(&f.listen, "bind-https", ":9443", "address for HTTPS")
	f.StringVar(&f.plain, "bind", ":9000", "address for HTTP")
	f.DurationVar(&f.wait, "admin-wait", 5*time.Minute, "how long an administrator is waited for")
	f.BoolVar(&f.lock, "admin-lock", false, "answer 303 when that is over, and do not end")
	f.StringVar(&f.socket, "socket", "/var/run/docker.sock", "socket of the engine")
	f.StringVar(&f.compose, "compose", beside("docker-compose"), "path of docker-compose")
	return f, f.Parse(args)
}

func agentFlags(args []string, env func(string) string) (*flags, error) {
	port := env("AGENT_PORT")
	if port == "" {
		port = "9001"
	}
	f := &flags{FlagSet: flag.NewFlagSet("agent", flag.ContinueOnError)}
	f.StringVar(&f.listen, "bind", ":"+port, "address")
	f.StringVar(&f.socket, "socket", "/var/run/docker.sock", "socket of the engine")
	f.StringVar(&f.compose, "compose", beside("docker-compose"), "path of docker-compose, for servers that have none")
	return f, f.Parse(args)
}

func runServer(ctx context.Context, args []string, env func(string) string, log func(string)) error {
	f, err := serverFlags(args)
	if err != nil {
		return err
	}
	o := portainer.Options{
		Data: f.data, AgentSecret: env("AGENT_SECRET"), AdminWait: f.wait, AdminLock: f.lock, Log: log,
		Engine: portainer.NewDocker(f.socket, f.compose), Compose: f.compose,
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return fmt.Errorf("read the certificate: %w", err)
		}
		o.Certificate = func() (*tls.Certificate, error) { return &pair, nil }
	}
	s, err := portainer.New(o)
	if err != nil {
		return err
	}
	if !f.noPlain {
		stop, err := servePlain(ctx, f.plain, s)
		if err != nil {
			return err
		}
		defer stop()
	}
	return serve(ctx, f.listen, s, log)
}

// servePlain serves without TLS.
func servePlain(ctx context.Context, address string, h http.Handler) (stop func(), err error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	plain := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = plain.Serve(l) // it ends with the server
	}()
	return func() {
		_ = plain.Close() // the process ends
		<-done
	}, nil
}

func runAgent(ctx context.Context, args []string, env func(string) string, log func(string)) error {
	f, err := agentFlags(args, env)
	if err != nil {
		return err
	}
	a, err := portainer.NewAgent(portainer.AgentOptions{Engine: portainer.NewDocker(f.socket, f.compose), Secret: env("AGENT_SECRET"), Log: log})
	if err != nil {
		return err
	}
	return serve(ctx, f.listen, a, log)
}

// serve serves until the context is done.
func serve(ctx context.Context, address string, s interface {
	Serve(net.Listener) error
	Close() error
}, log func(string),
) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	log("starting HTTPS server on " + l.Addr().String())
	stop := context.AfterFunc(ctx, func() { _ = s.Close() }) // the process ends
	defer stop()
	if err := s.Serve(l); !errors.Is(err, portainer.ErrClosed) {
		return err
	}
	return nil
}
