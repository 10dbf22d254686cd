// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// A certificate authority is two things: keys in Secrets (stepca_vault.go), which decide what has to be made, renewed,
// rotated or brought back (stepca_plan.go, stepca_rotate.go), and a machine that holds the least of them that it needs to
// sign (stepca_machine.go). The key of the root never comes to the machine.

// Authority is a running certificate authority, as its HostService needs it.
type Authority interface {
	// Health asks whether it answers, and proves to be the one with the pinned roots.
	Health(ctx context.Context) error
}

const (
	defaultCAPort       = 443
	defaultRootLife     = 87600 * time.Hour
	defaultIssuerLife   = 43800 * time.Hour
	defaultMinDuration  = 5 * time.Minute
	defaultMaxDuration  = 2160 * time.Hour
	defaultLeafDuration = 24 * time.Hour
	// maxCAName is how long the common name of a certificate may be.
	maxCAName = 64
	// maxRoots is how many roots are trusted at the same time at most.
	maxRoots = 8
	// provisionerName is the provisioner by which Certificates are issued.
	provisionerName = "phoenix"
)

// stepCARefs: all work goes through the Guest; the Secrets with the keys, and other services, are followed. Who trusts the
// authority, and what is under it, matters only while a root is replaced: else a site with many Certificates would have it
// looked at all the time. Nothing waits for any of these.
func stepCARefs(s *v1alpha1.HostService) []reconcile.Ref {
	refs := []reconcile.Ref{reconcile.Every("HostService")}
	if s.Spec.GuestRef != nil {
		through := reconcile.Through("Guest", s.Spec.GuestRef.Name, v1alpha1.ReachableCondition)
		through.Vanishes = true
		refs = append(refs, through)
	}
	for _, part := range vaultParts {
		refs = append(refs, reconcile.Soft("Secret", part.of(s.Name)))
	}
	if status := s.Status.StepCA; status != nil && len(status.Roots) > 1 {
		refs = append(refs, reconcile.Every("Guest"), reconcile.Every("Host"), reconcile.Every("Certificate"))
	}
	return refs
}

func caPort(spec *v1alpha1.StepCA) int { return int(cmp.Or(spec.Port, defaultCAPort)) }

// caURL is how the authority is reached: by address, as whoever answers names may need a certificate.
func caURL(spec *v1alpha1.StepCA, address string) string {
	whole := net.JoinHostPort(address, strconv.Itoa(caPort(spec)))
	return "https://" + strings.TrimSuffix(whole, ":"+strconv.Itoa(defaultCAPort))
}

// caNames are the names of the authority's own certificate: of the Guest, its addresses, and those that the spec adds.
func caNames(s *v1alpha1.HostService, g *v1alpha1.Guest) []string {
	var names []string
	for _, name := range slices.Concat([]string{guestName(g)}, ipsOf(ownAddresses(g)), s.Spec.StepCA.DNSNames) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func lifeOr(d *metav1.Duration, unset time.Duration) time.Duration {
	if d == nil {
		return unset
	}
	return d.Duration
}

// caLives are the bounds of the lives of certificates. A bound that is not set never contradicts one that is.
func caLives(spec *v1alpha1.StepCA) (least, most, usual time.Duration) {
	c := cmp.Or(spec.Claims, &v1alpha1.StepCAClaims{})
	most = lifeOr(c.MaxDuration, max(defaultMaxDuration, lifeOr(c.DefaultDuration, 0), lifeOr(c.MinDuration, 0)))
	usual = lifeOr(c.DefaultDuration, min(most, max(defaultLeafDuration, lifeOr(c.MinDuration, 0))))
	return lifeOr(c.MinDuration, min(defaultMinDuration, usual)), most, usual
}

// caName is the common name of a certificate of the authority itself.
func caName(s *v1alpha1.HostService, declared *v1alpha1.AuthorityCertificate, what string) string {
	if declared != nil && declared.CommonName != "" {
		return declared.CommonName
	}
	return s.Name[:min(len(s.Name), maxCAName-len(what)-1)] + " " + what
}

// rootName tells roots that follow one another apart, unless the spec names them.
func rootName(s *v1alpha1.HostService, generation int32) string {
	what := "Root CA"
	if generation > 1 {
		what = fmt.Sprintf("Root CA %d", generation)
	}
	return caName(s, s.Spec.StepCA.Root, what)
}

func rootLife(spec *v1alpha1.StepCA) time.Duration {
	if spec.Root == nil {
		return defaultRootLife
	}
	return lifeOr(spec.Root.Duration, defaultRootLife)
}

func issuerLife(spec *v1alpha1.StepCA) time.Duration {
	if spec.Intermediate == nil {
		return defaultIssuerLife
	}
	return lifeOr(spec.Intermediate.Duration, defaultIssuerLife)
}

// wantedGeneration is the generation of the root that the spec asks for.
func wantedGeneration(spec *v1alpha1.StepCA) int32 { return max(spec.RootGeneration, 1) }

// wholeSecond is the first whole second that is not before a time: what is written as text has no parts of them.
func wholeSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}

// renewalOf is when an intermediate certificate has to be renewed: when two thirds of its life are over.
func renewalOf(chain []*x509.Certificate) time.Time {
	begin, end := lifeOf(chain)
	return wholeSecond(begin.Add(end.Sub(begin) * 2 / 3))
}

// Next is when time alone makes something of an authority due: the renewal of its intermediate certificate, the end of it,
// or the end of the trust in an old root. What is past was seen to already, or waits for something else.
func (k *Kind) Next(s *v1alpha1.HostService) time.Time {
	var next time.Time
	if s.Spec.StepCA == nil || s.Status.StepCA == nil {
		return next
	}
	status, now := s.Status.StepCA, k.Clock.Now()
	due := []*metav1.Time{status.IntermediateRenewalTime, status.IntermediateNotAfter}
	for i := range status.Roots {
		due = append(due, status.Roots[i].TrustedUntil, &status.Roots[i].NotAfter)
	}
	for _, at := range due {
		if at != nil && at.After(now) && (next.IsZero() || at.Time.Before(next)) {
			next = at.Time
		}
	}
	return next
}
