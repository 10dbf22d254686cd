// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	agentURL   = "tcp://10.0.0.102:9001"
	otherURL   = "tcp://10.0.0.99:9001"
	agentOwner = "home/HostService/home/drphoenix"
)

func testAgent(change func(*v1alpha1.HostService)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: about1("drphoenix")}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: "drphoenix"}
	s.Spec.PortainerAgent = &v1alpha1.PortainerAgent{
		Image: v1alpha1.DockerImage{Name: "portainer/agent:2.23.0"}, PortainerRef: v1alpha1.LocalReference{Name: "main"},
	}
	if change != nil {
		change(s)
	}
	return s
}

// agentStage is an agent that runs on its machine, and a server that has or has not heard of it.
type agentStage struct {
	t      *testing.T
	s      *v1alpha1.HostService
	server *memoryServer
	seen   *agentSeen
}

func newAgentStage(t *testing.T) *agentStage {
	st := &agentStage{t: t, s: testAgent(nil), server: newMemoryServer()}
	st.server.keys["ptr_key"] = memoryKey{1, "phoenix", portainer.User{ID: 1, Name: "admin", Admin: true}}
	st.server.engines[agentURL], st.server.engines[otherURL] = true, true
	return st
}

// tag makes a tag.
func (st *agentStage) tag(name string) int {
	id := st.server.next()
	st.server.tags[id] = name
	return id
}

func (st *agentStage) environment(name, url string, tags ...int) {
	id := st.server.next()
	st.server.environments[id] = portainer.Environment{ID: id, Name: name, URL: url, Agent: true, TagIDs: tags}
}

func (st *agentStage) mine() int { return st.tag(environmentTag(agentOwner)) }

// observe asks the server.
func (st *agentStage) observe(leaving bool) {
	st.seen = &agentSeen{s: st.s, parts: agentParts{s: st.s, address: "10.0.0.102", dataRoot: defaultDataRoot, secret: "s"}}
	st.seen.machine = &machineSeen{target: target{host: testHost(), guest: testGuest("drphoenix", "10.0.0.102")}, owner: agentOwner, looked: true}
	st.seen.machine.seen = machine.Seen{Packages: map[string]string{"curl": "7.88"}}
	st.seen.mark, st.seen.apiKey, st.seen.at = environmentTag(agentOwner), "ptr_key", PortainerAddress{URL: "https://10.0.0.111:9443"}
	k := New(Config{Portainer: func(PortainerAddress) (PortainerServer, error) { return st.server, nil }})
	if leaving {
		st.seen.ask(st.t.Context(), k, leftURL(st.s), environmentOf(st.s))
		st.seen.leave(leftURL(st.s), environmentOf(st.s))
		return
	}
	st.seen.ask(st.t.Context(), k, agentURL, environmentOf(st.s))
	st.seen.ping(st.t.Context())
}

// pass takes the steps at the server until none is left or one fails.
func (st *agentStage) pass(leaving bool) (did []string, outcome string) {
	st.t.Helper()
	for range 10 {
		st.observe(leaving)
		plan := planAgent
		if leaving {
			plan = removeAgent
		}
		steps := slices.DeleteFunc(plan(st.s, st.seen), func(step reconcile.Step) bool { return machineReasons[step.Reason] })
		if len(steps) == 0 {
			if st.seen.away != nil {
				return did, "away"
			}
			return did, ""
		}
		did = append(did, steps[0].Reason)
		if err := steps[0].Do(st.t.Context()); err != nil {
			return did, said1(err)
		}
	}
	st.t.Fatalf("it does not come to an end: %s", did)
	return nil, ""
}

// has is what the server has: environments with the names of their tags.
func (st *agentStage) has() []string {
	var all []string
	for _, e := range st.server.environments {
		text := e.Name + " " + e.URL
		for _, id := range e.TagIDs {
			name := st.server.tags[id]
			if name == environmentTag(agentOwner) {
				name = "ours"
			}
			text += " " + name
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

func (st *agentStage) registered() string {
	for _, c := range reportAgent(st.s, st.seen) {
		if c.Type == v1alpha1.RegisteredCondition {
			return fmt.Sprintf("%s %s", c.Status, c.Reason)
		}
	}
	return "none"
}

func (st *agentStage) once(call string, before, after error) {
	(&serverStage{server: st.server}).once(call, before, after)
}

func TestRegistration(t *testing.T) {
	ours := []string{"drphoenix " + agentURL + " ours"}
	for name, c := range map[string]struct {
		reason     string
		given      func(st *agentStage)
		did        []string
		outcome    string
		has        []string
		registered string
	}{
		"nothing":   {"it is registered with its mark", func(*agentStage) {}, []string{"Registering"}, "", ours, "True Registered"},
		"in sync":   {"nothing is done twice", func(st *agentStage) { st.environment("drphoenix", agentURL, st.mine()) }, nil, "", ours, "True Registered"},
		"tag there": {"a tag that was left is used", func(st *agentStage) { st.mine() }, []string{"Registering"}, "", ours, "True Registered"},
		"rebuilt": {
			"the Guest came back at another address", func(st *agentStage) { st.environment("drphoenix", otherURL, st.mine()) },
			[]string{"Reregistering"}, "", ours, "True Registered",
		},
		"renamed": {"somebody renamed it in Portainer", func(st *agentStage) { st.environment("box", agentURL, st.mine()) }, []string{"Reregistering"}, "", ours, "True Registered"},
		"unmarked": {
			"somebody took the tag off: name and address say whose it is", func(st *agentStage) { st.environment("drphoenix", agentURL, st.tag("blue")) },
			[]string{"Reregistering"}, "", []string{"drphoenix " + agentURL + " blue ours"}, "True Registered",
		},
		"other tags": {
			"tags of others stay", func(st *agentStage) { st.environment("drphoenix", otherURL, st.tag("blue"), st.mine()) },
			[]string{"Reregistering"}, "", []string{"drphoenix " + agentURL + " blue ours"}, "True Registered",
		},
		"of somebody else": {
			"an environment that happens to have the name is not touched", func(st *agentStage) { st.environment("drphoenix", otherURL) },
			[]string{"NotOwned"}, "NotOwned: register environment drphoenix at https://10.0.0.111:9443: there is one of that name (tcp://10.0.0.99:9001) that is not of this HostService",
			[]string{"drphoenix " + otherURL}, "False NotRegistered",
		},
		"taken over": {
			"unless it is unowned and that is asked for", func(st *agentStage) {
				st.s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned
				st.environment("drphoenix", otherURL)
			},
			[]string{"Reregistering"}, "", ours, "True Registered",
		},
		"of another HostService": {
			"what another one marked is never taken over", func(st *agentStage) {
				st.s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned
				st.environment("drphoenix", agentURL, st.tag("phoenix-0123456789ab"))
			},
			[]string{"NotOwned"}, "NotOwned", []string{"drphoenix " + agentURL + " phoenix-0123456789ab"}, "False NotRegistered",
		},
		"name taken meanwhile": {
			"ours was renamed, and another one has its name", func(st *agentStage) {
				st.environment("box", agentURL, st.mine())
				st.environment("drphoenix", otherURL)
			},
			[]string{"NotOwned"}, "NotOwned", []string{"box " + agentURL + " ours", "drphoenix " + otherURL}, "True Registered",
		},
		"tag on two": {
			"who has the name is meant", func(st *agentStage) {
				tag := st.mine()
				st.environment("box", otherURL, tag)
				st.environment("drphoenix", agentURL, tag)
			},
			nil, "", []string{"box " + otherURL + " ours", "drphoenix " + agentURL + " ours"}, "True Registered",
		},
		"no agent": {
			"Portainer does not take what does not answer it", func(st *agentStage) { delete(st.server.engines, agentURL) },
			[]string{"Registering"}, "PortainerFailed", nil, "False NotRegistered",
		},
		"down": {
			"an agent that Portainer does not reach is not registered", func(st *agentStage) {
				st.environment("drphoenix", agentURL, st.mine())
				delete(st.server.engines, agentURL)
			},
			nil, "", ours, "False EnvironmentDown",
		},
		"conflict": {
			"somebody was faster: it is looked at again", func(st *agentStage) {
				st.once("POST environment", refusedAs(portainer.Conflict, "Name is not unique"), nil)
			},
			[]string{"Registering"}, "Changed", nil, "False NotRegistered",
		},
		"answer lost": {
			"it is found by its mark", func(st *agentStage) { st.once("POST environment", nil, errCut) },
			[]string{"Registering"}, "PortainerAway", ours, "False NotRegistered",
		},
		"away":        {"nothing is known", func(st *agentStage) { st.once("GET tags", errCut, nil) }, nil, "away", nil, "Unknown PortainerAway"},
		"key refused": {"the server makes another one, which is not for the agent", func(st *agentStage) { clear(st.server.keys) }, nil, "away", nil, "Unknown PortainerAway"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newAgentStage(t)
			c.given(st)
			did, outcome := st.pass(false)
			if diff := cmp.Diff(c.did, did); diff != "" || !strings.HasPrefix(outcome, c.outcome) || (c.outcome == "") != (outcome == "") {
				t.Errorf("%s: it comes to %q, want %q; steps (-want +got):\n%s", c.reason, outcome, c.outcome, diff)
			}
			if diff := cmp.Diff(c.has, st.has()); diff != "" {
				t.Errorf("%s: the server has (-want +got):\n%s", c.reason, diff)
			}
			if got := st.registered(); got != c.registered {
				t.Errorf("%s: Registered is %s, want %s", c.reason, got, c.registered)
			}
			if c.outcome != "PortainerAway" && c.outcome != "away" {
				return
			}
			if name == "key refused" {
				return
			}
			if _, outcome := st.pass(false); outcome != "" || len(st.server.environments) != 1 || st.registered() != "True Registered" {
				t.Errorf("%s: once it is over, it comes to %q, and %s", c.reason, outcome, st.has())
			}
		})
	}
}

func TestUnregistration(t *testing.T) {
	for name, c := range map[string]struct {
		reason  string
		given   func(st *agentStage)
		did     []string
		outcome string
		has     []string
	}{
		"ours":       {"environment and tag go", func(st *agentStage) { st.environment("drphoenix", agentURL, st.mine()) }, []string{"Unregistering"}, "", nil},
		"never":      {"there is nothing", func(*agentStage) {}, nil, "", nil},
		"gone":       {"only the tag is left", func(st *agentStage) { st.mine() }, []string{"Unregistering"}, "", nil},
		"unmarked":   {"what does not bear the mark stays", func(st *agentStage) { st.environment("drphoenix", agentURL) }, nil, "", []string{"drphoenix " + agentURL}},
		"renamed":    {"the address says that it is the one", func(st *agentStage) { st.environment("box", agentURL, st.mine()) }, []string{"Unregistering"}, "", nil},
		"moved":      {"the name says that it is the one", func(st *agentStage) { st.environment("drphoenix", otherURL, st.mine()) }, []string{"Unregistering"}, "", nil},
		"given away": {"who gave the tag to another one keeps that", func(st *agentStage) { st.environment("box", otherURL, st.mine()) }, []string{"Unregistering"}, "", []string{"box " + otherURL}},
		"both": {"and only ours goes", func(st *agentStage) {
			tag := st.mine()
			st.environment("box", otherURL, tag)
			st.environment("drphoenix", agentURL, tag)
		}, []string{"Unregistering"}, "", []string{"box " + otherURL}},
		"cut off": {"it is gone on with", func(st *agentStage) {
			st.environment("drphoenix", agentURL, st.mine())
			st.once("DELETE environment", nil, errCut)
		}, []string{"Unregistering"}, "PortainerAway", nil},
		"tag stays": {"it is gone on with", func(st *agentStage) {
			st.environment("drphoenix", agentURL, st.mine())
			st.once("DELETE tag", errCut, nil)
		}, []string{"Unregistering"}, "PortainerAway", nil},
	} {
		t.Run(name, func(t *testing.T) {
			st := newAgentStage(t)
			st.s.Status.PortainerAgent = &v1alpha1.PortainerAgentStatus{Environment: "drphoenix", Address: "10.0.0.102:9001"}
			c.given(st)
			did, outcome := st.pass(true)
			if diff := cmp.Diff(c.did, did); diff != "" || !strings.HasPrefix(outcome, c.outcome) || (c.outcome == "") != (outcome == "") {
				t.Errorf("%s: it comes to %q, want %q; steps (-want +got):\n%s", c.reason, outcome, c.outcome, diff)
			}
			if outcome != "" {
				if _, outcome := st.pass(true); outcome != "" {
					t.Errorf("%s: then it comes to %q", c.reason, outcome)
				}
			}
			if diff := cmp.Diff(c.has, st.has()); diff != "" {
				t.Errorf("%s: the server has (-want +got):\n%s", c.reason, diff)
			}
			if tags := slices.Collect(maps.Values(st.server.tags)); slices.Contains(tags, environmentTag(agentOwner)) {
				t.Errorf("%s: the tag is still there", c.reason)
			}
		})
	}
}

func TestAgentStatus(t *testing.T) {
	st := newAgentStage(t)
	st.pass(false)
	conditions := reportAgent(st.s, st.seen)
	want := &v1alpha1.PortainerAgentStatus{Environment: "drphoenix", EnvironmentID: 2, Address: "10.0.0.102:9001"}
	if diff := cmp.Diff(want, st.s.Status.PortainerAgent); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if got, want := conditions[1].Message, "environment 2 (drphoenix) of https://10.0.0.111:9443 reaches 10.0.0.102:9001"; got != want {
		t.Errorf("Registered says %q, want %q", got, want)
	}
	before := len(st.server.writes())
	if did, outcome := st.pass(false); len(did) > 0 || outcome != "" || len(st.server.writes()) != before {
		t.Errorf("another pass does %s (%q)", did, outcome)
	}
}
