// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what a caller can do about an error.
type Kind string

const (
	// Away says that the authority does not answer, breaks off, or is in trouble itself (5xx). Ask again later; whether a
	// request that broke off was followed is not known.
	Away Kind = "Away"
	// Untrusted says that who answers at the URL does not prove to be the authority with the pinned roots.
	Untrusted Kind = "Untrusted"
	// Unauthorized says that the authority does not take the token of the provisioner, or the certificate that renews itself
	// (it is over, or of an authority that is not trusted there any more).
	Unauthorized Kind = "Unauthorized"
	// Forbidden says that the authority does not sign these names or this key; its message says why.
	Forbidden Kind = "Forbidden"
	// TooLong says that the duration is longer than the authority allows. Asked and Limit say by how much.
	TooLong Kind = "TooLong"
	// TooShort says that the duration is shorter than the authority allows. Asked and Limit say by how much.
	TooShort Kind = "TooShort"
	// Revoked says that the authority renews this certificate no more: it was revoked, its provisioner is gone, or renewals are
	// switched off. A new one may be signed.
	Revoked Kind = "Revoked"
	// Invalid says that the request makes no sense, or the answer is not what was asked for.
	Invalid Kind = "Invalid"
)

// Error is every error of a Client. It never holds a key, a password or a token.
type Error struct {
	Kind Kind
	URL  string // of the authority
	// ClockSkew is how far the authority's clock is ahead of ours, negative when it is behind; 0 when it is not known or
	// the difference is 30 s or less.
	ClockSkew time.Duration
	// Asked and Limit are the duration that was asked for and the one that the authority allows, of TooLong and
	// TooShort. Limit is 0 when the authority did not say.
	Asked, Limit time.Duration
	Err          error

	status int // of the answer; 0 when there is none
}

// Error says what went wrong and, when the authority's clock is wrong, by how much.
func (e *Error) Error() string {
	text := e.Err.Error()
	switch {
	case e.ClockSkew > 0:
		return fmt.Sprintf("%s: the clock of %s is %s ahead", text, e.URL, e.ClockSkew)
	case e.ClockSkew < 0:
		return fmt.Sprintf("%s: the clock of %s is %s behind", text, e.URL, -e.ClockSkew)
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of an error, empty when it is not of a Client.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}
