// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// TestManyAtOnce: what many Routes have to say to machines travels together, and each writes its status a few times at most.
func TestManyAtOnce(t *testing.T) {
	const many, workers = 120, 32
	w := newWorld(t)
	for i := range many {
		w.declare(fmt.Sprintf("r%03d", i), nil)
	}
	before := w.gateway.asked() + w.router.asked()
	next := make(chan string)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for name := range next {
				for range lookLimit {
					after := w.pass(name)
					if strings.HasPrefix(said(w.get(name), v1alpha1.ReadyCondition), "True InSync") {
						break
					}
					time.Sleep(min(after, 50*time.Millisecond))
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { // the time of the world goes on with the real one
		for {
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
				w.sleep(10 * time.Millisecond)
			}
		}
	}()
	for i := range many {
		next <- fmt.Sprintf("r%03d", i)
	}
	close(next)
	work.Wait()
	close(ended)
	for i := range many {
		name := fmt.Sprintf("r%03d", i)
		if got := said(w.get(name), v1alpha1.ReadyCondition); !strings.HasPrefix(got, "True InSync") {
			t.Fatalf("%s is %s", name, got)
		}
	}
	w.served("r000.phoenix.lan")
	w.served(fmt.Sprintf("r%03d.phoenix.lan", many-1))
	asked := w.gateway.asked() + w.router.asked() - before
	t.Logf("%d Routes: %d sessions, %d patches of status", many, asked, w.patches)
	if asked > 2*many { // each for itself would be two for its files, and some more to look at them
		t.Errorf("%d sessions for %d Routes", asked, many)
	}
	if w.patches > 4*many {
		t.Errorf("%d patches of status for %d Routes", w.patches, many)
	}
}
