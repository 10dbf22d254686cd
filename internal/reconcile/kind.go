// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package reconcile is the loop that every kind shares: it brings the outside to what an object's spec says, one
// observed step after the other, and says in the object's status how far it is.
//
// A kind only says what it refers to, what it sees, and which steps lead from there to the spec. Finalizers, conditions,
// order, approval, the destruction budget, events and backoff are the loop's, so that they are the same everywhere.
package reconcile

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// Object is a Phoenix object as the loop handles it.
type Object interface {
	client.Object
	v1alpha1.Object
}

// Kind is what one kind has to say for itself. S is what it sees outside.
type Kind[T Object, S any] interface {
	// Refs says what obj refers to. Gates, watches, deletion order and the graph come from here. It is pure.
	Refs(obj T) []Ref
	// Observe reads the outside and changes nothing there. What it returns beside an error still reaches Report, so
	// that a kind can say how far it came. A plain error makes Ready Unknown and is tried again; see [Wait], [Fail] and
	// [Stall] for the other outcomes.
	Observe(ctx context.Context, obj T) (S, error)
	// Plan returns the ordered steps that lead from seen to obj's spec; none when they agree. It is pure. A step that is
	// held or waits for an approval is passed over, so a later one must not build on it.
	Plan(obj T, seen S) []Step
	// Remove returns the ordered steps that clear obj's place outside; none when it is clear. It is pure and creates nothing.
	Remove(obj T, seen S) []Step
	// Report writes what was seen to obj's status, and returns the kind's own conditions. It is pure. With an S that
	// came beside an error it must leave alone what that S does not know.
	Report(obj T, seen S) []Condition
}

// Timed is a Kind for whose objects time alone makes something due, such as the renewal of a certificate.
type Timed[T Object] interface {
	// Next is when an object in sync must be looked at again, by its status; zero: when its interval ends. It is pure.
	Next(obj T) time.Time
}

// Glancer is a Kind whose objects others build on: what it reports of one that was never looked at is known even while the
// object waits for what it refers to. Else two that refer to each other, one softly, could wait for each other, or one would
// take what is not known yet for what is not there.
type Glancer[T Object, S any] interface {
	// Unseen says, by the status, that nothing is known yet of what obj stands for. It is pure.
	Unseen(obj T) bool
	// Glance is Observe without what only a plan needs: no step follows it.
	Glance(ctx context.Context, obj T) (S, error)
}

// Step is one idempotent change of the outside that takes seconds at most. What takes longer is begun by Do and seen by
// the next Observe.
type Step struct {
	// Reason is the step's name in one CamelCase word; the event, the log line and the plan entries bear it.
	Reason string
	// Message says in a few words what the step does: "create container 103 on phoenix".
	Message string
	// Identity is what the step touches outside, such as "guest 103" or "volume local-lvm:vm-103-disk-1".
	// A step of impact Destroy must have one: the approval and the destruction budget name it.
	Identity string
	// Held says why the step is shown but not taken, such as "restartPolicy is Never". Empty: it is taken. An object
	// with nothing but held steps left is Ready, with the first one's Reason.
	Held string
	// Changes are the differences that the step clears; status.plan shows them. One call may carry many.
	Changes []Change
	// Reserve writes to obj.status what must be known before Do, such as a VMID. The status is patched with the
	// optimistic lock first. May be nil.
	Reserve func()
	// Do makes the change. Errors are read like Observe's, but make Ready False. What was begun and goes on by itself
	// is a Wait with the step's Reason; a Wait with any other reason says that nothing was done yet.
	Do func(ctx context.Context) error
}

// Change is one difference that a step clears.
type Change struct {
	// Field of the spec, such as "networks[net0].bridge"; From and To are the values, empty where there is none.
	Field, From, To string
	// Impact on those who use the thing.
	Impact v1alpha1.Impact
}

// Condition is one of a kind's own conditions as observed.
type Condition struct {
	Type            string
	Status          metav1.ConditionStatus
	Reason, Message string
}

// impacts in the order of what they cost.
var impacts = map[v1alpha1.Impact]int{
	v1alpha1.ImpactNone: 0, v1alpha1.ImpactReload: 1, v1alpha1.ImpactRestart: 2, v1alpha1.ImpactOutage: 3, v1alpha1.ImpactDestroy: 4,
}

// Impact of a step is the worst of its changes'.
func (s Step) Impact() v1alpha1.Impact {
	worst := v1alpha1.ImpactNone
	for _, c := range s.Changes {
		if impacts[c.Impact] > impacts[worst] {
			worst = c.Impact
		}
	}
	return worst
}

// same says whether two steps of one kind would do the same.
func (s Step) same(other Step) bool {
	return s.Reason == other.Reason && s.Identity == other.Identity && s.Message == other.Message && slices.Equal(s.Changes, other.Changes)
}

// Ref is what one object says of another one, or of a Secret or ConfigMap, in its namespace.
type Ref struct {
	// Kind and Name of the target. Kind is one of this API group's, "Secret", or, of a kind that has them watched,
	// "ConfigMap": those two are no targets of hard references. Without a Name, every object of the kind
	// in the namespace is meant; such a reference is soft.
	Kind, Name string
	// Condition of the target that must be True before a step is taken. Empty: nothing waits.
	Condition string
	// Keeps says that the target is not removed while the object exists.
	Keeps bool
	// Needed says that all work goes through the target. While it is not as it must be, the object cannot be seen: its
	// own conditions are Unknown. Once it is gone, nothing is left to clean up through it.
	Needed bool
	// Blinds says of a target that is not Needed that the object is seen through it all the same: while it is not as it must
	// be, the object's own conditions are Unknown. There is something to clean up when it is gone.
	Blinds bool
	// Vanishes says that what the object stands for outside goes with the target: once that is gone, or is being deleted
	// by a policy that destroys it, nothing is left to clean.
	Vanishes bool
	// Held says that the target, a Secret, must outlive the object: it gets the in-use finalizer.
	Held bool
}

// Through is a hard reference to what all work goes through: it gates, orders deletion, and clean-up needs it.
func Through(kind, name, condition string) Ref {
	return Ref{Kind: kind, Name: name, Condition: condition, Keeps: true, Needed: true}
}

// Hard is a reference that gates the next step and orders deletion.
func Hard(kind, name, condition string) Ref {
	return Ref{Kind: kind, Name: name, Condition: condition, Keeps: true}
}

// Soft is a reference by which a change re-queues; nothing waits, nothing blocks deletion.
func Soft(kind, name string) Ref { return Ref{Kind: kind, Name: name} }

// Every is a soft reference to all objects of a kind: a change of any of them re-queues, and so does a new one.
func Every(kind string) Ref { return Ref{Kind: kind} }

// HeldSecret is a reference to a Secret that a clean-up will need.
func HeldSecret(name string) Ref { return Ref{Kind: "Secret", Name: name, Held: true} }

// refsOf returns what the object refers to: what its kind says, and dependsOn.
func refsOf(obj Object, own []Ref) []Ref {
	refs := slices.Clone(own)
	for _, d := range obj.Common().DependsOn {
		refs = append(refs, Hard(d.Kind, d.Name, v1alpha1.ReadyCondition))
	}
	return refs
}
