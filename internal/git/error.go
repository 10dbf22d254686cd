// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// Kind of an error: what would help.
type Kind int

// Kinds of errors.
const (
	Away         Kind = iota // the server does not answer: again later
	Broken                   // what it sends is not git's: again later
	Invalid                  // the Source cannot be right, whatever the server says
	Unauthorized             // the server wants other credentials
	Untrusted                // the server's certificate or host key is not the one that it must be
	NoRepository             // there is no such repository, or not for these credentials
	NoReference              // the repository has no such branch, tag or commit
	NoFile                   // the commit has no such file: nothing, or something else
	TooLarge                 // the file or the repository exceeds the bounds
)

// Error is why a file was not fetched. It holds no credentials.
type Error struct {
	Kind    Kind
	Message string // with the repository, and without what stands in Err
	Err     error  // nil, or the reason in the words of the network
}

// Error is the message, and the reason.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap is the reason.
func (e *Error) Unwrap() error { return e.Err }

func problem(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// fail makes an *Error of what went wrong, with the repository's name.
func (r *remote) fail(verb string, err error) *Error {
	e := r.classify(err)
	where := r.url.Scheme + "://" + r.url.Host + r.url.EscapedPath()
	return &Error{Kind: e.Kind, Message: verb + " " + where + ": " + e.Message, Err: e.Err}
}

// classify says what an error of the libraries means. Their words are not handed on, as a server can have a say in them.
func (r *remote) classify(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	if unexpected := new(plumbing.UnexpectedError); errors.As(err, &unexpected) && unexpected.Err != nil {
		return r.classify(unexpected.Err)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Kind: Away, Message: "it took too long", Err: context.DeadlineExceeded}
	case errors.Is(err, context.Canceled):
		return &Error{Kind: Away, Message: "it was stopped", Err: context.Canceled}
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		return r.unauthorized()
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return problem(NoRepository, "there is no such repository, or not for these credentials")
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return problem(NoReference, "the repository is empty")
	}
	return classifyConnection(err)
}

func (r *remote) unauthorized() *Error {
	if r.Password == "" && len(r.SSHKey) == 0 {
		return problem(Unauthorized, "the server wants credentials, and there are none")
	}
	return problem(Unauthorized, "the server refuses the credentials")
}

func classifyConnection(err error) *Error {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return &Error{Kind: Untrusted, Message: "the server's certificate is not trusted", Err: certificate.Err}
	}
	var status *githttp.Err
	if errors.As(err, &status) {
		if status.StatusCode() >= http.StatusInternalServerError || status.StatusCode() == http.StatusTooManyRequests {
			return problem(Away, "the server answers with status %d", status.StatusCode())
		}
		return problem(Broken, "the server answers with status %d: is this the URL of a repository?", status.StatusCode())
	}
	var network *net.OpError
	if errors.As(err, &network) {
		return &Error{Kind: Away, Message: "the server is away", Err: network}
	}
	var request *url.Error
	if errors.As(err, &request) && strings.HasPrefix(request.Err.Error(), "http redirect: ") {
		return problem(Broken, "the server sends on to where it must not: name the final URL")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return problem(Away, "the server ended the conversation")
	}
	if strings.Contains(err.Error(), "not our ref") {
		return problem(NoReference, "the server does not give this commit")
	}
	return problem(Broken, "the server's answer is not git's")
}
