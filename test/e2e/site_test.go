// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// reference are the guests of the reference site, and where they are reached.
var reference = map[int]string{101: "10.0.0.153", 102: "10.0.0.12", 103: "10.0.0.10", 1001: "10.0.0.111", 1002: "10.0.0.102"}

// TestReferenceSite brings the reference site up while the manager is killed at every write, then loses the whole control
// plane: a new one with the same YAML, and the keys that were made on the way, finds everything and changes nothing. No
// secret shows.
func TestReferenceSite(t *testing.T) {
	w := open(t, pve.Options{})
	if err := w.ApplySamples(context.Background(), samples); err != nil {
		t.Fatal(err)
	}
	w.killUntilReady()
	w.isReference()
	w.noSecrets()
	w.kill()
	before, changes, containers, firewall := w.Site.Guests(), w.changesInside(), w.containers(), w.Site.Firewall()

	fresh := open(t, pve.Options{})
	fresh.SwapSites(w.World)
	fresh.Site.ForgetRequests()
	fresh.server().ForgetRequests()
	fresh.restoreKeys(w)
	fresh.oldest(w, "traefik")
	if err := fresh.ApplySamples(context.Background(), samples); err != nil {
		t.Fatal(err)
	}
	fresh.start()
	fresh.settled()
	fresh.isReference()
	if writes := fresh.Site.Writes(); len(writes) > 0 {
		t.Errorf("a new control plane wrote to the site: %v", writes)
	}
	if diff := cmp.Diff(changes, fresh.changesInside()); diff != "" {
		t.Errorf("a new control plane changed machines (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(before, fresh.Site.Guests()); diff != "" {
		t.Errorf("a new control plane changed guests (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(firewall, fresh.Site.Firewall(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("a new control plane changed the firewall (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(containers, fresh.containers()); diff != "" {
		t.Errorf("a new control plane changed containers (-before +after):\n%s", diff)
	}
	for _, r := range fresh.server().Requests() {
		if r.Writes() && r.Path != "/api/auth" { // to sign in changes nothing: it proves that the password fits
			t.Errorf("a new control plane asked Portainer for %s %s", r.Method, r.Path)
		}
	}
	fresh.noSecrets()
}

// server is the Portainer of the reference site.
func (w *theatre) server() *portainer.Server {
	w.Helper()
	s := w.Site.GuestMachine(1001).Portainer()
	if s == nil {
		w.Fatal("Portainer does not run")
	}
	return s
}

// containers are those of the Docker engines, by what they are of and who they are.
func (w *theatre) containers() map[string][]string {
	w.Helper()
	all := map[string][]string{}
	for _, vmid := range []int{1001, 1002} {
		for _, c := range w.Site.GuestMachine(vmid).Engine().Containers() {
			of := fmt.Sprintf("%d %s", vmid, c.Name)
			if project := c.Labels["com.docker.compose.project"]; project != "" {
				of = fmt.Sprintf("%d %s/%s", vmid, project, c.Labels["com.docker.compose.service"])
			}
			all[of] = append(all[of], c.ID+" "+c.State)
		}
	}
	return all
}

// runsOnce proves that every container of the reference site runs, once.
func (w *theatre) runsOnce() {
	w.Helper()
	got := map[string]int{}
	for of, there := range w.containers() {
		for _, c := range there {
			if strings.HasSuffix(c, " running") {
				got[of]++
				continue
			}
			w.Errorf("%s: container %s", of, c)
		}
	}
	want := map[string]int{
		"1001 portainer-portainer": 1, "1002 portainer-agent-drphoenix": 1,
		"1002 stack-a/web": 1, "1002 stack-b/web": 1, "1002 stack-b/worker": 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("containers (-want +got):\n%s", diff)
	}
}

// restoreKeys brings the Secrets that Phoenix made for another control plane, as its backup has them. Those of stacks are
// left out: they go with their owners, and what runs tells as much.
func (w *theatre) restoreKeys(from *theatre) {
	w.Helper()
	keys := from.keys()
	if len(keys) != 12 {
		w.Errorf("%d Secrets with keys, want those of an authority, of five Certificates and of Portainer", len(keys))
	}
	for _, s := range keys {
		s.ObjectMeta = metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: s.Labels, Annotations: s.Annotations}
		if err := w.Client.Create(context.Background(), &s); err != nil {
			w.Fatal(err)
		}
	}
}

// oldest declares one Guest of another control plane a second before all others: nobody applies everything in the same
// order and at the same pace twice.
func (w *theatre) oldest(from *theatre, name string) {
	w.Helper()
	g := v1alpha1.Guest{}
	if err := from.Client.Get(context.Background(), client.ObjectKey{Namespace: world.Namespace, Name: name}, &g); err != nil {
		w.Fatal(err)
	}
	first := v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: g.Name}, Spec: g.Spec}
	if err := w.Client.Create(context.Background(), &first); err != nil {
		w.Fatal(err)
	}
	time.Sleep(time.Until(first.CreationTimestamp.Add(time.Second)))
}

// keys are the Secrets that Phoenix made: those of the authority, of the Certificates and of Portainer.
func (w *theatre) keys() []corev1.Secret {
	w.Helper()
	var list corev1.SecretList
	if err := w.Client.List(context.Background(), &list, client.InNamespace(world.Namespace)); err != nil {
		w.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(s corev1.Secret) bool {
		return !slices.ContainsFunc([]string{"authority", "certificate", "portainer"}, func(of string) bool {
			return s.Annotations["phoenix-hypervisor.io/"+of] != ""
		})
	})
}

// changesInside counts what was changed on the node and in the guests.
func (w *theatre) changesInside() map[string]int {
	changes := map[string]int{"phoenix": w.Site.Machine("phoenix").Writes()}
	for vmid := range reference {
		changes[fmt.Sprint(vmid)] = w.Site.GuestMachine(vmid).Writes()
	}
	return changes
}

// mostKills bounds the time that the test takes.
const mostKills = 60

// killUntilReady kills every manager at its first write, until nothing is left to write or it was killed often enough.
func (w *theatre) killUntilReady() {
	w.Helper()
	kills := 0
	for kills < mostKills && w.writes() {
		w.kill()
		kills++
	}
	if w.Logf("killed %d times", kills); kills < len(reference) {
		w.Errorf("the manager was killed %d times only", kills)
	}
	if kills == mostKills {
		w.start()
	}
	w.settled()
}

// settled waits until all is Ready and nothing was written for a while. What was Ready for the manager before is so in the
// eyes of the API server until the present one has looked, so the while begins when that asks the site.
func (w *theatre) settled() {
	w.Helper()
	const quiet = 5 * time.Second
	last, since, asked := -1, time.Now(), len(w.Site.Requests())
	w.until("all is Ready and at rest", func() error {
		writes := len(w.Site.Writes())
		for _, n := range w.changesInside() {
			writes += n
		}
		if writes != last || len(w.Site.Requests()) <= asked {
			last, since = writes, time.Now()
		}
		states, err := w.States(context.Background())
		switch {
		case err != nil:
			return err
		case !world.AllReady(states):
			return fmt.Errorf("%+v", states)
		case time.Since(since) < quiet:
			return errors.New("it goes on")
		}
		return nil
	})
}

// writes starts the manager and says whether it wrote something before all was Ready.
func (w *theatre) writes() bool {
	w.Helper()
	before := len(w.Site.Writes())
	w.start()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		for range 50 { // the site is looked at more often than the API server
			if len(w.Site.Writes()) > before {
				return true
			}
			time.Sleep(time.Millisecond)
		}
		states, err := w.States(context.Background())
		if err != nil {
			w.Fatal(err)
		}
		if world.AllReady(states) {
			return len(w.Site.Writes()) > before
		}
	}
	w.Fatalf("the manager neither writes nor is all Ready within %s", patience)
	return false
}

// isReference proves that the site is the reference site.
func (w *theatre) isReference() {
	w.Helper()
	var list v1alpha1.GuestList
	if err := w.Client.List(context.Background(), &list); err != nil {
		w.Fatal(err)
	}
	got := map[int]string{}
	for _, g := range list.Items {
		if len(g.Status.Addresses) > 0 {
			got[int(*g.Status.VMID)] = g.Status.Addresses[0]
		}
	}
	if diff := cmp.Diff(reference, got); diff != "" {
		w.Errorf("guests and addresses (-want +got):\n%s", diff)
	}
	for vmid := range reference {
		volumes := 1
		if vmid > 1000 {
			volumes = 2
		}
		if state, _ := w.Site.Guest(vmid); len(state.Volumes) != volumes || !state.Running {
			w.Errorf("guest %d runs %v with volumes %v", vmid, state.Running, state.Volumes)
		}
	}
	if n := len(w.Site.Guests()); n != len(reference)+1 {
		w.Errorf("%d guests, want %d and the template", n, len(reference))
	}
	w.runsOnce()
	w.servesAll(w.visitor())
}

// noSecrets looks for the token, the SSH key and every key that was made wherever somebody without access to Secrets may look.
func (w *theatre) noSecrets() {
	w.Helper()
	places := map[string]string{}
	log, err := os.ReadFile(w.LogFile())
	if err != nil {
		w.Fatal(err)
	}
	places["the manager's log"] = string(log)
	for name, list := range map[string]client.ObjectList{
		"Hosts": &v1alpha1.HostList{}, "Guests": &v1alpha1.GuestList{}, "HostServices": &v1alpha1.HostServiceList{}, "Certificates": &v1alpha1.CertificateList{},
		"DockerStacks": &v1alpha1.DockerStackList{}, "Routes": &v1alpha1.RouteList{}, "events": &eventsv1.EventList{}, "core events": &corev1.EventList{},
	} {
		if err := w.Client.List(context.Background(), list); err != nil {
			w.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			w.Fatal(err)
		}
		places[name] = string(text)
	}
	for _, g := range w.Site.Guests() {
		places[fmt.Sprintf("guest %d", g.VMID)] = g.Config
	}
	key := strings.Split(string(w.Site.SSH[0].ClientKeyPEM), "\n")
	hidden := map[string]string{"the token": w.Site.TokenSecret, "the SSH key": key[len(key)/2]}
	for _, s := range w.keys() {
		for entry, data := range s.Data {
			switch entry {
			case "tls.key":
				hidden[s.Name] = strings.Split(string(data), "\n")[1]
			case "jwk.json":
				_, d, _ := strings.Cut(string(data), `"d":"`)
				hidden[s.Name], _, _ = strings.Cut(d, `"`)
			case "password", "apiKey", "secret":
				hidden[s.Name+" "+entry] = string(data)
			}
		}
	}
	for place, text := range places {
		if len(text) == 0 {
			w.Errorf("nothing in %s", place)
		}
		for what, secret := range hidden {
			if secret == "" || strings.Contains(text, secret) {
				w.Errorf("%s shows %s", place, what)
			}
		}
	}
}
