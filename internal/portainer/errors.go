// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"errors"
)

// Kind says what a caller can do about an error.
type Kind string

const (
	// Away says that nobody answers, that the connection broke off, that a call took too long, or that who answers is not
	// Portainer but a proxy before it or an agent behind it in trouble. Ask again later; whether a request that changes
	// something was followed is not known.
	Away Kind = "Away"
	// Untrusted says that who answers at the URL does not prove to be the server: its certificate does not lead to the
	// roots, or is for another name.
	Untrusted Kind = "Untrusted"
	// Unauthorized says that the API key or the session is not accepted (any more).
	Unauthorized Kind = "Unauthorized"
	// BadCredentials says that name and password do not fit.
	BadCredentials Kind = "BadCredentials"
	// Forbidden says that the user may not do that.
	Forbidden Kind = "Forbidden"
	// Limited says that there were too many sign-ins from this address. Portainer refuses further ones for an hour, right
	// or wrong.
	Limited Kind = "Limited"
	// Locked says that the server got no administrator in time and does nothing until it is restarted.
	Locked Kind = "Locked"
	// Conflict says that the name is taken, or that the thing is in use or in that state already.
	Conflict Kind = "Conflict"
	// NotFound says that Portainer, or the engine, does not have the thing.
	NotFound Kind = "NotFound"
	// Invalid says that the request makes no sense to the server.
	Invalid Kind = "Invalid"
	// Failed says that Portainer, compose or the engine tried and did not succeed. Message has its words.
	Failed Kind = "Failed"
)

// Error is every error of this package but those of New. It never holds a password, a key, a token or a value of a
// stack that was not said to be plain.
type Error struct {
	Kind   Kind
	Status int // of the answer; 0 when there is none
	// Message has the server's own words, when there are any, without control characters but line ends and clipped to
	// 4 KiB; else it says what happened.
	Message string

	err    error // cause; nil when the server refused
	engine bool  // the words are the engine's, not Portainer's
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause: a cancelled context, a certificate that was refused. It is nil when the server answered.
func (e *Error) Unwrap() error { return e.err }

// KindOf returns the kind of an error, empty when it is not of this package.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// invalid is an error about what a caller gave.
func invalid(message string) *Error { return &Error{Kind: Invalid, Message: message} }
