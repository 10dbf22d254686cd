// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/docker/docker/api/types"
	docker "github.com/docker/docker/client"
)

// Engine is the Docker engine of an environment, reached through Portainer. It speaks the newest version of Docker's API
// that both know, which is asked once; 1.41 (engine 20.10) is the oldest that was tried. The environment has to exist.
type Engine struct {
	client      *Client
	environment int
}

// Engine returns the engine of an environment. It makes no request. The error is Invalid when the ID is not positive.
func (c *Client) Engine(environment int) (*Engine, error) {
	if environment <= 0 {
		return nil, fmt.Errorf("use engine of environment %d: %w", environment, invalid("an environment's ID is positive"))
	}
	return &Engine{client: c, environment: environment}, nil
}

// Ping asks the engine whether it is there. The error is Away when it, its agent or Portainer is not, and NotFound when
// the environment is gone.
func (e *Engine) Ping(ctx context.Context) error {
	if _, err := e.ask(ctx); err != nil {
		return e.failed("reach engine", err)
	}
	return nil
}

// ask reads the version of the engine's API from its answer to a ping.
func (e *Engine) ask(ctx context.Context) (string, *Error) {
	var header http.Header
	if err := e.client.do(ctx, call{method: http.MethodGet, path: e.path() + "/_ping", header: &header}); err != nil {
		return "", err
	}
	version := header.Get("Api-Version")
	if version == "" {
		return "", &Error{Kind: Away, Status: http.StatusOK, Message: "what answers is not a Docker engine"}
	}
	return version, nil
}

func (e *Engine) path() string { return fmt.Sprintf("/endpoints/%d/docker", e.environment) }

// failed says what was tried where.
func (e *Engine) failed(what string, err error) error {
	return fmt.Errorf("%s of environment %d: %w", what, e.environment, err)
}

// do calls the engine with the library's client. When the engine was up- or downgraded, it is asked again which version
// it speaks.
func (e *Engine) do(ctx context.Context, long bool, use func(context.Context, *docker.Client) error) *Error {
	if !long {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	err := e.once(ctx, use)
	if err != nil && err.Kind == Invalid && strings.Contains(err.Message, "client version") {
		e.client.server.forget(e.environment)
		err = e.once(ctx, use)
	}
	if err != nil {
		return err.tidy([]string{e.client.as.value})
	}
	return nil
}

func (e *Engine) once(ctx context.Context, use func(context.Context, *docker.Client) error) *Error {
	library, failed := e.library(ctx)
	if failed != nil {
		return failed
	}
	m := &mishap{}
	err := use(context.WithValue(ctx, mishap{}, m), library)
	var own *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case m.err != nil: // the library put words of its own in its place
		return m.err
	}
	// What is left is an answer that the library cannot read.
	return &Error{Kind: Away, Message: fmt.Sprintf("%s answers, but not as an engine does", e.client.server.url)}
}

// library returns the library's client for the version that the engine speaks.
func (e *Engine) library(ctx context.Context) (*docker.Client, *Error) {
	s := e.client.server
	version := s.version(e.environment)
	if version == "" {
		var err *Error
		if version, err = e.ask(ctx); err != nil {
			return nil, err
		}
	}
	library, err := docker.NewClientWithOpts(
		docker.WithHost("tcp://"+s.host+"/api"+e.path()), docker.WithScheme("https"), docker.WithHTTPClient(s.http(e.client.as)),
	)
	if err != nil {
		return nil, invalid(err.Error())
	}
	library.NegotiateAPIVersionPing(types.Ping{APIVersion: version})
	s.remember(e.environment, version)
	return library, nil
}

func (s *Server) version(environment int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.versions[environment]
}

func (s *Server) remember(environment int, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[environment] = version
}

func (s *Server) forget(environment int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.versions, environment)
}
