// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// shelf is a site in memory that is only looked at: guests by VMID.
type shelf struct {
	Reader
	guests map[int]box
	doubt  string
	fresh  bool // whether there is a list already
}

type box struct {
	typ                           proxmox.GuestType
	name, description, tags, lock string
	moves                         bool // it is listed, but not on its node
}

func (s *shelf) Snapshot() (proxmox.Snapshot, bool) { return s.list(), s.fresh }

func (s *shelf) Refresh(context.Context) (proxmox.Snapshot, error) { return s.list(), nil }

func (s *shelf) list() proxmox.Snapshot {
	list := proxmox.Snapshot{Guests: map[int]proxmox.Resource{}, Doubt: s.doubt}
	for vmid, b := range s.guests {
		list.Guests[vmid] = proxmox.Resource{
			Ref: proxmox.Ref{Node: "phoenix", Type: b.typ, VMID: vmid}, Name: b.name, Tags: proxmox.ParseTags(b.tags), Lock: b.lock,
		}
	}
	return list
}

func (s *shelf) Config(_ context.Context, r proxmox.Ref) (proxmox.Config, error) {
	b, ok := s.guests[r.VMID]
	if !ok || b.moves {
		return proxmox.Config{}, &proxmox.Error{Code: 500, Reason: fmt.Sprintf("Configuration file 'nodes/%s/lxc/%d.conf' does not exist", r.Node, r.VMID)}
	}
	values := config{"description": b.description, "tags": b.tags}
	if b.lock != "" {
		values["lock"] = b.lock
	}
	return proxmox.Config{Digest: "d", Values: values}, nil
}

func (s *shelf) Watch(proxmox.UPID, int, ...func()) {}

func (s *shelf) Result(proxmox.UPID) (proxmox.Task, bool) { return proxmox.Task{}, false }

func (s *shelf) Acquire(string, int) (func(), bool) { return func() {}, true }

// TestFind: which guest is the object's, and what is said where none is.
func TestFind(t *testing.T) {
	line := func(vmid int) string { return mark{owner: testOwner, vmid: vmid}.line() }
	theirs := mark{owner: owner{id: "lab/home", guest: "lab/base"}, vmid: 9000}.line()
	tag := testOwner.tag()
	lxc := func(b box) box { b.typ = proxmox.LXC; return b }
	status := func(vmid int32, node string) func(*v1alpha1.Guest) {
		return func(g *v1alpha1.Guest) { g.Status.VMID, g.Status.Node = ptr(vmid), node }
	}
	asked := func(vmid int32) func(*v1alpha1.Guest) { return func(g *v1alpha1.Guest) { g.Spec.VMID = ptr(vmid) } }
	cloned := func(g *v1alpha1.Guest) {
		g.Status.VMID = ptr(int32(103))
		g.Spec.Source = &v1alpha1.GuestSource{Clone: &v1alpha1.CloneSource{VMID: ptr(int32(9000))}}
	}
	both := func(edits ...func(*v1alpha1.Guest)) func(*v1alpha1.Guest) {
		return func(g *v1alpha1.Guest) {
			for _, edit := range edits {
				edit(g)
			}
		}
	}
	deleted := func(g *v1alpha1.Guest) { g.DeletionTimestamp = ptr(metav1.NewTime(noon)) }
	adopts := func(g *v1alpha1.Guest) { g.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }
	cases := []struct {
		reason string
		edit   func(*v1alpha1.Guest)
		task   string // the reason of a task of ours that just ended
		guests map[int]box
		doubt  string
		want   int // the VMID found; 0: absent
		marked bool
		says   string // of the error
		kept   int32  // the VMID that stays reserved, where it matters
	}{
		{reason: "an empty site"},
		{reason: "by the status", edit: status(103, "phoenix"), guests: map[int]box{103: lxc(box{description: line(103)})}, want: 103, marked: true},
		{reason: "by the spec", edit: asked(103), guests: map[int]box{103: lxc(box{description: line(103)})}, want: 103, marked: true},
		{reason: "by the tag", guests: map[int]box{103: lxc(box{description: line(103), tags: tag})}, want: 103, marked: true},
		{reason: "by the name, when the tag was taken off", guests: map[int]box{103: lxc(box{name: "web", description: line(103)})}, want: 103, marked: true},
		{reason: "listed without a name yet", guests: map[int]box{103: lxc(box{description: line(103)})}, want: 103, marked: true},
		{reason: "listed without a name while the site starts: not worth a reading", guests: map[int]box{103: lxc(box{description: line(103)})}, doubt: "all are unknown"},
		{reason: "listed by Proxmox's name for one without", guests: map[int]box{103: lxc(box{name: "CT103", description: line(103)})}, want: 103, marked: true},
		{reason: "a namesake is not ours", guests: map[int]box{103: lxc(box{name: "web"})}},
		{reason: "nor is one of another type", guests: map[int]box{103: {typ: proxmox.QEMU, name: "web", description: line(103)}}},
		{reason: "the tag alone, in one guest", guests: map[int]box{103: lxc(box{tags: tag})}, want: 103},
		{reason: "the tag alone, in two: a person has to say which", guests: map[int]box{103: lxc(box{tags: tag}), 104: lxc(box{tags: tag})}, says: "set spec.vmid to the right one"},
		{reason: "the tag alone, in two, one of which the status names", edit: status(104, "phoenix"),
			guests: map[int]box{103: lxc(box{tags: tag}), 104: lxc(box{tags: tag})}, want: 104},
		{reason: "a copy beside the original", guests: map[int]box{103: lxc(box{description: line(103), tags: tag}), 90: lxc(box{description: line(103), tags: tag})}, want: 103, marked: true},
		{reason: "a copy at the declared VMID beside the original", edit: asked(90),
			guests: map[int]box{103: lxc(box{description: line(103), tags: tag}), 90: lxc(box{description: line(103), tags: tag})}, says: "set spec.vmid to 103"},
		{reason: "the type of what is ours", guests: map[int]box{103: {typ: proxmox.QEMU, description: line(103), tags: tag}}, says: "spec.type Container is another"},
		{reason: "it is made right now", edit: status(103, ""), guests: map[int]box{103: lxc(box{lock: "create"})}, says: "its making is under way"},
		{reason: "it is made right now, and the status was lost", edit: asked(103), guests: map[int]box{103: lxc(box{lock: "create"})}, says: "its making is under way"},
		{reason: "it is made right now, and would be adopted", edit: both(asked(103), adopts), guests: map[int]box{103: lxc(box{lock: "create"})}, says: "its making is under way"},
		{reason: "it moves right now", edit: status(103, "phoenix"), guests: map[int]box{103: lxc(box{moves: true})}, says: "103 is not on phoenix any more", kept: 103},
		{reason: "deleted while it moves", edit: both(status(103, "phoenix"), deleted), guests: map[int]box{103: lxc(box{moves: true})}, says: "103 is not on phoenix any more"},
		{reason: "what stands at the declared VMID is adopted", edit: both(asked(103), adopts), guests: map[int]box{103: lxc(box{})}, want: 103},
		{reason: "what stands at an allocated VMID is not: nobody asked for it", edit: both(status(103, "phoenix"), adopts), guests: map[int]box{103: lxc(box{})},
			says: "set spec.vmid to 103 and adoptionPolicy: IfUnowned", kept: 103},
		{reason: "it is cloned right now", edit: cloned, guests: map[int]box{103: lxc(box{lock: "clone"})}, says: "its making is under way"},
		{reason: "a clone of ours without our mark", edit: cloned, task: CloningReason, guests: map[int]box{103: lxc(box{})}, want: 103},
		{reason: "a clone of ours with its template's mark", edit: cloned, task: CloningReason, guests: map[int]box{103: lxc(box{description: theirs, tags: "phoenix-000000000000"})}, want: 103},
		{reason: "a clone of ours of ours", edit: cloned, task: CloningReason, guests: map[int]box{103: lxc(box{description: line(9000)}), 9000: lxc(box{})}, want: 103},
		{reason: "a creation of ours without our mark", edit: status(103, ""), task: CreatingReason, guests: map[int]box{103: lxc(box{})}, want: 103},
		{reason: "what was ours lost every mark", edit: status(103, "phoenix"), guests: map[int]box{103: lxc(box{})}, says: "adoptionPolicy: IfUnowned", kept: 103},
		{reason: "the task of another step proves nothing", edit: status(103, ""), task: StartingReason, guests: map[int]box{103: lxc(box{})}},
		{reason: "what was ours bears no mark any more", edit: status(103, "phoenix"), guests: map[int]box{103: lxc(box{})}, says: "adoptionPolicy: IfUnowned", kept: 103},
		{reason: "a reserved VMID that another owner got", edit: status(103, ""), guests: map[int]box{103: lxc(box{description: theirs})}},
		{reason: "a reserved VMID that a VM got", edit: status(103, ""), guests: map[int]box{103: {typ: proxmox.QEMU}}},
		{reason: "what was ours is another's now", edit: status(103, "phoenix"), guests: map[int]box{103: lxc(box{description: theirs})}, says: "belongs to Guest/lab/base", kept: 103},
		{reason: "deleted: what is not ours is not there", edit: both(asked(103), deleted), guests: map[int]box{103: lxc(box{})}},
		{reason: "deleted: a copy is not ours", edit: both(status(104, "phoenix"), deleted), guests: map[int]box{104: lxc(box{description: line(103)})}, kept: 104},
		{reason: "deleted: nor is what would be adopted", edit: both(asked(103), deleted, func(g *v1alpha1.Guest) { g.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }),
			guests: map[int]box{103: lxc(box{})}},
		{reason: "deleted, of another type: ours all the same", edit: deleted, guests: map[int]box{103: {typ: proxmox.QEMU, description: line(103), tags: tag}}, want: 103, marked: true},
		{reason: "deleted: an absence in doubt is none", edit: deleted, doubt: "the list is empty", says: "what Host/home shows is doubtful: the list is empty"},
	}
	for _, c := range cases {
		for _, fresh := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/list known %v", c.reason, fresh), func(t *testing.T) {
				s := &shelf{guests: c.guests, doubt: c.doubt, fresh: fresh}
				g := newGuest(ct, nil)
				if c.edit != nil {
					c.edit(g)
				}
				seen := Seen{host: testFacts(), owner: testOwner, site: Site{Reader: s, View: s}}
				f := finder{guest: g, seen: &seen}
				if c.task != "" {
					f.task = &v1alpha1.GuestTask{UPID: "u", Reason: c.task}
				}
				err := f.find(t.Context())
				switch {
				case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
					t.Errorf("want an error that says %q, got %v", c.says, err)
				case c.says == "" && err != nil:
					t.Errorf("error: %v", err)
				case c.says == "" && (seen.ref.VMID != c.want || seen.marked != c.marked || (seen.presence == present) != (c.want != 0)):
					t.Errorf("want %d (marked %v), got %d (marked %v, presence %v)", c.want, c.marked, seen.ref.VMID, seen.marked, seen.presence)
				}
				if c.kept != 0 && deref(g.Status.VMID) != c.kept {
					t.Errorf("want %d reserved, got %v", c.kept, g.Status.VMID)
				}
				if strings.HasPrefix(c.reason, "a reserved VMID that") && g.Status.VMID != nil {
					t.Errorf("the reservation is given up: got %d", *g.Status.VMID)
				}
				if c.want != 0 && c.task == CloningReason && (g.Status.Task == nil || seen.mark.stage != stageClone) {
					t.Error("the task stays as the proof until the mark stands, and the first write is like a creation")
				}
			})
		}
	}
}
