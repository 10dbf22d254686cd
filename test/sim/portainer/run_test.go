// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// archive is what docker save writes, as far as it matters.
func archive(t *testing.T, packed bool, config string, tags ...string) (data []byte, id string) {
	t.Helper()
	sum := sha256.Sum256([]byte(config))
	id = hex.EncodeToString(sum[:])
	var list []string
	for _, tag := range tags {
		list = append(list, fmt.Sprintf("%q", tag))
	}
	var buffer bytes.Buffer
	files := tar.NewWriter(&buffer)
	for _, file := range [][2]string{
		{"manifest.json", fmt.Sprintf(`[{"Config":"%s.json","RepoTags":[%s],"Layers":["layer.tar"]}]`, id, strings.Join(list, ","))},
		{id + ".json", config}, {"layer.tar", "layer"},
	} {
		if err := files.WriteHeader(&tar.Header{Name: file[0], Size: int64(len(file[1])), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if !packed {
		return buffer.Bytes(), "sha256:" + id
	}
	var small bytes.Buffer
	z := gzip.NewWriter(&small)
	_, _ = z.Write(buffer.Bytes())
	_ = z.Close()
	return small.Bytes(), "sha256:" + id
}

func TestLoad(t *testing.T) {
	const config = `{"config":{"Env":["A=b"],"Entrypoint":["/web"],"Cmd":["serve"],"Healthcheck":{"Test":["CMD","/web","check"]},"Labels":{"l":"v"}}}`
	for _, packed := range []bool{false, true} {
		m := portainer.NewMemory(portainer.MemoryOptions{})
		data, id := archive(t, packed, config, "lab/web:1", "lab/web:latest")
		names, err := m.Load(bytes.NewReader(data))
		if err != nil || !cmp.Equal(names, []string{"lab/web:1", "lab/web:latest"}) {
			t.Fatalf("load: %v, %v", names, err)
		}
		seen, err := m.Image("lab/web")
		if err != nil || seen.ID != id {
			t.Errorf("image %+v, %v, want %s", seen, err, id)
		}
		if _, _, err := m.Run(t.Context(), portainer.Spec{Name: "web", Image: "lab/web:1", Env: []string{"A=c"}}); err != nil {
			t.Fatal(err)
		}
		c, err := m.Container("web")
		if err != nil || c.Health != "healthy" || !cmp.Equal(c.Env, []string{"A=c"}) || !cmp.Equal(c.Entrypoint, []string{"/web"}) || c.Labels["l"] != "v" {
			t.Errorf("container %+v, %v", c, err)
		}
		newer, newID := archive(t, packed, config+" ", "lab/web:1")
		if _, err := m.Load(bytes.NewReader(newer)); err != nil {
			t.Fatal(err)
		}
		if seen, err := m.Image("lab/web:1"); err != nil || seen.ID != newID {
			t.Errorf("the tag did not move: %+v, %v", seen, err)
		}
		if c, err := m.Container("web"); err != nil || c.ImageID != id {
			t.Errorf("the container has another image: %+v, %v", c, err)
		}
	}
	m := portainer.NewMemory(portainer.MemoryOptions{})
	for reason, data := range map[string]string{"no archive": "hello", "cut off": "\x1f\x8b\x08"} {
		if _, err := m.Load(strings.NewReader(data)); err == nil {
			t.Errorf("%s: it was loaded", reason)
		}
	}
}

func TestRemoveImage(t *testing.T) {
	m := portainer.NewMemory(portainer.MemoryOptions{Images: map[string]string{"web:1": "web"}})
	if err := m.Tag("web:1", "web:2"); err != nil {
		t.Fatal(err)
	}
	image, err := m.Image("web:2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.RemoveImage(image.ID, false); err == nil || !strings.Contains(err.Error(), "referenced in multiple repositories") {
		t.Errorf("by its ID: %v", err)
	}
	if lines, err := m.RemoveImage("web:2", false); err != nil || !cmp.Equal(lines, []string{"Untagged: web:2"}) {
		t.Errorf("one name: %v, %v", lines, err)
	}
	id, _, err := m.Run(t.Context(), portainer.Spec{Image: "web:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.RemoveImage("web:1", true); err == nil || !strings.Contains(err.Error(), "cannot be forced") {
		t.Errorf("in use: %v", err)
	}
	if err := m.Stop(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := m.RemoveImage("web:1", false); err == nil || !strings.Contains(err.Error(), "must force") {
		t.Errorf("in use by what does not run: %v", err)
	}
	if err := m.Remove(id, false, false); err != nil {
		t.Fatal(err)
	}
	if lines, err := m.RemoveImage("web:1", false); err != nil || !cmp.Equal(lines, []string{"Untagged: web:1", "Deleted: " + image.ID}) {
		t.Errorf("the last name: %v, %v", lines, err)
	}
}

// TestPrograms runs a program of the test's in containers.
func TestPrograms(t *testing.T) {
	started := make(chan struct{}, 10)
	bound := map[int]bool{}
	m := portainer.NewMemory(portainer.MemoryOptions{
		Images: map[string]string{"web:1": "web"},
		Program: func(string) portainer.Program {
			return func(ctx context.Context, p portainer.Process) int {
				_, _ = fmt.Fprintln(p.Stdout, "hello from", p.Container.Name)
				started <- struct{}{}
				<-ctx.Done()
				return 3
			}
		},
		Bind: func(_ portainer.Container, p portainer.Port) (func(), error) {
			if p.Published == 22 {
				return nil, errors.New("listen tcp4 0.0.0.0:22: bind: address already in use")
			}
			bound[p.Published] = true
			return func() { delete(bound, p.Published) }, nil
		},
	})
	ctx := t.Context()
	if _, _, err := m.Run(ctx, portainer.Spec{Name: "ssh", Image: "web:1", AutoRemove: true, Ports: []portainer.Port{{Published: 80, Target: 80}, {Published: 22, Target: 22}}}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port of the machine: %v", err)
	}
	if len(bound) > 0 || len(m.Containers()) > 0 {
		t.Errorf("ports %v and containers %v are left", bound, m.Containers())
	}
	_, wait, err := m.Run(ctx, portainer.Spec{Name: "web", Image: "web:1", AutoRemove: true, Ports: []portainer.Port{{Published: 80, Target: 80}}})
	if err != nil {
		t.Fatal(err)
	}
	<-started
	if text, err := m.Logs("web"); err != nil || text != "hello from web\n" || !bound[80] {
		t.Errorf("log %q, %v, ports %v", text, err, bound)
	}
	if err := m.Stop(ctx, "web", 0); err != nil {
		t.Fatal(err)
	}
	if code, err := wait(ctx); err != nil || code != 3 {
		t.Errorf("it ended with %d, %v", code, err)
	}
	if _, err := m.Container("web"); err == nil || len(bound) > 0 {
		t.Errorf("it was not removed, or has ports: %v", bound)
	}

	if _, _, err := m.Run(ctx, portainer.Spec{Name: "again", Image: "web:1", Restart: "unless-stopped"}); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := m.Exit("again", 1); err != nil {
		t.Fatal(err)
	}
	<-started // its policy starts it again
	m.Halt(false)
	if _, err := m.Container("again"); !errors.Is(err, portainer.ErrHalted) {
		t.Errorf("an engine that does not run says %v", err)
	}
	m.Boot()
	<-started
	if err := m.Stop(ctx, "again", 0); err != nil {
		t.Fatal(err)
	}
	m.Halt(false)
	m.Boot()
	if c, err := m.Container("again"); err != nil || c.State != "exited" || c.Restarts != 1 {
		t.Errorf("what was stopped by hand: %+v, %v", c, err)
	}
	if err := m.Start("again"); err != nil {
		t.Fatal(err)
	}
	<-started
	m.Halt(true)
	m.Boot()
	if c, err := m.Container("again"); err != nil || c.State != "running" {
		t.Errorf("with live-restore: %+v, %v", c, err)
	}
	if err := m.Remove("again", false, false); err == nil {
		t.Error("a running container was removed without force")
	}
	if err := m.Remove("again", true, false); err != nil {
		t.Error(err)
	}
}

func TestContainersByHand(t *testing.T) {
	m := portainer.NewMemory(portainer.MemoryOptions{Images: map[string]string{"web:1": "web", "lab/crash:1": "crash", "lab/job:1": "job"}})
	for name, s := range map[string]portainer.Spec{
		"web running ":      {Name: "web", Image: "web:1", Healthcheck: true, Mounts: []portainer.Mount{{Type: "volume", Target: "/data"}}},
		"crash exited 1":    {Name: "crash", Image: "lab/crash:1"},
		"job exited 0":      {Name: "job", Image: "lab/job:1", Restart: "on-failure"},
		"loop restarting 1": {Name: "loop", Image: "lab/crash:1", Restart: "always"},
	} {
		if _, _, err := m.Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		want := strings.Fields(name + " 0")
		c, err := m.Container(s.Name)
		if err != nil || c.State != want[1] || fmt.Sprint(c.ExitCode) != want[2] {
			t.Errorf("%s: it is %s with %d, %v", name, c.State, c.ExitCode, err)
		}
	}
	if _, _, err := m.Run(t.Context(), portainer.Spec{Name: "web", Image: "web:1"}); err == nil || !strings.Contains(err.Error(), "already in use by container") {
		t.Errorf("a name twice: %v", err)
	}
	if err := m.SetHealth("web", "unhealthy"); err != nil {
		t.Error(err)
	}
	if c, err := m.Container("web"); err != nil || c.Health != "unhealthy" {
		t.Errorf("%+v, %v", c, err)
	}
	if err := m.Stop(t.Context(), "loop", 0); err != nil {
		t.Error(err)
	}
	if code, err := m.Wait(t.Context(), "loop"); err != nil || code != 1 {
		t.Errorf("the loop ended with %d, %v", code, err)
	}
	if err := m.Remove("web", true, true); err != nil || len(m.Volumes()) > 0 {
		t.Errorf("nameless volumes are left: %v, %v", m.Volumes(), err)
	}
}
