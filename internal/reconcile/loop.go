// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	// maxSteps bounds how many steps one pass takes, so that one object cannot hold a worker.
	maxSteps = 16
	// conflictDelay is the wait after somebody else changed the object at the same time.
	conflictDelay = 100 * time.Millisecond
	// minWait is the least time after which a waiting object is looked at again. None at all would mean never.
	minWait = 100 * time.Millisecond
	// jitter spreads the passes of many objects over the drift interval.
	jitter = 0.2
)

// Loop runs the passes of one kind. Its fields are set before Setup or the first Reconcile and not changed afterwards.
type Loop[T Object, S any] struct {
	// Name is the kind's name, such as "Guest".
	Name string
	// Kind says what is particular to the kind.
	Kind Kind[T, S]
	// New makes an empty object.
	New func() T
	// Client reads objects from the cache and writes them.
	Client client.Client
	// Live reads past the cache, for what must not be stale: the destruction budget.
	Live client.Reader
	// Graph knows every kind, for references and deletion order.
	Graph *Graph
	// Events records what was done.
	Events events.EventRecorder
	// Clock tells the time.
	Clock clock.PassiveClock
	// Interval after which an object in sync is looked at again, with jitter.
	Interval time.Duration
	// Pace is Interval for kinds where it depends on the object: on whether something else tells of its changes. May be nil.
	Pace func(obj T) time.Duration
	// Backoff says how long to wait after a failure. Setup gives it [NewBackoff] where it is nil.
	Backoff workqueue.TypedRateLimiter[types.NamespacedName]

	// due is when an object that failed is tried again, and how it failed: a retry by name.
	due sync.Map
}

// retry is a failure and when it is tried again.
type retry struct {
	at time.Time
	of *outcome
}

// pass is one pass over one object.
type pass[T Object, S any] struct {
	*Loop[T, S]
	obj  T
	base T // obj as the API server has it
	seen *S
	plan []v1alpha1.PlannedChange
	// planned says that plan was computed: else the last one stands.
	planned bool
	// blind says why the object could not be looked at: what it is seen through is away.
	blind error
	now   time.Time
}

// errGone says that the object went away during the pass.
var errGone = errors.New("the object is gone")

// Reconcile makes one pass over the named object.
func (l *Loop[T, S]) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	obj := l.New()
	err := l.Client.Get(ctx, req.NamespacedName, obj)
	if apierrors.IsNotFound(err) || err == nil && deleting(obj) && !controllerutil.ContainsFinalizer(obj, v1alpha1.Finalizer) {
		l.succeed(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("read %s: %w", l.Name, err)
	}
	if obj.CommonStatus().ObservedGeneration != obj.GetGeneration() {
		l.succeed(req.NamespacedName) // a new spec is not to blame for the failures of the last one
	}
	p := &pass[T, S]{Loop: l, obj: obj, now: l.Clock.Now()}
	p.rebase()
	o, err := p.run(ctx)
	if err == nil && (o == nil || o.verdict != released) {
		err = p.conclude(ctx, o)
	}
	switch {
	case errors.Is(err, errGone) || err == nil && o != nil && o.verdict == released:
		l.succeed(req.NamespacedName)
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: conflictDelay}, nil // somebody else wrote first: look again
	case err != nil:
		return ctrl.Result{}, err
	}
	return l.result(ctx, obj, o)
}

// run takes the steps of a pass. Its error is one of the API server's, during which nothing is known of the outcome.
func (p *pass[T, S]) run(ctx context.Context) (*outcome, error) {
	if err := p.finalize(ctx); err != nil {
		return nil, fmt.Errorf("add finalizer: %w", err)
	}
	refs := p.refs()
	if err := p.hold(ctx, refs); err != nil {
		return nil, err
	}
	if deleting(p.obj) {
		return p.remove(ctx, refs)
	}
	if p.obj.Common().Management == v1alpha1.ManagementPaused {
		return &outcome{verdict: kept, reason: v1alpha1.PausedReason, err: errors.New("management is Paused")}, nil
	}
	blocked, err := p.gate(ctx, refs)
	if blocked != nil || err != nil {
		return p.glance(ctx, blocked), err
	}
	return p.advance(ctx, p.Kind.Plan)
}

// glance looks at an object that waits and was never looked at. What is wrong with it goes before what it waits for.
func (p *pass[T, S]) glance(ctx context.Context, blocked *outcome) *outcome {
	kind, ok := p.Kind.(Glancer[T, S])
	if !ok || blocked == nil || blocked.verdict == stalled || p.blind != nil || !kind.Unseen(p.obj) {
		return blocked
	}
	seen, err := kind.Glance(ctx, p.obj)
	p.seen = &seen
	if o := outcomeOf(err, metav1.ConditionUnknown); o != nil && o.verdict != waiting {
		return o
	}
	return blocked
}

// look observes the outside.
func (p *pass[T, S]) look(ctx context.Context) *outcome {
	seen, err := p.Kind.Observe(ctx, p.obj)
	p.seen = &seen
	return outcomeOf(err, metav1.ConditionUnknown)
}

// advance observes and takes steps until the plan has none that may be taken.
func (p *pass[T, S]) advance(ctx context.Context, plan func(T, S) []Step) (*outcome, error) {
	var last *Step
	for range maxSteps {
		if o := p.look(ctx); o != nil {
			return o, nil
		}
		steps := plan(p.obj, *p.seen)
		p.planned = true
		p.plan = planned(steps)
		if p.obj.Common().Management == v1alpha1.ManagementObserve {
			return nil, nil
		}
		next, rest := p.next(steps)
		if next == nil {
			return rest, nil
		}
		if o := p.early(); o != nil {
			return o, nil
		}
		if last != nil && next.same(*last) { // a step that changes nothing would be taken for ever
			return outcomeOf(fmt.Errorf("%s: it was done, but nothing changed outside", next.Message), metav1.ConditionFalse), nil
		}
		if o, err := p.take(ctx, *next); o != nil || err != nil {
			return o, err
		}
		last = next
	}
	return outcomeOf(Wait(v1alpha1.ProgressingReason, time.Second, errors.New("more steps follow")), ""), nil
}

// early returns the failure of the last step while it is too early to take one again.
func (p *pass[T, S]) early() *outcome {
	last, ok := p.due.Load(client.ObjectKeyFromObject(p.obj))
	if !ok || !last.(retry).of.undone || !p.now.Before(last.(retry).at) {
		return nil
	}
	return last.(retry).of
}

// next returns the first step that may be taken; with none, what the object rests on.
func (p *pass[T, S]) next(steps []Step) (*Step, *outcome) {
	var held, unapproved *outcome
	for i := range steps {
		s := &steps[i]
		switch {
		case s.Held != "":
			if held == nil {
				held = outcomeOf(rest(metav1.ConditionTrue, s.Reason, "%s: %s", s.Message, s.Held), "")
			}
		case s.Impact() == v1alpha1.ImpactDestroy && !deleting(p.obj) && !p.approved(*s):
			if unapproved == nil {
				unapproved = p.offer(*s)
			}
		default:
			return s, nil
		}
	}
	if unapproved != nil {
		return nil, unapproved
	}
	return nil, held
}

// take takes one step: what must be known first is written to the status before the outside is touched.
func (p *pass[T, S]) take(ctx context.Context, s Step) (*outcome, error) {
	var used string
	destroys := s.Impact() == v1alpha1.ImpactDestroy
	if destroys {
		if o, err := p.spend(ctx, s); o != nil || err != nil {
			return o, err
		}
		used = p.consume(s)
	}
	if s.Reserve != nil {
		s.Reserve()
	}
	if s.Reserve != nil || destroys {
		if err := p.patchStatus(ctx, client.MergeFromWithOptions(p.base, client.MergeFromWithOptimisticLock{})); err != nil {
			return nil, fmt.Errorf("reserve for %s: %w", s.Reason, err)
		}
	}
	o := outcomeOf(s.Do(ctx), metav1.ConditionFalse)
	switch {
	case o != nil && o.verdict == failed:
		o.undone = true
	case o == nil || o.verdict == waiting && o.reason == s.Reason: // done, or begun
		log.FromContext(ctx).Info(s.Message, "reason", s.Reason)
		p.event(corev1.EventTypeNormal, s.Reason, "Step", s.Message)
	case used != "" && o.verdict == waiting: // nothing was done: the approval stands
		p.restore(used)
	}
	return o, nil
}

func (p *pass[T, S]) event(kind, reason, action, note string) {
	p.Events.Eventf(p.obj, nil, kind, reason, action, "%s", clip(note, maxNote))
}

func deleting(obj Object) bool { return !obj.GetDeletionTimestamp().IsZero() }

// finalize adds the finalizer. The pass goes on afterwards: a change of metadata brings no event by itself.
func (p *pass[T, S]) finalize(ctx context.Context) error {
	if deleting(p.obj) || !controllerutil.AddFinalizer(p.obj, v1alpha1.Finalizer) {
		return nil
	}
	return p.patchMeta(ctx)
}

// patchMeta writes a change of metadata. The answer brings the status as the API server has it: unwritten changes of
// the status are lost.
func (p *pass[T, S]) patchMeta(ctx context.Context) error {
	return p.patched(p.Client.Patch(ctx, p.obj, client.MergeFromWithOptions(p.base, client.MergeFromWithOptimisticLock{})))
}

func (p *pass[T, S]) patchStatus(ctx context.Context, patch client.Patch) error {
	return p.patched(p.Client.Status().Patch(ctx, p.obj, patch))
}

// patched reads the result of a patch of the pass's object.
func (p *pass[T, S]) patched(err error) error {
	if apierrors.IsNotFound(err) {
		return errGone
	}
	if err == nil {
		p.rebase()
	}
	return err
}

func (p *pass[T, S]) rebase() { p.base = p.obj.DeepCopyObject().(T) }

// conclude writes the pass's one status patch, if there is anything to write, and the event of a new failure.
func (p *pass[T, S]) conclude(ctx context.Context, o *outcome) error {
	p.summarise(o)
	patch := client.MergeFrom(p.base)
	data, err := patch.Data(p.obj)
	if err != nil || string(data) == "{}" {
		return err
	}
	news := p.news(o)
	if err := p.patchStatus(ctx, client.MergeFrom(p.withoutSummary())); err != nil {
		return fmt.Errorf("patch status: %w", err)
	}
	if news {
		p.event(corev1.EventTypeWarning, o.reason, "Reconcile", o.Error())
	}
	return nil
}

// withoutSummary is what the API server has, as if it had no summary: a patch from it carries all of generation, plan and
// conditions. A pass that began with an old copy otherwise leaves its Ready beside the plan of the pass before.
func (p *pass[T, S]) withoutSummary() T {
	base := p.base.DeepCopyObject().(T)
	status := base.CommonStatus()
	status.ObservedGeneration, status.Plan, status.Conditions = 0, []v1alpha1.PlannedChange{{}}, nil
	return base
}

// fail says after which time an object that failed is tried again. A pass that an event brings before that time and that
// fails too does not make the wait longer.
func (l *Loop[T, S]) fail(name types.NamespacedName, o *outcome) time.Duration {
	now := l.Clock.Now()
	if last, ok := l.due.Load(name); ok && now.Before(last.(retry).at) {
		return last.(retry).at.Sub(now)
	}
	after := wait.Jitter(l.Backoff.When(name), jitter)
	l.due.Store(name, retry{now.Add(after), o})
	return after
}

// succeed forgets the failures of an object.
func (l *Loop[T, S]) succeed(name types.NamespacedName) {
	l.Backoff.Forget(name)
	l.due.Delete(name)
}

// rest is how long an object in sync is left alone.
func (l *Loop[T, S]) rest(obj T) time.Duration {
	interval := l.Interval
	if l.Pace != nil {
		interval = l.Pace(obj)
	}
	interval = wait.Jitter(interval, jitter)
	if timed, ok := l.Kind.(Timed[T]); ok {
		if at := timed.Next(obj); !at.IsZero() {
			interval = min(interval, max(at.Sub(l.Clock.Now()), minWait))
		}
	}
	return interval
}

// result says when the object is looked at again.
func (l *Loop[T, S]) result(ctx context.Context, obj T, o *outcome) (ctrl.Result, error) {
	name := client.ObjectKeyFromObject(obj)
	if o == nil {
		o = &outcome{verdict: resting}
	}
	if o.verdict != failed && o.verdict != waiting { // a wait between two failures is no success
		l.succeed(name)
	}
	switch o.verdict {
	case failed:
		after := l.fail(name, o)
		log.FromContext(ctx).Error(o.err, "reconcile", "reason", o.reason, "again", after.Round(time.Millisecond))
		return ctrl.Result{RequeueAfter: after}, nil
	case stalled: // no backoff, as nothing comes by itself; but somebody may mend outside what is refused
		log.FromContext(ctx).Error(o.err, "stalled", "reason", o.reason)
		return ctrl.Result{RequeueAfter: l.rest(obj)}, nil
	case waiting:
		return ctrl.Result{RequeueAfter: wait.Jitter(max(o.after, minWait), jitter)}, nil
	default:
		return ctrl.Result{RequeueAfter: l.rest(obj)}, nil
	}
}
