// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/internal/pin"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// scene is one way to make many containers.
type scene struct {
	name   string
	guests int
	// task is how long a clone would take; a creation takes three quarters of it, a start half.
	task   time.Duration
	limits *v1alpha1.HostLimits // of the Host
	bare   proxmox.Limits       // the same for the driver
}

const (
	noTime   = 4 * time.Millisecond
	realTime = 4 * time.Second // as on a real site
)

// BenchmarkConverge makes many containers in one apply, and compares the time with the least that the same limits allow:
// the same creations and starts, issued by the driver alone.
func BenchmarkConverge(b *testing.B) {
	for _, c := range []scene{
		{"100/tasks=none/limits=default", 100, noTime, nil, proxmox.Limits{}},
		{"100/tasks=none/limits=roomy", 100, noTime, roomy(), proxmox.Limits{RequestsPerSecond: 1000, Burst: 2000, Tasks: 64, PerStorage: 64}},
		{"20/tasks=real/limits=default", 20, realTime, nil, proxmox.Limits{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				converge(b, c)
			}
		})
	}
}

func converge(b *testing.B, c scene) {
	n, opts := c.guests, pve.Options{TaskTime: c.task}
	s := newStage(b, opts, c.limits)
	stop := s.manage(controllers.Options{})
	before, _ := passesOf(b, "guest")
	began := time.Now()
	for i := range n {
		s.create(s.container(i))
	}
	s.ready(n)
	took := time.Since(began)
	after, _ := passesOf(b, "guest")
	requests, writes := len(s.site.Requests()), s.site.Writes()
	stop()

	floor, asked := s.alone(opts, c.bare, writes)
	ratio := took.Seconds() / floor.Seconds()
	results.row("Containers made in one apply", []string{"", "Phoenix", "driver alone", "ratio", "requests", "of the driver alone", "writes", "passes"},
		c.name, figure(took.Seconds())+" s", figure(floor.Seconds())+" s", fmt.Sprintf("%.2f", ratio),
		fmt.Sprint(requests), fmt.Sprint(asked), fmt.Sprint(len(writes)), fmt.Sprint(after-before))
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(floor.Seconds(), "floor-s")
	b.ReportMetric(ratio, "ratio")
	b.ReportMetric(float64(requests)/float64(n), "requests/guest")
	b.ReportMetric(0, "ns/op")
}

// alone issues the creations among the writes, each followed by its start, on a site of its own, and says how long that
// takes and how many requests.
func (s *stage) alone(opts pve.Options, limits proxmox.Limits, writes []pve.Request) (took time.Duration, requests int) {
	s.Helper()
	server, err := pve.Start(s.ctx, opts)
	if err != nil {
		s.Fatal(err)
	}
	defer server.Close()
	followed, err := proxmox.NewSite(proxmox.SiteOptions{Endpoint: proxmox.Endpoint{
		URL: server.URL, TokenID: server.TokenID, TokenSecret: secret.Secret(server.TokenSecret),
		TLS: pin.Config{Fingerprint: server.Fingerprint}, Limits: limits,
	}})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { followed.Run(ctx) })
	defer running.Wait()
	defer cancel()
	began := time.Now()
	if err := drive(ctx, followed, creations(s.B, writes)); err != nil {
		s.Fatal(err)
	}
	return time.Since(began), len(server.Requests())
}

// creations are the accepted calls that made a container.
func creations(b *testing.B, writes []pve.Request) []call {
	b.Helper()
	var calls []call
	for _, w := range writes {
		if w.Path != "/nodes/phoenix/lxc" || w.Status != 200 {
			continue
		}
		vmid, err := strconv.Atoi(w.Params["vmid"])
		if err != nil {
			b.Fatal(err)
		}
		params := maps.Clone(w.Params)
		delete(params, "vmid")
		calls = append(calls, call{vmid: vmid, params: params})
	}
	return calls
}

// call is the making of a container, or its start.
type call struct {
	vmid   int
	params map[string]string
	start  bool
}

// drive makes all calls as early as the site's limits allow.
func drive(ctx context.Context, site *proxmox.Site, calls []call) error {
	ended := make(chan call, len(calls))
	for left := len(calls); left > 0; {
		var waiting []call
		for _, c := range calls {
			begun, err := c.begin(ctx, site, func() { ended <- c })
			if err != nil {
				return err
			}
			if !begun {
				waiting = append(waiting, c)
			}
		}
		calls = waiting
		select {
		case c := <-ended:
			if c.start {
				left--
				break
			}
			calls = append([]call{{vmid: c.vmid, start: true}}, calls...)
		case <-ctx.Done():
			return fmt.Errorf("drive the site: %w", context.Cause(ctx))
		}
	}
	return nil
}

// begin makes the call if there is room for it.
func (c call) begin(ctx context.Context, site *proxmox.Site, ended func()) (bool, error) {
	storage := "local-lvm"
	if c.start {
		storage = ""
	}
	release, ok := site.Acquire(storage, 0)
	if !ok {
		return false, nil
	}
	var upid proxmox.UPID
	var err error
	if c.start {
		upid, err = site.Client().Start(ctx, proxmox.Ref{Type: proxmox.LXC, Node: "phoenix", VMID: c.vmid})
	} else {
		upid, err = site.Client().Create(ctx, "phoenix", proxmox.LXC, c.vmid, c.params)
	}
	if err != nil {
		release()
		return false, err
	}
	site.Watch(upid, c.vmid, release, ended)
	return true, nil
}
