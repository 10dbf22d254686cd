// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/smallstep/certificates/acme"
	acmeapi "github.com/smallstep/certificates/acme/api"
	acmedb "github.com/smallstep/certificates/acme/db/nosql"
	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/api/render"
	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/db"
	"github.com/smallstep/certificates/errs"
	"github.com/smallstep/certificates/middleware/requestid"
	"github.com/smallstep/nosql"
	"go.step.sm/crypto/jose"
)

// timeout of step-ca for a request, and between two.
const timeout = 15 * time.Second

// routes are the paths of step-ca's API.
func (a *Authority) routes(g *generation, store db.AuthDB) (http.Handler, error) {
	mux := chi.NewRouter()
	mux.Use(middleware.GetHead)
	api.Route(mux)
	mux.Route("/1.0", func(r chi.Router) { api.Route(r) })
	ctx := db.NewContext(authority.NewContext(context.Background(), g.auth), store)
	if kept, ok := store.(nosql.DB); ok && g.config.DB != nil { // there is no ACME without a database
		orders, err := acmedb.New(kept)
		if err != nil {
			return nil, fmt.Errorf("error configuring ACME DB interface: %w", err)
		}
		host := g.config.DNSNames[0]
		if _, port, err := net.SplitHostPort(g.config.Address); err == nil && port != "443" {
			host = net.JoinHostPort(host, port)
		}
		ctx = acme.NewContext(ctx, orders, prover{a.opts.Dial}, acme.NewLinker(host, "acme"), nil)
		mux.Route("/acme", func(r chi.Router) { acmeapi.Route(r) })
		mux.Route("/2.0/acme", func(r chi.Router) { acmeapi.Route(r) })
	}
	inner := requestid.New("").Middleware(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r.WithContext(&both{Context: r.Context(), values: ctx}))
	}), nil
}

// both is a request's context with the authority's values.
type both struct {
	context.Context
	values context.Context
}

// Value implements context.Context.
func (b *both) Value(key any) any {
	if v := b.values.Value(key); v != nil {
		return v
	}
	return b.Context.Value(key)
}

// Serve answers at a listener until Stop.
func (a *Authority) Serve(l net.Listener) {
	a.served = make(chan struct{})
	a.server = &http.Server{
		Handler: http.HandlerFunc(a.serve), ReadTimeout: timeout, WriteTimeout: timeout, IdleTimeout: timeout, ErrorLog: log.New(logger(a.opts.Log), "", 0),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetConfigForClient: a.secure},
	}
	go func() {
		defer close(a.served)
		if err := a.server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			a.opts.Log("unexpected error: " + err.Error())
		}
	}()
}

// Stop ends the server and every connection, and keeps the database.
func (a *Authority) Stop() {
	if a.server != nil {
		_ = a.server.Close() // the connections are gone either way
		<-a.served
	}
	a.mu.Lock()
	g, m := a.now, a.memory
	a.mu.Unlock()
	_ = g.auth.Shutdown() // its database is in memory
	if m != nil {
		if err := a.opts.WriteFile(a.dbFile, m.dump()); err != nil {
			a.opts.Log("error closing the database: " + err.Error())
		}
	}
}

// secure is the TLS configuration of one handshake.
func (a *Authority) secure(*tls.ClientHelloInfo) (*tls.Config, error) {
	g := a.present()
	leaf, err := g.certificate(a.opts.Now())
	if err != nil {
		return nil, err
	}
	c := g.config.TLS.TLSConfig()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.Certificates, c.NextProtos = []tls.Certificate{*leaf}, []string{"h2", "http/1.1"}
	c.ClientAuth, c.ClientCAs, c.Time = tls.VerifyClientCertIfGiven, g.clients, a.opts.Now
	return c, nil
}

func (a *Authority) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", a.opts.Now().UTC().Format(http.TimeFormat))
	if status, struck := a.opts.Faults.strike(r); struck {
		fail(w, r, status)
		return
	}
	if err := a.judgeToken(r); err != nil {
		render.Error(w, r, err)
		return
	}
	a.present().handler.ServeHTTP(w, r)
}

// fail answers as step-ca does when it refuses; 0 is no answer at all.
func fail(w http.ResponseWriter, r *http.Request, status int) {
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	render.Error(w, r, errs.StatusCodeError(status, errors.New("told to")))
}

// judgeToken refuses a token that is over, or not yet valid, by a clock that is
// wrong: the library looks at the computer's.
func (a *Authority) judgeToken(r *http.Request) error {
	if a.shift() == 0 || r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/sign") && !strings.HasSuffix(r.URL.Path, "/revoke") {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return errs.BadRequestErr(err, "error reading request body")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var request struct {
		OTT string `json:"ott"`
	}
	if json.Unmarshal(body, &request) != nil || request.OTT == "" {
		return nil
	}
	token, err := jose.ParseSigned(request.OTT)
	if err != nil {
		return nil //nolint:nilerr // the authority says so itself
	}
	var claims jose.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return nil //nolint:nilerr // the authority says so itself
	}
	if err := claims.ValidateWithLeeway(jose.Expected{Time: a.opts.Now()}, time.Minute); err != nil {
		return errs.UnauthorizedErr(err)
	}
	return nil
}

// logger turns writes into lines.
type logger func(line string)

// Write implements io.Writer.
func (l logger) Write(b []byte) (int, error) {
	l(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}
