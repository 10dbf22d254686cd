// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

func mergeFrom(o client.Object) client.Patch {
	return client.MergeFromWithOptions(o.DeepCopyObject().(client.Object), client.MergeFromWithOptimisticLock{})
}

// routerChange is the change of the router's file.
func routerChange(seen *Seen) reconcile.Change {
	return reconcile.Change{
		Field: "router " + seen.router.service.Name, From: brief(seen.router.sum(seen.atRouter)), To: brief(seen.router.sum(seen.want.routerSums)),
		Impact: v1alpha1.ImpactNone,
	}
}

// brief is a hash in short.
func brief(sum string) string { return sum[:min(len(sum), 12)] }

// programStep gives the router its file. What is there is kept to go back to, if it is good, or nothing.
func (k *Kind) programStep(r *v1alpha1.Route, seen *Seen) reconcile.Step {
	router, want := seen.router, seen.want.router
	there := router.sum(seen.atRouter)
	keep := len(seen.atRouter) == 0 || there != "" && seen.memory.good == there
	name := nameOf(r)
	return reconcile.Step{
		Reason: ProgrammingReason, Message: fmt.Sprintf("program %s on %s", hostsOf(r), router), Identity: "file " + router.prefix + routerSuffix,
		Changes: []reconcile.Change{routerChange(seen)},
		Do: func(ctx context.Context) error {
			err := router.folder().Put(ctx, router.prefix, want, keep)
			k.folders.wrote(ctx, router, k.Clock.Now())
			k.memory.change(name, func(known *remembered) { known.missed, known.wrote = "", time.Now() })
			return machineError(err)
		},
	}
}

// atOnce is both steps, which are for two machines, at the same time.
func atOnce(a, b reconcile.Step) reconcile.Step {
	return reconcile.Step{
		Reason: a.Reason, Message: a.Message + ", " + b.Message, Identity: a.Identity + ", " + b.Identity, Changes: slices.Concat(a.Changes, b.Changes),
		Do: func(ctx context.Context) error {
			other := make(chan error, 1)
			go func() { other <- b.Do(ctx) }()
			return cmp.Or(a.Do(ctx), <-other)
		},
	}
}

// rollBackStep has the router go back to what was good before, and notes first what is not to be tried again.
func (k *Kind) rollBackStep(r *v1alpha1.Route, seen *Seen) reconcile.Step {
	router, hash, words := seen.router, seen.want.hash, seen.words()
	again, slow := refusedFor, 0
	if !seen.state.Loaded {
		again, slow = slowWait(seen.memory.slow), seen.memory.slow+1
	}
	name := nameOf(r)
	change := reconcile.Change{Field: "router " + router.service.Name, From: brief(router.sum(seen.atRouter)), Impact: v1alpha1.ImpactNone}
	return reconcile.Step{
		Reason: RollingBackReason, Message: fmt.Sprintf("put back what was before on %s, which rejects the Route: %s", router, words),
		Identity: "file " + router.prefix + routerSuffix, Changes: []reconcile.Change{change},
		Reserve: func() { r.Status.Refused, r.Status.Refusal = hash, clip(words, maxRefusal) },
		Do: func(ctx context.Context) error {
			_, err := router.folder().Restore(ctx, router.prefix)
			now := k.Clock.Now()
			k.folders.wrote(ctx, router, now)
			k.memory.change(name, func(known *remembered) { known.refused, known.again, known.slow = hash, now.Add(again), slow })
			return machineError(err)
		},
	}
}

// slowWait is how long a file is not tried again that a router did not take in time, for the first time or again. One that it
// cannot read keeps it from taking any: so the others that are put back with it come apart from it, and it comes ever less often.
func slowWait(before int) time.Duration {
	return min(wait.Jitter(slowFor<<min(before, 10), 1), refusedFor)
}

// admitStep gives the gateway its files. Where another Route still has one of the hosts, this one gives up what that one may
// be waiting for in its turn, as when two change their hosts for each other's.
func (k *Kind) admitStep(seen *Seen) reconcile.Step {
	gateway, want := seen.gateway, seen.want
	return reconcile.Step{
		Reason: AdmittingReason, Message: "admit clients on " + gateway.String(), Identity: "files " + gateway.prefix,
		Changes: fileChanges(gateway, seen.atGateway, seen.want.gatewaySums),
		Do: func(ctx context.Context) error {
			err := gateway.folder().Put(ctx, gateway.prefix, want.gateway, false)
			if conflicts(err) {
				err = errors.Join(err, yield(ctx, gateway, want))
			}
			k.folders.wrote(ctx, gateway, k.Clock.Now())
			return gatewayError(gateway, err)
		},
	}
}

// conflicts says whether a gateway refuses files because another Route's have one of the hosts.
func conflicts(err error) bool {
	var refused *machine.RefusedError
	return errors.As(err, &refused) && strings.Contains(refused.Output, "conflicting parameter")
}

// yield gives a gateway the files in a way that stands back behind every other Route's.
func yield(ctx context.Context, gateway *side, want wanted) error {
	files, err := want.yielding()
	if err != nil {
		return err
	}
	return gateway.folder().Put(ctx, gateway.prefix, files, false)
}

// fileChanges are the files that differ.
func fileChanges(s *side, from, to files) []reconcile.Change {
	var changes []reconcile.Change
	for _, name := range slices.Sorted(maps.Keys(union(from, to))) {
		if from[name] != to[name] {
			changes = append(changes, reconcile.Change{
				Field: "gateway " + s.service.Name + " " + strings.TrimPrefix(name, s.prefix+"."), From: brief(from[name]), To: brief(to[name]), Impact: v1alpha1.ImpactReload,
			})
		}
	}
	return changes
}

func union(a, b files) files {
	all := maps.Clone(b)
	if all == nil {
		all = files{}
	}
	maps.Copy(all, a)
	return all
}

// gatewayError reads what a gateway says to new files. A host that another Route still has there is handed over by that one.
func gatewayError(gateway *side, err error) error {
	var refused *machine.RefusedError
	var unheard *machine.RefreshError
	switch {
	case conflicts(err):
		return reconcile.Wait(HandingOverReason, handOver, fmt.Errorf("waiting for another Route to hand over a host on %s: %w", gateway, err))
	case errors.As(err, &refused), errors.As(err, &unheard):
		return reconcile.Fail(RejectedByGatewayReason, fmt.Errorf("%s rejects it: %w", gateway, err))
	}
	return machineError(err)
}

// withdrawSteps take the files away: those of the gateway first, so that nobody is sent where nobody answers; those of the
// router, where somebody else would be let in to it.
func (k *Kind) withdrawSteps(r *v1alpha1.Route, seen *Seen, taken bool) []reconcile.Step {
	why := hostsOf(r)
	if taken {
		why = "an older Route has the place"
	}
	var steps []reconcile.Step
	for _, one := range []struct {
		*side
		files
	}{{seen.gateway, seen.atGateway}, {seen.router, seen.atRouter}} {
		if one.side != nil && len(one.files) > 0 {
			steps = append(steps, k.withdrawStep(one.side, why))
		}
	}
	if seen.exposed {
		slices.Reverse(steps)
	}
	return steps
}

func (k *Kind) withdrawStep(s *side, why string) reconcile.Step {
	return reconcile.Step{
		Reason: WithdrawingReason, Message: fmt.Sprintf("withdraw from %s: %s", s, why), Identity: "files " + s.prefix + " on " + s.String(),
		Changes: []reconcile.Change{{Field: s.String(), From: s.prefix, Impact: v1alpha1.ImpactReload}},
		Do: func(ctx context.Context) error {
			err := s.folder().Put(ctx, s.prefix, nil, false)
			k.folders.wrote(ctx, s, k.Clock.Now())
			return gatewayError(s, err)
		},
	}
}
