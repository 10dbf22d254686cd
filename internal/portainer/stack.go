// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

const (
	// composeStack is the type of a stack that compose deployed, activeStack the status of one that was not stopped.
	composeStack = 2
	activeStack  = 1
)

// Variable is a value that a stack's text uses.
type Variable struct {
	Name string
	// Value is what the containers see: quotes that it needs on its way are put on and taken off.
	Value string
}

// Stack is Portainer's record of a stack. What runs is another question: see Engine.
type Stack struct {
	ID            int
	Name          string // as Portainer normalised it
	EnvironmentID int
	Env           []Variable
	// Active is false after a stop, and only then: a stack without any container may be active.
	Active bool
	// Updated is when it was last updated, or else created, in Unix seconds. Two updates may come within one second.
	Updated int64
}

// NewStack is a stack to be made.
type NewStack struct {
	Name, Text string
	Env        []Variable
	// Plain names variables whose values an error may repeat. All others are hidden in compose's words, as far as they
	// have three characters.
	Plain []string
}

// StackChange is what a stack is to become.
type StackChange struct {
	Text  string
	Env   []Variable // all of it: a variable that is not in it is gone
	Pull  bool       // pull the images first, those that are there as well
	Plain []string   // as in NewStack
}

// pair is the wire's form of a variable, stack that of a stack.
type (
	pair struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	stack struct {
		ID           int `json:"Id"`
		Name         string
		Type         int
		EndpointID   int `json:"EndpointId"`
		Env          []pair
		Status       int
		CreationDate int64
		UpdateDate   int64
	}
)

func (s stack) stack() Stack {
	out := Stack{ID: s.ID, Name: s.Name, EnvironmentID: s.EndpointID, Active: s.Status == activeStack, Updated: max(s.CreationDate, s.UpdateDate)}
	for _, p := range s.Env {
		out.Env = append(out.Env, Variable{Name: p.Name, Value: unquote(p.Value)})
	}
	return out
}

// Stacks lists the compose stacks of an environment.
func (c *Client) Stacks(ctx context.Context, environment int) ([]Stack, error) {
	if environment <= 0 { // Portainer would list those of all
		return nil, fmt.Errorf("list stacks of environment %d: %w", environment, invalid("an environment's ID is positive"))
	}
	var found []stack
	query := url.Values{"filters": {fmt.Sprintf(`{"EndpointID":%d}`, environment)}}
	if e := c.do(ctx, call{method: http.MethodGet, path: "/stacks", query: query, out: &found}); e != nil {
		return nil, fmt.Errorf("list stacks of environment %d: %w", environment, e)
	}
	out := make([]Stack, 0, len(found))
	for _, f := range found {
		// Portainer adds swarm stacks of other environments.
		if f.EndpointID == environment && f.Type == composeStack {
			out = append(out, f.stack())
		}
	}
	return out, nil
}

// StackFile reads the text of a stack. The error is NotFound when the stack is gone.
func (c *Client) StackFile(ctx context.Context, id int) (string, error) {
	var out struct{ StackFileContent string }
	if e := c.do(ctx, call{method: http.MethodGet, path: fmt.Sprintf("/stacks/%d/file", id), out: &out}); e != nil {
		return "", fmt.Errorf("read text of stack %d: %w", id, e)
	}
	return out.StackFileContent, nil
}

// CreateStack deploys a new stack and returns when compose is done, which takes what the context allows; Portainer goes on
// without us. The error is Conflict when the name is taken, and Failed with compose's words when the deployment failed:
// then there is no record, and no container of a project of this name.
func (c *Client) CreateStack(ctx context.Context, environment int, n NewStack) (Stack, error) {
	env, e := pairs(n.Env)
	if e != nil {
		return Stack{}, fmt.Errorf("create stack %s: %w", n.Name, e)
	}
	in := struct {
		Name             string `json:"name"`
		StackFileContent string `json:"stackFileContent"`
		Env              []pair `json:"env"`
	}{n.Name, n.Text, env}
	var out stack
	e = c.do(ctx, call{
		method: http.MethodPost, path: "/stacks/create/standalone/string", query: of(environment),
		in: in, out: &out, long: true, secrets: values(n.Env, n.Plain),
	})
	if e != nil {
		return Stack{}, fmt.Errorf("create stack %s: %w", n.Name, e)
	}
	return out.stack(), nil
}

// UpdateStack deploys a stack anew, in the time that the context allows; Portainer goes on without us. The error is
// Failed with compose's words when the deployment failed: then the old text and values stay in the record, and all
// containers of the stack are gone. The environment must be the stack's own: with another one, Portainer moves it there.
func (c *Client) UpdateStack(ctx context.Context, id, environment int, change StackChange) error {
	env, e := pairs(change.Env)
	if e != nil {
		return fmt.Errorf("update stack %d: %w", id, e)
	}
	in := struct {
		StackFileContent string `json:"stackFileContent"`
		Env              []pair `json:"env"`
		PullImage        bool   `json:"pullImage"`
	}{change.Text, env, change.Pull}
	e = c.do(ctx, call{
		method: http.MethodPut, path: fmt.Sprintf("/stacks/%d", id), query: of(environment),
		in: in, long: true, secrets: values(change.Env, change.Plain),
	})
	if e != nil {
		return fmt.Errorf("update stack %d: %w", id, e)
	}
	return nil
}

// StartStack deploys a stopped stack with its record's text and values. The error is Invalid when it is active, Conflict
// when containers of its project are there.
func (c *Client) StartStack(ctx context.Context, id, environment int) error {
	e := c.do(ctx, call{method: http.MethodPost, path: fmt.Sprintf("/stacks/%d/start", id), query: of(environment), long: true})
	if e != nil {
		return fmt.Errorf("start stack %d: %w", id, e)
	}
	return nil
}

// StopStack removes the containers of a stack; its volumes and record stay. The error is Invalid when it is stopped.
func (c *Client) StopStack(ctx context.Context, id, environment int) error {
	e := c.do(ctx, call{method: http.MethodPost, path: fmt.Sprintf("/stacks/%d/stop", id), query: of(environment), long: true})
	if e != nil {
		return fmt.Errorf("stop stack %d: %w", id, e)
	}
	return nil
}

// DeleteStack removes the containers and networks of a stack and its record; its volumes stay. The error is NotFound when
// the stack or the environment is gone.
func (c *Client) DeleteStack(ctx context.Context, id, environment int) error {
	e := c.do(ctx, call{method: http.MethodDelete, path: fmt.Sprintf("/stacks/%d", id), query: of(environment), long: true})
	if e != nil {
		return fmt.Errorf("delete stack %d: %w", id, e)
	}
	return nil
}

// of is the query that every change of a stack needs.
func of(environment int) url.Values { return url.Values{"endpointId": {strconv.Itoa(environment)}} }

// pairs is never nil: Portainer takes what is left out for none, and so should a reader of the request.
func pairs(env []Variable) ([]pair, *Error) {
	out, seen := make([]pair, 0, len(env)), map[string]bool{}
	for _, v := range env {
		if err := CheckName(v.Name); err != nil {
			return nil, invalid(fmt.Sprintf("variable %q: %v", v.Name, err))
		}
		if err := CheckValue(v.Value); err != nil {
			return nil, invalid(fmt.Sprintf("variable %s: %v", v.Name, err))
		}
		if seen[v.Name] {
			return nil, invalid(fmt.Sprintf("variable %s: it is there twice", v.Name))
		}
		seen[v.Name] = true
		out = append(out, pair{v.Name, quote(v.Value)})
	}
	return out, nil
}

// values are those that no error may repeat.
func values(env []Variable, plain []string) []string {
	var out []string
	for _, v := range env {
		if !slices.Contains(plain, v.Name) {
			out = append(out, v.Value)
		}
	}
	return out
}
