// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// balancer gives each of its children its share: the one whose turn comes next by its weight.
type balancer struct {
	watched bool
	cookie  *http.Cookie

	mu       sync.Mutex
	children []*child
	now      float64
	updaters []func(up bool)
}

type child struct {
	http.Handler
	name     string
	weight   float64
	deadline float64
	down     bool
}

func newBalancer(s *sticky, service string, watched bool) *balancer {
	b := &balancer{watched: watched}
	if s == nil || s.Cookie == nil {
		return b
	}
	c := s.Cookie
	if c.Name == "" {
		sum := sha1.Sum([]byte("_TRAEFIK_BACKEND_" + service))
		c.Name = ("_" + hex.EncodeToString(sum[:]))[:6]
	}
	b.cookie = &http.Cookie{Name: cookieName(c.Name), Path: "/", Domain: c.Domain, HttpOnly: c.HTTPOnly, Secure: c.Secure, MaxAge: c.MaxAge}
	if c.Path != nil {
		b.cookie.Path = *c.Path
	}
	switch c.SameSite {
	case "none":
		b.cookie.SameSite = http.SameSiteNoneMode
	case "lax":
		b.cookie.SameSite = http.SameSiteLaxMode
	case "strict":
		b.cookie.SameSite = http.SameSiteStrictMode
	default:
		b.cookie.SameSite = http.SameSiteDefaultMode
	}
	return b
}

// cookieName is a name with _ for what no cookie's may have.
func cookieName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^`|~", r) {
			return r
		}
		return '_'
	}, name)
}

// add adds a child; one without a positive weight is left out.
func (b *balancer) add(name string, h http.Handler, weight *int) {
	w := 1
	if weight != nil {
		w = *weight
	}
	if w <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.children = append(b.children, &child{Handler: h, name: name, weight: float64(w), deadline: b.now + 1/float64(w)})
}

// set says whether a child is up, and tells those above when that changes whether any is.
func (b *balancer) set(name string, up bool) {
	b.mu.Lock()
	before := b.anyUp()
	for _, c := range b.children {
		if c.name == name {
			c.down = !up
		}
	}
	after := b.anyUp()
	updaters := b.updaters
	b.mu.Unlock()
	if before != after {
		for _, tell := range updaters {
			tell(after)
		}
	}
}

// anyUp tells whether any child is up. The caller holds the lock.
func (b *balancer) anyUp() bool {
	for _, c := range b.children {
		if !c.down {
			return true
		}
	}
	return false
}

func (b *balancer) alive() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.anyUp()
}

// tell registers who is to be told.
func (b *balancer) tell(updater func(up bool)) error {
	if !b.watched {
		return errors.New("healthCheck not enabled in config for this WRR service")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.updaters = append(b.updaters, updater)
	return nil
}

var errNoServer = errors.New("no available server")

// ServeHTTP implements http.Handler.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c := b.stuck(r); c != nil {
		c.ServeHTTP(w, r)
		return
	}
	c := b.next()
	if c == nil {
		http.Error(w, errNoServer.Error(), http.StatusServiceUnavailable)
		return
	}
	if b.cookie != nil {
		cookie := *b.cookie
		cookie.Value = hashOf(c.name)
		http.SetCookie(w, &cookie)
	}
	c.ServeHTTP(w, r)
}

// stuck is the child that a request's cookie names, if it is up.
func (b *balancer) stuck(r *http.Request) *child {
	if b.cookie == nil {
		return nil
	}
	cookie, err := r.Cookie(b.cookie.Name)
	if err != nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.children {
		if !c.down && (cookie.Value == hashOf(c.name) || cookie.Value == c.name) {
			return c
		}
	}
	return nil
}

// next is the child whose turn it is, or nil.
func (b *balancer) next() *child {
	b.mu.Lock()
	defer b.mu.Unlock()
	var best *child
	for _, c := range b.children {
		if !c.down && (best == nil || c.deadline < best.deadline) {
			best = c
		}
	}
	if best != nil {
		b.now = best.deadline
		best.deadline += 1 / best.weight
	}
	return best
}

// hashOf is what a cookie holds for a name.
func hashOf(name string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(name)))[:16] }
