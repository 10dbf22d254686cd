// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// visitor is the client outside of the site. It trusts what the site tells workloads to trust, and knows the gateway's address.
type visitor struct {
	roots *x509.CertPool
	// alone makes a connection for each request, by HTTP/2 where it is offered.
	alone *http.Client
}

func (r *reference) visitor() *visitor {
	r.Helper()
	v := &visitor{roots: x509.NewCertPool()}
	if !v.roots.AppendCertsFromPEM(r.trusted()) {
		r.Fatal("the site trusts nobody")
	}
	v.alone = v.client(func(tr *http.Transport) { tr.DisableKeepAlives, tr.ForceAttemptHTTP2 = true, true })
	return v
}

// client is one that comes from outside to the gateway, whatever the name.
func (v *visitor) client(change func(*http.Transport)) *http.Client {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return site.DialClient(ctx, network, net.JoinHostPort(addresses[nginx], port))
		},
		TLSClientConfig: &tls.Config{RootCAs: v.roots, MinVersion: tls.VersionTLS12},
	}
	change(tr)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// answer is what a visitor gets: an error where there is none.
type answer struct {
	status                   int
	protocol, body, location string
	err                      error
}

// String is the answer in short.
func (a answer) String() string {
	return fmt.Sprintf("%d %q %s (%v)", a.status, a.body, a.location, a.err)
}

// ask asks a host over TLS, on a connection of its own, with these headers.
func (v *visitor) ask(host, path string, headers ...string) answer {
	return get(v.alone, "https://"+host+path, headers...)
}

// askPlain asks a host without TLS.
func (v *visitor) askPlain(host string) answer { return get(v.alone, "http://"+host+"/") }

func get(c *http.Client, address string, headers ...string) answer {
	request, err := http.NewRequestWithContext(test, http.MethodGet, address, http.NoBody)
	if err != nil {
		return answer{err: err}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = res.Body.Close() }() // it was read
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Proto, string(body), res.Header.Get("Location"), err}
}

// answers waits until a host answers with a text.
func (v *visitor) answers(t *testing.T, host, text string) {
	t.Helper()
	until(t, host+" answers "+text, func() error {
		if a := v.ask(host, "/"); a.status != http.StatusOK || !strings.Contains(a.body, text) {
			return errors.New(a.String())
		}
		return nil
	})
}

// silent waits until a host does not answer.
func (v *visitor) silent(t *testing.T, host string) {
	t.Helper()
	until(t, host+" answers nothing", func() error {
		if a := v.ask(host, "/"); a.err == nil {
			return errors.New(a.String())
		}
		return nil
	})
}

// count sends a body of this size, and returns how many bytes the backend says that it got.
func (v *visitor) count(host string, size int64) string {
	res, err := v.alone.Post("https://"+host+"/count", "application/octet-stream", io.LimitReader(zeros{}, size))
	if err != nil {
		return err.Error()
	}
	defer func() { _ = res.Body.Close() }() // it was read
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(body))
}

// zeros is an endless file of them.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// echo goes over to another protocol with the backend, as websockets do.
func (v *visitor) echo(host, text string) error {
	c, err := v.connect(host)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // all was said
	if _, err := fmt.Fprintf(c, "GET /echo HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", host); err != nil {
		return err
	}
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	_ = res.Body.Close() // it has none
	if res.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(res.Status)
	}
	for range 3 {
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		back := make([]byte, len(text))
		if _, err := io.ReadFull(in, back); err != nil || string(back) != text {
			return fmt.Errorf("%q came back: %w", back, err)
		}
	}
	return nil
}

// streams says whether the first line of an answer comes before the last one is made, a second later.
func (v *visitor) streams(host string) error {
	c, err := v.connect(host)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // all was read
	if _, err := fmt.Fprintf(c, "GET /ticks HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
		return err
	}
	var first time.Time
	for lines := bufio.NewScanner(c); lines.Scan(); {
		switch lines.Text() {
		case "tick 0":
			first = time.Now()
		case "tick 4":
			if between := time.Since(first); first.IsZero() || between < 400*time.Millisecond {
				return fmt.Errorf("the lines came within %s", between)
			}
			return nil
		}
	}
	return errors.New("the last line did not come")
}

// connect opens a TLS connection for HTTP/1.1.
func (v *visitor) connect(host string) (net.Conn, error) {
	raw, err := site.DialClient(test, "tcp", gateway)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, &tls.Config{RootCAs: v.roots, ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	if err := errors.Join(c.SetDeadline(time.Now().Add(patience)), c.HandshakeContext(test)); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}
