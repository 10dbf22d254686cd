// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// job is what runs beside the passes of one stack.
type job struct {
	// reason of the step that began it.
	reason string
	// message says what it does.
	message string
	// place is where it runs; at most limit jobs run in one place.
	place string
	limit int
	run   func(context.Context)
	// generation of the stack that it is for.
	generation int64
	begun      time.Time
	end        context.CancelFunc
}

// left is how long a job is waited for until its stack is looked at again; not positive: nobody wants what comes of it any
// more. That is so of images for another spec, and of all that does not come to an end while the stack is to go.
func (j job) left(s *v1alpha1.DockerStack, now time.Time) time.Duration {
	deleted := !s.DeletionTimestamp.IsZero()
	if j.reason == PullingReason && (deleted || s.Generation != j.generation) {
		return 0
	}
	if !deleted {
		return jobFor
	}
	since := j.begun
	if s.DeletionTimestamp.After(since) {
		since = s.DeletionTimestamp.Time
	}
	return min(jobFor, since.Add(partingFor).Sub(now))
}

// jobs run beside the passes: one a stack. Their end wakes the stack, and one that waits for room.
type jobs struct {
	wake func(types.NamespacedName)
	ctx  context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	running map[types.NamespacedName]job
	waiting []waiter
}

// waiter is a stack that waits for room in a place.
type waiter struct {
	name  types.NamespacedName
	place string
}

func newJobs(wake func(types.NamespacedName)) *jobs {
	ctx, end := context.WithCancel(context.Background())
	return &jobs{wake: wake, ctx: ctx, end: end, running: map[types.NamespacedName]job{}}
}

// of is the job of a stack.
func (j *jobs) of(name types.NamespacedName) (job, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	found, ok := j.running[name]
	return found, ok
}

// begin starts a job, unless there is no room for it, or the manager ends.
func (j *jobs) begin(name types.NamespacedName, of job) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unlist(name)
	count := 0
	for _, other := range j.running {
		if other.place == of.place {
			count++
		}
	}
	if _, there := j.running[name]; there || j.stopped {
		return false
	}
	if count >= of.limit {
		j.waiting = append(j.waiting, waiter{name, of.place})
		return false
	}
	ctx, cancel := context.WithTimeout(j.ctx, jobLimit)
	of.end = cancel
	j.running[name] = of
	j.work.Go(func() {
		defer cancel()
		defer j.done(name)
		of.run(ctx)
	})
	return true
}

// drop has the job of a stack end. Its end wakes the stack as ever.
func (j *jobs) drop(name types.NamespacedName) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if of, ok := j.running[name]; ok {
		of.end()
	}
}

// read runs what changes nothing, as long as the manager does.
func (j *jobs) read(run func(context.Context)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.stopped {
		j.work.Go(func() { run(j.ctx) })
	}
}

// done ends a job, and wakes its stack and the one that has waited longest.
func (j *jobs) done(name types.NamespacedName) {
	j.mu.Lock()
	place := j.running[name].place
	delete(j.running, name)
	woken := []types.NamespacedName{name}
	if i := slices.IndexFunc(j.waiting, func(w waiter) bool { return w.place == place }); i >= 0 {
		woken = append(woken, j.waiting[i].name)
		j.waiting = slices.Delete(j.waiting, i, i+1)
	}
	j.mu.Unlock()
	for _, n := range woken {
		j.wake(n)
	}
}

// unlist takes a stack from those that wait for room.
func (j *jobs) unlist(name types.NamespacedName) {
	j.waiting = slices.DeleteFunc(j.waiting, func(w waiter) bool { return w.name == name })
}

// stop ends all jobs and waits for them. No other one begins.
func (j *jobs) stop() {
	j.mu.Lock()
	j.stopped = true
	j.mu.Unlock()
	j.end()
	j.work.Wait()
}

// shared is something that several ask for at the same time: the first one gets it for all.
type shared[T any] struct {
	// order in which it was asked for.
	order uint64
	at    time.Time
	done  chan struct{}
	value T
	err   error
}

// wait waits for the value.
func (s *shared[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-s.done:
		return s.value, s.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
