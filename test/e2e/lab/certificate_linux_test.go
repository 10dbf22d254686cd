// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// certificates of the samples, by the guest and the files that each is delivered to.
var certificates = map[string]struct {
	vmid       int
	chain, key string
}{
	"nginx":     {nginx, "/etc/nginx/phoenix/nginx/nginx.crt", "/etc/nginx/phoenix/nginx/nginx.key"},
	"site":      {nginx, "/etc/nginx/phoenix/nginx/site.crt", "/etc/nginx/phoenix/nginx/site.key"},
	"traefik":   {traefik, "/etc/traefik/tls/traefik.crt", "/etc/traefik/tls/traefik.key"},
	"portainer": {portainer, "/etc/portainer/tls/portainer.crt", "/etc/portainer/tls/portainer.key"},
	"drphoenix": {drphoenix, "/etc/portainer/tls/drphoenix.crt", "/etc/portainer/tls/drphoenix.key"},
}

// gateway is where nginx ends TLS.
const gateway = "10.0.0.153:443"

// issued looks at what the authority issued: in the Secrets, on the machines, and at the door.
func issued(r *reference) {
	t := r.T
	for name, at := range certificates {
		r.certified(nil, name)
		secret, c := r.secretOf(name+"-tls"), r.certificate(name)
		for _, kind := range []string{v1alpha1.IssuedCondition, v1alpha1.DeliveredCondition} {
			if status, said := condition(c, kind); status != metav1.ConditionTrue {
				t.Errorf("%s of %s is %s", kind, name, said)
			}
		}
		if got := inside(t, at.vmid, "cat", at.chain); got != strings.TrimSpace(string(secret["tls.crt"])) {
			t.Errorf("%s in machine %d is not the chain of the Secret: %s", at.chain, at.vmid, got)
		}
		if got := inside(t, at.vmid, "stat", "-c", "%a %U:%G", at.key); got != "600 root:root" {
			t.Errorf("%s in machine %d is %s", at.key, at.vmid, got)
		}
		same(t, "the key of "+name, publicKey(t, at.vmid, "openssl", "x509", "-pubkey", "-noout", "-in", at.chain),
			publicKey(t, at.vmid, "openssl", "pkey", "-pubout", "-in", at.key))
		if got := inside(t, at.vmid, "openssl", "verify", "-untrusted", at.chain, at.chain); got != at.chain+": OK" {
			t.Errorf("machine %d verifies what it serves with %q", at.vmid, got)
		}
	}
	verified(r, "nginx.phoenix.lan")
	refused(t)
	var trust corev1.ConfigMap
	if err := r.Client.Get(test, client.ObjectKey{Namespace: world.Namespace, Name: "step-ca-trust"}, &trust); err != nil {
		t.Error(err)
	} else if ca := string(r.secretOf("nginx-tls")["ca.crt"]); trust.Data["ca.crt"] != ca {
		t.Errorf("workloads are told to trust %q, want %q", trust.Data["ca.crt"], ca)
	}
}

func publicKey(t *testing.T, vmid int, argv ...string) string {
	t.Helper()
	got := inside(t, vmid, argv...)
	if !strings.HasPrefix(got, "-----BEGIN PUBLIC") {
		t.Errorf("%q prints %q", argv, got)
	}
	return got
}

// verified asks nginx from every machine of the site, each with what it trusts by itself.
func verified(r *reference, name string) {
	r.Helper()
	for vmid := range addresses {
		got := inside(r.T, vmid, "sh", "-c", `openssl s_client -connect "$0" -servername "$1" -verify_hostname "$1" -verify_return_error </dev/null 2>&1`, gateway, name)
		if !strings.Contains(got, "Verify return code: 0 (ok)") {
			r.Errorf("machine %d does not verify %s: %s", vmid, name, got)
		}
	}
}

// refused asks nginx for what it does not have.
func refused(t *testing.T) {
	t.Helper()
	got, err := site.Exec(t.Context(), traefik, "sh", "-c", `openssl s_client -connect "$0" -servername other.example.org </dev/null 2>&1`, gateway)
	if err != nil || got.Exit == 0 || !strings.Contains(got.Stdout, "unrecognized name") {
		t.Errorf("a name that nginx does not know: %+v (%v)", got, err)
	}
	c := &http.Client{
		Timeout: 5 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	for host, want := range map[string]string{"a.phoenix.lan": "308 https://a.phoenix.lan/a?b=c", "nginx.phoenix.lan": "", "other.phoenix.lan": ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://10.0.0.153/a?b=c", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		said := ""
		if res, err := c.Do(req); err == nil {
			said = fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("Location"))
			_ = res.Body.Close()
		}
		if said != want {
			t.Errorf("over HTTP, %s is answered %q, want %q", host, said, want)
		}
	}
}

// renewals renews a certificate with a life of a minute ten times, while connections are made all the time; meanwhile other
// certificates meet a unit that does not reload and a machine that is away. Then the authority is down while the certificate
// should be renewed again and again: it goes on being served, and is renewed when the authority is back.
func renewals(r *reference) {
	t := r.T
	r.patch(serviceKey("step-ca"), `{"spec":{"stepCA":{"claims":{"minDuration":"10s"}}}}`)
	r.ready("step-ca")
	began := time.Now()
	minute := ordered("minute", v1alpha1.CertificateDelivery{
		Name: "entry", GuestRef: &v1alpha1.LocalReference{Name: "nginx"}, Probe: &v1alpha1.CertificateProbe{},
	})
	minute.Spec.Duration, minute.Spec.RenewBeforePercentage = &metav1.Duration{Duration: time.Minute}, 84
	r.declare(minute)
	const servers = `{"spec":{"nginx":{"servers":[{"name":"nginx","certificateRef":{"name":"nginx"}},{"name":"site","certificateRef":{"name":"site"}}%s]}}}`
	r.patch(serviceKey("nginx"), fmt.Sprintf(servers, `,{"name":"minute","certificateRef":{"name":"minute"}}`))
	clients := r.visitWhenServed("minute.phoenix.lan")
	first := r.certificate("minute").Status.Revision
	t.Cleanup(func() { clients.leave(t) })

	r.part("fragile", fragile)
	r.part("away", away)
	r.renewed("minute", first+10)
	t.Logf("renewed ten times within %s", time.Since(began))
	r.part("outage", outage)
	r.patch(minute, `{"spec":{"renewBeforePercentage":null}}`) // else it is hardly ever that all machines have the last one
	r.certified(nil, "nginx", "minute")
	if seen := clients.leave(t); seen < 11 {
		t.Errorf("nginx served %d certificates, want each of 11 and more", seen)
	}
	r.patch(serviceKey("nginx"), fmt.Sprintf(servers, ""))
	r.remove(minute)
	r.ready("nginx")
	if got, err := site.Exec(t.Context(), nginx, "find", "/etc/nginx", "-name", "*minute*"); err != nil || got.Stdout != "" {
		t.Errorf("of the certificate that is gone nginx has %+v (%v)", got, err)
	}
}

// renewed waits until a Certificate was issued as often as this.
func (r *reference) renewed(name string, revision int64) {
	r.Helper()
	r.within(installTime, fmt.Sprintf("Certificate %s has revision %d", name, revision), func() error {
		if c := r.certificate(name); c.Status.Revision < revision {
			return fmt.Errorf("revision %d: %+v", c.Status.Revision, c.Status.Conditions)
		}
		return nil
	})
}

// outage stops the authority, as a person would for a repair, for several renewal times.
func outage(r *reference) {
	t := r.T
	r.patch(serviceKey("step-ca"), `{"spec":{"management":"Paused"}}`)
	r.says("step-ca", v1alpha1.ReadyCondition, "True Paused")
	inside(t, stepCA, "systemctl", "stop", "step-ca.service")
	before := r.certificate("minute")
	due := before.Status.RenewalTime.Time
	for end := due.Add(27 * time.Second); time.Now().Before(end); time.Sleep(tick) { // it is due each ten seconds
		c := r.certificate("minute")
		if status, said := condition(c, v1alpha1.IssuedCondition); status != metav1.ConditionTrue {
			t.Fatalf("while the authority is away, Issued is %s", said)
		}
	}
	overdue := r.certificate("minute")
	if _, said := condition(overdue, v1alpha1.ReadyCondition); !strings.Contains(said, "10.0.0.10") {
		t.Errorf("a renewal is overdue, and Ready says %s", said)
	}
	stopped := time.Since(due)
	r.patch(serviceKey("step-ca"), `{"spec":{"management":null}}`)
	r.ready("step-ca")
	r.renewed("minute", overdue.Status.Revision+1)
	r.certified(nil, "nginx", "site", "traefik", "portainer", "drphoenix")
	t.Logf("the authority was away for %s after the renewal time; renewed %s after that", stopped, time.Since(due)-stopped)
}

// fragile delivers to a machine on which the unit that takes the certificate fails to reload.
func fragile(r *reference) {
	t := r.T
	const unit = `[Service]
ExecStart=/usr/bin/sleep infinity
ExecReload=/usr/bin/test -e /run/sound
`
	inside(t, fresh, "sh", "-c", `printf %s "$0" >/etc/systemd/system/fragile.service; touch /run/sound; systemctl daemon-reload; systemctl start fragile`, unit)
	c := ordered("fragile", v1alpha1.CertificateDelivery{
		Name: "box", GuestRef: &v1alpha1.LocalReference{Name: "fresh"}, Reload: []v1alpha1.UnitAction{{Unit: "fragile.service"}},
		Files: &v1alpha1.CertificateFiles{Combined: "/etc/fragile/all.pem"},
	})
	r.declare(c)
	r.certified(nil, "fragile")
	there := func() string {
		return leaf(t, []byte(afterKey(inside(t, fresh, "cat", "/etc/fragile/all.pem")))).SerialNumber.Text(16)
	}
	old := there()
	inside(t, fresh, "rm", "/run/sound")
	revision := r.certificate("fragile").Status.Revision
	r.renew("fragile")
	r.renewed("fragile", revision+1)
	r.certificateSays("fragile", v1alpha1.DeliveredCondition, metav1.ConditionFalse, "fragile.service")
	if got := inside(t, fresh, "systemctl", "is-active", "fragile.service"); got != "active" {
		t.Errorf("the unit that does not reload is %s", got)
	}
	inside(t, fresh, "touch", "/run/sound")
	r.certified(func(c *v1alpha1.Certificate) error {
		if status, said := condition(c, v1alpha1.DeliveredCondition); status != metav1.ConditionTrue {
			return errors.New(said)
		}
		return nil
	}, "fragile")
	if got, want := there(), leaf(t, r.secretOf("fragile-tls")["tls.crt"]).SerialNumber.Text(16); got != want || got == old {
		t.Errorf("the machine has %s (before: %s), want %s", got, old, want)
	}
	r.remove(c)
	inside(t, fresh, "sh", "-c", "systemctl stop fragile; rm /etc/systemd/system/fragile.service; systemctl daemon-reload; ! test -e /etc/fragile")
}

// afterKey is what follows a private key.
func afterKey(text string) string {
	_, rest, _ := strings.Cut(text, "KEY-----\n-----BEGIN CERT")
	return "-----BEGIN CERT" + rest
}

// away renews while one of two machines is switched off: the other one gets the certificate, and the first one when it is back.
func away(r *reference) {
	t := r.T
	guest := func(name string) v1alpha1.CertificateDelivery {
		return v1alpha1.CertificateDelivery{
			Name: name, GuestRef: &v1alpha1.LocalReference{Name: name},
			Files: &v1alpha1.CertificateFiles{Chain: "/etc/ssl/away.crt", Key: "/etc/ssl/private/away.key"},
		}
	}
	c := ordered("away", guest("hand"), guest("fresh"))
	r.declare(c)
	r.certified(nil, "away")
	box := func(name, power string) {
		g := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace}}
		r.patch(g, `{"spec":{"power":"`+power+`"}}`)
	}
	box("fresh", "Stopped")
	r.within(patience, "the machine is off", func() error {
		if _, err := site.Exec(test, fresh, "true"); err == nil {
			return errors.New("it runs")
		}
		return nil
	})
	revision := r.certificate("away").Status.Revision
	r.renew("away")
	r.renewed("away", revision+1)
	r.certificateSays("away", v1alpha1.DeliveredCondition, metav1.ConditionFalse, "fresh")
	serial := leaf(t, r.secretOf("away-tls")["tls.crt"]).SerialNumber.Text(16)
	has := func(vmid int) error {
		if got := leaf(t, []byte(inside(t, vmid, "cat", "/etc/ssl/away.crt"))).SerialNumber.Text(16); got != serial {
			return fmt.Errorf("machine %d has %s, want %s", vmid, got, serial)
		}
		return nil
	}
	until(t, "the machine that is there has it", func() error { return has(hand) })
	box("fresh", "Running")
	r.certified(func(*v1alpha1.Certificate) error { return has(fresh) }, "away")
	r.remove(c)
	for _, vmid := range []int{hand, fresh} {
		inside(t, vmid, "sh", "-c", "! ls /etc/ssl/away.crt /etc/ssl/private/away.key 2>/dev/null")
	}
}

// rebuilt destroys the guest of the authority. Phoenix makes it anew, and it issues under the root that all trust.
func rebuilt(r *reference) {
	t := r.T
	root, served := string(r.secretOf("step-ca-root")["tls.crt"]), r.service("step-ca").Status.StepCA
	id := inside(t, stepCA, "cat", "/etc/machine-id")
	clients := visit(gateway, "nginx.phoenix.lan", []byte(root))
	t.Cleanup(func() { clients.leave(t) })
	if err := errors.Join(api.task("POST", "/nodes/phoenix/lxc/103/status/stop", nil), api.task("DELETE", "/nodes/phoenix/lxc/103", nil)); err != nil {
		t.Fatal(err)
	}
	revision := r.certificate("nginx").Status.Revision
	r.within(installTime, "the authority is another machine", func() error {
		got, err := site.Exec(test, stepCA, "cat", "/etc/machine-id")
		if err == nil && strings.TrimSpace(got.Stdout) == id {
			err = errors.New("it is the old one")
		}
		return err
	})
	r.ready("step-ca")
	r.within(patience, "the authority answers", func() error {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(test, "tcp", "10.0.0.10:443")
		if err != nil {
			return err
		}
		return c.Close()
	})
	r.renew("nginx")
	r.renewed("nginx", revision+1)
	r.certified(nil, "nginx")
	verified(r, "nginx.phoenix.lan")
	if seen := clients.leave(t); seen != 2 {
		t.Errorf("nginx served %d certificates, want the old one and then the new one", seen)
	}
	now := r.service("step-ca").Status.StepCA
	if now == nil || served == nil || now.CABundle != served.CABundle || string(r.secretOf("step-ca-root")["tls.crt"]) != root {
		t.Errorf("the root was another one before: %+v, %+v", served, now)
	}
}
