// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/controllers/dockerstack"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

// TestBell passes on what is rung for, once for each stack, and makes nobody wait who rings.
func TestBell(t *testing.T) {
	b := newBell(func() client.Object { return newDockerStack() })
	ring := func(name string) { b.ring(types.NamespacedName{Namespace: "ns", Name: name}) }
	for range 3 {
		ring("a") // nobody listens yet
		ring("b")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Start(ctx) }()
	heard := map[string]int{}
	hear := func() {
		select {
		case e := <-b.events:
			heard[e.Object.GetNamespace()+"/"+e.Object.GetName()]++
		case <-time.After(patience):
			t.Fatalf("only %v is heard", heard)
		}
	}
	hear()
	hear()
	ring("a")
	hear()
	if heard["ns/a"] != 2 || heard["ns/b"] != 1 {
		t.Errorf("heard %v, want a twice and b once", heard)
	}
	ring("c") // nobody hears it
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestStackServer shares one client among the DockerStacks of a Portainer server, and refuses what is none.
func TestStackServer(t *testing.T) {
	h := &house{portainers: &portainers{}}
	for _, key := range []secret.Secret{"one", "two"} {
		p, err := h.stackServer(dockerstack.Access{URL: "https://10.0.0.1:9443", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Engine(1); err != nil {
			t.Error(err)
		}
		if _, err := p.Engine(0); err == nil {
			t.Error("environment 0 has an engine")
		}
	}
	if len(h.portainers.all) != 1 {
		t.Errorf("%d clients are kept for one server", len(h.portainers.all))
	}
	for _, a := range []dockerstack.Access{{URL: "http://10.0.0.1"}, {URL: "https://10.0.0.1", CABundle: "none"}} {
		if _, err := h.stackServer(a); err == nil {
			t.Errorf("%s with the CA bundle %q is a server", a.URL, a.CABundle)
		}
	}
}
