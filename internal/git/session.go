// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"
)

// sshSession is git-upload-pack at the other end of an ssh connection. The library's own would read the machine's ssh
// configuration, cannot be given a dialer, and does not stop with its context.
type sshSession struct {
	client  *ssh.Client
	channel *ssh.Session
	stop    func() bool // the watch over the context
	in      io.WriteCloser
	out     io.Reader
	said    said
}

// dialSSH signs in and starts git-upload-pack.
func (r *remote) dialSSH(ctx context.Context, address string, config ssh.ClientConfig) (session, error) {
	keys, err := parseKnownHosts(r.KnownHosts, knownName(address))
	if err != nil {
		return nil, err
	}
	config.HostKeyCallback, config.HostKeyAlgorithms = keys.check, keys.algorithms()
	connection, err := r.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	client, err := handshake(ctx, connection, address, &config)
	if err != nil {
		stop()
		_ = connection.Close()
		if keys.shown != nil {
			return nil, keys.shown
		}
		return nil, r.classifySSH(err)
	}
	s := &sshSession{client: client, stop: stop}
	if err := s.start(r.command()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func handshake(ctx context.Context, connection net.Conn, address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	c, channels, requests, err := ssh.NewClientConn(connection, address, config)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

func (r *remote) classifySSH(err error) error {
	if strings.Contains(err.Error(), "unable to authenticate") {
		return r.unauthorized()
	}
	return err
}

// command is what the server runs; a path that begins with /~ is one of a home, as git has it.
func (r *remote) command() string {
	path := r.url.Path
	if strings.HasPrefix(path, "/~") {
		path = path[1:]
	}
	return "git-upload-pack '" + strings.NewReplacer(`'`, `'\''`, `!`, `'\!'`).Replace(path) + "'"
}

func (s *sshSession) start(command string) error {
	var err error
	if s.channel, err = s.client.NewSession(); err != nil {
		return err
	}
	if s.in, err = s.channel.StdinPipe(); err != nil {
		return err
	}
	out, err := s.channel.StdoutPipe()
	if err != nil {
		return err
	}
	s.out = &limitReader{from: out, left: repositoryLimit}
	s.channel.Stderr = &s.said
	return s.channel.Start(command)
}

// AdvertisedReferencesContext reads what the server has. It ends with the context that the session was opened with.
func (s *sshSession) AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	err := refs.Decode(s.out)
	var line *pktline.ErrorLine
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &line):
		return nil, refused(line.Text)
	case errors.Is(err, packp.ErrEmptyInput):
		_ = s.in.Close()
		_ = s.channel.Wait() // until all that the server has to say has arrived; that it failed is known
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, refused(string(s.said.bytes))
	case errors.Is(err, packp.ErrEmptyAdvRefs), err == nil && refs.IsEmpty():
		return nil, transport.ErrEmptyRemoteRepository
	case err != nil:
		return nil, err
	}
	return refs, nil
}

// refused says why a server gives no repository, from what it said.
func refused(words string) error {
	words = strings.ToLower(words)
	for _, part := range []string{"not found", "does not appear to be a git repository", "does not exist", "no such", "could not be found"} {
		if strings.Contains(words, part) {
			return transport.ErrRepositoryNotFound
		}
	}
	for _, part := range []string{"denied", "unauthorized", "not authorized", "permission", "not allowed"} {
		if strings.Contains(words, part) {
			return transport.ErrAuthorizationFailed
		}
	}
	return problem(Broken, "the server does not run git-upload-pack for this path")
}

// UploadPack asks for a pack.
func (s *sshSession) UploadPack(ctx context.Context, request *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	response, err := s.uploadPack(request)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return response, err
}

func (s *sshSession) uploadPack(request *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	var b bytes.Buffer
	if err := request.UploadRequest.Encode(&b); err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	if err := pktline.NewEncoder(&b).EncodeString("done\n"); err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	if _, err := s.in.Write(b.Bytes()); err != nil {
		return nil, err
	}
	if err := s.in.Close(); err != nil {
		return nil, err
	}
	response := packp.NewUploadPackResponse(request)
	if err := response.Decode(io.NopCloser(s.out)); err != nil {
		return nil, err
	}
	return response, nil
}

// Close ends the connection. That the server ended it before is no error.
func (s *sshSession) Close() error {
	s.stop()
	_ = s.client.Close()
	return nil
}

// said keeps the first words that a server says beside the conversation.
type said struct{ bytes []byte }

// Write keeps what it has room for, and takes all.
func (s *said) Write(p []byte) (int, error) {
	const enough = 2048
	s.bytes = append(s.bytes, p[:min(len(p), enough-len(s.bytes))]...)
	return len(p), nil
}
