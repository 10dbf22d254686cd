// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// existing is a container that somebody made by hand.
func existing(description string) pve.GuestSpec {
	config := "arch: amd64\ncores: 2\nhostname: legacy\nmemory: 256\nnet0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:09,ip=dhcp,type=veth\n" +
		"ostype: debian\nrootfs: local-lvm:vm-300-disk-0,size=8G\nswap: 0\ntags: old\nunprivileged: 1\n"
	if description != "" {
		config = "#" + strings.ReplaceAll(description, ":", "%3A") + "\n" + config
	}
	return pve.GuestSpec{VMID: 300, Kind: "lxc", Config: config, Running: true}
}

func stalledBy(reason string) func(*v1alpha1.Guest) bool {
	return func(g *v1alpha1.Guest) bool {
		return because(reason)(g) && meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.StalledCondition)
	}
}

// TestOwnership: whose a guest at a declared VMID is, and what the message says.
func TestOwnership(t *testing.T) {
	const line = "<!-- phoenix-hypervisor.io owner=%o guest=%g vmid=%v -->"
	mark := func(owner, guest, vmid string) string {
		return strings.NewReplacer("%o", owner, "%g", guest, "%v", vmid).Replace(line)
	}
	cases := []struct {
		reason      string
		description string
		guest       func(*v1alpha1.GuestSpec)
		typ         v1alpha1.GuestType
		stalls      string
		says        []string
	}{
		{reason: "nobody's, and adoption is not asked for", stalls: guest.AlreadyExistsReason, says: []string{"300", "legacy", "adoptionPolicy: IfUnowned"}},
		{reason: "nobody's, of another type", typ: v1alpha1.GuestVM, stalls: guest.VMIDTakenReason, says: []string{"300", "container", "legacy"}},
		{reason: "another owner's, whatever the adoption policy", description: mark("other/site", "lab/web", "300"), guest: adopt,
			stalls: guest.ForeignOwnerReason, says: []string{"Guest/lab/web of owner other/site"}},
		{reason: "another Guest's of ours", description: mark("lab/home", "lab/mail", "300"), guest: adopt, stalls: guest.ForeignOwnerReason, says: []string{"lab/mail"}},
		{reason: "a mark that cannot be read is somebody's", description: "<!-- phoenix-hypervisor.io x -->", guest: adopt, stalls: guest.ForeignOwnerReason},
		{reason: "the mark of a guest that is gone, at the declared VMID: it goes on", description: mark("lab/home", "lab/web", "299")},
		{reason: "nobody's, and adoption is asked for", guest: adopt},
		{reason: "ours", description: mark("lab/home", "lab/web", "300")},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, pve.Options{Guests: []pve.GuestSpec{existing(c.description)}})
			g := container("web", c.guest)
			g.Spec.VMID = ptr(int32(300))
			if c.typ != "" {
				g.Spec.Type, g.Spec.Source = c.typ, nil
			}
			w.create(g)
			before := w.state(300).Config
			if c.stalls == "" {
				w.ready("web")
				s := w.state(300)
				if s.Options["cores"] != "2" || s.Options["hostname"] != "legacy" || !strings.Contains(s.Options["description"], "guest=lab/web vmid=300") {
					t.Errorf("undeclared values stay, the mark stands: got\n%s", s.Config)
				}
				return
			}
			w.until("it stalls", stalledBy(c.stalls), "web")
			for _, part := range c.says {
				if !strings.Contains(message(w.get("web")), part) {
					t.Errorf("the message names %q: got %q", part, message(w.get("web")))
				}
			}
			if w.state(300).Config != before || w.count() != 1 {
				t.Errorf("it was touched:\n%s", w.describe("web"))
			}
		})
	}
}

func adopt(s *v1alpha1.GuestSpec) { s.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }

// TestAdoption: what is taken over ends with an empty plan, and what differs is said.
func TestAdoption(t *testing.T) {
	w := newWorld(t, pve.Options{Guests: []pve.GuestSpec{existing("")}})
	w.create(container("legacy", func(s *v1alpha1.GuestSpec) {
		adopt(s)
		s.VMID, s.Source, s.Cores, s.Management = ptr(int32(300)), nil, ptr(int32(4)), v1alpha1.ManagementObserve
		s.RootDisk = &v1alpha1.RootDisk{Storage: "local", Size: size("4Gi")}
	}))
	w.until("the differences are shown", func(g *v1alpha1.Guest) bool {
		var fields []string
		for _, p := range g.Status.Plan {
			fields = append(fields, p.Field)
		}
		return strings.Join(fields, " ") == "cores tags mark rootDisk.storage rootDisk.size"
	}, "legacy")
	w.change("legacy", func(g *v1alpha1.Guest) {
		g.Spec.Management = v1alpha1.ManagementEnforce
		g.Spec.RootDisk = &v1alpha1.RootDisk{Storage: "local-lvm", Size: size("8Gi")}
	})
	w.ready("legacy")
	if s := w.state(300); s.Options["cores"] != "4" || !strings.Contains(s.Options["net0"], "BC:24:11:00:00:09") || !strings.Contains(s.Options["tags"], "old") {
		t.Errorf("adopted:\n%s", s.Config)
	}
}

// TestCopies: a copy made by hand is not taken for the guest.
func TestCopies(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", func(s *v1alpha1.GuestSpec) { s.Cores = ptr(int32(1)) }))
	w.ready("web")
	vmid := int(*w.get("web").Status.VMID)
	copied := w.state(vmid).Config
	volume := regexp.MustCompile("(?m)^rootfs:.*$")
	if err := w.sim.Add(pve.GuestSpec{VMID: 400, Kind: "lxc", Config: volume.ReplaceAllString(copied, "rootfs: local-lvm:vm-400-disk-0,size=4G")}); err != nil {
		t.Fatal(err)
	}
	w.manager = w.start()
	g := w.get("web")
	g.Status = v1alpha1.GuestStatus{}
	if err := w.client.Status().Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	w.ready("web")
	if got := int(*w.get("web").Status.VMID); got != vmid {
		t.Errorf("want %d found again, got %d", vmid, got)
	}
	if err := w.sim.Destroy(vmid); err != nil {
		t.Fatal(err)
	}
	w.until("the copy is named", stalledBy(guest.MarkCopiedReason), "web")
	if got := message(w.get("web")); !strings.Contains(got, "400") || !strings.Contains(got, "spec.vmid") {
		t.Errorf("message: %q", got)
	}
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.VMID = ptr(int32(400)) })
	w.ready("web")
	if !strings.Contains(w.state(400).Options["description"], "vmid=400") {
		t.Errorf("the mark names the new VMID: %s", w.state(400).Config)
	}
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.VMID = ptr(int32(401)) })
	w.until("a VMID cannot be changed", stalledBy(guest.VMIDImmutableReason), "web")
}

// TestForeignIsNotDestroyed: what lost its mark is left alone when the object goes.
func TestForeignIsNotDestroyed(t *testing.T) {
	for _, c := range []struct{ reason, description string }{
		{"the mark was cut out", "mine now"},
		{"another owner took it", "<!-- phoenix-hypervisor.io owner=other/site guest=lab/web vmid=103 -->"},
		{"it bears the mark of another VMID", "<!-- phoenix-hypervisor.io owner=lab/home guest=lab/web vmid=104 -->"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, pve.Options{})
			w.create(container("web", func(s *v1alpha1.GuestSpec) { s.VMID, s.DeletionPolicy = ptr(int32(103)), v1alpha1.DeletionDelete }))
			w.ready("web")
			if err := w.sim.SetConfig(103, "description", c.description); err != nil {
				t.Fatal(err)
			}
			w.delete("web")
			w.until("the object is released", gone, "web")
			if !w.state(103).Running {
				t.Error("the guest was touched")
			}
		})
	}
}

// TestRefusedRemoval: protected, the control plane's own, a template with linked clones.
func TestRefusedRemoval(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.host(func(h *v1alpha1.Host) { h.Spec.ControlPlaneGuest = &v1alpha1.LocalReference{Name: "kind"} })
	remove := func(id int32) func(*v1alpha1.GuestSpec) {
		return func(s *v1alpha1.GuestSpec) { s.VMID, s.DeletionPolicy = ptr(id), v1alpha1.DeletionDelete }
	}
	w.create(container("web", remove(103)), container("kind", remove(104)))
	w.ready("web", "kind")
	if err := w.sim.SetConfig(103, "protection", "1"); err != nil {
		t.Fatal(err)
	}
	w.delete("web")
	w.delete("kind")
	w.until("it is protected", stalledBy(guest.ProtectedReason), "web")
	w.until("it is the control plane's", stalledBy(guest.ControlPlaneReason), "kind")
	if !w.state(103).Running || !w.state(104).Running {
		t.Error("one of them was stopped")
	}
	if err := w.sim.SetConfig(103, "protection", "0"); err != nil {
		t.Fatal(err)
	}
	w.until("it is gone", gone, "web")

	w.create(vm("linked", func(s *v1alpha1.GuestSpec) { s.Source.Clone.Mode = v1alpha1.CloneLinked }))
	w.ready("linked")
	if err := w.sim.SetConfig(9000, "description", "<!-- phoenix-hypervisor.io owner=lab/home guest=lab/base vmid=9000 -->"); err != nil {
		t.Fatal(err)
	}
	w.create(object("base", v1alpha1.GuestVM, nil, remove(9000)))
	w.ready("base") // a template is never started
	w.delete("base")
	w.until("its clones are named", because(guest.LinkedClonesReason), "base")
}

// TestSources: what a clone can be made of.
func TestSources(t *testing.T) {
	clone := func(c v1alpha1.CloneSource) func(*v1alpha1.GuestSpec) {
		return func(s *v1alpha1.GuestSpec) { s.Source = &v1alpha1.GuestSource{Clone: &c} }
	}
	more := []pve.GuestSpec{
		{VMID: 9100, Kind: "lxc", Config: "hostname: base\nrootfs: local-lvm:base-9100-disk-0,size=1G\ntemplate: 1\nunprivileged: 1\n"},
		{VMID: 9101, Kind: "qemu", Config: "name: twin\nscsi0: local-lvm:base-9101-disk-0,size=1G\ntemplate: 1\n"},
		{VMID: 9102, Kind: "qemu", Config: "name: twin\nscsi0: local-lvm:base-9102-disk-0,size=1G\ntemplate: 1\n"},
		{VMID: 9103, Kind: "lxc", Config: "hostname: busy\nrootfs: local-lvm:vm-9103-disk-0,size=1G\nunprivileged: 1\n", Running: true},
	}
	cases := []struct {
		reason string
		guest  *v1alpha1.Guest
		shown  string // "" for Ready
	}{
		{"a VM by name", vm("x", clone(v1alpha1.CloneSource{Name: "debian-12-cloud"})), ""},
		{"a linked VM by number", vm("x", clone(v1alpha1.CloneSource{VMID: ptr(int32(9000)), Mode: v1alpha1.CloneLinked})), ""},
		{"a container by number", container("x", clone(v1alpha1.CloneSource{VMID: ptr(int32(9100))})), ""},
		{"a linked container by name", container("x", clone(v1alpha1.CloneSource{Name: "base", Mode: v1alpha1.CloneLinked})), ""},
		{"a full clone on a storage of its own", vm("x", clone(v1alpha1.CloneSource{VMID: ptr(int32(9000)), Storage: "tank"})), ""},
		{"one that is not there", vm("x", clone(v1alpha1.CloneSource{VMID: ptr(int32(9999))})), guest.TemplateNotFoundReason},
		{"a name that nobody has", vm("x", clone(v1alpha1.CloneSource{Name: "nobody"})), guest.TemplateNotFoundReason},
		{"a name that two have", vm("x", clone(v1alpha1.CloneSource{Name: "twin"})), guest.TemplateAmbiguousReason},
		{"one of the other type", vm("x", clone(v1alpha1.CloneSource{VMID: ptr(int32(9100))})), guest.TypeDiffersReason},
		{"no template, linked", container("x", clone(v1alpha1.CloneSource{VMID: ptr(int32(9103)), Mode: v1alpha1.CloneLinked})), guest.TemplateUnusableReason},
		{"a container that runs", container("x", clone(v1alpha1.CloneSource{VMID: ptr(int32(9103))})), guest.TemplateUnusableReason},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t, pve.Options{Guests: more, Storages: append(pve.DefaultStorages(), pve.Storage{Name: "tank", Type: "lvmthin", Content: []string{"rootdir", "images"}})})
			w.create(c.guest)
			if c.shown == "" {
				w.ready("x")
				return
			}
			w.until("it is refused", because(c.shown), "x")
			if w.count() != len(more) {
				t.Error("something was made")
			}
		})
	}
	t.Run("a Guest of the same Host", func(t *testing.T) {
		w := newWorld(t, pve.Options{})
		w.create(container("base", func(s *v1alpha1.GuestSpec) { s.Power = v1alpha1.PowerStopped }),
			container("x", clone(v1alpha1.CloneSource{GuestRef: &v1alpha1.LocalReference{Name: "base"}})))
		w.pass("x")
		if !because(v1alpha1.DependencyReason)(w.get("x")) {
			t.Errorf("it waits for its template:\n%s", w.describe("x"))
		}
		w.ready("base")
		w.ready("x")
		w.ready("base")
	})
}

// TestSSHKeys: the keys of a Secret, and what is wrong with one.
func TestSSHKeys(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS ops"
	w := newWorld(t, pve.Options{})
	w.create(vm("db", func(s *v1alpha1.GuestSpec) {
		s.VMID = ptr(int32(200))
		s.CloudInit = &v1alpha1.CloudInit{User: "debian", SSHKeysSecretRef: &v1alpha1.SecretKeyReference{Name: "keys", Key: "ops"}}
	}))
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "keys"}}
	says := func(text string) func(*v1alpha1.Guest) bool {
		return func(g *v1alpha1.Guest) bool {
			return because(guest.SecretMissingReason)(g) && strings.Contains(message(g), text)
		}
	}
	w.until("the Secret is named", says("Secret/keys does not exist"), "db")
	w.create(s)
	w.until("the entry is named", says("no entry ops"), "db")
	for _, c := range []struct{ data, text string }{{"# nothing\n", "it holds none"}, {key + "\n-----BEGIN SECRET THING\n", "line 2 of it is none"}} {
		s.Data = map[string][]byte{"ops": []byte(c.data)}
		if err := w.client.Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		w.until("the line is named", says(c.text), "db")
		if strings.Contains(w.describe("db"), "SECRET THING") {
			t.Error("the Secret's text is shown")
		}
	}
	if w.count() != 0 {
		t.Error("a VM was made without its keys")
	}
	s.Data = map[string][]byte{"ops": []byte(key + "\n")}
	if err := w.client.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.ready("db")
	if got := w.state(200).Options["sshkeys"]; !strings.HasPrefix(got, "ssh-ed25519%20AAAA") {
		t.Errorf("sshkeys: got %q", got)
	}
}

// TestReservationLost: a reserved VMID that another object of ours got is given up, not stalled on.
func TestReservationLost(t *testing.T) {
	w := newWorld(t, pve.Options{Guests: []pve.GuestSpec{existing("<!-- phoenix-hypervisor.io owner=lab/home guest=lab/mail vmid=300 -->")}})
	g := container("web", nil)
	w.create(g)
	g.Status.VMID = ptr(int32(300))
	if err := w.client.Status().Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	w.ready("web")
	if *w.get("web").Status.VMID == 300 {
		t.Error("it kept a VMID that is another's")
	}
}

// TestTagAlone: without a status and without the line, the tag finds the guest, as long as only one bears it.
func TestTagAlone(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.create(container("web", nil))
	w.ready("web")
	vmid := int(*w.get("web").Status.VMID)
	if err := w.sim.DeleteConfig(vmid, "description"); err != nil {
		t.Fatal(err)
	}
	w.manager = w.start()
	g := w.get("web")
	g.Status = v1alpha1.GuestStatus{}
	if err := w.client.Status().Update(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	w.ready("web")
	if !strings.Contains(w.state(vmid).Options["description"], "guest=lab/web") || w.count() != 1 {
		t.Errorf("want the same guest, marked again:\n%s", w.describe("web"))
	}
}

// TestNodes: where a guest is made.
func TestNodes(t *testing.T) {
	w := newWorld(t, pve.Options{Nodes: []string{"pve1", "pve2"}})
	w.create(container("a", nil), container("b", func(s *v1alpha1.GuestSpec) { s.Node = "nope" }), container("c", func(s *v1alpha1.GuestSpec) { s.Node = "pve2" }))
	w.until("it has to name a node", stalledBy(guest.NodeMissingReason), "a", "b")
	if got := message(w.get("b")); !strings.Contains(got, "nope") || !strings.Contains(got, "pve1 pve2") {
		t.Errorf("message: %q", got)
	}
	w.host(func(h *v1alpha1.Host) { h.Spec.Defaults.Node = "pve1" })
	w.change("a", func(g *v1alpha1.Guest) { g.Spec.Cores = ptr(int32(1)) })
	w.until("it is made on the Host's node", func(g *v1alpha1.Guest) bool { return g.Status.Node == "pve1" }, "a")
	w.ready("a")
}

// TestRemovalInDoubt: while the site is in doubt nothing is destroyed; nor when the mark changes at the last moment.
func TestRemovalInDoubt(t *testing.T) {
	w := newWorld(t, pve.Options{Nodes: []string{"pve1", "pve2"}})
	w.create(container("web", func(s *v1alpha1.GuestSpec) {
		s.VMID, s.Node, s.DeletionPolicy = ptr(int32(103)), "pve1", v1alpha1.DeletionDelete
	}))
	w.ready("web")
	w.sim.SetQuorum(false)
	if _, err := w.site.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.delete("web")
	w.until("it waits", because(guest.FrozenReason), "web")
	if !w.state(103).Running {
		t.Error("it was stopped")
	}
	w.sim.SetQuorum(true)
	w.until("it is gone", gone, "web")
}
