// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Middleware changes requests or answers: exactly one of its fields is set.
type Middleware struct {
	Redirect    *Redirect
	StripPrefix *StripPrefix
	AddPrefix   *AddPrefix
	Headers     *Headers
	BasicAuth   *BasicAuth
	IPAllowList *IPAllowList
	RateLimit   *RateLimit
	Compress    *Compress
	Retry       *Retry
	ForwardAuth *ForwardAuth
}

// Redirect sends the client elsewhere.
type Redirect struct {
	// Regex (RE2) that fits the URL. Where it begins with https://, http:// fits it too: TLS ended at the gateway.
	Regex string
	// Replacement of what fitted; ${1} is the first group.
	Replacement string
	// Permanent answers 301 or 308, else 302 or 307: the first for GET, the second for the rest.
	Permanent bool
}

// StripPrefix takes the first prefix that fits from the path.
type StripPrefix struct{ Prefixes []string }

// AddPrefix puts something before the path.
type AddPrefix struct{ Prefix string }

// Headers sets and removes headers of requests and of answers.
type Headers struct{ Request, Response []Header }

// Header is a header that is set, or removed when its value is empty.
type Header struct{ Name, Value string }

// BasicAuth asks for a user and a password.
type BasicAuth struct {
	// Users are lines user:hash; see Users. They stand in the file as they are.
	Users []string
	// Realm that the browser shows; empty: the first host.
	Realm string
	// UserHeader tells the server who it is; empty: it is not told.
	UserHeader string
	// KeepHeader hands the Authorization header on.
	KeepHeader bool
}

// IPAllowList lets some clients in.
type IPAllowList struct {
	// Networks or addresses.
	Networks []string
}

// RateLimit bounds the requests of each client.
type RateLimit struct {
	Average int
	// Period of the average; 0: 1 s.
	Period time.Duration
	// Burst that is let through at once; 0: Average.
	Burst int
}

// Compress compresses answers.
type Compress struct {
	// MinBodySize in bytes; 0: 1024.
	MinBodySize int
}

// Retry asks again when a server cannot be reached.
type Retry struct {
	// Attempts in all.
	Attempts int
	// InitialInterval before the second; 0: 100 ms.
	InitialInterval time.Duration
}

// ForwardAuth asks another server whether the request may pass.
type ForwardAuth struct {
	// URL is http:// or https://, with a path perhaps. Never the router itself.
	URL string
	// RootCAs in PEM; none: what Traefik's machine trusts.
	RootCAs []string
	// ResponseHeaders of the answer that the server gets.
	ResponseHeaders []string
}

// The hashes that htpasswd makes and Traefik reads. Traefik hashes at every request: one that takes longer than htpasswd
// lets it would keep the router from all others.
var (
	bcryptForm = regexp.MustCompile(`^\$2[abxy]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}$`)
	md5Form    = regexp.MustCompile(`^\$(apr1|1)\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}$`)
	sha1Form   = regexp.MustCompile(`^\{SHA\}[A-Za-z0-9+/]{27}=$`)
)

const (
	maxUser  = 255
	maxUsers = 1000
)

// Users reads the lines of an htpasswd file. Empty lines and those that begin with # are left away. Its error says which
// line is wrong, and never what stands in it.
func Users(htpasswd []byte) ([]string, error) {
	var users []string
	seen := map[string]bool{}
	for i, line := range bytes.Split(htpasswd, []byte("\n")) {
		text := string(bytes.TrimSuffix(line, []byte("\r")))
		if text == "" || text[0] == '#' {
			continue
		}
		user, why := splitUser(text)
		if why == "" && seen[user] {
			why = "names a user that another line names too"
		}
		if why != "" {
			return nil, fmt.Errorf("read users: line %d %s", i+1, why)
		}
		seen[user] = true
		users = append(users, text)
	}
	switch {
	case len(users) == 0:
		return nil, errors.New("read users: there is none")
	case len(users) > maxUsers:
		return nil, fmt.Errorf("read users: there are %d, and %d at most can be", len(users), maxUsers)
	}
	return users, nil
}

// splitUser returns the name of a line, or what is wrong with it.
func splitUser(line string) (user, why string) {
	user, hash, found := strings.Cut(line, ":")
	switch {
	case !utf8.ValidString(line):
		return "", "must be UTF-8"
	case !found || user == "":
		return "", "must be user:hash"
	case len(user) > maxUser:
		return "", fmt.Sprintf("must have a user of at most %d bytes", maxUser)
	case !printable(user):
		return "", "must have a user without control characters and backticks"
	case !bcryptForm.MatchString(hash) && !md5Form.MatchString(hash) && !sha1Form.MatchString(hash):
		return "", "must have a hash as htpasswd makes it: bcrypt (htpasswd -B, cost 17 at most), MD5 or SHA1"
	}
	return user, ""
}

func printable(user string) bool {
	for _, r := range user {
		if !unicode.IsPrint(r) || r == '`' {
			return false
		}
	}
	return true
}
