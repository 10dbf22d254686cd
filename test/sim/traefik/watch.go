// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bytes"
	"context"
	"encoding/json"
	"time"
)

// follow serves what the files say, again and again: at once when they change, then not before the throttle duration is
// over.
func (s *Server) follow(ctx context.Context, changed <-chan struct{}) {
	var last []byte
	for first := true; ; first = false {
		if !first {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			if s.o.Faults.deaf() {
				continue
			}
		}
		c, fingerprint, err := s.look()
		switch {
		case err != nil && first:
			continue // it was said
		case err != nil:
			s.log("ERR", "Error occurred during watcher callback error=\""+err.Error()+"\" providerName=file")
			continue
		case bytes.Equal(fingerprint, last):
			continue
		}
		if !pause(ctx, s.o.Faults.delay()) {
			return
		}
		last = fingerprint
		s.apply(c)
		if !pause(ctx, time.Duration(s.static.Providers.ProvidersThrottleDuration)) {
			return
		}
	}
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
