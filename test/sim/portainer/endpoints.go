// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Kinds of environments, and what the server thinks of them.
const (
	typeDocker = 1
	typeAgent  = 2
	endpointUp = 1
	endpointNo = 2
	localURL   = "unix:///var/run/docker.sock"
)

// endpoint is an environment.
type endpoint struct {
	ID        int    `json:"Id"`
	Name      string `json:"Name"`
	Type      int    `json:"Type"`
	URL       string `json:"URL"`
	GroupID   int    `json:"GroupId"`
	PublicURL string `json:"PublicURL"`
	TLSConfig struct {
		TLS           bool `json:"TLS"`
		TLSSkipVerify bool `json:"TLSSkipVerify"`
	} `json:"TLSConfig"`
	TagIDs []int `json:"TagIds"`
	Status int   `json:"Status"`
	Agent  struct {
		Version string `json:"Version"`
	} `json:"Agent"`
	Snapshots               []struct{} `json:"Snapshots"`
	ComposeSyntaxMaxVersion string     `json:"ComposeSyntaxMaxVersion"`
}

func (e *endpoint) copied() *endpoint {
	out := *e
	out.TagIDs = append([]int{}, e.TagIDs...)
	return &out
}

func (d *database) endpoint(id int) *endpoint {
	for _, e := range d.Endpoints {
		if e.ID == id {
			return e
		}
	}
	return nil
}

// endpoint gives a copy of an environment; message is what a 404 says.
func (s *Server) endpoint(id int, message string) (*endpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.db.endpoint(id)
	if e == nil {
		return nil, notInDatabase(message)
	}
	return e.copied(), nil
}

const noEndpoint = "Unable to find an environment with the specified identifier inside the database"

func (s *Server) endpoints(r *http.Request, _ *caller) (any, error) {
	s.snapshotAll(r)
	query := r.URL.Query()
	name, search := query.Get("name"), strings.ToLower(query.Get("search"))
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []*endpoint{}
	for _, e := range s.db.Endpoints {
		if name != "" && e.Name != name || search != "" && !strings.Contains(strings.ToLower(e.Name+" "+e.URL), search) {
			continue
		}
		if wanted := query["tagIds[]"]; len(wanted) > 0 && !slices.ContainsFunc(wanted, func(id string) bool {
			n, err := strconv.Atoi(id)
			return err == nil && slices.Contains(e.TagIDs, n)
		}) {
			continue
		}
		out = append(out, e.copied())
	}
	slices.SortStableFunc(out, func(a, b *endpoint) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return page(out, query.Get("start"), query.Get("limit")), nil
}

// page is the part of a list that was asked for.
func page(all []*endpoint, start, limit string) []*endpoint {
	from, _ := strconv.Atoi(start)
	most, _ := strconv.Atoi(limit)
	if most == 0 {
		return all
	}
	from = min(max(0, from-1), len(all))
	return all[from:min(len(all), from+most)]
}

func (s *Server) endpointOne(r *http.Request, _ *caller) (any, error) {
	id, err := pathID(r, "environment")
	if err != nil {
		return nil, err
	}
	return s.endpoint(id, noEndpoint)
}

// endpointForm is what POST /endpoints takes: a form, never JSON.
func endpointForm(r *http.Request) (*endpoint, error) {
	bad := func(why string) error { return refuse(http.StatusBadRequest, "Invalid request payload", why) }
	e := &endpoint{
		Name: r.FormValue("Name"), URL: r.FormValue("URL"), PublicURL: r.FormValue("PublicURL"), GroupID: 1, Status: endpointUp,
		TagIDs: []int{}, Snapshots: []struct{}{}, ComposeSyntaxMaxVersion: "3.9",
	}
	if e.Name == "" {
		return nil, bad("invalid environment name")
	}
	kind, err := strconv.Atoi(r.FormValue("EndpointCreationType"))
	if err != nil || kind < 1 || kind > 5 {
		return nil, bad("invalid environment type value. Value must be one of: 1 (Docker environment), 2 (Agent environment), 3 (Azure environment), 4 (Edge Agent environment) or 5 (Local Kubernetes environment)")
	}
	if kind > 2 {
		return nil, bad("this type of environment is not simulated")
	}
	e.Type = kind
	if tags := r.FormValue("TagIds"); tags != "" {
		if json.Unmarshal([]byte(tags), &e.TagIDs) != nil {
			return nil, bad("invalid TagIds parameter")
		}
	}
	e.TLSConfig.TLS = r.FormValue("TLS") == "true"
	if !e.TLSConfig.TLS {
		return e, nil
	}
	e.TLSConfig.TLSSkipVerify = r.FormValue("TLSSkipVerify") == "true"
	if !e.TLSConfig.TLSSkipVerify {
		return nil, bad("invalid CA certificate file. Ensure that the file is uploaded correctly")
	}
	if r.FormValue("TLSSkipClientVerify") != "true" {
		return nil, bad("invalid certificate file. Ensure that the file is uploaded correctly")
	}
	return e, nil
}

func (s *Server) endpointCreate(r *http.Request, _ *caller) (any, error) {
	e, err := endpointForm(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	taken := s.nameTaken(e.Name, 0)
	s.mu.Unlock()
	if taken {
		return nil, refuse(http.StatusConflict, "Name is not unique", "")
	}
	if e.Type == typeAgent {
		if err := s.ping(r, e); err != nil {
			return nil, failed("Unable to get environment type", err)
		}
	}
	if !e.TLSConfig.TLS {
		e.Type = typeDocker // an agent without TLS becomes an engine without TLS, and is not reached
	}
	if e.URL == "" {
		e.URL = localURL
	}
	if err := s.snapshot(r, e); err != nil {
		return nil, failed("Unable to initiate communications with environment", err)
	}
	return s.endpointKeep(e)
}

// endpointKeep takes an environment into the database.
func (s *Server) endpointKeep(e *endpoint) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nameTaken(e.Name, 0) { // somebody was quicker
		return nil, refuse(http.StatusConflict, "Name is not unique", "")
	}
	e.ID = s.db.next("endpoints")
	s.db.Endpoints = append(s.db.Endpoints, e)
	for _, id := range e.TagIDs {
		t := s.db.tag(id)
		if t == nil {
			_ = s.save() // as Portainer: the environment is there all the same
			return nil, refuse(http.StatusInternalServerError, "An error occurred while trying to create the environment", "object not found inside the database")
		}
		t.Endpoints[e.ID] = true
	}
	return e.copied(), s.save()
}

// nameTaken says whether another environment has a name. The caller holds the lock.
func (s *Server) nameTaken(name string, but int) bool {
	return slices.ContainsFunc(s.db.Endpoints, func(e *endpoint) bool { return e.Name == name && e.ID != but })
}

func (s *Server) endpointUpdate(r *http.Request, _ *caller) (any, error) {
	id, err := pathID(r, "environment")
	if err != nil {
		return nil, err
	}
	var asked struct {
		Name, URL, PublicURL *string
		GroupID, Status      *int
		TLS, TLSSkipVerify   *bool
		TagIDs               []int
	}
	if err := decode(r, &asked); err != nil {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.db.endpoint(id)
	switch {
	case e == nil:
		return nil, notInDatabase(noEndpoint)
	case asked.Name != nil && s.nameTaken(*asked.Name, id):
		return nil, refuse(http.StatusConflict, "Name is not unique", "")
	case asked.TagIDs != nil && slices.ContainsFunc(asked.TagIDs, func(one int) bool { return s.db.tag(one) == nil }):
		return nil, refuse(http.StatusInternalServerError, "Unable to update environment tags", "object not found inside the database")
	}
	take(&e.Name, asked.Name)
	take(&e.URL, asked.URL)
	take(&e.PublicURL, asked.PublicURL)
	take(&e.GroupID, asked.GroupID)
	take(&e.Status, asked.Status)
	take(&e.TLSConfig.TLS, asked.TLS)
	take(&e.TLSConfig.TLSSkipVerify, asked.TLSSkipVerify)
	if asked.TagIDs != nil {
		s.untag(e)
		e.TagIDs = asked.TagIDs
		for _, one := range e.TagIDs {
			s.db.tag(one).Endpoints[e.ID] = true
		}
	}
	s.forget(id)
	return e.copied(), s.save()
}

// untag takes an environment's tags away. The caller holds the lock.
func (s *Server) untag(e *endpoint) {
	for _, id := range e.TagIDs {
		if t := s.db.tag(id); t != nil {
			delete(t.Endpoints, e.ID)
		}
	}
}

// forget ends the connections to an environment. The caller holds the lock.
func (s *Server) forget(id int) {
	if r := s.engines[id]; r != nil {
		r.close()
		delete(s.engines, id)
	}
}

// endpointDelete removes an environment. Its stacks stay, and belong to nobody.
func (s *Server) endpointDelete(r *http.Request, _ *caller) (any, error) {
	id, err := pathID(r, "environment")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.db.endpoint(id)
	if e == nil {
		return nil, notInDatabase(noEndpoint)
	}
	s.untag(e)
	s.forget(id)
	s.db.Endpoints = slices.DeleteFunc(s.db.Endpoints, func(one *endpoint) bool { return one.ID == id })
	return status(http.StatusNoContent), s.save()
}
