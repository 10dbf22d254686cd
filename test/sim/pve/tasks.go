// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// task is one worker process of a node.
type task struct {
	upid      string
	node      string
	kind      string
	id        string
	user      *principal
	pid       int
	pstart    int64
	start     time.Time
	end       time.Time
	exit      string // "" while it runs
	log       []string
	lost      bool
	interrupt chan struct{}
	stopped   bool
}

// step is a part of a task: it takes a real site's time, then it happens.
type step struct {
	takes time.Duration
	do    func(t *task) error
}

// work is what a task does.
type work struct {
	node, kind, id string
	lock           *guest // whose file lock it holds all the time, or nil
	steps          []step
	undo           func() // clears up after a failed step
}

// spawn starts a task and returns its UPID. The site must be locked.
func (s *Server) spawn(user *principal, w work) string {
	s.pids += 7
	now := time.Now()
	t := &task{
		node: w.node, kind: w.kind, id: w.id, user: user, pid: s.pids, start: now,
		pstart: int64(now.Sub(s.born)/(10*time.Millisecond)) + 10000, interrupt: make(chan struct{}),
	}
	t.upid = fmt.Sprintf("UPID:%s:%08X:%08X:%08X:%s:%s:%s:", t.node, t.pid, t.pstart, now.Unix(), t.kind, t.id, user.id())
	s.tasks[t.upid] = t
	s.taskLog = append(s.taskLog, t)
	fault := s.faults.matchTask(w.kind, w.id)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		s.perform(t, w, fault)
	}()
	return t.upid
}

// perform runs a task to its end. A fault may fail it before its first effect or
// after its last, hold it, warn, or lose its record.
func (s *Server) perform(t *task, w work, fault *TaskFault) {
	err := s.waitForTask(t, fault)
	if err == nil && w.lock != nil {
		var unlock func()
		if unlock, err = s.lockFile(w.lock.vmid, w.lock.kind); err == nil {
			defer unlock()
		}
	}
	if err == nil && fault != nil && fault.Fail != "" && !fault.AfterEffect {
		err = errors.New(fault.Fail)
	}
	for i := 0; err == nil && i < len(w.steps); i++ {
		err = s.step(t, w.steps[i])
	}
	defer s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && w.undo != nil {
		w.undo()
	}
	t.finish(err, fault)
	if t.lost {
		delete(s.tasks, t.upid)
	}
}

func (s *Server) waitForTask(t *task, fault *TaskFault) error {
	if fault == nil {
		return nil
	}
	if fault.hold != nil {
		select {
		case <-fault.hold:
		case <-t.interrupt:
			return errInterrupted
		case <-s.ctx.Done():
			return errInterrupted
		}
	}
	if !s.pause(t.interrupt, fault.Delay) {
		return errInterrupted
	}
	return nil
}

var errInterrupted = errors.New("received interrupt")

func (s *Server) step(t *task, st step) error {
	if !s.pause(t.interrupt, s.scaled(st.takes)) {
		return errInterrupted
	}
	defer s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.stopped {
		return errInterrupted
	}
	return st.do(t)
}

func (t *task) finish(err error, fault *TaskFault) {
	t.end = time.Now()
	t.exit = "OK"
	if err != nil {
		t.exit = strings.TrimSpace(err.Error())
	}
	if fault != nil {
		switch {
		case err != nil:
		case fault.Fail != "":
			t.exit = fault.Fail
		case fault.Warnings > 0:
			t.exit = "WARNINGS: " + strconv.Itoa(fault.Warnings)
			t.log = append(t.log, "WARN: something is not as it should be")
		}
		t.lost = fault.Lost
	}
	switch {
	case t.exit == "OK":
		t.log = append(t.log, "TASK OK")
	case strings.HasPrefix(t.exit, "WARNINGS"):
		t.log = append(t.log, "TASK "+t.exit)
	default:
		t.log = append(t.log, "TASK ERROR: "+t.exit)
	}
}

func (t *task) logf(format string, args ...any) {
	t.log = append(t.log, fmt.Sprintf(format, args...))
}

var upidRE = regexp.MustCompile(`^UPID:([a-zA-Z0-9][a-zA-Z0-9\-]*):([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8}):([^:\s]+):([^:\s]*):([^:\s]+):$`)

// findTask looks a task up where its UPID says it ran.
func (c *call) findTask() (*task, error) {
	upid := c.params["upid"]
	if !upidRE.MatchString(upid) {
		return nil, paramError("upid", "unable to parse worker upid")
	}
	t := c.tasks[upid]
	if t == nil || t.node != c.node {
		return nil, paramError("upid", "no such task")
	}
	if !c.sees(t) {
		return nil, c.need("/nodes/"+c.node, "Sys.Audit")
	}
	return t, nil
}

// sees tells whether the caller may look at a task: its own, or with Sys.Audit.
func (c *call) sees(t *task) bool {
	own := t.user.id() == c.user.id() || (c.user.token == "" && t.user.user == c.user.user)
	return own || c.can("/nodes/"+t.node, "Sys.Audit")
}

func taskStatus(c *call) (any, error) {
	t, err := c.findTask()
	if err != nil {
		return nil, err
	}
	out := t.row()
	delete(out, "endtime")
	out["status"] = "stopped"
	if t.exit == "" {
		out["status"] = "running"
	} else {
		out["exitstatus"] = t.exit
	}
	return out, nil
}

func (t *task) row() map[string]any {
	out := map[string]any{
		"upid": t.upid, "node": t.node, "pid": t.pid, "pstart": t.pstart, "starttime": t.start.Unix(),
		"type": t.kind, "id": t.id, "user": t.user.user,
	}
	if t.user.token != "" {
		out["tokenid"] = t.user.token
	}
	if t.exit != "" {
		out["endtime"] = t.end.Unix()
		out["status"] = t.exit
	}
	return out
}

func taskLog(c *call) (any, error) {
	if !upidRE.MatchString(c.params["upid"]) {
		return nil, paramError("upid", "unable to parse worker upid")
	}
	lines := []string{"unable to open file - No such file or directory"}
	if t := c.tasks[c.params["upid"]]; t != nil && t.node == c.node {
		if !c.sees(t) {
			return nil, c.need("/nodes/"+c.node, "Sys.Audit")
		}
		lines = t.log
	}
	start, limit := atoi(c.params["start"]), atoi(first(c.params["limit"], "50"))
	rows := []map[string]any{}
	for i := start; i < len(lines) && (limit == 0 || i < start+limit); i++ {
		rows = append(rows, map[string]any{"n": i + 1, "t": lines[i]})
	}
	if len(rows) == 0 {
		rows = append(rows, map[string]any{"n": 1, "t": "no content"})
	}
	return list{data: rows, total: len(lines)}, nil
}

func interruptTask(c *call) (any, error) {
	t, err := c.findTask()
	if err != nil {
		return nil, err
	}
	if t.exit == "" && !t.stopped {
		t.stopped = true
		close(t.interrupt)
	}
	return nil, nil
}

func nodeTasks(c *call) (any, error) {
	rows := []map[string]any{}
	total, limit, start := 0, atoi(first(c.params["limit"], "50")), atoi(c.params["start"])
	for i := len(c.taskLog) - 1; i >= 0; i-- {
		t := c.taskLog[i]
		if t.node != c.node || t.lost || !c.sees(t) || !t.wanted(c.params) {
			continue
		}
		total++
		if total > start && len(rows) < limit {
			rows = append(rows, t.row())
		}
	}
	if c.params["source"] == "active" {
		return rows, nil
	}
	return list{data: rows, total: total}, nil
}

// wanted applies the filters of a node's task list.
func (t *task) wanted(p map[string]string) bool {
	active := t.exit == ""
	switch {
	case p["vmid"] != "" && p["vmid"] != t.id,
		p["typefilter"] != "" && p["typefilter"] != t.kind,
		p["userfilter"] != "" && !strings.Contains(t.user.id(), p["userfilter"]),
		p["errors"] == "1" && (active || t.exit == "OK"),
		p["source"] == "active" && !active,
		first(p["source"], "archive") == "archive" && active,
		p["since"] != "" && t.start.Unix() < int64(atoi(p["since"])),
		p["until"] != "" && t.start.Unix() > int64(atoi(p["until"])):
		return false
	}
	return true
}

func clusterTasks(c *call) (any, error) {
	rows := []map[string]any{}
	for i := len(c.taskLog) - 1; i >= 0 && len(rows) < 25; i-- {
		t := c.taskLog[i]
		if t.lost || !c.sees(t) {
			continue
		}
		row := t.row()
		delete(row, "pid")
		delete(row, "pstart")
		if t.exit != "" {
			row["saved"] = "1"
		}
		rows = append(rows, row)
	}
	return rows, nil
}
