// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/authority"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
	simulated "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const outsideURL = "https://10.9.9.9"

// root is a root certificate.
type root struct {
	cert        *x509.Certificate
	pem         string
	fingerprint string
}

func newRoot(t *testing.T, name string) root {
	t.Helper()
	pair, err := stepca.NewRoot(stepca.Template{CommonName: name, Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := stepca.ParseChain(pair.CertificatePEM)
	if err != nil {
		t.Fatal(err)
	}
	return root{chain[0], string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[0].Raw})), stepca.Fingerprint(chain[0])}
}

func (r root) file() string {
	return "/usr/local/share/ca-certificates/phoenix-" + r.fingerprint[:8] + ".crt"
}

func byService(name string) v1alpha1.TrustAuthority {
	return v1alpha1.TrustAuthority{ServiceRef: &v1alpha1.LocalReference{Name: name}}
}

func (r root) outside() v1alpha1.TrustAuthority {
	return v1alpha1.TrustAuthority{Outside: &v1alpha1.OutsideAuthority{URL: outsideURL, Fingerprint: r.fingerprint}}
}

// trustWorld is a guest with trustAuthorities, and the machine behind it.
type trustWorld struct {
	*nfsWorld
	one, two root
}

// newTrustWorld makes a container or a VM that trusts the authority ca, which is not there yet.
func newTrustWorld(t *testing.T, kind v1alpha1.GuestType, installed ...string) *trustWorld {
	t.Helper()
	w := &trustWorld{nfsWorld: &nfsWorld{world: newWorld(t, pve.Options{})}, one: newRoot(t, "One Root CA"), two: newRoot(t, "Two Root CA")}
	w.client = w.behind(200, simulated.New(simulated.Options{
		Hostname: "web", Installed: installed, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.111")}, Container: kind == v1alpha1.GuestContainer,
	}))
	w.client.Boot()
	t.Cleanup(w.client.Halt)
	edit := func(s *v1alpha1.GuestSpec) {
		s.VMID, s.TrustAuthorities = ptr(int32(200)), []v1alpha1.TrustAuthority{byService("ca")}
		s.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.111/24"}}}
	}
	if kind == v1alpha1.GuestVM {
		w.noShell.Store(true)
		w.create(vm("web", func(s *v1alpha1.GuestSpec) { edit(s); s.CloudInit, s.Agent = &v1alpha1.CloudInit{}, ptr(true) }))
	} else {
		w.create(container("web", edit))
	}
	return w
}

// authority publishes roots; without any it has a status that says none.
func (w *trustWorld) authority(name string, roots ...root) {
	w.t.Helper()
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	if err := w.world.client.Get(w.t.Context(), key, s); err != nil {
		s.Spec.GuestRef, s.Spec.StepCA = &v1alpha1.LocalReference{Name: "web"}, &v1alpha1.StepCA{PackageName: "step-ca"}
		w.create(s)
	}
	s.Status.StepCA = &v1alpha1.StepCAStatus{}
	for _, r := range roots {
		s.Status.StepCA.CABundle += r.pem
	}
	w.must(w.world.client.Status().Update(w.t.Context(), s))
}

// trusts says whether a program in the guest trusts the root.
func (w *trustWorld) trusts(r root) bool {
	text, err := w.client.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	return err == nil && strings.Contains(text, r.pem)
}

func (w *trustWorld) shell(line string) {
	w.t.Helper()
	if exit := w.client.Shell(w.t.Context(), line, strings.NewReader(""), w.t.Output(), w.t.Output()); exit != 0 {
		w.t.Fatalf("%s: exit %d", line, exit)
	}
}

func trustedSays(status metav1.ConditionStatus, reason string, parts ...string) func(*v1alpha1.Guest) bool {
	return func(g *v1alpha1.Guest) bool {
		c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.TrustedCondition)
		if c == nil || c.Status != status || c.Reason != reason {
			return false
		}
		for _, p := range parts {
			if !strings.Contains(c.Message, p) {
				return false
			}
		}
		return true
	}
}

func reachable(g *v1alpha1.Guest) bool {
	return meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ReachableCondition)
}

// quiet asserts that a pass over a guest in sync is one round trip and no write.
func (w *trustWorld) quiet() {
	w.t.Helper()
	trips, writes, version := w.client.trips.Load(), w.client.Writes(), w.get("web").ResourceVersion
	w.pass("web")
	if n := w.client.trips.Load() - trips; n != 1 || w.client.Writes() != writes || w.get("web").ResourceVersion != version {
		w.t.Errorf("a pass in sync: %d round trips, %d writes to the guest, version %s to %s; want one, none and the same",
			n, w.client.Writes()-writes, version, w.get("web").ResourceVersion)
	}
}

// TestTrust: an authority is waited for, its roots are trusted, kept, followed through a rotation, and let go of.
func TestTrust(t *testing.T) {
	for _, c := range []struct {
		kind      v1alpha1.GuestType
		installed []string
	}{{v1alpha1.GuestContainer, nil}, {v1alpha1.GuestVM, nil}, {v1alpha1.GuestContainer, []string{"ca-certificates"}}} {
		t.Run(fmt.Sprintf("%s %v", c.kind, c.installed), func(t *testing.T) { testTrust(newTrustWorld(t, c.kind, c.installed...)) })
	}
}

func testTrust(w *trustWorld) {
	t := w.t
	w.until("it waits for the authority", because(authority.WaitingForAuthorityReason), "web")
	if g := w.get("web"); !reachable(g) || !trustedSays(metav1.ConditionFalse, authority.WaitingForAuthorityReason, "HostService/ca: not found")(g) {
		t.Errorf("Reachable does not wait for it:\n%s", w.describe("web"))
	}
	w.authority("ca")
	w.until("it waits for its root", trustedSays(metav1.ConditionFalse, authority.WaitingForAuthorityReason, "HostService/ca: it has no root yet"), "web")
	w.authority("ca", w.one)
	w.ready("web")
	if g := w.get("web"); !w.trusts(w.one) || !trustedSays(metav1.ConditionTrue, authority.TrustedReason, w.one.fingerprint)(g) {
		t.Errorf("want it trusted:\n%s", w.describe("web"))
	}
	if !strings.Contains(w.state(200).Options["description"], "trust=roots") {
		t.Errorf("the mark names it: %s", w.state(200).Options["description"])
	}
	w.quiet()

	for reason, drift := range map[string]string{
		"the file is gone": "rm " + w.one.file(), "it says something else": "echo x >" + w.one.file() + "; update-ca-certificates",
		"the bundle lost it": "mv " + w.one.file() + " /tmp/x; update-ca-certificates; mv /tmp/x " + w.one.file(), "the bundle is gone": "rm /etc/ssl/certs/ca-certificates.crt",
	} {
		w.shell(drift)
		w.ready("web")
		if !w.trusts(w.one) {
			t.Errorf("%s: want it put back:\n%s", reason, w.describe("web"))
		}
	}

	w.authority("ca", w.two, w.one)
	w.until("both are trusted", trustedSays(metav1.ConditionTrue, authority.TrustedReason, w.one.fingerprint, w.two.fingerprint), "web")
	w.ready("web")
	w.quiet()
	w.authority("ca", w.two)
	w.ready("web")
	if w.trusts(w.one) || !w.trusts(w.two) {
		t.Error("the old root goes with the authority's word, the new one stays")
	}
	w.shell(`[ -z "$(find /etc/ssl/certs -xtype l)" ]`)

	writes := w.client.Writes()
	w.must(w.world.client.Delete(t.Context(), &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ca"}}))
	w.until("the authority is missed", because(authority.WaitingForAuthorityReason), "web")
	if !w.trusts(w.two) || w.client.Writes() != writes {
		t.Error("an authority that went takes no trust away")
	}
	w.authority("ca", w.two)
	w.ready("web")
	if w.client.Writes() != writes {
		t.Error("an authority that came back changes nothing")
	}

	w.change("web", func(g *v1alpha1.Guest) { g.Spec.TrustAuthorities = nil })
	w.until("nothing of it is left", func(g *v1alpha1.Guest) bool {
		return isReady(g) && !strings.Contains(w.state(200).Options["description"], "trust=")
	}, "web")
	if _, err := w.client.ReadFile(w.two.file()); err == nil || w.trusts(w.two) || meta.FindStatusCondition(w.get("web").Status.Conditions, v1alpha1.TrustedCondition) != nil {
		t.Errorf("the root and the condition go:\n%s", w.describe("web"))
	}
	trips := w.client.trips.Load()
	w.pass("web")
	if n := w.client.trips.Load() - trips; n != 0 {
		t.Errorf("a guest without trustAuthorities is not looked into: %d round trips", n)
	}
}

// TestTrustFaults: what goes wrong is named, nothing is half done, and it is put right.
func TestTrustFaults(t *testing.T) {
	is := func(reason string, parts ...string) func(*v1alpha1.Guest) bool {
		return func(g *v1alpha1.Guest) bool {
			for _, p := range parts {
				if !strings.Contains(message(g), p) {
					return false
				}
			}
			return because(reason)(g)
		}
	}
	var heal func()
	for _, c := range []struct {
		reason string
		before func(*trustWorld)
		shown  func(*v1alpha1.Guest) bool
		after  func(*trustWorld)
	}{
		{"update-ca-certificates fails", func(w *trustWorld) { heal = w.client.Fail("update-ca-certificates*", 0, 1, "no space left\n") },
			is(authority.TrustFailedReason, "update-ca-certificates", "no space left"), func(*trustWorld) { heal() }},
		{"the guest does not answer", func(w *trustWorld) { w.client.away.Store(true) }, is(authority.MachineAwayReason), func(w *trustWorld) { w.client.away.Store(false) }},
		{"somebody else works with packages", func(w *trustWorld) { w.shell("apt-get remove -y ca-certificates"); w.client.HoldDpkg(true) },
			is(authority.TrustingReason), func(w *trustWorld) { w.client.HoldDpkg(false) }},
		{"the package cannot be had", func(w *trustWorld) {
			w.shell("apt-get remove -y ca-certificates")
			heal = w.client.Fail("apt-get*install*", 0, 100, "E: Unable to locate package ca-certificates\n")
		}, is(authority.TrustFailedReason, "Unable to locate package"), func(*trustWorld) { heal() }},
		{"a file of somebody else", func(w *trustWorld) { w.must(w.client.WriteFile(w.one.file(), "theirs", 0o644)) },
			is(authority.ForeignFileReason, "phoenix-"), func(w *trustWorld) { w.shell("rm " + w.one.file()) }},
		{"no Debian", func(w *trustWorld) { w.must(w.client.WriteFile("/etc/os-release", "ID=fedora\n", 0o644)) },
			is(authority.UnsupportedReason), func(w *trustWorld) {
				w.must(w.client.WriteFile("/etc/os-release", "ID=debian\nVERSION_ID=12\n", 0o644))
			}},
		{"the service is no authority", func(w *trustWorld) {
			w.nfs()
			w.change("web", func(g *v1alpha1.Guest) { g.Spec.TrustAuthorities[0] = byService("nfs") })
		}, is(authority.NoAuthorityReason, "HostService/nfs"), func(w *trustWorld) {
			w.change("web", func(g *v1alpha1.Guest) { g.Spec.TrustAuthorities[0] = byService("ca") })
		}},
		{"what it says is no certificate", func(w *trustWorld) { w.authority("ca", root{pem: "hello"}) },
			is(authority.AuthorityInvalidReason, "HostService/ca"), func(w *trustWorld) { w.authority("ca", w.one) }},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newTrustWorld(t, v1alpha1.GuestContainer, "ca-certificates")
			w.until("it runs", reachable, "web")
			w.authority("ca", w.one)
			c.before(w)
			w.until("it is shown", func(g *v1alpha1.Guest) bool {
				return c.shown(g) && !trustedSays(metav1.ConditionTrue, authority.TrustedReason)(g)
			}, "web")
			if w.trusts(w.one) {
				t.Error("it is trusted although it was put back")
			}
			c.after(w)
			w.ready("web")
			if !w.trusts(w.one) {
				t.Errorf("want it trusted:\n%s", w.describe("web"))
			}
			w.quiet()
		})
	}
}

// TestTrustCut: a connection that breaks at any round trip, and a manager that ends at any pass, come to the same end.
func TestTrustCut(t *testing.T) {
	for name, when := range map[string]simulated.Cut{"before": simulated.CutBefore, "during": simulated.CutDuring, "after": simulated.CutAfter} {
		t.Run(name, func(t *testing.T) {
			for trip := range 6 {
				w := newTrustWorld(t, v1alpha1.GuestVM)
				w.authority("ca", w.one)
				w.until("it runs", func(g *v1alpha1.Guest) bool { return w.client.trips.Load() >= int64(trip) }, "web")
				w.client.Cut("sh*", 1, when)
				w.ready("web")
				if !w.trusts(w.one) || !trustedSays(metav1.ConditionTrue, authority.TrustedReason, w.one.fingerprint)(w.get("web")) {
					t.Errorf("cut at trip %d:\n%s", trip, w.describe("web"))
				}
				w.quiet()
			}
		})
	}
	t.Run("another manager at every pass", func(t *testing.T) {
		w := newTrustWorld(t, v1alpha1.GuestContainer)
		w.until("it waits for the authority", because(authority.WaitingForAuthorityReason), "web")
		w.authority("ca", w.one)
		w.until("it comes to its end", func(g *v1alpha1.Guest) bool {
			w.manager = w.restart()
			return isReady(g)
		}, "web")
		w.ready("web")
		w.quiet()
		writes := w.client.Writes()
		g := w.get("web")
		g.Status = v1alpha1.GuestStatus{}
		w.must(w.world.client.Status().Update(t.Context(), g))
		w.ready("web")
		if w.client.Writes() != writes || !trustedSays(metav1.ConditionTrue, authority.TrustedReason, w.one.fingerprint)(w.get("web")) {
			t.Errorf("a lost status changes nothing: %d writes", w.client.Writes()-writes)
		}
		g = w.get("web")
		g.Spec.TrustAuthorities, g.Status = nil, v1alpha1.GuestStatus{}
		w.must(w.world.client.Update(t.Context(), g))
		w.must(w.world.client.Status().Update(t.Context(), g))
		w.ready("web")
		if w.trusts(w.one) {
			t.Error("what the spec drops is found by the mark, without a status")
		}
	})
}

// TestTrustOutside: the root of an authority outside is asked for once, and found in the guest by another manager.
func TestTrustOutside(t *testing.T) {
	w := newTrustWorld(t, v1alpha1.GuestContainer, "ca-certificates")
	w.change("web", func(g *v1alpha1.Guest) {
		g.Spec.TrustAuthorities = []v1alpha1.TrustAuthority{w.one.outside(), byService("ca")}
	})
	w.authority("ca", w.two)
	w.until("it is missed", trustedSays(metav1.ConditionFalse, authority.WaitingForAuthorityReason, outsideURL, "connection refused"), "web")
	if !w.trusts(w.two) || w.trusts(w.one) {
		t.Error("the other authority does not wait for it")
	}
	asked := w.asked.Load()
	w.pass("web")
	if w.asked.Load() != asked {
		t.Error("one that did not answer is asked again at once")
	}
	w.outside[outsideURL] = w.two.cert
	w.manager = w.restart()
	w.until("another root than the pinned one is refused", because(authority.AuthorityInvalidReason), "web")
	w.outside[outsideURL] = w.one.cert
	w.manager = w.restart()
	w.ready("web")
	w.quiet()
	if !w.trusts(w.one) || !w.trusts(w.two) {
		t.Errorf("want both trusted:\n%s", w.describe("web"))
	}
	delete(w.outside, outsideURL)
	w.manager = w.restart()
	asked = w.asked.Load()
	w.ready("web")
	if w.asked.Load() != asked {
		t.Error("a root that the guest has is asked for")
	}
	w.quiet()
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.TrustAuthorities = g.Spec.TrustAuthorities[1:] })
	w.ready("web")
	if w.trusts(w.one) || !w.trusts(w.two) {
		t.Error("the one that the spec drops goes, the other stays")
	}
}

// restart is another manager over the same guests.
func (w *trustWorld) restart() *manager {
	m := w.start()
	m.inside = w.inside
	return m
}

// TestTrustBesideMounts: neither keeps the other back, and both are looked at in one round trip.
func TestTrustBesideMounts(t *testing.T) {
	n := newNFSWorld(t, simulated.Options{Installed: []string{"ca-certificates"}})
	w := &trustWorld{nfsWorld: n, one: newRoot(t, "One Root CA"), two: newRoot(t, "Two Root CA")}
	w.change("db", func(g *v1alpha1.Guest) { g.Spec.TrustAuthorities = []v1alpha1.TrustAuthority{byService("ca")} })
	w.until("the mount does not wait for the authority", func(g *v1alpha1.Guest) bool {
		return mounted(metav1.ConditionTrue)(g) && because(authority.WaitingForAuthorityReason)(g)
	}, "db")
	w.authority("ca", w.one)
	w.ready("db")
	trips := w.client.trips.Load()
	w.until("both are looked at in one round trip", func(*v1alpha1.Guest) bool { // a busy machine may let one miss the other
		before := trips
		trips = w.client.trips.Load()
		return trips-before == 1
	}, "db")
	heal := w.client.Fail("update-ca-certificates*", 0, 1, "no space left\n")
	w.authority("ca", w.two)
	w.until("it fails", because(authority.TrustFailedReason), "db")
	w.shell("systemctl disable --now mnt-media.mount")
	w.until("the mount is put back all the same", func(*v1alpha1.Guest) bool {
		u := w.client.Unit("mnt-media.mount")
		return u.Active == "active" && u.Enabled == "enabled"
	}, "db")
	heal()
	w.ready("db")
	if !w.trusts(w.two) || w.trusts(w.one) {
		t.Error("want the new root trusted, and the old one not")
	}
}

// TestTrustLater: what does not run is not waited for, what is observed is not written, and a deleted Guest leaves all.
func TestTrustLater(t *testing.T) {
	w := newTrustWorld(t, v1alpha1.GuestContainer, "ca-certificates")
	w.authority("ca", w.one)
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Power = v1alpha1.PowerStopped })
	w.ready("web")
	if !trustedSays(metav1.ConditionFalse, guest.NotRunningReason)(w.get("web")) || w.client.trips.Load() != 0 {
		t.Errorf("a guest that is off:\n%s", w.describe("web"))
	}
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Power = v1alpha1.PowerRunning })
	w.ready("web")
	writes := w.client.Writes()
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementObserve })
	w.authority("ca", w.two)
	w.until("the change is shown", func(g *v1alpha1.Guest) bool {
		var from, to bool
		for _, p := range g.Status.Plan {
			from = from || p.Field == "trustAuthorities" && p.From == "One Root CA ("+w.one.fingerprint[:8]+")" && p.To == ""
			to = to || p.Reason == authority.TrustingReason && p.To == "Two Root CA ("+w.two.fingerprint[:8]+")" && p.Impact == v1alpha1.ImpactNone
		}
		return from && to && trustedSays(metav1.ConditionFalse, authority.NotTrustedReason, "Two Root CA")(g)
	}, "web")
	if w.client.Writes() != writes {
		t.Error("Observe writes")
	}
	w.change("web", func(g *v1alpha1.Guest) { g.Spec.Management = v1alpha1.ManagementEnforce })
	w.ready("web")
	trips := w.client.trips.Load()
	w.delete("web")
	w.until("it is gone", gone, "web")
	if w.client.trips.Load() != trips || !w.trusts(w.two) {
		t.Error("a Guest that goes with Retain leaves all as it is")
	}
}
