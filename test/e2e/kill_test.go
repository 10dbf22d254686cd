// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// moment is when the manager is killed, as seen from one of its writes.
type moment struct {
	name string
	// fault is what happens to the write.
	fault pve.Fault
	// done: the kill comes once the site has done what was asked, else once the write has arrived.
	done bool
}

var moments = []moment{
	{"before it is looked at", pve.Fault{Delay: 300 * time.Millisecond, Cut: pve.CutBefore}, false},
	{"done, and the answer is on its way", pve.Fault{Trickle: 5 * time.Millisecond}, true},
	{"done and answered", pve.Fault{}, true},
}

// write is one write that a job takes; %d stands for the VMID.
type write struct{ method, path string }

var (
	createWrites = []write{{"POST", "/nodes/phoenix/lxc"}, {"POST", "/nodes/phoenix/lxc/%d/status/start"}}
	cloneWrites  = []write{
		{"POST", "/nodes/phoenix/qemu/9000/clone"}, {"PUT", "/nodes/phoenix/qemu/%d/config"},
		{"PUT", "/nodes/phoenix/qemu/%d/resize"}, {"POST", "/nodes/phoenix/qemu/%d/status/start"},
	}
	resizeWrites = []write{{"PUT", "/nodes/phoenix/lxc/%d/config"}, {"PUT", "/nodes/phoenix/lxc/%d/resize"}}
	deleteWrites = []write{{"POST", "/nodes/phoenix/lxc/%d/status/shutdown"}, {"DELETE", "/nodes/phoenix/lxc/%d"}}
)

// TestKill kills the manager at every write of a creation, a clone, a change with growth, and a deletion: before the site
// looks at it, when it is done and the answer is on its way, and once it is answered. The end is the same, and nothing is
// there twice.
func TestKill(t *testing.T) {
	w := open(t, pve.Options{})
	w.applyHost()
	w.start()
	w.allReady()

	vmid := 200
	each := func(name string, writes []write, run func(t *testing.T, w *theatre, at kill)) {
		for i, x := range writes {
			for _, m := range moments {
				vmid++
				at := kill{moment: m, write: x, vmid: vmid}
				t.Run(fmt.Sprintf("%s, write %d, %s", name, i+1, m.name), func(t *testing.T) {
					run(t, &theatre{t, w.World}, at)
				})
			}
		}
	}
	each("create", createWrites, killCreate)
	each("clone", cloneWrites, killClone)
	big := box("growing", 150)
	w.create(big)
	w.ready(big)
	size := 4
	each("change", resizeWrites, func(t *testing.T, w *theatre, at kill) {
		size++
		killChange(t, w, at, big, size)
	})
	each("delete", deleteWrites, killDelete)
}

// kill is one write at which the manager is killed.
type kill struct {
	moment
	write
	vmid int
}

// strike does what makes the manager write, kills it there, and starts it again.
func (at kill) strike(w *theatre, trigger func()) {
	w.Helper()
	path := at.path
	if strings.Contains(path, "%d") {
		path = fmt.Sprintf(path, at.vmid)
	}
	before := w.Site.CountRequests(at.method, path)
	f := at.fault
	f.Method, f.Path, f.From, f.To = at.method, path, 1, 1
	remove := w.Site.Inject(f)
	trigger()
	w.until("the manager writes "+at.method+" "+path, func() error { return at.reached(w, path, before) })
	w.kill()
	remove()
	w.start()
}

// reached says whether the write has come as far as the moment wants it.
func (at kill) reached(w *theatre, path string, before int) error {
	n := 0
	for _, r := range w.Site.Requests() {
		if r.Method != at.method || r.Path != path {
			continue
		}
		if n++; n > before && (!at.done || r.Status != 0) {
			return nil
		}
	}
	return fmt.Errorf("%d such writes, %d of them before", n, before)
}

func killCreate(_ *testing.T, w *theatre, at kill) {
	g := box(fmt.Sprintf("box-%d", at.vmid), at.vmid)
	at.strike(w, func() { w.create(g) })
	w.ready(g)
	w.nothingTwice(at.vmid, 2)
	state, _ := w.Site.Guest(at.vmid)
	if !state.Running || state.Options["cores"] != "2" {
		w.Errorf("not what was asked for:\n%s", state.Config)
	}
	w.dispose(g)
}

func killClone(_ *testing.T, w *theatre, at kill) {
	g := machine(fmt.Sprintf("machine-%d", at.vmid), at.vmid)
	at.strike(w, func() { w.create(g) })
	w.ready(g)
	w.nothingTwice(at.vmid, 2) // the disk and the cloud-init drive
	state, _ := w.Site.Guest(at.vmid)
	if !state.Running || state.Options["cores"] != "2" || !strings.Contains(state.Options["scsi0"], "size=4G") {
		w.Errorf("not what was asked for:\n%s", state.Config)
	}
	w.dispose(g)
}

func killChange(_ *testing.T, w *theatre, at kill, g *v1alpha1.Guest, size int) {
	at.vmid = int(*g.Spec.VMID)
	at.strike(w, func() {
		base := g.DeepCopy()
		g.Spec.RootDisk.Size = ptr.To(v1alpha1.MustParseSize(fmt.Sprintf("%dGi", size)))
		g.Spec.Memory = ptr.To(v1alpha1.MustParseSize(fmt.Sprintf("%dMi", 100*size)))
		if err := w.Client.Patch(context.Background(), g, client.MergeFrom(base)); err != nil {
			w.Fatal(err)
		}
	})
	w.ready(g)
	w.nothingTwice(at.vmid, 2)
	state, _ := w.Site.Guest(at.vmid)
	if !strings.Contains(state.Options["rootfs"], fmt.Sprintf("size=%dG", size)) || state.Options["memory"] != fmt.Sprint(100*size) {
		w.Errorf("not what was asked for:\n%s", state.Config)
	}
}

func killDelete(_ *testing.T, w *theatre, at kill) {
	g := box(fmt.Sprintf("box-%d", at.vmid), at.vmid)
	w.create(g)
	w.ready(g)
	at.strike(w, func() {
		if err := w.Client.Delete(context.Background(), g); err != nil {
			w.Fatal(err)
		}
	})
	w.gone(g)
	if state, there := w.Site.Guest(at.vmid); there {
		w.Errorf("guest %d is still there:\n%s", at.vmid, state.Config)
	}
	for _, v := range w.Site.Volumes("local-lvm", "phoenix") {
		if strings.Contains(v, fmt.Sprintf("vm-%d-", at.vmid)) {
			w.Errorf("volume %s is still there", v)
		}
	}
}

// dispose deletes a Guest; the manager does it while the test goes on.
func (w *theatre) dispose(g *v1alpha1.Guest) {
	w.Helper()
	if err := w.Client.Delete(context.Background(), g); err != nil {
		w.Fatal(err)
	}
}

func (w *theatre) create(o client.Object) {
	w.Helper()
	if err := w.Client.Create(context.Background(), o); err != nil {
		w.Fatal(err)
	}
}

// applyHost applies the Host of the samples, with its Secrets, and room for many deletions.
func (w *theatre) applyHost() {
	w.Helper()
	if err := w.ApplySamples(context.Background(), "testdata"); err != nil {
		w.Fatal(err)
	}
}

func box(name string, vmid int) *v1alpha1.Guest {
	return &v1alpha1.Guest{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace},
		Spec: v1alpha1.GuestSpec{
			CommonSpec: v1alpha1.CommonSpec{DeletionPolicy: v1alpha1.DeletionDelete},
			HostRef:    v1alpha1.LocalReference{Name: "phoenix"},
			Type:       v1alpha1.GuestContainer,
			VMID:       ptr.To(int32(vmid)),
			Source:     &v1alpha1.GuestSource{Template: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"},
			Cores:      ptr.To(int32(2)),
			RootDisk:   &v1alpha1.RootDisk{Size: ptr.To(v1alpha1.MustParseSize("4Gi"))},
			MountPoints: []v1alpha1.MountPoint{
				{Path: "/srv", Volume: &v1alpha1.Volume{Size: v1alpha1.MustParseSize("1Gi")}},
			},
		},
	}
}

func machine(name string, vmid int) *v1alpha1.Guest {
	return &v1alpha1.Guest{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace},
		Spec: v1alpha1.GuestSpec{
			CommonSpec: v1alpha1.CommonSpec{DeletionPolicy: v1alpha1.DeletionDelete},
			HostRef:    v1alpha1.LocalReference{Name: "phoenix"},
			Type:       v1alpha1.GuestVM,
			VMID:       ptr.To(int32(vmid)),
			Source:     &v1alpha1.GuestSource{Clone: &v1alpha1.CloneSource{VMID: ptr.To(int32(9000))}},
			Cores:      ptr.To(int32(2)),
			RootDisk:   &v1alpha1.RootDisk{Size: ptr.To(v1alpha1.MustParseSize("4Gi"))},
			CloudInit:  &v1alpha1.CloudInit{User: "admin"},
		},
	}
}
