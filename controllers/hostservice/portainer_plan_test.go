// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
)

const goodPassword = "correct-horse-battery"

func TestPortainerSteps(t *testing.T) {
	all := []string{"MakingAgentSecret", "MakingAdmin", "InitialisingAdmin", "MakingAPIKey"}
	for name, c := range map[string]struct {
		reason string
		// given is what was before; the server is set up but for those that begin bare.
		bare    bool
		given   func(st *serverStage)
		did     []string
		outcome string // the beginning of it
		serving string
	}{
		"nothing":  {reason: "all is made by chance", bare: true, did: all, serving: "True Answering"},
		"in sync":  {reason: "nothing is done twice", serving: "True Answering"},
		"own name": {reason: "whoever is named in the Secret is made", bare: true, given: func(st *serverStage) { st.putAdmin("root", goodPassword+"\n") }, did: []string{"MakingAgentSecret", "InitialisingAdmin", "MakingAPIKey"}, serving: "True Answering"},
		"short password": {
			reason: "Portainer takes no short one, and the server is not started for it", bare: true,
			given: func(st *serverStage) { st.putAdmin("root", "short"); st.stopped = true }, outcome: "SecretInvalid: use Secret main-admin: it has no password of at least 12",
		},
		"no user": {
			reason: "nobody can sign in without a name", bare: true,
			given: func(st *serverStage) { st.putAdmin("", goodPassword); st.stopped = true }, outcome: "SecretInvalid: use Secret main-admin: it has no username",
		},
		"named Secret away": {
			reason: "a Secret that somebody names is not made, and the server not started without", bare: true,
			given: func(st *serverStage) {
				st.s.Spec.Portainer.AdminSecretRef, st.stopped = &v1alpha1.LocalReference{Name: "mine"}, true
			},
			outcome: "AdminSecretMissing: adminSecretRef: Secret mine is not there",
		},
		"no answer to init": {
			reason: "the administrator is made, and nobody heard of it", bare: true,
			given: func(st *serverStage) { st.once("POST admin", nil, errCut) }, did: all[:3], outcome: "PortainerAway", serving: "False APIKeyRefused",
		},
		"init too late": {
			reason: "409 means ours: who can sign in by the Secret is", bare: true, given: func(st *serverStage) {
				st.putAdmin("admin", goodPassword)
				st.once("POST admin", refusedAs(portainer.Conflict, "exists"), nil)
				st.server.made, st.server.admin = false, credentials{"admin", goodPassword}
				strike := st.server.strike
				st.server.strike = func(call string) (error, error) { // it is made between the question and the call
					st.server.made = st.server.made || call == "POST admin"
					return strike(call)
				}
			},
			did: []string{"MakingAgentSecret", "InitialisingAdmin", "MakingAPIKey"}, serving: "True Answering",
		},
		"init of somebody else": {
			reason: "409 does not mean ours", bare: true, given: func(st *serverStage) {
				st.server.strike = func(call string) (error, error) {
					if call == "POST admin" {
						st.server.made, st.server.admin = true, credentials{"admin", "what nobody knows"}
					}
					return nil, nil
				}
			},
			did: all[:3], outcome: "AdminPasswordDiffers", serving: "False APIKeyRefused",
		},
		"server of somebody else": {
			reason: "no administrator can be made, and no password is invented", bare: true,
			given: func(st *serverStage) {
				st.server.made, st.server.admin = true, credentials{"admin", "what nobody knows"}
			},
			did: []string{"MakingAgentSecret"}, outcome: "AdminSecretMissing: read Secret main-admin", serving: "False APIKeyRefused",
		},
		"old backup": {
			reason: "the server was restored: another key is made, and those that nobody knows go", given: func(st *serverStage) {
				for raw, k := range st.server.keys {
					delete(st.server.keys, raw)
					st.server.keys["ptr_old"] = k
				}
			},
			did: []string{"MakingAPIKey"}, serving: "True Answering",
		},
		"made anew": {
			reason: "the data is lost: the same administrator, another key", given: func(st *serverStage) {
				fresh := newMemoryServer()
				fresh.instance = "33333333-4444"
				st.server = fresh
			},
			did: []string{"InitialisingAdmin", "MakingAPIKey"}, serving: "True Answering",
		},
		"key of somebody else": {
			reason: "a key of who is no administrator is of no use", given: func(st *serverStage) {
				for raw := range st.server.keys {
					st.server.keys[raw] = memoryKey{99, "by hand", portainer.User{ID: 2, Name: "eve"}}
				}
			},
			did: []string{"MakingAPIKey"}, serving: "True Answering",
		},
		"password changed": {
			reason: "the key works, so only a person's way in is lost", given: func(st *serverStage) {
				st.server.admin.password = "set in Portainer"
				st.clock.Step(2 * time.Hour)
			},
			outcome: `AdminPasswordDiffers: sign in to https://10.0.0.111:9443 as "admin": Portainer has another user or password than Secret main-admin`, serving: "True Answering",
		},
		"password and key lost": {
			reason: "nothing helps but a person", given: func(st *serverStage) {
				st.server.admin.password = "set in Portainer"
				st.lose("main-api-key")
			},
			did: []string{"MakingAPIKey"}, outcome: "AdminPasswordDiffers", serving: "False APIKeyRefused",
		},
		"key lost":   {reason: "another one is made", given: func(st *serverStage) { st.lose("main-api-key") }, did: []string{"MakingAPIKey"}, serving: "True Answering"},
		"admin lost": {reason: "the password stands nowhere else: none is invented", given: func(st *serverStage) { st.lose("main-admin") }, outcome: "AdminSecretMissing", serving: "True Answering"},
		"agent lost": {reason: "the machine has it", given: func(st *serverStage) { st.onMachine = st.entry("main-agent", "secret"); st.lose("main-agent") }, did: []string{"Restoring"}, serving: "True Answering"},
		"agent lost everywhere": {
			reason: "another one is made", given: func(st *serverStage) { st.lose("main-agent") }, did: []string{"MakingAgentSecret"}, serving: "True Answering",
		},
		"all lost": {
			reason: "a cluster without its Secrets does not take a server over", given: func(st *serverStage) { st.lose("main-admin", "main-api-key", "main-agent") },
			did: []string{"MakingAgentSecret"}, outcome: "AdminSecretMissing", serving: "False APIKeyRefused",
		},
		"others' Secret": {
			reason: "a Secret of another HostService is not used", given: func(st *serverStage) {
				s := st.secret("main-api-key")
				s.Annotations[portainerAnnotation] = "other"
				if err := st.client.Update(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			},
			outcome: "SecretInvalid: Secret main-api-key: it is of HostService other", serving: "True Answering",
		},
		"broken agent Secret": {
			reason: "a line of a file cannot hold it", given: func(st *serverStage) { st.put("main-agent", map[string][]byte{"secret": []byte("a b")}) },
			outcome: "SecretInvalid: Secret main-agent: want up to 512", serving: "True Answering",
		},
		"key not written": {
			reason: "the API server is away: the key is made again", given: func(st *serverStage) { st.lose("main-api-key"); st.refuse = errors.New("etcd is away") },
			did: []string{"MakingAPIKey"}, outcome: ": write Secret main-api-key: etcd is away", serving: "False APIKeyRefused",
		},
		"settings": {
			reason: "what is declared is set, and nothing else", given: func(st *serverStage) {
				yes := true
				st.s.Spec.Portainer.Settings = &v1alpha1.PortainerSettings{SessionTimeout: &metav1.Duration{Duration: time.Hour}, Telemetry: &yes}
			},
			did: []string{"Setting"}, serving: "True Answering",
		},
		"settings refused": {
			reason: "only another spec helps", given: func(st *serverStage) {
				st.s.Spec.Portainer.Settings = &v1alpha1.PortainerSettings{SessionTimeout: &metav1.Duration{Duration: time.Hour}}
				st.once("PUT settings", refusedAs(portainer.Invalid, "Invalid user session timeout"), nil)
			},
			did: []string{"Setting"}, outcome: "Invalid: ", serving: "True Answering",
		},
		"500": {reason: "the server cannot do it now", given: func(st *serverStage) {
			st.lose("main-api-key")
			st.once("POST tokens", refusedAs(portainer.Failed, "disk full"), nil)
		}, did: []string{"MakingAPIKey"}, outcome: "PortainerFailed", serving: "False APIKeyRefused"},
		"limited": {reason: "somebody tried too often: it waits", given: func(st *serverStage) {
			st.lose("main-api-key")
			st.once("POST auth", refusedAs(portainer.Limited, "Access denied"), nil)
		}, did: []string{"MakingAPIKey"}, outcome: "SignInsLimited", serving: "False APIKeyRefused"},
		"away":       {reason: "what cannot be asked is not served", given: func(st *serverStage) { st.once("GET status", errCut, nil) }, outcome: "away: ", serving: "False PortainerAway"},
		"away later": {reason: "so is what breaks off", given: func(st *serverStage) { st.once("GET me", errCut, nil) }, outcome: "away: ", serving: "False PortainerAway"},
		"too late": {
			reason: "a server that waited in vain has to be restarted", given: func(st *serverStage) { st.server.locked = true },
			did: []string{"Restarting"}, outcome: "restart", serving: "False PortainerAway",
		},
		"certificate away": {reason: "there is nothing to serve with", bare: true, given: func(st *serverStage) { st.lose("portainer-tls") }, outcome: "CertificateMissing"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newServerStage(t)
			if !c.bare {
				st.settled()
			}
			if c.given != nil {
				c.given(st)
			}
			var did []string
			var outcome string
			if c.outcome == "restart" {
				did, outcome = st.restarts()
			} else {
				did, outcome = st.pass()
			}
			if diff := cmp.Diff(c.did, did); diff != "" {
				t.Errorf("%s: steps (-want +got):\n%s", c.reason, diff)
			}
			if !strings.HasPrefix(outcome, c.outcome) || (c.outcome == "") != (outcome == "") {
				t.Errorf("%s: it comes to %q, want %q", c.reason, outcome, c.outcome)
			}
			if got := st.serving(); c.serving != "" && got != c.serving {
				t.Errorf("%s: Serving is %s, want %s", c.reason, got, c.serving)
			}
			if good, ours := st.goodKey(); c.serving == "True Answering" && name != "others' Secret" && (!good || ours != 1) {
				t.Errorf("%s: the key is good: %t, and the server has %d of ours, want one", c.reason, good, ours)
			}
			st.leaks(outcome)
		})
	}
}

// restarts says that the next step restarts the unit; the machine is another matter.
func (st *serverStage) restarts() ([]string, string) {
	st.t.Helper()
	if err := st.observe(); err != nil {
		st.t.Fatal(err)
	}
	var did []string
	for _, step := range st.steps() {
		did = append(did, step.Reason)
	}
	return did, "restart"
}

// leaks asserts that nothing that others may read holds a secret.
func (st *serverStage) leaks(outcome string) {
	st.t.Helper()
	text := outcome
	if st.seen != nil {
		reportPortainer(st.s, st.seen)
		for _, step := range st.kind.planPortainer(st.s, st.seen) {
			text += step.Message
			for _, change := range step.Changes {
				text += change.From + change.To + change.Field
			}
		}
	}
	status, err := json.Marshal(st.s)
	if err != nil {
		st.t.Fatal(err)
	}
	text += string(status)
	for _, entry := range [][2]string{{"main-admin", "password"}, {"main-api-key", "apiKey"}, {"main-agent", "secret"}} {
		if value := st.entry(entry[0], entry[1]); value != "" && value != "short" && strings.Contains(text, value) {
			st.t.Errorf("%s of Secret %s stands in %.300q", entry[1], entry[0], text)
		}
	}
}

// What was cut off is gone on with, and leaves nothing behind.
func TestPortainerIsCutOff(t *testing.T) {
	calls := []string{"GET status", "GET admin", "POST admin", "POST auth", "GET tokens", "POST tokens", "GET me", "GET settings"}
	for _, call := range calls {
		for when, errs := range map[string][2]error{"before": {errCut, nil}, "after": {nil, errCut}} {
			t.Run(call+" "+when, func(t *testing.T) {
				st := newServerStage(t)
				st.once(call, errs[0], errs[1])
				_, first := st.pass()
				if call == "POST tokens" && when == "after" {
					if _, ours := st.goodKey(); ours != 1 {
						t.Errorf("%d keys were made, want one that nobody knows", ours)
					}
				}
				if did, outcome := st.pass(); outcome != "" {
					t.Errorf("first %q, then %s: %q", first, did, outcome)
				}
				if good, ours := st.goodKey(); !good || ours != 1 {
					t.Errorf("the key is good: %t, and the server has %d of ours, want one", good, ours)
				}
				if st.entry("main-admin", "password") != st.server.admin.password {
					t.Error("the administrator has another password than the Secret")
				}
				writes := len(st.server.writes())
				if did, outcome := st.pass(); outcome != "" || len(did) > 0 || len(st.server.writes()) != writes {
					t.Errorf("another pass does %s (%q)", did, outcome)
				}
			})
		}
	}
}

func TestSecretNotWrittenLeavesOneKey(t *testing.T) {
	st := newServerStage(t)
	st.settled()
	st.lose("main-api-key")
	st.refuse = errors.New("etcd is away")
	st.pass()
	st.refuse = nil
	if did, outcome := st.pass(); outcome != "" {
		t.Errorf("%s: %q", did, outcome)
	}
	if good, ours := st.goodKey(); !good || ours != 1 {
		t.Errorf("the key is good: %t, and the server has %d of ours, want one", good, ours)
	}
}

// However often it is tried, and whatever changes, Portainer is not asked more than three times in ten minutes.
func TestSignInsAreFew(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		each   func(st *serverStage, n int)
		most   int // in each ten minutes
	}{
		"same password":   {"a password that was refused is not tried again so soon", func(*serverStage, int) {}, 1},
		"other passwords": {"a new one is tried, but not for ever", func(st *serverStage, n int) { st.putAdmin("admin", goodPassword+strings.Repeat("x", n)) }, 3},
		"other servers":   {"nor are many servers", func(st *serverStage, n int) { st.server.instance = strings.Repeat("i", n+1) }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			st := newServerStage(t)
			st.settled()
			st.server.admin.password = "set in Portainer"
			st.lose("main-api-key")
			st.clock.Step(signInSpan)
			var tries []time.Time
			before := st.server.signIns
			for n := range 120 {
				c.each(st, n)
				st.pass()
				for range st.server.signIns - before {
					tries = append(tries, st.clock.Now())
				}
				before = st.server.signIns
				st.clock.Step(30 * time.Second)
			}
			for i, at := range tries {
				if i >= c.most && at.Sub(tries[i-c.most]) < signInSpan {
					t.Errorf("%s: sign-ins at %v", c.reason, tries)
					break
				}
			}
			if len(tries) == 0 {
				t.Error("it was never tried again")
			}
		})
	}
}

// A password that was changed in Portainer is found out, and one that is put right is taken at once.
func TestPasswordIsWatched(t *testing.T) {
	st := newServerStage(t)
	st.settled()
	signIns := st.server.signIns
	for range 12 { // an hour of passes
		st.clock.Step(5*time.Minute - time.Second)
		st.settled()
	}
	if st.server.signIns != signIns {
		t.Errorf("a password that fits was tried %d times within an hour", st.server.signIns-signIns)
	}
	st.server.admin.password = "set in Portainer"
	st.clock.Step(time.Minute)
	if _, outcome := st.pass(); !strings.HasPrefix(outcome, AdminPasswordDiffersReason) || st.serving() != "True Answering" {
		t.Errorf("it comes to %q, Serving %s", outcome, st.serving())
	}
	st.putAdmin("admin", "set in Portainer")
	if _, outcome := st.pass(); outcome != "" {
		t.Errorf("the right password comes to %q", outcome)
	}
}

// A server that shuts everybody out is left alone.
func TestShutOut(t *testing.T) {
	st := newServerStage(t)
	st.settled()
	st.lose("main-api-key")
	st.server.strike = func(call string) (error, error) {
		if call == "POST auth" {
			return refusedAs(portainer.Limited, "Access denied"), nil
		}
		return nil, nil
	}
	before := st.server.signIns
	for range 20 {
		if _, outcome := st.pass(); !strings.HasPrefix(outcome, SignInsLimitedReason) {
			t.Fatalf("it comes to %q", outcome)
		}
		st.clock.Step(29 * time.Second)
	}
	if got := st.server.signIns - before; got != 1 {
		t.Errorf("it was tried %d times within ten minutes, want once", got)
	}
	st.server.strike = nil
	st.clock.Step(time.Minute)
	if did, outcome := st.pass(); outcome != "" || len(did) != 1 {
		t.Errorf("once it is over, it comes to %s %q", did, outcome)
	}
}

func TestPortainerStatus(t *testing.T) {
	st := newServerStage(t)
	st.settled()
	reportPortainer(st.s, st.seen)
	want := &v1alpha1.PortainerStatus{
		URL: "https://10.0.0.111:9443", ServerName: "portainer.phoenix.lan", Version: "2.23.0", InstanceID: "11111111-2222", APIKeySecret: "main-api-key", AgentSecret: "main-agent",
	}
	if diff := cmp.Diff(want, st.s.Status.Portainer); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	st.server.strike = func(string) (error, error) { return errCut, nil }
	st.pass()
	reportPortainer(st.s, st.seen)
	if diff := cmp.Diff(want, st.s.Status.Portainer); diff != "" {
		t.Errorf("what is not known any more does not stay (-want +got):\n%s", diff)
	}
}

func TestKeyDescription(t *testing.T) {
	short, long := keyDescription("home/HostService/home/main"), keyDescription(strings.Repeat("o", 200))
	if short != "phoenix home/HostService/home/main" || len(long) > maxDescription || long == keyDescription(strings.Repeat("o", 201)) {
		t.Errorf("descriptions are %q and %q", short, long)
	}
}
