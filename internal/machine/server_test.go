// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

// host is an SSH server in memory. It knows the commands that the tests need;
// any other exits 127.
type host struct {
	address string
	key     ssh.Signer
	client  secret.Secret // a key that it lets in
	release chan struct{} // lets "hold" go on
	began   chan string   // one line a command

	mu       sync.Mutex
	wires    []net.Conn
	dialled  int
	sessions int
	most     int // sessions at one time
	signals  []string
	deaf     bool // answers no keep-alive
	refuse   bool // opens no session
}

func newKey(t *testing.T) (ssh.Signer, secret.Secret) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, secret.Secret(pem.EncodeToMemory(block))
}

func serve(t *testing.T) *host {
	t.Helper()
	hostKey, _ := newKey(t)
	clientKey, clientPEM := newKey(t)
	h := &host{key: hostKey, client: clientPEM, release: make(chan struct{}), began: make(chan string, 64)}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if meta.User() == "root" && bytes.Equal(key.Marshal(), clientKey.PublicKey().Marshal()) {
				return nil, nil
			}
			return nil, errors.New("unknown key")
		},
	}
	config.AddHostKey(hostKey)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = listener.Addr().String()
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		h.cut()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			wire, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { h.accept(wire, config) })
		}
	})
	return h
}

func (h *host) pinned() []string {
	return []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(h.key.PublicKey())))}
}

func (h *host) config() SSH {
	return SSH{Address: h.address, Key: h.client, HostKeys: h.pinned()}
}

func (h *host) conn(t *testing.T) *Conn {
	t.Helper()
	c, err := Dial(h.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// cut breaks every connection, as a router that goes away does.
func (h *host) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, wire := range h.wires {
		_ = wire.Close()
	}
	h.wires = nil
}

func (h *host) do(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func (h *host) dials() (n int) {
	h.do(func() { n = h.dialled })
	return n
}

func (h *host) accept(wire net.Conn, config *ssh.ServerConfig) {
	h.do(func() { h.wires = append(h.wires, wire); h.dialled++ })
	defer func() { _ = wire.Close() }()
	conn, channels, requests, err := ssh.NewServerConn(wire, config)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	var running sync.WaitGroup
	running.Go(func() {
		for r := range requests {
			var deaf bool
			h.do(func() { deaf = h.deaf })
			if r.WantReply && !deaf {
				_ = r.Reply(false, nil)
			}
		}
	})
	for offered := range channels {
		var refuse bool
		h.do(func() { refuse = h.refuse })
		if refuse {
			_ = offered.Reject(ssh.Prohibited, "too many sessions")
			continue
		}
		channel, requests, err := offered.Accept()
		if err != nil {
			break
		}
		running.Go(func() { h.session(channel, requests) })
	}
	running.Wait()
}

func (h *host) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	h.do(func() { h.sessions++; h.most = max(h.most, h.sessions) })
	defer h.do(func() { h.sessions-- })
	defer func() { _ = channel.Close() }()
	ended, killed := make(chan uint32, 1), make(chan struct{})
	for {
		select {
		case code := <-ended:
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
			return
		case r, ok := <-requests:
			if !ok {
				return
			}
			switch r.Type {
			case "exec":
				var line struct{ Text string }
				_ = ssh.Unmarshal(r.Payload, &line)
				_ = r.Reply(line.Text != "forbidden", nil)
				h.began <- line.Text
				go func() { ended <- h.command(channel, line.Text, killed) }()
			case "signal":
				var signal struct{ Name string }
				_ = ssh.Unmarshal(r.Payload, &signal)
				h.do(func() { h.signals = append(h.signals, signal.Name) })
				close(killed)
				_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Name    string
					Core    bool
					Message string
					Lang    string
				}{signal.Name, false, "", ""}))
				return
			}
		}
	}
}

func (h *host) command(channel ssh.Channel, line string, killed <-chan struct{}) uint32 {
	name, rest, _ := strings.Cut(line, " ")
	switch name {
	case "echo":
		_, _ = io.WriteString(channel, rest+"\n")
	case "cat":
		_, _ = io.Copy(channel, channel)
	case "true":
	case "grumble":
		_, _ = io.WriteString(channel.Stderr(), "it hurts\n")
		return 3
	case "flood":
		for chunk := bytes.Repeat([]byte("x"), 64<<10); ; {
			if _, err := channel.Write(chunk); err != nil {
				return 1
			}
		}
	case "hold":
		select {
		case <-h.release:
		case <-killed:
		}
	default:
		_, _ = io.WriteString(channel.Stderr(), name+": not found\n")
		return 127
	}
	return 0
}
