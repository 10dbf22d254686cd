// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var agentVM = Ref{Node: "pve1", Type: QEMU, VMID: 100}

const (
	agentExecCall   = "POST /nodes/pve1/qemu/100/agent/exec"
	agentStatusCall = "GET /nodes/pve1/qemu/100/agent/exec-status"
)

func TestAgentExec(t *testing.T) {
	cases := map[string]struct {
		reason  string
		command []string
		input   string
		answer  answer
		body    map[string]any // what goes over the wire
		pid     int
		fails   string
		is      error
	}{
		"input":         {"standard input stands beside the command", []string{"sh", "-s"}, "echo hi\n", data(`{"pid":812}`), map[string]any{"command": []any{"sh", "-s"}, "input-data": "echo hi\n"}, 812, "", nil},
		"one word":      {"a list of one is a list", []string{"true"}, "", data(`{"pid":"7"}`), map[string]any{"command": []any{"true"}}, 7, "", nil},
		"empty words":   {"they are arguments too", []string{"printf", "", "a,b;c", ""}, "", data(`{"pid":7}`), map[string]any{"command": []any{"printf", "", "a,b;c", ""}}, 7, "", nil},
		"no pid":        {"go-proxmox panics here", []string{"true"}, "", data(`{"pid":null}`), map[string]any{"command": []any{"true"}}, 0, "no process ID", nil},
		"no agent":      {"measured", []string{"true"}, "", refusal(500, "QEMU guest agent is not running"), map[string]any{"command": []any{"true"}}, 0, "guest agent", ErrAgentAbsent},
		"stopped":       {"nobody there either", []string{"true"}, "", refusal(500, "VM 100 is not running"), map[string]any{"command": []any{"true"}}, 0, "not running", ErrAgentAbsent},
		"empty":         {"nothing to run", nil, "", answer{}, nil, 0, "there is none", nil},
		"NUL":           {"would become two arguments", []string{"echo", "a\x00b"}, "", answer{}, nil, 0, "NUL", nil},
		"too long":      {"the API would refuse it", []string{"cat"}, strings.Repeat("x", MaxAgentInput+1), answer{}, nil, 0, "longer", nil},
		"not ASCII":     {"Proxmox VE would garble it", []string{"cat"}, "Grüße", answer{}, nil, 0, "ASCII", nil},
		"input is kept": {"of a secret nothing is in the error", []string{"cat"}, "p4ssword", refusal(500, "Agent error: nope"), map[string]any{"command": []any{"cat"}, "input-data": "p4ssword"}, 0, "nope", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			site := record(t, map[string][]answer{agentExecCall: {c.answer}})
			pid, err := site.client(t).AgentExec(t.Context(), agentVM, c.command, []byte(c.input))
			if pid != c.pid || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) || c.is != nil && !errors.Is(err, c.is) {
				t.Fatalf("%s: %d, %v", c.reason, pid, err)
			}
			if err != nil && strings.Contains(err.Error(), "p4ssword") {
				t.Errorf("%s: %v", c.reason, err)
			}
			if want := len(c.body); (want > 0) != (site.count(agentExecCall) == 1) {
				t.Fatalf("%s: %d calls", c.reason, site.count(agentExecCall))
			}
			if c.body == nil {
				return
			}
			var body map[string]any
			if err := json.Unmarshal([]byte(site.last().body), &body); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.body, body); diff != "" {
				t.Errorf("%s: body (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestAgentExecStatus(t *testing.T) {
	cases := map[string]struct {
		reason string
		answer answer
		want   AgentStatus
		is     error
	}{
		"running":   {"no exit yet", data(`{"exited":0}`), AgentStatus{}, nil},
		"exited":    {"numbers as booleans", data(`{"exited":1,"exitcode":3,"out-data":"a\n","err-data":"b\n"}`), AgentStatus{Exited: true, ExitCode: 3, Stdout: "a\n", Stderr: "b\n"}, nil},
		"booleans":  {"as booleans too", data(`{"exited":true,"exitcode":"0","out-truncated":true}`), AgentStatus{Exited: true, Truncated: true}, nil},
		"killed":    {"by a signal", data(`{"exited":1,"signal":9}`), AgentStatus{Exited: true, Signal: 9}, nil},
		"reaped":    {"measured, with the agent's own slip", refusal(500, "Agent error: PID ld does not exist"), AgentStatus{}, ErrNoAgentProcess},
		"gone away": {"the VM was stopped", refusal(500, "QEMU guest agent is not running"), AgentStatus{}, ErrAgentAbsent},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			site := record(t, map[string][]answer{agentStatusCall: {c.answer}})
			got, err := site.client(t).AgentExecStatus(t.Context(), agentVM, 812)
			if !errors.Is(err, c.is) {
				t.Fatalf("%s: %v", c.reason, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if q := site.last().query.Encode(); q != "pid=812" {
				t.Errorf("%s: query %s", c.reason, q)
			}
		})
	}
}
