// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
)

// seenFor is a Route whose files are there and loaded; tests change what is not so.
func seenFor(change func(*v1alpha1.Route, *Seen)) (*v1alpha1.Route, Seen) {
	r := routeAged("blog", time.Hour, nil)
	guest := guestAt("nginx", "10.0.0.153")
	at := func(name string, options machine.FolderOptions) *side {
		return &side{
			service: serviceOn(name, name, func(s *v1alpha1.HostService) {
				s.Spec.Nginx, s.Spec.Traefik = &v1alpha1.Nginx{}, &v1alpha1.Traefik{}
			}),
			guest: guest, host: &v1alpha1.Host{}, options: options, prefix: "abc-blog",
		}
	}
	gateway := serviceOn("nginx", "nginx", func(s *v1alpha1.HostService) { s.Spec.Nginx = &v1alpha1.Nginx{} })
	seen := Seen{
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), known: true, gateway: at("nginx", gatewayFolder(gateway)), router: at("traefik", routerFolder(nil)),
		to: ends{targets: []target{{name: "Guest/web", scheme: "http", host: "10.0.0.20", port: 80, weight: 1}}},
		want: wanted{
			routerSums: files{"abc-blog.yml": "new"}, gatewaySums: files{"abc-blog.map": "map"}, version: "v2", hash: "hash",
		},
		atRouter: files{"abc-blog.yml": "new"}, atGateway: files{"abc-blog.map": "map"},
		state: traefik.State{Version: "v2", Loaded: true}, asked: true,
		memory: remembered{good: "new"},
	}
	if change != nil {
		change(r, &seen)
	}
	return r, seen
}

// outcomeOf is how the last step of a plan ends, if it only says something.
func outcomeOf(t *testing.T, steps []reconcile.Step) string {
	t.Helper()
	if len(steps) == 0 || steps[len(steps)-1].Reason != WaitingReason {
		return ""
	}
	return said(steps[len(steps)-1].Do(t.Context()))
}

func TestPlan(t *testing.T) {
	missing := func(_ *v1alpha1.Route, s *Seen) {
		s.atRouter, s.atGateway, s.asked, s.memory.good = nil, nil, false, ""
	}
	changed := func(_ *v1alpha1.Route, s *Seen) {
		s.atRouter, s.atGateway, s.memory.good = files{"abc-blog.yml": "old"}, files{"abc-blog.map": "before"}, "old"
		s.state, s.asked = traefik.State{}, false
	}
	rejected := func(_ *v1alpha1.Route, s *Seen) {
		s.memory.good, s.kept, s.state.Errors = "old", true, []string{"the rule is wrong"}
	}
	cases := map[string]struct {
		reason string
		change func(*v1alpha1.Route, *Seen)
		steps  string
		ends   string
	}{
		"in sync": {"nothing to do", nil, "", ""},
		"new":     {"the gateway does not wait for the router", missing, "Programming", ""},
		"new, out at the router alone": {"the gateway has it already", func(r *v1alpha1.Route, s *Seen) {
			missing(r, s)
			s.atGateway = s.want.gatewaySums
		}, "Programming", ""},
		"new, out at the gateway alone": {"the router has it already", func(r *v1alpha1.Route, s *Seen) {
			missing(r, s)
			s.atRouter = s.want.routerSums
		}, "Admitting", ""},
		"changed":  {"the gateway hears of it when the router has it", changed, "Programming", ""},
		"observed": {"the plan shows all of it", func(r *v1alpha1.Route, s *Seen) { changed(r, s); r.Spec.Management = v1alpha1.ManagementObserve }, "Programming Admitting", ""},
		"new, below a wildcard": {
			"the router would answer whom the wildcard lets in", func(r *v1alpha1.Route, s *Seen) { missing(r, s); s.exposed = true }, "Admitting Programming", "",
		},
		"changed, below a wildcard": {
			"as with a new one", func(r *v1alpha1.Route, s *Seen) { changed(r, s); s.exposed = true }, "Admitting Programming", "",
		},
		"changed, loaded": {"now the gateway may follow", func(r *v1alpha1.Route, s *Seen) {
			s.atGateway = files{"abc-blog.map": "before"}
		}, "Admitting", ""},
		"certificate alone": {"the router need not be asked", func(r *v1alpha1.Route, s *Seen) {
			s.atGateway, s.asked, s.state, s.routerProblem = files{"abc-blog.map": "before"}, false, traefik.State{}, reconcile.Wait(RouterAwayReason, time.Second, errors.New("away"))
		}, "Admitting Waiting", "RouterAway: away"},
		"not loaded yet": {"it takes a moment", func(_ *v1alpha1.Route, s *Seen) {
			s.state, s.memory = traefik.State{Version: "v1"}, remembered{missed: "new", missedAt: s.now.Add(-time.Second)}
		}, "Waiting", "Programming: waiting for HostService/traefik to take the Route"},
		"not loaded for long": {"it never will", func(_ *v1alpha1.Route, s *Seen) {
			s.state, s.memory = traefik.State{Version: "v1"}, remembered{missed: "new", missedAt: s.now.Add(-time.Minute)}
		}, "RollingBack", ""},
		"not loaded, busy": {"a router with many changes takes its time", func(_ *v1alpha1.Route, s *Seen) {
			s.state, s.memory, s.lastChange = traefik.State{Version: "v1"}, remembered{missed: "new", missedAt: s.now.Add(-time.Minute)}, s.now.Add(-time.Second)
		}, "Waiting", "Programming: waiting for HostService/traefik to take the Route"},
		"rejected": {"what was good comes back", rejected, "RollingBack", ""},
		"rejected at first": {"nothing is better than nothing", func(r *v1alpha1.Route, s *Seen) {
			rejected(r, s)
			s.memory.good, s.kept = "", false
		}, "RollingBack", ""},
		"rejected later": {"another version of the router rejects it: nothing better is there", func(r *v1alpha1.Route, s *Seen) {
			rejected(r, s)
			s.memory.good = "new"
		}, "Waiting", "RejectedByRouter: HostService/traefik had it, and rejects it now: the rule is wrong"},
		"rejected later, restarted": {"the status tells that it was good", func(r *v1alpha1.Route, s *Seen) {
			rejected(r, s)
			s.memory.good, s.kept = "", false
			r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ProgrammedCondition, Status: metav1.ConditionTrue}}
		}, "Waiting", "RejectedByRouter: HostService/traefik had it"},
		"refused": {"it is not tried again", func(r *v1alpha1.Route, s *Seen) {
			changed(r, s)
			r.Status.Refused, r.Status.Refusal, s.memory.again = "hash", "no", s.now.Add(time.Hour)
		}, "Waiting", "RejectedByRouter: HostService/traefik rejects it: no; what was there before serves on; it is tried again at 2026-03-01T13:00:00Z"},
		"refused, nothing left": {"nobody would answer", func(r *v1alpha1.Route, s *Seen) {
			missing(r, s)
			s.atGateway = files{"abc-blog.map": "map"}
			r.Status.Refused, s.memory.again = "hash", s.now.Add(time.Hour)
		}, "Withdrawing Waiting", "RejectedByRouter: HostService/traefik rejects it: ; nothing is served"},
		"refused long ago": {"it may be right now", func(r *v1alpha1.Route, s *Seen) {
			changed(r, s)
			r.Status.Refused, s.memory.again = "hash", s.now.Add(-time.Second)
		}, "Programming", ""},
		"refused before": {"another version is another try", func(r *v1alpha1.Route, s *Seen) {
			changed(r, s)
			r.Status.Refused, s.memory.again = "other", s.now.Add(time.Hour)
		}, "Programming", ""},
		"taken": {"it gives way", func(_ *v1alpha1.Route, s *Seen) { s.taken = "host a.lan" }, "Withdrawing Withdrawing Waiting", "HostTaken: host a.lan"},
		"taken, files elsewhere": {"where it was before, others may wait for the host", func(_ *v1alpha1.Route, s *Seen) {
			s.taken, s.atGateway, s.atRouter, s.strays = "host a.lan", nil, nil, []*side{s.gateway}
		}, "Withdrawing Waiting", "HostTaken: host a.lan"},
		"taken, out": {"it only says so", func(_ *v1alpha1.Route, s *Seen) {
			s.taken, s.atGateway, s.atRouter = "host a.lan", nil, nil
		}, "Waiting", "HostTaken: host a.lan"},
		"stray": {"what is not named any more goes last", func(_ *v1alpha1.Route, s *Seen) { s.strays = []*side{s.gateway} }, "Withdrawing", ""},
		"ailing": {"it is not taken out", func(_ *v1alpha1.Route, s *Seen) {
			s.sight = &sight{
				wrong: s.now, certificate: fulfilled(v1alpha1.CertificateMatchesCondition, MatchesReason, ""),
				reachable: condition(v1alpha1.BackendReachableCondition, BackendUnreachableReason, "it is down"),
			}
		}, "Waiting", "BackendUnreachable: it is down"},
		"unknown": {"nothing is known", func(_ *v1alpha1.Route, s *Seen) { s.known = false }, "", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, seen := seenFor(tc.change)
			steps := (&Kind{Config: Config{Interval: time.Minute}}).Plan(r, seen)
			var reasons []string
			for _, s := range steps {
				reasons = append(reasons, s.Reason)
			}
			if got := strings.Join(reasons, " "); got != tc.steps {
				t.Errorf("%s: the steps are %q, want %q", tc.reason, got, tc.steps)
			}
			if got := outcomeOf(t, steps); !strings.HasPrefix(got, tc.ends) || tc.ends == "" && got != "" {
				t.Errorf("%s: it ends with %q, want %q", tc.reason, got, tc.ends)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*v1alpha1.Route, *Seen)
		want   []string
	}{
		"all": {"the gateway first, so that nobody is let in to nobody", nil, []string{"files abc-blog on HostService/nginx", "files abc-blog on HostService/traefik"}},
		"below a wildcard": {
			"whom that lets in gets nothing of it", func(_ *v1alpha1.Route, s *Seen) { s.exposed = true },
			[]string{"files abc-blog on HostService/traefik", "files abc-blog on HostService/nginx"},
		},
		"half":  {"a manager ended between the two", func(_ *v1alpha1.Route, s *Seen) { s.atGateway = nil }, []string{"files abc-blog on HostService/traefik"}},
		"gone":  {"a machine takes its files along", func(_ *v1alpha1.Route, s *Seen) { s.gateway, s.atGateway = nil, nil }, []string{"files abc-blog on HostService/traefik"}},
		"clear": {"nothing is left", func(_ *v1alpha1.Route, s *Seen) { s.atGateway, s.atRouter = nil, nil }, nil},
		"own": {"its Certificate goes with it", func(r *v1alpha1.Route, s *Seen) {
			s.atGateway, s.atRouter = nil, nil
			r.DeletionTimestamp = &metav1.Time{Time: s.now}
			s.own.object = &v1alpha1.Certificate{ObjectMeta: metav1.ObjectMeta{Name: "route-blog"}}
		}, []string{"Certificate/route-blog"}},
		"unknown": {"nothing is known", func(_ *v1alpha1.Route, s *Seen) { s.known = false }, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, seen := seenFor(tc.change)
			var got []string
			for _, s := range (&Kind{}).Remove(r, seen) {
				got = append(got, s.Identity)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestGatewayError(t *testing.T) {
	_, seen := seenFor(nil)
	cases := map[string]struct {
		reason string
		err    error
		want   string
	}{
		"conflict": {"the other one hands the host over", &machine.RefusedError{Command: "nginx -t", Output: "nginx: [emerg] conflicting parameter \"a.lan\""}, HandingOverReason},
		"refused":  {"nginx says why", &machine.RefusedError{Command: "nginx -t", Output: "unknown directive"}, RejectedByGatewayReason},
		"unheard":  {"it does not reload", &machine.RefreshError{What: "systemctl reload nginx.service"}, RejectedByGatewayReason},
		"away":     {"nobody knows", machine.Away(errors.New("no route to host")), MachineAwayReason},
		"missing":  {"its service makes it", &machine.MissingError{Path: "/x"}, FolderMissingReason},
		"pending":  {"it comes to its end", &machine.PendingError{What: "x"}, MachineBusyReason},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := reconcile.ReasonOf(gatewayError(seen.gateway, tc.err)); got != tc.want {
				t.Errorf("%s: the reason is %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
	if err := gatewayError(seen.gateway, nil); err != nil {
		t.Errorf("no error is %v", err)
	}
}

func TestReadAnswers(t *testing.T) {
	all := []question{{name: "a.lan"}, {server: "http://10.0.0.1:80/"}, {server: "http://10.0.0.2:80/"}}
	got, err := readAnswers(all, "@2 7 curl: (7) Failed to connect\n@0 0 10.0.0.1 10.0.0.1\n@1 52 \n")
	if err != nil {
		t.Fatal(err)
	}
	want := []answer{{ok: true, text: "10.0.0.1 10.0.0.1"}, {ok: true}, {text: "curl: (7) Failed to connect"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(answer{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, bad := range []string{"", "@0 0\n", "@9 0 x\n@1 0\n@2 0\n", "sh: not found\n"} {
		if _, err := readAnswers(all, bad); err == nil {
			t.Errorf("%q says nothing, and is read", bad)
		}
	}
}
