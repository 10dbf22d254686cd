// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const (
	routerUnit    = "traefik.service"
	routerConf    = "/etc/traefik/traefik.yml"
	routerProgram = "/usr/local/bin/traefik"
	routerFolder  = "/etc/traefik/dynamic/routes/"
	nextVersion   = "3.6.13"
)

// routerWorld is a world with a Guest in which a simulated Traefik runs, and one with a gateway that is only declared.
type routerWorld struct {
	*svcWorld
	mirror *sim.Mirror
}

func newRouterWorld(t *testing.T, installed ...string) *routerWorld {
	t.Helper()
	reachable := []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, Reason: "Answering"}}
	g, gateway := svcGuest("traefik", "10.0.0.12"), svcGuest("nginx", "10.0.0.153")
	g.Status.Conditions, gateway.Status.Conditions = reachable, reachable
	w := &routerWorld{svcWorld: newSVCWorld(t, nil, g, gateway, gate(nil)), mirror: sim.NewMirror()}
	for _, version := range []string{"", nextVersion} {
		address, tarball, _, _ := sim.TraefikRelease(version)
		w.mirror.Put(address, tarball)
	}
	w.sim = sim.New(sim.Options{
		Hostname: "traefik", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.12")}, Container: true, Web: w.mirror.Get, Installed: installed,
	})
	w.sim.Boot()
	t.Cleanup(w.sim.Halt)
	w.door = &svcDoor{sim: w.sim}
	w.restart()
	return w
}

// release is the artifact of a version of Traefik; empty: the usual one.
func release(version string) v1alpha1.Artifact {
	address, _, sum, member := sim.TraefikRelease(version)
	return v1alpha1.Artifact{URL: address, SHA256: sum, Member: member}
}

func routerService(change func(*v1alpha1.HostService)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Namespace: svcNamespace, Name: "router"}}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: "traefik"}
	s.Spec.Traefik = &v1alpha1.Traefik{Artifact: release(""), GatewayRefs: []v1alpha1.LocalReference{{Name: "gate"}}}
	if change != nil {
		change(s)
	}
	return s
}

func upgrade(s *v1alpha1.HostService) { s.Spec.Traefik.Artifact = release(nextVersion) }

// put writes the file of a Route, as somebody who routes does, and returns its version.
func (w *routerWorld) put(r traefik.Route) string {
	w.t.Helper()
	content, version, err := r.Render()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.sim.WriteFile("/tmp/"+r.Name+".yml", string(content), 0o640); err != nil {
		w.t.Fatal(err)
	}
	w.shell("chown root:traefik /tmp/" + r.Name + ".yml; mv /tmp/" + r.Name + ".yml " + routerFolder + "; touch " + routerFolder)
	return version
}

// loads waits until Traefik has a version of a Route, and tells what it says of it.
func (w *routerWorld) loads(name, version string) traefik.State {
	w.t.Helper()
	var state traefik.State
	for range 2000 {
		runtime, err := traefik.ParseRuntime([]byte(w.shell("curl -s http://127.0.0.1:8080/api/rawdata")))
		if state = runtime.Look(name, version); err == nil && state.Loaded {
			return state
		}
	}
	w.t.Fatalf("Route %s is not loaded in version %s, but %+v", name, version, state)
	return state
}

// version is what Traefik answers at its API.
func (w *routerWorld) version() string {
	w.t.Helper()
	_, rest, _ := strings.Cut(w.shell("curl -s http://127.0.0.1:8080/api/version"), `"Version":"`)
	version, _, _ := strings.Cut(rest, `"`)
	return version
}

func simpleRoute() traefik.Route {
	return traefik.Route{Name: "0123456789ab-blog", About: "Route home/blog", Hosts: []string{"blog.phoenix.lan"}, Servers: []traefik.Server{{URL: "http://10.0.0.102:8081", Weight: 1}}}
}

func TestRouterFromNothing(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	s := w.ready("router")
	want := v1alpha1.TraefikStatus{Version: "3.6.12", URL: "http://10.0.0.12:80"}
	if s.Status.Traefik == nil || *s.Status.Traefik != want || s.Status.Service != "traefik" || s.Status.Machine != "Guest/traefik" {
		t.Errorf("status is %s", svcText(s))
	}
	if got := svcCondition(s, v1alpha1.ServingCondition); got != "True Answering: Traefik 3.6.12 answers at http://10.0.0.12:80" {
		t.Errorf("Serving is %q", got)
	}
	if u := w.sim.Unit(routerUnit); u.Enabled != "enabled" || u.Active != "active" {
		t.Errorf("the unit is %s and %s", u.Enabled, u.Active)
	}
	if got := w.shell("stat -c '%U:%G %a' /etc/traefik/dynamic/routes /etc/traefik/previous /etc/traefik/traefik.yml /usr/local/bin/traefik"); got != "root:traefik 750\nroot:root 700\nroot:root 644\nroot:root 755\n" {
		t.Errorf("owners and modes are %q", got)
	}
	w.quiet("router")
	w.restart()
	w.pass("router")
	w.quiet("router")
}

// TestRouterTakesWhatIsRendered: what Routes are rendered to, Traefik loads as it is meant, and without a word.
func TestRouterTakesWhatIsRendered(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	w.ready("router")
	rich := simpleRoute()
	rich.Name, rich.Hosts = "0123456789ab-rich", []string{"rich.phoenix.lan", "*.rich.phoenix.lan"}
	rich.Paths = []traefik.Path{{Value: "/"}, {Type: traefik.Exact, Value: "/api"}, {Type: traefik.Regex, Value: `^/v[0-9]{1,3}/`}}
	rich.HealthCheck, rich.Sticky = &traefik.HealthCheck{Path: "/healthz", Status: 204}, &traefik.Sticky{SameSite: "None"}
	rich.Servers = append(rich.Servers, traefik.Server{URL: "https://10.0.0.103", Weight: 3}, traefik.Server{URL: "h2c://10.0.0.104:50051", Weight: 0})
	rich.TLS = &traefik.BackendTLS{ServerName: "rich.phoenix.lan"}
	rich.Middlewares = []traefik.Middleware{
		{Redirect: &traefik.Redirect{Regex: "^https://old/(.*)", Replacement: "https://rich.phoenix.lan/{{env}}/${1}"}},
		{StripPrefix: &traefik.StripPrefix{Prefixes: []string{"/a"}}}, {AddPrefix: &traefik.AddPrefix{Prefix: "/b"}},
		{Headers: &traefik.Headers{Request: []traefik.Header{{Name: "X-A", Value: `{{ "a" }}`}}}},
		{BasicAuth: &traefik.BasicAuth{Users: []string{"bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="}}},
		{IPAllowList: &traefik.IPAllowList{Networks: []string{"10.0.0.0/24"}}}, {RateLimit: &traefik.RateLimit{Average: 10}},
		{Compress: &traefik.Compress{}}, {Retry: &traefik.Retry{Attempts: 2}}, {ForwardAuth: &traefik.ForwardAuth{URL: "http://10.0.0.20:9091/api"}},
	}
	none := simpleRoute()
	none.Name, none.Hosts, none.Servers[0].Weight = "0123456789ab-none", []string{"none.phoenix.lan"}, 0
	tcp := traefik.Route{Name: "0123456789ab-db", Hosts: []string{"db.phoenix.lan", "*.db.phoenix.lan"}, TCP: &traefik.TCP{ProxyProtocol: 2}, Servers: []traefik.Server{{URL: "10.0.0.5:5432", Weight: 2}, {URL: "10.0.0.6:5432", Weight: 1}}}
	for _, r := range []traefik.Route{simpleRoute(), rich, none, tcp} {
		if state := w.loads(r.Name, w.put(r)); len(state.Errors) > 0 {
			t.Errorf("%s: Traefik complains: %q", r.Name, state.Errors)
		}
	}
	heal := w.sim.TraefikFaults().Reject("0123456789ab-rich", "it has a bad day")
	rich.Priority = 7
	if state := w.loads(rich.Name, w.put(rich)); !slices.Equal(state.Errors, []string{"it has a bad day"}) {
		t.Errorf("Traefik's words are %q", state.Errors)
	}
	heal()
	w.quiet("router")
}

func TestRouterIsUpgraded(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	w.ready("router")
	loaded := w.put(simpleRoute())
	w.loads(simpleRoute().Name, loaded)
	w.edit("router", upgrade)
	s := w.ready("router")
	if got := w.version(); got != nextVersion || s.Status.Traefik.Version != nextVersion {
		t.Errorf("it runs %q, and the status says %q", got, s.Status.Traefik.Version)
	}
	w.loads(simpleRoute().Name, loaded)
	w.quiet("router")
	w.edit("router", func(s *v1alpha1.HostService) { s.Spec.Traefik.Artifact = release("") })
	w.ready("router")
	if got := w.version(); got != "3.6.12" {
		t.Errorf("it runs %q after the way back", got)
	}
}

// TestRouterFollowsItsGateways: an address of a gateway that changes is believed, one that is not known now is not forgotten.
func TestRouterFollowsItsGateways(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	w.ready("router")
	address := func(addresses ...string) {
		g := &v1alpha1.Guest{}
		if err := w.client.Get(t.Context(), key("nginx"), g); err != nil {
			t.Fatal(err)
		}
		g.Status.Addresses = addresses
		if err := w.client.Status().Update(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	believes := func() string {
		text, err := w.sim.ReadFile(routerConf)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(traefik.Trusted([]byte(text)), " ")
	}
	address("10.0.0.154")
	w.ready("router")
	if got := believes(); got != "10.0.0.154" {
		t.Errorf("believed are %q", got)
	}
	started, writes := w.sim.Unit(routerUnit).Invocation, w.sim.Writes()
	address()
	s := w.ready("router")
	if got := svcCondition(s, v1alpha1.ServingCondition); believes() != "10.0.0.154" || !strings.Contains(got, "nothing comes yet from HostService/gate, whose Guest has no address yet") {
		t.Errorf("believed are %q, and Serving is %q", believes(), got)
	}
	if w.sim.Unit(routerUnit).Invocation != started || w.sim.Writes() != writes {
		t.Error("a gateway that restarts restarts the router")
	}
	w.edit("router", func(s *v1alpha1.HostService) {
		s.Spec.Traefik.GatewayRefs = append(s.Spec.Traefik.GatewayRefs, v1alpha1.LocalReference{Name: "second"})
	})
	w.until("router", "False TargetMissing", "gatewayRefs[1]: HostService/second is not there")
	if got := svcCondition(w.get("router"), v1alpha1.ServingCondition); !strings.HasPrefix(got, "True ") {
		t.Errorf("Serving is %q, although the first gateway's requests are served", got)
	}
}

func TestRouterDriftIsPutBack(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	w.ready("router")
	for name, line := range map[string]string{
		"configuration": "echo 'api: {insecure: true}' > " + routerConf,
		"program":       "echo '#!/bin/sh' > " + routerProgram,
		"unit":          "echo '[Unit]' > /etc/systemd/system/" + routerUnit,
		"stopped":       "systemctl stop traefik; systemctl disable traefik",
		"folder":        "chmod 777 /etc/traefik/dynamic/routes; chown traefik /etc/traefik/dynamic/routes",
	} {
		w.shell(line)
		w.ready("router")
		if got := w.version() + w.shell("stat -c '%U:%G %a' /etc/traefik/dynamic/routes"); got != "3.6.12root:traefik 750\n" {
			t.Errorf("%s: it is %q", name, got)
		}
		w.quiet("router")
	}
}

func TestRouterGoes(t *testing.T) {
	w := newRouterWorld(t)
	before := w.shell("find /etc /usr/local -type f | grep -v -e /etc/passwd -e /etc/group -e /etc/shadow -e /etc/gshadow -e dpkg -e ssl -e ca-certificates | sort")
	w.create(routerService(nil))
	w.ready("router")
	w.put(simpleRoute())
	w.gone("router")
	if got := w.shell("cat " + routerFolder + "*.yml | head -1"); got != "# Route home/blog\n" {
		t.Errorf("the file of a Route is %q: it is not the service's", got)
	}
	w.shell("rm -r /etc/traefik")
	after := w.shell("find /etc /usr/local -type f | grep -v -e /etc/passwd -e /etc/group -e /etc/shadow -e /etc/gshadow -e dpkg -e ssl -e ca-certificates | sort")
	if before != after {
		t.Errorf("files before:\n%s\nand after:\n%s", before, after)
	}
	if got := w.shell("systemctl is-active traefik"); !strings.HasPrefix(got, "inactive\n") {
		t.Errorf("the unit is %q", got)
	}
	w.create(routerService(nil))
	w.ready("router")
	w.gone("router")
	if _, err := w.sim.Stat("/etc/traefik"); err == nil {
		t.Error("its folders are still there")
	}
}

func TestOneRouterOfAMachine(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(nil))
	w.ready("router")
	w.create(routerService(func(s *v1alpha1.HostService) { s.Name = "second" }))
	writes := w.sim.Writes()
	w.until("second", "False AlreadyServed", "HostService/router does so already")
	if w.sim.Writes() != writes {
		t.Error("the second one wrote something")
	}
	w.gone("second")
	if got := w.version(); got != "3.6.12" {
		t.Errorf("the first one answers %q", got)
	}
	w.quiet("router")
}

func TestRouterByHandIsNotTouched(t *testing.T) {
	w := newRouterWorld(t, "curl", "ca-certificates")
	w.shell("mkdir -p /etc/traefik")
	const byHand = "entryPoints: {web: {address: ':8888'}}\n"
	if err := w.sim.WriteFile(routerConf, byHand, 0o600); err != nil {
		t.Fatal(err)
	}
	w.create(routerService(nil))
	w.until("router", "False NotOwned", routerConf)
	if text, err := w.sim.ReadFile(routerConf); text != byHand {
		t.Errorf("the file made by hand is %q (%v)", text, err)
	}
	w.edit("router", func(s *v1alpha1.HostService) { s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned })
	w.ready("router")
	w.gone("router")
	if text, err := w.sim.ReadFile(routerConf); text != byHand {
		t.Errorf("the file made by hand is %q (%v) afterwards", text, err)
	}
}

func TestRouterIsObserved(t *testing.T) {
	w := newRouterWorld(t)
	w.create(routerService(func(s *v1alpha1.HostService) { s.Spec.Management = v1alpha1.ManagementObserve }))
	writes := w.sim.Writes()
	w.pass("router")
	var shown []string
	for _, p := range w.get("router").Status.Plan {
		shown = append(shown, p.Field)
	}
	if text := strings.Join(shown, "\n"); !strings.Contains(text, "curl") || w.sim.Writes() != writes {
		t.Errorf("the plan is %q, and %d writes were made", shown, w.sim.Writes()-writes)
	}
	w.edit("router", func(s *v1alpha1.HostService) { s.Spec.Management = v1alpha1.ManagementEnforce })
	w.ready("router")
	w.edit("router", func(s *v1alpha1.HostService) {
		s.Spec.Management, s.Spec.Traefik.LogLevel = v1alpha1.ManagementObserve, "DEBUG"
	})
	w.pass("router")
	plan := w.get("router").Status.Plan
	i := slices.IndexFunc(plan, func(p v1alpha1.PlannedChange) bool { return p.Field == "traefik.logLevel" })
	if i < 0 || plan[i].From != "  level: INFO # logLevel" || plan[i].Impact != v1alpha1.ImpactRestart {
		t.Errorf("the plan is %+v, want the field with its impact", plan)
	}
}
