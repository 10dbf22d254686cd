// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const (
	insideCT = "arch: amd64\nhostname: web\nmemory: 512\nmp0: /srv/data,mp=/data\nmp1: /srv/data,mp=/fixed,ro=1\nnet0: name=eth0,bridge=vmbr0,ip=10.0.0.20/24\nrootfs: local-lvm:vm-101-disk-0,size=4G\n"
	insideVM = "agent: 1\nmemory: 512\nname: box\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\nipconfig0: ip=10.0.0.21/24\nscsi0: local-lvm:vm-201-disk-0,size=4G\n"
)

func inhabited(t *testing.T) *pve.Server {
	return start(t, pve.Options{Nodes: []string{"pve1", "pve2"}, NoTemplate: true, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Config: insideCT, Running: true},
		{VMID: 102, Kind: "lxc", Config: strings.ReplaceAll(strings.ReplaceAll(insideCT, "101", "102"), "web", "off")},
		{VMID: 103, Kind: "lxc", Node: "pve2", Config: strings.ReplaceAll(insideCT, "101", "103"), Running: true},
		{VMID: 201, Kind: "qemu", Config: insideVM, Running: true},
	}})
}

func TestAttach(t *testing.T) {
	s := inhabited(t)
	off := func(id string) string {
		return fmt.Sprintf("lxc-attach: %s: ../src/lxc/attach.c: get_attach_context: 406 Connection refused - Failed to get init pid\n"+
			"lxc-attach: %s: ../src/lxc/attach.c: lxc_attach: 1473 Connection refused - Failed to get attach context\n", id, id)
	}
	for _, tc := range []struct {
		reason, command string
		stdout, stderr  string
		exit            int
	}{
		{"a command in the container", "lxc-attach -n 101 -- hostname", "web\n", "", 0},
		{"its exit status", "lxc-attach -n 101 -- sh -c 'exit 9'", "", "", 9},
		{"standard input", "echo abc | lxc-attach -n 101 -- cat", "abc\n", "", 0},
		{"a clean environment", "X=1 lxc-attach -n 101 --clear-env --set-var A='b c' -- env", "container=lxc\nA=b c\n", "", 0},
		{"the files are the container's", "echo one > /root/x; lxc-attach -n 101 -- sh -c 'cat /root/x; echo two > /root/y'; cat /root/y", "", "cat: /root/x: No such file or directory\ncat: /root/y: No such file or directory\n", 1},
		{"an unknown program", "lxc-attach -n 101 -- frob", "", "frob: command not found\n", 127},
		{"a container that is off", "lxc-attach -n 102 -- true", "", off("102"), 1},
		{"another node's", "lxc-attach -n 103 -- true", "", "Error: container 103 is not defined\n", 1},
		{"a VM", "lxc-attach -n 201 -- true", "", "Error: container 201 is not defined\n", 1},
		{"pct exec", "pct exec 101 -- hostname", "web\n", "", 0},
		{"pct exec of one that is off", "pct exec 102 -- true", "", "container '102' not running!\n", 255},
		{"bind mounts show the node's folder", "mkdir -p /srv/data; echo shared > /srv/data/f; lxc-attach -n 101 -- sh -c 'cat /data/f; echo back > /data/g; echo no > /fixed/h'; cat /srv/data/g; mountpoint -q /srv/data", "shared\nback\n",
			"open sh: 1: cannot open /fixed/h: Read-only file system\n", 32},
		{"a container mounts nothing", "lxc-attach -n 101 -- mount -t tmpfs x /mnt", "", "mount: /mnt: permission denied.\n", 32},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			stdout, stderr, exit := s.Run(t.Context(), "pve1", tc.command)
			if stdout != tc.stdout || stderr != tc.stderr || exit != tc.exit {
				t.Errorf("%s:\nstdout %q, want %q\nstderr %q, want %q\nexit %d, want %d", tc.command, stdout, tc.stdout, stderr, tc.stderr, exit, tc.exit)
			}
		})
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("the commands made %d API requests", n)
	}
}

func TestGuestMachineFollows(t *testing.T) {
	s := inhabited(t)
	if err := s.Machine("pve1").WriteFile("/srv/data/f", "", 0o644); err != nil {
		t.Fatal(err)
	}
	m := s.GuestMachine(101)
	if err := m.WriteFile("/srv/kept", "x", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile("/run/lost", "x", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Power(101, false); err != nil || m.Running() {
		t.Fatalf("the guest stopped (%v), its machine runs: %v", err, m.Running())
	}
	if err := s.SetConfig(101, "net0", "name=eth0,bridge=vmbr0,ip=10.0.0.30/24"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteConfig(101, "mp0"); err != nil {
		t.Fatal(err)
	}
	if err := s.SetConfig(101, "nameserver", "10.0.0.13"); err != nil {
		t.Fatal(err)
	}
	if err := s.Power(101, true); err != nil || !m.Running() {
		t.Fatalf("the guest started (%v), its machine runs: %v", err, m.Running())
	}
	if diff := cmp.Diff([]string{"10.0.0.30"}, texts(m.Addresses())); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	var out strings.Builder
	m.Shell(t.Context(), "cat /etc/resolv.conf /srv/kept /run/lost 2>&1; mountpoint /data; mountpoint -q /fixed && echo fixed", nil, &out, &out)
	if want := "nameserver 10.0.0.13\nxcat: /run/lost: No such file or directory\n/data is not a mountpoint\nfixed\n"; out.String() != want {
		t.Errorf("inside: %q, want %q", out.String(), want)
	}
	if s.GuestMachine(101) != m {
		t.Error("the guest has another machine")
	}
	if err := s.Destroy(101); err != nil || m.Running() || s.GuestMachine(101) != nil {
		t.Errorf("the destroyed guest (%v) runs: %v", err, m.Running())
	}
}

func texts(list []netip.Addr) []string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

// ask sends a request as root's token; an error is what was answered instead.
func ask(t *testing.T, s *pve.Server, verb, path string, values url.Values) (any, error) {
	t.Helper()
	var params []string
	for key, list := range values {
		for _, value := range list {
			params = append(params, key+"="+value)
		}
	}
	got, err := asRootToken(t, s).try(verb+" "+path, params...)
	if err == nil && !strings.HasPrefix(got.status, "200") {
		err = errors.New(strings.TrimSpace(got.status))
	}
	return got.data, err
}

// runTask waits for the task that a request starts; its failure is the error.
func runTask(t *testing.T, s *pve.Server, verb, path string, values url.Values) error {
	t.Helper()
	data, err := ask(t, s, verb, path, values)
	if err != nil {
		return err
	}
	if exit := asRootToken(t, s).wait(data.(string)); exit != "OK" {
		return errors.New(exit)
	}
	return nil
}

// agentRun runs a command by the API and waits for it.
func agentRun(t *testing.T, s *pve.Server, input string, argv ...string) map[string]any {
	t.Helper()
	params := url.Values{"command": argv}
	if input != "" {
		params.Set("input-data", input)
	}
	data, err := ask(t, s, "POST", "/nodes/pve1/qemu/201/agent/exec", params)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	pid := fmt.Sprint(data.(map[string]any)["pid"])
	for range 400 {
		data, err := ask(t, s, "GET", "/nodes/pve1/qemu/201/agent/exec-status", url.Values{"pid": {pid}})
		if err != nil {
			t.Fatalf("exec-status: %v", err)
		}
		if state := data.(map[string]any); fmt.Sprint(state["exited"]) == "1" {
			if _, err := ask(t, s, "GET", "/nodes/pve1/qemu/201/agent/exec-status", url.Values{"pid": {pid}}); err == nil {
				t.Error("an exit is reported twice")
			}
			return state
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the command does not end")
	return nil
}

func TestAgent(t *testing.T) {
	s := inhabited(t)
	for _, tc := range []struct {
		reason, input string
		argv          []string
		want          map[string]any
	}{
		{"output and input", "from afar\n", []string{"cat"}, map[string]any{"exited": 1.0, "exitcode": 0.0, "out-data": "from afar\n"}},
		{"a failure", "", []string{"sh", "-c", "echo a; echo b >&2; exit 7"}, map[string]any{"exited": 1.0, "exitcode": 7.0, "out-data": "a\n", "err-data": "b\n"}},
		{"nothing to say", "", []string{"true"}, map[string]any{"exited": 1.0, "exitcode": 0.0}},
		{"an unknown program", "", []string{"frob"}, map[string]any{"error": "500 Agent error: Guest agent command failed, error was 'Failed to execute child process “frob” (No such file or directory)'"}},
		{"a long input", strings.Repeat("x", 65536), []string{"wc", "-c"}, map[string]any{"exited": 1.0, "exitcode": 0.0, "out-data": "65536\n"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, agentRun(t, s, tc.input, tc.argv...)); diff != "" {
				t.Errorf("exec (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("an input above the limit", func(t *testing.T) {
		if got := agentRun(t, s, strings.Repeat("x", 65537), "cat"); got["error"] == nil {
			t.Errorf("it was taken: %v", got)
		}
	})
	t.Run("files", func(t *testing.T) {
		const base = "/nodes/pve1/qemu/201/agent/"
		if _, err := ask(t, s, "POST", base+"file-write", url.Values{"file": {"/root/f"}, "content": {"hello\n"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(t, s, "POST", base+"file-write", url.Values{"file": {"/root/g"}, "content": {base64.StdEncoding.EncodeToString([]byte("plain"))}, "encode": {"0"}}); err != nil {
			t.Fatal(err)
		}
		got, err := ask(t, s, "GET", base+"file-read", url.Values{"file": {"/root/f"}})
		if diff := cmp.Diff(any(map[string]any{"content": "hello\n"}), got); diff != "" || err != nil {
			t.Errorf("file-read (-want +got): %v\n%s", err, diff)
		}
		if text, err := s.GuestMachine(201).ReadFile("/root/g"); err != nil || text != "plain" {
			t.Errorf("inside: %q, %v", text, err)
		}
		_, err = ask(t, s, "GET", base+"file-read", url.Values{"file": {"/nope"}})
		if err == nil || !strings.Contains(err.Error(), "Agent error: failed to open file '/nope' (mode: 'rb'): No such file or directory") {
			t.Errorf("a missing file: %v", err)
		}
	})
	t.Run("without the agent", func(t *testing.T) {
		s.GuestMachine(201).Shell(t.Context(), "systemctl stop qemu-guest-agent", nil, io.Discard, io.Discard)
		if got := agentRun(t, s, "", "true"); got["error"] != "500 QEMU guest agent is not running" {
			t.Errorf("it answers: %v", got)
		}
	})
}

// TestClusterFiles edits what Proxmox keeps, by hand on a node.
func TestClusterFiles(t *testing.T) {
	s := inhabited(t)
	for _, tc := range []struct {
		reason, command string
		stdout, stderr  string
		exit            int
	}{
		{"the folders", "ls /etc/pve /etc/pve/nodes/pve2/lxc; readlink /etc/pve/local; stat -c '%a %U %G' /etc/pve/lxc/101.conf", "/etc/pve:\nfirewall\nlocal\nlxc\nnodes\npriv\nqemu-server\n/etc/pve/nodes/pve2/lxc:\n103.conf\nnodes/pve1\n640 root www-data\n", "", 0},
		{"a firewall file is written", "printf '[OPTIONS]\\nenable: 1\\n' > /etc/pve/firewall/cluster.fw; cat /etc/pve/firewall/cluster.fw; pve-firewall status", "[OPTIONS]\nenable: 1\nStatus: enabled/running (pending changes)\n", "", 0},
		{"one is staged and swapped in", "printf '[OPTIONS]\\nenable: 0\\n' > /etc/pve/nodes/pve1/.host.fw && mv /etc/pve/nodes/pve1/.host.fw /etc/pve/local/host.fw && cat /etc/pve/nodes/pve1/host.fw; ls /etc/pve/local", "[OPTIONS]\nenable: 0\nhost.fw\nlxc\nqemu-server\n", "", 0},
		{"one is removed", "rm /etc/pve/local/host.fw; cat /etc/pve/local/host.fw", "", "cat: /etc/pve/local/host.fw: No such file or directory\n", 1},
		{"owner and mode are what they are", "chmod 600 /etc/pve/firewall/cluster.fw; chown root:www-data /etc/pve/firewall/cluster.fw", "", "chmod: cannot access '/etc/pve/firewall/cluster.fw': Operation not permitted\n", 0},
		{"a guest is not made so", "echo 'memory: 1' > /etc/pve/lxc/999.conf", "", "open bash: line 1: /etc/pve/lxc/999.conf: Permission denied\n", 1},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			stdout, stderr, exit := s.Run(t.Context(), "pve1", tc.command)
			if stdout != tc.stdout || stderr != tc.stderr || exit != tc.exit {
				t.Errorf("%s:\nstdout %q, want %q\nstderr %q, want %q\nexit %d, want %d", tc.command, stdout, tc.stdout, stderr, tc.stderr, exit, tc.exit)
			}
		})
	}
	if _, there := s.Guest(999); there {
		t.Error("a guest came out of a file")
	}
	if err := s.WriteFile("pve1", "/etc/pve/firewall/101.fw", "[RULES]\n\nIN ACCEPT\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := s.ReadFile("pve2", "/etc/pve/firewall/101.fw"); err != nil || text != "[RULES]\n\nIN ACCEPT\n" {
		t.Errorf("the other node reads %q, %v", text, err)
	}
}

func TestDeadNodeEndsConnections(t *testing.T) {
	s, c := sshSite(t)
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- session.Run("echo x > /srv/began; sleep 1000") }()
	for {
		if _, err := s.ReadFile("pve1", "/srv/began"); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	s.SetNodeOnline("pve1", false, 0)
	if err := <-ended; err == nil {
		t.Error("the command succeeded")
	}
	if err := c.Wait(); err == nil {
		t.Error("the connection ended well")
	}
	s.SetNodeOnline("pve1", true, 0)
	if _, err := logIn(t, s.SSH[0], "root"); err != nil {
		t.Errorf("the node is back and lets nobody in: %v", err)
	}
}

func TestCutConnections(t *testing.T) {
	s, c := sshSite(t)
	s.Machine("pve1").Cut("*marked*", 1, machine.CutDuring)
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Run("trap '' PIPE HUP; echo marked; echo x > /srv/after"); err == nil {
		t.Error("the command succeeded")
	}
	if err := c.Wait(); err == nil {
		t.Error("the connection ended well")
	}
	for range 1000 {
		if _, err := s.ReadFile("pve1", "/srv/after"); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("the command did not go on")
}

// backend records what it is told and answers as a guest would.
type backend struct {
	mu   sync.Mutex
	said []string
	fail string
}

func (b *backend) note(format string, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	b.said = append(b.said, text)
	if b.fail != "" && strings.HasPrefix(text, b.fail) {
		return errors.New("no room")
	}
	return nil
}

func (b *backend) Create(_ context.Context, g pve.GuestInfo) error {
	return b.note("create %d %s %s %v", g.VMID, g.Kind, g.Name, g.Running)
}

func (b *backend) Configure(_ context.Context, g pve.GuestInfo) error {
	return b.note("configure %d memory=%s", g.VMID, g.Config["memory"])
}

func (b *backend) Start(_ context.Context, g pve.GuestInfo) error { return b.note("start %d", g.VMID) }

func (b *backend) Stop(_ context.Context, vmid int, kill bool) error {
	return b.note("stop %d %v", vmid, kill)
}

func (b *backend) Destroy(_ context.Context, vmid int) error { return b.note("destroy %d", vmid) }

func (b *backend) Exec(_ context.Context, vmid int, argv []string, stdin io.Reader, stdout, _ io.Writer) (int, error) {
	if argv[len(argv)-1] == "away" {
		return 0, errors.New("guest is away")
	}
	if stdin != nil {
		_, _ = io.Copy(stdout, stdin)
	}
	fmt.Fprintf(stdout, "%d: %s", vmid, strings.Join(argv, " "))
	return 3, nil
}

func (b *backend) Interfaces(context.Context, int) ([]pve.Interface, error) {
	return []pve.Interface{{Name: "eth0", MAC: "bc:24:11:00:00:09", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.99/24")}}}, nil
}

// told waits until nothing is said any more and takes it.
func (b *backend) told() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.said
	b.said = nil
	return out
}

func TestBackend(t *testing.T) {
	b := &backend{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, pve.Options{Nodes: []string{"pve1"}, NoTemplate: true, Backend: b, Listener: listener, Guests: []pve.GuestSpec{{VMID: 101, Kind: "lxc", Config: insideCT, Running: true}}})
	if s.URL != "https://"+listener.Addr().String() {
		t.Errorf("the API is at %s, not at the listener", s.URL)
	}
	step := func(reason string, do func() error, want ...string) {
		t.Helper()
		if err := do(); err != nil {
			t.Errorf("%s: %v", reason, err)
		}
		if diff := cmp.Diff(want, b.told()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", reason, diff)
		}
	}
	task := func(verb, path string, params url.Values) func() error {
		return func() error { return runTask(t, s, verb, path, params) }
	}
	none := func() error { return nil }
	create := url.Values{"vmid": {"105"}, "ostemplate": {template}, "hostname": {"new"}, "storage": {"local-lvm"}}
	step("the guests of the beginning", none, "create 101 lxc web false", "start 101")
	step("a creation", task("POST", "/nodes/pve1/lxc", create), "create 105 lxc new false")
	step("a configuration", func() error { return s.SetConfig(105, "memory", "1024") }, "configure 105 memory=1024")
	step("the same again", func() error { return s.SetConfig(105, "memory", "1024") })
	step("a start", task("POST", "/nodes/pve1/lxc/105/status/start", nil), "start 105")
	step("a shutdown", task("POST", "/nodes/pve1/lxc/105/status/shutdown", nil), "stop 105 false")
	b.fail = "start"
	if err := runTask(t, s, "POST", "/nodes/pve1/lxc/105/status/start", nil); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("a start that fails: %v", err)
	}
	if g, _ := s.Guest(105); g.Running {
		t.Error("the guest runs although its start failed")
	}
	b.fail = ""
	b.told()
	step("a destruction", task("DELETE", "/nodes/pve1/lxc/105", nil), "destroy 105")
	b.fail = "create"
	create.Set("vmid", "106")
	if err := runTask(t, s, "POST", "/nodes/pve1/lxc", create); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("a creation that fails: %v", err)
	}
	if _, there := s.Guest(106); there || !slices.Contains(b.told(), "destroy 106") {
		t.Error("a creation that failed left a guest")
	}
	b.fail = ""
	stdout, stderr, exit := s.Run(t.Context(), "pve1", "echo in | lxc-attach -n 101 --clear-env -- cmd x")
	if stdout != "in\n101: env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=lxc cmd x" || exit != 3 {
		t.Errorf("lxc-attach: %q %q %d", stdout, stderr, exit)
	}
	if _, stderr, exit := s.Run(t.Context(), "pve1", "lxc-attach -n 101 -- away"); exit != 1 || stderr != "lxc-attach: 101: guest is away\n" {
		t.Errorf("lxc-attach to one that is away: %q %d", stderr, exit)
	}
	got, err := ask(t, s, "GET", "/nodes/pve1/lxc/101/interfaces", nil)
	if err != nil || !strings.Contains(fmt.Sprint(got), "10.0.0.99/24") {
		t.Errorf("interfaces: %v, %v", got, err)
	}
	if s.GuestMachine(101) != nil {
		t.Error("there is a simulated machine beside the backend")
	}
}
