// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// User is who a key or a session acts for.
type User struct {
	ID    int
	Name  string
	Admin bool
}

// Session is a user who signed in. It ends after the server's session timeout (8 h by default): then its errors are
// Unauthorized.
type Session struct {
	server *Server
	as     credential
	user   User
}

// Key describes an API key; the key itself is shown only when it is made.
type Key struct {
	ID          int
	Description string
}

// SignIn signs in. The error is BadCredentials when name and password do not fit, Limited when there were too many
// sign-ins. Every call counts towards that limit: see the package's documentation.
func (s *Server) SignIn(ctx context.Context, username, password string) (*Session, error) {
	in := struct{ Username, Password string }{username, password}
	var out struct {
		JWT string `json:"jwt"`
	}
	e := s.do(ctx, credential{}, call{method: http.MethodPost, path: "/auth", in: in, out: &out, secrets: []string{password}})
	if e != nil {
		return nil, fmt.Errorf("sign in to Portainer as %s: %w", username, atSignIn(e))
	}
	if out.JWT == "" {
		return nil, fmt.Errorf("sign in to Portainer as %s: %w", username, &Error{Kind: Away, Status: http.StatusOK, Message: s.url + " answers without a token"})
	}
	session := &Session{server: s, as: credential{"Authorization", bearer + out.JWT}}
	user, err := s.me(ctx, session.as)
	if err != nil {
		return nil, fmt.Errorf("sign in to Portainer as %s: %w", username, err)
	}
	session.user = user
	return session, nil
}

// me reads who a credential stands for.
func (s *Server) me(ctx context.Context, as credential) (User, error) {
	var out struct {
		ID       int `json:"Id"`
		Username string
		Role     int
	}
	if e := s.do(ctx, as, call{method: http.MethodGet, path: "/users/me", out: &out}); e != nil {
		return User{}, fmt.Errorf("read own user of Portainer: %w", e)
	}
	return User{ID: out.ID, Name: out.Username, Admin: out.Role == administrator}, nil
}

const (
	// administrator is the role with all rights.
	administrator = 1
	// bearer stands before a session's token.
	bearer = "Bearer "
)

// Me returns who signed in, as it was then. It makes no request.
func (s *Session) Me() User { return s.user }

// Keys lists the user's API keys.
func (s *Session) Keys(ctx context.Context) ([]Key, error) {
	var out []Key
	if e := s.server.do(ctx, s.as, call{method: http.MethodGet, path: s.path(), out: &out}); e != nil {
		return nil, fmt.Errorf("list API keys of Portainer: %w", e)
	}
	return out, nil
}

// MakeKey makes an API key and returns it; it cannot be read again. The description has 1 to 127 characters and may be
// that of another key. The error is BadCredentials when the password is not the user's. It counts as a sign-in.
func (s *Session) MakeKey(ctx context.Context, description, password string) (string, error) {
	in := struct {
		Password    string `json:"password"`
		Description string `json:"description"`
	}{password, description}
	var out struct {
		RawAPIKey string `json:"rawAPIKey"`
	}
	e := s.server.do(ctx, s.as, call{method: http.MethodPost, path: s.path(), in: in, out: &out, secrets: []string{password}})
	if e != nil {
		return "", fmt.Errorf("make API key of Portainer: %w", atNewKey(e))
	}
	if out.RawAPIKey == "" {
		return "", fmt.Errorf("make API key of Portainer: %w", &Error{Kind: Away, Status: http.StatusCreated, Message: s.server.url + " answers without a key"})
	}
	return out.RawAPIKey, nil
}

// DeleteKey revokes an API key. The error is NotFound when there is none with this ID.
func (s *Session) DeleteKey(ctx context.Context, id int) error {
	c := call{method: http.MethodDelete, path: fmt.Sprintf("%s/%d", s.path(), id)}
	if e := s.server.do(ctx, s.as, c); e != nil {
		if strings.Contains(e.Message, "API Key not found") { // with a 500
			e.Kind = NotFound
		}
		return fmt.Errorf("delete API key %d of Portainer: %w", id, e)
	}
	return nil
}

func (s *Session) path() string { return fmt.Sprintf("/users/%d/tokens", s.user.ID) }
