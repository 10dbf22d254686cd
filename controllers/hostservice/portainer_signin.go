// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// signInSpan holds at most signInsPerSpan sign-ins: Portainer shuts out who tries too often, and people with him.
	signInSpan     = 10 * time.Minute
	signInsPerSpan = 3
	// passwordInterval is how often a password that fits is tried again, so that one that was changed in Portainer is seen.
	passwordInterval = time.Hour
)

// signIns remember for each portainer service how sign-ins went. A manager that starts anew tries once more.
type signIns struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*signInMemory
}

// signInMemory is of one service; passes over one service do not overlap.
type signInMemory struct {
	tries []time.Time
	// shut is until when the server shuts everybody out.
	shut time.Time
	// tried says whose password was tried last, where, and fits whether it was the right one, at a time.
	tried string
	fits  bool
	at    time.Time
}

func (m *signIns) of(name types.NamespacedName) *signInMemory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[types.NamespacedName]*signInMemory{}
	}
	if m.all[name] == nil {
		m.all[name] = &signInMemory{}
	}
	return m.all[name]
}

func (m *signIns) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, name)
}

// trial names credentials and the server that they are for; nobody can read them from it.
func (k *Kind) trial(c credentials, instance string) string {
	mac := hmac.New(sha256.New, []byte(k.session))
	_, _ = fmt.Fprintf(mac, "%q %q %q", c.username, c.password, instance) // a hash takes everything
	return string(mac.Sum(nil))
}

// wait is how long the next sign-in has to wait.
func (m *signInMemory) wait(now time.Time) time.Duration {
	m.tries = slices.DeleteFunc(m.tries, func(t time.Time) bool { return now.Sub(t) >= signInSpan })
	until := m.shut
	if len(m.tries) >= signInsPerSpan {
		if free := m.tries[0].Add(signInSpan); free.After(until) {
			until = free
		}
	}
	return max(until.Sub(now), 0)
}

// refused says whether these credentials were refused so short ago that they would be again.
func (m *signInMemory) refused(trial string, now time.Time) bool {
	return m.tried == trial && !m.fits && now.Sub(m.at) < signInSpan
}

// due says whether it has to be found out if these credentials fit.
func (m *signInMemory) due(trial string, now time.Time) bool {
	if m.tried != trial {
		return true
	}
	if m.fits {
		return now.Sub(m.at) >= passwordInterval
	}
	return !m.refused(trial, now)
}

// signIn opens a session of the administrator. Its error is an outcome.
func (k *Kind) signIn(ctx context.Context, seen *portainerSeen) (PortainerSession, error) {
	m, now, trial := seen.signIns, k.Clock.Now(), seen.trial
	if m.refused(trial, now) {
		return nil, seen.differs()
	}
	if wait := m.wait(now); wait > 0 {
		return nil, reconcile.Wait(SignInsLimitedReason, wait, fmt.Errorf("sign in to %s: there were too many sign-ins of late: it is tried again after %s", seen.at.URL, shown(now.Add(wait))))
	}
	m.tries = append(m.tries, now)
	session, err := seen.server.SignIn(ctx, seen.keys.admin.username, seen.keys.admin.password)
	switch {
	case err == nil:
		m.tried, m.fits, m.at = trial, true, now
		return session, nil
	case portainerSaid(err, portainer.BadCredentials):
		m.tried, m.fits, m.at = trial, false, now
		return nil, seen.differs()
	case portainerSaid(err, portainer.Limited):
		return nil, m.limited(now, err)
	}
	return nil, portainerFailure(err)
}

// limited notes that the server shuts out who tries to sign in.
func (m *signInMemory) limited(now time.Time, err error) error {
	m.shut = now.Add(signInSpan)
	return reconcile.Wait(SignInsLimitedReason, signInSpan, fmt.Errorf("%w: it is tried again after %s", err, shown(m.shut)))
}

// portainerFailure gives an error of the client the outcome that it means.
func portainerFailure(err error) error {
	if portainerSaid(err, portainer.Away, portainer.Untrusted, portainer.Locked) {
		return reconcile.Fail(PortainerAwayReason, err)
	}
	return reconcile.Fail(PortainerFailedReason, err)
}
