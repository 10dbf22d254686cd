// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
)

func TestTakeOverAndRevive(t *testing.T) {
	mark := takenMark("HostService home/dns")
	const before = "one\ntwo\n  three\nfour"
	after := takeOver(before, mark, []handLine{{first: 2, last: 3}})
	if want := "one\n#(HostService home/dns) two\n#(HostService home/dns)   three\nfour"; after != want {
		t.Errorf("taken over: %q, want %q", after, want)
	}
	again, taken := revive(after, mark)
	if diff := cmp.Diff(map[int]bool{2: true, 3: true}, taken); diff != "" || again != before {
		t.Errorf("revived: %q with %v, want what was before", again, taken)
	}
	if other, taken := revive(after, takenMark("HostService home/other")); other != after || len(taken) > 0 {
		t.Errorf("another's lines were revived: %q", other)
	}
	if got := takeOver(before, mark, nil); got != before {
		t.Errorf("without lines %q changes", got)
	}
}

func TestFilesByHand(t *testing.T) {
	const conf, about = "/etc/dnsmasq.d/hand.conf", "HostService home/dns"
	d := design{
		want: machine.State{Files: []machine.File{{Path: "/etc/dnsmasq.d/phoenix-dns.conf"}}},
		judge: func(contents map[string]string) ([]handLine, []string) {
			if _, own := contents["/etc/dnsmasq.d/phoenix-dns.conf"]; own {
				t.Error("our own file is judged")
			}
			if contents[conf] == "keep\nold\nnew\n" {
				return []handLine{{path: conf, first: 2, last: 2, text: "old"}, {path: conf, first: 3, last: 3, text: "new"}}, []string{"/etc/hosts.home"}
			}
			return nil, nil
		},
	}
	contents := map[string][]byte{conf: []byte("keep\n" + takenMark(about) + "old\nnew\n"), "/etc/dnsmasq.d/phoenix-dns.conf": []byte("x")}
	there := map[string]machine.Path{conf: {Kind: "file", Mode: "0640", UID: "0", GID: "106"}}
	found := readByHand(d, about, contents)
	for name, c := range map[string]struct {
		reason, want string
		adopt        bool
		way          int
	}{
		"never": {"what was taken over stays ours; the new line is in the way", "keep\n" + takenMark(about) + "old\nnew\n", false, 1},
		"if unowned": {
			"all of it is taken over", "keep\n" + takenMark(about) + "old\n" + takenMark(about) + "new\n", true, 0,
		},
	} {
		files := found.rewrites(about, c.adopt, nil, there)
		if len(files) != 1 || string(files[0].Content) != c.want || files[0].Mode != 0o640 || files[0].Group != "106" || !files[0].Replaces {
			t.Errorf("%s: %s: %+v, want %q with owner and mode as they are", name, c.reason, files, c.want)
		}
		if way := found.inTheWay(c.adopt); len(way) != c.way {
			t.Errorf("%s: %d lines are in the way, want %d", name, len(way), c.way)
		}
	}
	contents[conf] = []byte("keep\n" + takenMark(about) + "gone\n")
	if files := readByHand(d, about, contents).rewrites(about, true, nil, there); len(files) != 0 {
		t.Errorf("a file without conflicts is kept rewritten: %+v; its original has to come back", files)
	}
}

func TestHandPaths(t *testing.T) {
	known := handPaths{reads: []string{"/a", "/b"}, rewrites: []string{"/c"}}
	for name, c := range map[string]struct {
		other handPaths
		want  bool
	}{
		"the same": {known, true}, "fewer": {handPaths{reads: []string{"/b"}}, true}, "none": {handPaths{}, true},
		"another to read": {handPaths{reads: []string{"/x"}}, false}, "another to rewrite": {handPaths{rewrites: []string{"/a"}}, false},
	} {
		if got := known.covers(c.other); got != c.want {
			t.Errorf("%s: covered: %t, want %t", name, got, c.want)
		}
	}
}
