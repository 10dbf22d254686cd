// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// lookAround looks at all machines and servers at once.
func (k *Kind) lookAround(ctx context.Context, c *v1alpha1.Certificate, seen *Seen) {
	if !seen.held().fits() {
		return
	}
	seen.looked, seen.deliveries = true, deliveriesOf(c)
	atOnce(seen.deliveries, func(d *delivery) { k.lookAt(ctx, c, *seen, d) })
	gone := left(c, seen.deliveries)
	atOnce(gone, func(d *delivery) { k.lookBackAt(ctx, c, seen.memory, d) })
	seen.deliveries = append(seen.deliveries, gone...)
}

// lookBack looks at all machines that have or had files.
func (k *Kind) lookBack(ctx context.Context, c *v1alpha1.Certificate, seen *Seen) {
	seen.looked = true
	for _, d := range deliveriesOf(c) {
		if !d.files() {
			continue
		}
		if t, _, err := k.find(ctx, c.Namespace, d.at); err == nil {
			d.at = t.place
		}
		seen.deliveries = append(seen.deliveries, d)
	}
	seen.deliveries = append(seen.deliveries, left(c, seen.deliveries)...)
	atOnce(seen.deliveries, func(d *delivery) {
		d.spec = nil
		k.lookBackAt(ctx, c, seen.memory, d)
	})
}

func atOnce(all []*delivery, look func(*delivery)) {
	var looks sync.WaitGroup
	for _, d := range all {
		looks.Go(func() { look(d) })
	}
	looks.Wait()
}

// lookAt looks at one machine, and asks its server when there is nothing left to do on it.
func (k *Kind) lookAt(ctx context.Context, c *v1alpha1.Certificate, seen Seen, d *delivery) {
	t, _, err := k.find(ctx, c.Namespace, d.at)
	if err != nil {
		d.fail(deliveryProblem(err).patiently(c, seen.now))
		return
	}
	d.at = t.place
	if d.files() {
		k.lookAtFiles(ctx, c, seen, t, d)
	} else {
		d.done = true
	}
	if d.spec.Probe != nil && len(d.steps) == 0 {
		k.ask(ctx, c, seen, t, d)
	}
}

// lookAtFiles compares the files of a machine with what they are to be.
func (k *Kind) lookAtFiles(ctx context.Context, c *v1alpha1.Certificate, seen Seen, t target, d *delivery) {
	d.owner = t.ownerOf(c, d.name)
	d.want = stateOf(d.spec, seen.held(), isPKCS1(c), seen.bundle())
	if p := refused(t, d.want); p != nil {
		d.fail(p)
		return
	}
	var err error
	if d.run, err = k.open(ctx, t); err == nil {
		d.seen, err = d.run.Observe(ctx, d.owner, d.want)
	}
	if err == nil {
		d.there = fileSerial(d.seen)
		d.steps, err = machine.Plan(d.owner, d.want, d.seen, machine.PlanOptions{Adopt: adopts(c)})
	}
	if err != nil {
		d.fail(deliveryProblem(err).patiently(c, seen.now))
		return
	}
	if d.done = len(d.steps) == 0; d.done {
		d.there = seen.held().serial()
		return
	}
	d.holdBack(c, seen.memory, seen.now)
}

// holdBack leaves a delivery that did not succeed alone until it is time to try again.
func (d *delivery) holdBack(c *v1alpha1.Certificate, known remembered, now time.Time) {
	what, of := d.trial(c)
	if p := known.early(what, of, now); p != nil {
		d.problem, d.steps, d.later = p, nil, d.steps
	}
}

// lookBackAt looks for what is left on a machine. One that is gone has nothing.
func (k *Kind) lookBackAt(ctx context.Context, c *v1alpha1.Certificate, known remembered, d *delivery) {
	t, gone, err := k.find(ctx, c.Namespace, d.at)
	if t.guestObject != nil && t.guestObject.Status.VMID == nil && err == nil {
		gone = gone || last(c, d).Name == "" // it never was
	}
	if d.done = gone; gone {
		return
	}
	if err == nil {
		d.owner = t.ownerOf(c, d.name)
		d.run, err = k.open(ctx, t)
	}
	if err == nil {
		d.seen, err = d.run.Observe(ctx, d.owner, machine.State{})
	}
	if err != nil {
		d.fail(deliveryProblem(err).patiently(c, k.Clock.Now()))
		return
	}
	d.steps = machine.Clear(d.owner, d.seen)
	d.done = len(d.steps) == 0
	d.holdBack(c, known, k.Clock.Now())
}

// deliveryProblem is a problem as it is, or what an error of a machine means.
func deliveryProblem(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	return machineProblem(err)
}

// maxSerial is how much of a serial number, which may be anybody's, the status takes.
const maxSerial = 64

// ask compares what a server shows with what it is to serve.
func (k *Kind) ask(ctx context.Context, c *v1alpha1.Certificate, seen Seen, t target, d *delivery) {
	probe, name := d.spec.Probe, serverName(c, d.spec.Probe)
	host := cmp.Or(probe.Address, t.address())
	if host == "" {
		d.also(&problem{reason: ProbeFailedReason, after: machineFor, err: fmt.Errorf("%s has no address yet", t)})
		return
	}
	address := net.JoinHostPort(host, strconv.Itoa(int(cmp.Or(probe.Port, 443))))
	chain, err := k.Served(ctx, address, name)
	if err != nil {
		d.also(&problem{reason: ProbeFailedReason, after: seen.patience(c), err: err})
		return
	}
	d.served = stepca.Serial(chain[0])
	d.served = d.served[:min(len(d.served), maxSerial)]
	if !chain[0].Equal(seen.held().leaf()) {
		d.also(&problem{reason: NotServedReason, after: seen.patience(c), err: fmt.Errorf(
			"%s still serves certificate %s (%s) for %q, not %s", address, d.served, chain[0].Subject.CommonName, name, seen.held().serial())})
	}
}

// also adds a problem to what there is.
func (d *delivery) also(p *problem) {
	if d.problem == nil {
		d.fail(p)
		return
	}
	with := *d.problem
	with.err = fmt.Errorf("%w; %w", d.problem.err, p.err)
	with.after = min(with.after, p.after)
	d.problem = &with
}

// serverName is what a server is asked for: an authority's certificate may be for all names of a domain, which is no
// name to ask for.
func serverName(c *v1alpha1.Certificate, probe *v1alpha1.CertificateProbe) string {
	if probe.ServerName != "" {
		return probe.ServerName
	}
	for _, name := range c.Spec.DNSNames {
		if !strings.HasPrefix(name, "*") {
			return name
		}
	}
	return ""
}

// patience is how long a server is left alone that does not show the certificate: as long as it has not done so yet. Each
// certificate begins anew: one of a short life would be over before the server is asked again.
func (s Seen) patience(c *v1alpha1.Certificate) time.Duration {
	since := s.now.Sub(s.held().marks.At)
	return max(firstWait, min(since, patience(c, s.now)))
}

// patience is how long a delivery is left alone that did not succeed: as long as it has not done so yet.
func patience(c *v1alpha1.Certificate, now time.Time) time.Duration {
	delivered := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.DeliveredCondition)
	if delivered == nil || delivered.Status == "True" {
		return firstWait
	}
	return max(firstWait, min(now.Sub(delivered.LastTransitionTime.Time), lastWait))
}

// patiently waits longer the longer a machine has been away: an event tells when it is back.
func (p *problem) patiently(c *v1alpha1.Certificate, now time.Time) *problem {
	if p.reason != MachineAwayReason {
		return p
	}
	with := *p
	with.after = max(p.after, patience(c, now))
	return &with
}

// nameOf is the object's name, as the memory has it.
func nameOf(c *v1alpha1.Certificate) client.ObjectKey { return client.ObjectKeyFromObject(c) }
