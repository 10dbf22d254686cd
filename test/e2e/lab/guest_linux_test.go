// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

// TestContainer is the life of a container: it answers from outside once it is made, its power is real, what is written in
// it outlives a stop and goes with it.
func TestContainer(t *testing.T) {
	const vmid = 150
	path := fmt.Sprintf("/nodes/phoenix/lxc/%d", vmid)
	if err := api.boot(container(vmid, "", "nameserver", "10.0.0.13", "searchdomain", "lan")); err != nil {
		t.Fatal(err)
	}
	if err := site.Booted(t.Context(), vmid); err != nil {
		t.Fatal(err)
	}
	outside(t, "ping", "-c", "1", "-W", "2", address(vmid))
	if got := inside(t, vmid, "hostname"); got != "box-150" {
		t.Errorf("its name is %q", got)
	}
	if got := inside(t, vmid, "cat", "/etc/resolv.conf"); !strings.Contains(got, "search lan\nnameserver 10.0.0.13") {
		t.Errorf("it asks for names as in %q", got)
	}
	inside(t, vmid, "sh", "-c", "echo kept >/etc/kept")

	for _, power := range []string{"stop", "shutdown"} {
		if err := api.task("POST", path+"/status/"+power, nil); err != nil {
			t.Fatal(err)
		}
		if r, err := site.Client(t.Context(), "ping", "-c", "1", "-W", "1", address(vmid)); err != nil || r.Exit == 0 {
			t.Errorf("after %s it still answers: %v, %+v", power, err, r)
		}
		if _, err := site.Exec(t.Context(), vmid, "true"); err == nil {
			t.Errorf("after %s it still runs programs", power)
		}
		if err := api.task("POST", path+"/status/start", nil); err != nil {
			t.Fatal(err)
		}
		outside(t, "ping", "-c", "1", "-W", "2", address(vmid))
	}
	if got := inside(t, vmid, "cat", "/etc/kept"); got != "kept" {
		t.Errorf("after a restart the file has %q", got)
	}
	if err := api.task("DELETE", path, url.Values{"force": {"1"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := site.Exec(t.Context(), vmid, "true"); err == nil || !strings.Contains(err.Error(), "no guest") {
		t.Errorf("after it was destroyed: %v", err)
	}
	if err := api.boot(container(vmid, "")); err != nil {
		t.Fatal(err)
	}
	if r, err := site.Exec(t.Context(), vmid, "cat", "/etc/kept"); err != nil || r.Exit == 0 {
		t.Errorf("another guest of this number has its files: %v, %+v", err, r)
	}
	if err := api.task("DELETE", path, url.Values{"force": {"1"}}); err != nil {
		t.Fatal(err)
	}
}

// TestMounts binds a folder of the host into a container, for reading and writing, before and after its start.
func TestMounts(t *testing.T) {
	inside(t, lab.Host, "mkdir", "-p", "/srv/shared", "/srv/later")
	inside(t, lab.Host, "ln", "-sfn", "/srv/shared", "/srv/link")
	inside(t, lab.Host, "sh", "-c", "echo from the host >/srv/shared/note; echo too late >/srv/later/note")
	v := container(151, "", "mp1", "local-lvm:1,mp=/var/lib/own")
	if err := api.task("POST", "/nodes/phoenix/lxc", v); err != nil {
		t.Fatal(err)
	}
	dispose(t, v)
	// No API token may bind a folder: root does it on the host, as on a real one.
	inside(t, lab.Host, "pct", "set", "151", "--mp0", "/srv/link,mp=/data", "--mp2", "/srv/shared,mp=/read,ro=1")
	if err := api.task("POST", "/nodes/phoenix/lxc/151/status/start", nil); err != nil {
		t.Fatal(err)
	}
	if got := inside(t, 151, "cat", "/data/note", "/read/note"); got != "from the host\nfrom the host" {
		t.Errorf("the container reads %q", got)
	}
	inside(t, 151, "sh", "-c", "echo from the container >/data/answer; echo own >/var/lib/own/file")
	if got := inside(t, lab.Host, "cat", "/srv/shared/answer"); got != "from the container" {
		t.Errorf("the host reads %q", got)
	}
	if r, err := site.Exec(t.Context(), 151, "sh", "-c", "echo no >/read/no"); err != nil || r.Exit == 0 || !strings.Contains(r.Stderr, "Read-only") {
		t.Errorf("a mount that is only for reading was written to: %v, %+v", err, r)
	}
	inside(t, lab.Host, "pct", "set", "151", "--mp3", "/srv/later,mp=/later,ro=1")
	until(t, "a mount point arrives in a container that runs", func() error {
		r, err := site.Exec(t.Context(), 151, "cat", "/later/note")
		if err == nil && strings.TrimSpace(r.Stdout) != "too late" {
			err = fmt.Errorf("%+v", r)
		}
		return err
	})
}

// TestHost is the host as its administrator knows it.
func TestHost(t *testing.T) {
	create(t, container(152, ""))
	for _, tc := range []struct {
		reason, script, want string
		exit                 int
	}{
		{"pct knows the container", "pct status 152", "status: running", 0},
		{"pct exec runs in it", "pct exec 152 -- hostname", "box-152", 0},
		{"lxc-attach does, with input, and ends as the program", "echo text | lxc-attach -n 152 -- sh -c 'cat; exit 7'", "text", 7},
		{"its environment may be set", "lxc-attach -n 152 --clear-env --set-var A=b -- sh -c 'echo $A$HOME'", "b", 0},
		{"there is no container of this number", "lxc-attach -n 999 -- true 2>&1", "lxc-attach: 999:", 1},
		{"its configuration is a file", "grep -c ^hostname: /etc/pve/lxc/152.conf", "1", 0},
		{"systemd runs", "systemctl is-system-running --wait", "running", 0},
		{"a package comes from the lab's repository", "apt-get update -qq && apt-get install -y -qq sudo >/dev/null 2>&1 && sudo -n id -un", "root", 0},
	} {
		r, err := site.Exec(t.Context(), lab.Host, "sh", "-c", tc.script)
		if err != nil || r.Exit != tc.exit || !strings.HasPrefix(strings.TrimSpace(r.Stdout), tc.want) {
			t.Errorf("%s: %v, %+v", tc.reason, err, r)
		}
	}
	var digest struct{ Digest string }
	if err := api.call("GET", "/nodes/phoenix/lxc/152/config", nil, &digest); err != nil {
		t.Fatal(err)
	}
	if got := inside(t, lab.Host, "sha1sum", "/etc/pve/nodes/phoenix/lxc/152.conf"); !strings.HasPrefix(got, digest.Digest) {
		t.Errorf("the digest is %s in the API and %s on the host", digest.Digest, got)
	}
}

// TestMachine is a virtual machine: it is reached by its agent, and by SSH.
func TestMachine(t *testing.T) {
	const path = "/nodes/phoenix/qemu/1150"
	if err := api.task("POST", "/nodes/phoenix/qemu/9000/clone", url.Values{"newid": {"1150"}, "name": {"vm"}, "full": {"1"}}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(api.task("POST", path+"/status/stop", nil), api.task("DELETE", path, nil)); err != nil {
			t.Error(err)
		}
	}()
	if err := api.call("PUT", path+"/config", url.Values{
		"ipconfig0": {"ip=10.0.0.160/24,gw=" + lab.Gateway}, "agent": {"1"}, "ciuser": {"admin"},
		"sshkeys": {"ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%20admin%40example%0A"},
	}, nil); err != nil {
		t.Fatal(err)
	}
	if err := api.task("POST", path+"/status/start", nil); err != nil {
		t.Fatal(err)
	}
	until(t, "the agent answers", func() error { return api.call("POST", path+"/agent/ping", nil, nil) })
	if got := agent(t, path, "input from the API", "sh", "-c", "cat; id -un; exit 3"); got != "3 input from the APIroot\n" {
		t.Errorf("the agent's program ended with %q", got)
	}
	if got := agent(t, path, "", "cut", "-d ", "-f3", "/home/admin/.ssh/authorized_keys"); got != "0 admin@example\n" {
		t.Errorf("who may log in: %q", got)
	}
	content := base64.StdEncoding.EncodeToString([]byte("written by the API\n"))
	if err := api.call("POST", path+"/agent/file-write", url.Values{"file": {"/etc/written"}, "content": {content}, "encode": {"0"}}, nil); err != nil {
		t.Fatal(err)
	}
	var file struct{ Content string }
	if err := api.call("GET", path+"/agent/file-read", url.Values{"file": {"/etc/written"}}, &file); err != nil || file.Content != "written by the API\n" {
		t.Errorf("the agent reads %q: %v", file.Content, err)
	}
	var interfaces struct{ Result []map[string]any }
	if err := api.call("GET", path+"/agent/network-get-interfaces", nil, &interfaces); err != nil || !strings.Contains(fmt.Sprint(interfaces), "10.0.0.160") {
		t.Errorf("the agent's interfaces are %v: %v", interfaces, err)
	}
	if got := dial(t, "10.0.0.160", 22); !strings.HasPrefix(got, "SSH-2.0-") {
		t.Errorf("sshd says %q", got)
	}
	if got := inside(t, lab.Host, "sh", "-c", "lxc-attach -n 1150 -- true 2>&1 || echo refused"); !strings.Contains(got, "refused") {
		t.Errorf("lxc-attach reaches a virtual machine: %q", got)
	}
}

// agent runs a program by the guest agent, and returns its status and what it printed.
func agent(t *testing.T, path, input string, argv ...string) string {
	t.Helper()
	var started struct{ PID int }
	if err := api.call("POST", path+"/agent/exec", url.Values{"command": argv, "input-data": {input}}, &started); err != nil {
		t.Fatal(err)
	}
	var got string
	until(t, "the agent's program ends", func() error {
		var state struct {
			Exited   any
			ExitCode int
			OutData  string `json:"out-data"`
		}
		if err := api.call("GET", path+"/agent/exec-status", url.Values{"pid": {fmt.Sprint(started.PID)}}, &state); err != nil {
			return err
		}
		if fmt.Sprint(state.Exited) != "1" && fmt.Sprint(state.Exited) != "true" {
			return errors.New("it runs")
		}
		got = fmt.Sprintf("%d %s", state.ExitCode, state.OutData)
		return nil
	})
	return got
}

// dial connects from outside and returns the first line that comes, or why none does.
func dial(t *testing.T, address string, port int) string {
	t.Helper()
	script := fmt.Sprintf("exec 3<>/dev/tcp/%s/%d && head -n 1 <&3", address, port)
	r, err := site.Client(t.Context(), "timeout", "3", "bash", "-c", script)
	switch {
	case err != nil:
		t.Fatal(err)
	case r.Exit == 124:
		return "timeout"
	case strings.Contains(r.Stderr, "refused"):
		return "refused"
	}
	return strings.TrimSpace(r.Stdout + r.Stderr)
}
