// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// classes are all the questions that can be asked of an error.
var classes = map[string]func(error) bool{
	"NotExist": IsNotExist, "Locked": IsLocked, "Conflict": IsConflict, "Exists": IsExists, "RootOnly": IsRootOnly,
	"NoQuorum": IsNoQuorum, "Already": IsAlready, "Denied": IsDenied, "Unauthorized": IsUnauthorized,
	"Invalid": IsInvalid, "Unreachable": IsUnreachable, "Untrusted": IsUntrusted,
}

func classify(err error) []string {
	var held []string
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		if classes[name](err) {
			held = append(held, name)
		}
	}
	return held
}

// TestRecordedErrors sends answers as recorded on Proxmox VE 9.2 through the
// whole client, by PUT: no call of go-proxmox's loses more than that one.
func TestRecordedErrors(t *testing.T) {
	cases := map[string]struct {
		reason string
		answer answer
		want   []string
		text   string // part of the error's text
	}{
		"missing guest":      {"500, never 404", refusal(500, "Configuration file 'nodes/pve1/lxc/999.conf' does not exist"), []string{"NotExist"}, "999.conf"},
		"missing template":   {"a clone words it otherwise", refusal(500, "unable to find configuration file for VM 110 on node 'pve1'"), []string{"NotExist"}, "VM 110"},
		"backup lock":        {"a config lock", refusal(500, "CT is locked (backup)"), []string{"Locked"}, "backup"},
		"VM lock":            {"with the number", refusal(500, "VM 100 is locked (clone)"), []string{"Locked"}, "clone"},
		"file lock":          {"another writer for ten seconds", refusal(500, "can't lock file '/run/lock/lxc/pve-config-101.lock' - got timeout"), []string{"Locked"}, "got timeout"},
		"container digest":   {"a stale digest", refusal(500, "detected modified configuration - file changed by other user? Try again."), []string{"Conflict"}, "modified"},
		"VM digest":          {"a stale digest in other words", refusal(500, "checksum mismatch (file change by other user?)"), []string{"Conflict"}, "checksum"},
		"taken VM":           {"the VMID is a VM's", refusal(500, "unable to create VM 100 - VM 100 already exists on node 'pve1'"), []string{"Exists"}, "VM 100"},
		"taken CT":           {"the VMID is a container's", refusal(500, "CT 210 already exists on node 'pve1'"), []string{"Exists"}, "CT 210"},
		"nextid":             {"a used VMID in a field", invalid(`{"vmid":"VM 101 already exists"}`), []string{"Exists", "Invalid"}, "vmid: VM 101"},
		"denied":             {"403 keeps its text", refusal(403, "Permission check failed (/vms/101, VM.Config.Disk|VM.Config.CPU)"), []string{"Denied"}, "VM.Config.CPU"},
		"bind mount":         {"not even root's token", refusal(403, "Permission check failed (mount point type bind is only allowed for root@pam)"), []string{"Denied", "RootOnly"}, "bind"},
		"features":           {"not even root's token", refusal(403, "Permission check failed (changing feature flags (except nesting) is only allowed for root@pam)"), []string{"Denied", "RootOnly"}, "feature flags"},
		"skiplock":           {"in a field", invalid(`{"skiplock":"Only root may use this option."}`), []string{"Invalid", "RootOnly"}, "Only root"},
		"bad token":          {"401 has an empty body and keeps its text", answer{status: "401 Authentication failed!"}, []string{"Unauthorized"}, "Authentication failed!"},
		"no ticket":          {"401 too, in other words", answer{status: "401 No ticket"}, []string{"Unauthorized"}, "No ticket"},
		"parameters":         {"each field is named", invalid(`{"net0":"invalid format - format error\nnet0.model: value 'foo' does not ...\n","cores":"value must have a minimum value of 1"}`), []string{"Invalid"}, "cores: value must have a minimum value of 1; net0: invalid format - format error net0.model"},
		"hotplug":            {"a failed hotplug is 400", invalid(`{"net2":"unable to hotplug net2: bridge 'vmbr77' does not exist\n"}`), []string{"Invalid"}, "vmbr77"},
		"dead node":          {"595 and an empty body", answer{status: "595 No route to host"}, []string{"Unreachable"}, "No route"},
		"broken node":        {"596 and an empty body", answer{status: "596 Broken pipe"}, []string{"Unreachable"}, "Broken pipe"},
		"node's answer":      {"599 and an empty body", answer{status: "599 Too many redirections"}, []string{"Unreachable"}, "599"},
		"gateway":            {"a proxy before the site", answer{status: "502 Bad Gateway", body: "<html>"}, []string{"Unreachable"}, "Bad Gateway"},
		"cut":                {"no answer at all", answer{cut: true}, []string{"Unreachable"}, "EOF"},
		"nothing":            {"200 and an empty body says nothing", answer{status: "200 OK", body: ""}, []string{"Unreachable"}, "empty"},
		"another server":     {"200 of something else", answer{status: "200 OK", body: "<html>hello</html>"}, nil, "not Proxmox"},
		"no quorum":          {"create and start", refusal(500, "cluster not ready - no quorum?"), []string{"NoQuorum"}, "quorum"},
		"no quorum, config":  {"the file system is read-only then", refusal(500, "unable to open file '/etc/pve/nodes/pve1/lxc/101.conf.tmp.1' - Permission denied"), []string{"NoQuorum"}, "Permission denied"},
		"no quorum, fw":      {"after ten seconds", refusal(500, "cfs-lock 'domain-firewall' error: no quorum!"), []string{"NoQuorum"}, "quorum"},
		"running":            {"a container runs already", refusal(500, "CT 101 already running"), []string{"Already"}, "already"},
		"not running":        {"a container stands still", refusal(500, "CT 101 not running"), []string{"Already"}, "not running"},
		"same size":          {"nothing to grow", refusal(500, "disk is already at specified size"), []string{"Already"}, "size"},
		"no agent":           {"not running, but no guest", refusal(500, "QEMU guest agent is not running"), nil, "agent"},
		"shrinking":          {"just refused", refusal(500, "unable to shrink disk size"), nil, "shrink"},
		"unknown node":       {"just refused", refusal(500, "hostname lookup 'pve9' failed - failed to get address info"), nil, "pve9"},
		"not implemented":    {"501", refusal(501, "Method 'PUT /nodes/pve1/lxc/101/config' not implemented"), nil, "not implemented"},
		"moved":              {"a redirect is not followed: it would carry the token away", answer{status: "301 Moved Permanently", body: ""}, nil, "301"},
		"malformed complain": {"a field of another shape is shown as it is", invalid(`{"x":{"y":1}}`), []string{"Invalid"}, `x: {"y":1}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			const path = "/nodes/pve1/lxc/101/config"
			site := record(t, map[string][]answer{"PUT " + path: {c.answer}})
			err := site.client(t).SetConfig(t.Context(), guest101, "", map[string]string{"memory": "512"}, nil)
			if err == nil {
				t.Fatalf("%s: no error", c.reason)
			}
			var e *Error
			if !errors.As(err, &e) || e.Method != "PUT" || e.Path != path {
				t.Errorf("%s: %v is not the *Error of the call", c.reason, err)
			}
			if diff := cmp.Diff(c.want, classify(err)); diff != "" {
				t.Errorf("%s: %v is (-want +got):\n%s", c.reason, err, diff)
			}
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %q lacks %q", c.reason, err, c.text)
			}
			if n := site.count("PUT " + path); n != 1 {
				t.Errorf("%s: the write was sent %d times", c.reason, n)
			}
		})
	}
}

var guest101 = Ref{Node: "pve1", Type: LXC, VMID: 101}

func TestErrorsHoldNoSecrets(t *testing.T) {
	const password = "correct-horse-battery"
	site := record(t, map[string][]answer{
		"PUT /nodes/pve1/qemu/7/config": {invalid(`{"cipassword":"value '` + password + `' is bad"}`)},
	})
	set := map[string]string{"cipassword": password, "ciuser": "debian"}
	err := site.client(t).SetConfig(t.Context(), Ref{Node: "pve1", Type: QEMU, VMID: 7}, "", set, nil)
	if err == nil || !strings.Contains(err.Error(), "cipassword") {
		t.Fatalf("the refusal does not name the field: %v", err)
	}
	if shown := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(shown, password) || strings.Contains(shown, "5ecret") {
		t.Errorf("the error shows a secret: %s", shown)
	}
	if !strings.Contains(site.last().body, password) {
		t.Errorf("the password was not sent: %s", site.last().body)
	}
	if got := site.last().header.Get("Authorization"); got != "PVEAPIToken=root@pam!t1=5ecret-5ecret-5ecret" {
		t.Errorf("Authorization: %s", got)
	}
}

func TestErrorText(t *testing.T) {
	cases := map[string]struct {
		reason string
		err    Error
		want   string
	}{
		"once":      {"reason and message mostly are the same", Error{Method: "GET", Path: "/x", Code: 500, Reason: "CT is locked", Message: "CT is locked"}, "GET /x: 500 CT is locked"},
		"longer":    {"the fuller one", Error{Method: "GET", Path: "/x", Code: 500, Reason: "no", Message: "no quorum"}, "GET /x: 500 no quorum"},
		"both":      {"when they differ", Error{Method: "GET", Path: "/x", Code: 500, Reason: "a", Message: "b"}, "GET /x: 500 a: b"},
		"message":   {"a server without reason phrases", Error{Method: "GET", Path: "/x", Code: 500, Message: "b"}, "GET /x: 500 b"},
		"transport": {"no answer has no code", Error{Method: "GET", Path: "/x", Err: errors.New("refused")}, "GET /x: refused"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.err.Error(); got != c.want {
				t.Errorf("%s: %q, want %q", c.reason, got, c.want)
			}
		})
	}
}

func TestClassesOfOtherErrors(t *testing.T) {
	given := &Error{Method: "GET", Path: "/x", Err: context.Canceled}
	cases := map[string]struct {
		reason string
		err    error
		want   []string
	}{
		"nil":     {"no error", nil, nil},
		"foreign": {"an error of somebody else", errors.New("CT is locked"), nil},
		"wrapped": {"callers add words", fmt.Errorf("start: %w", &Error{Code: 500, Reason: "CT 101 already running"}), []string{"Already"}},
		"given":   {"the caller gave up: that says nothing of the site", given, nil},
		"late":    {"nobody answered in time", &Error{Err: context.DeadlineExceeded}, []string{"Unreachable"}},
		"breaker": {"not even tried", &Error{Err: ErrBreakerOpen}, []string{"Unreachable"}},
		"task":    {"a task's exit reads like a call's error", Task{State: TaskFailed, Exit: "VM 100 already running"}.Err(), []string{"Already"}},
		"locked":  {"start answers 200 and the task fails", Task{State: TaskFailed, Exit: "CT is locked (backup)"}.Err(), []string{"Locked"}},
		"lost":    {"an outcome that is not known", Task{State: TaskUnknown}.Err(), nil},
		"ended":   {"a task that succeeded", Task{State: TaskSucceeded}.Err(), nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, classify(c.err)); diff != "" {
				t.Errorf("%s: (-want +got):\n%s", c.reason, diff)
			}
		})
	}
	if (Task{State: TaskRunning}).Err() != nil || (Task{State: TaskUnknown}).Err() == nil {
		t.Error("a running task is no error, a lost one is")
	}
}
