// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

// services of the samples that run on the host.
var services = []string{"dnsmasq", "nfs", "firewall"}

// entries are the services of the samples that run in guests.
var entries = []string{"step-ca", "nginx", "traefik"}

// TestServices brings the reference site up on real machines and then does to it what people and programs do: it asks,
// reads, connects, edits by hand, breaks, kills. In the end everything is deleted, and the host is what it was.
func TestServices(t *testing.T) {
	before := hostState(t)
	watched := watchProcesses(t)
	r := openSite(t, samples)
	collected := collectKeys(t, r.Client)
	r.declare(box("hand", hand, handAddress), box("fresh", fresh, freshAddress))
	r.allReady()
	fmt.Printf("    %-10s %5.1f s\n", "bring-up", time.Since(r.began).Seconds())
	r.ready(slices.Concat(entries, services, under)...)
	var group errgroup.Group
	for vmid, packages := range map[int][]string{
		lab.Host: {"libnfs-utils"}, nginx: {"bind9-dnsutils"}, drphoenix: {"libnfs-utils"}, hand: {"dnsmasq", "bind9-dnsutils"}, fresh: {"libnfs-utils", "bind9-dnsutils"},
	} {
		group.Go(func() error { return installed(vmid, packages...) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	r.part("names", names)
	r.part("nfs", exports)
	r.part("firewall", connections)
	r.part("trust", trusting)
	r.part("issued", issued)
	r.part("idle", idle)
	r.part("routes", routes)
	r.part("stacks", stacks)
	r.part("drift", drift)
	r.part("exclusive", exclusive)
	r.part("rollback", rollback)
	r.part("by hand", byHand)
	r.part("renewals", renewals)
	r.part("rebuilt", rebuilt)
	r.part("killed", killed)
	r.part("secrets", func(r *reference) { secrets(r, watched) })
	r.part("keys", func(r *reference) { keyMaterial(r, watched.since, collected) })
	r.part("values", func(r *reference) { hiddenValues(r, watched) })
	r.part("unstacked", stacksRemoved)
	r.part("removal", func(r *reference) { removal(r, before) })
}

// removal deletes the site. The host is then what it was before.
func removal(r *reference, before string) {
	r.removeAll()
	if guests := site.Site.Guests(); len(guests) != 1 {
		r.Errorf("%d guests are there, want the template alone", len(guests))
	}
	inside(r.T, lab.Host, "apt-get", "purge", "-y", "-qq", "libnfs-utils")
	same(r.T, "the host", before, hostState(r.T))
	rules(r.T, lab.Host)
}

// removeAll deletes every object, with what it stands for.
func (r *reference) removeAll() {
	r.Helper()
	var ways v1alpha1.RouteList
	var deployed v1alpha1.DockerStackList
	var guests v1alpha1.GuestList
	var orders v1alpha1.CertificateList
	var found v1alpha1.HostServiceList
	var hosts v1alpha1.HostList
	for _, list := range []client.ObjectList{&ways, &deployed, &guests, &orders, &found, &hosts} {
		if err := r.Client.List(test, list); err != nil {
			r.Fatal(err)
		}
	}
	var all []client.Object
	for i := range ways.Items {
		all = append(all, &ways.Items[i])
	}
	for i := range deployed.Items {
		all = append(all, &deployed.Items[i])
	}
	for i := range guests.Items {
		r.patch(&guests.Items[i], `{"spec":{"deletionPolicy":"Delete"}}`)
		all = append(all, &guests.Items[i])
	}
	for i := range orders.Items {
		all = append(all, &orders.Items[i])
	}
	for i := range found.Items {
		all = append(all, &found.Items[i])
	}
	r.remove(all...)
	for i := range hosts.Items {
		r.remove(&hosts.Items[i])
	}
}
