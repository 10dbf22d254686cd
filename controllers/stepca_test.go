// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const authoritiesNamespace = "authorities"

// The manager's account is allowed what an authority needs: its keys in Secrets, its roots in a ConfigMap, a new root.
func TestAuthorityUnderTheManagersAccount(t *testing.T) {
	i := &installed
	sim, err := pve.Start(t.Context(), pve.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	if err := i.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: authoritiesNamespace}}); err != nil {
		t.Fatal(err)
	}
	i.run(t, Options{Namespace: authoritiesNamespace, Timing: site.Timing{Interval: 50 * time.Millisecond}, Dial: sim.DialContext})
	host := i.declare(t, types.NamespacedName{Namespace: authoritiesNamespace, Name: "phoenix"}, sim)
	about := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: authoritiesNamespace, Name: name}
	}
	key := &corev1.Secret{ObjectMeta: about("ssh"), StringData: map[string]string{"key": string(sim.SSH[0].ClientKeyPEM)}}
	box := &v1alpha1.Guest{ObjectMeta: about("box")}
	box.Spec.HostRef.Name, box.Spec.Type = "phoenix", v1alpha1.GuestContainer
	box.Spec.Source = &v1alpha1.GuestSource{Template: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"}
	box.Spec.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.20/24"}}}
	ca := &v1alpha1.HostService{ObjectMeta: about("ca")}
	ca.Spec.GuestRef, ca.Spec.StepCA = &v1alpha1.LocalReference{Name: "box"}, &v1alpha1.StepCA{PackageName: "step-ca"}
	var nodes []string
	for _, n := range sim.SSH {
		nodes = append(nodes, fmt.Sprintf(`{"name":%q,"address":%q,"hostKeys":[%q]}`, n.Name, n.Address, strings.TrimSpace(n.HostKey)))
	}
	patch := fmt.Sprintf(`{"spec":{"ssh":{"keySecretRef":{"name":"ssh","key":"key"},"nodes":[%s]},"defaults":{"storage":"local-lvm","bridge":"vmbr0"}}}`, strings.Join(nodes, ","))
	if err := i.admin.Patch(t.Context(), host, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.Object{key, box, ca} {
		if err := i.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	i.awaitCondition(t, ca, ca.CommonStatus, v1alpha1.ReadyCondition, "True InSync")
	read := func(o client.Object, name string) error {
		return i.admin.Get(t.Context(), types.NamespacedName{Namespace: authoritiesNamespace, Name: name}, o)
	}
	for name, want := range map[string]corev1.SecretType{
		"ca-root": corev1.SecretTypeOpaque, "ca-root-key": corev1.SecretTypeOpaque, "ca-intermediate": corev1.SecretTypeTLS, "ca-provisioner": corev1.SecretTypeOpaque,
	} {
		secret := &corev1.Secret{}
		if err := read(secret, name); err != nil || secret.Type != want || secret.Labels["app.kubernetes.io/managed-by"] != "phoenix" {
			t.Errorf("Secret %s is %+v of type %s (%v)", name, secret.ObjectMeta, secret.Type, err)
		}
	}
	bundle := &corev1.ConfigMap{}
	if err := read(bundle, "ca-trust"); err != nil || bundle.Data["ca.crt"] != ca.Status.StepCA.CABundle || len(bundle.OwnerReferences) != 1 || bundle.OwnerReferences[0].UID != ca.UID {
		t.Errorf("ConfigMap ca-trust is %+v (%v)", bundle, err)
	}

	// A Secret is updated, and the ConfigMap patched.
	first := ca.Status.StepCA.IssuerFingerprint
	if err := i.admin.Patch(t.Context(), ca, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"stepCA":{"rootGeneration":2}}}`))); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if err := read(ca, "ca"); err != nil {
			return err.Error()
		}
		if st := ca.Status.StepCA; st.IssuerFingerprint == first || len(st.Roots) != 2 || st.Roots[1].TrustedUntil == nil {
			return fmt.Sprintf("%+v", st)
		}
		return ""
	})
	i.awaitCondition(t, ca, ca.CommonStatus, v1alpha1.ReadyCondition, "True InSync")

	if err := i.admin.Delete(t.Context(), ca); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if err := read(ca, "ca"); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("the HostService is still there (%v): %+v", err, ca.Status.Conditions)
		}
		return ""
	})
	if err := read(bundle, "ca-trust"); !apierrors.IsNotFound(err) {
		t.Errorf("the ConfigMap stays: %v", err)
	}
	if err := read(&corev1.Secret{}, "ca-root"); err != nil {
		t.Errorf("the root goes: %v", err)
	}
}
