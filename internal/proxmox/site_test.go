// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/internal/pin"
)

// memory is a site in memory: it holds guests and tasks and answers the
// questions of a Site, without a network so that a test can own the time.
type memory struct {
	mu       sync.Mutex
	guests   map[int]map[string]any
	quorate  bool
	offline  map[string]bool
	audit    bool // the token may see guests
	sysAudit bool // and the cluster's state
	down     bool
	slow     time.Duration // of the list
	tasks    map[UPID]string
	counts   map[string]int
}

func newMemory(vmids ...int) *memory {
	m := &memory{
		guests: map[int]map[string]any{}, quorate: true, offline: map[string]bool{}, audit: true, sysAudit: true,
		tasks: map[UPID]string{}, counts: map[string]int{},
	}
	for _, vmid := range vmids {
		m.guests[vmid] = map[string]any{"vmid": vmid, "type": "lxc", "node": "pve1", "name": "g", "status": "running"}
	}
	return m
}

func (m *memory) RoundTrip(r *http.Request) (*http.Response, error) {
	path := strings.TrimPrefix(r.URL.Path, "/api2/json")
	m.mu.Lock()
	slow := m.slow
	m.counts[path]++
	m.mu.Unlock()
	if path == "/cluster/resources" && slow > 0 {
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return nil, errors.New("connection refused")
	}
	status, body := m.answer(path)
	raw, err := json.Marshal(map[string]any{"data": body})
	if err != nil {
		return nil, err
	}
	return say(status, string(raw))
}

func (m *memory) answer(path string) (int, any) {
	switch {
	case path == "/cluster/resources" && m.audit:
		return 200, slices.Collect(maps.Values(m.guests))
	case path == "/cluster/resources":
		return 200, []any{}
	case path == "/cluster/status" && !m.sysAudit:
		return 403, nil
	case path == "/cluster/status":
		rows := []map[string]any{{"type": "cluster", "name": "c", "quorate": m.quorate}}
		for _, node := range []string{"pve1", "pve2"} {
			rows = append(rows, map[string]any{"type": "node", "name": node, "online": !m.offline[node]})
		}
		return 200, rows
	case path == "/access/permissions" && m.audit:
		return 200, map[string]any{"/": map[string]any{"VM.Audit": 1}}
	case path == "/access/permissions":
		return 200, map[string]any{}
	}
	_, rest, _ := strings.Cut(path, "/tasks/")
	upid, _, _ := strings.Cut(rest, "/")
	switch exit := m.tasks[UPID(upid)]; exit {
	case "running":
		return 200, map[string]any{"status": "running"}
	case "lost":
		return 596, nil
	default:
		return 200, map[string]any{"status": "stopped", "exitstatus": exit}
	}
}

func (m *memory) do(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *memory) count(path string) (n int) {
	m.do(func() { n = m.counts[path] })
	return n
}

// followed is a Site over a memory, and what it told.
type followed struct {
	*Site
	*memory
	told func() [][]int // since the last call
}

// follow runs a test with a followed site in a bubble of fake time.
func follow(t *testing.T, m *memory, change func(*SiteOptions), test func(*testing.T, followed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told [][]int
		o := SiteOptions{
			Endpoint: Endpoint{
				URL: "https://10.0.0.13:8006", TokenID: "root@pam!t1", TokenSecret: "x",
				TLS: pin.Config{Fingerprint: strings.Repeat("ab", 32)},
			},
			OnChange: func(vmids []int) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, vmids)
			},
		}
		if change != nil {
			change(&o)
		}
		s, err := NewSite(o)
		if err != nil {
			t.Fatal(err)
		}
		s.client.carrier.base = m
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { s.Run(ctx) })
		synctest.Wait()
		test(t, followed{Site: s, memory: m, told: func() [][]int {
			mu.Lock()
			defer mu.Unlock()
			defer func() { told = nil }()
			return told
		}})
		cancel()
		run.Wait() // the bubble fails when anything of the site is left running
	})
}

// pass lets a time go by and everything that it sets off come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestSiteTellsChanges(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(m *memory)
		want   [][]int
	}{
		"nothing":  {"a quiet site tells nothing", func(*memory) {}, nil},
		"figures":  {"load is no change", func(m *memory) { m.guests[101]["cpu"] = 0.7 }, nil},
		"status":   {"power changed outside", func(m *memory) { m.guests[101]["status"] = "stopped" }, [][]int{{101}}},
		"node":     {"a guest moved", func(m *memory) { m.guests[102]["node"] = "pve2" }, [][]int{{102}}},
		"lock":     {"a backup began", func(m *memory) { m.guests[102]["lock"] = "backup" }, [][]int{{102}}},
		"name":     {"renamed", func(m *memory) { m.guests[102]["name"] = "x" }, [][]int{{102}}},
		"tags":     {"the mark is gone", func(m *memory) { m.guests[102]["tags"] = "a" }, [][]int{{102}}},
		"came":     {"a new guest", func(m *memory) { m.guests[103] = map[string]any{"vmid": 103, "type": "qemu", "node": "pve1"} }, [][]int{{103}}},
		"went":     {"a guest is gone", func(m *memory) { delete(m.guests, 101) }, [][]int{{101}}},
		"several":  {"sorted, in one call", func(m *memory) { m.guests[102]["tags"], m.guests[101]["tags"] = "a", "b" }, [][]int{{101, 102}}},
		"back off": {"a short outage ends: everybody may have waited", func(m *memory) { m.down = true }, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			follow(t, newMemory(101, 102), nil, func(t *testing.T, s followed) {
				if diff := cmp.Diff([][]int{{101, 102}}, s.told()); diff != "" {
					t.Errorf("the first list tells all (-want +got):\n%s", diff)
				}
				s.do(func() { c.change(s.memory) })
				pass(11 * time.Second)
				if diff := cmp.Diff(c.want, s.told()); diff != "" {
					t.Errorf("%s: (-want +got):\n%s", c.reason, diff)
				}
				pass(30 * time.Second)
				if told := s.told(); told != nil {
					t.Errorf("%s: told again: %v", c.reason, told)
				}
			})
		})
	}
}

func TestSiteIsBack(t *testing.T) {
	follow(t, newMemory(101, 102), nil, func(t *testing.T, s followed) {
		s.told()
		s.do(func() { s.down = true })
		pass(time.Minute)
		if err := s.Err(); !IsUnreachable(err) {
			t.Errorf("Err() = %v while the site is away", err)
		}
		old, ok := s.Snapshot()
		if !ok || len(old.Guests) != 2 || time.Since(old.At) < 50*time.Second {
			t.Errorf("the last list must stay, with its time: %+v, %v", old, ok)
		}
		if _, err := s.Refresh(t.Context()); !IsUnreachable(err) {
			t.Errorf("Refresh() = %v while the site is away", err)
		}
		s.do(func() { s.down = false })
		pass(time.Minute)
		if diff := cmp.Diff([][]int{{101, 102}}, s.told()); diff != "" || s.Err() != nil {
			t.Errorf("all must hear that the site is back: %v (-want +got):\n%s", s.Err(), diff)
		}
	})
}

func TestSiteCost(t *testing.T) {
	m := newMemory()
	for vmid := 100; vmid < 300; vmid++ {
		m.guests[vmid] = map[string]any{"vmid": vmid, "type": "lxc", "node": "pve1", "status": "running"}
	}
	follow(t, m, nil, func(t *testing.T, s followed) {
		s.do(func() { clear(s.counts) })
		pass(10*time.Minute - time.Second)
		total := 0
		s.do(func() {
			for _, n := range s.counts {
				total += n
			}
		})
		if total > 70 { // six lists and one question for the quorum a minute
			t.Errorf("%d requests in ten minutes for 200 guests", total)
		}
	})
}

func TestDoubt(t *testing.T) {
	ten := []int{101, 102, 103, 104, 105, 106, 107, 108, 109, 110}
	remove := func(m *memory, vmids ...int) {
		for _, vmid := range vmids {
			delete(m.guests, vmid)
		}
	}
	cases := map[string]struct {
		reason string
		vmids  []int
		change func(m *memory)
		after  time.Duration // 0: ten seconds
		want   string        // part of the doubt; empty: none
	}{
		"quiet":        {"nothing to doubt", ten, func(*memory) {}, 0, ""},
		"half":         {"half is not more than half", ten, func(m *memory) { remove(m, 101, 102, 103, 104, 105) }, 0, ""},
		"most":         {"a list that shrank at once", ten, func(m *memory) { remove(m, 101, 102, 103, 104, 105, 106) }, 0, "6 of 10 guests are gone"},
		"two of two":   {"a small site may lose two", []int{101, 102}, func(m *memory) { remove(m, 101, 102) }, 0, ""},
		"stays short":  {"what stays so long is so", ten, func(m *memory) { remove(m, 101, 102, 103, 104, 105, 106) }, 11 * time.Minute, ""},
		"blind":        {"a token that lost VM.Audit sees an empty list", []int{101, 102}, func(m *memory) { m.audit = false }, 0, "VM.Audit"},
		"stays blind":  {"and no time makes it right", []int{101, 102}, func(m *memory) { m.audit = false }, time.Hour, "VM.Audit"},
		"unknown":      {"after a start everything is unknown", []int{101, 102, 103}, func(m *memory) { m.guests[101]["status"], m.guests[102]["status"] = "unknown", "unknown" }, 0, "2 of 3 guests is unknown"},
		"some unknown": {"half is not more than half", []int{101, 102}, func(m *memory) { m.guests[101]["status"] = "unknown" }, 0, ""},
		"young": {"a new guest is unknown at first", []int{101}, func(m *memory) {
			m.guests[7] = map[string]any{"vmid": 7, "type": "lxc"}
			m.guests[8] = map[string]any{"vmid": 8, "type": "lxc"}
		}, 0, ""},
		"no longer so": {"but not for long", []int{101}, func(m *memory) {
			m.guests[7] = map[string]any{"vmid": 7, "type": "lxc"}
			m.guests[8] = map[string]any{"vmid": 8, "type": "lxc"}
		}, time.Minute, "unknown"},
		"being made": {"a copy of hours is unknown all the time", []int{101}, func(m *memory) {
			m.guests[7] = map[string]any{"vmid": 7, "type": "qemu", "lock": "clone"}
			m.guests[8] = map[string]any{"vmid": 8, "type": "lxc", "lock": "create"}
		}, time.Hour, ""},
		"no quorum":      {"seen within a minute", ten, func(m *memory) { m.quorate = false }, time.Minute, "quorum"},
		"not to be told": {"without Sys.Audit nothing is known of the quorum", ten, func(m *memory) { m.quorate, m.sysAudit = false, false }, time.Minute, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			follow(t, newMemory(c.vmids...), nil, func(t *testing.T, s followed) {
				s.do(func() { c.change(s.memory) })
				if c.after == 0 {
					c.after = 10 * time.Second
				}
				pass(c.after + time.Second)
				snapshot, ok := s.Snapshot()
				if !ok || (snapshot.Doubt != "") != (c.want != "") || !strings.Contains(snapshot.Doubt, c.want) {
					t.Errorf("%s: doubt %q, want %q", c.reason, snapshot.Doubt, c.want)
				}
				if got := snapshot.DoubtAbout(101); got != snapshot.Doubt {
					t.Errorf("%s: DoubtAbout() = %q", c.reason, got)
				}
			})
		})
	}
}

func TestDoubtEnds(t *testing.T) {
	follow(t, newMemory(101, 102), nil, func(t *testing.T, s followed) {
		s.do(func() { s.quorate = false })
		if snapshot, err := s.Refresh(t.Context()); err != nil || !strings.Contains(snapshot.Doubt, "quorum") {
			t.Errorf("Refresh() asks for the quorum at once: %q, %v", snapshot.Doubt, err)
		}
		s.told()
		s.do(func() { s.quorate = true })
		pass(time.Minute + 10*time.Second)
		if diff := cmp.Diff([][]int{{101, 102}}, s.told()); diff != "" {
			t.Errorf("all wait for the end of a doubt (-want +got):\n%s", diff)
		}
	})
}

func TestOwnDestructionIsNoDoubt(t *testing.T) {
	follow(t, newMemory(101, 102, 103, 104), nil, func(t *testing.T, s followed) {
		for _, vmid := range []int{101, 102, 103, 104} {
			upid := UPID("UPID:pve1:00000001:00000002:6B01EDC6:vzdestroy:" + string(rune('a'+vmid%26)) + ":root@pam!t1:")
			s.do(func() { s.memory.tasks[upid] = "OK" })
			s.Watch(upid, vmid)
		}
		s.do(func() { clear(s.guests) })
		pass(11 * time.Second)
		if snapshot, _ := s.Snapshot(); snapshot.Doubt != "" {
			t.Errorf("guests that we destroyed ourselves are missed: %s", snapshot.Doubt)
		}
	})
}

func TestOfflineNode(t *testing.T) {
	follow(t, newMemory(101, 102, 103, 104), nil, func(t *testing.T, s followed) {
		s.do(func() {
			s.guests[104]["node"] = "pve2"
			s.offline["pve2"] = true
			s.guests[104]["status"] = "unknown"
		})
		pass(11 * time.Second) // a guest that became unknown makes it ask at once
		snapshot, _ := s.Snapshot()
		if snapshot.Doubt != "" || snapshot.DoubtAbout(101) != "" {
			t.Errorf("one node of two does not stop the other: %q", snapshot.Doubt)
		}
		if got := snapshot.DoubtAbout(104); !strings.Contains(got, "pve2") {
			t.Errorf("DoubtAbout(104) = %q", got)
		}
	})
}

func TestRefresh(t *testing.T) {
	follow(t, newMemory(101), nil, func(t *testing.T, s followed) {
		s.do(func() { s.slow = time.Second })
		before := s.count("/cluster/resources")
		asked := time.Now()
		first := s.join(false) // a list is under way when the others come
		synctest.Wait()
		s.do(func() { s.guests[102] = map[string]any{"vmid": 102, "type": "lxc", "node": "pve1"} })
		var together sync.WaitGroup
		for range 20 {
			together.Go(func() {
				snapshot, err := s.Refresh(t.Context())
				if err != nil || snapshot.At.Before(asked.Add(time.Second)) || len(snapshot.Guests) != 2 {
					t.Errorf("Refresh() = %+v, %v: a list from before the call", snapshot, err)
				}
			})
		}
		together.Wait()
		<-first.done
		if n := s.count("/cluster/resources") - before; n != 2 {
			t.Errorf("20 calls and one list made %d requests, want 2", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.Refresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Refresh() = %v after its context's end", err)
		}
	})
}

func TestRefreshAfterTheEnd(t *testing.T) {
	var site *Site
	follow(t, newMemory(101), nil, func(_ *testing.T, s followed) { site = s.Site })
	if _, err := site.Refresh(t.Context()); !errors.Is(err, errSiteEnded) {
		t.Errorf("Refresh() = %v on a site that is no longer followed", err)
	}
}

func TestDigests(t *testing.T) {
	var mu sync.Mutex
	digests, failure := map[int]string{101: "a", 102: "b"}, error(nil)
	set := func(d map[int]string, err error) {
		mu.Lock()
		defer mu.Unlock()
		digests, failure = d, err
	}
	read := func(context.Context) (map[int]string, error) {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(digests), failure
	}
	follow(t, newMemory(101, 102), func(o *SiteOptions) { o.Digests = read }, func(t *testing.T, s followed) {
		s.told()
		snapshot, _ := s.Snapshot()
		first := snapshot.DigestsAt
		if first.IsZero() {
			t.Error("digests were not read at the start")
		}
		set(map[int]string{101: "a2", 103: "c"}, nil)
		pass(61 * time.Second)
		if diff := cmp.Diff([][]int{{101, 102, 103}}, s.told()); diff != "" {
			t.Errorf("changed, gone and new (-want +got):\n%s", diff)
		}
		s.noteDigest(101, "a2")
		s.noteDigest(103, "c2") // put back since the digests were read
		pass(60 * time.Second)
		if diff := cmp.Diff([][]int{{103}}, s.told()); diff != "" {
			t.Errorf("put back and made again between two readings (-want +got):\n%s", diff)
		}
		set(nil, errors.New("connection refused"))
		pass(60 * time.Second)
		if s.told() != nil || s.Err() == nil {
			t.Errorf("digests that cannot be read change nothing and show in Err(): %v", s.Err())
		}
		snapshot, _ = s.Snapshot()
		if got := snapshot.DigestsAt.Sub(first); got != 2*time.Minute {
			t.Errorf("DigestsAt is %v after the first reading, want that of the last good one", got)
		}
		pass(5 * time.Minute)
		if diff := cmp.Diff([][]int{{101, 103}}, s.told()); diff != "" {
			t.Errorf("guests that are no longer watched by their digests, told once (-want +got):\n%s", diff)
		}
		if snapshot, _ = s.Snapshot(); !snapshot.DigestsAt.IsZero() {
			t.Errorf("DigestsAt is %v: nobody would look at guests that are not watched", snapshot.DigestsAt)
		}
		set(map[int]string{101: "a3"}, nil)
		pass(60 * time.Second)
		if diff := cmp.Diff([][]int{{101, 103}}, s.told()); diff != "" {
			t.Errorf("changed while no digests could be read (-want +got):\n%s", diff)
		}
	})
}

func TestNewSiteRefuses(t *testing.T) {
	if _, err := NewSite(SiteOptions{}); err == nil {
		t.Error("a site without an endpoint")
	}
}
