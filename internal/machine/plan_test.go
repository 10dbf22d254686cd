// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

const planOwner = Owner("home/HostService/default/app")

// seenWith is what is seen of a machine where an owner has everything as it
// wants it, with one difference.
func seenWith(want State, differ func(*Seen)) Seen {
	seen := Seen{OS: "debian", System: "running", Paths: map[string]Path{
		"/etc": {Kind: "directory", Mode: "0755", Owner: "root", Group: "root", UID: "0", GID: "0"},
	}, Packages: map[string]string{}, Units: map[string]UnitStatus{}, jobLogs: map[string]string{}}
	p := newPlanner(planOwner, want, seen)
	for _, f := range p.files {
		seen.Paths[f.Path] = Path{Kind: "file", Mode: octal(f.Mode), Owner: f.Owner, Group: f.Group, UID: "0", GID: "0", Hash: f.hash}
	}
	for _, d := range p.want.Dirs {
		seen.Paths[d.Path] = Path{Kind: "directory", Mode: octal(d.Mode), Owner: d.Owner, Group: d.Group, UID: "0", GID: "0"}
	}
	for _, name := range want.Packages {
		seen.Packages[name] = "1"
	}
	for _, u := range want.Units {
		seen.Units[u.Name] = UnitStatus{Load: "loaded", Active: "active", Sub: "running", Enabled: "enabled"}
	}
	seen.record = newPlanner(planOwner, want, seen).change().final
	for i := range seen.record.Files {
		seen.record.Files[i].Original = nil
	}
	seen.recordBytes = seen.record.render()
	differ(&seen)
	return seen
}

func planState() State {
	return State{
		Packages: []string{"app"},
		Dirs:     []Dir{{Path: "/etc/app", Owner: "root", Group: "root", Mode: 0o755}},
		Files: []File{
			{Path: "/etc/app/a", Content: []byte("a"), Triggers: []Trigger{{"app.service", Reload}}},
			{Path: "/etc/app/b", Content: []byte("b"), Triggers: []Trigger{{"app.service", Restart}}},
			{Path: "/etc/app/s", Content: []byte("s3cret"), Secret: true},
		},
		Units: []Unit{{Name: "app.service", Enabled: true, Running: true}},
	}
}

func TestPlan(t *testing.T) {
	hash := func(s string) string { return "sha256:" + fullHash([]byte(s))[:12] }
	keyed := func(s string) string { return secret.Secret(fullHash([]byte(s))).String() }
	path := func(s *Seen, name string, change func(*Path)) {
		p := s.Paths[name]
		change(&p)
		s.Paths[name] = p
	}
	cases := map[string]struct {
		reason string
		differ func(*Seen)
		step   string // reason and message of the first; empty: none
		want   []Change
	}{
		"in sync": {"nothing to do", func(*Seen) {}, "", nil},
		"content": {
			"with what the triggers do", func(s *Seen) {
				path(s, "/etc/app/a", func(p *Path) { p.Hash = fullHash([]byte("x")) })
			},
			"Apply: write 1 file, reload app.service", []Change{{"/etc/app/a", hash("x"), hash("a"), ImpactReload}},
		},
		"stopped": {
			"a unit that does not run is not disturbed", func(s *Seen) {
				path(s, "/etc/app/b", func(p *Path) { p.Hash = fullHash([]byte("x")) })
				s.Units["app.service"] = UnitStatus{Load: "loaded", Active: "failed", Enabled: "enabled"}
			},
			"Apply: write 1 file, restart app.service, start or enable app.service",
			[]Change{{"/etc/app/b", hash("x"), hash("b"), ImpactNone}, {"unit app.service", "failed", "active", ImpactNone}},
		},
		"secret": {
			"by a keyed hash alone", func(s *Seen) {
				path(s, "/etc/app/s", func(p *Path) { p.Hash = fullHash([]byte("old")) })
			},
			"Apply: write 1 file", []Change{{"/etc/app/s", keyed("old"), keyed("s3cret"), ImpactNone}},
		},
		"mode": {
			"owner and mode are one change", func(s *Seen) {
				path(s, "/etc/app/b", func(p *Path) { p.Mode, p.Owner, p.UID = "0666", "app", "7" })
			},
			"Apply: write 1 file, restart app.service", []Change{{"/etc/app/b mode and owner", "0666 app:root", "0644 root:root", ImpactRestart}},
		},
		"all gone": {
			"directories, too", func(s *Seen) {
				for _, name := range []string{"/etc/app", "/etc/app/a", "/etc/app/b", "/etc/app/s"} {
					delete(s.Paths, name)
				}
			},
			"Apply: write 3 files, set 1 directory, restart app.service",
			[]Change{
				{"/etc/app/a", "", hash("a"), ImpactReload}, {"/etc/app/b", "", hash("b"), ImpactRestart}, {"/etc/app/s", "", keyed("s3cret"), ImpactNone},
				{"/etc/app", "", "directory 0755 root:root", ImpactNone},
			},
		},
		"disabled": {
			"starts by itself again", func(s *Seen) {
				s.Units["app.service"] = UnitStatus{Load: "loaded", Active: "active", Enabled: "disabled"}
			},
			"Apply: start or enable app.service", []Change{{"unit app.service", "disabled", "enabled", ImpactNone}},
		},
		"static": {"cannot be enabled, and is fine", func(s *Seen) {
			s.Units["app.service"] = UnitStatus{Load: "loaded", Active: "activating", Enabled: "static"}
		}, "", nil},
		"package": {"comes first", func(s *Seen) { delete(s.Packages, "app") }, "Install: install app", []Change{{"package app", "", "installed", ImpactNone}}},
		"dropped package": {
			"goes when we installed it", func(s *Seen) {
				s.record.Packages = append(s.record.Packages, ownedPackage{"old", true})
				s.recordBytes = s.record.render()
				s.Packages["old"] = "2"
			},
			"Remove: remove old", []Change{{"package old", "2", "", ImpactOutage}},
		},
		"dropped file": {
			"goes, with its triggers", func(s *Seen) {
				s.record.Files = append(s.record.Files, ownedFile{Path: "/etc/app/old", Triggers: []ownedTrigger{{"app.service", Restart}}})
				s.recordBytes = s.record.render()
				s.Paths["/etc/app/old"] = Path{Kind: "file"}
			},
			"Apply: give up 1 file, restart app.service", []Change{{"/etc/app/old", "ours", "", ImpactRestart}},
		},
		"taken away": {
			"a directory at the place of a dropped file is somebody's", func(s *Seen) {
				s.record.Files = append(s.record.Files, ownedFile{Path: "/etc/app/old"})
				s.recordBytes = s.record.render()
				s.Paths["/etc/app/old"] = Path{Kind: "directory"}
			},
			"Apply: bring the record up to date", nil,
		},
		"pending": {
			"the triggers are still to be pulled", func(s *Seen) {
				s.record.Pending, s.record.Triggers = true, []ownedTrigger{{"app.service", Restart}}
				s.recordBytes = s.record.render()
			},
			"Apply: restart app.service", nil,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			want := planState()
			steps, err := Plan(planOwner, want, seenWith(want, c.differ), PlanOptions{})
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			first, changes := "", []Change(nil)
			if len(steps) > 0 {
				first, changes = steps[0].Reason+": "+steps[0].Message, steps[0].Changes
			}
			if first != c.step {
				t.Errorf("%s: the first step is %q, want %q", c.reason, first, c.step)
			}
			if diff := cmp.Diff(c.want, changes); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// programState is a State with a user, artifacts and refreshed files.
func programState() State {
	return State{
		Users: []User{{Name: "app"}},
		Artifacts: []Artifact{
			{URL: "https://mirror.lan/app.tar.gz", SHA256: fullHash([]byte("archive")), Member: "app", Path: "/etc/app/bin", Triggers: []Trigger{{"app.service", Restart}}},
			{URL: "http://mirror.lan/plain", SHA256: fullHash([]byte("plain")), Path: "/etc/app/plain"},
		},
		Dirs: []Dir{{Path: "/etc/app", Owner: "root", Group: "root", Mode: 0o755}},
		Files: []File{
			{Path: "/etc/app/a", Content: []byte("a"), Refresh: []string{"make-it", "--of a"}}, {Path: "/etc/app/b", Content: []byte("b"), Refresh: []string{"make-it", "--of a"}},
			{Path: "/etc/app/c", Content: []byte("c"), Refresh: []string{"sh", "-c", "make-other && tidy", "make-other"}},
		},
		Units: []Unit{{Name: "app.service", Running: true}},
	}
}

func TestPlanPrograms(t *testing.T) {
	hash := func(s string) string { return "sha256:" + fullHash([]byte(s))[:12] }
	want := programState()
	staged := [2]string{want.Artifacts[0].staged(planOwner), want.Artifacts[1].staged(planOwner)}
	lose := func(s *Seen, names ...string) {
		for _, name := range names {
			delete(s.Paths, name)
		}
	}
	edit := func(s *Seen, name, mode string) {
		p := s.Paths[name]
		p.Hash, p.Mode = fullHash([]byte("edited")), mode
		s.Paths[name] = p
	}
	archive, plain := "Install: download https://mirror.lan/app.tar.gz", "Install: download http://mirror.lan/plain"
	cases := map[string]struct {
		reason string
		differ func(*Seen)
		steps  []string
		want   []Change // of the last step
	}{
		"in sync": {"nothing to do", func(*Seen) {}, nil, nil},
		"no curl": {"nobody needs it now", func(s *Seen) { s.curl = false }, nil, nil},
		"user":    {"made", func(s *Seen) { s.Users = nil }, []string{"Apply: make user app"}, []Change{{"user app", "", "made", ImpactNone}}},
		"edited": {"downloaded again", func(s *Seen) { edit(s, "/etc/app/bin", "0755"); edit(s, "/etc/app/plain", "0755") },
			[]string{archive, plain, "Apply: write 2 files, restart app.service"},
			[]Change{{"/etc/app/bin", hash("edited"), hash("program"), ImpactRestart}, {"/etc/app/plain", hash("edited"), hash("plain"), ImpactNone}}},
		"gone, and no curl": {"which comes first", func(s *Seen) { lose(s, "/etc/app/plain"); s.curl = false },
			[]string{"Install: install ca-certificates curl", plain, "Apply: write 1 file"}, []Change{{"/etc/app/plain", "", hash("plain"), ImpactNone}}},
		"downloaded": {"takes its place", func(s *Seen) {
			lose(s, "/etc/app/plain")
			s.Paths[staged[1]] = Path{Kind: "file", Hash: fullHash([]byte("plain"))}
		}, []string{"Apply: write 1 file"}, []Change{{"/etc/app/plain", "", hash("plain"), ImpactNone}}},
		"something else waits": {"it is not what is wanted", func(s *Seen) {
			lose(s, "/etc/app/plain")
			s.Paths[staged[1]] = Path{Kind: "file", Hash: fullHash([]byte("evil"))}
		}, []string{plain, "Apply: write 1 file"}, []Change{{"/etc/app/plain", "", hash("plain"), ImpactNone}}},
		"another release": {"what its member is like, nobody knows yet", func(s *Seen) { s.record.file("/etc/app/bin").Artifact = fullHash([]byte("old")) },
			[]string{archive, "Apply: write 1 file, restart app.service"},
			[]Change{{"/etc/app/bin", hash("program"), "app of " + hash("archive"), ImpactRestart}}},
		"another release is there": {"the download tells what it is like", func(s *Seen) {
			s.record.file("/etc/app/bin").Artifact = fullHash([]byte("old"))
			s.Paths[staged[0]] = Path{Kind: "file", Hash: fullHash([]byte("new program"))}
		}, []string{"Apply: write 1 file, restart app.service"}, []Change{{"/etc/app/bin", hash("program"), hash("new program"), ImpactRestart}}},
		"mode": {"without a download", func(s *Seen) {
			p := s.Paths["/etc/app/bin"]
			p.Mode = "0777"
			s.Paths["/etc/app/bin"] = p
		}, []string{"Apply: write 1 file, restart app.service"}, []Change{{"/etc/app/bin mode and owner", "0777 root:root", "0755 root:root", ImpactRestart}}},
		"dropped": {"goes, as files do", func(s *Seen) {
			s.record.Files = append(s.record.Files, ownedFile{Path: "/etc/app/old", Artifact: "1", Refresh: []string{"make-old"}})
			s.Paths["/etc/app/old"] = Path{Kind: "file"}
		}, []string{"Apply: give up 1 file, run make-old"}, []Change{{"/etc/app/old", "ours", "", ImpactNone}}},
		"curl is ours": {"and stays while there are artifacts", func(s *Seen) {
			s.record.Packages = append(s.record.Packages, ownedPackage{"curl", true})
			s.Packages["curl"] = "1"
		}, nil, nil},
		"curl was ours": {"and comes again", func(s *Seen) { s.record.Packages = append(s.record.Packages, ownedPackage{"curl", true}) },
			[]string{"Install: install curl"}, []Change{{"package curl", "", "installed", ImpactNone}}},
		"refresh": {"once for equal commands", func(s *Seen) { lose(s, "/etc/app/a", "/etc/app/b", "/etc/app/c") },
			[]string{"Apply: write 3 files, run make-it --of a, run make-other"},
			[]Change{{"/etc/app/a", "", hash("a"), ImpactNone}, {"/etc/app/b", "", hash("b"), ImpactNone}, {"/etc/app/c", "", hash("c"), ImpactNone}}},
		"pending": {"it is still to be run", func(s *Seen) {
			s.record.Pending, s.record.Refreshes = true, []ownedRefresh{{[]string{"make-it", "--of a"}}}
		},
			[]string{"Apply: run make-it --of a"}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			seen := seenWith(want, func(s *Seen) {
				s.curl, s.Users = true, map[string]bool{"app": true}
				s.Paths["/etc/app/bin"] = Path{Kind: "file", Mode: "0755", Owner: "root", Group: "root", Hash: fullHash([]byte("program"))}
				s.record.file("/etc/app/bin").Hash = fullHash([]byte("program"))
				s.record.Packages = nil
				c.differ(s)
				s.recordBytes = s.record.render()
			})
			steps, err := Plan(planOwner, want, seen, PlanOptions{})
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			var got []string
			var last []Change
			for _, s := range steps {
				got, last = append(got, s.Reason+": "+s.Message), s.Changes
			}
			if diff := cmp.Diff(c.steps, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if diff := cmp.Diff(c.want, last); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// shortOf is the ID for people of the image that a word tells apart; empty: of none.
func shortOf(word string) string {
	if word == "" {
		return ""
	}
	return imageID(word)[:19]
}

func TestPlanImages(t *testing.T) {
	want := State{
		Images: []Image{
			{Name: "lab/app:1", Archive: &Archive{URL: "https://mirror.lan/app.tar", SHA256: fullHash([]byte("archive"))}, Triggers: []Trigger{{"app.service", Restart}}},
			{Name: "lab/agent:1"},
		},
		Units: []Unit{{Name: "app.service", Running: true}},
	}
	staged := func(s *Seen, content string) {
		s.Paths[want.Images[0].source().staged(planOwner)] = Path{Kind: "file", Hash: fullHash([]byte(content))}
	}
	download, load, pull := "Install: download https://mirror.lan/app.tar", "Install: load image lab/app:1", "Install: pull image lab/agent:1"
	restart, record := "Apply: restart app.service", "Apply: bring the record up to date"
	loaded := func(word string) Change {
		return Change{"load image lab/app:1", shortOf(word), "of archive sha256:" + fullHash([]byte("archive"))[:12], ImpactNone}
	}
	pulled := func(word string) Change { return Change{"pull image lab/agent:1", shortOf(word), "pulled", ImpactNone} }
	of := "of archive sha256:" + fullHash([]byte("archive"))[:12]
	cases := map[string]struct {
		reason string
		differ func(*Seen)
		steps  []string
		want   []Change // of all steps but a download
	}{
		"in sync":     {"nothing to do", func(*Seen) {}, nil, nil},
		"no curl":     {"nobody needs it now", func(s *Seen) { s.curl = false }, nil, nil},
		"an old note": {"no job is under way", func(s *Seen) { s.made = map[string]string{"lab/app:1": imageID("app")} }, nil, nil},
		"gone": {"made anew", func(s *Seen) { s.Images = nil }, []string{download, load, pull, restart},
			[]Change{loaded(""), pulled(""), {"image lab/app:1", "", of, ImpactRestart}, {"image lab/agent:1", "", "pulled", ImpactNone}}},
		"gone, and no curl": {"which comes first", func(s *Seen) { delete(s.Images, "lab/app:1"); s.curl = false },
			[]string{"Install: install ca-certificates curl", download, load, restart},
			[]Change{{"package ca-certificates", "", "installed", ImpactNone}, {"package curl", "", "installed", ImpactNone}, loaded(""), {"image lab/app:1", "", of, ImpactRestart}}},
		"downloaded": {"loaded", func(s *Seen) { delete(s.Images, "lab/app:1"); staged(s, "archive") },
			[]string{load, restart}, []Change{loaded(""), {"image lab/app:1", "", of, ImpactRestart}}},
		"something else waits": {"it is not what is wanted", func(s *Seen) { delete(s.Images, "lab/app:1"); staged(s, "evil") },
			[]string{download, load, restart}, []Change{loaded(""), {"image lab/app:1", "", of, ImpactRestart}}},
		"moved": {"by hand", func(s *Seen) { s.Images["lab/app:1"], s.Images["lab/agent:1"] = imageID("evil"), imageID("worse") },
			[]string{download, load, pull, restart},
			[]Change{loaded("evil"), pulled("worse"), {"image lab/app:1", shortOf("evil"), of, ImpactRestart}, {"image lab/agent:1", shortOf("worse"), "pulled", ImpactNone}}},
		"another archive": {"what it gives, nobody knows yet", func(s *Seen) { s.record.image("lab/app:1").Archive = fullHash([]byte("old")) },
			[]string{download, load, restart}, []Change{loaded("app"), {"image lab/app:1", shortOf("app"), of, ImpactRestart}}},
		"an archive before": {"the image is there, and now any will do", func(s *Seen) { s.record.image("lab/agent:1").Archive = fullHash([]byte("old")) },
			[]string{record}, nil},
		"made": {"the units hear of it", func(s *Seen) {
			had := s.record.image("lab/app:1")
			had.ID, had.Archive, had.Making = imageID("old"), fullHash([]byte("old")), true
			s.made = map[string]string{"lab/app:1": imageID("app")}
		}, []string{restart}, []Change{{"image lab/app:1", shortOf("old"), shortOf("app"), ImpactRestart}}},
		"made, and moved": {"it is made once more", func(s *Seen) {
			s.record.image("lab/app:1").Making = true
			s.made, s.Images["lab/app:1"] = map[string]string{"lab/app:1": imageID("app")}, imageID("evil")
		}, []string{download, load, restart}, []Change{loaded("evil"), {"image lab/app:1", shortOf("evil"), of, ImpactRestart}}},
		"never seen to end": {"pulled or not: it is there", func(s *Seen) { *s.record.image("lab/agent:1") = ownedImage{Name: "lab/agent:1", Making: true} },
			[]string{record}, nil},
		"an archive's never seen to end": {"what is there, nobody knows", func(s *Seen) { *s.record.image("lab/app:1") = ownedImage{Name: "lab/app:1", Making: true} },
			[]string{download, load, restart}, []Change{loaded("app"), {"image lab/app:1", shortOf("app"), of, ImpactRestart}}},
		"there before us": {"it will do, or be loaded over", func(s *Seen) { s.record.Images = nil },
			[]string{download, load, restart},
			[]Change{loaded("app"), {"image lab/app:1", shortOf("app"), of, ImpactRestart}, {"image lab/agent:1", "there already", "ours", ImpactNone}}},
		"no engine": {"nothing is known, and nothing is downloaded", func(s *Seen) { s.Images, s.NoEngine = nil, "it does not answer" },
			[]string{load, pull, restart}, []Change{
				{"load image lab/app:1", "unknown", of, ImpactNone}, {"pull image lab/agent:1", "unknown", "pulled", ImpactNone},
				{"image lab/app:1", "unknown", of, ImpactRestart}, {"image lab/agent:1", "unknown", "pulled", ImpactNone},
			}},
		"dropped": {"goes, as files do", func(s *Seen) {
			s.record.Images = append(s.record.Images, ownedImage{Name: "lab/old:1", ID: imageID("old"), Before: imageID("mine")}, ownedImage{Name: "mine:1", ID: imageID("mine"), Before: imageID("mine")})
		}, []string{"Apply: give up 2 images"}, []Change{{"image lab/old:1", "ours", shortOf("mine"), ImpactNone}}},
		"dropped, and another needs it": {"it stays", func(s *Seen) {
			s.record.Images = append(s.record.Images, ownedImage{Name: "lab/old:1", ID: imageID("old")})
			s.others = []claims{{owner: "other", images: map[string]ownedImage{"lab/old:1": {}}}}
		}, []string{record}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			seen := seenWith(want, func(s *Seen) {
				s.curl, s.Images = true, map[string]string{"lab/app:1": imageID("app"), "lab/agent:1": imageID("agent")}
				*s.record.image("lab/app:1") = ownedImage{Name: "lab/app:1", ID: imageID("app"), Archive: fullHash([]byte("archive"))}
				*s.record.image("lab/agent:1") = ownedImage{Name: "lab/agent:1", ID: imageID("agent")}
				s.record.Packages = nil
				c.differ(s)
				s.recordBytes = s.record.render()
			})
			steps, err := Plan(planOwner, want, seen, PlanOptions{})
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			var got []string
			var changes []Change
			for _, s := range steps {
				got = append(got, s.Reason+": "+s.Message)
				if !strings.HasPrefix(s.Message, "download ") {
					changes = append(changes, s.Changes...)
				}
			}
			if diff := cmp.Diff(c.steps, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if diff := cmp.Diff(c.want, changes); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// The change waits for the download, whoever takes its step before.
func TestChangeWaitsForDownload(t *testing.T) {
	want := programState()
	steps, err := Plan(planOwner, want, seenWith(want, func(s *Seen) { s.curl = true; delete(s.Paths, "/etc/app/plain") }), PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pending *PendingError
	if err := steps[len(steps)-1].Do(t.Context(), nil); !errors.As(err, &pending) {
		t.Errorf("the change of %d steps: %v", len(steps), err)
	}
}

func TestClearIsPure(t *testing.T) {
	want := planState()
	if steps := Clear(planOwner, Seen{}); len(steps) != 0 {
		t.Errorf("nothing is ours, and yet: %+v", steps)
	}
	seen := seenWith(want, func(s *Seen) {
		s.record.Packages[0].Installed = true
		s.record.Units[0].Running = false
	})
	var got []string
	for _, s := range Clear(planOwner, seen) {
		got = append(got, s.Reason+": "+s.Message)
	}
	if diff := cmp.Diff([]string{"Clear: give up 3 files, release app.service, restart app.service", "Remove: remove app"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	r := newRecord(planOwner)
	r.Files = []ownedFile{{Path: `/etc/systemd/system/mnt-my\x2ddata.mount`, Hash: "1", Original: &original{Link: true}}, {Path: "/etc/it's <a> & b"}}
	r.Units = []ownedUnit{{Name: `mnt-my\x2ddata.mount`}}
	r.Triggers = []ownedTrigger{{"a.service", Reload}}
	if before := r.render(); strings.Contains(string(before), "refresh") || strings.Contains(string(before), "artifact") {
		t.Errorf("a record without what is new is another than it was: %s", before)
	}
	if before := r.render(); strings.Contains(string(before), "image") {
		t.Errorf("a record without images is another than it was: %s", before)
	}
	r.Refreshes = []ownedRefresh{{[]string{"make-it", `"of" it's`}}}
	r.Images = []ownedImage{{Name: "lab/app:1"}, {Name: "lab/agent:1", ID: "1", Archive: "2", Before: "3", Making: true}}
	r.Files = append(r.Files, ownedFile{Path: "/usr/bin/x", Artifact: "2", Member: "a/b", Refresh: []string{"x"}})
	got, err := parseRecord(r.render(), planOwner)
	if diff := cmp.Diff(r.render(), got.render()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for reason, raw := range map[string]string{
		"not whole":        `{"version":1,`,
		"of another time":  `{"version":2,"owner":"home/HostService/default/app"}`,
		"of another owner": `{"version":1,"owner":"other"}`,
	} {
		if _, err := parseRecord([]byte(raw), planOwner); err == nil {
			t.Errorf("a record that is %s is taken", reason)
		}
	}
}

// Two owners that share a directory leave none behind, whoever goes first.
func TestSharedDirectory(t *testing.T) {
	for name, first := range map[string]int{"the one that made it goes first": 0, "the other goes first": 1} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before := w.snapshot()
			other := *w
			other.owner = "home/HostService/default/other"
			owners := []*world{w, &other}
			states := []State{{Files: []File{{Path: "/etc/shared/one/a", Content: []byte("a\n")}}}, {Files: []File{{Path: "/etc/shared/two/b", Content: []byte("b\n")}}}}
			for i, o := range owners {
				o.converge(states[i])
			}
			for i, o := range owners {
				o.quiet(states[i])
			}
			owners[first].clear()
			owners[1-first].quiet(states[1-first])
			owners[1-first].clear()
			if diff := changed(before, w.snapshot()); diff != "" {
				t.Errorf("something is left (-before +after):\n%s", diff)
			}
		})
	}
}
