// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

func TestStatic(t *testing.T) {
	v4 := func(m v1alpha1.IPMethod) *v1alpha1.IPv4 { return &v1alpha1.IPv4{Method: m} }
	v6 := func(m v1alpha1.IPMethod) *v1alpha1.IPv6 { return &v1alpha1.IPv6{Method: m} }
	for name, tc := range map[string]struct {
		reason   string
		networks []v1alpha1.Network
		want     bool
	}{
		"none":          {reason: "nothing is known of addresses that are not declared"},
		"unset":         {reason: "what is not declared may come from anywhere", networks: []v1alpha1.Network{{Device: "net0"}}},
		"static":        {reason: "the spec names it", networks: []v1alpha1.Network{{IPv4: v4(v1alpha1.IPStatic)}}, want: true},
		"both":          {reason: "the spec names both", networks: []v1alpha1.Network{{IPv4: v4(v1alpha1.IPStatic), IPv6: v6(v1alpha1.IPStatic)}}, want: true},
		"only 6":        {reason: "an IPv6 address is one too", networks: []v1alpha1.Network{{IPv6: v6(v1alpha1.IPStatic)}}, want: true},
		"dhcp":          {reason: "the server may give another one", networks: []v1alpha1.Network{{IPv4: v4(v1alpha1.IPDHCP)}}},
		"auto beside":   {reason: "the router may announce another prefix", networks: []v1alpha1.Network{{IPv4: v4(v1alpha1.IPStatic), IPv6: v6(v1alpha1.IPAuto)}}},
		"second is not": {reason: "one that changes is enough", networks: []v1alpha1.Network{{IPv4: v4(v1alpha1.IPStatic)}, {IPv4: v4(v1alpha1.IPDHCP)}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := static(&v1alpha1.Guest{Spec: v1alpha1.GuestSpec{Networks: tc.networks}}); got != tc.want {
				t.Errorf("static = %v, want %v: %s", got, tc.want, tc.reason)
			}
		})
	}
}
