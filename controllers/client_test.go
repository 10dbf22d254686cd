// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// TestClientOfSecrets proves that nothing is done with Secrets and ConfigMaps by the client that keeps what it is asked for, and
// nothing with our kinds by the other one.
func TestClientOfSecrets(t *testing.T) {
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c := kubeClient{fake.NewClientBuilder().WithScheme(scheme).Build(), fake.NewClientBuilder().WithScheme(scheme).Build()}
	at := metav1.ObjectMeta{Namespace: "default", Name: "x"}
	for _, tc := range []struct {
		reason       string
		object       client.Object
		list         client.ObjectList
		there, other client.Client
	}{
		{"a Secret", &corev1.Secret{ObjectMeta: at}, &corev1.SecretList{}, c.live, c.Client},
		{"a ConfigMap", &corev1.ConfigMap{ObjectMeta: at}, &corev1.ConfigMapList{}, c.live, c.Client},
		{"an object of ours", &v1alpha1.Guest{ObjectMeta: at}, &v1alpha1.GuestList{}, c.Client, c.live},
	} {
		key := client.ObjectKeyFromObject(tc.object)
		if err := c.Create(t.Context(), tc.object); err != nil {
			t.Fatalf("%s: %v", tc.reason, err)
		}
		for step, err := range map[string]error{
			"get": c.Get(t.Context(), key, tc.object), "list": c.List(t.Context(), tc.list), "update": c.Update(t.Context(), tc.object),
			"patch":          c.Patch(t.Context(), tc.object, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))),
			"there directly": tc.there.Get(t.Context(), key, tc.object),
		} {
			if err != nil {
				t.Errorf("%s: %s: %v", tc.reason, step, err)
			}
		}
		if err := tc.other.Get(t.Context(), key, tc.object); err == nil {
			t.Errorf("%s was written by the wrong client", tc.reason)
		}
		if err := c.Delete(t.Context(), tc.object); err != nil {
			t.Errorf("%s: delete: %v", tc.reason, err)
		}
		if err := tc.there.Get(t.Context(), key, tc.object); err == nil {
			t.Errorf("%s is still there", tc.reason)
		}
	}
	if err := c.Apply(t.Context(), applycore.Secret("applied", "default"), client.FieldOwner("test")); err != nil {
		t.Fatal(err)
	}
	if err := c.live.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "applied"}, &corev1.Secret{}); err != nil {
		t.Errorf("a Secret that is applied: %v", err)
	}
}
