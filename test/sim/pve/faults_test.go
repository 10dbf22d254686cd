// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const plain = "arch: amd64\nhostname: a\nmemory: 512\nrootfs: local-lvm:vm-101-disk-0,size=4G\nunprivileged: 1\n"

func oneContainer(t *testing.T) (*pve.Server, *asker) {
	t.Helper()
	s := start(t, pve.Options{NoSSH: true, Guests: []pve.GuestSpec{{VMID: 101, Kind: "lxc", Config: plain}}})
	return s, asRootToken(t, s)
}

func TestRequestFaults(t *testing.T) {
	const put = "PUT " + lxcPath + "/101/config"
	for _, tc := range []struct {
		reason string
		fault  pve.Fault
		want   []string // of three writes: status or "cut"
		tags   string   // after them
	}{
		{"no fault", pve.Fault{Method: "DELETE"}, []string{"200 OK", "200 OK", "200 OK"}, "t3"},
		{"a status with a body", pve.Fault{Method: "PUT", Path: lxcPath + "/*/config", Status: 503, Reason: "busy", Body: `{"data":null}`}, []string{"503 busy", "503 busy", "503 busy"}, ""},
		{"the second only", pve.Fault{Method: "PUT", From: 2, To: 2, Status: 596, Reason: "Broken pipe"}, []string{"200 OK", "596 Broken pipe", "200 OK"}, "t3"},
		{"from the third on", pve.Fault{Method: "PUT", Path: "/nodes/**", From: 3, Status: 595}, []string{"200 OK", "200 OK", "595 status code 595"}, "t2"},
		{"cut before: nothing happens", pve.Fault{Method: "PUT", From: 3, Cut: pve.CutBefore}, []string{"200 OK", "200 OK", "cut"}, "t2"},
		{"cut after: it happened", pve.Fault{Method: "PUT", From: 3, Cut: pve.CutAfter}, []string{"200 OK", "200 OK", "cut"}, "t3"},
		{"delayed", pve.Fault{Delay: 5 * time.Millisecond}, []string{"200 OK", "200 OK", "200 OK"}, "t3"},
		{"byte by byte", pve.Fault{Trickle: 10 * time.Microsecond}, []string{"200 OK", "200 OK", "200 OK"}, "t3"},
		{"another path", pve.Fault{Path: lxcPath + "/102/config", Status: 500}, []string{"200 OK", "200 OK", "200 OK"}, "t3"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s, a := oneContainer(t)
			remove := s.Inject(tc.fault)
			for i, want := range tc.want {
				got, err := a.try(put, "tags=t"+string(rune('1'+i)))
				if err != nil {
					got.status = "cut"
				}
				if got.status != want {
					t.Errorf("write %d: %q (%v), want %q", i+1, got.status, err, want)
				}
			}
			if g, _ := s.Guest(101); g.Options["tags"] != tc.tags {
				t.Errorf("tags are %q, want %q", g.Options["tags"], tc.tags)
			}
			remove()
			if got := a.ask(put, "tags=end"); got.status != "200 OK" {
				t.Errorf("without the fault: %s", got.status)
			}
		})
	}
}

func TestTaskFaults(t *testing.T) {
	for _, tc := range []struct {
		reason  string
		fault   pve.TaskFault
		exit    string
		running bool
	}{
		{"a failure instead of the effect", pve.TaskFault{Kind: "vzstart", Fail: "startup for container '101' failed"}, "startup for container '101' failed", false},
		{"a failure after the effect", pve.TaskFault{Kind: "vzstart", Fail: "unexpected status", AfterEffect: true}, "unexpected status", true},
		{"warnings", pve.TaskFault{Kind: "vzstart", ID: "101", Warnings: 2}, "WARNINGS: 2", true},
		{"another guest's", pve.TaskFault{Kind: "vzstart", ID: "102", Fail: "no"}, "OK", true},
		{"delayed", pve.TaskFault{Delay: 5 * time.Millisecond}, "OK", true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s, a := oneContainer(t)
			s.InjectTask(tc.fault)
			if exit := a.task("POST " + lxcPath + "/101/status/start"); exit != tc.exit {
				t.Errorf("the task ended with %q, want %q", exit, tc.exit)
			}
			if g, _ := s.Guest(101); g.Running != tc.running {
				t.Errorf("running: %v, want %v", g.Running, tc.running)
			}
		})
	}
}

func TestLostTask(t *testing.T) {
	for _, tc := range []struct {
		reason string
		fault  pve.TaskFault
		there  bool
	}{
		{"lost, and the effect stands", pve.TaskFault{Kind: "vzcreate", Lost: true, Times: 1}, true},
		{"lost, and nothing happened", pve.TaskFault{Kind: "vzcreate", Lost: true, Fail: "unexpected status", Times: 1}, false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s, a := oneContainer(t)
			s.InjectTask(tc.fault)
			upid := a.ask("POST "+lxcPath, nginx(200)...).data.(string)
			for s.Tasks()[0].Exit == "" {
				a.ask("GET /version")
			}
			got := a.ask("GET /nodes/phoenix/tasks/" + upid + "/status")
			if !strings.Contains(got.body, `"upid":"no such task"`) || got.status != "400 Parameter verification failed." {
				t.Errorf("the lost task: %s %s", got.status, got.body)
			}
			if g, there := s.Guest(200); there != tc.there || g.Lock != "" {
				t.Errorf("the guest is there: %v, want %v; lock %q", there, tc.there, g.Lock)
			}
		})
	}
}

func TestInterruptedTask(t *testing.T) {
	s, a := oneContainer(t)
	defer s.HoldTasks("vzcreate")()
	upid := a.ask("POST "+lxcPath, nginx(200)...).data.(string)
	a.ask("DELETE /nodes/phoenix/tasks/" + upid)
	if exit := a.wait(upid); exit != "received interrupt" {
		t.Errorf("the task ended with %q", exit)
	}
	if _, there := s.Guest(200); there {
		t.Error("the interrupted creation left its guest")
	}
}

func TestFileLock(t *testing.T) {
	s, a := oneContainer(t)
	release, err := s.HoldFileLock(101)
	if err != nil {
		t.Fatalf("hold the lock: %v", err)
	}
	if got := a.ask("PUT "+lxcPath+"/101/config", "tags=x"); got.status != "500 can't lock file '/run/lock/lxc/pve-config-101.lock' - got timeout" {
		t.Errorf("a write: %s", got.status)
	}
	if got := a.ask("GET " + lxcPath + "/101/config"); got.status != "200 OK" {
		t.Errorf("a read: %s", got.status)
	}
	if exit := a.task("POST " + lxcPath + "/101/status/start"); !strings.Contains(exit, "got timeout") {
		t.Errorf("a start: %s", exit)
	}
	release()
	if got := a.ask("PUT "+lxcPath+"/101/config", "tags=x"); got.status != "200 OK" {
		t.Errorf("a write after the release: %s", got.status)
	}
}

func TestRecord(t *testing.T) {
	s, a := oneContainer(t)
	a.ask("GET " + lxcPath + "/101/config")
	a.ask("GET /cluster/resources", "type=vm")
	if writes := s.Writes(); len(writes) != 0 {
		t.Errorf("writes after reading: %v", writes)
	}
	a.ask("PUT "+lxcPath+"/101/config", "tags=x")
	a.ask("PUT "+lxcPath+"/999/config", "tags=x")
	writes := s.Writes()
	if len(writes) != 2 || writes[0].Params["tags"] != "x" || writes[0].Status != 200 || writes[1].Status != 500 || writes[0].User != s.TokenID {
		t.Errorf("writes: %+v", writes)
	}
	if n := s.CountRequests("PUT", "/nodes/*/lxc/*/config"); n != 2 {
		t.Errorf("%d updates counted, want 2", n)
	}
	s.ForgetRequests()
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests after forgetting", n)
	}
}

func TestLax(t *testing.T) {
	s, a := oneContainer(t)
	if got := a.ask("GET "+lxcPath+"/101/config", "foo=1"); got.status != "400 Parameter verification failed." {
		t.Errorf("strict: %s", got.status)
	}
	s.SetStrict(false)
	if got := a.ask("GET "+lxcPath+"/101/config", "foo=1"); got.status != "200 OK" {
		t.Errorf("lax: %s", got.status)
	}
}
