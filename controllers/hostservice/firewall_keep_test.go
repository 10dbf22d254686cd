// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/firewall"
)

// shopSite is the reference site with a router in nginx's Guest, an agent in drphoenix, and a Route to a stack there.
func shopSite() declared {
	d := referenceSite()
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "lab", Name: name} }
	router, agent := v1alpha1.HostService{ObjectMeta: meta("router")}, v1alpha1.HostService{ObjectMeta: meta("agent")}
	router.Spec.GuestRef, router.Spec.Traefik = &v1alpha1.LocalReference{Name: "nginx"}, &v1alpha1.Traefik{}
	agent.Spec.GuestRef, agent.Spec.PortainerAgent = &v1alpha1.LocalReference{Name: "drphoenix"}, &v1alpha1.PortainerAgent{}
	d.services = append(d.services, router, agent)
	stack := v1alpha1.DockerStack{ObjectMeta: meta("shop")}
	stack.Spec.Environment.AgentRef = &v1alpha1.LocalReference{Name: "agent"}
	stack.Status.Services = []v1alpha1.StackService{{Name: "web", Ports: []v1alpha1.StackPort{{Target: 80, Published: 8081, Protocol: "tcp"}}}}
	route := v1alpha1.Route{ObjectMeta: meta("shop")}
	route.Spec.RouterRef.Name = "router"
	route.Spec.Backends = []v1alpha1.RouteBackend{{Stack: &v1alpha1.RouteStackBackend{Name: "shop", Service: "web"}}}
	d.stacks, d.routes = append(d.stacks, stack), append(d.routes, route)
	return d
}

// TestKeepUnknownBackends: what is in force for a Route stays until its stack was looked at, and no longer.
func TestKeepUnknownBackends(t *testing.T) {
	const owner, level = "home lab/firewall", firewall.Level("guest/101")
	s := &v1alpha1.HostService{Spec: v1alpha1.HostServiceSpec{Firewall: &v1alpha1.Firewall{Flows: v1alpha1.FlowsDerive, Guests: []v1alpha1.FirewallGuest{
		{Name: "drphoenix", Rules: []v1alpha1.FirewallRule{{Action: v1alpha1.FirewallAccept, Protocol: "tcp", Ports: "9100"}}},
	}}}}
	render := func(d declared) wanted {
		t.Helper()
		w, err := wantOf(s, d, owner, nil)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	stateOf := func(w wanted) firewall.State {
		group := firewall.GroupName(owner, w.Levels[level].Rules, 0)
		return firewall.State{
			Levels: map[firewall.Level]firewall.LevelState{level: {Rules: []firewall.Rule{{Type: "group", Action: group, Comment: firewall.Mark(owner), Enable: true}}}},
			Groups: map[string]firewall.Group{group: {Comment: firewall.Mark(owner), Rules: w.Levels[level].Rules}},
		}
	}
	full := render(shopSite())
	if len(full.Levels[level].Rules) != 2 || len(full.unknown) > 0 {
		t.Fatalf("with a stack that was looked at, %s has %+v, and %v is unknown", level, full.Levels[level].Rules, full.unknown)
	}
	for _, tc := range []struct {
		reason string
		change func(d *declared)
		before firewall.State
		want   []firewall.Rule
	}{
		{"the stack was not looked at: nothing changes", func(d *declared) { d.stacks[0].Status.Services = nil }, stateOf(full), full.Levels[level].Rules},
		{"nothing is in force: there is nothing to keep", func(d *declared) { d.stacks[0].Status.Services = nil }, firewall.State{}, full.Levels[level].Rules[:1]},
		{"it was looked at, and publishes nothing any more", func(d *declared) { d.stacks[0].Status.Services[0].Ports = nil }, stateOf(full), full.Levels[level].Rules[:1]},
		{"the stack goes", func(d *declared) {
			d.stacks[0].Status.Services, d.stacks[0].DeletionTimestamp = nil, new(metav1.Now())
		}, stateOf(full), full.Levels[level].Rules[:1]},
		{"the Route is gone", func(d *declared) { d.stacks[0].Status.Services, d.routes = nil, nil }, stateOf(full), full.Levels[level].Rules[:1]},
	} {
		d := shopSite()
		tc.change(&d)
		got := render(d)
		got.keep(tc.before)
		if diff := cmp.Diff(tc.want, got.Levels[level].Rules); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}
