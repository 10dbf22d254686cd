// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// follow serves what the files say, again and again: at once when they change, then not before the throttle duration is
// over.
func (s *Server) follow() {
	last := s.take(nil, func(error) {}) // what is wrong was said
	for s.wait() {
		if s.o.Faults.deaf() {
			continue
		}
		last = s.take(last, func(err error) {
			s.log("ERR", fmt.Sprintf("Error occurred during watcher callback error=%q providerName=file", err))
		})
	}
}

// wait waits for a change; false: it is over.
func (s *Server) wait() bool {
	select {
	case <-s.ctx.Done():
		return false
	case <-s.changed:
		return true
	}
}

// take serves what the files say, if that is something new, and tells what it knows then.
func (s *Server) take(last []byte, failed func(error)) []byte {
	c, fingerprint, err := s.look()
	if err != nil {
		failed(err)
		return last
	}
	if bytes.Equal(fingerprint, last) || !pause(s.ctx, s.o.Faults.delay()) {
		return last
	}
	s.apply(c)
	pause(s.ctx, time.Duration(s.static.Providers.ProvidersThrottleDuration))
	return fingerprint
}

// look reads the files, and tells by which bytes two of what they say can be compared.
func (s *Server) look() (*configuration, []byte, error) {
	c, err := s.source.read()
	if err != nil {
		return nil, nil, err
	}
	fingerprint, err := json.Marshal(c)
	return c, fingerprint, err
}

// pause waits; false: the context ended before.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
