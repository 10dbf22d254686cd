// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"net/http"
	"strings"
	"time"
)

// logLimit bounds the record: the older half goes when it is full.
const logLimit = 100_000

// Request is one request that the API was asked.
type Request struct {
	// Time it came.
	Time time.Time
	// Method and Path, without /api2/json.
	Method, Path string
	// Params are the parameters of query and body; passwords are left out.
	Params map[string]string
	// User is who asked (root@pam!t1), "" when nobody was let in.
	User string
	// Status is the answer's, 0 while it is not answered.
	Status int

	index int
}

// IsWrite tells whether the request would change something of the site. What a command changes that the guest agent runs
// is for the guest's machine to count: GuestMachine(vmid).Writes().
func (r Request) IsWrite() bool {
	return r.Method != http.MethodGet && r.Path != "/access/ticket" && !strings.HasSuffix(r.Path, "/agent/exec")
}

func (s *Server) record(r *http.Request, path string) *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.log) >= logLimit {
		s.logBase += logLimit / 2
		s.log = append([]Request(nil), s.log[logLimit/2:]...)
	}
	entry := Request{Time: time.Now(), Method: r.Method, Path: path, index: s.logBase + len(s.log)}
	s.log = append(s.log, entry)
	return &entry
}

func (s *Server) note(entry *Request, user *principal, params map[string]string) {
	entry.Params = map[string]string{}
	for name, value := range params {
		if name != "password" && name != "cipassword" {
			entry.Params[name] = value
		}
	}
	if user != nil {
		entry.User = user.id()
	}
}

func (s *Server) finish(entry *Request, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry.Status = status
	if at := entry.index - s.logBase; at >= 0 && at < len(s.log) {
		s.log[at] = *entry
	}
}

// Requests are the requests since the start or the last ForgetRequests, the last
// 50 000 at least.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.log...)
}

// Writes are the requests that would change something, refused ones included.
func (s *Server) Writes() []Request {
	var out []Request
	for _, r := range s.Requests() {
		if r.IsWrite() {
			out = append(out, r)
		}
	}
	return out
}

// CountRequests counts the requests of a method ("" is any) to a path; the path
// may hold * and ** as in Fault.
func (s *Server) CountRequests(method, path string) int {
	pattern, n := pathPattern(path), 0
	for _, r := range s.Requests() {
		if (method == "" || r.Method == method) && pattern.MatchString(r.Path) {
			n++
		}
	}
	return n
}

// ForgetRequests empties the record.
func (s *Server) ForgetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logBase += len(s.log)
	s.log = nil
}
