// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

func TestHaltLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	k := newPKI(t)
	before := runtime.NumGoroutine()
	for range 3 {
		m := machine.New(machine.Options{Addresses: []netip.Addr{addr("10.0.0.10")}, Web: released().Get, Installed: []string{"curl", "ca-certificates", "nginx-light"}})
		m.Boot()
		k.install(t, m)
		must(t, m, "systemctl start step-ca; systemctl reload step-ca; systemctl restart step-ca; systemctl reload nginx; systemctl restart nginx")
		web := k.transport(t, m)
		for _, port := range []int{80, 443} {
			conn, err := m.Dial(t.Context(), port)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
		request, _ := k.request(t, "a.lan", time.Hour)
		if _, err := k.client(t, m).Sign(request); err != nil {
			t.Fatal(err)
		}
		over := m.FailAuthority("*", 1, 0)
		hanging := make(chan error, 1)
		go func() {
			_, err := k.client(t, m).Health()
			hanging <- err
		}()
		must(t, m, "systemctl reload nginx")
		m.Halt()
		if err := <-hanging; err == nil {
			t.Error("a request was answered by a machine that is off")
		}
		over()
		web.CloseIdleConnections()
	}
	for range 500 {
		if runtime.NumGoroutine() <= before {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		stacks := make([]byte, 1<<20)
		text := string(stacks[:runtime.Stack(stacks, true)])
		t.Errorf("%d goroutines, %d before:\n%s", n, before, text[strings.Index(text, "\n\n")+2:])
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the folder for temporary files: %v %v", left, err)
	}
}
