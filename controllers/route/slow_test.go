// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestLookTakesLong: while it takes longer than a pass waits to see what is served, what was seen last stands, for a manager
// that is new too.
func TestLookTakesLong(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	w.ready("blog")
	w.slowly(3 * time.Second)
	w.sleep(10 * time.Minute)
	w.quiet("blog")
	w.restart()
	w.quiet("blog")
}

// TestHandshakes: however many Routes come at once, the gateway's connections are left to its clients.
func TestHandshakes(t *testing.T) {
	w := newWorld(t)
	const routes, most = 40, 16
	for i := range routes {
		w.declare(fmt.Sprintf("blog%d", i), nil)
	}
	w.slowly(200 * time.Millisecond)
	var all sync.WaitGroup
	for i := range routes {
		all.Go(func() { w.ready(fmt.Sprintf("blog%d", i)) })
	}
	all.Wait()
	if w.most < 2 || w.most > most {
		t.Errorf("%d certificates were asked for at once, want %d at most", w.most, most)
	}
}
