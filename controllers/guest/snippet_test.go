// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

func born(s *v1alpha1.GuestSpec) { s.CloudInit, s.Agent = &v1alpha1.CloudInit{}, ptr(true) }

// TestVendor: when a VM names a snippet of ours, and when what is there is left alone.
func TestVendor(t *testing.T) {
	const own, inherited, theirs = "vendor=local:snippets/phoenix-103.yaml", "vendor=local:snippets/phoenix-9000.yaml", "user=local:snippets/x.yaml"
	clone := func(s *Seen) { s.mark.stage = stageClone }
	place := func(s *Seen) { s.snippets = &proxmox.SnippetStorage{Name: "local", Folder: "/var/lib/vz/snippets"} }
	cases := []struct {
		reason  string
		now     string
		seen    func(*Seen)
		want    string
		removed bool
	}{
		{reason: "a clone that was never started", seen: all(clone, place), want: own},
		{reason: "it is there already", now: own, seen: all(clone, place)},
		{reason: "the template's snippet goes with the template", now: inherited, seen: all(clone, place), want: own},
		{reason: "somebody else's is left alone", now: theirs, seen: all(clone, place)},
		{reason: "the template's, and no place for an own one", now: inherited, seen: clone, removed: true},
		{reason: "no place for one", seen: clone},
		{reason: "a VM that may have been started: it is not touched", seen: place},
		{reason: "a VM that may have been started keeps what it has", now: inherited, seen: place},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			now := config{"ide2": "x:cloudinit", "agent": "1"}
			if c.now != "" {
				now["cicustom"] = c.now
			}
			seen := presentSeen(vm, now)
			c.seen(&seen)
			d := newDraft(newGuest(vm, born), seen)
			var removed []string
			if c.removed {
				removed = []string{"cicustom"}
			}
			if diff := cmp.Diff(removed, d.api.del, cmpopts.EquateEmpty()); diff != "" || d.api.set["cicustom"] != c.want {
				t.Errorf("want cicustom %q, got %q; removed (-want +got):\n%s", c.want, d.api.set["cicustom"], diff)
			}
		})
	}
	t.Run("a VM that is made from nothing", func(t *testing.T) {
		seen := absentSeen()
		place(&seen)
		if got := newDraft(newGuest(vm, born), seen).api.set["cicustom"]; got != own {
			t.Errorf("want %q, got %q", own, got)
		}
	})
}

// TestChooseSnippets: on which storage a snippet goes.
func TestChooseSnippets(t *testing.T) {
	local := proxmox.SnippetStorage{Name: "local"}
	shared := proxmox.SnippetStorage{Name: "tank", Shared: true}
	elsewhere := proxmox.SnippetStorage{Name: "aside", Shared: true, Nodes: []string{"pve2"}}
	for _, c := range []struct {
		reason   string
		storages []proxmox.SnippetStorage
		mayMove  bool
		want     string
	}{
		{"the first", []proxmox.SnippetStorage{elsewhere, local, shared}, false, "local"},
		{"where it may move, one that goes along", []proxmox.SnippetStorage{elsewhere, local, shared}, true, "tank"},
		{"where it may move, and there is none that goes along", []proxmox.SnippetStorage{local}, true, "local"},
		{"none on the node", []proxmox.SnippetStorage{elsewhere}, true, ""},
	} {
		got := ""
		if s := chooseSnippets(c.storages, "pve1", c.mayMove); s != nil {
			got = s.Name
		}
		if got != c.want {
			t.Errorf("%s: want %q, got %q", c.reason, c.want, got)
		}
	}
}

// TestSnippetIsCloudConfig: cloud-init reads it, and it holds no secret.
func TestSnippetIsCloudConfig(t *testing.T) {
	var content struct {
		PackageUpdate bool     `json:"package_update"`
		Packages      []string `json:"packages"`
		RunCmd        []string `json:"runcmd"`
	}
	if err := yaml.UnmarshalStrict([]byte(snippetText), &content); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(snippetText, "#cloud-config\n") || !cmp.Equal(content.Packages, []string{"qemu-guest-agent"}) || !content.PackageUpdate || len(content.RunCmd) != 1 {
		t.Errorf("snippet: %+v", content)
	}
}

// here is the machine that the test runs on.
type here struct{}

func (here) Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error) {
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	err := command.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = nil
	}
	return machine.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: command.ProcessState.ExitCode()}, err
}

// TestSnippetScripts: a real shell places the file for root alone, and removes it, twice each.
func TestSnippetScripts(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a 'folder' $(not a command)", "snippets")
	file := filepath.Join(folder, "phoenix-103.yaml")
	for range 2 {
		if err := runSnippet(t.Context(), here{}, folder, "phoenix-103.yaml", placeScript); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil || string(text) != snippetText {
			t.Fatalf("want the snippet, got %q, %v", text, err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode: got %v, %v", info.Mode(), err)
		}
	}
	for range 2 {
		if err := runSnippet(t.Context(), here{}, folder, "phoenix-103.yaml", removeScript); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	if err := runSnippet(t.Context(), here{}, "/dev/null", "phoenix-103.yaml", placeScript); err == nil {
		t.Error("a folder that cannot be made is an error")
	}
}

// snippetReader lists one storage of snippets, or fails.
type snippetReader struct {
	Reader
	err error
}

func (r snippetReader) SnippetStorages(context.Context) ([]proxmox.SnippetStorage, error) {
	return []proxmox.SnippetStorage{{Name: "local", Folder: "/var/lib/vz/snippets"}}, r.err
}

// refusing is a node whose SSH does not let anybody in.
type refusing struct{ err error }

func (r refusing) Run(context.Context, []string, []byte) (machine.Result, error) {
	return machine.Result{}, r.err
}

// TestSnippetCannotBeReached: what needs the file waits for it; a start and an end do not.
func TestSnippetCannotBeReached(t *testing.T) {
	const own = "vendor=local:snippets/phoenix-103.yaml"
	refused := errors.New("ssh: unable to authenticate")
	for _, c := range []struct {
		reason          string
		listed, reached error
	}{
		{"the node refuses the key", nil, refused},
		{"the node is away", nil, machine.Away(refused)},
		{"the storages are not to be listed", refused, nil},
	} {
		seen := presentSeen(vm, config{"cicustom": own})
		seen.shell, seen.hasShell = refusing{c.reached}, true
		seen.site.Reader = snippetReader{err: c.listed}
		d := newDraft(newGuest(vm, born), seen)
		for _, s := range []struct {
			name  string
			with  func(reconcile.Step) reconcile.Step
			taken bool
		}{
			{"configure", func(s reconcile.Step) reconcile.Step { return d.withSnippet(s, own) }, false},
			{"start", d.startable, true},
			{"destroy", d.withoutSnippet, true},
		} {
			taken := false
			err := s.with(reconcile.Step{Do: func(context.Context) error { taken = true; return nil }}).Do(t.Context())
			if taken != s.taken || (err == nil) != s.taken {
				t.Errorf("%s: %s was taken: %t, %v", c.reason, s.name, taken, err)
			}
		}
	}
}
