// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// rows asks for a list and returns its rows by id.
func (a *asker) rows(request string, params ...string) map[string]map[string]any {
	a.t.Helper()
	got := a.ask(request, params...)
	list, ok := got.data.([]any)
	if !ok {
		a.t.Fatalf("%s: %s %s", request, got.status, got.body)
	}
	out := map[string]map[string]any{}
	for _, item := range list {
		row := item.(map[string]any)
		out[fmt.Sprint(row["id"])] = row
	}
	return out
}

func TestPermissions(t *testing.T) {
	s, root := tracedSite(t)
	s.AddUser("alice@pve", "alicepass1")
	s.Grant("/vms/101", "alice@pve", "PVEVMUser")
	aliceID, aliceSecret := s.AddToken("alice@pve", "all", false)
	sepID, sepSecret := s.AddToken("root@pam", "sep", true)
	alice, sep := asToken(t, s, aliceID, aliceSecret), asToken(t, s, sepID, sepSecret)
	for _, tc := range []struct {
		reason  string
		who     *asker
		request string
		params  []string
		want    string
	}{
		{"a node's status needs Sys.Audit", alice, "GET /nodes/pve1/status", nil, "403 Permission check failed (/nodes/pve1, Sys.Audit)"},
		{"a configuration that may be read", alice, "GET /nodes/pve1/lxc/101/config", nil, "200 OK"},
		{"a configuration that may not be changed", alice, "PUT /nodes/pve1/lxc/101/config", []string{"memory=64"},
			"403 Permission check failed (/vms/101, VM.Config.Disk|VM.Config.CPU|VM.Config.Memory|VM.Config.Network|VM.Config.Options)"},
		{"a guest that may not be seen", alice, "GET /nodes/pve1/qemu/100/config", nil, "403 Permission check failed (/vms/100, VM.Audit)"},
		{"permission is asked before existence", alice, "GET /nodes/pve1/qemu/999/config", nil, "403 Permission check failed (/vms/999, VM.Audit)"},
		{"a creation", alice, "POST /nodes/pve1/lxc", []string{"vmid=300", "ostemplate=x"}, "403 Permission check failed"},
		{"power", alice, "POST /nodes/pve1/lxc/101/status/shutdown", nil, "200 OK"},
		{"a storage's content", alice, "GET /nodes/pve1/storage/local/content", nil,
			"403 Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)"},
		{"the next id is for everybody", alice, "GET /cluster/nextid", nil, "200 OK"},
		{"a separated token has nothing of its own", sep, "GET /nodes/pve1/lxc/101/config", nil, "403 Permission check failed (/vms/101, VM.Audit)"},
		{"a token of root has every privilege", root, "GET /nodes/pve1/lxc/101/config", nil, "200 OK"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got := tc.who.ask(tc.request, tc.params...); got.status != tc.want {
				t.Errorf("%s: %q, want %q", tc.request, got.status, tc.want)
			}
		})
	}
	t.Run("lists are filtered in silence", func(t *testing.T) {
		var ids []string
		for id := range alice.rows("GET /cluster/resources") {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		if diff := cmp.Diff([]string{"lxc/101", "node/pve1"}, ids); diff != "" {
			t.Errorf("alice's resources (-want +got):\n%s", diff)
		}
		if got := sep.rows("GET /cluster/resources", "type=vm"); len(got) != 0 {
			t.Errorf("a token without VM.Audit sees %v", got)
		}
	})
	t.Run("a separated token gets what it is given", func(t *testing.T) {
		s.Grant("/", sepID, "PVEVMAdmin")
		if got := sep.ask("PUT /nodes/pve1/lxc/101/config", "memory=200"); got.status != "200 OK" {
			t.Errorf("after the grant: %s", got.status)
		}
		if got := sep.ask("GET /nodes/pve1/status"); got.status != "403 Permission check failed (/nodes/pve1, Sys.Audit)" {
			t.Errorf("what the role does not hold: %s", got.status)
		}
	})
	t.Run("deeper entries replace those above", func(t *testing.T) {
		s.Grant("/vms/100", sepID, "NoAccess")
		if got := sep.ask("GET /nodes/pve1/qemu/100/config"); got.status != "403 Permission check failed (/vms/100, VM.Audit)" {
			t.Errorf("NoAccess on the guest: %s", got.status)
		}
	})
}

// cluster is a site of three nodes with a running guest on the second one.
func cluster(t *testing.T) (*pve.Server, *asker) {
	t.Helper()
	s := start(t, pve.Options{NoSSH: true, Nodes: []string{"pve1", "pve2", "pve3"}, StatusRound: time.Hour, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Node: "pve2", Running: true, Config: "arch: amd64\nhostname: a\nmemory: 512\nrootfs: local-lvm:vm-101-disk-0,size=4G\nunprivileged: 1\n"},
	}})
	return s, asRootToken(t, s)
}

func TestDeadNode(t *testing.T) {
	s, a := cluster(t)
	s.SetNodeOnline("pve2", false, 0)
	for _, request := range []string{"GET /nodes/pve2/lxc/101/config", "PUT /nodes/pve2/lxc/101/config", "DELETE /nodes/pve2/lxc/101", "POST /nodes/pve2/lxc/101/status/stop"} {
		if got := a.ask(request); !strings.HasPrefix(got.status, "595 ") || got.body != "" {
			t.Errorf("%s: %q with body %q, want 595 and no body", request, got.status, got.body)
		}
	}
	if row := a.rows("GET /cluster/resources")["node/pve2"]; row["status"] != "online" {
		t.Errorf("right after its death the node is %v, want still online", row["status"])
	}
	s.StatusRound()
	rows := a.rows("GET /cluster/resources")
	if rows["lxc/101"]["status"] != "running" || rows["node/pve2"]["status"] != "offline" {
		t.Errorf("the dead node's guest is %v, the node %v; want running, offline", rows["lxc/101"]["status"], rows["node/pve2"]["status"])
	}
	s.SetNodeOnline("pve2", true, 0)
	if got := a.ask("GET /nodes/pve2/lxc/101/config"); got.status != "200 OK" {
		t.Errorf("after its return: %s", got.status)
	}
}

func TestHighAvailabilityMovesAGuest(t *testing.T) {
	s, a := cluster(t)
	before, _ := s.Guest(101)
	if err := s.Move(101, "pve3"); err != nil {
		t.Fatalf("move: %v", err)
	}
	after, _ := s.Guest(101)
	if diff := cmp.Diff(before.Config, after.Config); diff != "" || !after.Running {
		t.Errorf("the move changed the guest:\n%s", diff)
	}
	if got := a.ask("GET /nodes/pve2/lxc/101/config"); got.status != "500 Configuration file 'nodes/pve2/lxc/101.conf' does not exist" {
		t.Errorf("at the old node: %s", got.status)
	}
	if row := a.rows("GET /cluster/resources", "type=vm")["lxc/101"]; row["node"] != "pve3" {
		t.Errorf("the list says node %v: it is fresh there", row["node"])
	}
	a.mustTask("POST /nodes/pve3/lxc/101/migrate", "target=pve1", "restart=1")
	if g, _ := s.Guest(101); g.Node != "pve1" || len(g.Volumes) != 1 {
		t.Errorf("after the migration: node %s, volumes %v", g.Node, g.Volumes)
	}
}

func TestNoQuorum(t *testing.T) {
	s, a := cluster(t)
	s.SetQuorum(false)
	for _, tc := range []struct {
		reason, request string
		params          []string
		want            string
	}{
		{"reading works", "GET /nodes/pve2/lxc/101/config", nil, "200 OK"},
		{"a configuration cannot be written", "PUT /nodes/pve2/lxc/101/config", []string{"tags=x"}, "500 unable to open file '/etc/pve/nodes/pve2/lxc/101.conf.tmp.1000' - Permission denied"},
		{"a creation", "POST /nodes/pve1/lxc", nginx(300), "500 cluster not ready - no quorum?"},
		{"a start", "POST /nodes/pve1/qemu/9000/status/start", nil, "500 cluster not ready - no quorum?"},
		{"a firewall's write blocks, then fails", "PUT /cluster/firewall/options", []string{"enable=1"}, "500 cfs-lock 'firewall' error: no quorum!"},
		{"a container's stop works", "POST /nodes/pve2/lxc/101/status/stop", nil, "200 OK"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got := a.ask(tc.request, tc.params...); got.status != tc.want {
				t.Errorf("%s: %q, want %q", tc.request, got.status, tc.want)
			}
		})
	}
}

func TestFiguresLag(t *testing.T) {
	s, a := cluster(t)
	if err := s.Power(101, false); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if err := s.SetConfig(101, "hostname", "b"); err != nil {
		t.Fatalf("rename: %v", err)
	}
	if err := s.SetConfig(101, "tags", "fresh"); err != nil {
		t.Fatalf("tag: %v", err)
	}
	a.mustTask("POST /nodes/pve1/lxc", nginx(300)...)
	rows := a.rows("GET /cluster/resources", "type=vm")
	if row := rows["lxc/101"]; row["status"] != "running" || row["name"] != "a" || row["tags"] != "fresh" {
		t.Errorf("before the round: %v; want the old status and name, the new tags", row)
	}
	if row := rows["lxc/300"]; row["status"] != "unknown" || row["name"] != nil {
		t.Errorf("a new guest: %v; want it unknown and without a name", row)
	}
	if row := a.ask("GET /nodes/pve2/lxc/101/status/current").data.(map[string]any); row["status"] != "stopped" {
		t.Errorf("the node itself says %v", row["status"])
	}
	s.StatusRound()
	rows = a.rows("GET /cluster/resources", "type=vm")
	if rows["lxc/101"]["status"] != "stopped" || rows["lxc/101"]["name"] != "b" || rows["lxc/300"]["status"] != "stopped" {
		t.Errorf("after the round: %v, %v", rows["lxc/101"], rows["lxc/300"])
	}
	s.ForgetStatus()
	if row := a.rows("GET /cluster/resources", "type=vm")["lxc/101"]; row["status"] != "unknown" {
		t.Errorf("after a restart of the status daemons: %v", row["status"])
	}
}

func TestSuspendKeepsTheMemory(t *testing.T) {
	s, a := cluster(t)
	before, address := s.Guests(), s.URL
	s.Suspend()
	if _, err := a.try("GET /version"); err == nil {
		t.Error("the suspended site answers")
	}
	if err := s.Resume(); err != nil {
		t.Fatalf("resume: %v", err)
	}
	if s.URL != address {
		t.Errorf("resumed at %s, was at %s", s.URL, address)
	}
	if diff := cmp.Diff(before, s.Guests()); diff != "" {
		t.Errorf("the memory changed:\n%s", diff)
	}
	if got := a.ask("GET /version"); got.status != "200 OK" {
		t.Errorf("after the return: %s", got.status)
	}
}
