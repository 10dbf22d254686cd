// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
)

// States of a stack.
const (
	stackActive   = 1
	stackInactive = 2
)

// pair is a variable of a stack.
type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// stack is what Portainer remembers of one.
type stack struct {
	ID              int       `json:"Id"`
	Name            string    `json:"Name"`
	Type            int       `json:"Type"`
	EndpointID      int       `json:"EndpointId"`
	SwarmID         string    `json:"SwarmId"`
	EntryPoint      string    `json:"EntryPoint"`
	Env             []pair    `json:"Env"`
	ResourceControl *struct{} `json:"ResourceControl"`
	Status          int       `json:"Status"`
	ProjectPath     string    `json:"ProjectPath"`
	CreationDate    int64     `json:"CreationDate"`
	CreatedBy       string    `json:"CreatedBy"`
	UpdateDate      int64     `json:"UpdateDate"`
	UpdatedBy       string    `json:"UpdatedBy"`
}

func (st *stack) copied() *stack {
	out := *st
	out.Env = slices.Clone(st.Env)
	return &out
}

func (d *database) stack(id int) *stack {
	for _, st := range d.Stacks {
		if st.ID == id {
			return st
		}
	}
	return nil
}

var notInName = regexp.MustCompile("[^-_a-z0-9]+")

// normal is a name as Portainer makes it fit for compose.
func normal(name string) string { return notInName.ReplaceAllString(strings.ToLower(name), "") }

func (s *Server) stacks(r *http.Request, _ *caller) (any, error) {
	var filters struct{ EndpointID int }
	if text := r.URL.Query().Get("filters"); text != "" {
		if err := json.Unmarshal([]byte(text), &filters); err != nil {
			return nil, refuse(http.StatusBadRequest, "Invalid query parameter: filters", err.Error())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []*stack{}
	for _, st := range s.db.Stacks {
		if filters.EndpointID == 0 || filters.EndpointID == st.EndpointID {
			out = append(out, st.copied())
		}
	}
	return out, nil
}

// stackOf gives a copy of a path's stack, and its text.
func (s *Server) stackOf(r *http.Request) (*stack, string, error) {
	id, err := pathID(r, "stack")
	if err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.db.stack(id)
	if st == nil {
		return nil, "", notInDatabase("Unable to find a stack with the specified identifier inside the database")
	}
	return st.copied(), s.db.Files[id], nil
}

func (s *Server) stackOne(r *http.Request, _ *caller) (any, error) {
	st, _, err := s.stackOf(r)
	return st, err
}

func (s *Server) stackFile(r *http.Request, _ *caller) (any, error) {
	_, text, err := s.stackOf(r)
	return map[string]string{"StackFileContent": text}, err
}

// deployment is what compose is told of a stack.
func (s *Server) deployment(st *stack, text string, pull bool) Deployment {
	d := Deployment{Project: st.Name, Text: text, Pull: pull}
	if s.opts.Data != "" {
		d.Dir = st.ProjectPath
	}
	for _, v := range st.Env {
		d.Env = append(d.Env, v.Name+"="+v.Value)
	}
	return d
}

// up deploys a stack. When compose fails, everything of the project is removed, as
// Portainer does it (its issue 8008): the containers of the last good deployment
// too. A pull that fails removes nothing.
func (s *Server) up(engine Engine, d Deployment) error {
	s.deploying.Lock()
	defer s.deploying.Unlock()
	ctx := context.Background() // a client that goes away ends no deployment
	_, err := engine.Deploy(ctx, d)
	if err == nil {
		return nil
	}
	words := "failed to deploy a stack: "
	var compose *ComposeError
	if errors.As(err, &compose) && compose.Pulling {
		words = "failed to pull images of the stack: "
	} else if err := engine.Down(ctx, d.Project); err != nil {
		s.opts.Log("failed to remove a stack: " + err.Error())
	}
	return refuse(http.StatusInternalServerError, words+err.Error(), "")
}

func (s *Server) down(engine Engine, project string) error {
	if err := engine.Down(context.Background(), project); err != nil {
		return errors.New("failed to remove a stack: " + err.Error())
	}
	return nil
}

// projectThere says whether an engine has containers of a project.
func projectThere(ctx context.Context, engine Engine, name string) (bool, error) {
	text, err := ask(ctx, engine, "/containers/json?all=1")
	if err != nil {
		return false, err
	}
	var list []container.Summary
	if err := json.Unmarshal(text, &list); err != nil {
		return false, err
	}
	return slices.ContainsFunc(list, func(c container.Summary) bool { return c.Labels[labelProject] == name }), nil
}

// unique refuses the name of a stack that is there. A project that runs without
// Portainer's knowledge is no stack, and is taken over.
func (s *Server) unique(ctx context.Context, engine Engine, name string, endpoint int) error {
	there, err := projectThere(ctx, engine, name)
	if err != nil {
		return failed("Unable to check for name collision", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.db.Stacks {
		if strings.EqualFold(st.Name, name) && (st.EndpointID == endpoint || there) {
			return refuse(http.StatusConflict, "A stack with the normalized name '"+name+"' already exists", "")
		}
	}
	return nil
}

// stackForm is what a new stack is made of.
type stackForm struct {
	Name, StackFileContent string
	Env                    []pair
}

func newStackForm(r *http.Request) (*stackForm, error) {
	asked, why := &stackForm{}, ""
	switch err := decode(r, asked); {
	case err != nil:
		why = err.Error()
	case asked.Name == "":
		why = "Invalid stack name"
	case asked.StackFileContent == "":
		why = "Invalid stack file content"
	}
	if why != "" {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", why)
	}
	return asked, nil
}

func (s *Server) stackCreate(r *http.Request, by *caller) (any, error) {
	id, err := queryID(r, false)
	if err != nil {
		return nil, err
	}
	e, err := s.endpoint(id, noEndpoint)
	if err != nil {
		return nil, err
	}
	asked, err := newStackForm(r)
	if err != nil {
		return nil, err
	}
	engine, err := s.connect(r.Context(), e)
	if err != nil {
		return nil, failed("Unable to check for name collision", err)
	}
	name := normal(asked.Name)
	if err := s.unique(r.Context(), engine, name, id); err != nil {
		return nil, err
	}
	st := s.newStack(name, id, asked.Env, by.Username)
	if err := s.up(engine, s.deployment(st, asked.StackFileContent, false)); err != nil {
		s.clear(st)
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db.Stacks = append(s.db.Stacks, st)
	s.db.Files[st.ID] = asked.StackFileContent
	return st.copied(), s.save()
}

// newStack is one that is not in the database yet. Its number is gone even if it
// never is.
func (s *Server) newStack(name string, endpoint int, env []pair, by string) *stack {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.db.next("stacks")
	return &stack{
		ID: id, Name: name, Type: 2, EndpointID: endpoint, EntryPoint: composeFile, Env: env, Status: stackActive,
		ProjectPath: s.projectPath(id), CreationDate: s.opts.Clock().Unix(), CreatedBy: by,
	}
}

// projectPath is the folder of a stack's files.
func (s *Server) projectPath(id int) string {
	if s.opts.Data != "" {
		return filepath.Join(s.opts.Data, "compose", strconv.Itoa(id))
	}
	return path.Join("/data/compose", strconv.Itoa(id))
}

// clear removes a stack's files.
func (s *Server) clear(st *stack) {
	if s.opts.Data == "" {
		return
	}
	if err := os.RemoveAll(st.ProjectPath); err != nil {
		s.opts.Log("unable to remove stack files from disk: " + err.Error())
	}
}

func (s *Server) stackUpdate(r *http.Request, by *caller) (any, error) {
	st, _, err := s.stackOf(r)
	if err != nil {
		return nil, err
	}
	if st.EndpointID, err = queryID(r, false); err != nil {
		return nil, err
	}
	e, err := s.endpoint(st.EndpointID, "Unable to find the environment associated to the stack inside the database")
	if err != nil {
		return nil, err
	}
	var asked struct {
		StackFileContent string
		Env              []pair
		PullImage        bool
	} // prune is for swarms
	if err := decode(r, &asked); err != nil {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", err.Error())
	}
	if asked.StackFileContent == "" {
		return nil, refuse(http.StatusBadRequest, "Invalid request payload", "Invalid stack file content")
	}
	engine, err := s.connect(r.Context(), e)
	if err != nil {
		return nil, failed("failed to deploy a stack: "+err.Error(), err)
	}
	st.Env = asked.Env // what is left out is gone
	if err := s.up(engine, s.deployment(st, asked.StackFileContent, asked.PullImage)); err != nil {
		return nil, err
	}
	st.UpdatedBy, st.UpdateDate, st.Status = by.Username, s.opts.Clock().Unix(), stackActive
	return s.keepStack(st, &asked.StackFileContent)
}

// keepStack writes a stack that is in the database.
func (s *Server) keepStack(st *stack, text *string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.db.Stacks, func(one *stack) bool { return one.ID == st.ID })
	if at < 0 { // deleted in the meantime: Portainer writes it all the same
		s.db.Stacks = append(s.db.Stacks, st)
	} else {
		s.db.Stacks[at] = st
	}
	if text != nil {
		s.db.Files[st.ID] = *text
	}
	return st.copied(), s.save()
}

// stackAt gives a path's stack with its text, and the engine of the query's environment.
func (s *Server) stackAt(r *http.Request) (*stack, string, Engine, error) {
	st, text, err := s.stackOf(r)
	if err != nil {
		return nil, "", nil, err
	}
	id, err := queryID(r, false)
	if err != nil {
		return nil, "", nil, err
	}
	e, err := s.endpoint(id, noEndpoint)
	if err != nil {
		return nil, "", nil, err
	}
	engine, err := s.connect(r.Context(), e)
	if err != nil {
		return nil, "", nil, failed("Unable to check for name collision", err)
	}
	return st, text, engine, nil
}

func (s *Server) stackStart(r *http.Request, _ *caller) (any, error) {
	st, text, engine, err := s.stackAt(r)
	if err != nil {
		return nil, err
	}
	there, err := projectThere(r.Context(), engine, st.Name)
	switch {
	case err != nil:
		return nil, failed("Unable to check for name collision", err)
	case there:
		return nil, refuse(http.StatusConflict, "A stack with the name '"+st.Name+"' is already running", "")
	case st.Status == stackActive:
		return nil, refuse(http.StatusBadRequest, "Stack is already active", "")
	}
	if _, err := engine.Deploy(context.Background(), s.deployment(st, text, false)); err != nil {
		return nil, failed("Unable to start stack", errors.New("failed to deploy a stack: "+err.Error()))
	}
	st.Status = stackActive
	return s.keepStack(st, nil)
}

// stackStop removes the containers of a stack: that is what stopping is.
func (s *Server) stackStop(r *http.Request, _ *caller) (any, error) {
	st, _, engine, err := s.stackAt(r)
	if err != nil {
		return nil, err
	}
	if st.Status == stackInactive {
		return nil, refuse(http.StatusBadRequest, "Stack is already inactive", "")
	}
	if err := s.down(engine, st.Name); err != nil {
		return nil, failed("Unable to stop stack", err)
	}
	st.Status = stackInactive
	return s.keepStack(st, nil)
}

// stackDelete removes a stack, and the project of its name from the environment that the query
// names, be it the stack's or not.
func (s *Server) stackDelete(r *http.Request, _ *caller) (any, error) {
	st, _, err := s.stackOf(r)
	if err != nil {
		return nil, err
	}
	id, err := queryID(r, true)
	if err != nil {
		return nil, err
	}
	e, err := s.endpoint(id, "Unable to find the endpoint associated to the stack inside the database")
	if err != nil {
		return nil, err
	}
	engine, err := s.connect(r.Context(), e)
	if err == nil {
		err = s.down(engine, st.Name)
	}
	if err != nil {
		return nil, failed(err.Error(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db.Stacks = slices.DeleteFunc(s.db.Stacks, func(one *stack) bool { return one.ID == st.ID })
	delete(s.db.Files, st.ID)
	s.clear(st)
	return status(http.StatusNoContent), s.save()
}
