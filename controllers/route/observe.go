// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/nginx"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
)

// Seen is what one observation of a Route found. It holds keys, and is never printed.
type Seen struct {
	now time.Time
	// known says that everything that a plan needs was read.
	known bool
	// refusal says why nothing more was read.
	refusal error

	gateway, router *side // nil: gone
	strays          []*side
	unasked         []*problem // sides that may have files of the Route, and say nothing now
	taken           string
	shared          []string
	// exposed says that the gateway is to know the hosts for as long as the router does.
	exposed bool
	to      ends
	pair    *pair
	own     certificateSeen
	memory  remembered

	want          wanted
	atGateway     files
	atRouter      files
	kept          bool // something is kept on the router to go back to
	state         traefik.State
	asked         bool // state is known
	lastChange    time.Time
	routerProblem error
	sight         *sight
	sightProblem  error
}

// wanted is what a Route is to have in its two folders.
type wanted struct {
	router, gateway         machine.Entry
	routerSums, gatewaySums files
	version                 string
	// hash is a keyed hash of what the router is to have.
	hash string
	// yielding is what the gateway may have in any case: see nginx.RouteEntry.Shared.
	yielding func() (machine.Entry, error)
}

// Observe finds out what the Route is to have in its folders, what is there, and, once both agree, what is served.
func (k *Kind) Observe(ctx context.Context, r *v1alpha1.Route) (Seen, error) {
	seen := Seen{now: k.Clock.Now(), memory: k.memory.of(nameOf(r))}
	from := k.reader(r.Namespace)
	var err error
	if r.DeletionTimestamp.IsZero() {
		err = k.lookAround(ctx, r, from, &seen)
		k.memory.depends(nameOf(r), from.read)
	} else {
		err = k.lookBack(ctx, r, from, &seen)
	}
	seen.refusal, seen.known = err, err == nil
	return seen, err
}

// lookAround observes a Route that is to be served.
func (k *Kind) lookAround(ctx context.Context, r *v1alpha1.Route, from *reader, seen *Seen) (err error) {
	if seen.gateway, seen.router, err = k.sides(ctx, r, from); err != nil {
		return err
	}
	c, err := k.claimOf(ctx, r)
	if err != nil {
		return err
	}
	if seen.exposed, err = k.exposed(ctx, r); err != nil {
		return err
	}
	if seen.taken, seen.shared = c.taken, c.shared; seen.taken != "" {
		if err := k.lookAtFolders(ctx, r, seen); err != nil {
			return err
		}
		return k.lookForStrays(ctx, r, from, seen)
	}
	if seen.own, err = k.ownCertificateOf(ctx, r, from); err != nil || seen.own.due(r) {
		return err
	}
	if err := k.decide(ctx, r, from, seen); err != nil {
		return err
	}
	k.recall(r, seen)
	if err := k.lookAtFolders(ctx, r, seen); err != nil {
		return err
	}
	k.lookAtRouter(ctx, r, seen)
	k.lookAtScene(ctx, r, seen)
	return k.lookForStrays(ctx, r, from, seen)
}

// decide finds out what is to be in the folders.
func (k *Kind) decide(ctx context.Context, r *v1alpha1.Route, from *reader, seen *Seen) (err error) {
	if seen.to, err = resolve(ctx, r, from); err != nil {
		return err
	}
	if err := k.leadsOn(ctx, r, from, seen); err != nil {
		return err
	}
	if err := cmp.Or(k.covered(ctx, r, seen.gateway, from), answerers(ctx, r, from)); err != nil {
		return err
	}
	if seen.pair, err = k.ownPair(ctx, r, from); err != nil {
		return err
	}
	secrets, err := k.gather(ctx, r, from)
	if err != nil {
		return err
	}
	seen.want, err = render(r, seen, secrets)
	return err
}

// render writes what is to be in the folders. Its error is an outcome.
func render(r *v1alpha1.Route, seen *Seen, secrets sources) (wanted, error) {
	var w wanted
	content, version, err := translate(r, seen.router.prefix, seen.to, secrets).Render()
	if err != nil {
		return w, reconcile.Stall(InvalidReason, err)
	}
	entry := nginx.RouteEntry{
		About: aboutOf(r), Hosts: r.Spec.Hosts, Shared: seen.shared, Router: seen.router.service.Name,
		Internal: exposureOf(r) == v1alpha1.ExposeInternal, TCP: r.Spec.TCP != nil, Kept: seen.gateway.service.Spec.Nginx.PassThrough != nil,
	}
	if seen.pair != nil {
		entry.Certificate, entry.Key = seen.pair.chain, seen.pair.key
	}
	if w.gateway, err = nginx.RouteFiles(seen.gateway.options.Path, seen.gateway.prefix, entry); err != nil {
		return w, reconcile.Stall(InvalidReason, err)
	}
	w.yielding = func() (machine.Entry, error) {
		entry.Shared = entry.Hosts
		return nginx.RouteFiles(seen.gateway.options.Path, seen.gateway.prefix, entry)
	}
	w.router, w.version = machine.Entry{seen.router.prefix + routerSuffix: content}, version
	w.routerSums, w.gatewaySums = sumsOf(w.router), sumsOf(w.gateway)
	mac := hmac.New(sha256.New, []byte(markOf(r, seen.router.host)))
	mac.Write(content)
	w.hash = hex.EncodeToString(mac.Sum(nil))[:16]
	return w, nil
}

// recall finds out until when what was rejected is not tried again. Another manager may have seen it rejected.
func (k *Kind) recall(r *v1alpha1.Route, seen *Seen) {
	if r.Status.Refused != seen.want.hash || seen.memory.refused == seen.want.hash {
		return
	}
	k.memory.change(nameOf(r), func(known *remembered) {
		known.refused, known.again = seen.want.hash, seen.now.Add(refusedFor)
		seen.memory = *known
	})
}

// sum is the router's file among files.
func (s *side) sum(all files) string { return all[s.prefix+routerSuffix] }

// lookAtFolders looks at both folders at once.
func (k *Kind) lookAtFolders(ctx context.Context, r *v1alpha1.Route, seen *Seen) error {
	atGateway, atRouter := seen.want.gatewaySums, seen.want.routerSums
	if observes(r) {
		atGateway, atRouter = nil, nil
	}
	done := make(chan error, 1)
	go func() {
		var err error
		seen.atGateway, _, err = k.folders.seen(ctx, seen.gateway, atGateway, seen.now)
		done <- err
	}()
	var err error
	seen.atRouter, seen.kept, err = k.folders.seen(ctx, seen.router, atRouter, seen.now)
	return machineError(cmp.Or(err, <-done))
}

// lookAtRouter asks the router what it has loaded, where that matters: of what is there already, and of what is about to be
// replaced and may have to come back.
func (k *Kind) lookAtRouter(ctx context.Context, r *v1alpha1.Route, seen *Seen) {
	there, want := seen.router.sum(seen.atRouter), seen.router.sum(seen.want.routerSums)
	agrees := seen.atRouter.same(seen.want.routerSums)
	if there == "" || !agrees && seen.memory.good == there || agrees && len(seen.atGateway) == 0 && !observes(r) {
		return
	}
	version := seen.want.version
	if !agrees {
		version = k.versionOf(ctx, seen, there)
	}
	runtime, err := k.taken(ctx, seen.router, version, seen.memory.wrote)
	if err != nil {
		seen.routerProblem = err
		return
	}
	seen.state, seen.asked, seen.lastChange = runtime.Look(seen.router.prefix, version), true, runtime.since
	k.memory.change(nameOf(r), func(known *remembered) {
		switch {
		case seen.state.Loaded && len(seen.state.Errors) == 0:
			known.good = there
			if agrees {
				known.missed, known.slow = "", 0
			}
		case agrees && !seen.state.Loaded && known.missed != want:
			known.missed, known.missedAt = want, seen.now
		}
		known.file, known.version = there, version
		seen.memory = *known
	})
}

// lookAtScene looks at what is served, once all is in its place.
func (k *Kind) lookAtScene(ctx context.Context, r *v1alpha1.Route, seen *Seen) {
	if !seen.serves() {
		return
	}
	o := scene{
		hosts: r.Spec.Hosts, publishes: len(r.Spec.DNSRefs) > 0, tcp: r.Spec.TCP != nil, router: seen.router,
		address: seen.gateway.address(), port: gatewayPorts(seen.gateway.service)[1], down: seen.state.Down,
	}
	for _, t := range seen.to.targets {
		if t.weight > 0 {
			o.servers = append(o.servers, t)
		}
	}
	if seen.pair != nil {
		o.leaf = seen.pair.leaf.Raw
	}
	o.of = fmt.Sprint(seen.want.hash, o.address, o.port, o.publishes, o.down, sortedSums(seen.want.gatewaySums))
	s, err := k.sightOf(ctx, nameOf(r), o, seen.now)
	if last, ok := lastSight(r, o); ok && reconcile.ReasonOf(err) == LookingReason {
		s, err = last, nil
	}
	if err != nil {
		seen.sightProblem = err
		return
	}
	seen.sight = &s
}

// lastSight is what was seen of this generation when all was well, by the status: a manager that is new takes its time to look at
// hundreds of Routes.
func lastSight(r *v1alpha1.Route, o scene) (sight, bool) {
	if r.Status.ObservedGeneration != r.Generation {
		return sight{}, false
	}
	var s sight
	for kind, to := range map[string]*reconcile.Condition{
		v1alpha1.CertificateMatchesCondition: &s.certificate, v1alpha1.PublishedCondition: &s.published, v1alpha1.BackendReachableCondition: &s.reachable,
	} {
		if c := meta.FindStatusCondition(r.Status.Conditions, kind); c != nil {
			*to = reconcile.Condition{Type: kind, Status: c.Status, Reason: c.Reason, Message: c.Message}
		}
	}
	return s, s.fine(o)
}

func sortedSums(f files) []string { return slices.Sorted(maps.Values(f)) }

// programmed says that the router has the Route as it is declared.
func (seen *Seen) programmed() bool {
	return seen.asked && seen.atRouter.same(seen.want.routerSums) && seen.state.Loaded && len(seen.state.Errors) == 0
}

// serves says that all is in its place.
func (seen *Seen) serves() bool {
	return seen.programmed() && seen.atGateway.same(seen.want.gatewaySums)
}
