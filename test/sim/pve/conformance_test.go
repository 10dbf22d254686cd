// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// traced is a request and the answer that a real host gave. UPIDs are written
// without pid and times.
type traced struct {
	reason  string
	request string
	params  []string
	status  int
	body    string
	exit    string   // what the task ended with
	random  []string // keys whose values differ from run to run
}

var upidNumbers = regexp.MustCompile(`(UPID:[^:]+:)[0-9A-F:]{26}:`)

const traceContainer = `arch: amd64
cores: 1
features: nesting=1
hostname: ct101
memory: 160
net0: name=eth0,bridge=vmbr0,firewall=1,gw=10.99.0.1,hwaddr=BC:24:11:5D:6E:BF,ip=10.99.0.101/24,type=veth
onboot: 0
ostype: debian
rootfs: local:101/vm-101-disk-0.raw,size=1G
swap: 64
tags: a;b
unprivileged: 1
`

const traceVM = `agent: 1
boot: order=scsi0;ide2;net0
ciuser: debian
cores: 1
ide2: local:100/vm-100-cloudinit.qcow2,media=cdrom
ipconfig0: ip=10.99.0.100/24,gw=10.99.0.1
memory: 256
meta: creation-qemu=10.0.13,ctime=1795287846
name: vm100
net0: virtio=BC:24:11:73:4C:0A,bridge=vmbr0
scsi0: local:100/vm-100-disk-0.raw,size=1G
scsihw: virtio-scsi-single
smbios1: uuid=47c21de7-b5b3-465e-a881-9e331a9495b2
vmgenid: ebd0cb42-1dcf-485d-946f-5cc9b47b2530
`

// tracedSite is the site that the traces were recorded on.
func tracedSite(t *testing.T) (*pve.Server, *asker) {
	t.Helper()
	s := start(t, pve.Options{
		Nodes: []string{"pve1"}, NoSSH: true, NoTemplate: true,
		Storages: []pve.Storage{{Name: "local", Type: "dir", Content: []string{"images", "rootdir", "vztmpl", "iso", "snippets", "import", "backup"}}},
		Guests: []pve.GuestSpec{
			{VMID: 100, Kind: "qemu", Config: traceVM, Behaviour: pve.Behaviour{NoAgent: true, IgnoresShutdown: true}},
			{VMID: 101, Kind: "lxc", Config: traceContainer, Running: true},
		},
	})
	s.FailHotplug(101, "mp1", "failed to change apparmor profile: Invalid argument")
	id, secret := s.AddToken("root@pam", "t1", false)
	return s, asToken(t, s, id, secret)
}

func TestTraces(t *testing.T) {
	for _, group := range []struct {
		name   string
		traces []traced
	}{{"containers", containerTraces}, {"vms", vmTraces}, {"firewall", firewallTraces}, {"access", accessTraces}} {
		t.Run(group.name, func(t *testing.T) {
			_, a := tracedSite(t)
			for _, tc := range group.traces {
				t.Run(tc.reason, func(t *testing.T) { a.conforms(t, tc) })
			}
		})
	}
}

func (a *asker) conforms(t *testing.T, tc traced) {
	a.t = t
	got := a.ask(tc.request, tc.params...)
	want := traceStatus(tc)
	if got.status != want {
		t.Errorf("%s %v: status %q, want %q", tc.request, tc.params, got.status, want)
	}
	if diff := cmp.Diff(decoded(t, tc.body, tc.random), decoded(t, got.body, tc.random)); diff != "" {
		t.Errorf("%s %v: body (-recorded +simulated):\n%s", tc.request, tc.params, diff)
	}
	if upid, ok := got.data.(string); ok && strings.HasPrefix(upid, "UPID:") {
		exit := a.wait(upid)
		if tc.exit != "" && exit != tc.exit {
			t.Errorf("%s %v: the task ended with %q, want %q", tc.request, tc.params, exit, tc.exit)
		}
	}
}

// traceStatus is the status line that goes with a recorded body: the message is
// the reason phrase too.
func traceStatus(tc traced) string {
	var doc struct {
		Message string `json:"message"`
	}
	reason := "OK"
	if json.Unmarshal([]byte(tc.body), &doc) == nil && doc.Message != "" {
		reason, _, _ = strings.Cut(doc.Message, "\n")
	}
	return map[int]string{200: "200 ", 400: "400 ", 403: "403 ", 500: "500 "}[tc.status] + reason
}

// decoded decodes a body; lists are sorted, for the host has no order in them,
// and keys whose values differ from run to run are left out.
func decoded(t *testing.T, body string, random []string) any {
	t.Helper()
	body = upidNumbers.ReplaceAllString(body, "$1")
	var doc any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		return body
	}
	return sorted(doc, random)
}

func sorted(v any, random []string) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = sorted(v[key], random)
			if slices.Contains(random, key) {
				delete(v, key)
			}
		}
	case []any:
		for i := range v {
			v[i] = sorted(v[i], random)
		}
		sort.Slice(v, func(i, j int) bool { return text(v[i]) < text(v[j]) })
	}
	return v
}

func text(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(out)
}
