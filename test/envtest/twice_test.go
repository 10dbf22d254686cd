// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// declareSix declares guests of every kind, with VMIDs to be allocated.
func declareSix(s *stage) []string {
	var names []string
	for i := range 2 {
		for kind, patch := range map[string]string{
			"box":   `{cores: 1, mountPoints: [{path: /srv, volume: {size: 1Gi}}]}`,
			"copy":  `{source: {clone: {vmid: 9000}}, cores: 2}`,
			"blank": `{rootDisk: {size: 1Gi}, power: Stopped}`,
		} {
			name := fmt.Sprintf("%s-%d", kind, i)
			base := vm
			if kind == "box" {
				base = container
			}
			s.guest(name, base, patch)
			names = append(names, name)
		}
	}
	return names
}

// madeOnce proves that every Guest has one guest of its own, and that nothing else was made.
func (s *stage) madeOnce(names []string, others int) {
	s.Helper()
	vmids := map[int]string{}
	for _, name := range names {
		g, state := s.readyGuest(name)
		if other, taken := vmids[state.VMID]; taken {
			s.Errorf("%s and %s share guest %d", name, other, state.VMID)
		}
		vmids[state.VMID] = name
		if !strings.Contains(state.Options["description"], " guest="+g.Namespace+"/"+name+" ") {
			s.Errorf("guest %d of %s bears another mark: %s", state.VMID, name, state.Options["description"])
		}
	}
	if n := len(s.site.Guests()); n != len(names)+others {
		s.Errorf("%d guests on the site, want %d", n, len(names)+others)
	}
	made := 0
	for _, task := range s.site.Tasks() {
		if (task.Kind == "vzcreate" || task.Kind == "qmcreate" || task.Kind == "qmclone") && task.Exit == "OK" {
			made++
		}
	}
	if want := len(names) + others - 1; made != want {
		s.Errorf("%d guests were made in all, want %d", made, want)
	}
}

// TestTwoManagers has two of them work on the same objects, without a leader.
func TestTwoManagers(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{options: often})
	s.manager(often)
	s.madeOnce(declareSix(s), 1)
}

// TestTwoOwners has two Phoenixes with Hosts of their own manage one site.
func TestTwoOwners(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{options: often})
	other := &stage{T: t, site: s.site, namespace: newNamespace(t)}
	other.secret("token", map[string]string{"tokenID": s.site.TokenID, "tokenSecret": s.site.TokenSecret})
	other.secret("ssh", map[string]string{"id": string(s.site.SSH[0].ClientKeyPEM)})
	other.create(other.hostYAML("site", s.site), `ownerID: somebody-else`)
	other.run(often)
	// Both choose VMIDs from one range, and both ask for one VMID.
	ours, theirs := declareSix(s), declareSix(other)
	s.guest("given", container, `vmid: 500`)
	other.guest("given", container, `vmid: 500`)
	for _, name := range theirs { // all are counted below
		other.readyGuest(name)
	}
	s.madeOnce(ours, 1+len(theirs)+1)
	other.madeOnce(theirs, 1+len(ours)+1)
	a, b := s.named("given"), other.named("given")
	s.until("one has it, the other one says who", func() error {
		s.get(a)
		other.get(b)
		first, second := condition(a, "Ready"), condition(b, "Ready")
		if strings.HasPrefix(second, "True") {
			first, second = second, first
		}
		if !strings.HasPrefix(first, "True InSync") || !strings.HasPrefix(second, "False ForeignOwner") {
			return fmt.Errorf("%s; %s", first, second)
		}
		return nil
	})
}

// TestLostStatus proves that without any status, everything is found again and nothing is changed.
func TestLostStatus(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{idle: true})
	s.secret("keys", map[string]string{"one": keyOne})
	stop := s.manager(nil)
	names := s.everything()
	before := s.settled(names)
	stop()
	for _, o := range s.objects(names) {
		s.get(o)
		*o.CommonStatus() = v1alpha1.CommonStatus{}
		switch o := o.(type) {
		case *v1alpha1.Guest:
			o.Status = v1alpha1.GuestStatus{}
		case *v1alpha1.Host:
			o.Status = v1alpha1.HostStatus{}
		}
		if err := kube.Status().Update(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	s.site.ForgetRequests()
	s.run(nil)
	s.foundAgain(names, before)
}

// TestEmptyEtcd proves the same of objects that are made anew from the same YAML.
func TestEmptyEtcd(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{idle: true})
	s.secret("keys", map[string]string{"one": keyOne})
	stop := s.manager(nil)
	names := s.everything()
	before := s.settled(names)
	stop()
	for _, o := range s.objects(names) {
		s.patch(o, `metadata: {finalizers: null}`)
		s.remove(o)
		s.gone(o)
	}
	s.site.ForgetRequests()
	s.create(s.hostYAML("site", s.site), ``)
	s.everything()
	s.run(nil)
	s.foundAgain(names, before)
}

// everything declares guests with every field.
func (s *stage) everything() []string {
	s.Helper()
	s.guest("box", container, everyContainerField)
	s.guest("machine", vm, everyVMField)
	s.guest("given", container, `{vmid: 500, hostname: other-name}`)
	s.guest("idle", vm, `{power: Stopped, rootDisk: {size: 1Gi}, cloudInit: {sshKeysSecretRef: {name: keys, key: one}}}`)
	s.guest("linked", vm, `{source: {clone: {name: debian-12-cloud, mode: Linked}}}`)
	return []string{"box", "machine", "given", "idle", "linked"}
}

func (s *stage) objects(names []string) []object {
	objects := []object{s.host()}
	for _, name := range names {
		objects = append(objects, s.named(name))
	}
	return objects
}

func (s *stage) settled(names []string) []pve.GuestState {
	s.Helper()
	for _, o := range s.objects(names) {
		s.ready(o)
	}
	return s.site.Guests()
}

func (s *stage) foundAgain(names []string, before []pve.GuestState) {
	s.Helper()
	after := s.settled(names)
	if writes := s.site.Writes(); len(writes) > 0 {
		s.Errorf("finding everything again wrote to the site: %v", writes)
	}
	for _, r := range s.site.Requests() {
		if r.Method != "GET" {
			s.Errorf("%s %s", r.Method, r.Path)
		}
	}
	if diff := cmp.Diff(before, after); diff != "" {
		s.Errorf("guests (-before +after):\n%s", diff)
	}
	var list v1alpha1.GuestList
	if err := kube.List(context.Background(), &list, client.InNamespace(s.namespace)); err != nil {
		s.Fatal(err)
	}
	for _, g := range list.Items {
		if g.Status.VMID == nil || g.Status.Node == "" {
			s.Errorf("%s was not found: %+v", g.Name, g.Status)
		}
	}
}
