// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net/http"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// https prepares conversations over https.
func (r *remote) https() (func(context.Context) (session, error), error) {
	endpoint, err := transport.NewEndpoint(r.url.String())
	if err != nil {
		return nil, problem(Invalid, "the URL is not one of a repository")
	}
	var auth transport.AuthMethod
	if r.Username != "" || r.Password != "" {
		// A token's user name does not matter to most servers, but some want one.
		auth = &githttp.BasicAuth{Username: cmp.Or(r.Username, "git"), Password: r.Password}
	}
	return func(context.Context) (session, error) {
		tripper := &http.Transport{
			DialContext:       r.dial,
			TLSClientConfig:   &tls.Config{RootCAs: r.Roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true,
		}
		client := githttp.NewClient(&http.Client{Transport: &bounded{tripper}})
		one := *endpoint // which a redirect changes
		s, err := client.NewUploadPackSession(&one, auth)
		if err != nil {
			return nil, err
		}
		return &httpsSession{s, tripper}, nil
	}, nil
}

type httpsSession struct {
	transport.UploadPackSession
	tripper *http.Transport
}

// Close ends the conversation and its connections.
func (s *httpsSession) Close() error {
	defer s.tripper.CloseIdleConnections()
	return s.UploadPackSession.Close()
}

// bounded refuses answers that exceed what a repository may have.
type bounded struct{ *http.Transport }

// RoundTrip bounds the body of the answer.
func (b *bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.Transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{&limitReader{from: response.Body, left: repositoryLimit}, response.Body}
	return response, nil
}

// limitReader returns an error, and not an end, where its limit is.
type limitReader struct {
	from io.Reader
	left int64
}

// Read reads on, or says that it is too much.
func (l *limitReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.from.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

var errTooLarge = problem(TooLarge, "the repository has more than %d MiB", repositoryLimit>>20)
