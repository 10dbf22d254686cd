// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// maxSessions is how many sessions sshd allows on one connection.
const maxSessions = 10

// SSHNode is a node's SSH door.
type SSHNode struct {
	// Name of the node and Address (host:port) of its door.
	Name, Address string
	// HostKey is the door's public key, as an authorized_keys line.
	HostKey string
	// ClientKeyPEM is a private key that may log in as root.
	ClientKeyPEM []byte
}

// sshDoor is a node's SSH server.
type sshDoor struct {
	s        *Server
	node     string
	listener net.Listener
	config   *ssh.ServerConfig

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (s *Server) openSSH() error {
	clientPEM, clientKey, err := newSSHKey()
	if err != nil {
		return err
	}
	for _, name := range s.order {
		_, host, err := newSSHKey()
		if err != nil {
			return err
		}
		door, err := s.newDoor(name, host, clientKey.PublicKey())
		if err != nil {
			return fmt.Errorf("open ssh of %s: %w", name, err)
		}
		s.doors = append(s.doors, door)
		s.SSH = append(s.SSH, SSHNode{
			Name: name, Address: door.listener.Addr().String(), ClientKeyPEM: clientPEM,
			HostKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(host.PublicKey()))),
		})
		s.running.Add(1)
		go door.accept()
	}
	return nil
}

func newSSHKey() ([]byte, ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "phoenix simulator")
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	return pem.EncodeToMemory(block), signer, err
}

func (s *Server) newDoor(node string, host ssh.Signer, client ssh.PublicKey) (*sshDoor, error) {
	config := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7",
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if meta.User() == "root" && string(key.Marshal()) == string(client.Marshal()) {
				return &ssh.Permissions{}, nil
			}
			return nil, errors.New("key is not authorised")
		},
	}
	config.AddHostKey(host)
	var lc net.ListenConfig
	l, err := lc.Listen(s.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &sshDoor{s: s, node: node, listener: s.guard(l, node, 22), config: config, conns: map[net.Conn]struct{}{}}, nil
}

func (s *Server) closeSSH() {
	for _, door := range s.doors {
		_ = door.listener.Close() // it is closed twice at worst
		door.mu.Lock()
		for c := range door.conns {
			_ = c.Close() // the connection is gone either way
		}
		door.mu.Unlock()
	}
}

// cutSSH breaks every connection to a node.
func (s *Server) cutSSH(node string) {
	for _, door := range s.doors {
		if door.node != node {
			continue
		}
		door.mu.Lock()
		for c := range door.conns {
			_ = c.Close() // the connection is gone either way
		}
		door.mu.Unlock()
	}
}

func (d *sshDoor) accept() {
	defer d.s.running.Done()
	for {
		c, err := d.listener.Accept()
		if err != nil {
			return
		}
		if !d.up() {
			_ = c.Close() // a dead node does not answer
			continue
		}
		d.mu.Lock()
		d.conns[c] = struct{}{}
		d.mu.Unlock()
		d.s.running.Add(1)
		go func() {
			defer d.s.running.Done()
			d.talk(c)
			d.mu.Lock()
			delete(d.conns, c)
			d.mu.Unlock()
		}()
	}
}

func (d *sshDoor) up() bool {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	return d.s.nodes[d.node].online && d.s.ctx.Err() == nil
}

func (d *sshDoor) talk(c net.Conn) {
	defer c.Close()
	conn, channels, requests, err := ssh.NewServerConn(c, d.config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	slots := make(chan struct{}, maxSessions)
	var sessions sync.WaitGroup
	for incoming := range channels {
		if incoming.ChannelType() != "session" {
			_ = incoming.Reject(ssh.UnknownChannelType, "only sessions") // the connection shows a failure
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = incoming.Reject(ssh.ResourceShortage, "too many sessions") // the connection shows a failure
			continue
		}
		channel, asked, err := incoming.Accept()
		if err != nil {
			<-slots
			continue
		}
		sessions.Go(func() {
			defer func() { <-slots }()
			d.session(channel, asked, func() { _ = c.Close() }) // the connection is gone either way
		})
	}
	sessions.Wait()
}

// session runs the one command of a session; cut breaks the connection when a
// fault of the node's machine says so.
func (d *sshDoor) session(channel ssh.Channel, asked <-chan *ssh.Request, cut func()) {
	defer channel.Close()
	for req := range asked {
		switch req.Type {
		case "env", "pty-req":
			_ = req.Reply(true, nil) // the connection shows a failure
		case "exec", "shell":
			command := "sh"
			if req.Type == "exec" {
				var payload struct{ Command string }
				if ssh.Unmarshal(req.Payload, &payload) != nil {
					_ = req.Reply(false, nil) // the connection shows a failure
					continue
				}
				command = payload.Command
			}
			_ = req.Reply(true, nil) // the connection shows a failure
			go answerRequests(asked)
			code, err := d.s.session(d.node, command, channel, channel, channel.Stderr())
			if err != nil {
				cut()
				return
			}
			status := struct{ Status uint32 }{uint32(code)}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(&status)) // the connection shows a failure
			return
		default:
			_ = req.Reply(false, nil) // the connection shows a failure
		}
	}
}

// answerRequests answers what comes while a command runs. A client that leaves
// does not end the command, as with a real sshd without a terminal.
func answerRequests(asked <-chan *ssh.Request) {
	for req := range asked {
		if req.WantReply {
			_ = req.Reply(false, nil) // the connection shows a failure
		}
	}
}

// SSHCommand is one command that came through an SSH door.
type SSHCommand struct {
	Node, Command string
	// Exit is -1 while it runs.
	Exit int
}

// SSHCommands are all commands since the start.
func (s *Server) SSHCommands() []SSHCommand {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]SSHCommand(nil), s.commands...)
}

// session runs a command line on a node as sshd does, and records it.
func (s *Server) session(node, line string, in io.Reader, out, errs io.Writer) (int, error) {
	s.mu.Lock()
	index := len(s.commands)
	s.commands = append(s.commands, SSHCommand{Node: node, Command: line, Exit: -1})
	m := s.nodes[node].machine
	s.mu.Unlock()
	exit, err := m.Session(s.ctx, []string{"bash", "-c", line}, in, out, errs)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands[index].Exit = exit
	return exit, err
}

// Run runs a command on a node as root, as a person logged in there would.
func (s *Server) Run(_ context.Context, node, command string) (stdout, stderr string, exit int) {
	var out, errs strings.Builder
	exit, _ = s.session(node, command, strings.NewReader(""), &out, &errs) // nobody's connection can break here
	return out.String(), errs.String(), exit
}
