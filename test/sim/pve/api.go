// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const bodyLimit = 512 << 10

// call is one request on its way to a handler.
type call struct {
	*Server
	m      *method
	user   *principal
	params map[string]string
	node   string
	vmid   int
	kind   string
	now    time.Time
}

// handler answers a call; the site is locked while it runs.
type handler func(*call) (any, error)

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path, format := splitFormat(r.URL.EscapedPath())
	entry := s.record(r, path)
	fault := s.faults.match(r.Method, path)
	if !s.before(fault, r) {
		panic(http.ErrAbortHandler)
	}
	var rep *reply
	if fault != nil && fault.Status != 0 {
		rep = fault.reply()
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, bodyLimit)) // keep the connection usable
	} else {
		rep = s.answer(r, path, format, entry)
	}
	s.finish(entry, rep.status)
	if fault != nil && fault.Cut == CutAfter {
		panic(http.ErrAbortHandler)
	}
	if fault != nil {
		rep.trickle = fault.Trickle
	}
	rep.send(w, r)
}

// before applies what a fault does to a request before it is looked at; false
// means that the connection is to be cut.
func (s *Server) before(fault *Fault, r *http.Request) bool {
	if fault == nil {
		return true
	}
	if !s.pause(r.Context().Done(), fault.Delay) {
		return false
	}
	return fault.Cut != CutBefore
}

func splitFormat(path string) (rest, format string) {
	parts := strings.SplitN(strings.TrimPrefix(path, "/api2/"), "/", 2)
	if !strings.HasPrefix(path, "/api2/") || len(parts) < 2 {
		return path, ""
	}
	return "/" + parts[1], parts[0]
}

// answer goes the way of a request: format, authentication, body, route,
// permission, node, parameters, handler. The order is Proxmox's.
func (s *Server) answer(r *http.Request, path, format string, entry *Request) *reply {
	switch r.Method {
	case http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete:
	default:
		return refusal(bareError(http.StatusNotImplemented, fmt.Sprintf("method '%s' not available", r.Method)))
	}
	switch format {
	case "json", "extjs":
	case "":
		return refusal(&apiError{status: http.StatusNotFound, reason: "no such file '" + path + "'", plain: true})
	default:
		return refusal(&apiError{
			status: http.StatusNotImplemented, plain: true,
			reason: fmt.Sprintf("no formatter for uri %s, %s", path, format),
		})
	}
	v, err := s.handle(r, path, entry)
	rep := success(v)
	if err != nil {
		rep = refusal(err)
	}
	if format == "extjs" && len(rep.body) > 0 {
		return extjs(rep)
	}
	return rep
}

func (s *Server) handle(r *http.Request, path string, entry *Request) (any, error) {
	user, err := s.authenticate(r, path)
	if err != nil {
		return nil, err
	}
	params, err := s.readParams(r)
	if err != nil {
		return nil, err
	}
	s.note(entry, user, params)
	segments, err := splitPath(path)
	if err != nil {
		return nil, failf("malformed uri")
	}
	m, vars := loadSchema().find(r.Method, segments)
	if m == nil {
		return nil, notImplemented(r.Method, path)
	}
	if m.NoToken && user != nil && user.token != "" {
		return nil, permError("")
	}
	for name, value := range vars {
		if _, twice := params[name]; twice {
			return nil, paramError(name, "duplicate parameter (already defined in URI)")
		}
		params[name] = value
	}
	c := &call{Server: s, m: m, user: user, params: params, node: vars["node"], vmid: atoi(vars["vmid"]), kind: m.kind()}
	return s.dispatch(r, c)
}

func notImplemented(verb, path string) error {
	return &apiError{status: http.StatusNotImplemented, flush: true, reason: fmt.Sprintf("Method '%s %s' not implemented", verb, path)}
}

func splitPath(path string) ([]string, error) {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	for i, segment := range segments {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			return nil, err
		}
		segments[i] = plain
	}
	return segments, nil
}

// dispatch asks for the permission, finds the node, checks the parameters, waits
// for a worker and for the guest's file lock, and runs the handler.
func (s *Server) dispatch(r *http.Request, c *call) (any, error) {
	run, ok := handlers[c.m.key]
	if !ok {
		return nil, notImplemented(c.m.verb, strings.TrimPrefix(c.m.key, c.m.verb+" "))
	}
	if err := s.permit(c); err != nil {
		return nil, err
	}
	if c.node == "localhost" {
		c.node = s.order[0]
	}
	if c.m.Proxy {
		if err := s.reach(r, c.params["node"]); err != nil {
			return nil, err
		}
	}
	if errs := c.m.validate(c.params, s.isStrict()); len(errs) > 0 {
		return nil, &apiError{status: http.StatusBadRequest, reason: badParams, fields: errs}
	}
	release := s.worker(r)
	defer release()
	if needsFileLock[c.m.key] {
		unlock, err := s.lockFile(c.vmid, c.kind)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	defer s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.now = time.Now()
	return run(c)
}

func (s *Server) permit(c *call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access.permit(s, c.user, c.m.Perm, c.params)
}

func (s *Server) isStrict() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.strict
}

// reach proxies a request to a node: unknown and dead ones do not answer.
func (s *Server) reach(r *http.Request, name string) error {
	s.mu.Lock()
	n := s.nodes[name]
	var wait time.Duration
	dead := n != nil && !n.online
	if dead {
		wait = n.deadWait
	}
	s.mu.Unlock()
	if name == "localhost" {
		return nil
	}
	if n == nil {
		return failf("hostname lookup '%s' failed - failed to get address info for: %s: Temporary failure in name resolution", name, name)
	}
	if dead {
		s.pause(r.Context().Done(), wait)
		return bareError(595, "No route to host")
	}
	return nil
}

// worker waits for the connection's API worker, which serves one request at a
// time.
func (s *Server) worker(r *http.Request) (release func()) {
	index := 0
	if c := connOf(r); c != nil {
		index = c.worker
	}
	slot := s.workers[index]
	select {
	case slot <- struct{}{}:
		return func() { <-slot }
	case <-s.ctx.Done():
		return func() {}
	}
}

// readParams reads the query and the body, form or JSON.
func (s *Server) readParams(r *http.Request) (map[string]string, error) {
	out := map[string]string{}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &apiError{status: http.StatusBadRequest, reason: "bad query", bare: true}
	}
	flatten(query, out)
	if r.ContentLength == 0 || r.Body == http.NoBody {
		return out, nil
	}
	if r.Method == http.MethodDelete || r.Method == http.MethodGet {
		return nil, bareError(http.StatusNotImplemented, fmt.Sprintf("Unexpected content for method '%s'", r.Method))
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = r.Header.Get("Content-Type")
	}
	if kind == "multipart/form-data" {
		return out, readUpload(r, out)
	}
	return out, readBody(r, kind, out)
}

// readBody reads a form or JSON.
func readBody(r *http.Request, kind string, out map[string]string) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit+1))
	if err != nil {
		return bareError(http.StatusBadRequest, "bad request")
	}
	if len(body) > bodyLimit {
		return bareError(http.StatusNotImplemented, "for data too large")
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return bareError(http.StatusBadRequest, "bad request")
		}
		flatten(form, out)
		return nil
	case "application/json":
		return readJSON(body, out)
	}
	return &apiError{
		status: 506, plain: true,
		reason: fmt.Sprintf("upload 'Content-Type '%s' not implemented", r.Header.Get("Content-Type")),
	}
}

func flatten(values url.Values, out map[string]string) {
	for name, list := range values {
		out[name] = strings.Join(list, "\x00")
	}
}

func readJSON(body []byte, out map[string]string) error {
	var doc map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.UseNumber()
	if err := decoder.Decode(&doc); err != nil {
		return malformedJSON(body, err)
	}
	for name, value := range doc {
		switch v := value.(type) {
		case nil:
		case bool:
			out[name] = map[bool]string{true: "1", false: "0"}[v]
		case []any:
			items := make([]string, len(v))
			for i, item := range v {
				items[i] = fmt.Sprint(item)
			}
			out[name] = strings.Join(items, "\x00")
		default:
			out[name] = fmt.Sprint(v)
		}
	}
	return nil
}

func malformedJSON(body []byte, err error) error {
	offset, rest := len(body), "(end of string)"
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && syntax.Offset > 0 && int(syntax.Offset) <= len(body) {
		offset = int(syntax.Offset) - 1
		rest = string(body[offset:])
	}
	return &apiError{
		status: http.StatusInternalServerError, plain: true,
		reason: fmt.Sprintf("malformed JSON string, neither tag, array, object, number, string or atom, "+
			"at character offset %d (before \"%s\") at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934.", offset, rest),
	}
}
