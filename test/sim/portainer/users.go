// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (s *Server) hasAdmin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.db.Users) > 0
}

func (s *Server) adminCheck(*http.Request, *caller) (any, error) {
	if !s.hasAdmin() {
		return nil, refuse(http.StatusNotFound, "No administrator account found inside the database", "object not found inside the database")
	}
	return status(http.StatusNoContent), nil
}

func (s *Server) adminInit(r *http.Request, _ *caller) (any, error) {
	var asked struct{ Username, Password string }
	err := decode(r, &asked)
	switch {
	case err != nil:
	case asked.Username == "" || strings.Contains(asked.Username, " "):
		err = errors.New("Invalid username. Must not contain any whitespace") //nolint:staticcheck // Portainer says so
	case asked.Password == "":
		err = errors.New("Invalid password") //nolint:staticcheck // Portainer says so
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", err.Error())
	}
	hash, err := hashPassword(asked.Password)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.db.Users) > 0 {
		return nil, refuse(http.StatusConflict, "Unable to create administrator user", "An administrator user already exists")
	}
	if len(asked.Password) < s.db.Settings.InternalAuthSettings.RequiredPasswordLength {
		return nil, refuse(http.StatusBadRequest, "Password does not meet the requirements", "")
	}
	u := &user{ID: s.db.next("users"), Username: asked.Username, Password: hash, Role: 1}
	s.db.Users = append(s.db.Users, u)
	return *u, s.save()
}

// signIn is POST /auth.
func (s *Server) signIn() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Username, Password string }
		err := decode(r, &asked)
		switch {
		case err != nil:
		case asked.Username == "":
			err = errors.New("Invalid username") //nolint:staticcheck // Portainer says so
		case asked.Password == "":
			err = errors.New("Invalid password") //nolint:staticcheck // Portainer says so
		}
		if err != nil {
			writeProblem(w, refuse(http.StatusBadRequest, "Invalid request payload", err.Error()))
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		at := slices.IndexFunc(s.db.Users, func(u *user) bool { return strings.EqualFold(u.Username, asked.Username) })
		if at < 0 || !s.db.Users[at].knows(asked.Password) {
			writeProblem(w, refuse(http.StatusUnprocessableEntity, "Invalid credentials", "Unauthorized"))
			return
		}
		token, expires := s.issue(s.db.Users[at])
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: token, Path: "/", Expires: expires, HttpOnly: true, SameSite: http.SameSiteStrictMode})
		answer(w, r, map[string]string{"jwt": token})
	})
}

func (s *Server) signOut(_ *http.Request, by *caller) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if by.jwt != "" {
		s.revoked[by.jwt] = true
	}
	return status(http.StatusNoContent), nil
}

// shown is a user without the password.
func (u *user) shown() user {
	out := *u
	out.Password = ""
	return out
}

func (s *Server) users(*http.Request, *caller) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []user{}
	for _, u := range s.db.Users {
		out = append(out, u.shown())
	}
	return out, nil
}

func (s *Server) userMe(_ *http.Request, by *caller) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return struct {
		user
		ForceChangePassword bool `json:"forceChangePassword"`
	}{user: by.shown()}, nil
}

// userOf is the user of a path. The caller holds the lock.
func (s *Server) userOf(r *http.Request) (*user, error) {
	id, err := pathID(r, "user")
	if err != nil {
		return nil, err
	}
	if u := s.db.user(id); u != nil {
		return u, nil
	}
	return nil, notInDatabase("Unable to find a user with the specified identifier inside the database")
}

func (s *Server) userOne(r *http.Request, _ *caller) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.userOf(r)
	if err != nil {
		return nil, err
	}
	return u.shown(), nil
}

func (s *Server) passwordUpdate(r *http.Request, _ *caller) (any, error) {
	var asked struct{ Password, NewPassword string }
	if err := decode(r, &asked); err != nil {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.userOf(r)
	switch {
	case err != nil:
		return nil, err
	case !u.knows(asked.Password):
		return nil, refuse(http.StatusForbidden, "Current password doesn't match", "Current password does not match the password provided. Please try again")
	case len(asked.NewPassword) < s.db.Settings.InternalAuthSettings.RequiredPasswordLength:
		return nil, refuse(http.StatusBadRequest, "Password does not meet the minimum strength requirements", "")
	}
	hash, err := hashPassword(asked.NewPassword)
	if err != nil {
		return nil, err
	}
	u.Password, u.TokenIssueAt = hash, s.opts.Clock().Unix()
	return status(http.StatusNoContent), s.save()
}

func (s *Server) keys(r *http.Request, by *caller) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.userOf(r)
	if err != nil {
		return nil, err
	}
	if u.ID != by.ID {
		return nil, refuse(http.StatusForbidden, "Permission denied to get user access tokens", "Unauthorized")
	}
	out := []apiKey{}
	for _, k := range s.db.APIKeys {
		if k.UserID == u.ID {
			shown := *k
			shown.Digest = ""
			out = append(out, shown)
		}
	}
	return out, nil
}

func (s *Server) keyCreate(r *http.Request, by *caller) (any, error) {
	if by.jwt == "" {
		return nil, refuse(http.StatusUnauthorized, "Auth not supported", "Authentication required")
	}
	var asked struct{ Password, Description string }
	why := ""
	switch err := decode(r, &asked); {
	case err != nil:
		why = err.Error()
	case asked.Description == "":
		why = "invalid description: cannot be empty"
	case strings.TrimSpace(asked.Description) == "":
		why = "invalid description: cannot contain only whitespaces"
	case len([]rune(asked.Description)) >= 128:
		why = "invalid description: cannot be longer than 128 characters"
	}
	if why != "" {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", why)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.userOf(r)
	switch {
	case err != nil:
		return nil, err
	case u.ID != by.ID:
		return nil, refuse(http.StatusForbidden, "Permission denied to create user access token", "Unauthorized")
	case asked.Password == "":
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", "invalid password: cannot be empty")
	case !u.knows(asked.Password):
		return nil, refuse(http.StatusForbidden, "Current password doesn't match", "Current password does not match the password provided. Please try again")
	}
	raw := "ptr_" + base64.StdEncoding.EncodeToString(random(32))
	key := &apiKey{ID: s.db.next("api_keys"), UserID: u.ID, Description: asked.Description, Prefix: raw[:7], DateCreated: s.opts.Clock().Unix(), Digest: digestOf(raw)}
	s.db.APIKeys = append(s.db.APIKeys, key)
	return created{map[string]any{"rawAPIKey": raw, "apiKey": *key}}, s.save()
}

func (s *Server) keyDelete(r *http.Request, _ *caller) (any, error) {
	id, err := strconv.Atoi(r.PathValue("key"))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "Invalid api-key identifier route variable", err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.userOf(r)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(s.db.APIKeys, func(k *apiKey) bool { return k.ID == id })
	switch {
	case at < 0:
		return nil, refuse(http.StatusInternalServerError, "API Key not found", "object not found inside the database")
	case s.db.APIKeys[at].UserID != u.ID:
		return nil, refuse(http.StatusForbidden, "Permission denied to remove api-key", "Unauthorized")
	}
	s.db.APIKeys = slices.Delete(s.db.APIKeys, at, at+1)
	return status(http.StatusNoContent), s.save()
}
