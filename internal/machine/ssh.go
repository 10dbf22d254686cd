// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"k8s.io/utils/clock"

	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

const (
	// maxSessions at once on one connection; OpenSSH's own limit is ten.
	maxSessions = 6
	// maxOutput bounds each of a command's outputs.
	maxOutput    = 1 << 20
	dialTimeout  = 15 * time.Second
	aliveEvery   = 30 * time.Second
	aliveTimeout = 15 * time.Second
)

var (
	// ErrOutputTooLong says that a command wrote more than 1 MiB to one of its
	// outputs; it was ended.
	ErrOutputTooLong = errors.New("output is longer than 1 MiB")
	// ErrClosed says that the connection was closed by Close.
	ErrClosed = errors.New("connection is closed")
)

// SSH says how to reach one machine.
type SSH struct {
	Address  string        // "host" or "host:port"; port 22 when it has none
	User     string        // "root" when empty
	Key      secret.Secret // a private key in PEM, without a passphrase
	HostKeys []string      // lines of known_hosts or authorized_keys; at least one
	Clock    clock.Clock   // times the keep-alives; nil: the real one
}

// Conn is one connection to a machine, made on the first Run and made again on
// the first Run after it broke. Commands share it, six at once; more wait. A
// Conn is safe for concurrent use.
type Conn struct {
	address string
	config  *ssh.ClientConfig
	clock   clock.Clock
	room    chan struct{} // as many as sessions may run
	dialing chan struct{} // held by the one who dials

	mu     sync.Mutex
	client *ssh.Client
	closed bool
}

// Dial reads the configuration. It makes no connection; it returns an error
// when the key or a host key cannot be read or when no host key is pinned.
func Dial(cfg SSH) (*Conn, error) {
	signer, err := ssh.ParsePrivateKey(cfg.Key.Reveal())
	if err != nil {
		return nil, errors.New("read SSH key: it is not a private key in PEM without a passphrase")
	}
	keys, types, err := parseHostKeys(cfg.HostKeys)
	if err != nil {
		return nil, err
	}
	address, err := withPort(cfg.Address)
	if err != nil {
		return nil, err
	}
	if cfg.User == "" {
		cfg.User = "root"
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Conn{
		address: address,
		config: &ssh.ClientConfig{
			User:              cfg.User,
			Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
			HostKeyCallback:   keys.check,
			HostKeyAlgorithms: algorithms(types),
			ClientVersion:     "SSH-2.0-phoenix",
		},
		clock:   cfg.Clock,
		room:    make(chan struct{}, maxSessions),
		dialing: make(chan struct{}, 1),
	}, nil
}

func withPort(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), "22"
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, " /\t\n") {
		return "", fmt.Errorf("read SSH address %q: want host or host:port", address)
	}
	return net.JoinHostPort(host, port), nil
}

// Run runs a command and returns when it has ended. The arguments reach it as
// they are: no shell reads them as anything else. Secrets belong into stdin,
// never into argv. When the context ends first, the command is killed and the
// context's error returned. A connection that breaks while the command runs is
// an error, and whether the command did its work is unknown: it is not run
// again.
func (c *Conn) Run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	line, err := Quote(argv)
	if err != nil {
		return Result{}, err
	}
	select {
	case c.room <- struct{}{}:
	case <-ctx.Done():
		return Result{}, c.wrap(argv, context.Cause(ctx))
	}
	session, err := c.session(ctx)
	if err != nil {
		<-c.room
		return Result{}, c.wrap(argv, err)
	}
	result, err := c.run(ctx, session, line, stdin)
	if err != nil {
		return Result{}, c.wrap(argv, err)
	}
	return result, nil
}

// Close ends the connection and every command on it. Later calls of Run
// return ErrClosed.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.client == nil {
		return nil
	}
	client := c.client
	c.client = nil
	if err := client.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close SSH connection to %s: %w", c.address, err)
	}
	return nil
}

// wrap names the machine and the command, but not its arguments.
func (c *Conn) wrap(argv []string, err error) error {
	return fmt.Errorf("run %s on %s: %w", argv[0], c.address, markAway(err))
}

// session opens a session. Nothing of the command has been sent yet, so when
// a connection from before turns out to be broken, a new one is made, once.
func (c *Conn) session(ctx context.Context) (*ssh.Session, error) {
	for attempt := 1; ; attempt++ {
		client, fresh, err := c.connect(ctx)
		if err != nil {
			return nil, err
		}
		session, err := openSession(ctx, client)
		if err == nil {
			return session, nil
		}
		var refused *ssh.OpenChannelError
		if errors.As(err, &refused) || ctx.Err() != nil {
			return nil, fmt.Errorf("open session: %w", err)
		}
		c.drop(client)
		if fresh || attempt == 2 {
			return nil, fmt.Errorf("open session: %w", err)
		}
	}
}

// openSession opens a session unless the context ends before.
func openSession(ctx context.Context, client *ssh.Client) (*ssh.Session, error) {
	type opened struct {
		session *ssh.Session
		err     error
	}
	done := make(chan opened, 1)
	go func() {
		session, err := client.NewSession()
		done <- opened{session, err}
	}()
	select {
	case o := <-done:
		return o.session, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				_ = o.session.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// connect returns the connection, and whether it was made just now.
func (c *Conn) connect(ctx context.Context) (client *ssh.Client, fresh bool, err error) {
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	c.mu.Lock()
	client, closed := c.client, c.closed
	c.mu.Unlock()
	if closed {
		return nil, false, ErrClosed
	}
	if client != nil {
		return client, false, nil
	}
	if client, err = c.dial(ctx); err != nil {
		return nil, false, fmt.Errorf("connect: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = client.Close()
		return nil, false, ErrClosed
	}
	c.client = client
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		_ = client.Wait()
		c.drop(client)
	}()
	go c.keepAlive(client, broken)
	return client, true, nil
}

// dial makes a connection within the context and fifteen seconds.
func (c *Conn) dial(ctx context.Context) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	wire, err := (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	// The handshake knows no context: closing the wire ends it.
	stop := context.AfterFunc(ctx, func() { _ = wire.Close() })
	conn, channels, requests, err := ssh.NewClientConn(wire, c.address, c.config)
	if !stop() && err == nil {
		_ = conn.Close()
		return nil, context.Cause(ctx)
	}
	if err != nil {
		_ = wire.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	return ssh.NewClient(conn, channels, requests), nil
}

// drop forgets a connection, so that the next Run makes a new one.
func (c *Conn) drop(client *ssh.Client) {
	c.mu.Lock()
	if c.client == client {
		c.client = nil
	}
	c.mu.Unlock()
	_ = client.Close()
}

// keepAlive asks the machine for a sign of life and ends the connection when
// there is none, so that commands on a dead one do not wait for ever.
func (c *Conn) keepAlive(client *ssh.Client, broken <-chan struct{}) {
	for {
		timer := c.clock.NewTimer(aliveEvery)
		select {
		case <-broken:
			timer.Stop()
			return
		case <-timer.C():
		}
		answered := make(chan struct{})
		go func() {
			// Any answer will do, a refusal too.
			if _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); err == nil {
				close(answered)
			}
		}()
		timer = c.clock.NewTimer(aliveTimeout)
		select {
		case <-broken:
			timer.Stop()
			return
		case <-answered:
			timer.Stop()
		case <-timer.C():
			c.drop(client)
			return
		}
	}
}
