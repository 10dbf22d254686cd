// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package lab tests in the lab: real machines, in containers, behind the simulated site's API. "make e2e" runs it, as root on
// Debian, after "make lab-deps".
package lab

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

const (
	patience = time.Minute
	tick     = 20 * time.Millisecond

	// victimVariable makes the test's program a lab that waits to be killed.
	victimVariable = "PHOENIX_LAB_VICTIM"
)

// site is the lab of all tests here, and api its API as an administrator calls it.
var (
	site *lab.Lab
	api  *caller
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	run := func() int { return stage(m) }
	if os.Getenv(victimVariable) != "" {
		run = victim
	}
	os.Exit(lab.Main(run))
}

// stage starts the lab, runs the tests and stops it.
func stage(m *testing.M) int {
	began := time.Now()
	var err error
	if site, err = lab.Start(context.Background(), lab.Options{Progress: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, "start lab:", err)
		return 1
	}
	fmt.Printf("the lab was up after %.1f s\n", time.Since(began).Seconds())
	api = newCaller(site.Site)
	exit := m.Run()
	if err := site.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop lab:", err)
		return 1
	}
	return exit
}

// victim is a lab with one guest, until it is told to end.
func victim() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	first, err := lab.Start(ctx, lab.Options{}) // one after the other in one process
	if err == nil {
		err = first.Stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start and stop lab:", err)
		return 1
	}
	l, err := lab.Start(ctx, lab.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "start lab:", err)
		return 1
	}
	if err := newCaller(l.Site).boot(container(101, "")); err != nil {
		fmt.Fprintln(os.Stderr, "make guest:", err)
		return 1
	}
	fmt.Println("up")
	<-ctx.Done()
	if err := l.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop lab:", err)
		return 1
	}
	return 0
}

// until waits for what comes by itself.
func until(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(tick) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %s: %v", what, patience, err)
}

// inside runs a program in a machine, which has to succeed, and returns what it printed.
func inside(t *testing.T, vmid int, argv ...string) string {
	t.Helper()
	r, err := site.Exec(t.Context(), vmid, argv...)
	if err != nil || r.Exit != 0 {
		t.Fatalf("run %q in machine %d: %v, %+v", argv, vmid, err, r)
	}
	return strings.TrimSpace(r.Stdout)
}

// outside is inside for the client.
func outside(t *testing.T, argv ...string) string {
	t.Helper()
	r, err := site.Client(t.Context(), argv...)
	if err != nil || r.Exit != 0 {
		t.Fatalf("run %q outside: %v, %+v", argv, err, r)
	}
	return strings.TrimSpace(r.Stdout)
}

// container is a container that the API shall make, with more of net0 and more options.
func container(vmid int, net string, more ...string) url.Values {
	v := url.Values{
		"vmid": {fmt.Sprint(vmid)}, "hostname": {fmt.Sprintf("box-%d", vmid)}, "rootfs": {"local-lvm:1"},
		"ostemplate": {"local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"},
		"net0":       {fmt.Sprintf("name=eth0,bridge=vmbr0,ip=%s/24,gw=%s%s", address(vmid), lab.Gateway, net)},
	}
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

// address is a guest's own.
func address(vmid int) string { return fmt.Sprintf("10.0.0.%d", vmid%1000) }

// boot makes and starts a container.
func (c *caller) boot(v url.Values) error {
	if err := c.task("POST", "/nodes/phoenix/lxc", v); err != nil {
		return err
	}
	return c.task("POST", "/nodes/phoenix/lxc/"+v.Get("vmid")+"/status/start", nil)
}

// create makes and starts a container, which goes with the test.
func create(t *testing.T, v url.Values) {
	t.Helper()
	if err := api.boot(v); err != nil {
		t.Fatal(err)
	}
	dispose(t, v)
}

// dispose destroys a container when the test ends.
func dispose(t *testing.T, v url.Values) {
	t.Helper()
	t.Cleanup(func() {
		if err := api.task("DELETE", "/nodes/phoenix/lxc/"+v.Get("vmid"), url.Values{"force": {"1"}}); err != nil {
			t.Error(err)
		}
	})
}
