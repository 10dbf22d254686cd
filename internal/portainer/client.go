// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Client does what an API key's user may do; most of it is for administrators. Its errors are Unauthorized when the key
// is not accepted.
type Client struct {
	server *Server
	as     credential
}

// With returns a client that acts with an API key. White space around it is dropped. It makes no request.
func (s *Server) With(apiKey string) *Client {
	return &Client{server: s, as: credential{"X-API-Key", strings.TrimSpace(apiKey)}}
}

// do sends a request with the key.
func (c *Client) do(ctx context.Context, request call) *Error { return c.server.do(ctx, c.as, request) }

// Me returns the key's user.
func (c *Client) Me(ctx context.Context) (User, error) { return c.server.me(ctx, c.as) }

// Settings are the part of the server's settings that this package knows.
type Settings struct {
	SessionTimeout   time.Duration // 0: unreadable
	SnapshotInterval time.Duration // between two looks at every environment; 0: unreadable
	Telemetry        bool
}

// SettingsChange says what to change; nil: leave it.
type SettingsChange struct {
	SessionTimeout, SnapshotInterval *time.Duration
	Telemetry                        *bool
}

// settings is the wire's form of both.
type settings struct {
	UserSessionTimeout *string `json:",omitempty"`
	SnapshotInterval   *string `json:",omitempty"`
	EnableTelemetry    *bool   `json:",omitempty"`
}

// Settings reads the settings.
func (c *Client) Settings(ctx context.Context) (Settings, error) {
	var out settings
	if e := c.do(ctx, call{method: http.MethodGet, path: "/settings", out: &out}); e != nil {
		return Settings{}, fmt.Errorf("read settings of Portainer: %w", e)
	}
	return Settings{
		SessionTimeout:   parse(out.UserSessionTimeout),
		SnapshotInterval: parse(out.SnapshotInterval),
		Telemetry:        out.EnableTelemetry != nil && *out.EnableTelemetry,
	}, nil
}

// SetSettings changes what is set and leaves all other settings.
func (c *Client) SetSettings(ctx context.Context, change SettingsChange) error {
	in := settings{UserSessionTimeout: short(change.SessionTimeout), SnapshotInterval: short(change.SnapshotInterval), EnableTelemetry: change.Telemetry}
	if e := c.do(ctx, call{method: http.MethodPut, path: "/settings", in: in}); e != nil {
		return fmt.Errorf("change settings of Portainer: %w", e)
	}
	return nil
}

func parse(text *string) time.Duration {
	if text == nil {
		return 0
	}
	d, err := time.ParseDuration(*text)
	if err != nil {
		return 0
	}
	return d
}

// short writes a duration as Portainer's own pages do, 8h and not 8h0m0s: they show only what they know.
func short(d *time.Duration) *string {
	if d == nil {
		return nil
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return &text
}

// Tag marks environments.
type Tag struct {
	ID   int
	Name string
}

// Tags lists all tags.
func (c *Client) Tags(ctx context.Context) ([]Tag, error) {
	var out []Tag
	if e := c.do(ctx, call{method: http.MethodGet, path: "/tags", out: &out}); e != nil {
		return nil, fmt.Errorf("list tags of Portainer: %w", e)
	}
	return out, nil
}

// MakeTag makes a tag and returns its ID. The error is Conflict when there is one of this name.
func (c *Client) MakeTag(ctx context.Context, name string) (int, error) {
	var out Tag
	in := struct{ Name string }{name}
	if e := c.do(ctx, call{method: http.MethodPost, path: "/tags", in: in, out: &out}); e != nil {
		return 0, fmt.Errorf("make tag %s at Portainer: %w", name, e)
	}
	return out.ID, nil
}

// DeleteTag deletes a tag and takes it off the environments that have it. The error is NotFound when it is gone.
func (c *Client) DeleteTag(ctx context.Context, id int) error {
	if e := c.do(ctx, call{method: http.MethodDelete, path: fmt.Sprintf("/tags/%d", id)}); e != nil {
		return fmt.Errorf("delete tag %d of Portainer: %w", id, e)
	}
	return nil
}
