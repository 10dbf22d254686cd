// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// probeLabel stands for the names that a host with a wildcard is for.
const probeLabel = "phoenix-probe"

// sight is what is served, as it was last looked at.
type sight struct {
	// of is what was looked at: another version is looked at anew.
	of string
	at time.Time
	// wrong is since when something is not as it should be; zero: all is well.
	wrong                             time.Time
	published, certificate, reachable reconcile.Condition
}

// looking is a look that goes on beside the passes.
type looking struct {
	of   string
	done chan struct{}
	left bool // nobody waits for it any more: its end brings a pass
	err  error
}

// current says whether what was seen stands for what is served now.
func (s sight) current(of string, now time.Time, interval time.Duration) bool {
	age := now.Sub(s.at)
	if s.of != of || s.at.IsZero() || age < 0 {
		return false
	}
	if !s.wrong.IsZero() {
		return age < min(lookAgain, s.at.Sub(s.wrong)+firstLook/2)
	}
	return age < interval*9/10
}

// patience is how long what is not as it should be is left alone: as long as it has been so yet.
func (s sight) patience(now time.Time, interval time.Duration) time.Duration {
	return min(max(firstLook, now.Sub(s.wrong)), interval)
}

// scene is what is to be looked at.
type scene struct {
	of             string
	hosts          []string
	publishes, tcp bool
	router         *side
	address        string // of the gateway
	port           int
	servers        []target
	down           []string // servers that the router's health check took out
	leaf           []byte   // the certificate that is to be served; nil: any that fits
}

// sightOf returns what is served. What is not known within a moment is looked at beside the passes: until then, what was seen
// of the same version last stands, as a look may well take longer than the time between two passes.
func (k *Kind) sightOf(ctx context.Context, name types.NamespacedName, o scene, now time.Time) (sight, error) {
	known := k.memory.of(name)
	if known.sight.current(o.of, now, k.Interval) {
		return known.sight, nil
	}
	l := k.beginLook(name, o)
	timer := time.NewTimer(lookFor)
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	late := false
	k.memory.change(name, func(known *remembered) {
		late = known.looking == l
		l.left = late
	})
	switch {
	case late && known.sight.of == o.of && !known.sight.at.IsZero():
		return known.sight, nil
	case late:
		return sight{}, reconcile.Wait(LookingReason, missingFor, errors.New("looking at what is served"))
	}
	return k.memory.of(name).sight, l.err
}

// beginLook looks at what is served, unless that is being done.
func (k *Kind) beginLook(name types.NamespacedName, o scene) *looking {
	l := &looking{of: o.of, done: make(chan struct{})}
	begun := true
	k.memory.change(name, func(known *remembered) {
		if known.looking != nil && known.looking.of == o.of {
			l, begun = known.looking, false
			return
		}
		known.looking = l
	})
	if begun {
		k.probes.jobs.Go(func() { k.endLook(name, l, o) })
	}
	return l
}

// endLook looks, and says so to those who wait.
func (k *Kind) endLook(name types.NamespacedName, l *looking, o scene) {
	seen, err := k.look(k.probes.life, o)
	now := k.Clock.Now()
	wake := false
	l.err = err
	k.memory.update(name, func(known *remembered) {
		if known.looking != l { // of a version that is not served any more
			return
		}
		wake = l.left
		known.looking = nil
		if err != nil {
			return
		}
		seen.of, seen.at = o.of, now
		if seen.fine(o) {
			seen.wrong = time.Time{}
		} else if seen.wrong = known.sight.wrong; seen.wrong.IsZero() || known.sight.of != o.of {
			seen.wrong = now
		}
		known.sight = seen
	})
	close(l.done)
	if wake {
		k.Wake(name)
	}
}

// fine says whether all is as it should be.
func (s sight) fine(o scene) bool {
	return s.certificate.Status == metav1.ConditionTrue && s.reachable.Status == metav1.ConditionTrue &&
		(!o.publishes || s.published.Status == metav1.ConditionTrue)
}

// look asks the gateway for its certificates and the router's machine for the rest, at once.
func (k *Kind) look(ctx context.Context, o scene) (sight, error) {
	var s sight
	var err error
	var looks sync.WaitGroup
	looks.Go(func() { s.certificate = k.certificateOf(ctx, o) })
	looks.Go(func() { err = k.askFor(ctx, o, &s) })
	looks.Wait()
	return s, err
}

func condition(kind, reason, format string, values ...any) reconcile.Condition {
	return reconcile.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, values...)}
}

func fulfilled(kind, reason, format string, values ...any) reconcile.Condition {
	c := condition(kind, reason, format, values...)
	c.Status = metav1.ConditionTrue
	return c
}

// concrete is a name that a host is for.
func concrete(host string) string {
	if above, ok := strings.CutPrefix(host, "*."); ok {
		return probeLabel + "." + above
	}
	return host
}

// shown asks a gateway for its certificates, a few times at once: hundreds of connections would be those that its clients need.
func (k *Kind) shown(ctx context.Context, address, name string) ([]*x509.Certificate, error) {
	if err := k.handshakes.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer k.handshakes.Release(1)
	return k.Served(ctx, address, name)
}

// certificateOf says whether what the gateway serves is good for every host.
func (k *Kind) certificateOf(ctx context.Context, o scene) reconcile.Condition {
	const kind = v1alpha1.CertificateMatchesCondition
	if o.tcp {
		return fulfilled(kind, PassedThroughReason, "connections are passed through: the certificate is the backend's")
	}
	address := net.JoinHostPort(o.address, strconv.Itoa(o.port))
	var ends time.Time
	for _, host := range o.hosts {
		chain, err := k.shown(ctx, address, concrete(host))
		if err != nil {
			return condition(kind, NotServedReason, "%s serves no certificate for %s: %v", address, host, err)
		}
		if err := covers(chain[0], host, k.Clock.Now()); err != nil {
			return condition(kind, WrongCertificateReason, "what %s serves for %s does not fit: %v", address, host, err)
		}
		if o.leaf != nil && !bytes.Equal(chain[0].Raw, o.leaf) {
			return condition(kind, WrongCertificateReason, "%s still serves another certificate for %s", address, host)
		}
		if ends.IsZero() || chain[0].NotAfter.Before(ends) {
			ends = chain[0].NotAfter
		}
	}
	return fulfilled(kind, MatchesReason, "served for all hosts until %s", ends.UTC().Format(time.RFC3339))
}

// askFor asks on the router's machine for names and servers.
func (k *Kind) askFor(ctx context.Context, o scene, s *sight) error {
	var all []question
	if o.publishes {
		for _, host := range o.hosts {
			all = append(all, question{name: concrete(host)})
		}
	}
	names := len(all)
	for _, t := range o.servers {
		all = append(all, question{server: probeURL(t)})
	}
	answers, err := k.probes.ask(ctx, o.router, all)
	if err != nil {
		return err
	}
	s.published = publishedOf(o, answers[:names])
	s.reachable = reachableOf(o, answers[names:])
	return nil
}

// publishedOf says whether every host leads to the gateway.
func publishedOf(o scene, answers []answer) reconcile.Condition {
	const kind = v1alpha1.PublishedCondition
	if !o.publishes {
		c := condition(kind, NotDeclaredReason, "dnsRefs names nobody who answers the hosts")
		c.Status = metav1.ConditionUnknown
		return c
	}
	for i, a := range answers {
		addresses := strings.Fields(a.text)
		slices.Sort(addresses)
		addresses = slices.Compact(addresses)
		switch {
		case !a.ok || len(addresses) == 0:
			return condition(kind, NotPublishedReason, "%s has no address on the machine of %s", o.hosts[i], o.router)
		case !slices.Equal(addresses, []string{o.address}):
			return condition(kind, NotPublishedReason, "%s leads to %s on the machine of %s, not to %s", o.hosts[i], strings.Join(addresses, ", "), o.router, o.address)
		}
	}
	return fulfilled(kind, PublishedReason, "all hosts lead to %s", o.address)
}

// reachableOf says whether every server takes connections, and the router's health check has not taken it out.
func reachableOf(o scene, answers []answer) reconcile.Condition {
	const kind = v1alpha1.BackendReachableCondition
	var wrong []string
	for i, a := range answers {
		switch t := o.servers[i]; {
		case !a.ok:
			wrong = append(wrong, fmt.Sprintf("%s at %s does not answer: %s", t.name, t.address(), a.text))
		case slices.Contains(o.down, t.url()):
			wrong = append(wrong, fmt.Sprintf("%s at %s fails its health check", t.name, t.address()))
		}
	}
	if len(wrong) > 0 {
		return condition(kind, BackendUnreachableReason, "from %s: %s", o.router, strings.Join(wrong, "; "))
	}
	if len(answers) == 0 {
		return condition(kind, BackendUnreachableReason, "every backend has the weight 0")
	}
	return fulfilled(kind, ReachableReason, "all backends answer")
}
