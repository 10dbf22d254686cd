// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"net/http"
	"slices"
	"time"
)

// settings of a server, as far as they do something here.
type settings struct {
	LogoURL              string `json:"LogoURL"`
	AuthenticationMethod int    `json:"AuthenticationMethod"`
	InternalAuthSettings struct {
		RequiredPasswordLength int `json:"RequiredPasswordLength"`
	} `json:"InternalAuthSettings"`
	SnapshotInterval   string `json:"SnapshotInterval"`
	UserSessionTimeout string `json:"UserSessionTimeout"`
	KubeconfigExpiry   string `json:"KubeconfigExpiry"`
	EnableTelemetry    bool   `json:"EnableTelemetry"`
	TemplatesURL       string `json:"TemplatesURL"`
}

func defaultSettings() settings {
	out := settings{AuthenticationMethod: 1, SnapshotInterval: "5m", UserSessionTimeout: "8h", KubeconfigExpiry: "0"}
	out.InternalAuthSettings.RequiredPasswordLength = 12
	return out
}

func (s *Server) settings(*http.Request, *caller) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db.Settings, nil
}

func (s *Server) settingsPublic(*http.Request, *caller) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]any{
		"LogoURL": s.db.Settings.LogoURL, "AuthenticationMethod": s.db.Settings.AuthenticationMethod, "EnableTelemetry": s.db.Settings.EnableTelemetry,
		"RequiredPasswordLength": s.db.Settings.InternalAuthSettings.RequiredPasswordLength,
	}, nil
}

func (s *Server) settingsUpdate(r *http.Request, _ *caller) (any, error) {
	var asked struct {
		LogoURL, SnapshotInterval, UserSessionTimeout, TemplatesURL *string
		EnableTelemetry                                             *bool
		AuthenticationMethod                                        *int
		InternalAuthSettings                                        *struct{ RequiredPasswordLength int }
	}
	if err := decode(r, &asked); err != nil {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", err.Error())
	}
	if asked.AuthenticationMethod != nil && *asked.AuthenticationMethod != 1 {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", "Invalid authentication method value. Only 1 (internal) is simulated")
	}
	if asked.UserSessionTimeout != nil {
		if _, err := time.ParseDuration(*asked.UserSessionTimeout); err != nil {
			return nil, refuse(http.StatusBadRequest, "Invalid request payload", "Invalid user session timeout")
		}
	}
	if asked.SnapshotInterval != nil {
		if _, err := time.ParseDuration(*asked.SnapshotInterval); err != nil {
			return nil, failed("Unable to update snapshot interval", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := &s.db.Settings
	take(&now.LogoURL, asked.LogoURL)
	take(&now.SnapshotInterval, asked.SnapshotInterval)
	take(&now.UserSessionTimeout, asked.UserSessionTimeout)
	take(&now.TemplatesURL, asked.TemplatesURL)
	take(&now.EnableTelemetry, asked.EnableTelemetry)
	if asked.InternalAuthSettings != nil {
		now.InternalAuthSettings.RequiredPasswordLength = asked.InternalAuthSettings.RequiredPasswordLength
	}
	return *now, s.save()
}

// take changes what was given.
func take[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// tag of environments.
type tag struct {
	ID             int          `json:"ID"`
	Name           string       `json:"Name"`
	Endpoints      map[int]bool `json:"Endpoints"`
	EndpointGroups map[int]bool `json:"EndpointGroups"`
}

func (d *database) tag(id int) *tag {
	for _, t := range d.Tags {
		if t.ID == id {
			return t
		}
	}
	return nil
}

func (s *Server) tags(*http.Request, *caller) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []tag{}
	for _, t := range s.db.Tags {
		out = append(out, t.copied())
	}
	return out, nil
}

func (t *tag) copied() tag {
	out := *t
	out.Endpoints = map[int]bool{}
	for id := range t.Endpoints {
		out.Endpoints[id] = true
	}
	return out
}

func (s *Server) tagCreate(r *http.Request, _ *caller) (any, error) {
	var asked struct{ Name string }
	if err := decode(r, &asked); err != nil {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", err.Error())
	}
	if asked.Name == "" {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", "invalid tag name")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.db.Tags, func(t *tag) bool { return t.Name == asked.Name }) {
		return nil, refuse(http.StatusConflict, "This name is already associated to a tag", "a tag already exists with this name")
	}
	t := &tag{ID: s.db.next("tags"), Name: asked.Name, Endpoints: map[int]bool{}, EndpointGroups: map[int]bool{}}
	s.db.Tags = append(s.db.Tags, t)
	return t.copied(), s.save()
}

func (s *Server) tagDelete(r *http.Request, _ *caller) (any, error) {
	id, err := pathID(r, "tag")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db.tag(id) == nil {
		return nil, notInDatabase("Unable to find a tag with the specified identifier inside the database")
	}
	s.db.Tags = slices.DeleteFunc(s.db.Tags, func(t *tag) bool { return t.ID == id })
	for _, e := range s.db.Endpoints {
		e.TagIDs = slices.DeleteFunc(e.TagIDs, func(one int) bool { return one == id })
	}
	return status(http.StatusNoContent), s.save()
}
