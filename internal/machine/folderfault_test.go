// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

func TestFolderConnectionIsCut(t *testing.T) {
	for _, c := range []struct {
		reason, text string
		when         machine.Cut
		after        string
	}{
		{"nothing ran", "two", machine.CutBefore, "one"},
		{"the commit comes to its end", "two", machine.CutDuring, "two"},
		{"only the answer is lost", "two", machine.CutAfter, "two"},
		{"nobody hears that it is refused, but it is", "bad", machine.CutDuring, "one"},
		{"nor this one", "bad", machine.CutAfter, "one"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			r := newRouting(t)
			if err := r.put("a", "one", false); err != nil {
				t.Fatal(err)
			}
			r.sim.Cut("sh", 1, c.when)
			release := r.sim.Hold("app-check *")
			if c.when != machine.CutDuring {
				release()
			}
			if err := r.put("a", c.text, true); !IsAway(err) {
				t.Fatalf("Put() = %v", err)
			}
			// A look waits for what runs, and finds what became of it.
			if c.when == machine.CutDuring {
				r.until("it runs", func() bool { return r.sim.Held() == 1 })
				r.sim.Program("sleep", func(context.Context, *machine.Process) int { release(); return 0 })
			}
			previous := map[string]string{}
			if c.after == "two" {
				previous["a"] = "one"
			}
			r.looks(c.reason, map[string]string{"a": c.after}, previous)
			r.is(c.reason, map[string]string{"a": c.after})
			if err := r.put("a", "two", false); err != nil {
				t.Error(err)
			}
			r.is("put again", map[string]string{"a": "two"})
		})
	}
}

// TestFolderWaitsForAnEarlierCommit has one run on without its connection.
func TestFolderWaitsForAnEarlierCommit(t *testing.T) {
	r := newRouting(t)
	r.sim.Program("sleep", func(context.Context, *machine.Process) int { return 0 }) // nobody waits in earnest
	release := r.sim.Hold("app-refresh")
	r.sim.Cut("sh", 1, machine.CutDuring)
	if err := r.put("a", "one", false); !IsAway(err) {
		t.Fatalf("Put() = %v", err)
	}
	r.until("it runs", func() bool { return r.sim.Held() == 1 })
	var pending *PendingError
	if _, err := r.f.Look(t.Context()); !errors.As(err, &pending) {
		t.Errorf("a look sees what is half done: %v", err)
	}
	if err := r.put("a", "two", false); !errors.As(err, &pending) {
		t.Errorf("two commits run at once: %v", err)
	}
	release()
	r.until("it ends", func() bool { return r.sh("ls /run | grep phoenix") == "" })
	r.is("the first one has its way", map[string]string{"a": "one"})
	if err := r.put("a", "two", false); err != nil {
		t.Error(err)
	}
	r.is("and then the second", map[string]string{"a": "two"})
}

// TestFolderKilledAnywhere kills a commit after each of its writes. No file is
// ever half written, a look tells whoever is concerned, and the next commit of
// anybody leaves all of the old or all of the new, with whoever heard of it.
func TestFolderKilledAnywhere(t *testing.T) {
	old := map[string]string{"a": "one", "b": "one", "d": "one"}
	want := map[string]string{"a": "two", "b": "one", "c": "two"}
	change := func(r *routing) {
		r.queued( // how it ends is what the rest is about
			func() error { return r.put("a", "two", true) }, func() error { return r.put("c", "two", false) },
			func() error { return r.f.Put(t.Context(), "d", nil, true) }, func() error { return r.put("b", "bad", true) },
		)
	}
	for next, every := range map[string]int{"another": 3, "the same": 8, "back": 8, "restore": 8} {
		t.Run(next, func(t *testing.T) {
			t.Parallel()
			killed := 0
			for n := 1; n < 400; n += every {
				h := &hammer{}
				r := newRoutingAt(t, h.now)
				if err := errors.Join(r.put("a", "zero", false), r.put("a", "one", true), r.put("b", "one", false), r.put("d", "one", false)); err != nil {
					t.Fatal(err)
				}
				struck := h.strike(r.world, n, func() { change(r) })
				r.whole(n, old, want)
				r.sh("rm -rf /run/phoenix-*.*") // a lock that it did not come to take goes with the next boot
				r.later()
				look, err := r.f.Look(t.Context())
				if err != nil {
					t.Fatalf("killed at write %d: %v", n, err)
				}
				switch next {
				case "another":
					if err := r.put("e", "x", false); err != nil {
						t.Fatalf("killed at write %d: %v", n, err)
					}
					r.either(n, look, old, want)
				case "restore":
					found, err := r.f.Restore(t.Context(), "a")
					text := strings.TrimSpace(r.sh("cat " + routes + "/a.conf"))
					kept := strings.TrimSpace(r.sh("cat /etc/app/previous/a.conf"))
					if err != nil || !found || text != kept || text != "zero" && text != "one" {
						t.Fatalf("killed at write %d, then Restore() = %v, %v: %s, kept %s", n, found, err, text, kept)
					}
				case "back":
					for prefix, text := range old {
						if err := r.put(prefix, text, false); err != nil {
							t.Fatalf("killed at write %d: %v", n, err)
						}
					}
					if err := r.f.Put(t.Context(), "c", nil, false); err != nil {
						t.Fatalf("killed at write %d: %v", n, err)
					}
					r.is(fmt.Sprintf("killed at write %d, then back", n), old)
				case "the same":
					change(r)
					r.is(fmt.Sprintf("killed at write %d, then again", n), want)
				}
				if !struck {
					break
				}
				killed++
			}
			t.Logf("killed at %d places", killed)
			if killed < 10 {
				t.Errorf("killed at %d places only", killed)
			}
		})
	}
}

// whole holds every file to be an old or a new one.
func (r *routing) whole(n int, old, want map[string]string) {
	r.Helper()
	for _, name := range strings.Fields(r.sh("ls " + routes)) {
		prefix := strings.TrimSuffix(name, ".conf")
		text := strings.TrimSuffix(r.sh("cat "+routes+"/"+name), "\n")
		if text != old[prefix] && text != want[prefix] && text != "bad" || text == "" || strings.Contains(name, "new") {
			r.Fatalf("killed at write %d: %s holds %q", n, name, text)
		}
		if mode := r.sh("stat -c '%a %U:%G' " + routes + "/" + name); mode != "640 root:app\n" {
			r.Fatalf("killed at write %d: %s is %s", n, name, mode)
		}
	}
}

// either holds the folder to all of the old or all of the new once somebody else
// was there, and a look from before to have told those for whom it is not the new.
func (r *routing) either(n int, look Look, old, want map[string]string) {
	r.Helper()
	is := map[string]string{}
	for _, name := range strings.Fields(r.sh("ls " + routes)) {
		is[strings.TrimSuffix(name, ".conf")] = strings.TrimSpace(r.sh("cat " + routes + "/" + name))
	}
	all := map[string]string{"e": "x"}
	for prefix, text := range old {
		all[prefix] = text
	}
	fresh := map[string]string{"e": "x"}
	for prefix, text := range want {
		fresh[prefix] = text
	}
	if fmt.Sprint(is) != fmt.Sprint(all) && fmt.Sprint(is) != fmt.Sprint(fresh) {
		r.Fatalf("killed at write %d, and mended to %v", n, is)
	}
	r.is(fmt.Sprintf("killed at write %d, then another came", n), is)
	for prefix, text := range is {
		told := look.Files[prefix+".conf"]
		if told != "" && told != fullHash([]byte(text+"\n")) {
			r.Fatalf("killed at write %d: a look told another %s than became of it", n, prefix)
		}
		if _, there := look.Files[prefix+".conf"]; !there && prefix != "e" {
			r.Fatalf("killed at write %d: a look told that %s is gone, which came back", n, prefix)
		}
	}
}

// TestFolderSecrets looks for a private key wherever it must not be.
func TestFolderSecrets(t *testing.T) {
	r := newRouting(t)
	const secret = "hunter2-correct-horse"
	key := "-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n"
	r.sim.Fail("*"+secret+"*", 0, 9, "it stands in an argument")
	release := r.sim.Hold("mv -f -t " + routes + " *")
	done := make(chan error, 1)
	go func() {
		done <- r.f.Put(t.Context(), "a", Entry{"a.key": []byte(key), "a.crt": []byte(secret + "\x01")}, false)
	}()
	r.until("it is staged", func() bool { return r.sim.Held() == 1 })
	staged := r.sh("cd /etc/app/.trust.phoenix-new && stat -c '%n %a %U:%G' . new go new/* go/*")
	if want := ". 700 root:root\nnew 700 root:root\ngo 700 root:root\nnew/a.crt 640 root:app\nnew/a.key 640 root:app\ngo/a.crt 640 root:app\ngo/a.key 640 root:app\n"; staged != want {
		t.Errorf("staged is %s", staged)
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := r.sh("cat " + routes + "/a.*"); got != secret+"\x01"+key {
		t.Errorf("%q", got)
	}
	var refused *RefusedError
	err := r.f.Put(t.Context(), "a", Entry{"a.key": []byte(strings.Replace(key, "KEY-----\n", "KEY-----\nbad ", 1))}, false)
	if !errors.As(err, &refused) || strings.Contains(err.Error()+refused.Output, "correct-horse") || !strings.Contains(refused.Output, "[secret]") {
		t.Errorf("refused: %v", err)
	}
	for _, argv := range r.door.argv {
		if strings.Contains(strings.Join(argv, " "), secret) {
			t.Errorf("in an argument: %q", argv)
		}
	}
	for _, c := range r.sim.Commands() {
		if strings.Contains(c.Line, secret) {
			t.Errorf("in a command: %q", c.Line)
		}
	}
}

// shaky is a connection that breaks at every third script, each time otherwise.
type shaky struct {
	*door
	runs atomic.Int64
}

func (s *shaky) Run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	if n := s.runs.Add(1); n%3 == 0 {
		s.m.Cut("sh", 1, machine.Cut(n/3%3))
	}
	return s.door.Run(ctx, argv, stdin)
}

// TestFolderUnderLoad has many put, restore, remove and look at once, while
// connections break and some entries are refused. In the end everybody has what
// he put last, if it was not refused.
func TestFolderUnderLoad(t *testing.T) {
	r := newRouting(t)
	r.m = New(&shaky{door: r.door}, Options{Clock: instant{}})
	r.f = r.m.Folder(routingOptions())
	r.sim.Program("sleep", func(context.Context, *machine.Process) int {
		time.Sleep(time.Millisecond)
		return 0
	})
	var all sync.WaitGroup
	const people = 24
	last := make([]string, people)
	for i := range people {
		all.Go(func() {
			dice := rand.New(rand.NewPCG(1, uint64(i)))
			prefix := fmt.Sprintf("p%02d", i)
			for turn := range 8 {
				e, text := one(prefix, fmt.Sprint("value ", turn)), fmt.Sprint("value ", turn)
				switch dice.IntN(4) {
				case 0:
					e, text = nil, ""
				case 1:
					e, text = one(prefix, "bad"), last[i]
				}
				for {
					var refused *RefusedError
					var pending *PendingError
					err := r.f.Put(t.Context(), prefix, e, dice.IntN(2) == 0)
					if _, lookErr := r.f.Look(t.Context()); lookErr != nil && !IsAway(lookErr) && !errors.As(lookErr, &pending) {
						t.Errorf("Look() = %v", lookErr)
					}
					if IsAway(err) || errors.As(err, &pending) {
						continue
					}
					if err != nil && (!errors.As(err, &refused) || refused.Before || text != last[i]) {
						t.Errorf("%s: %v", prefix, err)
					}
					break
				}
				last[i] = text
			}
		})
	}
	all.Wait()
	want := map[string]string{}
	for i, text := range last {
		if text != "" {
			want[fmt.Sprintf("p%02d", i)] = text
		}
	}
	r.is("everybody has what he put last", want)
}
