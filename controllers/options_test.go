// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
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
		m := Options{}.manager(scheme)
		if len(m.Client.Cache.DisableFor) != 1 {
			t.Fatalf("%d kinds are read past the cache, want one", len(m.Client.Cache.DisableFor))
		}
		if _, ok := m.Client.Cache.DisableFor[0].(*corev1.Secret); !ok {
			t.Errorf("%T is read past the cache, want Secret", m.Client.Cache.DisableFor[0])
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
