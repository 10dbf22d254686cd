// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// looked is the interval at which a HostService in sync is looked at, before the shortening.
const looked = 5 * time.Minute

// names is the file of the names of service dns.
const names = "/etc/phoenix/dnsmasq/dns/hosts/names"

// service declares a HostService on the node.
func (s *stage) service(name string, change func(*v1alpha1.HostServiceSpec)) {
	s.Helper()
	o := &v1alpha1.HostService{ObjectMeta: s.meta(name)}
	o.Spec.HostRef = &v1alpha1.LocalReference{Name: "site"}
	change(&o.Spec)
	s.create(o)
}

// three declares the services of the reference site.
func (s *stage) three() {
	s.Helper()
	host := &v1alpha1.Host{ObjectMeta: s.meta("site")}
	if err := kube.Patch(s.ctx, host, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"allow":{"exportPaths":["/srv"]}}}`))); err != nil {
		s.Fatal(err)
	}
	s.service("dns", func(o *v1alpha1.HostServiceSpec) {
		o.Dnsmasq = &v1alpha1.Dnsmasq{ListenAddresses: []string{"10.0.0.13"}, Domain: "phoenix.lan", Upstreams: []string{"9.9.9.9"}}
	})
	s.service("exports", func(o *v1alpha1.HostServiceSpec) {
		o.NFS = &v1alpha1.NFS{Address: "10.0.0.13", Exports: []v1alpha1.NFSExport{{Name: "data", Path: "/srv/data", Clients: []v1alpha1.NFSClient{{CIDR: "10.0.0.0/16"}}}}}
	})
	s.service("firewall", func(o *v1alpha1.HostServiceSpec) {
		o.Firewall = &v1alpha1.Firewall{Flows: v1alpha1.FlowsDerive, Datacenter: &v1alpha1.FirewallDatacenter{Enabled: ptr.To(true), Rules: []v1alpha1.FirewallRule{
			{Action: v1alpha1.FirewallAccept, Macro: "SSH"}, {Action: v1alpha1.FirewallAccept, Protocol: "tcp", Ports: "8006"},
		}}}
	})
}

// served waits until n HostServices are Ready and in sync.
func (s *stage) served(n int) {
	s.Helper()
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); s.pause(100 * time.Millisecond) {
		var list v1alpha1.HostServiceList
		if err := kube.List(s.ctx, &list, client.InNamespace(s.namespace)); err != nil {
			s.Fatal(err)
		}
		ready := 0
		for _, o := range list.Items {
			c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ReadyCondition)
			switch {
			case c != nil && c.Status == metav1.ConditionTrue && c.Reason == v1alpha1.InSyncReason:
				ready++
			case c != nil:
				last = o.Name + ": " + c.Reason + ": " + c.Message
			}
		}
		if ready == n {
			return
		}
	}
	s.Fatalf("%d HostServices are not Ready within %s: %s", n, patience, last)
}

// BenchmarkServices watches the services of the reference site in sync.
func BenchmarkServices(b *testing.B) {
	for b.Loop() {
		s := newStage(b, pve.Options{TaskTime: 4 * time.Millisecond}, roomy())
		stop := s.manage(controllers.Options{
			GuestInterval: time.Hour, WatchedInterval: time.Hour, HostInterval: time.Hour, HostServiceInterval: looked / faster,
			Timing: site.Timing{Interval: time.Hour, DigestInterval: time.Hour},
		})
		for i := range 5 {
			s.create(s.container(i))
		}
		s.ready(5)
		s.three()
		s.served(3)
		s.pause(looked / faster * 2) // what followed the last change is over
		node := s.site.Machine("phoenix")
		commands, writes := len(s.site.SSHCommands()), node.Writes()
		_, kubeWrites := s.kube.counts()
		n, _ := passesOf(b, "hostservice")
		s.site.ForgetRequests()
		s.pause(watched)
		trips := len(s.site.SSHCommands()) - commands
		requests := len(s.site.Requests())
		passes, _ := passesOf(b, "hostservice")
		_, kubeAfter := s.kube.counts()
		stop()
		each := float64(trips) / float64(passes-n)
		results.row("Three services in sync", []string{"passes", "round trips a pass", "round trips a minute", "requests to Proxmox", "writes to the node", "writes to Proxmox", "writes to Kubernetes"},
			fmt.Sprint(passes-n), figure(each), figure(float64(trips)/windowOf(faster)), fmt.Sprint(requests),
			fmt.Sprint(node.Writes()-writes), fmt.Sprint(len(s.site.Writes())), fmt.Sprint(kubeAfter-kubeWrites))
		b.ReportMetric(each, "trips/pass")
		b.ReportMetric(float64(trips)/windowOf(faster), "trips/min")
		b.ReportMetric(float64(node.Writes()-writes), "node-writes")
		b.ReportMetric(float64(kubeAfter-kubeWrites), "kube-writes")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkNames changes the address of one Guest among many, until its name is answered with the new one. The floor is
// the same call to Proxmox, and a script over SSH that replaces the same file and asks.
func BenchmarkNames(b *testing.B) {
	const guests, changes = 200, 10
	for b.Loop() {
		storages := pve.DefaultStorages()
		storages[1].Size = 4 << 40
		s := newStage(b, pve.Options{TaskTime: 4 * time.Millisecond, Storages: storages}, roomy())
		stop := s.manage(controllers.Options{})
		for i := range guests {
			s.create(s.container(i))
		}
		s.ready(guests)
		s.service("dns", func(o *v1alpha1.HostServiceSpec) {
			o.Dnsmasq = &v1alpha1.Dnsmasq{ListenAddresses: []string{"10.0.0.13"}, Domain: "phoenix.lan"}
		})
		s.served(1)
		var took, floor []time.Duration
		for i := range changes {
			took = append(took, s.rename(i))
		}
		stop()
		for i := range changes {
			floor = append(floor, s.bare(i))
		}
		slices.Sort(took)
		slices.Sort(floor)
		ours, bare := took[changes/2], floor[changes/2]
		ratio := ours.Seconds() / bare.Seconds()
		results.row("A Guest's new address until its name is answered with it", []string{"Guests", "Phoenix (median of 10)", "bare script", "ratio"},
			fmt.Sprint(guests), ours.Round(time.Millisecond).String(), bare.Round(time.Millisecond).String(), fmt.Sprintf("%.1f", ratio))
		b.ReportMetric(ours.Seconds(), "s")
		b.ReportMetric(bare.Seconds(), "floor-s")
		b.ReportMetric(ratio, "ratio")
		b.ReportMetric(0, "ns/op")
	}
}

// rename changes a Guest's address, and says how long its name takes to follow.
func (s *stage) rename(i int) time.Duration {
	s.Helper()
	g := &v1alpha1.Guest{ObjectMeta: s.meta(fmt.Sprintf("ct%03d", i))}
	address := fmt.Sprintf("10.0.50.%d", 1+i)
	patch := fmt.Sprintf(`{"spec":{"networks":[{"device":"net0","ipv4":{"method":"Static","address":"%s/16"}}]}}`, address)
	began := time.Now()
	if err := kube.Patch(s.ctx, g, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		s.Fatal(err)
	}
	for s.dig(g.Name) != address {
		if time.Since(began) > patience {
			s.Fatalf("%s is not answered with %s within %s", g.Name, address, patience)
		}
		s.pause(time.Millisecond)
	}
	return time.Since(began)
}

// dig asks the node for a Guest's name.
func (s *stage) dig(name string) string {
	var out bytes.Buffer
	s.site.Machine("phoenix").Shell(s.ctx, "dig +short @10.0.0.13 "+name+".phoenix.lan A", strings.NewReader(""), &out, &out)
	return strings.TrimSpace(out.String())
}

// bare does what the change of one name takes, and nothing else.
func (s *stage) bare(i int) time.Duration {
	s.Helper()
	door := s.site.SSH[0]
	conn, err := machine.Dial(machine.SSH{Address: door.Address, Key: secret.Secret(door.ClientKeyPEM), HostKeys: []string{door.HostKey}})
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Run(s.ctx, []string{"true"}, nil); err != nil { // the connection stands, as Phoenix's does
		s.Fatal(err)
	}
	text, err := s.site.Machine("phoenix").ReadFile(names)
	if err != nil {
		s.Fatal(err)
	}
	before, after := fmt.Sprintf("10.0.50.%d ", 1+i), fmt.Sprintf("10.0.60.%d ", 1+i)
	script := "cat > " + names + " <<'END'\n" + strings.ReplaceAll(text, before, after) + "END\nsystemctl reload dnsmasq\n"
	vmid := 0
	for _, g := range s.site.Guests() {
		if g.Options["hostname"] == fmt.Sprintf("ct%03d", i) {
			vmid = g.VMID
		}
	}
	began := time.Now()
	if err := s.site.SetConfig(vmid, "net0", "name=eth0,bridge=vmbr0,type=veth,ip="+strings.TrimSpace(after)+"/16"); err != nil {
		s.Fatal(err)
	}
	if _, err := conn.Run(s.ctx, []string{"sh"}, []byte(script)); err != nil {
		s.Fatal(err)
	}
	for s.dig(fmt.Sprintf("ct%03d", i)) != strings.TrimSpace(after) {
		if time.Since(began) > patience {
			s.Fatal("the bare script changes nothing")
		}
		s.pause(time.Millisecond)
	}
	return time.Since(began)
}
