// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// cookie that a browser's session is kept in.
const cookie = "portainer_api_key"

// user of a server. All are administrators.
type user struct {
	ID           int    `json:"Id"`
	Username     string `json:"Username"`
	Password     string `json:"Password,omitempty"` // its bcrypt hash
	Role         int    `json:"Role"`
	TokenIssueAt int64  `json:"TokenIssueAt"`
}

// apiKey of a user, without the key.
type apiKey struct {
	ID          int    `json:"id"`
	UserID      int    `json:"userId"`
	Description string `json:"description"`
	Prefix      string `json:"prefix"`
	DateCreated int64  `json:"dateCreated"`
	LastUsed    int64  `json:"lastUsed"`
	Digest      string `json:"digest,omitempty"`
}

// claims of a session's token.
type claims struct {
	ID       string `json:"jti"`
	User     int    `json:"id"`
	Username string `json:"username"`
	Role     int    `json:"role"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

const jwtHeader = `{"alg":"HS256","typ":"JWT"}`

// issue makes a session's token. The caller holds the lock.
func (s *Server) issue(u *user) (token string, expires time.Time) {
	now := s.opts.Clock()
	life, err := time.ParseDuration(s.db.Settings.UserSessionTimeout)
	if err != nil {
		life = 8 * time.Hour
	}
	expires = now.Add(life)
	text, err := json.Marshal(claims{uuid(), u.ID, u.Username, u.Role, now.Unix(), expires.Unix()})
	if err != nil {
		panic(err) // plain structs can be written
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(jwtHeader)) + "." + encode(text)
	return signed + "." + encode(s.mac(signed)), expires
}

func (s *Server) mac(signed string) []byte {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

// session gives the user of a token; nil: it is not, or no longer, good. The caller
// holds the lock.
func (s *Server) session(token string) *user {
	at := strings.LastIndexByte(token, '.')
	if at < 0 || s.revoked[token] {
		return nil
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil || !hmac.Equal(signature, s.mac(token[:at])) {
		return nil
	}
	_, body, _ := strings.Cut(token[:at], ".")
	text, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return nil
	}
	var c claims
	if json.Unmarshal(text, &c) != nil || s.opts.Clock().Unix() >= c.Expires {
		return nil
	}
	u := s.db.user(c.User)
	if u == nil || u.TokenIssueAt > c.Issued {
		return nil
	}
	return u
}

func (d *database) user(id int) *user {
	for _, u := range d.Users {
		if u.ID == id {
			return u
		}
	}
	return nil
}

// digest is what is kept of an API key.
func digestOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// keyOwner gives the user of an API key; nil: there is no such key. The caller
// holds the lock.
func (s *Server) keyOwner(key string) *user {
	digest := digestOf(key)
	for _, k := range s.db.APIKeys {
		if k.Digest != digest {
			continue
		}
		if now := s.opts.Clock().Unix(); now-k.LastUsed > 60 {
			k.LastUsed = now
		}
		return s.db.user(k.UserID)
	}
	return nil
}

// caller is who sends a request, and by what.
type caller struct {
	*user
	jwt string // "": by an API key
}

// authenticate says who sends a request.
func (s *Server) authenticate(r *http.Request) (*caller, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bad := refuse(http.StatusUnauthorized, "Invalid JWT token", "Unauthorized")
	if key := r.Header.Get("X-API-Key"); key != "" {
		if u := s.keyOwner(key); u != nil {
			return &caller{user: u}, nil
		}
		return nil, bad
	}
	token := ""
	if c, err := r.Cookie(cookie); err == nil {
		token = c.Value
	} else if header := r.Header.Get("Authorization"); header != "" {
		token = strings.TrimPrefix(header, "Bearer ")
	}
	if token == "" {
		return nil, refuse(http.StatusUnauthorized, "A valid authorization token is missing", "Unauthorized")
	}
	if u := s.session(token); u != nil {
		return &caller{user: u, jwt: token}, nil
	}
	return nil, bad
}

// forged says whether a request may be another site's that uses a browser's cookie.
func forged(r *http.Request) error {
	if c, err := r.Cookie(cookie); err == nil && c.Value != "" {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return refuse(http.StatusForbidden, "Forbidden - CSRF token not found in request", "")
		}
		return nil
	}
	if r.Header.Get("X-API-Key") != "" && r.Header.Get("Authorization") != "" {
		return refuse(http.StatusForbidden, "api key and auth header are not allowed at the same time", "")
	}
	return nil
}

// limiter refuses clients that sign in too often: more than ten times within a second,
// then for an hour.
type limiter struct {
	mu     sync.Mutex
	seen   map[string][]time.Time
	banned map[string]time.Time
}

// banned says whether a client is refused, and counts that it came.
func (l *limiter) refuses(r *http.Request, now time.Time) bool {
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = r.RemoteAddr
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen, l.banned = map[string][]time.Time{}, map[string]time.Time{}
	}
	if until, there := l.banned[client]; there && now.Before(until) {
		return true
	}
	delete(l.banned, client)
	l.seen[client] = append(slices.DeleteFunc(l.seen[client], func(t time.Time) bool { return now.Sub(t) >= time.Second }), now)
	if len(l.seen[client]) > 10 {
		delete(l.seen, client)
		l.banned[client] = now.Add(time.Hour)
		return true
	}
	return false
}

// fits says whether a password is the user's.
func (u *user) knows(password string) bool {
	return u != nil && bcrypt.CompareHashAndPassword([]byte(u.Password), []byte(password)) == nil
}

func hashPassword(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", failed("Unable to hash user password", err)
	}
	return string(hash), nil
}
