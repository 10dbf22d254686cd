// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestManagerOptions(t *testing.T) {
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("the zero value opens no port", func(t *testing.T) {
		m := Options{}.withDefaults().manager(scheme)
		if m.Metrics.BindAddress != "0" || m.HealthProbeBindAddress != "0" || m.LeaderElection {
			t.Errorf("metrics at %q, probes at %q, leader election %t; want none", m.Metrics.BindAddress, m.HealthProbeBindAddress, m.LeaderElection)
		}
	})
	t.Run("metrics are never open to all", func(t *testing.T) {
		m := Options{MetricsAddress: ":8443"}.manager(scheme)
		if !m.Metrics.SecureServing || m.Metrics.FilterProvider == nil {
			t.Error("metrics are served without TLS or without asking who reads them")
		}
	})
	t.Run("Secrets are not kept", func(t *testing.T) {
		c, err := Options{}.manager(scheme).NewClient(&rest.Config{Host: "http://127.0.0.1:1"}, client.Options{Scheme: scheme, Mapper: &meta.DefaultRESTMapper{}})
		if err != nil {
			t.Fatal(err)
		}
		if own, ok := c.(kubeClient); !ok || own.of(&corev1.Secret{}) != own.live || own.of(&corev1.ConfigMap{}) != own.live {
			t.Errorf("%T is the client, want one that reads Secrets and ConfigMaps live", c)
		}
	})
	t.Run("reads see the writes before them, urgent work goes first", func(t *testing.T) {
		m := Options{}.manager(scheme)
		if !*m.Client.Cache.EnableReadYourWritesConsistency || !*m.Controller.UsePriorityQueue {
			t.Error("consistency or the priority queue is off")
		}
	})
	t.Run("one namespace or all", func(t *testing.T) {
		if all := (Options{}).manager(scheme).Cache.DefaultNamespaces; all != nil {
			t.Errorf("namespaces are %v, want no restriction", all)
		}
		one := Options{Namespace: "lab"}.manager(scheme).Cache.DefaultNamespaces
		if _, ok := one["lab"]; !ok || len(one) != 1 {
			t.Errorf("namespaces are %v, want lab alone", one)
		}
	})
}
