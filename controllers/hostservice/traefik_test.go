// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

func testRouter(change func(*v1alpha1.Traefik)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: about1("traefik")}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: "traefik"}
	s.Spec.Traefik = &v1alpha1.Traefik{
		Artifact:    v1alpha1.Artifact{URL: "https://mirror.phoenix.lan/traefik.tar.gz", SHA256: strings.Repeat("0a", 32), Member: "traefik"},
		GatewayRefs: []v1alpha1.LocalReference{{Name: "gate"}},
	}
	if change != nil {
		change(s.Spec.Traefik)
	}
	return s
}

func routerTarget(addresses ...string) target {
	return target{host: testHost("phoenix"), guest: testGuest("traefik", addresses...)}
}

// routerSite are the Guests and services around a router.
func routerSite() ([]v1alpha1.Guest, []v1alpha1.HostService) {
	second := testGate()
	second.Name, second.Spec.GuestRef.Name = "gate2", "nginx2"
	return []v1alpha1.Guest{*testGuest("nginx", "10.0.0.153", "172.17.0.1"), *testGuest("nginx2")},
		[]v1alpha1.HostService{*testGate(), *second, *testDNS(nil)}
}

// wholeText shows a State with what stands in its files.
func wholeText(s machine.State) string {
	text := stateText(s, caKeys{})
	for _, f := range s.Files {
		text += "\n--- " + f.Path + "\n" + string(f.Content)
	}
	return text
}

func TestRouterState(t *testing.T) {
	guests, services := routerSite()
	for name, c := range map[string]struct {
		reason string
		change func(*v1alpha1.Traefik)
		at     []string
	}{
		"plain": {"the defaults", nil, []string{"10.0.0.12"}},
		"full": {"everything that can be said", func(s *v1alpha1.Traefik) {
			yes := true
			s.WebPort, s.WebSecurePort, s.APIPort, s.MetricsPort, s.AccessLog, s.LogLevel = 8000, 8443, 9000, 9100, &yes, "DEBUG"
		}, []string{"fd00::12"}},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := designTraefik(testRouter(c.change), routerTarget(c.at...), guests, services, nil)
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			golden(t, "../traefik/"+name+".txt", wholeText(d.want))
			if len(d.left) > 0 || d.complete != nil {
				t.Errorf("left out are %v, to complete %t", d.left, d.complete != nil)
			}
			for _, f := range d.want.Files {
				restarts := slices.ContainsFunc(f.Triggers, func(t machine.Trigger) bool { return t.Unit == traefikUnit && t.Action == machine.Restart })
				if restarts == (f.Path == traefikHold) || f.Replaces {
					t.Errorf("%s: triggers %v, replaces %t; want a restart, and nothing of anybody else's", f.Path, f.Triggers, f.Replaces)
				}
			}
			again, err := designTraefik(testRouter(c.change), routerTarget(c.at...), guests, services, nil)
			if diff := cmp.Diff(d.want, again.want); err != nil || diff != "" {
				t.Errorf("another design of the same (%v):\n%s", err, diff)
			}
		})
	}
}

func TestRouterDesignRefuses(t *testing.T) {
	guests, services := routerSite()
	older := testRouter(nil)
	older.Name = "first"
	nginx, ca := testGate(), testCA(nil)
	for name, c := range map[string]struct {
		reason string
		change func(*v1alpha1.Traefik)
		older  []v1alpha1.HostService
		at     []string
		want   string
	}{
		"second":     {"one of a machine", nil, []v1alpha1.HostService{*older}, []string{"10.0.0.12"}, "AlreadyServed run Traefik on Guest/traefik: HostService/first does so already, and is older: delete one of them"},
		"port":       {"nginx has it", nil, []v1alpha1.HostService{*nginx}, []string{"10.0.0.12"}, "AlreadyServed run Traefik on Guest/traefik: HostService/gate has port 80 there already, and is older: set another port"},
		"metrics":    {"an authority has it", func(s *v1alpha1.Traefik) { s.WebSecurePort, s.MetricsPort = 8443, 443 }, []v1alpha1.HostService{*ca}, []string{"10.0.0.12"}, "AlreadyServed run Traefik on Guest/traefik: HostService/" + ca.Name + " has port 443 there already, and is older: set another port"},
		"beside":     {"other ports are nobody's", func(s *v1alpha1.Traefik) { s.WebPort, s.WebSecurePort = 8000, 8443 }, []v1alpha1.HostService{*nginx, *ca}, []string{"10.0.0.12"}, ""},
		"no address": {"gateways would not find it", nil, nil, nil, "NoAddress waiting for Guest/traefik: it has no address yet"},
		"twice":      {"one port for two", func(s *v1alpha1.Traefik) { s.WebSecurePort = 80 }, nil, []string{"10.0.0.12"}, `Invalid webSecurePort "80" must be another port than webPort`},
		"wrong": {"no gateway", func(s *v1alpha1.Traefik) { s.GatewayRefs = []v1alpha1.LocalReference{{Name: "gate"}, {Name: "dns"}} }, nil, []string{"10.0.0.12"},
			"Invalid gatewayRefs[1]: HostService/dns is no nginx: name one that is"},
	} {
		_, err := designTraefik(testRouter(c.change), routerTarget(c.at...), guests, services, c.older)
		if got := outcome(err); got != c.want {
			t.Errorf("%s (%s): %q, want %q", name, c.reason, got, c.want)
		}
	}
}

// trusted are the lines of a design's configuration that say who is believed.
func trustedBy(d *design) string {
	var lines []string
	for line := range strings.Lines(fileOf(d.want, traefikConf)) {
		if item, ok := strings.CutSuffix(strings.TrimSpace(line), " # gatewayRefs"); ok {
			lines = append(lines, strings.Trim(item, `- "`))
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), " ")
}

// TestRouterBelievesItsGateways: a gateway that has no address now is believed at the one that the machine knows, so that
// Traefik is not restarted for a Guest that is.
func TestRouterBelievesItsGateways(t *testing.T) {
	guests, services := routerSite()
	refs := func(names ...string) func(*v1alpha1.Traefik) {
		return func(s *v1alpha1.Traefik) {
			s.GatewayRefs = nil
			for _, n := range names {
				s.GatewayRefs = append(s.GatewayRefs, v1alpha1.LocalReference{Name: n})
			}
		}
	}
	file := func(addresses ...string) string {
		text := "entryPoints:\n"
		for _, a := range addresses {
			text += "        - \"" + a + "\" # gatewayRefs\n"
		}
		return text
	}
	for name, c := range map[string]struct {
		reason          string
		change          func(*v1alpha1.Traefik)
		there           string
		want, left, not string
	}{
		"known":      {"the first address of its Guest, not that of a bridge", refs("gate"), file("10.0.0.1"), "10.0.0.153", "", ""},
		"unknown":    {"nobody is believed until it has one", refs("gate2"), "", "", "", "HostService/gate2, whose Guest has no address yet"},
		"kept":       {"what is there stays", refs("gate2"), file("10.0.0.154"), "10.0.0.154", "", "HostService/gate2, whose Guest has no address yet"},
		"kept, both": {"beside what is known", refs("gate", "gate2"), file("10.0.0.154", "10.0.0.153"), "10.0.0.153 10.0.0.154", "", "HostService/gate2, whose Guest has no address yet"},
		"hand":       {"what is no address was not ours", refs("gate2"), file("0.0.0.0/0\\n", "x"), "", "", "HostService/gate2, whose Guest has no address yet"},
		"missing":    {"it is said, and the others go on", refs("gate", "nowhere"), file("10.0.0.1"), "10.0.0.153", "gatewayRefs[1]: HostService/nowhere is not there: declare it, or take it out", ""},
	} {
		d, err := designTraefik(testRouter(c.change), routerTarget("10.0.0.12"), guests, services, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d.complete != nil {
			whole, err := d.complete(map[string][]byte{traefikConf: []byte(c.there)})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if whole != nil {
				d = *whole
			}
		}
		var left []string
		for _, l := range d.left {
			left = append(left, l.text)
		}
		if got := trustedBy(&d); got != c.want || strings.Join(left, ";") != c.left || strings.Join(d.notes, ";") != c.not {
			t.Errorf("%s (%s): believed is %q, left out %q, noted %q; want %q, %q, %q", name, c.reason, got, left, d.notes, c.want, c.left, c.not)
		}
	}
}

func TestRouterIsReachedWhereItIsDeclaredToBe(t *testing.T) {
	g := testGuest("traefik", "10.0.0.77")
	if got := trafficAddress(g); got != "10.0.0.77" {
		t.Errorf("it is reached at %q", got)
	}
	g.Spec.Networks = []v1alpha1.Network{{IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.12/24"}}}
	if got := trafficAddress(g); got != "10.0.0.12" {
		t.Errorf("it is reached at %q, want where it is declared to be", got)
	}
}

func TestRouterServes(t *testing.T) {
	s := testRouter(nil)
	guests, services := routerSite()
	d, err := designTraefik(s, routerTarget("10.0.0.12"), guests, services, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := `{"Version":"3.6.12","Codename":"ramequin","startDate":"2026-06-01T12:00:00Z"}` + "\n"
	for name, c := range map[string]struct {
		reason         string
		notes          []string
		api, web       machine.ProbeResult
		want, v, where string
	}{
		"answers": {"version and address are told", nil, machine.ProbeResult{OK: true, Output: answer}, machine.ProbeResult{OK: true, Output: "404"},
			"True Answering: Traefik 3.6.12 answers at http://10.0.0.12:80", "3.6.12", "http://10.0.0.12:80"},
		"waits for a gateway": {"it serves the others", []string{"HostService/x, whose Guest has no address yet"}, machine.ProbeResult{OK: true, Output: answer}, machine.ProbeResult{OK: true, Output: "404"},
			"True Answering: Traefik 3.6.12 answers at http://10.0.0.12:80; nothing comes yet from HostService/x, whose Guest has no address yet", "3.6.12", "http://10.0.0.12:80"},
		"silent":         {"the API says nothing", nil, machine.ProbeResult{Name: "traefik", ExitCode: 7}, machine.ProbeResult{OK: true}, "False ProbeFailed: traefik does not answer as it should: no answer", "", ""},
		"no entry point": {"gateways would be turned away", nil, machine.ProbeResult{OK: true, Output: answer}, machine.ProbeResult{Name: "entry point web on 10.0.0.12:80", Output: "000"}, "False ProbeFailed: entry point web on 10.0.0.12:80 does not answer as it should: 000", "", ""},
	} {
		s.Status.Traefik = nil
		m := &machineSeen{target: routerTarget("10.0.0.12"), design: d, seen: machine.Seen{Probes: []machine.ProbeResult{c.api, c.web}}}
		m.design.notes = c.notes
		got := m.router(s)
		status := v1alpha1.TraefikStatus{}
		if s.Status.Traefik != nil {
			status = *s.Status.Traefik
		}
		if text := fmt.Sprintf("%s %s: %s", got.Status, got.Reason, got.Message); text != c.want || status.Version != c.v || status.URL != c.where {
			t.Errorf("%s (%s): %q with %+v, want %q", name, c.reason, text, status, c.want)
		}
		if got.Type != v1alpha1.ServingCondition || got.Status == metav1.ConditionUnknown {
			t.Errorf("%s: it is a condition %s", name, got.Type)
		}
	}
	if got := versionIn("404 page not found"); got != "" {
		t.Errorf("what is no answer has version %q", got)
	}
}

func TestRouterRefs(t *testing.T) {
	got := New(Config{}).Refs(testRouter(nil))
	through := reconcile.Through("Guest", "traefik", v1alpha1.ReachableCondition)
	through.Vanishes = true
	want := []reconcile.Ref{through, reconcile.Every("Guest"), reconcile.Every("HostService"), reconcile.Soft("HostService", "gate")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
}

// routedSite is a site with a gateway, a router, a Portainer and a stack, and Routes to all of them.
func routedSite() declared {
	portainer, agent := testPortainer(nil), testAgent(nil)
	d := declared{host: testHost("phoenix"), services: []v1alpha1.HostService{*agent, *testDNS(nil), *testGate(), *portainer, *testRouter(nil)}}
	for _, name := range []string{"drphoenix", "nginx", "portainer", "traefik"} {
		d.guests = append(d.guests, *testGuest(name, "10.0.0.1"))
	}
	stack := v1alpha1.DockerStack{ObjectMeta: about1("blog")}
	stack.Spec.Environment.AgentRef = &v1alpha1.LocalReference{Name: agent.Name}
	stack.Status.Services = []v1alpha1.StackService{
		{Name: "web", Ports: []v1alpha1.StackPort{{Target: 80, Published: 8081, Protocol: "tcp"}, {Target: 81, Published: 8082, Protocol: "tcp"}, {Target: 80, Published: 8083, Protocol: "udp"}}},
		{Name: "db", Ports: []v1alpha1.StackPort{{Target: 5432, Published: 5432, Protocol: "tcp"}}},
	}
	d.stacks = []v1alpha1.DockerStack{stack}
	route := func(name string, backends ...v1alpha1.RouteBackend) {
		r := v1alpha1.Route{ObjectMeta: about1(name)}
		r.Spec.RouterRef.Name, r.Spec.GatewayRef.Name, r.Spec.Backends = "traefik", "gate", backends
		d.routes = append(d.routes, r)
	}
	route("blog", v1alpha1.RouteBackend{Stack: &v1alpha1.RouteStackBackend{Name: "blog", Service: "web", Port: 80}})
	route("again", v1alpha1.RouteBackend{Stack: &v1alpha1.RouteStackBackend{Name: "blog", Service: "web", Port: 80}})
	route("docker", v1alpha1.RouteBackend{HostService: &v1alpha1.RouteServiceBackend{Name: portainer.Name}})
	route("mixed", v1alpha1.RouteBackend{Guest: &v1alpha1.RouteGuestBackend{Name: "portainer", Port: 3000}}, v1alpha1.RouteBackend{URL: "http://10.0.0.9:80"},
		v1alpha1.RouteBackend{Guest: &v1alpha1.RouteGuestBackend{Name: "nowhere", Port: 1}}, v1alpha1.RouteBackend{HostService: &v1alpha1.RouteServiceBackend{Name: "dns", Port: 8053}},
		v1alpha1.RouteBackend{HostService: &v1alpha1.RouteServiceBackend{Name: "gone", Port: 1}}, v1alpha1.RouteBackend{HostService: &v1alpha1.RouteServiceBackend{Name: "dns"}},
		v1alpha1.RouteBackend{Stack: &v1alpha1.RouteStackBackend{Name: "nowhere", Service: "web"}})
	return d
}

// routing are the flows from and to a router, in words.
func routing(d declared) []string {
	var got []string
	for _, f := range flowsOf(d) {
		if strings.HasSuffix(f.Why, " of HostService/traefik") {
			got = append(got, fmt.Sprintf("%s%s -> %s%s %s %d: %s", f.From.Guest, f.From.CIDR, f.To.Node, f.To.Guest, f.Protocol, f.Port, f.Why))
		}
	}
	return got
}

func TestRouterFlows(t *testing.T) {
	d := routedSite()
	want := []string{
		"traefik -> phoenix tcp 8053: backends of HostService/traefik",
		"traefik -> drphoenix tcp 8081: backends of HostService/traefik",
		"traefik -> portainer tcp 3000: backends of HostService/traefik",
		"traefik -> portainer tcp 9443: backends of HostService/traefik",
		"nginx -> traefik tcp 443: connections of HostService/traefik",
		"nginx -> traefik tcp 80: requests of HostService/traefik",
	}
	if diff := cmp.Diff(want, routing(d)); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
	d.routes = nil
	if diff := cmp.Diff(want[4:], routing(d)); diff != "" {
		t.Errorf("flows without a Route (-want +got):\n%s", diff)
	}
	d.services = slices.DeleteFunc(d.services, func(s v1alpha1.HostService) bool { return s.Spec.Nginx != nil })
	if got := routing(d); len(got) > 0 {
		t.Errorf("a router without a gateway is for nobody, but there is %v", got)
	}
}

func TestRouterFlowsOfOtherHosts(t *testing.T) {
	d := routedSite()
	d.guests, d.farGuests = d.guests[:1], d.guests[1:]
	d.services, d.farServices = d.services[:1], d.services[1:]
	want := []string{"10.0.0.1 -> drphoenix tcp 8081: backends of HostService/traefik"}
	if diff := cmp.Diff(want, routing(d)); diff != "" {
		t.Errorf("flows to this Host from another's router (-want +got):\n%s", diff)
	}
}

func TestFirewallFollowsRoutes(t *testing.T) {
	s := &v1alpha1.HostService{ObjectMeta: about1("firewall")}
	s.Spec.HostRef, s.Spec.Firewall = &v1alpha1.LocalReference{Name: "phoenix"}, &v1alpha1.Firewall{}
	follows := func(kind string) bool {
		return slices.ContainsFunc(New(Config{}).Refs(s), func(r reconcile.Ref) bool { return r.Kind == kind && r.Name == "" && r.Condition == "" })
	}
	if follows("Route") || follows("DockerStack") {
		t.Error("Routes are followed although no flow is derived from them")
	}
	s.Spec.Firewall.Flows = v1alpha1.FlowsDerive
	if !follows("Route") || !follows("DockerStack") {
		t.Error("Routes and stacks are not followed")
	}
}

func TestRouterFields(t *testing.T) {
	d := router{s: testRouter(nil)}
	if got := d.field(traefikConf, `    address: ":80" # webPort`); got != "traefik.webPort" {
		t.Errorf("the line is of %q", got)
	}
	if got := d.field("/etc/systemd/system/"+traefikUnit, "x # webPort") + d.field(traefikConf, "ping:"); got != "" {
		t.Errorf("the lines are of %q", got)
	}
	if _, err := (router{s: testRouter(func(s *v1alpha1.Traefik) { s.LogLevel = "LOUD" })}).design(); !strings.Contains(outcome(err), "Invalid logLevel") || errors.Is(err, nil) {
		t.Errorf("a level that is none: %v", err)
	}
}

// TestRouterProbe runs the probe in a shell, with programs that say what is told them.
func TestRouterProbe(t *testing.T) {
	probe := router{s: testRouter(nil)}.apiProbe(8080)
	match := regexp.MustCompile(probe.Match)
	for name, c := range map[string]struct {
		reason, curl, readlink string
		ok                     bool
		says                   string
	}{
		"answers":     {"the program that runs is the one in its place", `echo '{"Version":"3.6.12"}'`, "echo /usr/local/bin/traefik", true, `{"Version":"3.6.12"}`},
		"cannot tell": {"a machine that does not tell what runs is believed", `echo '{"Version":"3.6.12"}'`, "exit 1", true, `{"Version":"3.6.12"}`},
		"old":         {"the one that runs is of a file that is gone", `echo '{"Version":"3.6.12"}'`, "echo '/usr/local/bin/traefik (deleted)'", false, "restart traefik.service"},
		"away":        {"curl's words are what people need to read", "echo 'curl: (7) Failed to connect' >&2; exit 7", "exit 1", false, "curl: (7) Failed to connect"},
		"another":     {"it is no Traefik", "echo hello", "exit 1", false, "hello"},
	} {
		bin := t.TempDir()
		for program, does := range map[string]string{"curl": c.curl, "readlink": "[ \"$1\" = /proc/42/exe ] || exit 3\n" + c.readlink, "systemctl": "echo 42"} {
			if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"+does+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		command := exec.Command("/bin/sh", probe.Argv[1:]...)
		command.Env = []string{"PATH=" + bin}
		out, err := command.Output()
		if ok := err == nil && match.Match(out); ok != c.ok || !strings.Contains(string(out), c.says) {
			t.Errorf("%s (%s): %v, and it says %q", name, c.reason, err, out)
		}
	}
}
