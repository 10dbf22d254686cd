// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFolder(t *testing.T) {
	r := newRouting(t)
	odd := `it's $(odd) \n %s "` + "`x`"
	steps := []struct {
		reason string
		do     func() error
		want   map[string]string
		quiet  bool // nobody hears of it
	}{
		{"new", func() error { return r.put("a", "one", false) }, map[string]string{"a": "one"}, false},
		{"another, with what a shell might read", func() error { return r.put("b", odd, false) }, map[string]string{"a": "one", "b": odd}, false},
		{"the same again", func() error { return r.put("a", "one", true) }, map[string]string{"a": "one", "b": odd}, true},
		{"changed", func() error { return r.put("a", "two", false) }, map[string]string{"a": "two", "b": odd}, false},
		{"another set of files", func() error {
			return r.f.Put(t.Context(), "b", Entry{"b.map": []byte("Grüße\x00\xff\n"), "b.crt": nil}, false)
		}, map[string]string{"a": "two", "b.map": "Grüße\x00\xff", "b.crt": ""}, false},
		{"a prefix of a prefix is another one", func() error { return r.f.Put(t.Context(), "b-c", nil, false) }, map[string]string{"a": "two", "b.map": "Grüße\x00\xff", "b.crt": ""}, true},
		{"gone", func() error { return r.f.Put(t.Context(), "b", nil, false) }, map[string]string{"a": "two"}, false},
		{"gone already", func() error { return r.f.Put(t.Context(), "b", Entry{}, false) }, map[string]string{"a": "two"}, true},
		{"the last one", func() error { return r.f.Put(t.Context(), "a", nil, true) }, map[string]string{}, false},
	}
	for _, s := range steps {
		runs, trips := r.app.refreshes, r.door.trips
		changes := r.sh("stat -c %y " + routes)
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.reason, err)
		}
		r.is(s.reason, s.want)
		if got := r.app.refreshes - runs; got != 1 && !s.quiet || s.quiet && (got != 0 || r.sh("stat -c %y "+routes) != changes) {
			t.Errorf("%s: Refresh ran %d times", s.reason, got)
		}
		if n := r.door.trips - trips; n != 1 {
			t.Errorf("%s: it took %d round trips", s.reason, n)
		}
		if modes := r.sh("stat -c '%a %U:%G' " + routes + "/* 2>/dev/null | grep -v '^640 root:app$'"); modes != "" {
			t.Errorf("%s: modes and owners: %s", s.reason, modes)
		}
	}
}

// TestFolderGroups has a hundred come while one is under way.
func TestFolderGroups(t *testing.T) {
	r := newRouting(t)
	var entries []func() error
	want := map[string]string{}
	for i := range 100 {
		prefix := fmt.Sprintf("r%02d", i)
		want[prefix] = "x"
		entries = append(entries, func() error { return r.put(prefix, "x", false) })
	}
	trips, runs := r.door.trips, r.app.refreshes
	for i, err := range r.together(entries...) {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if got, heard := r.door.trips-trips, r.app.refreshes-runs; got != 2 || heard != 2 {
		t.Errorf("101 entries took %d round trips and %d refreshes, want 2 and 2", got, heard)
	}
	trips = r.door.trips
	look, err := r.f.Look(t.Context())
	if err != nil || len(look.Files) != 101 || r.door.trips != trips {
		t.Errorf("what was written is not known: %d files after %d round trips, %v", len(look.Files), r.door.trips-trips, err)
	}
	want["first"] = strings.TrimSuffix(r.sh("cat "+routes+"/first.conf"), "\n")
	r.is("all are there", want)
}

// TestFolderHalves has some that Check refuses travel with others.
func TestFolderHalves(t *testing.T) {
	for _, c := range []struct {
		reason string
		bad    []int
		of     int
	}{{"one among many", []int{17}, 50}, {"the first and the last", []int{0, 6}, 7}, {"neighbours", []int{2, 3}, 8}, {"all", []int{0, 1, 2}, 3}, {"nobody else", []int{0}, 1}} {
		t.Run(c.reason, func(t *testing.T) {
			r := newRouting(t)
			bad := map[int]bool{}
			for _, i := range c.bad {
				bad[i] = true
				if err := r.put(fmt.Sprintf("r%02d", i), "old", false); err != nil {
					t.Fatal(err)
				}
			}
			var entries []func() error
			want := map[string]string{}
			for i := range c.of {
				prefix, text := fmt.Sprintf("r%02d", i), fmt.Sprintf("value %d", i)
				want[prefix] = text
				if bad[i] {
					want[prefix], text = "old", "bad "+text
				}
				entries = append(entries, func() error { return r.put(prefix, text, true) })
			}
			trips := r.door.trips
			for i, err := range r.together(entries...) {
				var refused *RefusedError
				switch {
				case bad[i] && (!errors.As(err, &refused) || refused.Before || !strings.Contains(refused.Output, fmt.Sprintf(`"bad value %d\n"`, i))):
					t.Errorf("%d: it is not refused for what it is: %v", i, err)
				case !bad[i] && err != nil:
					t.Errorf("%d: %v", i, err)
				}
			}
			if n := r.door.trips - trips; n != 2 {
				t.Errorf("it took %d round trips", n)
			}
			previous := map[string]string{}
			want["first"] = strings.TrimSuffix(r.sh("cat "+routes+"/first.conf"), "\n")
			r.is("the others got in", want)
			r.looks("what is refused keeps nothing", want, previous)
		})
	}
}

// TestFolderWasBroken has Check refuse what somebody wrote by hand.
func TestFolderWasBroken(t *testing.T) {
	r := newRouting(t)
	if err := r.put("a", "one", false); err != nil {
		t.Fatal(err)
	}
	r.sh("echo bad >" + routes + "/a.conf")
	var refused *RefusedError
	if err := r.put("b", "right", false); !errors.As(err, &refused) || !refused.Before || !strings.Contains(err.Error(), "what was there before, too") {
		t.Errorf("who is right is told that he is not: %v", err)
	}
	if got := r.sh("ls " + routes); got != "a.conf\n" {
		t.Errorf("it got in all the same: %s", got)
	}
	if err := r.put("a", "two", false); err != nil {
		t.Errorf("who mends it is refused: %v", err)
	}
	r.sh("echo bad >" + routes + "/a.conf")
	errs := r.queued(
		func() error { return r.put("b", "bad b", false) },
		func() error { return r.put("a", "three", false) },
		func() error { return r.put("c", "right", false) },
	)
	if !errors.As(errs[0], &refused) || !refused.Before || errs[1] != nil || errs[2] != nil {
		t.Errorf("who mends it among others: %v", errs)
	}
	r.is("mended", map[string]string{"a": "three", "c": "right"})
}

func TestFolderRestores(t *testing.T) {
	r := newRouting(t)
	restore := func(found bool) func() error {
		return func() error {
			got, err := r.f.Restore(t.Context(), "a")
			if err == nil && got != found {
				err = fmt.Errorf("found = %v", got)
			}
			return err
		}
	}
	put := func(text string, keep bool) func() error { return func() error { return r.put("a", text, keep) } }
	none := map[string]string{}
	a := func(text string) map[string]string { return map[string]string{"a": text} }
	steps := []struct {
		reason         string
		do             func() error
		want, previous map[string]string
	}{
		{"first of all, nothing is kept", put("one", true), a("one"), none},
		{"nothing kept: it goes", restore(false), none, none},
		{"again, for nothing", restore(false), none, none},
		{"anew", put("two", false), a("two"), none},
		{"with keep, what was there is kept", put("three", true), a("three"), a("two")},
		{"the same again keeps nothing else", put("three", true), a("three"), a("two")},
		{"without keep it stays", put("four", false), a("four"), a("two")},
		{"it comes back", restore(true), a("two"), a("two")},
		{"again", restore(true), a("two"), a("two")},
		{"it keeps the last that was good", put("five", true), a("five"), a("two")},
		{"and then that one", put("six", true), a("six"), a("five")},
		{"gone, but kept", func() error { return r.f.Put(t.Context(), "a", nil, true) }, none, a("six")},
		{"back from nothing", restore(true), a("six"), a("six")},
		{"gone for good", func() error { return r.f.Put(t.Context(), "a", nil, false) }, none, none},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.reason, err)
		}
		r.is(s.reason, s.want)
		r.looks(s.reason, s.want, s.previous)
	}
	if got := r.sh("stat -c '%a %U:%G' /etc/app/previous"); got != "700 root:root\n" {
		t.Errorf("what is kept is open to others: %s", got)
	}
	// What is kept goes too when the files are gone already.
	r.sh("mkdir -p /etc/app/previous; echo x >/etc/app/previous/a.conf")
	if err := r.f.Put(t.Context(), "a", nil, false); err != nil {
		t.Error(err)
	}
	r.later()
	r.looks("nothing is kept of who is gone", none, none)
	// What is kept and does not pass Check any more changes nothing.
	r.sh("echo bad >/etc/app/previous/a.conf")
	if err := r.put("a", "seven", false); err != nil {
		t.Error(err)
	}
	var refused *RefusedError
	if _, err := r.f.Restore(t.Context(), "a"); !errors.As(err, &refused) || refused.Before {
		t.Errorf("Restore() = %v", err)
	}
	r.is("what is kept is refused", a("seven"))
}

// TestFolderRefreshFails: the old files come back, and who heard of the new ones
// hears of that.
func TestFolderRefreshFails(t *testing.T) {
	r := newRouting(t)
	o := routingOptions()
	o.Check = nil
	r.f = r.m.Folder(o)
	if err := errors.Join(r.put("a", "one", false), r.put("b", "one", false)); err != nil {
		t.Fatal(err)
	}
	var refresh *RefreshError
	runs := r.app.refreshes
	if err := r.put("a", "bad", true); !errors.As(err, &refresh) || !refresh.Complete || !strings.Contains(err.Error(), "rolled back: run app-refresh: bad") {
		t.Errorf("Refresh failed: %v", err)
	}
	if got := r.app.refreshes - runs; got != 2 {
		t.Errorf("Refresh ran %d times, want once more for the way back", got)
	}
	r.is("the old files are back", map[string]string{"a": "one", "b": "one"})
	r.looks("nothing is kept", map[string]string{"a": "one", "b": "one"}, nil)

	// It fails on the way back, too: nobody knows what was heard until it works.
	fixed := r.sim.Fail("app-refresh", 2, 1, "no such unit")
	if err := r.put("a", "two", true); !errors.As(err, &refresh) || refresh.Complete {
		t.Errorf("it failed twice: %v", err)
	}
	r.later()
	if look, err := r.f.Look(t.Context()); err != nil || look.Files["a.conf"] != "" || look.Files["b.conf"] != fullHash([]byte("one\n")) {
		t.Errorf("a file that nobody may have heard of: %+v, %v", look, err)
	}
	fixed()
	if err := r.put("a", "one", false); err != nil {
		t.Error(err)
	}
	r.is("in the end", map[string]string{"a": "one", "b": "one"})

	// What fails is somebody else's file: he gets in, whatever is still to be heard.
	r.sh("echo bad >" + routes + "/b.conf")
	for range 3 {
		if err := r.put("a", "two", true); !errors.As(err, &refresh) || refresh.Complete {
			t.Errorf("what another has fails: %v", err)
		}
	}
	if got := r.sh("cat /etc/app/.trust.phoenix-new/entries"); got != "a keep\na mended\n" && got != "a keep\na out\n" {
		t.Errorf("what is still to be heard grows: %q", got)
	}
	if err := r.put("b", "two", true); err != nil {
		t.Error(err)
	}
	r.is("mended by another", map[string]string{"a": "one", "b": "two"})
}

func TestFolderLooks(t *testing.T) {
	r := newRouting(t)
	both := map[string]string{"a": "one", "b": "one"}
	if err := errors.Join(r.put("a", "one", false), r.put("b", "one", false)); err != nil {
		t.Fatal(err)
	}
	clean := r.sh("cat " + routes + "/*")
	for _, c := range []struct{ reason, hand string }{
		{"content", "echo other >" + routes + "/a.conf"},
		{"gone", "rm " + routes + "/a.conf"},
		{"mode", "chmod 644 " + routes + "/a.conf"},
		{"group", "chgrp root " + routes + "/a.conf"},
		{"a link to the very same", "cp -p " + routes + "/a.conf /etc/app/x; rm " + routes + "/a.conf; ln -s /etc/app/x " + routes + "/a.conf"},
		{"one too many", "echo x >" + routes + "/a.map"},
	} {
		r.sh(c.hand)
		r.later()
		trips := r.door.trips
		var looks [20]Look
		var all sync.WaitGroup
		for i := range looks {
			all.Go(func() {
				var err error
				if looks[i], err = r.f.Look(t.Context()); err != nil {
					t.Errorf("%s: %v", c.reason, err)
				}
			})
		}
		all.Wait()
		if n := r.door.trips - trips; n != 1 {
			t.Errorf("%s: twenty looks take %d round trips", c.reason, n)
		}
		if cmp.Equal(looks[0].Files, hashes(both)) {
			t.Errorf("%s: it is not seen", c.reason)
		}
		if err := r.put("a", "one", false); err != nil {
			t.Errorf("%s: %v", c.reason, err)
		}
		r.looks(c.reason, both, nil)
		if modes := r.sh("cat "+routes+"/*; stat -c '%a %U:%G %F' "+routes+"/a.*") + r.sh("ls /etc/app/x 2>/dev/null && rm /etc/app/x >/dev/null"); !strings.HasPrefix(modes, clean+"640 root:app regular file\n") {
			t.Errorf("%s: it is not mended: %s", c.reason, modes)
		}
	}
	r.sh("mkdir " + routes + "/sub; echo hidden >" + routes + "/.x")
	r.later()
	want := hashes(both)
	want[".x"] = ""
	got, err := r.f.Look(t.Context())
	if diff := cmp.Diff(want, got.Files); diff != "" || err != nil {
		t.Errorf("what is not ours: %v (-want +got):\n%s", err, diff)
	}
}

func TestFolderIsMissing(t *testing.T) {
	r := newRouting(t)
	r.sh("rmdir " + routes)
	var missing *MissingError
	_, lookErr := r.f.Look(t.Context())
	_, restoreErr := r.f.Restore(t.Context(), "a")
	for what, err := range map[string]error{"Look": lookErr, "Restore": restoreErr, "Put": r.put("a", "x", false)} {
		if !errors.As(err, &missing) || missing.Path != routes || IsAway(err) {
			t.Errorf("%s() = %v", what, err)
		}
	}
	if left := r.sh("ls " + routes + " 2>/dev/null; find /etc/app /run -name '*phoenix*'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	r.sh("mkdir " + routes)
	if err := r.put("a", "x", false); err != nil {
		t.Error(err)
	}
}

func TestFolderRefusesWhatCannotBe(t *testing.T) {
	r := newRouting(t)
	with := func(change func(*FolderOptions)) *Folder {
		o := routingOptions()
		o.Path += "/other"
		change(&o)
		return New(r.door, Options{}).Folder(o)
	}
	same := func(*FolderOptions) {}
	for _, c := range []struct {
		reason, prefix string
		f              *Folder
		e              Entry
	}{
		{"a name of another prefix", "a", with(same), Entry{"b.conf": nil}},
		{"a name that only begins like it", "a", with(same), Entry{"ab.conf": nil}},
		{"a name that leads elsewhere", "a", with(same), Entry{"a./../x": nil}},
		{"a prefix that a shell expands", "a*", with(same), Entry{}},
		{"no prefix", "", with(same), Entry{}},
		{"a hidden one", ".a", with(same), Entry{}},
		{"far too long", "a", with(same), Entry{"a.x": make([]byte, folderBytes+1)}},
		{"a path", "a", with(func(o *FolderOptions) { o.Path = "etc" }), Entry{}},
		{"a path at the top", "a", with(func(o *FolderOptions) { o.Path = "/etc" }), Entry{}},
		{"a path beside", "a", with(func(o *FolderOptions) { o.Beside = "etc" }), Entry{}},
		{"a path beside at the top", "a", with(func(o *FolderOptions) { o.Beside = "/" }), Entry{}},
		{"an owner", "a", with(func(o *FolderOptions) { o.Owner = "a;b" }), Entry{}},
		{"a mode", "a", with(func(o *FolderOptions) { o.Mode = 0o1777 | 1<<20 }), Entry{}},
		{"a command", "a", with(func(o *FolderOptions) { o.Check = []string{""} }), Entry{}},
		{"another command", "a", with(func(o *FolderOptions) { o.Refresh = []string{"-x"} }), Entry{}},
	} {
		var invalid *InvalidError
		if err := c.f.Put(t.Context(), c.prefix, c.e, false); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", c.reason, err)
		}
	}
	if r.door.trips != 0 {
		t.Errorf("the machine was asked %d times", r.door.trips)
	}
}

// TestFolderCallerLeaves: who leaves before his turn did nothing, and who leaves
// while he travels holds up nobody.
func TestFolderCallerLeaves(t *testing.T) {
	r := newRouting(t)
	ctx, cancel := context.WithCancel(t.Context())
	release := r.sim.Hold("app-refresh")
	travelling := make(chan error, 1)
	go func() { travelling <- r.f.Put(ctx, "a", one("a", "x"), false) }()
	r.until("one travels", func() bool { return r.sim.Held() == 1 })
	waiting := make(chan error, 2)
	go func() { waiting <- r.f.Put(ctx, "b", one("b", "x"), false) }()
	go func() {
		_, err := r.f.Look(ctx)
		waiting <- err
	}()
	stays := make(chan error, 1)
	go func() { stays <- r.put("c", "x", false) }()
	r.until("two wait", func() bool {
		r.f.mu.Lock()
		defer r.f.mu.Unlock()
		return len(r.f.queue) == 2
	})
	cancel()
	for _, err := range []error{<-travelling, <-waiting, <-waiting} {
		if !errors.Is(err, context.Canceled) || IsAway(err) {
			t.Errorf("%v", err)
		}
	}
	late, done := context.WithTimeout(t.Context(), time.Millisecond)
	defer done()
	if err := r.f.Put(late, "d", one("d", "x"), false); !IsAway(err) {
		t.Errorf("out of time: %v", err)
	}
	release()
	if err := <-stays; err != nil {
		t.Error(err)
	}
	r.is("what travelled is there", map[string]string{"a": "x", "c": "x"})
	if err := r.f.Put(ctx, "e", one("e", "x"), false); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left before: %v", err)
	}
}

// TestFolderOfAll is one and the same for all who ask.
func TestFolderOfAll(t *testing.T) {
	r := newRouting(t)
	o := routingOptions()
	o.Mode = 0o600
	if r.m.Folder(o) != r.f || r.m.Folder(FolderOptions{Path: "/etc/app/other"}) == r.f {
		t.Error("folders are not told apart by their paths alone")
	}
	if err := r.put("a", "x", false); err != nil {
		t.Error(err)
	}
	if got := r.sh("stat -c %a " + routes + "/a.conf"); got != "600\n" {
		t.Errorf("the last options do not count: %s", got)
	}
	// Of one prefix, or of one that has the other's files, each waits for the other.
	errs := r.together(
		func() error { return r.put("a", "x.y", false) }, func() error { return r.f.Put(t.Context(), "a.b", one("a.b", "x"), false) },
		func() error { return r.put("a", "x.y", true) }, func() error { return r.put("b", "x", false) },
	)
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// TestFolderLinger: a crowd is given time to gather, and one who is alone waits for nobody.
func TestFolderLinger(t *testing.T) {
	for _, c := range []struct {
		reason string
		group  int
		took   time.Duration
		want   time.Duration
	}{
		{"one who is alone", 1, time.Minute, 0},
		{"a few were let go by one commit, and come again at once", 2, time.Minute, folderLinger},
		{"a crowd", folderCrowd, 300 * time.Millisecond, 300 * time.Millisecond},
		{"a crowd that was quick", folderCrowd, 0, folderLinger},
		{"a crowd that took for ever", folderCrowd, time.Minute, folderRest},
	} {
		if got := lingerAfter(c.group, c.took); got != c.want {
			t.Errorf("%s: the next commit waits for %s, want %s", c.reason, got, c.want)
		}
	}
}

// TestFolderBeside: what is kept stands where the options say, out of the way of whoever watches the folder above.
func TestFolderBeside(t *testing.T) {
	r := newRouting(t)
	r.sh("mkdir /etc/beside")
	o := routingOptions()
	o.Beside = "/etc/beside"
	f := r.m.Folder(o)
	for _, content := range []string{"one", "two"} {
		if err := f.Put(t.Context(), "a", Entry{"a.conf": []byte(content)}, true); err != nil {
			t.Fatal(err)
		}
	}
	above := path.Dir(routes)
	if got := r.sh("cat /etc/beside/previous/a.conf; ls -A /etc/beside; [ ! -e " + above + "/previous ] || echo above"); got != "oneprevious\n" {
		t.Errorf("beside stands %q", got)
	}
	if found, err := f.Restore(t.Context(), "a"); err != nil || !found {
		t.Errorf("restored: %t, %v", found, err)
	}
	r.is("what was kept is back", map[string]string{"a": "one"})
}
