// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

const (
	contentJSON = "application/json;charset=UTF-8"
	badParams   = "Parameter verification failed."
)

// apiError is a refusal as Proxmox words it.
type apiError struct {
	status int
	reason string
	fields fieldErrors
	bare   bool // no body at all
	plain  bool // the reason alone as text
	flush  bool // the message ends without a line break
}

// Error implements error.
func (e *apiError) Error() string { return e.reason }

// failf is what a Perl die becomes: status 500.
func failf(format string, args ...any) error {
	return &apiError{status: http.StatusInternalServerError, reason: fmt.Sprintf(format, args...)}
}

func paramError(name, format string, args ...any) error {
	return &apiError{
		status: http.StatusBadRequest, reason: badParams,
		fields: fieldErrors{name: fmt.Sprintf(format, args...)},
	}
}

func permError(detail string) error {
	reason := "Permission check failed"
	if detail != "" {
		reason += " (" + detail + ")"
	}
	return &apiError{status: http.StatusForbidden, reason: reason}
}

func bareError(status int, reason string) error {
	return &apiError{status: status, reason: reason, bare: true}
}

func encodeJSON(v any) []byte {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("encode answer: %v", err))
	}
	return []byte(strings.TrimSuffix(out.String(), "\n"))
}

// list is an answer with keys beside "data", as the task lists have.
type list struct {
	data  any
	total int
}

func success(v any) *reply {
	doc := map[string]any{"data": v}
	if l, ok := v.(list); ok {
		doc = map[string]any{"data": l.data, "total": l.total}
	}
	return &reply{status: http.StatusOK, body: encodeJSON(doc), contentType: contentJSON}
}

func refusal(err error) *reply {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{status: http.StatusInternalServerError, reason: err.Error()}
	}
	reason, _, _ := strings.Cut(e.reason, "\n")
	rep := &reply{status: e.status, reason: reason}
	switch {
	case e.bare:
	case e.plain:
		rep.body = []byte(e.reason)
	default:
		doc := map[string]any{"data": nil, "message": e.reason + "\n"}
		if e.flush {
			doc["message"] = e.reason
		}
		if len(e.fields) > 0 {
			doc["errors"] = e.fields
		}
		rep.body, rep.contentType = encodeJSON(doc), contentJSON
	}
	return rep
}

// extjs rewraps an answer for /api2/extjs, which always says 200.
func extjs(rep *reply) *reply {
	var doc map[string]any
	if err := json.Unmarshal(rep.body, &doc); err != nil {
		return rep
	}
	if rep.status == http.StatusOK {
		doc["success"] = 1
	} else {
		doc["success"], doc["status"] = 0, rep.status
	}
	return &reply{status: http.StatusOK, body: encodeJSON(doc), contentType: contentJSON}
}
