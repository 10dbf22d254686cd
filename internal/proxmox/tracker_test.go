// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func upidOf(n int) UPID {
	return UPID(fmt.Sprintf("UPID:pve1:%08X:00000002:6B01EDC6:vzstart:%d:root@pam!t1:", n, n))
}

func TestTracker(t *testing.T) {
	cases := map[string]struct {
		reason string
		exit   string
		state  TaskState
	}{
		"OK":       {"done", "OK", TaskSucceeded},
		"warnings": {"done", "WARNINGS: 1", TaskSucceeded},
		"failed":   {"the exit is kept", "CT is locked (backup)", TaskFailed},
		"strange":  {"only the guest knows", "unexpected status", TaskUnknown},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			follow(t, newMemory(101), nil, func(t *testing.T, s followed) {
				s.told()
				upid := upidOf(101)
				var released atomic.Int32
				s.do(func() { s.memory.tasks[upid] = "running" })
				s.Watch(upid, 101, func() { released.Add(1) })
				pass(5 * time.Second)
				if task, ok := s.Result(upid); !ok || task.State != TaskRunning || released.Load() != 0 {
					t.Fatalf("%s: while it runs: %+v, %v, released %d", c.reason, task, ok, released.Load())
				}
				s.do(func() { s.memory.tasks[upid] = c.exit })
				pass(2 * time.Second)
				task, ok := s.Result(upid)
				if !ok || task.State != c.state || task.Exit != c.exit || released.Load() != 1 {
					t.Errorf("%s: %+v, %v, released %d times", c.reason, task, ok, released.Load())
				}
				if diff := cmp.Diff([][]int{{101}}, s.told()); diff != "" {
					t.Errorf("%s: told (-want +got):\n%s", c.reason, diff)
				}
				s.Watch(upid, 101, func() { released.Add(1) })
				if released.Load() != 2 {
					t.Errorf("%s: who watches a task that is over is called at once", c.reason)
				}
			})
		})
	}
}

func TestTrackerRestsWithoutTasks(t *testing.T) {
	follow(t, newMemory(101), nil, func(t *testing.T, s followed) {
		upid := upidOf(1)
		path := "/nodes/pve1/tasks/" + string(upid) + "/status"
		s.do(func() { s.memory.tasks[upid] = "running" })
		s.Watch(upid, 101)
		s.Watch(upid, 101)
		pass(10*time.Second + time.Millisecond)
		if n := s.count(path); n != 10 {
			t.Errorf("%d polls in ten seconds, want one a second", n)
		}
		s.do(func() { s.memory.tasks[upid] = "OK" })
		pass(2 * time.Second)
		n := s.count(path)
		pass(time.Minute)
		if s.count(path) != n {
			t.Error("a task that is over is still polled")
		}
	})
}

func TestResultsAreForgotten(t *testing.T) {
	follow(t, newMemory(101), nil, func(t *testing.T, s followed) {
		old, young := upidOf(1), upidOf(2)
		s.do(func() { s.memory.tasks[old], s.memory.tasks[young] = "OK", "OK" })
		s.Watch(old, 101)
		pass(9 * time.Minute)
		if _, ok := s.Result(old); !ok {
			t.Error("a result is kept ten minutes")
		}
		pass(2 * time.Minute)
		s.Watch(young, 101)
		pass(2 * time.Second)
		if _, ok := s.Result(old); ok {
			t.Error("results pile up")
		}
		if _, ok := s.Result(young); !ok {
			t.Error("the new one is gone too")
		}
	})
}

func TestLostTask(t *testing.T) {
	follow(t, newMemory(101), nil, func(t *testing.T, s followed) {
		lost := upidOf(1)
		var released atomic.Bool
		s.do(func() { s.memory.tasks[lost] = "lost" })
		s.Watch(lost, 101, func() { released.Store(true) })
		pass(5 * time.Minute)
		if task, _ := s.Result(lost); task.State != TaskRunning || released.Load() {
			t.Errorf("polls that go unanswered say nothing of the task: %+v", task)
		}
		s.do(func() { s.memory.tasks[lost] = "running" })
		pass(time.Minute)
		s.do(func() { s.memory.tasks[lost] = "lost" })
		pass(9 * time.Minute)
		if released.Load() {
			t.Error("an answer in between starts the patience again")
		}
		pass(3 * time.Minute)
		if task, ok := s.Result(lost); !ok || task.State != TaskUnknown || !released.Load() {
			t.Errorf("a dead node must not hold its slot for ever: %+v, %v", task, released.Load())
		}
	})
}

func TestWatchOfNonsense(t *testing.T) {
	follow(t, newMemory(101), nil, func(t *testing.T, s followed) {
		var released atomic.Bool
		s.Watch("nonsense", 101, func() { released.Store(true) })
		if task, ok := s.Result("nonsense"); !ok || task.State != TaskUnknown || !released.Load() {
			t.Errorf("%+v, %v, released %v", task, ok, released.Load())
		}
	})
}

func TestAcquire(t *testing.T) {
	type want struct {
		storage  string
		template int
		ok       bool
	}
	cases := map[string]struct {
		reason string
		limits Limits
		wants  []want
	}{
		"tasks":     {"four on the whole site", Limits{}, []want{{"", 0, true}, {"", 0, true}, {"", 0, true}, {"", 0, true}, {"", 0, false}}},
		"storage":   {"two that write to one storage", Limits{}, []want{{"a", 0, true}, {"a", 0, true}, {"a", 0, false}, {"b", 0, true}}},
		"template":  {"one clone of a template", Limits{}, []want{{"", 9, true}, {"", 9, false}, {"", 8, true}}},
		"none":      {"\"\" and 0 are no storage and no template", Limits{Tasks: 9}, []want{{"", 0, true}, {"", 0, true}, {"", 0, true}}},
		"configure": {"as the Host says", Limits{Tasks: 9, PerStorage: 1, PerTemplate: 2}, []want{{"a", 9, true}, {"a", 0, false}, {"b", 9, true}, {"c", 9, false}}},
		"no part":   {"a refusal takes nothing", Limits{PerStorage: 1}, []want{{"a", 0, true}, {"a", 7, false}, {"b", 7, true}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			follow(t, newMemory(), func(o *SiteOptions) { o.Limits = c.limits }, func(t *testing.T, s followed) {
				var releases []func()
				for i, w := range c.wants {
					release, ok := s.Acquire(w.storage, w.template)
					if ok != w.ok || ok != (release != nil) {
						t.Fatalf("%s: step %d: %v", c.reason, i, ok)
					}
					if ok {
						releases = append(releases, release, release) // twice counts once
					}
				}
				callAll(releases)
				if got := s.slots; got.all != 0 || len(got.storages) != 0 || len(got.templates) != 0 {
					t.Errorf("%s: after all releases %+v", c.reason, got)
				}
			})
		})
	}
}
