// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
)

// memoryServer is a Portainer server in memory: it does what the API says, and fails when it is told to.
type memoryServer struct {
	instance     string
	admin        credentials
	made         bool // there is an administrator
	locked       bool
	keys         map[string]memoryKey // by the key itself
	settings     portainer.Settings
	tags         map[int]string
	environments map[int]portainer.Environment
	engines      map[string]bool // URLs at which an agent answers
	last         int
	calls        []string
	strike       func(call string) (before, after error)
	signIns      int
}

type memoryKey struct {
	id          int
	description string
	user        portainer.User
}

func newMemoryServer() *memoryServer {
	return &memoryServer{
		instance: "11111111-2222", keys: map[string]memoryKey{}, tags: map[int]string{}, environments: map[int]portainer.Environment{}, engines: map[string]bool{},
		settings: portainer.Settings{SessionTimeout: 8 * time.Hour, SnapshotInterval: 5 * time.Minute},
	}
}

func refusedAs(kind portainer.Kind, format string, values ...any) error {
	return fmt.Errorf("ask Portainer: %w", &portainer.Error{Kind: kind, Message: fmt.Sprintf(format, values...)})
}

// do notes a call, and lets it fail before or after its effect.
func (m *memoryServer) do(call string, effect func() error) error {
	m.calls = append(m.calls, call)
	var before, after error
	if m.strike != nil {
		before, after = m.strike(call)
	}
	switch {
	case before != nil:
		return before
	case m.locked:
		return refusedAs(portainer.Locked, "Administrator initialization timeout")
	}
	return cmp.Or(effect(), after)
}

// writes are the calls so far that change something, but for sign-ins.
func (m *memoryServer) writes() []string {
	return slices.DeleteFunc(slices.Clone(m.calls), func(call string) bool {
		return strings.HasPrefix(call, "GET ") || strings.HasPrefix(call, "POST auth")
	})
}

func (m *memoryServer) next() int { m.last++; return m.last }

func (m *memoryServer) Status(context.Context) (s portainer.Status, err error) {
	err = m.do("GET status", func() error { s = portainer.Status{Version: "2.23.0", InstanceID: m.instance}; return nil })
	return s, err
}

func (m *memoryServer) HasAdmin(context.Context) (has bool, err error) {
	err = m.do("GET admin", func() error { has = m.made; return nil })
	return has, err
}

func (m *memoryServer) InitAdmin(_ context.Context, username, password string) error {
	return m.do("POST admin", func() error {
		switch {
		case m.made:
			return refusedAs(portainer.Conflict, "Unable to create administrator user: An administrator user already exists")
		case len(password) < 12:
			return refusedAs(portainer.Invalid, "Password does not meet the requirements")
		}
		m.admin, m.made = credentials{username, password}, true
		return nil
	})
}

func (m *memoryServer) SignIn(_ context.Context, username, password string) (session PortainerSession, err error) {
	m.signIns++
	err = m.do("POST auth", func() error {
		if !m.made || m.admin != (credentials{username, password}) {
			return refusedAs(portainer.BadCredentials, "Invalid credentials")
		}
		session = memorySession{m, portainer.User{ID: 1, Name: username, Admin: true}}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return session, nil
}

type memorySession struct {
	*memoryServer
	user portainer.User
}

func (s memorySession) Keys(context.Context) (keys []portainer.Key, err error) {
	err = s.do("GET tokens", func() error {
		for _, k := range s.keys {
			if k.user.ID == s.user.ID {
				keys = append(keys, portainer.Key{ID: k.id, Description: k.description})
			}
		}
		return nil
	})
	return keys, err
}

func (s memorySession) MakeKey(_ context.Context, description, password string) (raw string, err error) {
	err = s.do("POST tokens", func() error {
		if password != s.admin.password {
			return refusedAs(portainer.BadCredentials, "Current password doesn't match")
		}
		raw = fmt.Sprintf("ptr_key%d", s.next())
		s.keys[raw] = memoryKey{s.last, description, s.user}
		return nil
	})
	if err != nil {
		return "", err
	}
	return raw, nil
}

func (s memorySession) DeleteKey(_ context.Context, id int) error {
	return s.do("DELETE token", func() error {
		for raw, k := range s.keys {
			if k.id == id {
				delete(s.keys, raw)
				return nil
			}
		}
		return refusedAs(portainer.NotFound, "Unable to find an API key")
	})
}

func (m *memoryServer) Settings(apiKey string) PortainerSettings { return memoryClient{m, apiKey} }
func (m *memoryServer) Environments(apiKey string) PortainerEnvironments {
	return memoryClient{m, apiKey}
}

func (m *memoryServer) Ping(ctx context.Context, apiKey string, environment int) error {
	return memoryClient{m, apiKey}.do("GET ping", func() error {
		if url := m.environments[environment].URL; !m.engines[url] {
			return refusedAs(portainer.Away, "dial %s: no route to host", url)
		}
		return nil
	})
}

type memoryClient struct {
	*memoryServer
	key string
}

func (c memoryClient) do(call string, effect func() error) error {
	return c.memoryServer.do(call, func() error {
		if _, ok := c.keys[c.key]; !ok {
			return refusedAs(portainer.Unauthorized, "A valid authorization token is missing")
		}
		return effect()
	})
}

func (c memoryClient) Me(context.Context) (me portainer.User, err error) {
	err = c.do("GET me", func() error { me = c.keys[c.key].user; return nil })
	return me, err
}

func (c memoryClient) Settings(context.Context) (s portainer.Settings, err error) {
	err = c.do("GET settings", func() error { s = c.settings; return nil })
	return s, err
}

func (c memoryClient) SetSettings(_ context.Context, change portainer.SettingsChange) error {
	return c.do("PUT settings", func() error {
		if change.SessionTimeout != nil {
			c.settings.SessionTimeout = *change.SessionTimeout
		}
		if change.SnapshotInterval != nil {
			c.settings.SnapshotInterval = *change.SnapshotInterval
		}
		if change.Telemetry != nil {
			c.settings.Telemetry = *change.Telemetry
		}
		return nil
	})
}

func (c memoryClient) Tags(context.Context) (tags []portainer.Tag, err error) {
	err = c.do("GET tags", func() error {
		for id, name := range c.tags {
			tags = append(tags, portainer.Tag{ID: id, Name: name})
		}
		return nil
	})
	return tags, err
}

func (c memoryClient) MakeTag(_ context.Context, name string) (id int, err error) {
	err = c.do("POST tag", func() error {
		for _, other := range c.tags {
			if other == name {
				return refusedAs(portainer.Conflict, "A tag with this name already exists")
			}
		}
		id = c.next()
		c.tags[id] = name
		return nil
	})
	return id, err
}

func (c memoryClient) DeleteTag(_ context.Context, id int) error {
	return c.do("DELETE tag", func() error {
		if _, ok := c.tags[id]; !ok {
			return refusedAs(portainer.NotFound, "Unable to find a tag")
		}
		delete(c.tags, id)
		for n, e := range c.environments {
			e.TagIDs = slices.DeleteFunc(slices.Clone(e.TagIDs), func(tag int) bool { return tag == id })
			c.environments[n] = e
		}
		return nil
	})
}

func (c memoryClient) Environments(context.Context) (all []portainer.Environment, err error) {
	err = c.do("GET environments", func() error {
		for _, e := range c.environments {
			all = append(all, e)
		}
		return nil
	})
	return all, err
}

func (c memoryClient) named(name string, but int) bool {
	for id, e := range c.environments {
		if id != but && e.Name == name {
			return true
		}
	}
	return false
}

func (c memoryClient) MakeEnvironment(_ context.Context, n portainer.NewEnvironment) (id int, err error) {
	err = c.do("POST environment", func() error {
		switch {
		case c.named(n.Name, 0):
			return refusedAs(portainer.Conflict, "Name is not unique")
		case !c.engines[n.URL]:
			return refusedAs(portainer.Failed, "Unable to initiate communications with environment")
		}
		id = c.next()
		c.environments[id] = portainer.Environment{ID: id, Name: n.Name, URL: n.URL, Agent: n.Agent, Up: true, TagIDs: n.TagIDs}
		return nil
	})
	return id, err
}

func (c memoryClient) UpdateEnvironment(_ context.Context, id int, change portainer.EnvironmentChange) error {
	return c.do("PUT environment", func() error {
		e, ok := c.environments[id]
		switch {
		case !ok:
			return refusedAs(portainer.NotFound, "Unable to find an environment")
		case change.Name != nil && c.named(*change.Name, id):
			return refusedAs(portainer.Conflict, "Name is not unique")
		}
		if change.Name != nil {
			e.Name = *change.Name
		}
		if change.URL != nil {
			e.URL = *change.URL
		}
		if change.TagIDs != nil {
			e.TagIDs = change.TagIDs
		}
		c.environments[id] = e
		return nil
	})
}

func (c memoryClient) DeleteEnvironment(_ context.Context, id int) error {
	return c.do("DELETE environment", func() error {
		if _, ok := c.environments[id]; !ok {
			return refusedAs(portainer.NotFound, "Unable to find an environment")
		}
		delete(c.environments, id)
		return nil
	})
}
