// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Cut says when a fault cuts the connection.
type Cut int

// The ways to cut a connection.
const (
	// CutNever answers.
	CutNever Cut = iota
	// CutBefore cuts before the request is looked at: nothing happens.
	CutBefore
	// CutAfter does what is asked and cuts instead of answering.
	CutAfter
)

// Fault is something that goes wrong with requests.
type Fault struct {
	// Method and Path choose the requests. Method "" is any; in Path (without
	// /api2/json) a * stands for one segment and ** for any number.
	Method, Path string
	// From and To choose among the matching requests, counted from 1 when the
	// fault is injected; 0 and 0 are all of them, To 0 is no end.
	From, To int
	// Delay is how long the request waits before anything else.
	Delay time.Duration
	// Cut cuts the connection.
	Cut Cut
	// Status, if not 0, is answered instead of doing what is asked, with
	// Reason and Body (both may be empty, as with 595).
	Status       int
	Reason, Body string
	// Trickle is the pause before each byte of the answer.
	Trickle time.Duration

	pattern *regexp.Regexp
	seen    int
}

// TaskFault is something that goes wrong with tasks.
type TaskFault struct {
	// Kind and ID choose the tasks (vzcreate, "101"); "" is any.
	Kind, ID string
	// Times is how many tasks it strikes; 0 is all.
	Times int
	// Delay is how long the task waits before it begins.
	Delay time.Duration
	// Fail is the text that the task ends with. Unless AfterEffect, nothing of
	// what it was to do happens.
	Fail        string
	AfterEffect bool
	// Warnings makes a task that does its work end in "WARNINGS: n".
	Warnings int
	// Lost forgets the task when it ends: "no such task".
	Lost bool

	hold chan struct{}
}

type faults struct {
	mu       sync.Mutex
	requests []*Fault
	tasks    []*TaskFault
	hotplug  map[string]string
}

// Inject makes requests go wrong until remove is called.
func (s *Server) Inject(f Fault) (remove func()) {
	f.pattern = pathPattern(f.Path)
	fault := &f
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.requests = append(s.faults.requests, fault)
	return func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		s.faults.requests = without(s.faults.requests, fault)
	}
}

// InjectTask makes tasks that begin from now on go wrong until remove is called.
func (s *Server) InjectTask(f TaskFault) (remove func()) {
	fault := &f
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.tasks = append(s.faults.tasks, fault)
	return func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		s.faults.tasks = without(s.faults.tasks, fault)
	}
}

// HoldTasks makes tasks of a kind ("" is any) wait before they begin, until
// release is called; tasks that begin later do not wait.
func (s *Server) HoldTasks(kind string) (release func()) {
	hold := make(chan struct{})
	remove := s.InjectTask(TaskFault{Kind: kind, hold: hold})
	return sync.OnceFunc(func() {
		remove()
		close(hold)
	})
}

// FailHotplug makes changes of an option of a running guest (VMID 0: any) fail
// with a text, as a missing bridge does; an empty text ends it.
func (s *Server) FailHotplug(vmid int, key, text string) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	if s.faults.hotplug == nil {
		s.faults.hotplug = map[string]string{}
	}
	s.faults.hotplug[fmt.Sprintf("%d/%s", vmid, key)] = text
}

func (f *faults) hotplugText(vmid int, key string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return first(f.hotplug[fmt.Sprintf("%d/%s", vmid, key)], f.hotplug["0/"+key])
}

// pathPattern turns a path with * and ** into an expression.
func pathPattern(path string) *regexp.Regexp {
	if path == "" {
		path = "/**"
	}
	text := regexp.QuoteMeta(strings.TrimSuffix(path, "/"))
	text = strings.ReplaceAll(text, `/\*\*`, `(?:/.*)?`)
	text = strings.ReplaceAll(text, `\*`, `[^/]*`)
	return regexp.MustCompile("^" + text + "/?$")
}

// match returns the first fault that strikes a request, or nil.
func (f *faults) match(method, path string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.requests {
		if (fault.Method != "" && fault.Method != method) || !fault.pattern.MatchString(path) {
			continue
		}
		fault.seen++
		if fault.seen >= fault.From && (fault.To == 0 || fault.seen <= fault.To) {
			return fault
		}
	}
	return nil
}

func (f *faults) matchTask(kind, id string) *TaskFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.tasks {
		if (fault.Kind != "" && fault.Kind != kind) || (fault.ID != "" && fault.ID != id) {
			continue
		}
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				f.tasks = without(f.tasks, fault)
			}
		}
		return fault
	}
	return nil
}

func (f *Fault) reply() *reply {
	rep := &reply{status: f.Status, reason: f.Reason, body: []byte(f.Body)}
	if rep.reason == "" {
		rep.reason = "status code " + fmt.Sprint(f.Status)
	}
	if f.Body != "" {
		rep.contentType = contentJSON
	}
	return rep
}

func without[T comparable](list []T, gone T) []T {
	out := make([]T, 0, len(list))
	for _, item := range list {
		if item != gone {
			out = append(out, item)
		}
	}
	return out
}
