// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	upidStart = "UPID:pve1:00000563:0003D0DD:6B01EE4C:vzstart:101:root@pam!t1:"
	pathStart = "/nodes/pve1/tasks/" + upidStart
)

// TestReads decodes answers as recorded on Proxmox VE 9.2, mixed types and all.
func TestReads(t *testing.T) {
	vm := Ref{Node: "pve1", Type: QEMU, VMID: 100}
	cases := map[string]struct {
		reason, path, answer string
		read                 func(context.Context, *Client) (any, error)
		want                 any
		query                string
	}{
		"nodes": {
			"memory and CPUs are hidden without Sys.Audit", "/nodes",
			`[{"id":"node/pve2","node":"pve2","status":"offline","type":"node","level":""},{"node":"pve1","status":"online","maxcpu":2,"maxmem":25276514304,"cpu":0.99}]`,
			func(ctx context.Context, c *Client) (any, error) { return c.Nodes(ctx) },
			[]Node{{Name: "pve1", Online: true, Status: "online", CPUs: 2, MemoryBytes: 25276514304}, {Name: "pve2", Status: "offline"}}, "",
		},
		"single node": {
			"no cluster row means quorate", "/cluster/status", `[{"type":"node","name":"pve1","online":1,"local":1,"nodeid":0}]`,
			func(ctx context.Context, c *Client) (any, error) { return c.Quorate(ctx) }, true, "",
		},
		"no quorum": {
			"the cluster row says so", "/cluster/status", `[{"type":"cluster","name":"c","quorate":0,"nodes":3},{"type":"node","name":"pve1","online":1}]`,
			func(ctx context.Context, c *Client) (any, error) { return c.Quorate(ctx) }, false, "",
		},
		"resources": {
			"a new guest has neither name nor status yet", "/cluster/resources",
			`[{"netin":0,"vmid":101,"type":"lxc","id":"lxc/101","name":"ct101","status":"running","node":"pve1","template":0,"cpu":0.1},
			{"vmid":"100","tags":"two;one","status":"stopped","type":"qemu","node":"pve1","template":1,"lock":"backup","hastate":"started"},
			{"vmid":102,"type":"lxc","node":"pve2"},{"type":"storage","id":"storage/pve1/local"}]`,
			func(ctx context.Context, c *Client) (any, error) { return c.Resources(ctx) },
			[]Resource{
				{Ref: vm, Status: "stopped", Tags: []string{"one", "two"}, Template: true, Lock: "backup", HAState: "started"},
				{Ref: guest101, Name: "ct101", Status: "running"},
				{Ref: Ref{Node: "pve2", Type: LXC, VMID: 102}, Status: "unknown"},
			}, "type=vm",
		},
		"permissions": {
			"the value says whether it propagates", "/access/permissions", `{"/":{"VM.Audit":1},"/vms/101":{"VM.PowerMgmt":0}}`,
			func(ctx context.Context, c *Client) (any, error) { return c.Permissions(ctx) },
			Permissions{"/": {"VM.Audit": true}, "/vms/101": {"VM.PowerMgmt": false}}, "",
		},
		"storages": {
			"content is a list in no order", "/nodes/pve1/storage",
			`[{"storage":"local","type":"dir","avail":61057036288,"total":270553174016,"content":"vztmpl,images,rootdir","enabled":1,"active":1,"shared":0}]`,
			func(ctx context.Context, c *Client) (any, error) { return c.Storages(ctx, "pve1") },
			[]Storage{{Name: "local", Type: "dir", Avail: 61057036288, Total: 270553174016, Content: []string{"images", "rootdir", "vztmpl"}, Enabled: true, Active: true}}, "",
		},
		"storages of snippets": {
			"a folder is where the definition says; what is off, or keeps no files, is none", "/storage",
			`[{"storage":"tank","type":"nfs","content":"images,snippets","path":"/mnt/pve/tank","shared":1,"nodes":"pve2,pve1"},
			{"storage":"local","type":"dir","content":"iso,snippets","path":"/var/lib/vz"},{"storage":"lvm","type":"lvmthin","content":"images","vgname":"pve"},
			{"storage":"own","type":"dir","content":"snippets","path":"/srv","content-dirs":{"snippets":"ci","iso":"x"}},
			{"storage":"text","type":"dir","content":"snippets","path":"/srv","content-dirs":"iso=x,snippets=ci/vendor"},
			{"storage":"odd","type":"dir","content":"snippets","path":"srv"},{"storage":"off","type":"dir","content":"snippets","path":"/off","disable":1}]`,
			func(ctx context.Context, c *Client) (any, error) { return c.SnippetStorages(ctx) },
			[]SnippetStorage{
				{Name: "local", Folder: "/var/lib/vz/snippets"}, {Name: "own", Folder: "/srv/ci"},
				{Name: "tank", Folder: "/mnt/pve/tank/snippets", Nodes: []string{"pve1", "pve2"}, Shared: true}, {Name: "text", Folder: "/srv/ci/vendor"},
			}, "",
		},
		"container config": {
			"numbers become text, cpulimit a string in one release and a number in the next, lxc lines stand apart", "/nodes/pve1/lxc/101/config",
			`{"digest":"47101a903c2fd13cf37e39403efa07fd9d326d8b","memory":160,"unprivileged":1,"onboot":false,"cpulimit":1.5,"hostname":"ct101","swap":null,"lxc":[["lxc.apparmor.profile","unconfined"],["lxc.mount.entry","a b"]],"future":{"x":1}}`,
			func(ctx context.Context, c *Client) (any, error) { return c.Config(ctx, guest101) },
			Config{
				Digest: "47101a903c2fd13cf37e39403efa07fd9d326d8b",
				Values: map[string]string{"memory": "160", "unprivileged": "1", "onboot": "0", "cpulimit": "1.5", "hostname": "ct101", "future": `{"x":1}`},
				Raw:    [][2]string{{"lxc.apparmor.profile", "unconfined"}, {"lxc.mount.entry", "a b"}},
			}, "",
		},
		"VM config": {
			"memory is a string, cpulimit too", "/nodes/pve1/qemu/100/config", `{"digest":"4f71","memory":"256","cores":1,"agent":"1","cpulimit":"1"}`,
			func(ctx context.Context, c *Client) (any, error) { return c.Config(ctx, vm) },
			Config{Digest: "4f71", Values: map[string]string{"memory": "256", "cores": "1", "agent": "1", "cpulimit": "1"}}, "",
		},
		"pending": {
			"only what is pending", "/nodes/pve1/qemu/100/pending",
			`[{"key":"net0","value":"x"},{"pending":2,"key":"cores","value":1},{"pending":"512","key":"memory","value":"256"},{"key":"tags","value":"a","delete":1},{"pending":"1.1.1.1","key":"nameserver"},{"key":"digest","value":"e354"}]`,
			func(ctx context.Context, c *Client) (any, error) { return c.Pending(ctx, vm) },
			[]PendingChange{
				{Key: "cores", Value: "1", Pending: "2"}, {Key: "memory", Value: "256", Pending: "512"},
				{Key: "nameserver", Pending: "1.1.1.1"}, {Key: "tags", Value: "a", Delete: true},
			}, "",
		},
		"VM status": {
			"as recorded", "/nodes/pve1/qemu/100/status/current",
			`{"ha":{"managed":0},"pid":1105,"qmpstatus":"running","mem":4194304,"agent":1,"uptime":61,"status":"running","cpus":1,"name":"vm100","nics":{"tap100i0":{"netin":110}}}`,
			func(ctx context.Context, c *Client) (any, error) { return c.Status(ctx, vm) },
			Status{Running: true, Status: "running", QMPStatus: "running", Uptime: 61 * time.Second, AgentEnabled: true}, "",
		},
		"container status": {
			"with nulls", "/nodes/pve1/lxc/101/status/current", `{"ha":{"managed":1},"status":"stopped","uptime":null,"lock":"backup","pressurecpusome":null}`,
			func(ctx context.Context, c *Client) (any, error) { return c.Status(ctx, guest101) },
			Status{Status: "stopped", Lock: "backup", HAManaged: true}, "",
		},
		"container interfaces": {
			"both forms of addresses, each once", "/nodes/pve1/lxc/101/interfaces",
			`[{"name":"lo","hwaddr":"00:00:00:00:00:00","inet":"127.0.0.1/8","inet6":"::1/128"},{"name":"eth0","hardware-address":"BC:24:11:5D:6E:BF","inet":"10.99.0.101/24","ip-addresses":[{"ip-address":"10.99.0.101","ip-address-type":"inet","prefix":"24"},{"ip-address":"fe80::1%eth0","prefix":64},{"ip-address":"nonsense","prefix":24},{"ip-address":"10.0.0.1","prefix":99}]}]`,
			func(ctx context.Context, c *Client) (any, error) { return c.Interfaces(ctx, guest101) },
			[]Interface{
				{Name: "lo", MAC: "00:00:00:00:00:00", Addresses: prefixes("127.0.0.1/8", "::1/128")},
				{Name: "eth0", MAC: "bc:24:11:5d:6e:bf", Addresses: prefixes("10.99.0.101/24", "fe80::1/64")},
			}, "",
		},
		"stopped container": {
			"has no interfaces", "/nodes/pve1/lxc/101/interfaces", `null`,
			func(ctx context.Context, c *Client) (any, error) { return c.Interfaces(ctx, guest101) }, []Interface{}, "",
		},
		"VM interfaces": {
			"the agent's answer is nested once more", "/nodes/pve1/qemu/100/agent/network-get-interfaces",
			`{"result":[{"name":"eth0","hardware-address":"bc:24:11:73:4c:0a","ip-addresses":[{"ip-address":"10.99.0.100","prefix":24,"ip-address-type":"ipv4"}]}]}`,
			func(ctx context.Context, c *Client) (any, error) { return c.Interfaces(ctx, vm) },
			[]Interface{{Name: "eth0", MAC: "bc:24:11:73:4c:0a", Addresses: prefixes("10.99.0.100/24")}}, "",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			site := record(t, map[string][]answer{"GET " + c.path: {data(c.answer)}})
			got, err := c.read(t.Context(), site.client(t))
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("%s: (-want +got):\n%s", c.reason, diff)
			}
			if q := site.last().query.Encode(); q != c.query {
				t.Errorf("%s: query %q, want %q (an unknown parameter is 400)", c.reason, q, c.query)
			}
		})
	}
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestAgentAbsent(t *testing.T) {
	const path = "/nodes/pve1/qemu/100/agent/network-get-interfaces"
	cases := map[string]struct {
		reason string
		answer answer
		absent bool
	}{
		"not running":    {"it is not installed, or not up yet", refusal(500, "QEMU guest agent is not running"), true},
		"not configured": {"the configuration says there is none", refusal(500, "No QEMU guest agent configured"), true},
		"VM stopped":     {"that is another matter", refusal(500, "VM 100 is not running"), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			site := record(t, map[string][]answer{"GET " + path: {c.answer}})
			_, err := site.client(t).Interfaces(t.Context(), Ref{Node: "pve1", Type: QEMU, VMID: 100})
			if err == nil || errors.Is(err, ErrAgentAbsent) != c.absent {
				t.Errorf("%s: %v", c.reason, err)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%s: %v lost the *Error", c.reason, err)
			}
		})
	}
}

// TestTask holds the driver to what a task's end means: go-proxmox counts
// "WARNINGS: n" as failed and waits without looking at the exit status.
func TestTask(t *testing.T) {
	cases := map[string]struct {
		reason string
		answer answer
		want   Task
	}{
		"running":      {"no exit yet", data(`{"status":"running","type":"vzstart","pid":1379}`), Task{State: TaskRunning}},
		"OK":           {"done", data(`{"status":"stopped","exitstatus":"OK"}`), Task{State: TaskSucceeded, Exit: "OK"}},
		"warnings":     {"done, with words", data(`{"status":"stopped","exitstatus":"WARNINGS: 3"}`), Task{State: TaskSucceeded, Exit: "WARNINGS: 3", Warnings: 3}},
		"failed":       {"the text says why", data(`{"status":"stopped","exitstatus":"VM quit/powerdown failed - got timeout"}`), Task{State: TaskFailed, Exit: "VM quit/powerdown failed - got timeout"}},
		"interrupted":  {"a person stopped it", data(`{"status":"stopped","exitstatus":"received interrupt"}`), Task{State: TaskFailed, Exit: "received interrupt"}},
		"unexpected":   {"measured: the guest still stood", data(`{"status":"stopped","exitstatus":"unexpected status"}`), Task{State: TaskUnknown, Exit: "unexpected status"}},
		"no exit":      {"stopped, and nothing known", data(`{"status":"stopped"}`), Task{State: TaskUnknown}},
		"no such task": {"400, and no error: its log is gone", invalid(`{"upid":"no such task"}`), Task{State: TaskUnknown}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			site := record(t, map[string][]answer{"GET " + pathStart + "/status": {c.answer}})
			got, err := site.client(t).Task(t.Context(), upidStart)
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			c.want.UPID, c.want.Node, c.want.Type, c.want.ID, c.want.User = upidStart, "pve1", "vzstart", "101", "root@pam!t1"
			c.want.Started = time.Unix(0x6B01EE4C, 0).UTC()
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: (-want +got):\n%s", c.reason, diff)
			}
		})
	}
	site := record(t, map[string][]answer{"GET " + pathStart + "/status": {{status: "596 Broken pipe"}}})
	if _, err := site.client(t).Task(t.Context(), upidStart); !IsUnreachable(err) {
		t.Errorf("a poll that goes unanswered says nothing of the task: %v", err)
	}
	if _, err := site.client(t).Task(t.Context(), "nonsense"); err == nil {
		t.Error("nonsense was asked about")
	}
}

func TestParseUPID(t *testing.T) {
	for _, bad := range []string{
		"", "UPID:foo", strings.TrimSuffix(upidStart, ":"), "X" + upidStart, "UPID:pve1:x:0003D0DD:6B01EE4C:vzstart:101:root@pam:",
		"UPID::00000563:0003D0DD:6B01EE4C:vzstart:101:root@pam:", upidStart + "x",
	} {
		if got, err := ParseUPID(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

func TestTaskLog(t *testing.T) {
	var rows []map[string]any
	for n := range 500 {
		rows = append(rows, map[string]any{"n": n + 1, "t": "copied some"})
	}
	full, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	site := record(t, map[string][]answer{"GET " + pathStart + "/log": {
		data(string(full)), data(`[{"n":501,"t":"unable to copy"},{"n":502,"t":"TASK ERROR: disk full"}]`),
	}})
	got, err := site.client(t).TaskLog(t.Context(), upidStart, 3)
	if diff := cmp.Diff([]string{"copied some", "unable to copy", "TASK ERROR: disk full"}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if start := site.last().query.Get("start"); start != "500" {
		t.Errorf("the second page begins at %q", start)
	}
}

func TestFreeVMID(t *testing.T) {
	taken := invalid(`{"vmid":"VM 101 already exists"}`)
	cases := map[string]struct {
		reason  string
		answers []answer // of nextid
		taken   func(int) bool
		last    int
		want    int
		err     func(error) bool
	}{
		"lowest":      {"100 is in the list", []answer{data(`"101"`)}, nil, 110, 101, nil},
		"hidden":      {"101 belongs to a guest that the token may not see", []answer{taken, data(`102`)}, nil, 110, 102, nil},
		"reserved":    {"another object claims 101", []answer{data(`"102"`)}, func(id int) bool { return id == 101 }, 110, 102, nil},
		"exhausted":   {"a range of one, taken", nil, nil, 100, 0, func(err error) bool { return errors.Is(err, ErrRangeExhausted) }},
		"all hidden":  {"every one is refused", []answer{taken}, nil, 103, 0, func(err error) bool { return errors.Is(err, ErrRangeExhausted) }},
		"out of sync": {"an error is no free VMID", []answer{refusal(500, "got timeout")}, nil, 110, 0, func(err error) bool { return strings.Contains(err.Error(), "timeout") }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			site := record(t, map[string][]answer{
				"GET /cluster/resources": {data(`[{"vmid":100,"type":"qemu","node":"pve1","status":"running"}]`)},
				"GET /cluster/nextid":    c.answers,
			})
			got, err := site.client(t).FreeVMID(t.Context(), 100, c.last, c.taken)
			if got != c.want || (err != nil) != (c.err != nil) || err != nil && !c.err(err) {
				t.Errorf("%s: FreeVMID() = %d, %v", c.reason, got, err)
			}
		})
	}
}

func TestPermissionsHas(t *testing.T) {
	p := Permissions{
		"/":        {"VM.Audit": true, "Sys.Audit": false},
		"/vms":     {"VM.Audit": true, "VM.PowerMgmt": true},
		"/vms/100": {"VM.PowerMgmt": false},
		"/storage": {},
	}
	cases := map[string]struct {
		reason, path, privilege string
		want                    bool
	}{
		"itself":        {"as listed", "/vms", "VM.PowerMgmt", true},
		"child":         {"from the parent", "/vms/101", "VM.PowerMgmt", true},
		"own entry":     {"held without propagating", "/vms/100", "VM.PowerMgmt", true},
		"replaced":      {"an entry replaces the ones above", "/vms/100", "VM.Audit", false},
		"grandchild":    {"from far above", "/nodes/pve1", "VM.Audit", true},
		"not passed on": {"held at / alone", "/nodes/pve1", "Sys.Audit", false},
		"root":          {"held at /", "/", "Sys.Audit", true},
		"empty entry":   {"nothing is held there or below", "/storage/local", "VM.Audit", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := p.Has(c.path, c.privilege); got != c.want {
				t.Errorf("%s: Has(%s, %s) = %v", c.reason, c.path, c.privilege, got)
			}
		})
	}
	if (Permissions{}).Has("/vms/1", "VM.Audit") {
		t.Error("no entry at all grants something")
	}
}

func TestBoundedScalars(t *testing.T) {
	cases := map[string]struct {
		reason, json string
		want         int64
		bad          bool
	}{
		"number":   {"as most", `7`, 7, false},
		"string":   {"as some", `"7"`, 7, false},
		"big":      {"bytes beyond 53 bits stay exact", `9007199254740993`, 9007199254740993, false},
		"fraction": {"cut off", `2.9`, 2, false},
		"true":     {"a boolean", `true`, 1, false},
		"null":     {"absent", `null`, 0, false},
		"empty":    {"absent", `""`, 0, false},
		"huge":     {"beyond 64 bits", `1e300`, 0, true},
		"text":     {"no number", `"lots"`, 0, true},
		"object":   {"no scalar", `{"a":1}`, 0, true},
		"NaN":      {"no number", `"NaN"`, 0, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var n integer
			err := json.Unmarshal([]byte(c.json), &n)
			if (err != nil) != c.bad || int64(n) != c.want {
				t.Errorf("%s: %d, %v", c.reason, n, err)
			}
		})
	}
	site := record(t, map[string][]answer{"GET /version": {data(`{"version":[1]}`)}})
	if _, err := site.client(t).Version(t.Context()); err == nil || IsUnreachable(err) {
		t.Errorf("an answer of another shape: %v", err)
	}
}
