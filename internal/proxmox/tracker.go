// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// pollEvery is how often a watched task is asked about.
	pollEvery = time.Second
	// pollAtOnce bounds the questions at one time: Proxmox VE runs three
	// workers, and under ten parallel tasks polls went unanswered (measured).
	pollAtOnce = 4
	// resultMemory is how long the result of a task is kept.
	resultMemory = 10 * time.Minute
	// lostAfter is how long a task may give no answer before it counts as lost.
	lostAfter = 10 * time.Minute
)

// watch is one task that is followed, or whose result is kept.
type watch struct {
	vmid      int
	task      Task
	ended     []func()
	lostSince time.Time
	endedAt   time.Time // zero: it runs
}

// Watch follows a task. When it is over, or has not answered for ten minutes
// (TaskUnknown), each of ended is called once and OnChange is told the VMID
// (not when it is 0). Hand the release of Acquire over as ended. Watching a
// task again is fine; of one that is over, ended is called at once.
func (s *Site) Watch(upid UPID, vmid int, ended ...func()) {
	task, err := ParseUPID(string(upid))
	task.State = TaskRunning
	if err != nil {
		task = Task{UPID: upid, State: TaskUnknown, Exit: err.Error()}
	}
	now := s.clock.Now()
	s.mu.Lock()
	w, known := s.tasks[upid]
	if !known {
		w = &watch{vmid: vmid, task: task}
		if err != nil {
			w.endedAt = now
		}
		s.tasks[upid] = w
	}
	if strings.HasSuffix(task.Type, "destroy") && vmid != 0 {
		s.destroying[vmid] = now
	}
	over := !w.endedAt.IsZero()
	if !over {
		w.ended = append(w.ended, ended...)
	}
	s.mu.Unlock()
	if over {
		callAll(ended)
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Result returns how far a watched task is. It is known while the task runs
// and for ten minutes after; false: it is not followed, so watch it (again).
func (s *Site) Result(upid UPID) (Task, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.tasks[upid]
	if !ok {
		return Task{}, false
	}
	return w.task, true
}

// track polls the watched tasks once a second while there are any.
func (s *Site) track(ctx context.Context) {
	for {
		if len(s.unfinished()) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			}
		}
		timer := s.clock.NewTimer(pollEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		s.poll(ctx)
	}
}

// unfinished returns the watched tasks that run, and forgets old results.
func (s *Site) unfinished() []UPID {
	now := s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var running []UPID
	for upid, w := range s.tasks {
		switch {
		case w.endedAt.IsZero():
			running = append(running, upid)
		case now.Sub(w.endedAt) > resultMemory:
			delete(s.tasks, upid)
		}
	}
	slices.Sort(running)
	return running
}

// poll asks once about every watched task that runs.
func (s *Site) poll(ctx context.Context) {
	var asking sync.WaitGroup
	room := make(chan struct{}, pollAtOnce)
	for _, upid := range s.unfinished() {
		room <- struct{}{}
		asking.Go(func() {
			defer func() { <-room }()
			task, err := s.client.Task(ctx, upid)
			if ctx.Err() == nil {
				s.learn(upid, task, err)
			}
		})
	}
	asking.Wait()
}

// learn takes what a task's node said about it.
func (s *Site) learn(upid UPID, task Task, err error) {
	now := s.clock.Now()
	s.mu.Lock()
	w := s.tasks[upid]
	switch {
	case err == nil:
		w.task, w.lostSince = task, time.Time{}
	case w.lostSince.IsZero():
		w.lostSince = now
	case now.Sub(w.lostSince) >= lostAfter:
		w.task.State, w.task.Exit = TaskUnknown, fmt.Sprintf("lost: %v", err)
	}
	if w.task.State == TaskRunning {
		s.mu.Unlock()
		return
	}
	w.endedAt = now
	ended := w.ended
	w.ended = nil
	vmid := w.vmid
	s.mu.Unlock()
	callAll(ended)
	if vmid != 0 {
		s.tell([]int{vmid})
	}
}

// slots count the tasks that run by what they load.
type slots struct {
	all       int
	storages  map[string]int
	templates map[int]int
}

// Acquire takes room for one task that writes to a storage ("" for none) and
// clones a template (0 for none), within the Endpoint's Limits. It never
// waits: when there is no room it returns false, and the caller comes back
// later. The caller calls release when no task came of it, or hands it to
// Watch; more than one call of release counts once.
func (s *Site) Acquire(storage string, template int) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots.all >= s.limits.Tasks ||
		storage != "" && s.slots.storages[storage] >= s.limits.PerStorage ||
		template != 0 && s.slots.templates[template] >= s.limits.PerTemplate {
		return nil, false
	}
	s.slots.add(storage, template, 1)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.slots.add(storage, template, -1)
	}), true
}

func (c *slots) add(storage string, template, n int) {
	c.all += n
	c.storages[storage] += n
	c.templates[template] += n
	if c.storages[storage] == 0 {
		delete(c.storages, storage)
	}
	if c.templates[template] == 0 {
		delete(c.templates, template)
	}
}

func callAll(functions []func()) {
	for _, f := range functions {
		f()
	}
}
