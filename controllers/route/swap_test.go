// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// TestSwap has two Routes change their hosts for each other's, as from blue to green. Each has what the other one waits for.
func TestSwap(t *testing.T) {
	w := newWorld(t)
	w.declare("blue", nil)
	w.declare("green", nil)
	w.ready("blue")
	w.ready("green")
	hosts := func(host string) func(*v1alpha1.Route) {
		return func(r *v1alpha1.Route) { r.Spec.Hosts = []string{host + ".phoenix.lan"} }
	}
	w.edit("blue", hosts("green"))
	w.edit("green", hosts("blue"))
	inSync := func(name string) bool {
		r := w.get(name)
		return r.Status.ObservedGeneration == r.Generation && strings.HasPrefix(said(r, v1alpha1.ReadyCondition), "True ")
	}
	for i := 0; i < lookLimit/10 && (!inSync("blue") || !inSync("green")); i++ { // one after the other, as on a slow day
		w.rest(w.pass("blue"))
		w.rest(w.pass("green"))
	}
	w.ready("blue")
	w.ready("green")
	w.served("blue.phoenix.lan")
	w.quiet("blue")
	w.quiet("green")
}
