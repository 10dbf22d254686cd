// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// program builds a small Linux binary in the way that the manager is built, with further flags.
func program(t *testing.T, arch string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range map[string]string{
		"go.mod":  "module example.test/m\n\ngo 1.26.0\n",
		"main.go": "package main\n\nfunc main() { println(\"started\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, "manager-"+arch)
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", binary}, append(flags, ".")...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// assembled runs the command and returns the path of the archive.
func assembled(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dist", "image.tar")
	var said bytes.Buffer
	all := append([]string{"-out", path, "-name", "localhost/phoenix:v1", "-version", "v1", "-revision", commit, "-docker", "arm64"}, args...)
	if err := run(all, "1700000000", &said, &said); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(said.String(), "localhost/phoenix:v1@sha256:") {
		t.Errorf("said %q, want the name and digest", said.String())
	}
	return path
}

func TestImage(t *testing.T) {
	amd64, arm64 := program(t, "amd64"), program(t, "arm64")
	path := assembled(t, amd64, arm64)

	t.Run("the OCI layout is complete and holds an image for each architecture", func(t *testing.T) {
		index := layoutIndex(t, path)
		for arch, binary := range map[string]string{"amd64": amd64, "arm64": arm64} {
			checkImage(t, imageFor(t, index, arch), arch, binary)
		}
	})
	t.Run("docker load finds the architecture that was asked for under its name", func(t *testing.T) {
		tag, err := name.NewTag("localhost/phoenix:v1")
		if err != nil {
			t.Fatal(err)
		}
		image, err := tarball.ImageFromPath(path, &tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(image); err != nil {
			t.Error(err)
		}
		checkImage(t, image, "arm64", arm64)
	})
	t.Run("containerd learns the full name", func(t *testing.T) {
		var top v1.IndexManifest
		if err := json.Unmarshal(untar(t, path)["index.json"], &top); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{annotationContainerd: "localhost/phoenix:v1", annotationRefName: "v1"}
		if len(top.Manifests) != 1 || cmp.Diff(want, top.Manifests[0].Annotations) != "" {
			t.Errorf("index.json: %+v, want one image with %v", top.Manifests, want)
		}
	})
	t.Run("the same input gives the same bytes", func(t *testing.T) {
		first, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(assembled(t, amd64, arm64))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Error("two archives differ")
		}
	})
}

// checkImage holds an image against what the manager's Deployment counts on.
func checkImage(t *testing.T, image v1.Image, arch, binary string) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{Entrypoint: []string{"/manager"}, User: "65532:65532", WorkingDir: "/", Labels: map[string]string{
		"org.opencontainers.image.title":       "phoenix",
		"org.opencontainers.image.description": "Holds a Proxmox VE site in its declared state",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      "https://github.com/phoenix-hypervisor/phoenix",
		"org.opencontainers.image.version":     "v1",
		"org.opencontainers.image.revision":    commit,
		"org.opencontainers.image.created":     "2023-11-14T22:13:20Z",
	}}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("%s: config (-want +got):\n%s", arch, diff)
	}
	if config.OS != "linux" || config.Architecture != arch || config.Created.Unix() != 1700000000 {
		t.Errorf("%s: config is for %s/%s of %s", arch, config.OS, config.Architecture, config.Created)
	}
	checkFiles(t, image, arch, binary)
}

// checkFiles reads all layers: two files and the directories above them are all there is.
func checkFiles(t *testing.T, image v1.Image, arch, binary string) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%s: %d layers, %v", arch, len(layers), err)
	}
	modes := map[string]int64{}
	texts := map[string][]byte{}
	for _, l := range layers {
		content, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		read(t, content, func(h *tar.Header, text []byte) {
			modes[h.Name], texts[h.Name] = h.Mode, text
			if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 {
				t.Errorf("%s: %s belongs to %d:%d of %s", arch, h.Name, h.Uid, h.Gid, h.ModTime)
			}
		})
		content.Close()
	}
	want := map[string]int64{"manager": 0o755, "etc/": 0o755, "etc/ssl/": 0o755, "etc/ssl/certs/": 0o755, "etc/ssl/certs/ca-certificates.crt": 0o644}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("%s: files (-want +got):\n%s", arch, diff)
	}
	manager, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(manager, texts["manager"]) {
		t.Errorf("%s: /manager is not the binary", arch)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(texts["etc/ssl/certs/ca-certificates.crt"]) {
		t.Errorf("%s: no certificate can be read", arch)
	}
}

func TestCertificatesAreMany(t *testing.T) {
	if n := bytes.Count(certificates(), []byte("BEGIN CERTIFICATE")); n < 100 {
		t.Errorf("%d roots, want the whole bundle", n)
	}
}

func TestRefused(t *testing.T) {
	static := program(t, "amd64")
	script := filepath.Join(t.TempDir(), "manager")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec sleep infinity\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		reason, epoch, err string
		args               []string
	}{
		{"nothing to put in", "", "no manager binary", nil},
		{"a binary that needs a loader cannot start from scratch", "", "CGO_ENABLED=0", []string{program(t, "amd64", "-buildmode=pie")}},
		{"a script is no manager", "", "bad magic number", []string{script}},
		{"an architecture that no node has", "", "EM_S390", []string{program(t, "s390x")}},
		{"two managers for one architecture", "", "for amd64 too", []string{static, static}},
		{"a name that no runtime accepts", "", "-name", []string{"-name", "Phoenix:dev", static}},
		{"a date that is none", "yesterday", "SOURCE_DATE_EPOCH", []string{static}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image.tar")
			var said bytes.Buffer
			err := run(append([]string{"-out", path}, c.args...), c.epoch, &said, &said)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestFullName(t *testing.T) {
	cases := []struct{ reason, name, want string }{
		{"a local name keeps its host", "localhost/phoenix:dev", "localhost/phoenix:dev"},
		{"a registry of one's own is kept", "registry.example.test:5000/a/phoenix:v1", "registry.example.test:5000/a/phoenix:v1"},
		{"the default registry is spelled as runtimes spell it", "a/phoenix", strings.TrimPrefix(name.DefaultRegistry, "index.") + "/a/phoenix:latest"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			tag, err := name.NewTag(c.name)
			if err != nil {
				t.Fatal(err)
			}
			if got := fullName(tag); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// layoutIndex unpacks an archive and returns its index of architectures, validated to the last blob.
func layoutIndex(t *testing.T, path string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	for name, text := range untar(t, path) {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(top); err != nil {
		t.Error(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func imageFor(t *testing.T, index v1.ImageIndex, arch string) v1.Image {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifest.Manifests {
		if m.Platform != nil && m.Platform.String() == "linux/"+arch {
			image, err := index.Image(m.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return image
		}
	}
	t.Fatalf("no image for linux/%s in %+v", arch, manifest.Manifests)
	return nil
}

func untar(t *testing.T, path string) map[string][]byte {
	t.Helper()
	archive, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	files := map[string][]byte{}
	read(t, archive, func(h *tar.Header, text []byte) {
		if _, twice := files[h.Name]; twice {
			t.Errorf("%s is packed twice", h.Name)
		}
		files[h.Name] = text
	})
	return files
}

func read(t *testing.T, r io.Reader, each func(*tar.Header, []byte)) {
	t.Helper()
	for packed := tar.NewReader(r); ; {
		header, err := packed.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(packed)
		if err != nil {
			t.Fatal(err)
		}
		each(header, text)
	}
}
