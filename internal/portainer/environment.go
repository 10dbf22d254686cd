// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
)

const (
	// typeAgent is an environment behind an agent, statusUp one that answered last time: in what is read.
	typeAgent = 2
	statusUp  = 1
)

// Environment is an engine that Portainer manages.
type Environment struct {
	ID   int
	Name string
	URL  string // unix:///var/run/docker.sock, or tcp://HOST:9001
	// Agent says that it is reached through a Portainer agent.
	Agent bool
	// Up says that it answered when Portainer last looked, up to a snapshot interval ago: Engine.Ping asks now.
	Up     bool
	TagIDs []int
}

// NewEnvironment is an environment to be made.
type NewEnvironment struct {
	Name, URL string
	// Agent says that a Portainer agent is at the URL, with TLS and a certificate that it made itself: the agent's secret
	// is what both know each other by. Else the URL is the socket of the server's own engine.
	Agent  bool
	TagIDs []int
}

// EnvironmentChange says what to change; nil: leave it. TagIDs that are empty and not nil take all tags off.
type EnvironmentChange struct {
	Name, URL *string
	TagIDs    []int
}

// environment is the wire's form.
type environment struct {
	ID     int `json:"Id"`
	Name   string
	URL    string
	Type   int
	Status int
	TagIDs []int `json:"TagIds"`
}

// Environments lists all environments.
func (c *Client) Environments(ctx context.Context) ([]Environment, error) {
	var found []environment
	// Snapshots hold every container of every engine.
	query := url.Values{"excludeSnapshots": {"true"}}
	if e := c.do(ctx, call{method: http.MethodGet, path: "/endpoints", query: query, out: &found}); e != nil {
		return nil, fmt.Errorf("list environments of Portainer: %w", e)
	}
	out := make([]Environment, 0, len(found))
	for _, f := range found {
		out = append(out, Environment{ID: f.ID, Name: f.Name, URL: f.URL, Agent: f.Type == typeAgent, Up: f.Status == statusUp, TagIDs: f.TagIDs})
	}
	return out, nil
}

// MakeEnvironment makes an environment and returns its ID. Portainer speaks to the engine first: the error is Failed when
// that does not answer, or its agent has another secret. It is Conflict when there is one of this name.
func (c *Client) MakeEnvironment(ctx context.Context, n NewEnvironment) (int, error) {
	form, kind, err := n.form()
	if err != nil {
		return 0, fmt.Errorf("make environment %s at Portainer: %w", n.Name, invalid(err.Error()))
	}
	var out environment
	if e := c.do(ctx, call{method: http.MethodPost, path: "/endpoints", form: form, formType: kind, out: &out}); e != nil {
		return 0, fmt.Errorf("make environment %s at Portainer: %w", n.Name, e)
	}
	return out.ID, nil
}

// form writes the multipart form that Portainer wants here, and only here.
func (n NewEnvironment) form() (body []byte, kind string, err error) {
	fields := [][2]string{{"Name", n.Name}, {"URL", n.URL}, {"EndpointCreationType", "1"}}
	if n.Agent {
		fields[2][1] = "2"
		fields = append(fields, [2]string{"TLS", "true"}, [2]string{"TLSSkipVerify", "true"}, [2]string{"TLSSkipClientVerify", "true"})
	}
	if len(n.TagIDs) > 0 {
		tags, err := json.Marshal(n.TagIDs)
		if err != nil {
			return nil, "", err
		}
		fields = append(fields, [2]string{"TagIds", string(tags)})
	}
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	for _, field := range fields {
		if err := w.WriteField(field[0], field[1]); err != nil {
			return nil, "", err
		}
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	return out.Bytes(), w.FormDataContentType(), nil
}

// UpdateEnvironment changes what is set. Portainer does not look whether the engine answers at a new URL. The error is
// Conflict when another one has the name, NotFound when the environment is gone.
func (c *Client) UpdateEnvironment(ctx context.Context, id int, change EnvironmentChange) error {
	in := map[string]any{}
	if change.Name != nil {
		in["Name"] = *change.Name
	}
	if change.URL != nil {
		in["URL"] = *change.URL
	}
	if change.TagIDs != nil {
		in["TagIDs"] = change.TagIDs
	}
	if e := c.do(ctx, call{method: http.MethodPut, path: fmt.Sprintf("/endpoints/%d", id), in: in}); e != nil {
		return fmt.Errorf("change environment %d of Portainer: %w", id, e)
	}
	return nil
}

// DeleteEnvironment deletes an environment. Nothing changes at its engine, and the records of its stacks stay. The error
// is NotFound when it is gone.
func (c *Client) DeleteEnvironment(ctx context.Context, id int) error {
	if e := c.do(ctx, call{method: http.MethodDelete, path: fmt.Sprintf("/endpoints/%d", id)}); e != nil {
		return fmt.Errorf("delete environment %d of Portainer: %w", id, e)
	}
	return nil
}
