// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

// soakEnd is how long before the test's deadline the soak ends: a round and the comparison take less.
const soakEnd = 90 * time.Second

// TestSoakGuests makes, power-cycles, fills, rewires and destroys guests, round after round and four at a time, until its
// time is up. In the end the lab is what it was after the first round: no process, mount, network device, control group, file or
// open file is left of any guest, and one that was there all the time has kept its data.
func TestSoakGuests(t *testing.T) {
	deadline, ok := t.Deadline()
	if !ok {
		t.Fatal("a soak needs an end: run make soak")
	}
	end := deadline.Add(-soakEnd)
	create(t, container(199, ""))
	inside(t, 199, "sh", "-c", "echo kept >/var/kept")
	soakRound(t, 0) // what is made once, such as caches, is there then
	before := traces(t)
	rounds, began := 1, time.Now()
	for ; time.Now().Before(end); rounds++ {
		soakRound(t, rounds)
		if got := inside(t, 199, "cat", "/var/kept"); got != "kept" {
			t.Fatalf("after round %d the guest that stays has %q", rounds, got)
		}
	}
	var after map[string]string
	until(t, "nothing is left", func() error {
		after = traces(t)
		if slices.Contains(fewer(t, before, after), "open files") {
			after["open files"] = before["open files"] // idle connections end by themselves
		}
		if diff := cmp.Diff(before, after); diff != "" {
			return errors.New("(-before +after)\n" + diff)
		}
		return nil
	})
	t.Logf("%d rounds of four guests in %.0f s; the lab after them: %v", rounds, time.Since(began).Seconds(), after)
}

// fewer are the numbers that went down.
func fewer(t *testing.T, before, after map[string]string) []string {
	t.Helper()
	var out []string
	for what, text := range after {
		now, err := strconv.Atoi(text)
		then, err2 := strconv.Atoi(before[what])
		if err == nil && err2 == nil && now < then {
			out = append(out, what)
		}
	}
	return out
}

// soakRound is the life of four guests at once.
func soakRound(t *testing.T, round int) {
	t.Helper()
	var group errgroup.Group
	for i := range 4 {
		group.Go(func() error { return soakLife(t, 170+(round*4+i)%20, round) })
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
}

// soakLife is the life of one guest.
func soakLife(t *testing.T, vmid, round int) error {
	path := fmt.Sprintf("/nodes/phoenix/lxc/%d", vmid)
	word := fmt.Sprintf("guest %d of round %d", vmid, round)
	if err := api.boot(container(vmid, ",firewall=1", "mp0", "local-lvm:1,mp=/srv")); err != nil {
		return err
	}
	if r, err := site.Exec(t.Context(), vmid, "sh", "-c", "[ ! -e /srv/word ] && echo "+`"$0"`+" >/srv/word", word); err != nil || r.Exit != 0 {
		return fmt.Errorf("the volume of a new guest is not empty: %w, %+v", err, r)
	}
	power := []string{"stop", "shutdown"}[round%2]
	if err := errors.Join(api.task("POST", path+"/status/"+power, nil), api.task("POST", path+"/status/start", nil)); err != nil {
		return err
	}
	if err := site.Booted(t.Context(), vmid); err != nil {
		return err
	}
	if r, err := site.Client(t.Context(), "ping", "-c", "1", "-W", "5", address(vmid)); err != nil || r.Exit != 0 {
		return fmt.Errorf("guest %d does not answer: %w, %+v", vmid, err, r)
	}
	if r, err := site.Exec(t.Context(), vmid, "cat", "/srv/word"); err != nil || strings.TrimSpace(r.Stdout) != word {
		return fmt.Errorf("the volume has %+v (%w), want %q", r, err, word)
	}
	if r, err := site.Exec(t.Context(), lab.Host, "lxc-attach", "-n", fmt.Sprint(vmid), "--", "true"); err != nil || r.Exit != 0 {
		return fmt.Errorf("the host does not reach guest %d: %w, %+v", vmid, err, r)
	}
	return api.task("DELETE", path, url.Values{"force": {"1"}})
}

// traces is what a guest could leave behind.
func traces(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	count := func(what, pattern string) {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		out[what] = fmt.Sprint(len(found))
	}
	count("network devices", "/sys/class/net/*")
	count("open files", "/proc/self/fd/*")
	count("control groups", "/sys/fs/cgroup/*/phoenix-lab-"+filepath.Base(os.Getenv("PHOENIX_LAB_FOLDER"))+"-*/*")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	out["mounts"] = fmt.Sprint(strings.Count(string(mounts), "\n"))
	var guests []string
	for _, g := range site.Site.Guests() {
		guests = append(guests, fmt.Sprint(g.VMID))
	}
	out["guests"] = strings.Join(guests, " ")
	out["files"] = inside(t, lab.Host, "sh", "-c", "cd /etc/pve && find . | sort | tr '\\n' ' '")
	processes, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	for _, path := range processes {
		name, _ := os.ReadFile(path) // it may end
		if name := strings.TrimSpace(string(name)); strings.HasPrefix(name, "lxc") || name == "systemd" {
			names[name]++
		}
	}
	out["machines"] = fmt.Sprint(names)
	return out
}
