// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// passTime is how long passes are counted.
const passTime = 5 * time.Second

// BenchmarkNoopPass looks again and again at one object in sync.
func BenchmarkNoopPass(b *testing.B) {
	const often, hour = 20 * time.Millisecond, time.Hour
	for _, c := range []struct {
		name, controller string
		guest            func(*stage) *v1alpha1.Guest
		options          controllers.Options
	}{
		{"container", "guest", func(s *stage) *v1alpha1.Guest { return s.container(0) }, controllers.Options{GuestInterval: often, HostInterval: hour}},
		{"vm", "guest", func(s *stage) *v1alpha1.Guest { return s.machine(0) }, controllers.Options{GuestInterval: often, HostInterval: hour}},
		{"host, from memory", "host", func(s *stage) *v1alpha1.Guest { return s.container(0) }, controllers.Options{GuestInterval: hour, HostInterval: often}}, // it remembers answers for 10 s
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				s := newStage(b, pve.Options{TaskTime: 4 * time.Millisecond}, roomy())
				c.options.Timing = site.Timing{Interval: hour, DigestInterval: hour}
				stop := s.manage(c.options)
				s.create(c.guest(s))
				s.ready(1)
				s.pause(time.Second) // what followed the last change is over
				s.passes(c.name, c.controller)
				stop()
			}
		})
	}
}

// passes measures what the passes of some seconds cost each.
func (s *stage) passes(what, controller string) {
	n, took := passesOf(s.B, controller)
	reads, writes := s.kube.counts()
	s.site.ForgetRequests()
	s.pause(passTime)
	requests := len(s.site.Requests())
	readsAfter, writesAfter := s.kube.counts()
	nAfter, tookAfter := passesOf(s.B, controller)
	passes := float64(nAfter - n)
	if passes == 0 {
		s.Fatal("there was no pass")
	}
	each, ms := float64(requests)/passes, (tookAfter-took)*1000/passes
	results.row("A pass that changes nothing", []string{"of a", "requests to Proxmox", "writes to Proxmox", "reads of Kubernetes", "writes to Kubernetes", "ms", "passes"},
		what, figure(each), fmt.Sprint(len(s.site.Writes())), figure(float64(readsAfter-reads)/passes), fmt.Sprint(writesAfter-writes), figure(ms), fmt.Sprint(nAfter-n))
	s.ReportMetric(each, "requests/pass")
	s.ReportMetric(ms, "ms/pass")
	s.ReportMetric(float64(len(s.site.Writes())), "pve-writes")
	s.ReportMetric(float64(writesAfter-writes), "kube-writes")
	s.ReportMetric(0, "ns/op")
}

// passesOf is how many passes a controller has made in this process, and how many seconds they took in all.
func passesOf(b *testing.B, controller string) (n uint64, seconds float64) {
	b.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "controller_runtime_reconcile_time_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "controller" && l.GetValue() == controller {
					n, seconds = n+m.GetHistogram().GetSampleCount(), seconds+m.GetHistogram().GetSampleSum()
				}
			}
		}
	}
	return n, seconds
}
