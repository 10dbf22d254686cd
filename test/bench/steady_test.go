// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const (
	// faster is by how much the intervals of a manager are shortened, so that half an hour passes in seconds.
	faster = 90
	// hostFaster is the same for the Host's own passes: it remembers the site's answers for 10 s, so that passes that come
	// sooner would cost less than they do.
	hostFaster = 6
	// drift is the interval at which a Guest in sync is looked at, digested the one where digests tell of its changes, and
	// minute the one of the Host, all before the shortening.
	drift, digested, minute = 15 * time.Minute, 6 * time.Hour, time.Minute
	// watched is how long a steady state is watched: two drift intervals, and the tenth that jitter adds to each on average.
	watched = drift / faster * 22 / 10
)

// roomy are limits that hold nothing up.
func roomy() *v1alpha1.HostLimits {
	return &v1alpha1.HostLimits{
		RequestsPerSecond: ptr.To[int32](1000), Tasks: ptr.To[int32](64), TasksPerStorage: ptr.To[int32](64), ClonesPerTemplate: ptr.To[int32](64),
	}
}

// BenchmarkSteadyState watches sites in sync: half containers, half VMs with a guest agent.
func BenchmarkSteadyState(b *testing.B) {
	for _, ssh := range []bool{false, true} {
		for _, n := range []int{10, 100} {
			b.Run(fmt.Sprintf("guests=%d/ssh=%t", n, ssh), func(b *testing.B) {
				for b.Loop() {
					steady(b, n, ssh)
				}
			})
		}
	}
}

// steady brings n Guests up, and then only watches.
func steady(b *testing.B, n int, ssh bool) {
	s := newStage(b, pve.Options{NoSSH: !ssh, TaskTime: 4 * time.Millisecond}, roomy())
	stop := s.manage(controllers.Options{
		GuestInterval: drift / faster, WatchedInterval: digested / faster, HostInterval: minute / hostFaster,
		Timing: site.Timing{Interval: 10 * time.Second / faster, DigestInterval: minute / faster},
	})
	defer stop()
	for i := range n / 2 {
		s.create(s.container(i))
		s.create(s.machine(n/2 + i))
	}
	s.ready(n)
	s.pause(drift / faster * 13 / 10) // what followed the last change is over, and every Guest has been looked at since the first digests
	commands := len(s.site.SSHCommands())
	reads, writes := s.kube.counts()
	s.site.ForgetRequests()
	s.pause(watched)
	c := sort(s.site.Requests(), s.site.SSHCommands()[commands:])
	readsAfter, writesAfter := s.kube.counts()

	results.row("A minute of a site in sync", []string{"guests", "SSH", "requests to Proxmox", "= lists", "+ Host", "+ Guests", "SSH commands",
		"writes to Proxmox (in all)", "writes to Kubernetes (in all)"},
		fmt.Sprint(n), yesNo(ssh), figure(c.all()), figure(c.lists), figure(c.host), figure(c.guests), figure(c.commands),
		fmt.Sprint(len(s.site.Writes())), fmt.Sprint(writesAfter-writes))
	b.ReportMetric(c.all(), "requests/min")
	b.ReportMetric(c.all()*drift.Minutes(), "requests/interval")
	b.ReportMetric(c.guests, "guest-requests/min")
	b.ReportMetric(float64(readsAfter-reads)/windowOf(hostFaster), "kube-reads/min")
	b.ReportMetric(float64(len(s.site.Writes())), "pve-writes")
	b.ReportMetric(float64(writesAfter-writes), "kube-writes")
	b.ReportMetric(0, "ns/op")
}

// windowOf is how many minutes the watching stands for, of something that was shortened by a factor.
func windowOf(factor float64) float64 {
	return watched.Minutes() * factor
}

// rates are what comes to the site in a minute.
type rates struct{ lists, host, guests, commands float64 }

func (r rates) all() float64 { return r.lists + r.host + r.guests }

var ofGuest = regexp.MustCompile("^/nodes/[^/]+/(lxc|qemu)/[0-9]+/")

// sort tells requests apart by who makes them, and each by how much its interval was shortened.
func sort(requests []pve.Request, commands []pve.SSHCommand) rates {
	var r rates
	for _, q := range requests {
		switch {
		case q.Path == "/cluster/resources":
			r.lists += 1 / windowOf(faster)
		case ofGuest.MatchString(q.Path):
			r.guests += 1 / windowOf(faster)
		case q.Path != "/cluster/status":
			r.host += 1 / windowOf(hostFaster)
		}
		if q.Path == "/version" { // the Host asks for the quorum as often
			r.host += 1 / windowOf(hostFaster)
		}
	}
	r.lists++ // the question for the quorum that goes with the lists comes once in a real minute: it cannot be shortened
	for _, c := range commands {
		factor := float64(hostFaster)
		if strings.Contains(c.Command, "sha1sum") {
			factor = faster
		}
		r.commands += 1 / windowOf(factor)
	}
	return r
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
