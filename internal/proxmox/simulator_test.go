// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/pin"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// site is a simulated Proxmox VE site, which shares no code with the driver,
// and a client of it.
type site struct {
	*pve.Server
	client *proxmox.Client
}

func simulate(t *testing.T, o pve.Options) site {
	t.Helper()
	sim, err := pve.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	client, err := proxmox.New(endpoint(sim))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return site{sim, client}
}

func endpoint(sim *pve.Server) proxmox.Endpoint {
	return proxmox.Endpoint{
		URL: sim.URL, TokenID: sim.TokenID, TokenSecret: secret.Secret(sim.TokenSecret),
		TLS:    pin.Config{CA: sim.CAPEM},
		Limits: proxmox.Limits{RequestsPerSecond: 1000, Burst: 1000},
	}
}

// ssh connects to a node of the site.
func (s site) ssh(t *testing.T, name string) *machine.Conn {
	t.Helper()
	i := slices.IndexFunc(s.SSH, func(n pve.SSHNode) bool { return n.Name == name })
	conn, err := machine.Dial(machine.SSH{
		Address: s.SSH[i].Address, Key: secret.Secret(s.SSH[i].ClientKeyPEM), HostKeys: []string{s.SSH[i].HostKey},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// done follows a task to its end.
func (s site) done(t *testing.T, upid proxmox.UPID, err error) proxmox.Task {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for range pause.C {
		task, err := s.client.Task(t.Context(), upid)
		if err != nil {
			t.Fatal(err)
		}
		if task.State != proxmox.TaskRunning {
			return task
		}
	}
	return proxmox.Task{}
}

// succeed follows a task that has to succeed.
func (s site) succeed(t *testing.T, upid proxmox.UPID, err error) {
	t.Helper()
	if task := s.done(t, upid, err); task.Err() != nil {
		t.Fatal(task.Err())
	}
}

func (s site) config(t *testing.T, r proxmox.Ref) proxmox.Config {
	t.Helper()
	c, err := s.client.Config(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var containerParams = map[string]string{
	"ostemplate": "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst", "hostname": "nginx", "memory": "256",
	"rootfs": "local-lvm:2", "net0": "name=eth0,bridge=vmbr0,ip=10.0.0.153/24,gw=10.0.0.1", "unprivileged": "1",
}

// TestContainerLife leads a container from a free VMID to its absence.
func TestContainerLife(t *testing.T) {
	s := simulate(t, pve.Options{})
	ctx, c := t.Context(), s.client
	vmid, err := c.FreeVMID(ctx, 101, 110, func(id int) bool { return id == 101 })
	if err != nil || vmid != 102 {
		t.Fatalf("FreeVMID() = %d, %v", vmid, err)
	}
	ref := proxmox.Ref{Node: "phoenix", Type: proxmox.LXC, VMID: vmid}
	upid, err := c.Create(ctx, "phoenix", proxmox.LXC, vmid, containerParams)
	s.succeed(t, upid, err)
	if _, err := c.Create(ctx, "phoenix", proxmox.LXC, vmid, containerParams); !proxmox.IsExists(err) {
		t.Errorf("a second creation: %v", err)
	}

	before := s.config(t, ref)
	net, err := proxmox.ParseNet(proxmox.LXC, before.Values["net0"])
	if err != nil || net.IP != "10.0.0.153/24" || net.MAC == "" {
		t.Fatalf("net0 is %+v, %v", net, err)
	}
	net.Firewall = true
	text, err := net.Encode(proxmox.LXC)
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]string{"net0": text, "cores": "2", "tags": "web,prod"}
	if err := c.SetConfig(ctx, ref, before.Digest, set, []string{"swap"}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetConfig(ctx, ref, before.Digest, set, nil); !proxmox.IsConflict(err) {
		t.Errorf("a stale digest: %v", err)
	}
	after := s.config(t, ref)
	if !proxmox.EqualProps(after.Values["net0"], text, "") || after.Values["tags"] != "prod;web" || after.Digest == before.Digest {
		t.Errorf("after the change: %+v", after)
	}

	upid, err = c.Start(ctx, ref)
	s.succeed(t, upid, err)
	if _, err := c.Start(ctx, ref); !proxmox.IsAlready(err) {
		t.Errorf("a second start: %v", err)
	}
	if status, err := c.Status(ctx, ref); err != nil || !status.Running {
		t.Errorf("Status() = %+v, %v", status, err)
	}
	upid, err = c.Resize(ctx, ref, "rootfs", "3G", "")
	s.succeed(t, upid, err)
	if _, err := c.Resize(ctx, ref, "rootfs", "3G", ""); !proxmox.IsAlready(err) {
		t.Errorf("the size that it has: %v", err)
	}
	if _, err := c.Resize(ctx, ref, "rootfs", "1G", ""); err == nil || !strings.Contains(err.Error(), "shrink") {
		t.Errorf("shrinking: %v", err)
	}
	root, err := proxmox.ParseMountPoint(s.config(t, ref).Values["rootfs"])
	if err != nil || root.Size != 3<<30 || root.Storage() != "local-lvm" {
		t.Errorf("rootfs is %+v, %v", root, err)
	}
	if _, err := c.Destroy(ctx, ref); err == nil || !strings.Contains(err.Error(), "running") {
		t.Errorf("destroying a running container: %v", err)
	}
	upid, err = c.Shutdown(ctx, ref, 10*time.Second)
	s.succeed(t, upid, err)
	if _, err := c.Stop(ctx, ref); !proxmox.IsAlready(err) {
		t.Errorf("stopping a stopped one: %v", err)
	}
	upid, err = c.Destroy(ctx, ref)
	s.succeed(t, upid, err)
	if _, err := c.Config(ctx, ref); !proxmox.IsNotExist(err) {
		t.Errorf("a destroyed guest's configuration: %v", err)
	}
	if volumes := s.Volumes("local-lvm", "phoenix"); slices.ContainsFunc(volumes, func(v string) bool { return strings.Contains(v, "vm-102") }) {
		t.Errorf("volumes are left: %v", volumes)
	}
}

// TestVMLife leads a VM from its template to its absence.
func TestVMLife(t *testing.T) {
	s := simulate(t, pve.Options{})
	ctx, c := t.Context(), s.client
	template := proxmox.Ref{Node: "phoenix", Type: proxmox.QEMU, VMID: 9000}
	ref := proxmox.Ref{Node: "phoenix", Type: proxmox.QEMU, VMID: 1001}
	upid, err := c.Clone(ctx, template, 1001, map[string]string{"name": "portainer", "full": "1"})
	s.succeed(t, upid, err)

	current := s.config(t, ref)
	set := map[string]string{
		"cores": "2", "memory": "2048", "ipconfig0": "ip=10.0.0.111/24,gw=10.0.0.1", "ide2": "local-lvm:cloudinit",
		"sshkeys": proxmox.EncodeSSHKeys([]string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJtZ0vDfVqUcfcdOnwHhTdkQmDQM3kcDsyTz3Ry5TPy8 me@home"}),
	}
	if err := c.SetConfig(ctx, ref, current.Digest, set, nil); err != nil {
		t.Fatal(err)
	}
	now := s.config(t, ref)
	if keys, err := proxmox.DecodeSSHKeys(now.Values["sshkeys"]); err != nil || len(keys) != 1 || !strings.HasSuffix(keys[0], "me@home") {
		t.Errorf("sshkeys: %v, %v", keys, err)
	}
	if disk, err := proxmox.ParseDisk(now.Values["ide2"]); err != nil || disk.Media != "cdrom" || disk.IsNew() {
		t.Errorf("ide2 is %+v, %v", disk, err)
	}
	upid, err = c.Resize(ctx, ref, "scsi0", "8G", now.Digest)
	s.succeed(t, upid, err)
	upid, err = c.Start(ctx, ref)
	s.succeed(t, upid, err)
	upid, err = c.Start(ctx, ref)
	if task := s.done(t, upid, err); !proxmox.IsAlready(task.Err()) {
		t.Errorf("a second start is a task that fails with words: %+v", task)
	}

	if err := c.SetConfig(ctx, ref, "", map[string]string{"cpu": "host"}, nil); err != nil {
		t.Fatal(err)
	}
	pending, err := c.Pending(ctx, ref)
	if diff := cmp.Diff([]proxmox.PendingChange{{Key: "cpu", Pending: "host"}}, pending); err != nil || diff != "" {
		t.Errorf("%v pending (-want +got):\n%s", err, diff)
	}
	upid, err = c.Reboot(ctx, ref, time.Minute)
	s.succeed(t, upid, err)
	if pending, err := c.Pending(ctx, ref); err != nil || len(pending) != 0 {
		t.Errorf("after a reboot: %v, %v", pending, err)
	}
	upid, err = c.Stop(ctx, ref)
	s.succeed(t, upid, err)
	upid, err = c.Destroy(ctx, ref)
	s.succeed(t, upid, err)
	if resources, err := c.Resources(ctx); err != nil || len(resources) != 1 || !resources[0].Template {
		t.Errorf("what is left: %+v, %v", resources, err)
	}
}

func TestTaskEnds(t *testing.T) {
	cases := map[string]struct {
		reason string
		fault  pve.TaskFault
		state  proxmox.TaskState
		held   func(error) bool
	}{
		"warnings": {"it did its work", pve.TaskFault{Kind: "vzstart", Warnings: 2}, proxmox.TaskSucceeded, func(err error) bool { return err == nil }},
		"locked":   {"accepted, then refused", pve.TaskFault{Kind: "vzstart", Fail: "CT is locked (backup)"}, proxmox.TaskFailed, proxmox.IsLocked},
		"lost":     {"only the guest knows", pve.TaskFault{Kind: "vzstart", Lost: true}, proxmox.TaskUnknown, func(err error) bool { return err != nil }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, pve.Options{Guests: []pve.GuestSpec{{VMID: 101, Kind: "lxc", Config: "hostname: a\n"}}})
			s.InjectTask(c.fault)
			ref := proxmox.Ref{Node: "phoenix", Type: proxmox.LXC, VMID: 101}
			upid, err := s.client.Start(t.Context(), ref)
			task := s.done(t, upid, err)
			if task.State != c.state || !c.held(task.Err()) {
				t.Errorf("%s: %+v, %v", c.reason, task, task.Err())
			}
			if c.state == proxmox.TaskFailed {
				log, err := s.client.TaskLog(t.Context(), upid, 1)
				if err != nil || len(log) != 1 || !strings.Contains(log[0], c.fault.Fail) {
					t.Errorf("%s: log %q, %v", c.reason, log, err)
				}
			}
		})
	}
}

// TestTraps meets the site's troubles with calls that go-proxmox would take
// for success, repeat, or strip of their reason.
func TestTraps(t *testing.T) {
	two := pve.Options{
		Nodes:  []string{"pve1", "pve2"},
		Guests: []pve.GuestSpec{{VMID: 101, Kind: "lxc", Node: "pve2", Config: "hostname: a\nmemory: 128\n"}},
	}
	ref := proxmox.Ref{Node: "pve2", Type: proxmox.LXC, VMID: 101}
	write := func(ctx context.Context, c *proxmox.Client) error {
		return c.SetConfig(ctx, ref, "", map[string]string{"memory": "512"}, nil)
	}
	cases := map[string]struct {
		reason  string
		trouble func(s *pve.Server)
		call    func(context.Context, *proxmox.Client) error
		held    func(error) bool
		memory  string // afterwards
	}{
		"dead node, PUT": {
			"595 with an empty body is no success", func(s *pve.Server) { s.SetNodeOnline("pve2", false, 0) }, write, proxmox.IsUnreachable, "128",
		},
		"dead node, DELETE": {
			"nor is it for DELETE", func(s *pve.Server) { s.SetNodeOnline("pve2", false, 0) },
			func(ctx context.Context, c *proxmox.Client) error { _, err := c.Destroy(ctx, ref); return err }, proxmox.IsUnreachable, "128",
		},
		"cut before": {
			"nothing happened", func(s *pve.Server) { s.Inject(pve.Fault{Method: "PUT", Cut: pve.CutBefore}) }, write, proxmox.IsUnreachable, "128",
		},
		"cut after": {
			"it was carried out, which nobody can know", func(s *pve.Server) { s.Inject(pve.Fault{Method: "PUT", Cut: pve.CutAfter}) }, write, proxmox.IsUnreachable, "512",
		},
		"no quorum": {
			"the file system is read-only", func(s *pve.Server) { s.SetQuorum(false) }, write, proxmox.IsNoQuorum, "128",
		},
		"config lock": {
			"a backup runs", func(s *pve.Server) { _ = s.SetLock(101, "backup") }, write, proxmox.IsLocked, "128",
		},
		"expired token": {
			"401, with its words", func(s *pve.Server) { s.ExpireCredentials(true) }, write, proxmox.IsUnauthorized, "128",
		},
		"root only": {
			"403 to root's own token", func(*pve.Server) {}, func(ctx context.Context, c *proxmox.Client) error {
				return c.SetConfig(ctx, ref, "", map[string]string{"mp0": "/srv/x,mp=/data"}, nil)
			}, proxmox.IsRootOnly, "128",
		},
		"wrong node": {
			"500 at the node that it left", func(s *pve.Server) { _ = s.Move(101, "pve1") }, write, proxmox.IsNotExist, "128",
		},
		"wrong value": {
			"400 names the field", func(*pve.Server) {}, func(ctx context.Context, c *proxmox.Client) error {
				return c.SetConfig(ctx, ref, "", map[string]string{"memory": "lots"}, nil)
			}, func(err error) bool {
				var e *proxmox.Error
				return proxmox.IsInvalid(err) && errors.As(err, &e) && e.Fields["memory"] != ""
			}, "128",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, two)
			c.trouble(s.Server)
			if err := c.call(t.Context(), s.client); !c.held(err) {
				t.Errorf("%s: %v", c.reason, err)
			}
			if n := len(s.Writes()); n > 1 {
				t.Errorf("%s: the write was sent %d times", c.reason, n)
			}
			if guest, ok := s.Guest(101); !ok || guest.Options["memory"] != c.memory {
				t.Errorf("%s: memory is %q, want %q", c.reason, guest.Options["memory"], c.memory)
			}
		})
	}
}

func TestRootOnlyOverSSH(t *testing.T) {
	s := simulate(t, pve.Options{Guests: []pve.GuestSpec{{VMID: 101, Kind: "lxc", Config: "hostname: a\nfeatures: nesting=1\n"}}})
	ref := proxmox.Ref{Node: "phoenix", Type: proxmox.LXC, VMID: 101}
	conn := s.ssh(t, "phoenix")
	set := map[string]string{"mp0": "/srv/x,mp=/data", "features": "nesting=1,keyctl=1"}
	command := proxmox.SetCommand(ref, s.config(t, ref).Digest, set, nil)
	if result, err := conn.Run(t.Context(), command, nil); err != nil || result.ExitCode != 0 {
		t.Fatalf("%v: %+v, %v", command, result, err)
	}
	now := s.config(t, ref).Values
	features, err := proxmox.ParseFeatures(now["features"])
	if err != nil || !features.KeyCtl || !features.Nesting {
		t.Errorf("features are %q, %v", now["features"], err)
	}
	if mount, err := proxmox.ParseMountPoint(now["mp0"]); err != nil || !mount.IsBind() || mount.Path != "/data" {
		t.Errorf("mp0 is %q, %v", now["mp0"], err)
	}
	result, err := conn.Run(t.Context(), proxmox.SetCommand(ref, strings.Repeat("0", 40), set, nil), nil)
	if err != nil || result.ExitCode == 0 {
		t.Errorf("a stale digest: %+v, %v", result, err)
	}
}

func TestDigestsOverSSH(t *testing.T) {
	s := simulate(t, pve.Options{Nodes: []string{"pve1", "pve2"}, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Node: "pve1", Config: "hostname: a\n"},
		{VMID: 1001, Kind: "qemu", Node: "pve2", Config: "name: b\n"},
	}})
	result, err := s.ssh(t, "pve1").Run(t.Context(), proxmox.DigestCommand(), nil)
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	digests, err := proxmox.ParseDigests(result.Stdout)
	if err != nil || len(digests) != 3 {
		t.Fatalf("%v, %v, want those of two guests and a template", digests, err)
	}
	for vmid, r := range map[int]proxmox.Ref{
		101: {Node: "pve1", Type: proxmox.LXC, VMID: 101}, 1001: {Node: "pve2", Type: proxmox.QEMU, VMID: 1001},
	} {
		if c := s.config(t, r); c.Digest != digests[vmid] {
			t.Errorf("%s: the API says %s, sha1sum %s", r, c.Digest, digests[vmid])
		}
	}
}

func TestTokenAndSite(t *testing.T) {
	s := simulate(t, pve.Options{Nodes: []string{"pve1", "pve2"}})
	ctx := t.Context()
	if version, err := s.client.Version(ctx); err != nil || !strings.HasPrefix(version, "9.") {
		t.Errorf("Version() = %q, %v", version, err)
	}
	if nodes, err := s.client.Nodes(ctx); err != nil || len(nodes) != 2 || !nodes[0].Online || nodes[0].CPUs == 0 || nodes[0].MemoryBytes == 0 {
		t.Errorf("Nodes() = %+v, %v", nodes, err)
	}
	if quorate, err := s.client.Quorate(ctx); err != nil || !quorate {
		t.Errorf("Quorate() = %v, %v", quorate, err)
	}
	s.SetQuorum(false)
	if quorate, err := s.client.Quorate(ctx); err != nil || quorate {
		t.Errorf("Quorate() = %v, %v without one", quorate, err)
	}
	if p, err := s.client.Permissions(ctx); err != nil || !p.Has("/vms/101", "VM.Audit") || p.Has("/vms/101", "VM.Nonsense") {
		t.Errorf("Permissions() = %v, %v", p, err)
	}
	storages, err := s.client.Storages(ctx, "pve1")
	i := slices.IndexFunc(storages, func(s proxmox.Storage) bool { return s.Name == "local-lvm" })
	if err != nil || i < 0 || !storages[i].Active || !slices.Contains(storages[i].Content, "rootdir") || storages[i].Avail == 0 {
		t.Errorf("Storages() = %+v, %v", storages, err)
	}

	s.AddUser("alice@pve", "alicepass1")
	id, token := s.AddToken("alice@pve", "ci", true)
	e := endpoint(s.Server)
	e.TokenID, e.TokenSecret = id, secret.Secret(token)
	alice, err := proxmox.New(e)
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	if list, err := alice.Resources(ctx); err != nil || len(list) != 0 {
		t.Errorf("a token without privileges sees %+v, %v", list, err)
	}
	ref := proxmox.Ref{Node: "pve1", Type: proxmox.QEMU, VMID: 9000}
	if _, err := alice.Config(ctx, ref); !proxmox.IsDenied(err) || !strings.Contains(err.Error(), "VM.Audit") {
		t.Errorf("Config() = %v, want the privilege named", err)
	}
}

// TestFollowedSite follows a simulated site: it tells a change made outside,
// follows a task to its end and doubts what a blind token sees.
// TestTagsShowAtOnce: whose a guest is does not wait for the next list, which is an hour away here.
func TestTagsShowAtOnce(t *testing.T) {
	s := simulate(t, pve.Options{Nodes: []string{"pve1"}})
	told := make(chan []int, 16)
	site, err := proxmox.NewSite(proxmox.SiteOptions{Endpoint: endpoint(s.Server), Interval: time.Hour, OnChange: func(v []int) { told <- v }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan struct{})
	go func() { defer close(ended); site.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	if _, err := site.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	template := proxmox.Ref{Node: "pve1", Type: proxmox.QEMU, VMID: 9000}
	if err := site.Client().SetConfig(ctx, template, "", map[string]string{"tags": "mine"}, nil); err != nil {
		t.Fatal(err)
	}
	for {
		if list, ok := site.Snapshot(); ok && slices.Contains(list.Guests[9000].Tags, "mine") {
			return
		}
		select {
		case <-told:
		case <-ctx.Done():
			t.Fatal("the tag does not show")
		}
	}
}

func TestFollowedSite(t *testing.T) {
	sim := simulate(t, pve.Options{Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Config: "hostname: a\n", Running: true}, {VMID: 102, Kind: "lxc", Config: "hostname: b\n"},
	}})
	changes := make(chan []int, 100)
	conn := sim.ssh(t, "phoenix")
	s, err := proxmox.NewSite(proxmox.SiteOptions{
		Endpoint: endpoint(sim.Server), Interval: 20 * time.Millisecond, DigestInterval: 20 * time.Millisecond,
		Digests: func(ctx context.Context) (map[int]string, error) {
			result, err := conn.Run(ctx, proxmox.DigestCommand(), nil)
			if err != nil {
				return nil, err
			}
			return proxmox.ParseDigests(result.Stdout)
		},
		OnChange: func(vmids []int) { changes <- vmids },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { s.Run(ctx) })
	defer run.Wait()
	defer cancel()
	told := func(vmid int) {
		t.Helper()
		for vmids := range changes {
			if slices.Contains(vmids, vmid) {
				return
			}
		}
	}
	told(9000) // the first list
	if err := sim.Power(101, false); err != nil {
		t.Fatal(err)
	}
	told(101)
	if err := sim.SetConfig(102, "memory", "777"); err != nil { // no list shows that: its digest does
		t.Fatal(err)
	}
	told(102)

	release, ok := s.Acquire("local-lvm", 0)
	if !ok {
		t.Fatal("no room on a quiet site")
	}
	ended := make(chan struct{})
	upid, err := s.Client().Start(t.Context(), proxmox.Ref{Node: "phoenix", Type: proxmox.LXC, VMID: 102})
	if err != nil {
		t.Fatal(err)
	}
	s.Watch(upid, 102, release, func() { close(ended) })
	<-ended
	if task, ok := s.Result(upid); !ok || task.State != proxmox.TaskSucceeded {
		t.Errorf("Result() = %+v, %v", task, ok)
	}
	if snapshot, err := s.Refresh(t.Context()); err != nil || snapshot.Doubt != "" || len(snapshot.Guests) != 3 {
		t.Errorf("Refresh() = %+v, %v", snapshot, err)
	}
	sim.ForgetStatus()
	sim.FreezeStatus(true)
	if snapshot, err := s.Refresh(t.Context()); err != nil || !strings.Contains(snapshot.Doubt, "unknown") {
		t.Errorf("Refresh() = %q, %v when everything is unknown", snapshot.Doubt, err)
	}
}
