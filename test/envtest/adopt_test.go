// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const existing = `#Made by hand.
arch: amd64
cores: 2
hostname: step-ca
memory: 512
mp0: local-lvm:vm-103-disk-1,mp=/srv,size=2G
net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:03,ip=10.0.0.10/24,type=veth
ostype: debian
rootfs: local-lvm:vm-103-disk-0,size=8G
swap: 512
tags: byhand
unprivileged: 1
`

// asItIs declares exactly what stands in existing.
const asItIs = `
source: null
vmid: 103
adoptionPolicy: IfUnowned
hostname: step-ca
cores: 2
memory: 512Mi
rootDisk: {storage: local-lvm, size: 8Gi}
mountPoints: [{path: /srv, volume: {size: 2Gi}}]
networks: [{device: net0, bridge: vmbr0, ipv4: {method: Static, address: 10.0.0.10/24}}]`

func existingSite() set {
	return set{site: pve.Options{Guests: []pve.GuestSpec{{VMID: 103, Kind: "lxc", Config: existing, Running: true}}}}
}

// TestAdoption takes over what somebody made by hand.
func TestAdoption(t *testing.T) {
	t.Parallel()
	s := newStage(t, existingSite())
	before, _ := s.site.Guest(103)

	s.guest("ca", container, `{vmid: 103, source: {template: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"}}`)
	g := s.named("ca")
	s.says(g, "Ready", "False AlreadyExists", "container 103", "adoptionPolicy: IfUnowned")
	s.says(g, "Stalled", "True AlreadyExists")
	s.kstatus(g, status.FailedStatus)
	if now, _ := s.site.Guest(103); now.Config != before.Config {
		t.Errorf("a refused guest was changed:\n%s", now.Config)
	}

	// Only observed, the plan names the mark and nothing else: it is declared as it is.
	s.change(g, "management: Observe"+asItIs)
	s.says(g, "Drifted", "True Drifted")
	for _, c := range g.Status.Plan {
		if c.Field != "mark" && c.Field != "tags" {
			t.Errorf("the plan of an adoption as it is shows %+v", c)
		}
	}
	if now, _ := s.site.Guest(103); now.Config != before.Config {
		t.Errorf("an observed guest was changed:\n%s", now.Config)
	}

	s.change(g, "management: Enforce")
	_, state := s.readyGuest("ca")
	if diff := cmp.Diff(withoutMarks(before.Options), withoutMarks(state.Options)); diff != "" {
		t.Errorf("an adoption as it is changed the guest (-before +after):\n%s", diff)
	}
	if !strings.HasPrefix(state.Options["description"], "Made by hand.\n\n<!-- phoenix") || !strings.HasPrefix(state.Options["tags"], "byhand;phoenix-") {
		t.Errorf("notes or tags of before were lost:\n%s", state.Config)
	}
	if !state.Started.Equal(before.Started) {
		t.Error("an adoption restarted the guest")
	}
	writes := s.site.Writes()
	if len(writes) != 1 {
		t.Errorf("an adoption took %d writes: %v", len(writes), writes)
	}
}

// TestAdoptionShowsDifferences has a spec that says something else than what stands there.
func TestAdoptionShowsDifferences(t *testing.T) {
	t.Parallel()
	s := newStage(t, existingSite())
	s.guest("ca", container, strings.NewReplacer("cores: 2", "cores: 4", "memory: 512Mi", "memory: 1Gi").Replace(asItIs)+`
management: Observe
nameservers: [10.0.0.13]`)
	g := s.named("ca")
	s.says(g, "Drifted", "True Drifted")
	var fields []string
	for _, c := range g.Status.Plan {
		if c.Field != "mark" && c.Field != "tags" {
			fields = append(fields, c.Field+" "+c.From+" "+c.To)
		}
	}
	slices.Sort(fields)
	want := []string{"cores 2 4", "memory 512Mi 1024Mi", "nameservers  10.0.0.13"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	s.change(g, "management: Enforce")
	_, state := s.readyGuest("ca")
	s.agrees("adopted", state, []string{"cores=4", "memory=1024", "nameserver=10.0.0.13"})
}

func withoutMarks(options map[string]string) map[string]string {
	kept := map[string]string{}
	for key, value := range options {
		if key != "description" && key != "tags" {
			kept[key] = value
		}
	}
	return kept
}

// TestForeignOwner has a guest that another Phoenix marked.
func TestForeignOwner(t *testing.T) {
	t.Parallel()
	mark := "#<!-- phoenix-hypervisor.io owner=elsewhere guest=a/b vmid=103 -->\n"
	s := newStage(t, set{site: pve.Options{Guests: []pve.GuestSpec{{VMID: 103, Kind: "lxc", Config: mark + strings.TrimPrefix(existing, "#Made by hand.\n")}}}})
	s.guest("ca", container, asItIs)
	s.says(s.named("ca"), "Ready", "False ForeignOwner", "elsewhere", "103", "choose another vmid")
	s.remove(s.named("ca"))
	s.gone(s.named("ca"))
	if writes := s.site.Writes(); len(writes) > 0 {
		t.Errorf("a foreign guest was written to: %v", writes)
	}
}

// TestCopiedMark has a clone made by hand: it bears the mark of the guest that it came from.
func TestCopiedMark(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("box", container, `vmid: 150`)
	g, state := s.readyGuest("box")
	if err := s.site.Add(pve.GuestSpec{VMID: 777, Kind: "lxc", Config: strings.ReplaceAll(state.Config, "vm-150-", "vm-777-")}); err != nil {
		t.Fatal(err)
	}
	s.change(g, `cores: 2`)
	g, state = s.readyGuest("box")
	s.agrees("beside its copy", state, []string{"cores=2"})
	if *g.Status.VMID != 150 {
		t.Errorf("the copy was taken for the guest: %d", *g.Status.VMID)
	}
	if other, _ := s.site.Guest(777); other.Options["cores"] == "2" {
		t.Error("the copy was written to")
	}
}
