// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"testing"
	"time"
)

// TestLoadedSince: a router that cannot read a file takes nothing any more, while its health checks go on.
func TestLoadedSince(t *testing.T) {
	answer := func(router, status string) []byte {
		return fmt.Appendf(nil, `{"routers":{%q:{"status":"enabled"}},"services":{"s@file":{"status":"enabled","serverStatus":{"http://10.0.0.1":%q}}}}`, router, status)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var last loaded
	for i, c := range []struct {
		reason string
		raw    []byte
		since  int
	}{
		{"the first answer", answer("a@file", "UP"), 0},
		{"the same again", answer("a@file", "UP"), 0},
		{"a server that goes down is no change of what is loaded", answer("a@file", "DOWN"), 0},
		{"another router is", answer("b@file", "DOWN"), 3},
		{"and that stays", answer("b@file", "UP"), 3},
	} {
		next, err := last.next(c.raw, at.Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if got := int(next.since.Sub(at) / time.Second); got != c.since {
			t.Errorf("%s: it is loaded since second %d, want %d", c.reason, got, c.since)
		}
		last = next
	}
	if next, err := last.next([]byte("no JSON"), at); err == nil {
		t.Errorf("what is no answer says %v", next)
	}
}

func TestSlowWait(t *testing.T) {
	for _, c := range []struct {
		reason      string
		before      int
		least, most time.Duration
	}{
		{"at first", 0, time.Minute, 2 * time.Minute},
		{"again", 1, 2 * time.Minute, 4 * time.Minute},
		{"for the fifth time", 4, 16 * time.Minute, 32 * time.Minute},
		{"for ever", 1000, time.Hour, time.Hour},
	} {
		different := map[time.Duration]bool{}
		for range 50 {
			got := slowWait(c.before)
			if got < c.least || got > c.most {
				t.Errorf("%s: it waits for %s, want %s to %s", c.reason, got, c.least, c.most)
			}
			different[got] = true
		}
		if c.least != c.most && len(different) < 2 {
			t.Errorf("%s: all wait for the same time, and would meet again", c.reason)
		}
	}
}
