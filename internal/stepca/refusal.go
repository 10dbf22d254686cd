// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// limit is how step-ca refuses a duration. Both durations in it include its back-dating.
var limit = regexp.MustCompile(`requested duration of (\S+) is (more|less) than the authorized (?:maximum|minimum)(?: certificate duration)? of (\S+?)\.?(?:\s|$)`)

// refusal makes an error of an answer that is not a success.
func (c *Client) refusal(status int, body []byte, skew time.Duration, secret string) *Error {
	message := refusalMessage(body, secret)
	e := &Error{Kind: Invalid, URL: c.url, ClockSkew: skew, status: status, Err: fmt.Errorf("%s answers %d %s", c.url, status, http.StatusText(status))}
	if message != "" {
		e.Err = fmt.Errorf("%s answers %d: %s", c.url, status, message)
	}
	switch {
	case status == http.StatusUnauthorized:
		e.Kind = Unauthorized
	case status == http.StatusForbidden:
		e.Kind = Forbidden
		e.readLimit(message)
	case status == http.StatusNotImplemented:
		e.Kind = Invalid
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		e.Kind = Away
	}
	return e
}

// refusalMessage returns what the authority says, without its hint to its own log and never with the secret.
func refusalMessage(body []byte, secret string) string {
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	message := answer.Message
	if secret != "" {
		message = strings.ReplaceAll(message, secret, "[token]")
	}
	message = strings.Join(strings.Fields(message), " ")
	message = strings.TrimSuffix(message, "Please see the certificate authority logs for more info.")
	for _, prefix := range []string{"The request was forbidden by the certificate authority: ", "The request could not be completed: "} {
		message = strings.TrimPrefix(message, prefix)
	}
	if runes := []rune(message); len(runes) > maxMessage {
		message = string(runes[:maxMessage])
	}
	return strings.TrimRight(message, " .")
}

// readLimit tells a refused duration from other refusals.
func (e *Error) readLimit(message string) {
	found := limit.FindStringSubmatch(message)
	if found == nil {
		return
	}
	e.Kind = TooLong
	if found[2] == "less" {
		e.Kind = TooShort
	}
	asked, askedErr := time.ParseDuration(found[1])
	most, limitErr := time.ParseDuration(found[3])
	if askedErr == nil && limitErr == nil {
		e.Asked, e.Limit = asked, most
	}
}

// of takes the authority's back-dating out of the durations, given the one that was asked for.
func (e *Error) of(asked time.Duration) {
	if e.Kind != TooLong && e.Kind != TooShort {
		return
	}
	if backdate := e.Asked - asked; e.Limit > 0 && backdate >= 0 && backdate < e.Limit {
		e.Limit -= backdate
	}
	e.Asked = asked
}
