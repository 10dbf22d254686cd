// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/lab"
	"github.com/phoenix-hypervisor/phoenix/test/lab/image"
)

// TestEngine is a virtual machine with a Docker engine: its package comes from the lab's repository, its images from the
// lab's mirror, by archive and by pull, what a container publishes is reached from other machines, and all of it goes with
// the machine.
func TestEngine(t *testing.T) {
	const vmid, path = 1151, "/nodes/phoenix/qemu/1151"
	create(t, container(153, ""))
	if err := bootMachine(vmid, "10.0.0.161"); err != nil {
		t.Fatal(err)
	}
	destroy := sync.OnceValue(func() error {
		return errors.Join(api.task("POST", path+"/status/stop", nil), api.task("DELETE", path, nil))
	})
	t.Cleanup(func() {
		if err := destroy(); err != nil {
			t.Error(err)
		}
	})
	until(t, "the agent answers", func() error { return api.call("POST", path+"/agent/ping", nil, nil) })
	inside(t, vmid, "sh", "-c", `mkdir /etc/docker && echo '{"registry-mirrors": ["`+lab.RegistryMirror+`"]}' >/etc/docker/daemon.json
		export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends docker.io >/dev/null`)
	if got := inside(t, vmid, "docker", "info", "--format", "{{.Driver}} {{.DockerRootDir}}"); got != "overlay2 /var/lib/docker" {
		t.Errorf("the engine stacks its file systems with %q", got)
	}
	who, next := loadAndPull(t, vmid)
	id := inside(t, vmid, "docker", "run", "-d", "-p", "8080:80", "--restart", "always", "--cpus", "0.5", "--memory", "64m", who.Name)
	answers := func() error { return answered(t.Context(), 153, "10.0.0.161", 8080, "Hostname: "+id[:12]) }
	until(t, "the container's port answers from another guest", answers)
	deployByPortainer(t, vmid, "10.0.0.161", next)
	until(t, "a stack of Portainer's answers from another guest", func() error {
		return answered(t.Context(), 153, "10.0.0.161", 8082, "Name: from-portainer")
	})
	if err := errors.Join(api.task("POST", path+"/status/stop", nil), api.task("POST", path+"/status/start", nil)); err != nil {
		t.Fatal(err)
	}
	until(t, "the container is there again after the machine was switched off", answers)
	if there := leftOf(t, vmid); len(there) < 10 {
		t.Errorf("while it runs it has only %q", there)
	}
	if err := destroy(); err != nil {
		t.Fatal(err)
	}
	if left := leftOf(t, vmid); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
}

// loadAndPull has the engine take an image from its archive, and from the registry, which gives the same; then its makers
// release another one.
func loadAndPull(t *testing.T, vmid int) (who, next lab.Image) {
	t.Helper()
	var errs [2]error
	who, errs[0] = site.Image(t.Context(), lab.WhoamiImage)
	next, errs[1] = site.Image(t.Context(), lab.NewWhoamiImage)
	if err := errors.Join(append(errs[:], site.LoadImage(t.Context(), vmid, who.Name))...); err != nil {
		t.Fatal(err)
	}
	const moving = "traefik/whoami:latest"
	known := func(format, name string) string {
		return inside(t, vmid, "docker", "image", "inspect", "--format", format, name)
	}
	if got := known("{{.Id}} {{.RepoTags}}", who.ID); got != who.ID+" ["+who.Name+"]" {
		t.Errorf("the engine loaded %q, want %+v", got, who)
	}
	for _, i := range []lab.Image{who, next} {
		if err := site.TagImage(moving, i.Name); err != nil {
			t.Fatal(err)
		}
		inside(t, vmid, "docker", "pull", "-q", moving)
		if got := known("{{.Id}} {{.RepoDigests}}", moving); got != i.ID+" [traefik/whoami@"+i.Digest+"]" {
			t.Errorf("the engine pulled %q, want %+v", got, i)
		}
	}
	if r, err := site.Exec(t.Context(), vmid, "docker", "pull", "-q", "traefik/none:v1"); err != nil || r.Exit == 0 || r.Stderr == "" {
		t.Errorf("an image that there is not was pulled: %v, %+v", err, r)
	}
	return who, next
}

// answered says whether a web server answers a guest with this line.
func answered(ctx context.Context, from int, address string, port int, line string) error {
	script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3`, address, port)
	r, err := site.Exec(ctx, from, "timeout", "3", "bash", "-c", script)
	if err == nil && !strings.Contains(r.Stdout, line+"\n") {
		err = fmt.Errorf("not %q: %+v", line, r)
	}
	return err
}

// bootMachine makes and starts a virtual machine.
func bootMachine(vmid int, address string) error {
	path := fmt.Sprintf("/nodes/phoenix/qemu/%d", vmid)
	err := api.task("POST", "/nodes/phoenix/qemu/9000/clone", url.Values{"newid": {fmt.Sprint(vmid)}, "name": {"vm"}, "full": {"1"}})
	if err != nil {
		return err
	}
	err = api.call("PUT", path+"/config", url.Values{"ipconfig0": {"ip=" + address + "/24,gw=" + lab.Gateway}, "agent": {"1"}}, nil)
	if err != nil {
		return err
	}
	return api.task("POST", path+"/status/start", nil)
}

// leftOf is what there is of a guest: folders, mounts, control groups and processes.
func leftOf(t *testing.T, vmid int) (left []string) {
	t.Helper()
	folder, err := image.Folder()
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{filepath.Join(folder, "run", "*", "*", "machines"), "/sys/fs/cgroup/*/phoenix-lab-*"} {
		found, err := filepath.Glob(filepath.Join(pattern, fmt.Sprint(vmid)))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	for pattern, part := range map[string]string{
		"/proc/[0-9]*/mountinfo": fmt.Sprintf("/machines/%d/", vmid), "/proc/[0-9]*/cgroup": fmt.Sprintf("/%d/", vmid),
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "no such process") {
				t.Fatal(err)
			}
			if strings.Contains(strings.ReplaceAll(string(text), "\n", "/\n"), part) {
				left = append(left, file)
			}
		}
	}
	return left
}
