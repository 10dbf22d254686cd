// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

const (
	// maxAnswer bounds an answer. The list of a thousand guests is 0.5 MB.
	maxAnswer = 16 << 20
	// maxRequest is Proxmox VE's own limit of a body (measured).
	maxRequest = 512 << 10
	// maxText bounds what of an answer goes into an error.
	maxText = 2 << 10
)

// exchange carries one request and turns everything that is no usable answer
// into an *Error. It stands below go-proxmox, which takes the answers 595 and
// 596 to a PUT or DELETE for success, drops the text of 401 and 403, and the
// body of 500 (each measured with v0.8.1).
type exchange struct {
	base    http.RoundTripper
	idle    func() // lets idle connections go
	prefix  string // of the path: not part of what an Error shows
	tokenID string
	secret  secret.Secret
}

// RoundTrip returns an answer only when its status is 200 and its body is a
// JSON object with data.
func (x *exchange) RoundTrip(request *http.Request) (*http.Response, error) {
	e := &Error{Method: request.Method, Path: strings.TrimPrefix(request.URL.Path, x.prefix)}
	if request.ContentLength > maxRequest {
		closeBody(request)
		e.Code = http.StatusBadRequest
		e.Err = fmt.Errorf("the parameters are %d bytes, Proxmox VE takes %d", request.ContentLength, maxRequest)
		return nil, e
	}
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "PVEAPIToken="+x.tokenID+"="+string(x.secret.Reveal()))
	response, err := x.base.RoundTrip(request)
	if err != nil {
		e.Err = err
		return nil, e
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if response.StatusCode != http.StatusOK {
		e.refused(response, body)
		return nil, e
	}
	switch {
	case err != nil:
		e.Err = fmt.Errorf("read answer: %w", err)
	case len(body) > maxAnswer:
		e.Code, e.Err = response.StatusCode, fmt.Errorf("answer is longer than %d bytes", maxAnswer)
	case len(body) == 0:
		e.Err = errors.New("answer is empty")
	case !hasData(body):
		e.Code, e.Err = response.StatusCode, errors.New("answer is not Proxmox VE's JSON")
	default:
		response.Body = io.NopCloser(bytes.NewReader(body))
		return response, nil
	}
	return nil, e
}

// refused takes what an answer of another status than 200 says.
func (e *Error) refused(response *http.Response, body []byte) {
	e.Code = response.StatusCode
	e.Reason = clip(strings.TrimPrefix(response.Status, strconv.Itoa(response.StatusCode)))
	var said struct {
		Message scalar                     `json:"message"`
		Errors  map[string]json.RawMessage `json:"errors"`
	}
	if json.Unmarshal(body, &said) != nil {
		return
	}
	e.Message = clip(string(said.Message))
	for name, raw := range said.Errors {
		var complaint scalar
		if complaint.UnmarshalJSON(raw) != nil {
			complaint = scalar(raw)
		}
		if e.Fields == nil {
			e.Fields = map[string]string{}
		}
		e.Fields[clip(name)] = clip(string(complaint))
	}
}

// hide takes the values of secret parameters out of what Proxmox VE said: it
// quotes a value that it refuses.
func (e *Error) hide(params map[string]string) {
	for name, value := range params {
		if len(value) < 4 || !strings.Contains(name, "password") {
			continue
		}
		shown := secret.Secret(value).String()
		e.Reason = strings.ReplaceAll(e.Reason, value, shown)
		e.Message = strings.ReplaceAll(e.Message, value, shown)
		for field, complaint := range e.Fields {
			e.Fields[field] = strings.ReplaceAll(complaint, value, shown)
		}
	}
}

func hasData(body []byte) bool {
	var answer map[string]json.RawMessage
	if json.Unmarshal(body, &answer) != nil {
		return false
	}
	_, ok := answer["data"]
	return ok
}

func closeBody(request *http.Request) {
	if request.Body != nil {
		_ = request.Body.Close()
	}
}

// clip trims a text, makes it printable and bounds it.
func clip(s string) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, "?"))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}
