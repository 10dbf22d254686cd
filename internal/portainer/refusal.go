// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// headMessage and tailMessage are what is kept of a long message: compose says at its end what went wrong.
	headMessage = 1 << 10
	tailMessage = 3 << 10
	// shortest is the length from which on a secret is hidden: shorter ones cannot be told from other text.
	shortest = 3
	hidden   = "***"
	// initTimeout is what a server says that waited in vain for an administrator.
	initTimeout = "Administrator initialization timeout"
)

// away are words of Portainer for an engine or agent that it cannot reach.
var away = []string{
	"Unable to check for name collision",
	"Unable to proxy the request via the Docker socket",
	"failed to fetch environment proxy",
	"Cannot connect to the Docker daemon",
}

// kinds of statuses that mean one thing wherever they come from.
var kinds = map[int]Kind{
	http.StatusUnauthorized:        Unauthorized,
	http.StatusForbidden:           Forbidden,
	http.StatusTooManyRequests:     Limited,
	http.StatusConflict:            Conflict,
	http.StatusBadRequest:          Invalid,
	http.StatusUnprocessableEntity: Invalid,
	http.StatusRequestTimeout:      Away,
}

// words are the body of a refusal: Portainer's have details, the engine's do not, an agent may say err.
type words struct {
	Message string `json:"message"`
	Details string `json:"details"`
	Err     string `json:"err"`
}

// text joins what says something of its own.
func (w words) text() string {
	message, details := strings.TrimSpace(w.Message), strings.TrimSpace(w.Details)
	switch {
	case message == "" && details == "":
		return strings.TrimSpace(w.Err)
	case message == "":
		return details
	case details == "", strings.Contains(strings.ToLower(message), strings.ToLower(details)):
		return message
	case strings.Contains(strings.ToLower(details), strings.ToLower(message)):
		return details
	}
	return message + ": " + details
}

// refusal makes an error of an answer that is not a success.
func refusal(url string, answer *http.Response, body []byte) *Error {
	var said words
	if json.Unmarshal(body, &said) != nil {
		said = words{}
	}
	e := &Error{Status: answer.StatusCode, Message: said.text(), engine: said.Message != "" && said.Details == ""}
	e.Kind = kindOf(answer.StatusCode, e.Message)
	if e.Message == "" {
		e.Message = fmt.Sprintf("%s answers %d %s", url, answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	return e
}

func kindOf(status int, message string) Kind {
	if kind, ok := kinds[status]; ok {
		return kind
	}
	switch {
	case status == http.StatusSeeOther && strings.Contains(message, initTimeout):
		return Locked
	case message == "", status < 400, status > 500:
		return Away
	case status == http.StatusNotFound:
		return NotFound
	case status < 500:
		return Invalid
	case slices.ContainsFunc(away, func(words string) bool { return strings.Contains(message, words) }):
		return Away
	}
	return Failed
}

// at sign-in, 403 is the limit and 422 the password.
func atSignIn(e *Error) *Error {
	switch e.Status {
	case http.StatusForbidden:
		e.Kind = Limited
	case http.StatusUnprocessableEntity:
		e.Kind = BadCredentials
	}
	return e
}

// atNewKey tells the two reasons of a 403 apart: a password that does not fit, and the limit that sign-ins have too.
func atNewKey(e *Error) *Error {
	if e.Status != http.StatusForbidden {
		return e
	}
	switch {
	case strings.Contains(strings.ToLower(e.Message), "password"):
		e.Kind = BadCredentials
	case strings.Contains(e.Message, "Access denied"):
		e.Kind = Limited
	}
	return e
}

// tidy makes the message fit to be shown: without secrets, control characters and most of its length.
func (e *Error) tidy(secrets []string) *Error {
	e.Message = clip(plain(hide(e.Message, secrets)))
	if e.err != nil && hide(e.err.Error(), secrets) != e.err.Error() {
		e.err = nil
	}
	return e
}

// hide replaces the secrets, the longest first as one may hold another, in every form that they are likely to be
// repeated in.
func hide(text string, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		for _, form := range append(strings.Split(secret, "\n"), secret, quote(secret)) {
			forms = append(forms, form, inJSON(form), inJSON(inJSON(form)))
		}
	}
	forms = slices.DeleteFunc(forms, func(form string) bool { return len(strings.TrimSpace(form)) < shortest })
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, form := range forms {
		text = strings.ReplaceAll(text, form, hidden)
	}
	return text
}

// inJSON is a text as it stands in JSON, and in Go's quotes, without the quotes.
func inJSON(text string) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(text) != nil {
		return text
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(out.String()), `"`), `"`)
}

// colours are what compose writes for terminals.
var colours = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

func plain(text string) string {
	text = colours.ReplaceAllString(strings.ToValidUTF8(text, "?"), "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text))
}

func clip(text string) string {
	if len(text) <= headMessage+tailMessage {
		return text
	}
	head, tail := text[:headMessage], text[len(text)-tailMessage:]
	for len(head) > 0 && !utf8.ValidString(head) {
		head = head[:len(head)-1]
	}
	for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
		tail = tail[1:]
	}
	return head + "\n...\n" + tail
}
