// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// box is one machine outside, and what a Guest sees of it.
type box struct {
	Owner   string
	VMID    int32
	Cores   int32
	Running bool
	Volumes []string
	busy    time.Time // a task runs until then
	task    string
}

// site is the outside: it has memory, keeps a list of what was done to it, and checks the loop's promises at every step.
type site struct {
	w     *world
	boxes map[int32]*box
	did   []string
	away  bool
	used  map[string]bool      // approval tokens that something was destroyed with
	ended map[string]time.Time // when each identity was destroyed last
	// slow is how long a creation takes as a task. 0: it is done at once.
	slow time.Duration
}

// do makes one change on behalf of a Guest, through the tap, after it has checked what the loop has promised for it.
func (s *site) do(name string, step Step, change func() error) error {
	op := step.Reason + " " + step.Identity
	return s.w.tap.pass("do "+op, func() error {
		s.check(name, step)
		if s.away {
			return errors.New("no route to host")
		}
		if err := change(); err != nil {
			return err
		}
		s.did = append(s.did, op)
		s.account(name, step)
		return nil
	})
}

// check asserts what must be true at the API server whenever the outside is changed.
func (s *site) check(name string, step Step) {
	g := s.w.get(name)
	switch {
	case g == nil:
		s.w.t.Errorf("%s for %s, which does not exist", step.Reason, name)
		return
	case !hasFinalizer(g, v1alpha1.Finalizer):
		s.w.t.Errorf("%s for %s, which has no finalizer", step.Reason, name)
	case g.Spec.Management == v1alpha1.ManagementObserve || g.Spec.Management == v1alpha1.ManagementPaused:
		s.w.t.Errorf("%s for %s, which is managed %s", step.Reason, name, g.Spec.Management)
	case step.Reason == "Create" && (g.Status.VMID == nil || step.Identity != guestID(*g.Status.VMID)):
		s.w.t.Errorf("%s without a reservation", step.Identity)
	}
	if step.Impact() != v1alpha1.ImpactDestroy {
		return
	}
	if !slices.ContainsFunc(s.w.getHost().Status.Destructions, func(d v1alpha1.Destruction) bool { return d.What == step.Identity }) {
		s.w.t.Errorf("%s of %s is not in the Host's budget", step.Reason, step.Identity)
	}
	if deleting(g) {
		if why := retained(g); why != "" {
			s.w.t.Errorf("%s of %s, but %s", step.Reason, step.Identity, why)
		}
		return
	}
	token := g.Annotations[v1alpha1.ApproveAnnotation]
	if !slices.ContainsFunc(g.Status.Approvals, func(a v1alpha1.Approval) bool { return a.Token == token && a.ConsumedAt != nil }) {
		s.w.t.Errorf("%s of %s without an approval that was consumed", step.Reason, step.Identity)
	}
}

// account asserts that an approval serves once, and that no more is destroyed within an hour than the Host allows.
func (s *site) account(name string, step Step) {
	if step.Impact() != v1alpha1.ImpactDestroy {
		return
	}
	if g := s.w.get(name); !deleting(g) {
		token := g.Annotations[v1alpha1.ApproveAnnotation]
		if s.used[token] {
			s.w.t.Errorf("%s of %s with a token that was used before", step.Reason, step.Identity)
		}
		s.used[token] = true
	}
	now := s.w.clock.Now()
	s.ended[step.Identity] = now
	within := 0
	for _, at := range s.ended {
		if now.Sub(at) < time.Hour {
			within++
		}
	}
	host := s.w.getHost()
	if within > budget(host) {
		s.w.t.Errorf("%d things were destroyed within an hour, %d are allowed", within, budget(host))
	}
}

// count says how often something was done.
func (s *site) count(op string) int {
	n := 0
	for _, d := range s.did {
		if d == op {
			n++
		}
	}
	return n
}

func (s *site) find(owner string) *box {
	for _, b := range s.boxes {
		if b.Owner == owner {
			return b
		}
	}
	return nil
}

func (s *site) free() int32 {
	for id := int32(100); ; id++ {
		if s.boxes[id] == nil {
			return id
		}
	}
}

func guestID(vmid int32) string { return fmt.Sprintf("guest %d", vmid) }

// guestKind brings boxes to what Guests say: cores, power, and volumes, which are the Guest's tags.
type guestKind struct {
	w        *world
	observed int
	// The rest changes the kind for one test; nil: as it is.
	refs    func(*v1alpha1.Guest) []Ref
	observe func(*v1alpha1.Guest) error
	plan    func(*v1alpha1.Guest, box) []Step
	removal func(*v1alpha1.Guest, box) []Step
}

func (k *guestKind) Refs(g *v1alpha1.Guest) []Ref {
	var refs []Ref
	if g.Spec.HostRef.Name != "" {
		refs = append(refs, Through("Host", g.Spec.HostRef.Name, v1alpha1.ReachableCondition))
	}
	if c := g.Spec.CloudInit; c != nil && c.SSHKeysSecretRef != nil {
		refs = append(refs, HeldSecret(c.SSHKeysSecretRef.Name))
	}
	if k.refs != nil {
		refs = append(refs, k.refs(g)...)
	}
	return refs
}

func (k *guestKind) Observe(_ context.Context, g *v1alpha1.Guest) (box, error) {
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	k.observed++
	if k.observe != nil {
		if err := k.observe(g); err != nil {
			return box{}, err
		}
	}
	if k.w.site.away {
		return box{}, errors.New("no route to host")
	}
	b := k.w.site.find(g.Name)
	if b == nil {
		return box{}, nil
	}
	if left := b.busy.Sub(k.w.clock.Now()); left > 0 {
		return *b, Wait(b.task, left, errors.New("the task runs"))
	}
	return *b, nil
}

func (k *guestKind) Plan(g *v1alpha1.Guest, seen box) []Step {
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	if k.plan != nil {
		return k.plan(g, seen)
	}
	if seen.VMID == 0 {
		return []Step{k.create(g)}
	}
	var steps []Step
	if want := *g.Spec.Cores; want != seen.Cores {
		steps = append(steps, k.step(g, Step{
			Reason: "SetCores", Message: "set the cores", Held: pending(g, seen),
			Changes: []Change{{"cores", fmt.Sprint(seen.Cores), fmt.Sprint(want), v1alpha1.ImpactRestart}},
		}, func(b *box) { b.Cores = want }))
	}
	steps = append(steps, k.volumes(g, seen)...)
	if on := g.Spec.Power != v1alpha1.PowerStopped; on != seen.Running {
		steps = append(steps, k.step(g, Step{
			Reason: "SetPower", Message: "set the power",
			Changes: []Change{{"power", fmt.Sprint(seen.Running), fmt.Sprint(on), v1alpha1.ImpactOutage}},
		}, func(b *box) { b.Running = on }))
	}
	return steps
}

func pending(g *v1alpha1.Guest, seen box) string {
	if seen.Running && g.Spec.RestartPolicy == v1alpha1.RestartNever {
		return "restartPolicy is Never"
	}
	return ""
}

func (k *guestKind) create(g *v1alpha1.Guest) Step {
	vmid := k.w.site.free()
	if r := g.Status.VMID; r != nil && k.w.site.boxes[*r] == nil {
		vmid = *r
	}
	s := Step{
		Reason: "Create", Message: "create " + guestID(vmid), Identity: guestID(vmid), Changes: []Change{{To: g.Name}},
		Reserve: func() { g.Status.VMID = &vmid },
	}
	name := g.Name
	s.Do = func(context.Context) error {
		site := k.w.site
		err := site.do(name, s, func() error {
			if site.boxes[vmid] != nil {
				return fmt.Errorf("guest %d exists", vmid)
			}
			site.boxes[vmid] = &box{Owner: name, VMID: vmid, Cores: 1, task: s.Reason, busy: k.w.clock.Now().Add(site.slow)}
			return nil
		})
		if err == nil && site.slow > 0 {
			return Wait(s.Reason, site.slow, errors.New("the task runs"))
		}
		return err
	}
	return s
}

// volumes adds what the Guest declares and the box does not have, and destroys what only the box has.
func (k *guestKind) volumes(g *v1alpha1.Guest, seen box) []Step {
	var steps []Step
	for _, v := range g.Spec.Tags {
		if !slices.Contains(seen.Volumes, v) {
			steps = append(steps, k.step(g, Step{
				Reason: "AddVolume", Message: "add volume " + v, Identity: "volume " + v, Changes: []Change{{"tags", "", v, v1alpha1.ImpactNone}},
			}, func(b *box) { b.Volumes = append(b.Volumes, v) }))
		}
	}
	for _, v := range seen.Volumes {
		if !slices.Contains(g.Spec.Tags, v) {
			steps = append(steps, k.step(g, Step{
				Reason: "DestroyVolume", Message: "destroy volume " + v, Identity: "volume " + v, Changes: []Change{{"tags", v, "", v1alpha1.ImpactDestroy}},
			}, func(b *box) { b.Volumes = slices.DeleteFunc(b.Volumes, func(have string) bool { return have == v }) }))
		}
	}
	return steps
}

// step gives a step what it does to the Guest's box.
func (k *guestKind) step(g *v1alpha1.Guest, s Step, change func(*box)) Step {
	name := g.Name
	s.Do = func(context.Context) error {
		return k.w.site.do(name, s, func() error {
			b := k.w.site.find(name)
			if b == nil {
				return errors.New("there is no such guest")
			}
			change(b)
			return nil
		})
	}
	return s
}

func (k *guestKind) Remove(g *v1alpha1.Guest, seen box) []Step {
	if k.removal != nil {
		return k.removal(g, seen)
	}
	if seen.VMID == 0 {
		return nil
	}
	var steps []Step
	if seen.Running {
		steps = append(steps, k.step(g, Step{Reason: "Stop", Message: "stop " + guestID(seen.VMID), Changes: []Change{{"power", "true", "false", v1alpha1.ImpactOutage}}},
			func(b *box) { b.Running = false }))
	}
	return append(steps, k.step(g, Step{
		Reason: "Destroy", Message: "destroy " + guestID(seen.VMID), Identity: guestID(seen.VMID), Changes: []Change{{From: g.Name, Impact: v1alpha1.ImpactDestroy}},
	}, func(b *box) { delete(k.w.site.boxes, b.VMID) }))
}

func (k *guestKind) Report(g *v1alpha1.Guest, seen box) []Condition {
	if seen.VMID == 0 {
		return []Condition{{v1alpha1.ReachableCondition, metav1.ConditionFalse, "Creating", "it is being created"}}
	}
	g.Status.VMID = &seen.VMID
	if !seen.Running {
		return []Condition{{v1alpha1.ReachableCondition, metav1.ConditionFalse, "Stopped", "it is off"}}
	}
	return []Condition{{v1alpha1.ReachableCondition, metav1.ConditionTrue, "Answers", "it answers"}}
}

// hostKind sees whether the site is there. It has nothing to do.
type hostKind struct{ w *world }

func (k hostKind) Refs(h *v1alpha1.Host) []Ref { return []Ref{HeldSecret(h.Spec.TokenSecretRef.Name)} }

func (k hostKind) Observe(context.Context, *v1alpha1.Host) (bool, error) {
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	if k.w.site.away {
		return false, Fail("Unreachable", errors.New("no route to host"))
	}
	return true, nil
}

func (k hostKind) Plan(*v1alpha1.Host, bool) []Step   { return nil }
func (k hostKind) Remove(*v1alpha1.Host, bool) []Step { return nil }

func (k hostKind) Report(_ *v1alpha1.Host, there bool) []Condition {
	if there {
		return []Condition{{v1alpha1.ReachableCondition, metav1.ConditionTrue, "Answers", "the API answers"}}
	}
	return []Condition{{v1alpha1.ReachableCondition, metav1.ConditionFalse, "Unreachable", "no route to host"}}
}

// with returns what of the journal begins with a prefix.
func with(journal []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(journal), func(op string) bool { return !strings.HasPrefix(op, prefix) })
}
