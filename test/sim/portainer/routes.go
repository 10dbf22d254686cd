// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"net/http"
	"strconv"
)

// handler answers one request; by is nil where no sign-in is asked for.
type handler func(s *Server, r *http.Request, by *caller) (any, error)

// forAll are the paths that need no sign-in.
var forAll = map[string]handler{
	"GET /api/status":            (*Server).status,
	"GET /api/system/status":     (*Server).status,
	"GET /api/users/admin/check": (*Server).adminCheck,
	"POST /api/users/admin/init": (*Server).adminInit,
	"GET /api/settings/public":   (*Server).settingsPublic,
}

// forUsers are those that do.
var forUsers = map[string]handler{
	"POST /api/auth/logout":                     (*Server).signOut,
	"GET /api/users":                            (*Server).users,
	"GET /api/users/me":                         (*Server).userMe,
	"GET /api/users/{id}":                       (*Server).userOne,
	"GET /api/users/{id}/tokens":                (*Server).keys,
	"DELETE /api/users/{id}/tokens/{key}":       (*Server).keyDelete,
	"GET /api/settings":                         (*Server).settings,
	"PUT /api/settings":                         (*Server).settingsUpdate,
	"GET /api/tags":                             (*Server).tags,
	"POST /api/tags":                            (*Server).tagCreate,
	"DELETE /api/tags/{id}":                     (*Server).tagDelete,
	"GET /api/endpoints":                        (*Server).endpoints,
	"POST /api/endpoints":                       (*Server).endpointCreate,
	"GET /api/endpoints/{id}":                   (*Server).endpointOne,
	"PUT /api/endpoints/{id}":                   (*Server).endpointUpdate,
	"DELETE /api/endpoints/{id}":                (*Server).endpointDelete,
	"POST /api/endpoints/{id}/snapshot":         (*Server).endpointSnapshot,
	"GET /api/stacks":                           (*Server).stacks,
	"POST /api/stacks/create/standalone/string": (*Server).stackCreate,
	"GET /api/stacks/{id}":                      (*Server).stackOne,
	"PUT /api/stacks/{id}":                      (*Server).stackUpdate,
	"DELETE /api/stacks/{id}":                   (*Server).stackDelete,
	"GET /api/stacks/{id}/file":                 (*Server).stackFile,
	"POST /api/stacks/{id}/start":               (*Server).stackStart,
	"POST /api/stacks/{id}/stop":                (*Server).stackStop,
}

// routes are the paths of the API.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, handle := range forAll {
		mux.Handle(pattern, s.public(handle))
	}
	for pattern, handle := range forUsers {
		mux.Handle(pattern, s.known(handle))
	}
	mux.Handle("POST /api/auth", s.limited(s.signIn()))
	mux.Handle("POST /api/users/{id}/tokens", s.limited(s.known((*Server).keyCreate)))
	mux.Handle("PUT /api/users/{id}/passwd", s.limited(s.known((*Server).passwordUpdate)))
	mux.HandleFunc("/api/endpoints/{id}/docker/", s.proxy)
	return mux
}

// public serves who is not signed in, too.
func (s *Server) public(handle handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := handle(s, r, nil)
		if err != nil {
			writeProblem(w, err)
			return
		}
		answer(w, r, out)
	})
}

// known serves who is signed in.
func (s *Server) known(handle handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by, err := s.admit(r)
		if err != nil {
			writeProblem(w, err)
			return
		}
		out, err := handle(s, r, by)
		if err != nil {
			writeProblem(w, err)
			return
		}
		answer(w, r, out)
	})
}

// admit says who sends a request that may do so.
func (s *Server) admit(r *http.Request) (*caller, error) {
	if err := forged(r); err != nil {
		return nil, err
	}
	return s.authenticate(r)
}

// limited refuses who comes too often.
func (s *Server) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.limiter.refuses(r, s.opts.Clock()) {
			writeProblem(w, refuse(http.StatusForbidden, "Access denied", "Access denied to resource"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// pathID is the number in a path.
func pathID(r *http.Request, what string) (int, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "Invalid "+what+" identifier route variable", err.Error())
	}
	return id, nil
}

// queryID is the number of an environment in a query.
func queryID(r *http.Request, optional bool) (int, error) {
	text := r.URL.Query().Get("endpointId")
	if text == "" && optional {
		return 0, nil
	}
	id, err := strconv.Atoi(text)
	if text == "" {
		return 0, refuse(http.StatusBadRequest, "Invalid query parameter: endpointId", "Missing query parameter")
	}
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "Invalid query parameter: endpointId", err.Error())
	}
	return id, nil
}

// notInDatabase is a 404.
func notInDatabase(message string) error {
	return refuse(http.StatusNotFound, message, "object not found inside the database")
}

func (s *Server) status(*http.Request, *caller) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"Version": Version, "InstanceID": s.db.InstanceID}, nil
}
