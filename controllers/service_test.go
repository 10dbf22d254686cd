// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const servicesNamespace = "services"

// awaitCondition waits until a condition of an object begins with a text: its status, its reason, its message.
func (i *installation) awaitCondition(t *testing.T, o client.Object, status func() *v1alpha1.CommonStatus, condition, want string) {
	t.Helper()
	eventually(t, func() string {
		if err := i.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err.Error()
		}
		c := meta.FindStatusCondition(status().Conditions, condition)
		if c == nil {
			return fmt.Sprintf("%s has no condition %s", o.GetName(), condition)
		}
		if got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message); !strings.HasPrefix(got, want) {
			return fmt.Sprintf("%s: %s is %q, want %q", o.GetName(), condition, got, want)
		}
		return ""
	})
}

func service(name string, change func(*v1alpha1.HostServiceSpec)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: servicesNamespace, Name: name}}
	s.Spec.NFS = &v1alpha1.NFS{Address: "10.0.0.13", Exports: []v1alpha1.NFSExport{
		{Name: "data", Path: "/srv/" + name, Clients: []v1alpha1.NFSClient{{CIDR: "10.0.0.0/24"}}},
	}}
	change(&s.Spec)
	return s
}

// Services stand on a node over SSH, in a container through its node, and in a VM through its guest agent.
func TestServicesOnMachines(t *testing.T) {
	i := &installed
	sim, err := pve.Start(t.Context(), pve.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	if err := i.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: servicesNamespace}}); err != nil {
		t.Fatal(err)
	}
	i.run(t, Options{Namespace: servicesNamespace, Timing: site.Timing{Interval: 50 * time.Millisecond}})
	host := i.declare(t, types.NamespacedName{Namespace: servicesNamespace, Name: "phoenix"}, sim)
	key := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: servicesNamespace, Name: "ssh"}, StringData: map[string]string{"key": string(sim.SSH[0].ClientKeyPEM)}}
	container := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: servicesNamespace, Name: "box"}}
	container.Spec.HostRef.Name, container.Spec.Type = "phoenix", v1alpha1.GuestContainer
	container.Spec.Source = &v1alpha1.GuestSource{Template: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"}
	container.Spec.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.20/24"}}}
	vm := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: servicesNamespace, Name: "machine"}}
	template, on := int32(9000), true
	vm.Spec.HostRef.Name, vm.Spec.Type, vm.Spec.Agent = "phoenix", v1alpha1.GuestVM, &on
	vm.Spec.Source = &v1alpha1.GuestSource{Clone: &v1alpha1.CloneSource{VMID: &template}}
	vm.Spec.CloudInit = &v1alpha1.CloudInit{User: "debian"}
	vm.Spec.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.21/24"}}}
	onNode := service("on-node", func(s *v1alpha1.HostServiceSpec) { s.HostRef = &v1alpha1.LocalReference{Name: "phoenix"} })
	inContainer := service("in-container", func(s *v1alpha1.HostServiceSpec) {
		s.GuestRef, s.NFS.Address = &v1alpha1.LocalReference{Name: "box"}, ""
	})
	inVM := service("in-vm", func(s *v1alpha1.HostServiceSpec) {
		s.GuestRef, s.NFS.Address = &v1alpha1.LocalReference{Name: "machine"}, ""
	})
	for _, o := range []client.Object{key, container, vm, onNode, inContainer, inVM} {
		if err := i.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}

	i.awaitCondition(t, onNode, onNode.CommonStatus, v1alpha1.ReadyCondition, "False NoSSH: reach the machine: Host/phoenix has no SSH: declare its nodes under ssh.nodes")
	host.Spec.SSH = &v1alpha1.HostSSH{KeySecretRef: v1alpha1.SecretKeyReference{Name: "ssh", Key: "key"}}
	for _, n := range sim.SSH {
		host.Spec.SSH.Nodes = append(host.Spec.SSH.Nodes, v1alpha1.HostSSHNode{Name: n.Name, Address: n.Address, HostKeys: []string{strings.TrimSpace(n.HostKey)}})
	}
	eventually(t, func() string {
		declared := host.Spec
		if err := i.admin.Get(t.Context(), client.ObjectKeyFromObject(host), host); err != nil {
			return err.Error()
		}
		host.Spec.SSH = declared.SSH
		if err := i.admin.Update(t.Context(), host); err != nil {
			return err.Error()
		}
		return ""
	})
	i.awaitCondition(t, onNode, onNode.CommonStatus, v1alpha1.ReadyCondition, "False PathNotAllowed: exports[data].path: Host/phoenix does not allow to export /srv/on-node")
	if err := i.admin.Patch(t.Context(), host, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"allow":{"exportPaths":["/srv"]},"defaults":{"storage":"local-lvm","bridge":"vmbr0"}}}`))); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*v1alpha1.Guest{container, vm} {
		i.awaitCondition(t, g, g.CommonStatus, v1alpha1.ReadyCondition, "True ")
	}
	for name, c := range map[string]struct {
		service *v1alpha1.HostService
		machine string
		source  string
	}{
		"node":      {onNode, "Host/phoenix", "10.0.0.13:/srv/on-node"},
		"container": {inContainer, "Guest/box", "10.0.0.20:/srv/in-container"},
		"VM":        {inVM, "Guest/machine", "10.0.0.21:/srv/in-vm"},
	} {
		i.awaitCondition(t, c.service, c.service.CommonStatus, v1alpha1.ReadyCondition, "True InSync")
		if s := c.service.Status; s.Machine != c.machine || len(s.Exports) != 1 || s.Exports[0].Source != c.source {
			t.Errorf("%s: status is %+v, want the machine %s and the source %s", name, s, c.machine, c.source)
		}
	}
	for name, read := range map[string]func(string) (string, error){
		"on-node": sim.Machine("phoenix").ReadFile, "in-container": sim.GuestMachine(int(*container.Status.VMID)).ReadFile, "in-vm": sim.GuestMachine(int(*vm.Status.VMID)).ReadFile,
	} {
		if got, err := read("/etc/exports.d/phoenix-" + name + ".exports"); err != nil || !strings.Contains(got, "\n/srv/"+name+" 10.0.0.0/24(") {
			t.Errorf("%s: the exports are %q (%v)", name, got, err)
		}
	}
}
