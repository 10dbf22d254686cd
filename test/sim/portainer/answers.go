// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// problem is an error as Portainer answers it.
type problem struct {
	code             int
	message, details string
}

// Error implements error.
func (p *problem) Error() string { return p.message + ": " + p.details }

// refuse makes a problem; without details they are the message.
func refuse(code int, message, details string) error {
	if details == "" {
		details = message
	}
	return &problem{code, message, details}
}

// failed is a 500.
func failed(message string, err error) error {
	return refuse(http.StatusInternalServerError, message, err.Error())
}

// writeProblem answers with an error.
func writeProblem(w http.ResponseWriter, err error) {
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{http.StatusInternalServerError, err.Error(), err.Error()}
	}
	details := p.details
	if details != "" {
		details = strings.ToUpper(details[:1]) + details[1:]
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.code)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": p.message, "details": details}) // the client is gone
}

// notReached is what a proxy answers that does not reach the engine's socket.
func notReached(w http.ResponseWriter, why string) {
	writeProblem(w, refuse(http.StatusInternalServerError, "Unable to proxy the request via the Docker socket", why))
}

// record keeps an answer that nobody but us reads.
type record struct {
	code   int
	header http.Header
	body   bytes.Buffer
}

func newRecord() *record { return &record{code: http.StatusOK, header: http.Header{}} }

// Header implements http.ResponseWriter.
func (r *record) Header() http.Header { return r.header }

// Write implements http.ResponseWriter.
func (r *record) Write(b []byte) (int, error) { return r.body.Write(b) }

// WriteHeader implements http.ResponseWriter.
func (r *record) WriteHeader(code int) { r.code = code }
