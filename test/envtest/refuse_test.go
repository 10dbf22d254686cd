// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// badInput is a spec that the API server accepts and the site cannot satisfy.
type badInput struct {
	reason      string
	base, patch string
	// begin is what Ready begins with; parts name the field and the remedy.
	begin string
	parts []string
	// retried: it may come true without a new spec, so that it is not Stalled.
	retried bool
}

// TestBadInputNeverSent has what is refused before anything reaches Proxmox.
func TestBadInputNeverSent(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{
		host: `defaults: {node: one}`,
		site: pve.Options{Nodes: []string{"one", "two"}, NoSSH: true, Guests: []pve.GuestSpec{
			{VMID: 600, Kind: "lxc", Config: "arch: amd64\nhostname: stranger\nmemory: 512\nostype: debian\nrootfs: local-lvm:vm-600-disk-0,size=8G\nunprivileged: 1\n"},
			{VMID: 601, Kind: "qemu", Config: "name: stranger-vm\nmemory: 512\nscsi0: local-lvm:vm-601-disk-0,size=8G\n"},
			{VMID: 9002, Kind: "qemu", Config: "name: twins\ntemplate: 1\nscsi0: local-lvm:base-9002-disk-0,size=2G\n"},
			{VMID: 9003, Kind: "qemu", Config: "name: twins\ntemplate: 1\nscsi0: local-lvm:base-9003-disk-0,size=2G\n"},
		}},
	})
	s.ready(s.host())
	s.create(s.hostYAML("second", s.site), `defaults: {storage: null}`)
	s.guest("elsewhere", vm, `{hostRef: {name: second}, management: Observe, rootDisk: {size: 1Gi}}`)
	s.refusals([]badInput{
		{"bind path outside what the Host allows", container, `mountPoints: [{path: /mnt, bind: {path: /etc}}]`,
			"False PathNotAllowed", []string{"/etc", "allow.bindMountPaths", "/srv/data"}, false},
		{"bind path beside what the Host allows", container, `mountPoints: [{path: /mnt, bind: {path: /srv/database}}]`,
			"False PathNotAllowed", []string{"/srv/database"}, false},
		{"unknown node", container, `node: three`, "False NodeMissing", []string{"three", "one", "spec.node"}, false},
		{"no node named, and several there", container, `hostRef: {name: second}`, "False NodeMissing", []string{"2 nodes", "spec.node"}, false},
		{"no storage named anywhere", container, `{hostRef: {name: second}, node: one}`, "False StorageMissing", []string{"rootDisk.storage", "defaults.storage"}, false},
		{"a VMID that a stranger has", container, `vmid: 600`, "False AlreadyExists", []string{"600", "stranger", "adoptionPolicy: IfUnowned"}, false},
		{"a VMID that another type has", container, `vmid: 601`, "False VMIDTaken", []string{"601", "stranger-vm", "choose another vmid"}, false},
		{"adoption of another type", container, `{vmid: 601, source: null, adoptionPolicy: IfUnowned}`, "False VMIDTaken", []string{"601", "choose another vmid"}, false},
		{"adoption of nothing", container, `{vmid: 602, source: null, adoptionPolicy: IfUnowned}`, "False NoSource", []string{"602", "spec.source"}, false},
		{"a template that is not there", vm, `source: {clone: {vmid: 9999}}`, "False TemplateNotFound", []string{"template 9999"}, true},
		{"a template name that is not there", vm, `source: {clone: {name: nobody}}`, "False TemplateNotFound", []string{"nobody"}, true},
		{"a template name that two have", vm, `source: {clone: {name: twins}}`, "False TemplateAmbiguous", []string{"twins", "vmid"}, false},
		{"a template of another type", container, `source: {template: null, clone: {vmid: 9000}}`, "False TypeDiffers", []string{"spec.type", "9000"}, false},
		{"a linked clone of no template", vm, `source: {clone: {vmid: 601, mode: Linked}}`, "False TemplateUnusable", []string{"no template", "Full"}, true},
		{"a clone of a Guest elsewhere", vm, `source: {clone: {guestRef: {name: elsewhere}}}`, "False TemplateNotFound", []string{"elsewhere", "same Host"}, false},
		{"a clone of a Guest that is not there", vm, `source: {clone: {guestRef: {name: nobody}}}`, "False DependencyNotReady", []string{"Guest/nobody"}, true},
		{"a Secret that is not there", vm, `{rootDisk: {size: 1Gi}, cloudInit: {sshKeysSecretRef: {name: nobody, key: x}}}`, "False SecretMissing", []string{"nobody"}, true},
		{"a Host that is not there", vm, `hostRef: {name: nobody}`, "Unknown DependencyNotReady", []string{"Host/nobody"}, true},
		{"a Guest that depends on itself", vm, `dependsOn: [{kind: Guest, name: GUEST}]`, "False ReferenceCycle", []string{"Guest/"}, false},
	})
	if writes := s.site.Writes(); len(writes) > 0 {
		t.Errorf("bad input reached Proxmox: %v", writes)
	}
}

// TestBadInputRefusedByProxmox has what only Proxmox can tell.
func TestBadInputRefusedByProxmox(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{site: pve.Options{NoSSH: true}})
	s.ready(s.host())
	s.refusals([]badInput{
		{"a storage that is not there", container, `rootDisk: {storage: nobody, size: 4Gi}`, "False", []string{"storage 'nobody' does not exist"}, true},
		{"a template file that is not there", container, `source: {template: "local:vztmpl/nobody.tar.zst"}`, "False", []string{"nobody.tar.zst"}, true},
		{"a bridge that is not there", container, `networks: [{device: net0, bridge: vmbr9}]`, "False", []string{"vmbr9"}, true},
		{"a bind mount without SSH", container, `mountPoints: [{path: /mnt, bind: {path: /srv/data/a}}]`, "False RootOnly", []string{"mountPoints[/mnt].bind.path", "ssh.nodes"}, true},
		{"a root-only feature without SSH", container, `features: {nesting: true, keyctl: true}`, "False RootOnly", []string{"features.keyctl", "ssh.nodes"}, true},
		{"a disk on a template's other device", vm, `{source: {clone: {vmid: 9000}}, rootDisk: {device: virtio0, size: 4Gi}}`, "False RootDiskMissing", []string{"virtio0", "scsi0", "rootDisk.device"}, false},
		{"a disk smaller than the template's", vm, `{source: {clone: {vmid: 9000}}, rootDisk: {size: 1Gi}}`, "False ShrinkRefused", []string{"rootDisk.size", "2Gi"}, false},
	})
}

// TestBadChange has changes of a guest that exists.
func TestBadChange(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("box", container, `{cores: 1, rootDisk: {size: 4Gi}}`)
	g, before := s.readyGuest("box")
	s.site.ForgetRequests()
	for _, tc := range []struct {
		reason, patch, back, begin string
		parts                      []string
	}{
		{"another VMID", `vmid: 777`, `vmid: null`, "False VMIDImmutable", []string{fmt.Sprint(before.VMID), "spec.vmid"}},
		{"a smaller disk", `rootDisk: {size: 2Gi}`, `rootDisk: {size: 4Gi}`, "False ShrinkRefused", []string{"rootDisk", "2G", "4G"}},
		{"another storage", `rootDisk: {storage: local}`, `rootDisk: {storage: null}`, "False MoveRefused", []string{"local-lvm", "local", "Move Storage"}},
		{"a path that may not be bound", `mountPoints: [{path: /mnt, bind: {path: /root}}]`, `mountPoints: null`, "False PathNotAllowed", []string{"/root"}},
	} {
		s.change(g, tc.patch)
		s.says(g, "Ready", tc.begin, tc.parts...)
		s.says(g, "Stalled", "True")
		s.change(g, tc.back)
		s.readyGuest("box")
	}
	if now := s.outside(g); now.Config != before.Config || len(s.site.Writes()) > 0 {
		t.Errorf("refused changes were made: %v\n%s", s.site.Writes(), now.Config)
	}
}

// TestRangeExhausted has no VMID left.
func TestRangeExhausted(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{host: `vmidRange: {first: 300, last: 301}`, site: pve.Options{Guests: []pve.GuestSpec{{VMID: 300, Kind: "qemu", Config: "name: stranger\nmemory: 512\n"}}}})
	s.guest("one", vm, `{power: Stopped, rootDisk: {size: 1Gi}}`)
	if _, state := s.readyGuest("one"); state.VMID != 301 {
		t.Errorf("VMID %d, want the only free one", state.VMID)
	}
	s.guest("two", vm, `{power: Stopped, rootDisk: {size: 1Gi}}`)
	s.says(s.named("two"), "Ready", "False RangeExhausted", "vmidRange", "spec.vmid")
	s.change(s.host(), `vmidRange: {first: 300, last: 302}`)
	if _, state := s.readyGuest("two"); state.VMID != 302 {
		t.Errorf("VMID %d, want the one that the range was widened by", state.VMID)
	}
}

// TestAllocationAroundOthers has somebody take the chosen VMID first.
func TestAllocationAroundOthers(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{options: often})
	s.ready(s.host())
	// The first creation meets a guest that came after the list.
	s.site.Inject(pve.Fault{Method: "POST", Path: "/nodes/*/qemu", From: 1, To: 1, Delay: 300 * tick})
	s.guest("box", vm, `{power: Stopped, rootDisk: {size: 1Gi}}`)
	s.until("the creation is on its way", func() error { return atLeast(1, s.site.CountRequests("POST", "/nodes/*/qemu")) })
	if err := s.site.Add(pve.GuestSpec{VMID: 200, Kind: "qemu", Config: "name: faster\nmemory: 512\n"}); err != nil {
		t.Fatal(err)
	}
	_, state := s.readyGuest("box")
	if state.VMID != 201 {
		t.Errorf("VMID %d, want 201", state.VMID)
	}
	if faster, _ := s.site.Guest(200); faster.Config != "memory: 512\nname: faster\n" {
		t.Errorf("the guest that was faster was changed:\n%s", faster.Config)
	}
}

// refusals checks every case on the same stage.
func (s *stage) refusals(cases []badInput) {
	s.Helper()
	s.Run("refused", func(t *testing.T) { // returns when all are done
		for i, tc := range cases {
			t.Run(tc.reason, func(t *testing.T) {
				t.Parallel()
				s := s.with(t)
				name := fmt.Sprintf("bad-%d", i)
				s.guest(name, tc.base, strings.ReplaceAll(tc.patch, "GUEST", name))
				g := s.named(name)
				s.says(g, "Ready", tc.begin, tc.parts...)
				if tc.retried {
					s.kstatus(g, status.InProgressStatus)
				} else {
					s.says(g, "Stalled", "True")
					s.kstatus(g, status.FailedStatus)
				}
			})
		}
	})
}
