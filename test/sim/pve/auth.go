// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ticketLife is how long a ticket is good for, on a real site's clock.
const ticketLife = 2 * time.Hour

// principal is who asks: a user, or one of the user's tokens.
type principal struct {
	user  string // name@realm
	token string // "" for a ticket
}

// id is the principal as task lists and permission texts show it.
func (p *principal) id() string {
	if p.token == "" {
		return p.user
	}
	return p.user + "!" + p.token
}

// root tells whether this is root@pam itself, which no token is.
func (p *principal) root() bool { return p.user == "root@pam" && p.token == "" }

type account struct {
	password string
	comment  string
	tokens   map[string]*apiToken
}

type apiToken struct {
	secret  string
	privsep bool
	comment string
	expire  int64
}

type ticket struct {
	user    string
	csrf    string
	expires time.Time
}

type access struct {
	users   map[string]*account
	tickets map[string]*ticket
	acl     []aclEntry
	expired bool // every credential is refused
}

func newAccess() *access {
	return &access{
		users:   map[string]*account{"root@pam": {password: "root", tokens: map[string]*apiToken{}}},
		tickets: map[string]*ticket{},
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

func randomUUID() string {
	h := randomHex(16)
	return strings.Join([]string{h[:8], h[8:12], "4" + h[13:16], "a" + h[17:20], h[20:]}, "-")
}

func (a *access) addToken(user, name string, privsep bool) (id, secret string) {
	secret = randomUUID()
	a.users[user].tokens[name] = &apiToken{secret: secret, privsep: privsep}
	return user + "!" + name, secret
}

var (
	errNoTicket   = bareError(http.StatusUnauthorized, "No ticket")
	errBadAuth    = bareError(http.StatusUnauthorized, "Authentication failed!")
	errBadCSRF    = bareError(http.StatusUnauthorized, "Permission denied - invalid csrf token")
	errBadLogin   = &apiError{status: http.StatusUnauthorized, reason: "authentication failure"}
	worldReadable = map[string]bool{"GET /access/domains": true, "GET /access/ticket": true, "POST /access/ticket": true}
)

// authenticate finds out who asks: nil for what the world may ask.
func (s *Server) authenticate(r *http.Request, path string) (*principal, error) {
	if header := r.Header.Get("Authorization"); strings.HasPrefix(header, "PVEAPIToken=") {
		return s.checkToken(strings.TrimPrefix(header, "PVEAPIToken="))
	}
	cookie, err := r.Cookie("PVEAuthCookie")
	if err != nil {
		if worldReadable[r.Method+" "+path] {
			return nil, nil // nobody in particular
		}
		return nil, errNoTicket
	}
	return s.checkTicket(r, cookie.Value)
}

func (s *Server) checkToken(value string) (*principal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, secret, _ := strings.Cut(value, "=")
	user, name, _ := strings.Cut(id, "!")
	account := s.access.users[user]
	if account == nil || s.access.expired {
		return nil, errBadAuth
	}
	token := account.tokens[name]
	if token == nil || token.secret != secret || (token.expire > 0 && token.expire < time.Now().Unix()) {
		return nil, errBadAuth
	}
	return &principal{user: user, token: name}, nil
}

func (s *Server) checkTicket(r *http.Request, value string) (*principal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access.tickets[unescape(value)]
	if t == nil || s.access.expired || time.Now().After(t.expires) {
		if worldReadable[r.Method+" "+strings.TrimPrefix(r.URL.Path, "/api2/json")] {
			return nil, nil // nobody in particular
		}
		return nil, errBadAuth
	}
	if r.Method != http.MethodGet && r.Header.Get("CSRFPreventionToken") != t.csrf && !strings.HasSuffix(r.URL.Path, "/access/ticket") {
		return nil, errBadCSRF
	}
	return &principal{user: t.user}, nil
}

func unescape(value string) string {
	segments, err := splitPath(value)
	if err != nil {
		return value
	}
	return strings.Join(segments, "/")
}

// createTicket logs a user in by password, or renews by a ticket as password. A
// failed login is delayed, as Proxmox delays it.
func createTicket(c *call) (any, error) {
	user, password := c.params["username"], c.params["password"]
	if !strings.Contains(user, "@") {
		user += "@" + first(c.params["realm"], "pam")
	}
	account := c.access.users[user]
	known := c.access.tickets[password]
	switch {
	case known != nil && known.user == user && c.now.Before(known.expires):
	case account != nil && account.password != "" && account.password == password:
	default:
		c.mu.Unlock()
		c.pause(nil, c.scaled(3*time.Second))
		c.mu.Lock()
		return nil, errBadLogin
	}
	t := &ticket{user: user, csrf: fmt.Sprintf("%X:%s", c.now.Unix(), randomHex(20)), expires: c.now.Add(ticketLife)}
	name := fmt.Sprintf("PVE:%s:%X::%s", user, c.now.Unix(), randomHex(32))
	c.access.tickets[name] = t
	return map[string]any{
		"ticket": name, "username": user, "CSRFPreventionToken": t.csrf,
		"cap": c.access.capabilities(c.Server, &principal{user: user}),
	}, nil
}

// capabilities are the privileges that the web interface asks for, by area.
func (a *access) capabilities(s *Server, p *principal) map[string]map[string]int {
	out := map[string]map[string]int{}
	for area, path := range map[string]string{
		"vms": "/vms", "storage": "/storage", "access": "/access", "nodes": "/nodes", "dc": "/", "sdn": "/sdn", "mapping": "/mapping",
	} {
		out[area] = map[string]int{}
		for privilege := range a.privileges(s, p, path) {
			out[area][privilege] = 1
		}
	}
	return out
}
