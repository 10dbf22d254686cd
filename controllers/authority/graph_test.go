// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package authority_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/authority"
	"github.com/phoenix-hypervisor/phoenix/controllers/certificate"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/controllers/host"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const samples = "../../config/samples/phoenix"

// waits are the conditions of objects, and of which others each waits to become True.
type waits map[string][]string

func (w waits) add(from, to string) { w[from] = append(w[from], to) }

// circle is a way from a condition back to it; nil when there is none.
func (w waits) circle() []string {
	done := map[string]bool{}
	var follow func(way []string) []string
	follow = func(way []string) []string {
		here := way[len(way)-1]
		if i := slices.Index(way, here); i < len(way)-1 {
			return way[i:]
		}
		if done[here] {
			return nil
		}
		for _, next := range w[here] {
			if found := follow(append(slices.Clone(way), next)); found != nil {
				return found
			}
		}
		done[here] = true
		return nil
	}
	for from := range w {
		if found := follow([]string{from}); found != nil {
			return found
		}
	}
	return nil
}

// site is what the samples declare.
type site struct {
	*testing.T
	waits
	hard, trust int
}

// note adds what an object waits for: each of its conditions for its hard references, and, with trustAuthorities, its Ready
// for the authorities.
func (s *site) note(kind string, obj reconcile.Object, refs []reconcile.Ref, trusts []v1alpha1.TrustAuthority) {
	self := kind + "/" + obj.GetName() + " "
	for _, d := range obj.Common().DependsOn {
		refs = append(refs, reconcile.Hard(d.Kind, d.Name, v1alpha1.ReadyCondition))
	}
	own := map[string][]string{
		"Host": {v1alpha1.ReachableCondition}, "Guest": {v1alpha1.ReachableCondition}, "Certificate": {v1alpha1.IssuedCondition},
		"HostService": {v1alpha1.ServingCondition, v1alpha1.ExportedCondition, v1alpha1.EnforcedCondition},
	}
	for _, condition := range own[kind] {
		s.add(self+v1alpha1.ReadyCondition, self+condition)
		for _, r := range refs {
			if r.Condition != "" {
				s.hard++
				s.add(self+condition, r.Kind+"/"+r.Name+" "+r.Condition)
			}
		}
	}
	for _, r := range authority.Refs(trusts) {
		if r.Condition != "" || r.Keeps {
			s.Errorf("%s waits for %s/%s: trust is a soft reference", self, r.Kind, r.Name)
		}
		s.trust++
		s.add(self+v1alpha1.ReadyCondition, r.Kind+"/"+r.Name+" "+v1alpha1.ServingCondition)
	}
}

func (s *site) read(o *unstructured.Unstructured) {
	into := func(obj any) {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, obj); err != nil {
			s.Fatal(err)
		}
	}
	switch o.GetKind() {
	case "Host":
		var obj v1alpha1.Host
		into(&obj)
		s.note("Host", &obj, (&host.Kind{}).Refs(&obj), obj.Spec.TrustAuthorities)
	case "Guest":
		var obj v1alpha1.Guest
		into(&obj)
		s.note("Guest", &obj, guest.New(guest.Config{}).Refs(&obj), obj.Spec.TrustAuthorities)
	case "HostService":
		var obj v1alpha1.HostService
		into(&obj)
		s.note("HostService", &obj, hostservice.New(hostservice.Config{}).Refs(&obj), nil)
	case "Certificate":
		var obj v1alpha1.Certificate
		into(&obj)
		kind, err := certificate.New(certificate.Config{Metrics: prometheus.NewRegistry()})
		if err != nil {
			s.Fatal(err)
		}
		s.note("Certificate", &obj, kind.Refs(&obj), nil)
	}
}

func readSamples(t *testing.T) *site {
	t.Helper()
	s := &site{T: t, waits: waits{}}
	files, err := filepath.Glob(samples + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
			o := &unstructured.Unstructured{}
			if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			s.read(o)
		}
	}
	return s
}

// TestSiteComesUp: nothing in the reference site waits, over whatever way, for itself: the authority runs in a guest that
// trusts it.
func TestSiteComesUp(t *testing.T) {
	s := readSamples(t)
	if s.hard < 15 || s.trust < 6 {
		t.Fatalf("only %d hard references and %d trusted authorities found", s.hard, s.trust)
	}
	if found := s.circle(); found != nil {
		t.Errorf("the site waits for itself: %s", strings.Join(found, " -> "))
	}
	for reason, line := range map[string][2]string{
		"a guest that is Reachable only when it trusts the authority in it": {"Guest/step-ca Reachable", "HostService/step-ca Serving"},
		"an authority that waits for the Ready of the guest that trusts it": {"HostService/step-ca Serving", "Guest/step-ca Ready"},
		"a Host that is Reachable only when it trusts":                      {"Host/phoenix Reachable", "HostService/step-ca Serving"},
	} {
		broken := readSamples(t)
		broken.add(line[0], line[1])
		if broken.circle() == nil {
			t.Errorf("%s would be a circle, and is not found", reason)
		}
	}
}
