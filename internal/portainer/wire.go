// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
)

const (
	// maxAnswer bounds an answer: a list of some thousand containers.
	maxAnswer = 32 << 20
	// maxStream bounds what an engine reports of a pull.
	maxStream = 256 << 20
)

// credential goes with every request of one caller.
type credential struct{ header, value string }

// wire is a http.RoundTripper that gives *Error for everything but a success, reads answers whole, and asks a second
// time when a GET is not answered. It serves Portainer's API and, below the Docker client, the engines.
type wire struct {
	base http.RoundTripper
	url  string
	as   credential
}

// streamed marks the context of a call whose answer comes while it works.
type streamed struct{}

// mishap is where a wire leaves its error for a caller that gets it through a library which may not wrap it.
type mishap struct{ err *Error }

func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	request = request.Clone(ctx)
	if w.as.value != "" {
		request.Header.Set(w.as.header, w.as.value)
	}
	answer, e := w.once(request)
	if e != nil && e.Kind == Away && ctx.Err() == nil && request.Method == http.MethodGet {
		answer, e = w.once(request)
	}
	if e == nil {
		return answer, nil
	}
	if m, ok := ctx.Value(mishap{}).(*mishap); ok {
		m.err = e
	}
	return nil, e
}

func (w *wire) once(request *http.Request) (*http.Response, *Error) {
	answer, err := w.base.RoundTrip(request)
	if err != nil {
		return nil, w.unanswered(request.Context(), err)
	}
	good := answer.StatusCode/100 == 2 || answer.StatusCode == http.StatusNotModified
	if good && request.Context().Value(streamed{}) != nil {
		answer.Body = &stream{body: answer.Body, left: maxStream, broken: func(err error) error {
			return w.unanswered(request.Context(), err)
		}}
		return answer, nil
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, w.unanswered(request.Context(), err)
	}
	if len(data) > maxAnswer {
		return nil, &Error{Kind: Away, Status: answer.StatusCode, Message: fmt.Sprintf("%s answers more than %d MiB", w.url, maxAnswer>>20)}
	}
	if !good {
		return nil, refusal(w.url, answer, data)
	}
	answer.Body = io.NopCloser(bytes.NewReader(data))
	return answer, nil
}

// unanswered tells why there is no answer, or only a part of one.
func (w *wire) unanswered(ctx context.Context, err error) *Error {
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return &Error{Kind: Untrusted, Message: fmt.Sprintf("trust %s: %v", w.url, err), err: err}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Error{Kind: Away, Message: fmt.Sprintf("reach %s: no answer in time", w.url), err: ctx.Err()}
	case ctx.Err() != nil:
		return &Error{Kind: Away, Message: fmt.Sprintf("reach %s: given up", w.url), err: ctx.Err()}
	}
	return &Error{Kind: Away, Message: fmt.Sprintf("reach %s: %v", w.url, err), err: err}
}

// stream bounds a body and gives *Error when it breaks off.
type stream struct {
	body   io.ReadCloser
	left   int64
	broken func(error) error
}

func (s *stream) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, s.broken(fmt.Errorf("the answer is longer than %d MiB", maxStream>>20))
	}
	n, err := s.body.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.broken(err)
	}
	return n, err
}

func (s *stream) Close() error { return s.body.Close() }
