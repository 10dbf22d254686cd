// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"io/fs"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// User is an account of the system's, with a group of the same name, without a
// password and without a login shell. It is made when no account has the name,
// left as it is when one has, and never removed: files may be its own.
type User struct {
	Name string
	// Home is not made. Empty: /nonexistent.
	Home string
}

// Artifact is a program that the machine downloads. It belongs to root, and
// takes its place by a rename. An edit of it is seen, and a download mends it;
// so is a wrong mode, without one.
type Artifact struct {
	// URL is of the scheme http or https and without a password: everybody on
	// the machine may see it.
	URL string
	// SHA256 of what the URL gives, 64 hexadecimal digits in lower case.
	// Something else never takes the place.
	SHA256 string
	// Member is the program's path in what the URL gives when that is a tar
	// archive, compressed or not; empty: the URL gives the program itself.
	Member string
	Path   string
	Mode   fs.FileMode // permission bits; 0: 0755
	// Triggers are for units that run while the program changes.
	Triggers []Trigger
}

var (
	accountForm = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)
	homeForm    = regexp.MustCompile(`^/[^:]*$`) // a colon would begin the next field of /etc/passwd
	hashForm    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (s *State) validateUsers() error {
	seen := map[string]bool{}
	for _, u := range s.Users {
		switch {
		case !accountForm.MatchString(u.Name):
			return invalid("is no name of an account", "user %.80q", u.Name)
		case seen[u.Name]:
			return invalid("is there twice", "user %s", u.Name)
		case u.Home != "" && (!homeForm.MatchString(u.Home) || strings.ContainsFunc(u.Home, unprintable)):
			return invalid("want an absolute path without colons", "home %.80q of user %s", u.Home, u.Name)
		}
		seen[u.Name] = true
	}
	return nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }

func (a *Artifact) validate(taken map[string]bool) error {
	if err := validatePlace(a.Path, "", "", a.Mode, taken); err != nil {
		return err
	}
	if err := validateSource(a.URL, a.SHA256, a.Path); err != nil {
		return err
	}
	if m := a.Member; len(m) > 1024 || strings.HasPrefix(m, "-") || strings.HasPrefix(m, "/") || strings.ContainsFunc(m, unprintable) {
		return invalid("want the path of a file in the archive", "member %.80q of %s", m, a.Path)
	}
	return validateTriggers(a.Triggers, a.Path)
}

func validateSource(from, hash, of string) error {
	if why := badURL(from); why != "" {
		return invalid(why, "url %.200q of %s", from, of)
	}
	if !hashForm.MatchString(hash) {
		return invalid("want 64 hexadecimal digits in lower case", "sha256 %.80q of %s", hash, of)
	}
	return nil
}

// badURL says what is wrong with a URL. Brackets and braces would make a
// pattern of it to curl; a password would stand in an argument.
func badURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case len(text) > 2048:
		return "it is longer than 2048 bytes"
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !strings.HasPrefix(text, u.Scheme+"://"):
		return "want http:// or https:// and a host"
	case u.User != nil:
		return "a user and a password would be seen by everybody on the machine"
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || strings.ContainsAny(strings.Replace(text, u.Host, "", 1), `{}[]"\<>^|`+"`"):
		return "it holds a character that must be written as %XX"
	}
	return ""
}
