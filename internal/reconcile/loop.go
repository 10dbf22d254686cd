// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
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
	ctrlreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	// maxSteps bounds how many steps one pass takes, so that one object cannot hold a worker.
	maxSteps = 16
	// conflictDelay is the wait after somebody else changed the object at the same time.
	conflictDelay = 100 * time.Millisecond
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
	// Backoff says how long to wait after a failure. Default: from 1 s, doubling, to 5 min.
	Backoff workqueue.TypedRateLimiter[types.NamespacedName]
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
	now     time.Time
}

// Reconcile makes one pass over the named object.
func (l *Loop[T, S]) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	obj := l.New()
	if err := l.Client.Get(ctx, req.NamespacedName, obj); err != nil {
		l.Backoff.Forget(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !obj.GetDeletionTimestamp().IsZero() && !controllerutil.ContainsFinalizer(obj, v1alpha1.Finalizer) {
		return ctrl.Result{}, nil
	}
	p := &pass[T, S]{Loop: l, obj: obj, now: l.Clock.Now()}
	p.rebase()
	o, err := p.run(ctx)
	if err == nil && (o == nil || o.verdict != released) {
		err = p.conclude(ctx, o)
	}
	switch {
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: conflictDelay}, nil // somebody else wrote first: look again
	case err != nil:
		return ctrl.Result{}, client.IgnoreNotFound(err)
	case o != nil && o.verdict == released:
		l.Backoff.Forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	return l.result(ctx, req.NamespacedName, o)
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
	if !p.obj.GetDeletionTimestamp().IsZero() {
		return p.remove(ctx, refs)
	}
	if p.obj.Common().Management == v1alpha1.ManagementPaused {
		return &outcome{verdict: kept, reason: v1alpha1.PausedReason, err: errors.New("management is Paused")}, nil
	}
	blocked, err := p.gate(ctx, refs)
	if blocked != nil || err != nil {
		return blocked, err
	}
	return p.advance(ctx, p.Kind.Plan)
}

// advance observes and takes steps until the plan has none that may be taken.
func (p *pass[T, S]) advance(ctx context.Context, plan func(T, S) []Step) (*outcome, error) {
	for range maxSteps {
		seen, err := p.Kind.Observe(ctx, p.obj)
		p.seen = &seen
		if err != nil {
			return outcomeOf(err, metav1.ConditionUnknown), nil
		}
		steps := plan(p.obj, seen)
		p.planned = true
		p.plan = planned(steps)
		if p.obj.Common().Management == v1alpha1.ManagementObserve {
			return nil, nil
		}
		next, rest := p.next(steps)
		if next == nil {
			return rest, nil
		}
		o, err := p.take(ctx, *next)
		if o != nil || err != nil {
			return o, err
		}
	}
	return outcomeOf(Wait(v1alpha1.ProgressingReason, time.Second, errors.New("more steps follow")), ""), nil
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
		case s.Impact() == v1alpha1.ImpactDestroy && p.obj.GetDeletionTimestamp().IsZero() && !p.approved(*s):
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
	destroys := s.Impact() == v1alpha1.ImpactDestroy
	if destroys {
		if s.Identity == "" {
			return nil, ctrlreconcile.TerminalError(fmt.Errorf("step %s destroys without an identity", s.Reason))
		}
		if o, err := p.spend(ctx, s.Identity); o != nil || err != nil {
			return o, err
		}
		p.consume(s)
	}
	if s.Reserve != nil {
		s.Reserve()
	}
	if s.Reserve != nil || destroys {
		if err := p.patchStatus(ctx, client.MergeFromWithOptions(p.base, client.MergeFromWithOptimisticLock{})); err != nil {
			return nil, fmt.Errorf("reserve for %s: %w", s.Reason, err)
		}
	}
	err := s.Do(ctx)
	o := outcomeOf(err, metav1.ConditionFalse)
	if o == nil || o.verdict == waiting && o.reason == s.Reason { // done, or begun
		log.FromContext(ctx).Info(s.Message, "reason", s.Reason)
		p.Events.Eventf(p.obj, nil, corev1.EventTypeNormal, s.Reason, "Step", "%s", clip(s.Message, maxNote))
	}
	return o, nil
}

// finalize adds the finalizer. The pass goes on afterwards: a change of metadata brings no event by itself.
func (p *pass[T, S]) finalize(ctx context.Context) error {
	if !p.obj.GetDeletionTimestamp().IsZero() || !controllerutil.AddFinalizer(p.obj, v1alpha1.Finalizer) {
		return nil
	}
	return p.patchMeta(ctx)
}

// patchMeta writes a change of metadata and keeps the status in hand.
func (p *pass[T, S]) patchMeta(ctx context.Context) error {
	if err := p.Client.Patch(ctx, p.obj, client.MergeFromWithOptions(p.base, client.MergeFromWithOptimisticLock{})); err != nil {
		return err
	}
	p.rebase()
	return nil
}

func (p *pass[T, S]) rebase() { p.base = p.obj.DeepCopyObject().(T) }

func (p *pass[T, S]) patchStatus(ctx context.Context, patch client.Patch) error {
	if err := p.Client.Status().Patch(ctx, p.obj, patch); err != nil {
		return err
	}
	p.rebase()
	return nil
}

// conclude writes the pass's one status patch, if there is anything to write, and the event of a new failure.
func (p *pass[T, S]) conclude(ctx context.Context, o *outcome) error {
	p.summarise(o)
	patch := client.MergeFrom(p.base)
	data, err := patch.Data(p.obj)
	if err != nil || string(data) == "{}" {
		return err
	}
	news := p.news(o)
	if err := p.patchStatus(ctx, patch); err != nil {
		return fmt.Errorf("patch status: %w", err)
	}
	if news {
		p.Events.Eventf(p.obj, nil, corev1.EventTypeWarning, o.reason, "Reconcile", "%s", clip(o.Error(), maxNote))
	}
	return nil
}

// result says when the object is looked at again.
func (l *Loop[T, S]) result(ctx context.Context, name types.NamespacedName, o *outcome) (ctrl.Result, error) {
	if o == nil {
		o = &outcome{verdict: resting}
	}
	if o.verdict != failed {
		l.Backoff.Forget(name)
	}
	switch o.verdict {
	case failed:
		after := wait.Jitter(l.Backoff.When(name), jitter)
		log.FromContext(ctx).Error(o.err, "reconcile", "reason", o.reason, "again", after.Round(time.Millisecond))
		return ctrl.Result{RequeueAfter: after}, nil
	case stalled:
		return ctrl.Result{}, ctrlreconcile.TerminalError(o.err)
	case waiting:
		return ctrl.Result{RequeueAfter: wait.Jitter(o.after, jitter)}, nil
	default:
		return ctrl.Result{RequeueAfter: wait.Jitter(l.Interval, jitter)}, nil
	}
}
