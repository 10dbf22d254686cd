// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// TestSoakCertificates renews a certificate with a life of a minute ten times, each when two thirds of it are over, and then
// replaces the root of the authority. All the time connections are made by a client that trusts what the site tells it to.
func TestSoakCertificates(t *testing.T) {
	r := openSite(t, samples)
	r.allReady()
	r.patch(serviceKey("step-ca"), `{"spec":{"stepCA":{"claims":{"minDuration":"10s","defaultDuration":"1m","maxDuration":"2m"}}}}`)
	r.ready("step-ca")
	minute := ordered("minute", v1alpha1.CertificateDelivery{
		Name: "entry", GuestRef: &v1alpha1.LocalReference{Name: "nginx"}, Probe: &v1alpha1.CertificateProbe{},
	})
	minute.Spec.Duration = &metav1.Duration{Duration: time.Minute}
	r.declare(minute)
	r.patch(serviceKey("nginx"), `{"spec":{"nginx":{"servers":[{"name":"nginx","certificateRef":{"name":"nginx"}},{"name":"site","certificateRef":{"name":"site"}},{"name":"minute","certificateRef":{"name":"minute"}}]}}}`)
	clients := r.visitWhenServed("minute.phoenix.lan")
	first := r.certificate("minute").Status.Revision
	began := time.Now()
	t.Cleanup(func() { clients.leave(t) })
	r.within(10*time.Minute, "ten renewals", func() error {
		if n := r.certificate("minute").Status.Revision - first; n < 10 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	t.Logf("renewed ten times within %s", time.Since(began))
	r.part("rotated", func(r *reference) { rotated(r, clients) })
	if seen := clients.leave(t); seen < 11 {
		t.Errorf("nginx served %d certificates, want each of 11 and more", seen)
	}
	r.removeAll()
}

// rotated replaces the root: both are trusted before anything is issued under the new one, and the old one goes when nothing
// of it is left.
func rotated(r *reference, clients *visitors) {
	t := r.T
	old := r.service("step-ca").Status.StepCA.Roots[0].Fingerprint
	r.patch(serviceKey("step-ca"), `{"spec":{"stepCA":{"rootGeneration":2}}}`)
	phase := func(what string, check func(*v1alpha1.StepCAStatus) error) {
		began := time.Now()
		r.within(6*time.Minute, what, func() error {
			clients.trust(r.trusted())
			s := r.service("step-ca")
			if err := check(s.Status.StepCA); err != nil {
				_, said := condition(s, v1alpha1.ReadyCondition)
				return fmt.Errorf("%w: %s", err, said)
			}
			return nil
		})
		t.Logf("%s after %s", what, time.Since(began))
	}
	phase("certificates are issued under the new root", func(s *v1alpha1.StepCAStatus) error {
		if len(s.Roots) != 2 || s.IssuerFingerprint == old {
			return fmt.Errorf("roots %+v, issuer %s", s.Roots, s.IssuerFingerprint)
		}
		return nil
	})
	issuer := r.service("step-ca").Status.StepCA.IssuerFingerprint
	phase("every certificate is of the new root", func(*v1alpha1.StepCAStatus) error {
		for name := range certificates {
			if got := r.certificate(name).Status.RootFingerprint; got != issuer {
				return fmt.Errorf("%s is of %s", name, got)
			}
		}
		return nil
	})
	verified(r, "nginx.phoenix.lan")
	phase("the old root is trusted no more", func(s *v1alpha1.StepCAStatus) error {
		if len(s.Roots) != 1 || s.Roots[0].Fingerprint != issuer {
			return fmt.Errorf("roots %+v", s.Roots)
		}
		return nil
	})
	for vmid := range addresses {
		until(t, fmt.Sprintf("machine %d has the new root alone", vmid), func() error {
			got, err := site.Exec(test, vmid, "sh", "-c", "ls /usr/local/share/ca-certificates")
			if want := "phoenix-" + issuer[:8] + ".crt"; err == nil && strings.TrimSpace(got.Stdout) != want {
				err = errors.New(got.Stdout)
			}
			return err
		})
	}
	r.certified(nil, "nginx", "site", "traefik", "portainer", "drphoenix", "minute")
	verified(r, "nginx.phoenix.lan")
}
