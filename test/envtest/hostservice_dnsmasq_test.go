// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const (
	dnsDropIn = "/etc/dnsmasq.d/phoenix-dns.conf"
	dnsUnit   = "dnsmasq.service"
)

// addressed is a container with a static address.
func addressed(address string) string {
	return `networks: [{device: net0, ipv4: {method: Static, address: ` + address + `/24}}]`
}

// TestDnsmasq takes dnsmasq from a bare machine to every kind of answer, and away again.
func TestDnsmasq(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly})
	node := s.node()
	before, packages := paths(s, node), node.Packages()
	s.guest("step-ca", container, addressed("10.0.0.10"))
	s.guest("asks", container, `{hostname: inquirer, networks: [{device: net0, ipv4: {method: Static, address: 10.0.0.11/24}}]}`)
	asks, _ := s.readyGuest("asks")
	from := s.inside(asks)
	s.install(from, resolver...)
	s.shell(from, "echo 'address=/db.example.org/10.9.0.1' > /etc/dnsmasq.d/other.conf && systemctl restart dnsmasq")

	o := s.service("dns", dnsmasq, `
deletionPolicy: Delete
dnsmasq:
  zones: [{domain: example.org, servers: [10.0.0.11]}]
  records:
  - {name: nas, addresses: [10.0.0.20, "fd00::20"]}
  - {name: apps, addresses: [10.0.0.21], subdomains: true}
  - {name: www, cname: nas}
  - {name: txt, text: ["one two"]}
  - {name: _ldap._tcp, srv: {target: nas, port: 389, priority: 1, weight: 2}}`)
	s.ready(o)
	s.says(o, "Serving", "True Answering")
	if o.Status.Service != "dnsmasq" || o.Status.Machine != "Host/site" {
		t.Errorf("status %+v", o.Status)
	}
	s.answers(from, map[string]string{
		"step-ca.phoenix.lan A": "10.0.0.10", "inquirer.phoenix.lan A": "10.0.0.11", "asks.phoenix.lan A": "",
		"nas.phoenix.lan A": "10.0.0.20", "nas.phoenix.lan AAAA": "fd00::20", "-x 10.0.0.10": "step-ca.phoenix.lan.", "x.nas.phoenix.lan A": "",
		"apps.phoenix.lan A": "10.0.0.21", "x.apps.phoenix.lan A": "10.0.0.21", "www.phoenix.lan A": "nas.phoenix.lan. 10.0.0.20",
		"txt.phoenix.lan TXT": `"one two"`, "_ldap._tcp.phoenix.lan SRV": "1 2 389 nas.phoenix.lan.",
		"db.example.org A": "10.9.0.1", "nobody.phoenix.lan A": "",
	})
	s.rest([]*machine.Machine{node, from}, o)

	s.remove(o)
	s.gone(o)
	after := node.Packages()
	delete(after, "dnsmasq-base") // what came along is apt's to remove
	if diff := cmp.Diff(packages, after); diff != "" {
		t.Errorf("packages (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(before, paths(s, node)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

// paths are the files of a machine that a service could have left, with their modes.
func paths(s *stage, m *machine.Machine) []string {
	s.Helper()
	found := strings.Fields(s.shell(m, "for d in /etc/dnsmasq.d /etc/exports.d /etc/exports /etc/phoenix /var/lib/phoenix /etc/systemd/system; do if [ -e $d ]; then find $d -type f; fi; done"))
	slices.Sort(found)
	return slices.DeleteFunc(found, func(p string) bool { // what dpkg keeps of a package that was removed
		return strings.HasSuffix(p, "/README") || p == "/etc/exports"
	})
}

// TestNamesFollowGuests has Guests come, move and go: dnsmasq goes on all the time.
func TestNamesFollowGuests(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{}, resolver...)
	s.guest("step-ca", container, addressed("10.0.0.10"))
	ca, _ := s.readyGuest("step-ca")
	o := s.service("dns", dnsmasq, ``)
	s.ready(o)
	node := s.node()
	started := node.Unit(dnsUnit).Invocation
	s.answers(node, map[string]string{"step-ca.phoenix.lan A": "10.0.0.10"})

	s.change(ca, addressed("10.0.0.110"))
	s.answers(node, map[string]string{"step-ca.phoenix.lan A": "10.0.0.110", "-x 10.0.0.10": ""})
	s.guest("app", container, addressed("10.0.0.11"))
	s.answers(node, map[string]string{"app.phoenix.lan A": "10.0.0.11"})
	app, _ := s.readyGuest("app")
	s.change(app, `hostname: other`)
	s.answers(node, map[string]string{"app.phoenix.lan A": "", "other.phoenix.lan A": "10.0.0.11"})
	s.change(app, `deletionPolicy: Delete`)
	s.remove(app)
	s.answers(node, map[string]string{"other.phoenix.lan A": ""})
	s.ready(o)
	if now := node.Unit(dnsUnit).Invocation; now != started {
		t.Error("dnsmasq was restarted for the names of Guests")
	}
	s.gone(app)
	s.readyGuest("step-ca")
	s.ready(o)
	s.onePass(o, node)
}

// TestNamesFollowRoutes has a Route come, change and go: dnsmasq hears of its names, and of nothing else.
func TestNamesFollowRoutes(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{}, resolver...)
	s.guest("nginx", container, addressed("10.0.0.153"))
	s.readyGuest("nginx")
	s.create(`
kind: HostService
metadata: {name: nginx}
spec:
  guestRef: {name: nginx}
  management: Paused
  nginx: {servers: [{name: site, secretRef: {name: site-tls}}]}`, ``)
	dns := s.service("dns", dnsmasq, ``)
	s.ready(dns)
	node := s.node()
	started := node.Unit(dnsUnit).Invocation
	s.create(`
kind: Route
metadata: {name: blog}
spec:
  gatewayRef: {name: nginx}
  routerRef: {name: traefik}
  hosts: [blog.phoenix.lan]
  backends: [{url: "http://10.0.0.9:8080"}]
  dnsRefs: [{name: dns}]`, ``)
	s.answers(node, map[string]string{"blog.phoenix.lan A": "10.0.0.153", "-x 10.0.0.153": "nginx.phoenix.lan."})
	s.ready(dns)

	blog := &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{Name: "blog", Namespace: s.namespace}}
	trips := s.calm()
	s.change(blog, `priority: 7`)
	s.until("the Route is looked at", func() error {
		if s.get(blog); blog.Status.ObservedGeneration != blog.Generation {
			return fmt.Errorf("generation %d of %d", blog.Status.ObservedGeneration, blog.Generation)
		}
		return nil
	})
	if got := s.calm() - trips; got != 0 {
		t.Errorf("a change that is nothing to dnsmasq took %d round trips", got)
	}
	s.change(blog, `hosts: [news.phoenix.lan]`)
	s.answers(node, map[string]string{"blog.phoenix.lan A": "", "news.phoenix.lan A": "10.0.0.153"})
	s.remove(blog)
	s.answers(node, map[string]string{"news.phoenix.lan A": "", "nginx.phoenix.lan A": "10.0.0.153"})
	s.ready(dns)
	if now := node.Unit(dnsUnit).Invocation; now != started {
		t.Error("dnsmasq was restarted for the names of Routes")
	}
}

// TestDuplicateName has a record, a Guest and another Guest want one name.
func TestDuplicateName(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{}, resolver...)
	s.guest("nas", container, addressed("10.0.0.66"))
	s.guest("web", container, addressed("10.0.0.11"))
	s.readyGuest("nas")
	web, _ := s.readyGuest("web")
	o := s.service("dns", dnsmasq, ``)
	s.says(o, "Ready", "False DuplicateName", "records[0] and Guest/nas both declare nas.phoenix.lan")
	s.says(o, "Serving", "True")
	s.answers(s.node(), map[string]string{"nas.phoenix.lan A": "10.0.0.20", "web.phoenix.lan A": "10.0.0.11", "-x 10.0.0.66": ""})
	s.change(o, `dnsmasq: {records: null}`)
	s.ready(o)
	s.answers(s.node(), map[string]string{"nas.phoenix.lan A": "10.0.0.66"})
	s.change(web, `hostname: nas`)
	s.says(o, "Ready", "False DuplicateName", "Guest/nas", "Guest/web")
	s.answers(s.node(), map[string]string{"nas.phoenix.lan A": "10.0.0.66"})
	s.change(web, `hostname: web`) // the Guest's event ends it: nobody touches the service
	s.ready(o)
}

// TestDnsmasqDrift puts back what people do to the machine.
func TestDnsmasqDrift(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly}, resolver...)
	o := s.service("dns", dnsmasq, ``)
	s.ready(o)
	node := s.node()
	dropIn := file(node, dnsDropIn)
	for reason, line := range map[string]string{
		"an edited drop-in": "echo 'address=/#/1.2.3.4' >> " + dnsDropIn + " && systemctl restart dnsmasq",
		"a stopped unit":    "systemctl disable --now dnsmasq",
		"lost names":        "rm -r /etc/phoenix && systemctl restart dnsmasq",
		"a removed package": "apt-get remove -y dnsmasq",
		"an open file":      "chmod 666 " + dnsDropIn,
	} {
		s.shell(node, line)
		s.until(reason+" is put back", func() error {
			info, err := node.Stat(dnsDropIn)
			u := node.Unit(dnsUnit)
			if err != nil || info.Mode().Perm() != 0o644 || file(node, dnsDropIn) != dropIn || u.Active != "active" || u.Enabled != "enabled" {
				return fmt.Errorf("%v, %w, unit %+v, drop-in\n%s", info, err, u, file(node, dnsDropIn))
			}
			return nil
		})
		s.answers(node, map[string]string{"nas.phoenix.lan A": "10.0.0.20", "other.example A": ""})
	}
	s.ready(o)
	s.rest([]*machine.Machine{node}, o)
}

// TestDnsmasqByHand observes and takes over a dnsmasq that was set up by hand; it answers all the time.
func TestDnsmasqByHand(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly}, resolver...)
	const hand, byHand = "/etc/dnsmasq.d/hand.conf", "listen-address=10.0.0.13\naddress=/nas.phoenix.lan/10.9.9.9\naddress=/printer.lan/10.0.0.5\n"
	node := s.node()
	if err := node.WriteFile(hand, byHand, 0o640); err != nil {
		t.Fatal(err)
	}
	s.shell(node, "systemctl restart dnsmasq")
	s.answers(node, map[string]string{"nas.phoenix.lan A": "10.9.9.9"})
	packages, writes := node.Packages(), node.Writes()

	o := s.service("dns", dnsmasq, `{management: Observe, deletionPolicy: Delete}`)
	s.says(o, "Ready", "True Drifted")
	s.says(o, "Drifted", "True Drifted")
	var shown []string
	for _, p := range o.Status.Plan {
		shown = append(shown, p.Field+"|"+p.From+"|"+p.To)
	}
	for _, want := range []string{hand + " line 2|address=/nas.phoenix.lan/10.9.9.9|", "records[nas.phoenix.lan].addresses||10.0.0.20 nas.phoenix.lan nas"} {
		if !slices.Contains(shown, want) {
			t.Errorf("the plan does not show %q: %q", want, shown)
		}
	}
	s.change(o, `management: Enforce`)
	s.says(o, "Ready", "False NotOwned", hand+" line 2", "adoptionPolicy: IfUnowned")
	s.says(o, "Stalled", "True")
	if node.Writes() != writes {
		t.Errorf("%d writes before anybody allowed them", node.Writes()-writes)
	}

	silent := s.watchAnswers(node, "printer.lan A", "10.0.0.5")
	s.change(o, `adoptionPolicy: IfUnowned`)
	s.ready(o)
	s.answers(node, map[string]string{"nas.phoenix.lan A": "10.0.0.20", "printer.lan A": "10.0.0.5"})
	s.rest([]*machine.Machine{node}, o)
	s.remove(o)
	s.gone(o)
	if n := silent(); n > 0 {
		t.Errorf("dnsmasq did not answer %d times", n)
	}
	s.answers(node, map[string]string{"nas.phoenix.lan A": "10.9.9.9"})
	if got := file(node, hand); got != byHand {
		t.Errorf("the file made by hand is not as it was:\n%s", got)
	}
	if diff := cmp.Diff(packages, node.Packages()); diff != "" {
		t.Errorf("packages (-before +after):\n%s", diff)
	}
}

// watchAnswers asks for a name until the returned function is called, which says how often the answer was another one.
func (s *stage) watchAnswers(m *machine.Machine, query, want string) func() int {
	stop, wrong := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				wrong <- n
				return
			default:
				if got := s.dig(m, query); got != want {
					n++
				}
			}
		}
	}()
	return func() int { close(stop); return <-wrong }
}

// TestDnsmasqInGuest runs dnsmasq in a container and in a VM.
func TestDnsmasqInGuest(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{})
	s.guest("box", container, addressed("10.0.0.30"))
	s.guest("machine", vm, `{source: {clone: {vmid: 9000}}, agent: true, cloudInit: {user: debian}, networks: [{device: net0, ipv4: {method: Static, address: 10.0.0.31/24}}]}`)
	asks := s.node()
	s.install(asks, "bind9-dnsutils")
	for guest, address := range map[string]string{"box": "10.0.0.30", "machine": "10.0.0.31"} {
		g, _ := s.readyGuest(guest)
		s.install(s.inside(g), resolver...)
		o := s.service("dns-"+guest, dnsmasq, `{hostRef: null, guestRef: {name: `+guest+`}, dnsmasq: {listenAddresses: [`+address+`]}}`)
		s.ready(o)
		if o.Status.Machine != "Guest/"+guest {
			t.Errorf("status %+v", o.Status)
		}
		if got := s.shell(asks, "dig +short @"+address+" nas.phoenix.lan A"); strings.TrimSpace(got) != "10.0.0.20" {
			t.Errorf("dnsmasq in %s answers %q", guest, got)
		}
		if got := s.shell(asks, "dig +short @"+address+" box.phoenix.lan A"); strings.TrimSpace(got) != "10.0.0.30" {
			t.Errorf("dnsmasq in %s answers %q for a Guest", guest, got)
		}
	}
	if strings.Contains(s.shell(asks, "ls /etc"), "phoenix") {
		t.Error("a service in a Guest wrote to the node")
	}
}

// TestTwoNodes has a node of its own for each service.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{site: pve.Options{Nodes: []string{"one", "two"}}, idle: true})
	s.run(nil)
	second := s.site.Machine("two")
	s.install(second, resolver...)
	address := second.Addresses()[0].String()
	o := s.service("dns", dnsmasq, `dnsmasq: {listenAddresses: [`+address+`]}`)
	s.says(o, "Ready", "False NodeMissing", "one, two", "spec.node")
	s.remove(o)
	s.gone(o)
	o = s.service("dns", dnsmasq, `{node: two, dnsmasq: {listenAddresses: [`+address+`]}}`)
	s.ready(o)
	if o.Status.Machine != "Host/site/two" {
		t.Errorf("status %+v", o.Status)
	}
	if file(second, dnsDropIn) == "" || file(s.site.Machine("one"), dnsDropIn) != "" {
		t.Error("dnsmasq is not on the node that was asked for, or not there alone")
	}
}
