// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const lxcPath, qemuPath = "/nodes/phoenix/lxc", "/nodes/phoenix/qemu"

func nginx(vmid int) []string {
	return []string{
		fmt.Sprintf("vmid=%d", vmid), "ostemplate=" + template, "hostname=nginx", "rootfs=local-lvm:4", "unprivileged=1",
		"net0=bridge=vmbr0,name=eth0,ip=10.0.0.153/24,gw=10.0.0.1", "tags=web;prod", "description=first\nsecond: line",
		"mp0=local-lvm:2,mp=/data,backup=1", "cpulimit=1", "features=nesting=1",
	}
}

func TestContainerDefaults(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true})
	a := asRootToken(t, s)
	a.mustTask("POST "+lxcPath, nginx(101)...)
	got := a.config(lxcPath + "/101")
	for _, tc := range []struct {
		reason, key string
		want        any
	}{
		{"memory has a default", "memory", 512.0},
		{"swap has a default", "swap", 512.0},
		{"the architecture is written", "arch", "amd64"},
		{"the template says the ostype", "ostype", "debian"},
		{"the root volume is allocated first, its size written", "rootfs", "local-lvm:vm-101-disk-0,size=4G"},
		{"a mount's path stands first, the rest by name", "mp0", "local-lvm:vm-101-disk-1,mp=/data,backup=1,size=2G"},
		{"tags are sorted", "tags", "prod;web"},
		{"notes gain a line break", "description", "first\nsecond: line\n"},
		{"a number that may be a fraction is a string", "cpulimit", "1"},
		{"a boolean is a number", "unprivileged", 1.0},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got[tc.key] != tc.want {
				t.Errorf("%s is %v, want %v", tc.key, got[tc.key], tc.want)
			}
		})
	}
	net := regexp.MustCompile(`^name=eth0,bridge=vmbr0,gw=10\.0\.0\.1,hwaddr=BC:24:11:[0-9A-F:]{8},ip=10\.0\.0\.153/24,type=veth$`)
	if !net.MatchString(fmt.Sprint(got["net0"])) {
		t.Errorf("net0 is %v, want it sorted with an address and a type", got["net0"])
	}
	if g, _ := s.Guest(101); !strings.HasPrefix(g.Config, "#first\n#second%3A line\narch: amd64\n") {
		t.Errorf("the file begins with %q", g.Config[:40])
	}
}

func TestVMDefaults(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true})
	a := asRootToken(t, s)
	a.mustTask("POST "+qemuPath, "vmid=1001", "name=portainer", "memory=2048", "scsi0=local-lvm:8,ssd=1,discard=on",
		"ide2=local-lvm:cloudinit", "net0=virtio,bridge=vmbr0", "tags=b,a", "description=notes\n")
	got := a.config(qemuPath + "/1001")
	for _, tc := range []struct{ reason, key, want string }{
		{"a disk's keys are sorted", "scsi0", "^local-lvm:vm-1001-disk-0,discard=on,size=8G,ssd=1$"},
		{"a cloud-init drive", "ide2", "^local-lvm:vm-1001-cloudinit,media=cdrom$"},
		{"an address is made", "net0", "^virtio=BC:24:11:[0-9A-F:]{8},bridge=vmbr0$"},
		{"the boot order: disk, drive, network", "boot", "^order=scsi0;ide2;net0$"},
		{"an identity", "smbios1", "^uuid=[0-9a-f-]{36}$"},
		{"a generation", "vmgenid", "^[0-9a-f-]{36}$"},
		{"what made it", "meta", `^creation-qemu=10\.0\.13,ctime=\d+$`},
		{"memory is a string", "memory", "^2048$"},
		{"a VM's notes lose their last line break", "description", "^notes$"},
		{"tags are sorted", "tags", "^a;b$"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if value, ok := got[tc.key].(string); !ok || !regexp.MustCompile(tc.want).MatchString(value) {
				t.Errorf("%s is %v, want %s", tc.key, got[tc.key], tc.want)
			}
		})
	}
}

func TestCreationShowsTheLockFirst(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true})
	a := asRootToken(t, s)
	release := s.HoldTasks("vzcreate")
	upid := a.ask("POST "+lxcPath, nginx(101)...).data.(string)
	if g, _ := s.Guest(101); g.Config != "lock: create\n" {
		t.Errorf("the configuration is %q before the task has done anything", g.Config)
	}
	if got := a.ask("GET /cluster/nextid", "vmid=101"); got.status != "400 Parameter verification failed." {
		t.Errorf("the id is free while the creation runs: %s", got.status)
	}
	if got := a.ask("PUT "+lxcPath+"/101/config", "tags=x"); got.status != "500 CT is locked (create)" {
		t.Errorf("a write while the creation runs: %s", got.status)
	}
	release()
	if exit := a.wait(upid); exit != "OK" {
		t.Errorf("the task ended with %q", exit)
	}
	if g, _ := s.Guest(101); g.Lock != "" {
		t.Errorf("lock %q after the creation", g.Lock)
	}
}

func TestConcurrentCreationsOfOneID(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true})
	var mu sync.Mutex
	var wg sync.WaitGroup
	count := map[string]int{}
	for range 6 {
		a := asRootToken(t, s)
		wg.Go(func() {
			got, err := a.try("POST "+lxcPath, nginx(210)...)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				count[err.Error()]++
			}
			count[got.status]++
		})
	}
	wg.Wait()
	if count["200 OK"] != 1 || count["500 CT 210 already exists on node 'phoenix'"] != 5 {
		t.Errorf("answers: %v, want one task and five refusals", count)
	}
}

func TestMissingTemplateFailsInTheTask(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true})
	a := asRootToken(t, s)
	exit := a.task("POST "+lxcPath, "vmid=150", "ostemplate=local:vztmpl/nope.tar.gz", "rootfs=local-lvm:1")
	if want := "unable to create CT 150 - volume 'local:vztmpl/nope.tar.gz' does not exist"; exit != want {
		t.Errorf("the task ended with %q, want %q", exit, want)
	}
	if _, there := s.Guest(150); there {
		t.Error("a failed creation left its guest")
	}
}

func TestCloneAndTemplate(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true})
	a := asRootToken(t, s)
	if err := s.SetConfig(9000, "tags", "golden"); err != nil {
		t.Fatalf("tag the template: %v", err)
	}
	release := s.HoldTasks("qmclone")
	upid := a.ask("POST "+qemuPath+"/9000/clone", "newid=110", "name=linked", "description=mine", "full=0").data.(string)
	if g, _ := s.Guest(110); g.Config != "lock: clone\n" {
		t.Errorf("the clone's configuration is %q while it is made", g.Config)
	}
	if parts := strings.Split(upid, ":"); parts[5] != "qmclone" || parts[6] != "9000" {
		t.Errorf("UPID %s: want a qmclone of the source, 9000", upid)
	}
	release()
	if exit := a.wait(upid); exit != "OK" {
		t.Fatalf("the clone ended with %q", exit)
	}
	got, _ := s.Guest(110)
	for key, want := range map[string]string{
		"name": "linked", "description": "mine", "tags": "golden", "template": "",
		"scsi0": "local-lvm:base-9000-disk-0/vm-110-disk-0,size=2G",
	} {
		if got.Options[key] != want {
			t.Errorf("the clone's %s is %q, want %q", key, got.Options[key], want)
		}
	}
	source, _ := s.Guest(9000)
	for _, key := range []string{"net0", "smbios1", "vmgenid"} {
		if got.Options[key] == "" || got.Options[key] == source.Options[key] {
			t.Errorf("the clone's %s is the template's: %q", key, got.Options[key])
		}
	}
	if exit := a.task("DELETE " + qemuPath + "/9000"); exit != "base volume 'local-lvm:base-9000-disk-0' is still in use by linked cloned" {
		t.Errorf("destroying the template of a linked clone ended with %q", exit)
	}
	a.mustTask("POST "+qemuPath+"/9000/clone", "newid=111", "name=full", "full=1")
	if g, _ := s.Guest(111); g.Options["scsi0"] != "local-lvm:vm-111-disk-0,size=2G" {
		t.Errorf("the full clone's disk is %q", g.Options["scsi0"])
	}
	if got := a.ask("POST "+qemuPath+"/111/clone", "newid=112", "full=0"); !strings.HasPrefix(got.status, "500 Linked clone feature is not supported for") {
		t.Errorf("a linked clone of a plain VM: %s", got.status)
	}
	a.mustTask("DELETE " + qemuPath + "/110")
	a.mustTask("DELETE " + qemuPath + "/9000")
}

func TestRefusals(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Config: "hostname: a\nprotection: 1\nrootfs: local-lvm:vm-101-disk-0,size=4G\nunprivileged: 1\n"},
		{VMID: 102, Kind: "lxc", Config: "hostname: b\nlock: backup\nrootfs: local-lvm:vm-102-disk-0,size=4G\n"},
		{VMID: 103, Kind: "lxc", Config: "features: nesting=1\nhostname: c\nrootfs: local-lvm:vm-103-disk-0,size=4G\n"},
		{VMID: 201, Kind: "qemu", Config: "name: v\nscsi0: local-lvm:vm-201-disk-0,size=4G\nlock: migrate\n"},
	}})
	a := asRootToken(t, s)
	for _, tc := range []struct {
		reason, request string
		params          []string
		want            string
	}{
		{"protection refuses a destruction", "DELETE " + lxcPath + "/101", nil, "500 can't remove CT 101 - protection mode enabled"},
		{"a lock refuses a configuration", "PUT " + lxcPath + "/102/config", []string{"tags=x"}, "500 CT is locked (backup)"},
		{"a lock refuses a resize", "PUT " + lxcPath + "/102/resize", []string{"disk=rootfs", "size=+1G"}, "500 CT is locked (backup)"},
		{"a lock refuses a destruction", "DELETE " + lxcPath + "/102", nil, "500 CT is locked (backup)"},
		{"a VM's lock has its word", "DELETE " + qemuPath + "/201", nil, "500 VM is locked (migrate)"},
		{"a storage that takes no containers", "POST " + lxcPath, []string{"vmid=150", "ostemplate=" + template, "rootfs=local:4"}, "400 Parameter verification failed."},
		{"a storage that is not there", "POST " + qemuPath, []string{"vmid=150", "scsi0=nope:4"}, "500 storage 'nope' does not exist"},
		{"args are for root alone", "PUT " + qemuPath + "/9000/config", []string{"args=-foo"}, "403 Permission check failed (only root can set 'args' config)"},
		{"a lock is for root alone", "PUT " + lxcPath + "/101/config", []string{"lock=backup"}, "403 Permission check failed (changing the lock is only allowed for root@pam)"},
		{"features of a privileged container", "PUT " + lxcPath + "/103/config", []string{"features=nesting=0"},
			"403 Permission check failed (changing feature flags for privileged container is only allowed for root@pam)"},
		{"a start is accepted whatever the lock", "POST " + lxcPath + "/102/status/start", nil, "200 OK"},
		{"a missing container cannot be stopped", "POST " + lxcPath + "/999/status/stop", nil, "500 CT 999 not running"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got := a.ask(tc.request, tc.params...); got.status != tc.want {
				t.Errorf("%s %v: %q, want %q (%s)", tc.request, tc.params, got.status, tc.want, got.body)
			}
		})
	}
	if exit := a.task("POST " + lxcPath + "/102/status/start"); exit != "CT is locked (backup)" {
		t.Errorf("the start of a locked container ended with %q", exit)
	}
	if exit := a.task("POST " + lxcPath + "/999/status/start"); exit != "Configuration file 'nodes/phoenix/lxc/999.conf' does not exist" {
		t.Errorf("the start of a missing container ended with %q", exit)
	}
}

func TestFullStorageFailsTheTask(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true, Storages: append(pve.DefaultStorages()[:1],
		pve.Storage{Name: "local-lvm", Type: "lvmthin", Content: []string{"images", "rootdir"}, Size: 4 << 30})})
	a := asRootToken(t, s)
	if exit := a.task("POST "+lxcPath, "vmid=150", "ostemplate="+template, "rootfs=local-lvm:3"); !strings.Contains(exit, "not enough free space") {
		t.Errorf("the creation ended with %q", exit)
	}
	if got := s.Volumes("local-lvm", "phoenix"); len(got) != 1 {
		t.Errorf("volumes after the failure: %v, want the template's alone", got)
	}
}

func TestPendingAndHotplug(t *testing.T) {
	const container = "arch: amd64\nhostname: a\nmemory: 512\nmp0: local-lvm:vm-101-disk-1,mp=/old,size=1G\nrootfs: local-lvm:vm-101-disk-0,size=4G\nunprivileged: 1\n"
	s := start(t, pve.Options{NoSSH: true, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Config: container, Running: true},
		{VMID: 201, Kind: "qemu", Config: "agent: 1\ncores: 1\nmemory: 512\nname: v\nscsi0: local-lvm:vm-201-disk-0,size=4G\n", Running: true},
	}})
	for _, tc := range []struct {
		reason     string
		vmid       int
		key, value string
		live       bool
	}{
		{"a container's memory", 101, "memory", "1024", true},
		{"a container's cores", 101, "cores", "2", true},
		{"a container's name", 101, "hostname", "b", true},
		{"a container's tags", 101, "tags", "x", true},
		{"a container's notes", 101, "description", "hi", true},
		{"a container's start at boot", 101, "onboot", "1", true},
		{"a container's nameserver", 101, "nameserver", "10.0.0.13", false},
		{"a container's new mount", 101, "mp1", "local-lvm:1,mp=/new", true},
		{"a container's changed mount", 101, "mp0", "local-lvm:vm-101-disk-1,mp=/other,size=1G", false},
		{"a container's features", 101, "features", "nesting=1", false},
		{"a VM's cores", 201, "cores", "2", false},
		{"a VM's memory", 201, "memory", "1024", false},
		{"a VM's agent", 201, "agent", "0", false},
		{"a VM's cloud-init address", 201, "ipconfig0", "ip=dhcp", false},
		{"a VM's name", 201, "name", "w", true},
		{"a VM's new disk", 201, "scsi1", "local-lvm:1", true},
		{"a VM's new network", 201, "net1", "virtio,bridge=vmbr0", true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if err := s.SetConfig(tc.vmid, tc.key, tc.value); err != nil {
				t.Fatalf("set %s: %v", tc.key, err)
			}
			g, _ := s.Guest(tc.vmid)
			if live := g.Options[tc.key] == g.Pending[tc.key]; live != tc.live {
				t.Errorf("%s: is %q, will be %q; want live: %v", tc.key, g.Options[tc.key], g.Pending[tc.key], tc.live)
			}
		})
	}
	a := asRootToken(t, s)
	a.mustTask("POST " + lxcPath + "/101/status/stop")
	if g, _ := s.Guest(101); g.Options["nameserver"] != "10.0.0.13" || strings.Contains(g.Config, "pending") {
		t.Errorf("after a container's stop: %s", g.Config)
	}
	a.mustTask("POST " + qemuPath + "/201/status/stop")
	if g, _ := s.Guest(201); g.Options["cores"] != "1" {
		t.Errorf("after a VM's stop its cores are %s: they wait for the start", g.Options["cores"])
	}
	a.mustTask("POST " + qemuPath + "/201/status/start")
	if g, _ := s.Guest(201); g.Options["cores"] != "2" {
		t.Errorf("after a VM's start its cores are %s", g.Options["cores"])
	}
}

func TestAddresses(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Running: true, Config: "hostname: a\nnet0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=10.0.0.153/24,type=veth\n"},
		{VMID: 102, Kind: "lxc", Running: true, Behaviour: pve.Behaviour{DHCP: "10.0.0.77/24"},
			Config: "hostname: b\nnet0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:02,ip=dhcp,type=veth\n"},
		{VMID: 201, Kind: "qemu", Running: true, Config: "agent: 1\nipconfig0: ip=10.0.0.111/24,gw=10.0.0.1\nname: v\nnet0: virtio=BC:24:11:00:00:03,bridge=vmbr0\n"},
		{VMID: 202, Kind: "qemu", Running: true, Config: "name: w\nnet0: virtio=BC:24:11:00:00:04,bridge=vmbr0\n"},
		{VMID: 203, Kind: "qemu", Config: "agent: 1\nname: x\nnet0: virtio=BC:24:11:00:00:05,bridge=vmbr0\n", Behaviour: pve.Behaviour{BootTime: time.Hour}},
	}})
	a := asRootToken(t, s)
	a.mustTask("POST " + qemuPath + "/203/status/start")
	for _, tc := range []struct{ reason, path, want string }{
		{"a container's static address", lxcPath + "/101/interfaces", "10.0.0.153"},
		{"a container's leased address", lxcPath + "/102/interfaces", "10.0.0.77"},
		{"a VM's static address, by its agent", qemuPath + "/201/agent/network-get-interfaces", "10.0.0.111"},
		{"a VM without an agent", qemuPath + "/202/agent/network-get-interfaces", "No QEMU guest agent configured"},
		{"a VM that has not booted", qemuPath + "/203/agent/network-get-interfaces", "QEMU guest agent is not running"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got := a.ask("GET " + tc.path); !strings.Contains(got.body, tc.want) {
				t.Errorf("%s: %s, want %q in it", tc.path, got.body, tc.want)
			}
		})
	}
	t.Run("an exit is reported once", func(t *testing.T) {
		pid := a.ask("POST "+qemuPath+"/201/agent/exec", "command=true").data.(map[string]any)["pid"]
		path := fmt.Sprintf("GET %s/201/agent/exec-status", qemuPath)
		for strings.Contains(a.ask(path, fmt.Sprintf("pid=%v", pid)).body, `"exited":0`) {
			continue
		}
		if got := a.ask(path, fmt.Sprintf("pid=%v", pid)); got.status != "500 Agent error: PID ld does not exist" {
			t.Errorf("the second read: %s", got.status)
		}
	})
}
