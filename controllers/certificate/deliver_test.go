// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate_test

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

const (
	webCert, webKey = "/etc/site.crt", "/etc/site.key"
	dnsmasqUnit     = "dnsmasq.service"
)

// toWeb is a delivery to the Guest "web", whose dnsmasq takes it.
func toWeb(name, chain, key string) v1alpha1.CertificateDelivery {
	return v1alpha1.CertificateDelivery{
		Name: name, GuestRef: &v1alpha1.LocalReference{Name: "web"},
		Files:  &v1alpha1.CertificateFiles{Chain: v1alpha1.MachinePath(chain), Key: v1alpha1.MachinePath(key)},
		Reload: []v1alpha1.UnitAction{{Unit: dnsmasqUnit}},
	}
}

// toAPI is one to the Guest "api".
func toAPI() v1alpha1.CertificateDelivery {
	d := toWeb("api", webCert, webKey)
	d.GuestRef.Name = "api"
	return d
}

// toNode is one to the node of the Host.
func toNode(path string) v1alpha1.CertificateDelivery {
	return v1alpha1.CertificateDelivery{
		Name: "node", HostRef: &v1alpha1.LocalReference{Name: "phoenix"}, Files: &v1alpha1.CertificateFiles{Combined: v1alpha1.MachinePath(path)},
	}
}

func deliverTo(list ...v1alpha1.CertificateDelivery) func(*v1alpha1.Certificate) {
	return func(c *v1alpha1.Certificate) { c.Spec.DeliverTo = list }
}

// has asserts that a machine has the certificate of the Secret.
func (w *world) has(machine string) {
	w.Helper()
	s := w.secret("site-tls")
	if m := w.machines[machine]; m.file(webCert) != string(s.Data["tls.crt"]) || m.file(webKey) != string(s.Data["tls.key"]) {
		w.Errorf("%s does not have certificate %s and its key", machine, w.serial("site-tls"))
	}
}

// renew asks for another certificate.
func (w *world) renew() {
	w.Helper()
	w.edit("site", func(c *v1alpha1.Certificate) {
		c.Annotations = map[string]string{v1alpha1.RenewAnnotation: w.clock.Now().String() + c.Annotations[v1alpha1.RenewAnnotation]}
	})
}

func TestDelivered(t *testing.T) {
	w := newWorld(t)
	all := toWeb("web", "/etc/ssl/all/chain.pem", "/etc/ssl/all/key.pem")
	all.Files.Certificate, all.Files.CA, all.Files.Combined = "/etc/ssl/all/cert.pem", "/etc/ssl/all/ca.pem", "/etc/ssl/all/both.pem"
	all.Files.Group, all.Files.Mode = "www-data", "0644"
	w.declare("site", deliverTo(all, toAPI(), toNode("/etc/ssl/site/both.pem")))
	before := w.machines["web"].Unit(dnsmasqUnit).Invocation
	c := w.ready("site")
	s, serial := w.secret("site-tls"), w.serial("site-tls")
	chain := w.ca.parse(s.Data["tls.crt"])
	for path, want := range map[string]struct{ content, mode string }{
		"/etc/ssl/all/chain.pem": {string(s.Data["tls.crt"]), "0644"},
		"/etc/ssl/all/cert.pem":  {string(stepca.EncodeChain(chain[:1])), "0644"},
		"/etc/ssl/all/ca.pem":    {string(s.Data["ca.crt"]), "0644"},
		"/etc/ssl/all/key.pem":   {string(s.Data["tls.key"]), "0640"},
		"/etc/ssl/all/both.pem":  {string(s.Data["tls.key"]) + string(s.Data["tls.crt"]), "0640"},
	} {
		m := w.machines["web"]
		info, err := m.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		owner, group := m.OwnerOf(info)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); m.file(path) != want.content || got != want.mode || owner != "root" || group != "www-data" {
			t.Errorf("%s is %s %s:%s, as wanted: %t", path, got, owner, group, m.file(path) == want.content)
		}
	}
	w.has("api")
	if got := w.machines["phoenix"].file("/etc/ssl/site/both.pem"); got != string(s.Data["tls.key"])+string(s.Data["tls.crt"]) {
		t.Error("the node does not have key and chain in one file")
	}
	if info, err := w.machines["phoenix"].Stat("/etc/ssl/site/both.pem"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the node's file is %v, %v", info.Mode(), err)
	}
	want := []v1alpha1.DeliveryStatus{
		{Name: "web", Machine: "Guest/web", SerialNumber: serial}, {Name: "api", Machine: "Guest/api", SerialNumber: serial},
		{Name: "node", Machine: "Host/phoenix/pve", SerialNumber: serial},
	}
	if diff := cmp.Diff(want, c.Status.Deliveries); diff != "" {
		t.Error(diff)
	}
	w.says(c, v1alpha1.DeliveredCondition, "True Delivered", serial, "web (Guest/web)", "api (Guest/api)", "node (Host/phoenix/pve)")
	w.event("Normal Delivering: deliver certificate " + serial + " to web (Guest/web)")
	if now := w.machines["web"].Unit(dnsmasqUnit); now.Active != "active" || now.Invocation != before {
		t.Errorf("dnsmasq is %s and was started again: %t; a reload was asked for", now.Active, now.Invocation != before)
	}
	w.quiet("site")

	w.restart()
	w.quiet("site")
	w.renew()
	w.ready("site")
	if w.machines["web"].file("/etc/ssl/all/chain.pem") != string(w.secret("site-tls").Data["tls.crt"]) {
		t.Error("the renewed certificate did not arrive")
	}
	w.has("api")
	w.quiet("site")
}

// TestFilesEdited puts back what somebody changed on a machine.
func TestFilesEdited(t *testing.T) {
	w := newWorld(t)
	w.declare("site", deliverTo(toWeb("web", webCert, webKey)))
	w.ready("site")
	_, issued := w.ca.counts()
	for _, hand := range []string{"echo nonsense > /etc/site.crt", "rm /etc/site.key", "chmod 0666 /etc/site.key"} {
		w.shell("web", hand)
		w.ready("site")
		w.has("web")
		if info, err := w.machines["web"].Stat(webKey); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: the key is %v, %v", hand, info.Mode(), err)
		}
	}
	if _, now := w.ca.counts(); now != issued {
		t.Error("a certificate was issued for that")
	}
}

func (w *world) shell(machine, line string) {
	w.Helper()
	var out strings.Builder
	if exit := w.machines[machine].Shell(w.Context(), line, strings.NewReader(""), &out, &out); exit != 0 {
		w.Fatalf("%s: exit %d: %s", line, exit, out.String())
	}
}

// TestMachineAway delays the delivery to that machine, and nothing else.
func TestMachineAway(t *testing.T) {
	w := newWorld(t)
	w.declare("site", deliverTo(toWeb("web", webCert, webKey), toAPI()))
	w.ready("site")
	old := w.serial("site-tls")
	w.machines["web"].set(true)
	w.live("site", 17*time.Hour)
	c := w.until("site", "False MachineAway", "no route to host")
	if w.serial("site-tls") == old {
		t.Fatal("the Secret was not renewed")
	}
	w.has("api")
	w.says(c, v1alpha1.IssuedCondition, "True Issued")
	w.says(c, v1alpha1.DeliveredCondition, "False MachineAway", "web (Guest/web)")
	requests, _ := w.ca.counts()
	w.live("site", 10*time.Hour)
	if now, _ := w.ca.counts(); now != requests {
		t.Errorf("the authority was asked %d times", now-requests)
	}
	w.machines["web"].set(false)
	w.ready("site")
	w.has("web")
	w.live("site", 24*time.Hour)
	w.ready("site")
	w.has("web")
	w.quiet("site")
}

// TestGuestMissing waits for a Guest that is not declared yet.
func TestGuestMissing(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) {
		deliverTo(toWeb("web", webCert, webKey), toAPI())(c)
		c.Spec.DeliverTo[0].GuestRef.Name = "later"
	})
	c := w.until("site", "False MachineAway", "waiting for Guest/later: not found")
	w.has("api")
	w.says(c, v1alpha1.IssuedCondition, "True Issued")
	w.quiet("site")
	w.remove("site")
}

// TestUnitRefuses has a unit that does not take the new files: they are put back, and tried again less and less often.
func TestUnitRefuses(t *testing.T) {
	w := newWorld(t)
	web := toWeb("web", webCert, webKey)
	web.Probe = &v1alpha1.CertificateProbe{}
	w.declare("site", deliverTo(web, toAPI()))
	w.until("site", "False ProbeFailed", "connection refused")
	w.serve("10.0.0.14:443 www.phoenix.lan", w.leaf("site-tls"))
	w.ready("site")
	old, serial := w.machines["web"].file(webCert), w.serial("site-tls")
	release := w.machines["web"].Fail("systemctl reload-or-restart*", 0, 1, "Job for dnsmasq.service failed")
	w.renew()
	c := w.until("site", "False UnitFailed", "rolled back:", "reload-or-restart dnsmasq.service", "10.0.0.14:443 still serves certificate "+serial)
	if w.machines["web"].file(webCert) != old {
		t.Error("the files were not put back")
	}
	w.has("api")
	w.says(c, v1alpha1.IssuedCondition, "True Issued")
	w.says(c, v1alpha1.DeliveredCondition, "False UnitFailed", "still serves certificate "+serial)
	if got := c.Status.Deliveries[0]; got.SerialNumber != serial || got.Machine != "Guest/web" {
		t.Errorf("status of the delivery is %+v, want certificate %s that is still served", got, serial)
	}
	w.event("Warning UnitFailed")
	writes, events := w.machines["web"].Writes(), len(w.events.all())
	tries := 0
	for end := w.clock.Now().Add(2 * time.Hour); w.clock.Now().Before(end); {
		w.sleep(w.pass("site"))
		if now := w.machines["web"].Writes(); now != writes {
			writes, tries = now, tries+1
		}
	}
	if tries < 20 || tries > 40 {
		t.Errorf("the unit was asked %d times in two hours, want once in five minutes", tries)
	}
	if n := len(w.events.all()); n > events+1 {
		t.Errorf("%d events", n-events)
	}
	w.live("site", 24*time.Hour)
	if _, issued := w.ca.counts(); issued < 3 {
		t.Errorf("%d certificates were issued: the renewal was held up", issued)
	}
	w.has("api")
	release()
	w.live("site", 7*time.Minute)
	w.has("web")
	w.until("site", "False NotServed", "10.0.0.14:443 still serves certificate "+serial)
	w.serve("10.0.0.14:443 www.phoenix.lan", w.leaf("site-tls"))
	w.ready("site")
	w.quiet("site")
}

// serve has a server show a certificate.
func (w *world) serve(at string, cert *x509.Certificate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.served[at] = cert
}

// TestProbeOnly proves what somebody else delivers.
func TestProbeOnly(t *testing.T) {
	w := newWorld(t)
	w.declare("site", func(c *v1alpha1.Certificate) {
		c.Spec.DNSNames = []string{"*.phoenix.lan", "www.phoenix.lan"}
		deliverTo(
			v1alpha1.CertificateDelivery{Name: "web", GuestRef: &v1alpha1.LocalReference{Name: "web"}, Probe: &v1alpha1.CertificateProbe{}},
			v1alpha1.CertificateDelivery{Name: "node", HostRef: &v1alpha1.LocalReference{Name: "phoenix"}, Probe: &v1alpha1.CertificateProbe{Address: "10.0.0.99", Port: 8443, ServerName: "api.phoenix.lan"}},
		)(c)
	})
	w.machines["web"].set(true) // it is not asked for
	c := w.until("site", "False ProbeFailed", "10.0.0.14:443", "10.0.0.99:8443")
	w.says(c, v1alpha1.DeliveredCondition, "False ProbeFailed")
	w.serve("10.0.0.14:443 www.phoenix.lan", w.leaf("site-tls"))
	w.serve("10.0.0.99:8443 api.phoenix.lan", w.leaf("site-tls"))
	c = w.ready("site")
	if len(c.Status.Deliveries) != 2 || c.Status.Deliveries[1].SerialNumber != w.serial("site-tls") || c.Status.Deliveries[1].Machine != "" {
		t.Errorf("deliveries are %+v", c.Status.Deliveries)
	}
	w.quiet("site")
	old := w.serial("site-tls")
	w.renew()
	w.until("site", "False NotServed", "10.0.0.14:443 still serves certificate "+old+" (*.phoenix.lan) for \"www.phoenix.lan\"")
	passes := w.live("site", time.Hour)
	if passes > 40 {
		t.Errorf("%d passes in an hour over a server that shows another certificate", passes)
	}
	w.remove("site")
}

// TestPathsOfAHost are those that it allows.
func TestPathsOfAHost(t *testing.T) {
	w := newWorld(t)
	writes := w.machines["phoenix"].Writes()
	w.declare("site", deliverTo(toNode("/etc/ssl/site-else/both.pem"), toAPI()))
	c := w.until("site", "False PathNotAllowed", "deliver to /etc/ssl/site-else/both.pem: Host/phoenix does not allow it: add the directory to allow.certificatePaths")
	w.has("api")
	w.says(c, v1alpha1.IssuedCondition, "True Issued")
	if w.machines["phoenix"].Writes() != writes {
		t.Error("the node was written to")
	}
	w.live("site", 17*time.Hour)
	if _, issued := w.ca.counts(); issued != 2 {
		t.Errorf("%d certificates were issued: a refused path held the renewal up", issued)
	}
	edit(w, &v1alpha1.Host{}, "phoenix", func(h *v1alpha1.Host) { h.Spec.Allow.CertificatePaths = []string{"/etc/ssl/site-else"} })
	w.ready("site")

	edit(w, &v1alpha1.Host{}, "phoenix", func(h *v1alpha1.Host) {
		h.Spec.SSH.Nodes = append(h.Spec.SSH.Nodes, v1alpha1.HostSSHNode{Name: "pve-2", Address: "10.0.0.23:22"})
	})
	w.until("site", "False NodeMissing", "node is not set and Host/phoenix has 2 nodes under ssh.nodes (pve, pve-2)")
	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.DeliverTo[0].Node = "pve" })
	w.ready("site")
	w.edit("site", func(c *v1alpha1.Certificate) { c.Spec.DeliverTo[0].Node = "pve-3" })
	w.until("site", "False NoSSH", "reach node pve-3: Host/phoenix has no SSH for it")
}

// TestPathsOfOthers are left to them.
func TestPathsOfOthers(t *testing.T) {
	w := newWorld(t)
	w.declare("site", deliverTo(toWeb("web", webCert, webKey)))
	w.ready("site")
	w.declare("second", deliverTo(toWeb("web", "/etc/other.crt", webKey)))
	c := w.until("second", "False NotOwned", "take /etc/site.key: of site/Certificate/home/site/web")
	w.says(c, v1alpha1.DeliveredCondition, "False NotOwned")
	w.says(c, v1alpha1.IssuedCondition, "True Issued")
	w.has("web")
	w.quiet("second")
	if c.Status.Deliveries[0].Machine != "" {
		t.Errorf("the status says that %+v is ours", c.Status.Deliveries[0])
	}

	w.shell("web", "echo theirs > /etc/theirs.key")
	w.edit("second", deliverTo(toWeb("web", "/etc/other.crt", "/etc/theirs.key")))
	w.until("second", "False NotOwned", "/etc/theirs.key", "adoptionPolicy: IfUnowned")
	w.edit("second", func(c *v1alpha1.Certificate) { c.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned })
	w.ready("second")
	w.remove("second")
	if got := w.machines["web"].file("/etc/theirs.key"); got != "theirs\n" || w.machines["web"].file("/etc/other.crt") != "" {
		t.Errorf("after the deletion their file is %q", got)
	}
	w.has("web")
}

// TestDeliveryRemoved clears what the spec does not name any more, wherever it was.
func TestDeliveryRemoved(t *testing.T) {
	w := newWorld(t)
	w.declare("site", deliverTo(toWeb("web", webCert, webKey), toAPI()))
	w.ready("site")
	w.edit("site", deliverTo(toAPI()))
	c := w.ready("site")
	if w.machines["web"].file(webKey) != "" || len(c.Status.Deliveries) != 1 {
		t.Errorf("the key is still there: %t; deliveries %+v", w.machines["web"].file(webKey) != "", c.Status.Deliveries)
	}
	w.event("Normal Clearing: clear web (Guest/web)")

	moved := toAPI() // to another machine that is away for now, by the same name
	moved.GuestRef.Name = "web"
	w.machines["web"].set(true)
	w.machines["api"].set(true)
	w.edit("site", deliverTo(moved))
	w.until("site", "False MachineAway")
	w.machines["web"].set(false)
	c = w.until("site", "False MachineAway")
	w.has("web")
	w.has("api")
	if len(c.Status.Deliveries) != 2 || c.Status.Deliveries[1].Machine != "Guest/api" {
		t.Errorf("deliveries are %+v, want the former machine among them", c.Status.Deliveries)
	}
	w.restart()
	w.machines["api"].set(false)
	c = w.ready("site")
	if w.machines["api"].file(webKey) != "" || len(c.Status.Deliveries) != 1 {
		t.Errorf("the key is still at the former machine: %t; deliveries %+v", w.machines["api"].file(webKey) != "", c.Status.Deliveries)
	}
	w.edit("site", deliverTo())
	c = w.ready("site")
	w.says(c, v1alpha1.DeliveredCondition, "none")
	if w.machines["web"].file(webKey) != "" || len(c.Status.Deliveries) != 0 {
		t.Errorf("the last delivery is still there: %+v", c.Status.Deliveries)
	}
	w.quiet("site")
}

// TestKilledWhileDelivering ends the manager in the middle of a delivery that the spec then forgets.
func TestKilledWhileDelivering(t *testing.T) {
	w := newWorld(t)
	w.declare("site", deliverTo(toWeb("web", webCert, webKey)))
	w.machines["web"].Fail("systemctl reload-or-restart*", 0, 1, "no")
	w.until("site", "False UnitFailed")
	if c := w.get("site"); len(c.Status.Deliveries) != 1 || c.Status.Deliveries[0].Machine != "Guest/web" {
		t.Errorf("the status does not name the machine before it is written to: %+v", c.Status.Deliveries)
	}
	w.restart()
	w.edit("site", deliverTo())
	w.ready("site")
}

func TestDeletion(t *testing.T) {
	revoked := func(w *world, serial string) bool {
		w.ca.mu.Lock()
		defer w.ca.mu.Unlock()
		return w.ca.revoked[serial]
	}
	yes := true
	for _, c := range []struct {
		reason  string
		spec    func(*v1alpha1.Certificate)
		before  func(*world)
		kept    bool // files and Secret
		files   bool // are kept alone
		revoked bool
	}{
		{reason: "files and Secret go"},
		{reason: "it is revoked when that is asked for", spec: func(c *v1alpha1.Certificate) { c.Spec.RevokeOnDeletion = &yes }, revoked: true},
		{reason: "Retain leaves all", spec: func(c *v1alpha1.Certificate) {
			c.Spec.DeletionPolicy, c.Spec.RevokeOnDeletion = v1alpha1.DeletionRetain, &yes
		}, kept: true},
		{reason: "a Guest that is gone is done", before: func(w *world) {
			g := &v1alpha1.Guest{}
			g.Namespace, g.Name = namespace, "web"
			if err := w.client.Delete(w.Context(), g); err != nil {
				w.Fatal(err)
			}
		}, files: true},
		{reason: "without the provisioner's key nobody can revoke", spec: func(c *v1alpha1.Certificate) { c.Spec.RevokeOnDeletion = &yes }, before: func(w *world) {
			edit(w, &corev1.Secret{}, "ca-provisioner", func(s *corev1.Secret) { s.Data = nil })
		}},
		{reason: "an authority that is gone is done", spec: func(c *v1alpha1.Certificate) { c.Spec.RevokeOnDeletion = &yes }, before: func(w *world) {
			if err := w.client.Delete(w.Context(), w.authority()); err != nil {
				w.Fatal(err)
			}
		}},
		{reason: "one that is over need not be revoked", spec: func(c *v1alpha1.Certificate) { c.Spec.RevokeOnDeletion = &yes }, before: func(w *world) {
			w.sleep(25 * time.Hour)
		}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			w := newWorld(t)
			w.declare("site", func(o *v1alpha1.Certificate) {
				deliverTo(toWeb("web", webCert, webKey))(o)
				if c.spec != nil {
					c.spec(o)
				}
			})
			w.ready("site")
			serial := w.serial("site-tls")
			if c.before != nil {
				c.before(w)
			}
			_, issued := w.ca.counts()
			w.remove("site")
			if there := w.secret("site-tls") != nil; there != c.kept {
				t.Errorf("the Secret is there: %t", there)
			}
			if there := w.machines["web"].file(webKey) != ""; there != (c.kept || c.files) {
				t.Errorf("the key is on the machine: %t", there)
			}
			if got := revoked(w, serial); got != c.revoked {
				t.Errorf("it is revoked: %t", got)
			}
			if _, now := w.ca.counts(); now != issued {
				t.Error("the deletion had a certificate issued")
			}
			w.kind.Forget(keyOfSite)
			if got := w.times("site"); len(got) != 0 {
				t.Errorf("metrics of what is gone: %v", got)
			}
		})
	}
}

// TestDeletionWaits for a machine and an authority that are away, and does all else.
func TestDeletionWaits(t *testing.T) {
	w := newWorld(t)
	yes := true
	w.declare("site", func(c *v1alpha1.Certificate) {
		deliverTo(toWeb("web", webCert, webKey), toAPI())(c)
		c.Spec.RevokeOnDeletion = &yes
	})
	w.ready("site")
	w.machines["web"].set(true)
	w.ca.set(func(ca *fakeCA) { ca.fault = ca.fail(stepca.Away, "connection refused") })
	w.delete("site")
	w.until("site", "False AuthorityAway", "revoke certificate: connection refused; set revokeOnDeletion to false", "no route to host")
	if w.machines["api"].file(webKey) != "" {
		t.Error("the other machine was not cleared")
	}
	requests, _ := w.ca.counts()
	w.live("site", 10*time.Hour)
	if now, _ := w.ca.counts(); now-requests > 130 {
		t.Errorf("the authority was asked %d times in ten hours", now-requests)
	}
	w.ca.set(func(ca *fakeCA) { ca.fault = nil })
	w.live("site", 6*time.Minute)
	w.until("site", "False MachineAway", "no route to host")
	if w.secret("site-tls") != nil {
		t.Error("the Secret waits for a machine")
	}
	w.machines["web"].set(false)
	for range 10 {
		if w.exists("site") {
			w.sleep(w.pass("site"))
		}
	}
	if w.exists("site") || w.machines["web"].file(webKey) != "" {
		t.Errorf("the object is there: %t, the key: %t", w.exists("site"), w.machines["web"].file(webKey) != "")
	}
}
