// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is the one that distroless images call nonroot: a number, so that runAsNonRoot can be checked.
const user = "65532:65532"

// facts is what the image says about itself.
type facts struct {
	version  string
	revision string // commit; empty: not labelled
	created  time.Time
}

func (f facts) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":       "phoenix",
		"org.opencontainers.image.description": "Holds a Proxmox VE site in its declared state",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      "https://github.com/phoenix-hypervisor/phoenix",
		"org.opencontainers.image.version":     f.version,
		"org.opencontainers.image.created":     f.created.Format(time.RFC3339),
	}
	if f.revision != "" {
		labels["org.opencontainers.image.revision"] = f.revision
	}
	return labels
}

// assemble makes one image of each binary.
func assemble(binaries []string, about facts) ([]v1.Image, error) {
	roots, err := layer(file{"etc/ssl/certs/ca-certificates.crt", 0o644, certificates()})
	if err != nil {
		return nil, err
	}
	var images []v1.Image
	seen := map[string]string{}
	for _, binary := range binaries {
		arch, err := architecture(binary)
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", binary, err)
		}
		if other, twice := seen[arch]; twice {
			return nil, fmt.Errorf("inspect %s: %s is for %s too", binary, other, arch)
		}
		seen[arch] = binary
		text, err := os.ReadFile(binary)
		if err != nil {
			return nil, fmt.Errorf("read the manager: %w", err)
		}
		manager, err := layer(file{"manager", 0o755, text})
		if err != nil {
			return nil, err
		}
		image, err := imageOf(arch, about, roots, manager)
		if err != nil {
			return nil, fmt.Errorf("assemble for %s: %w", arch, err)
		}
		images = append(images, image)
	}
	return images, nil
}

func imageOf(arch string, about facts, layers ...v1.Layer) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Created = v1.Time{Time: about.created}
	for i := range config.History {
		config.History[i] = v1.History{Created: config.Created, CreatedBy: "hack/tools/image"}
	}
	config.Config = v1.Config{
		Entrypoint: []string{"/manager"},
		User:       user,
		WorkingDir: "/",
		Labels:     about.labels(),
	}
	return mutate.ConfigFile(image, config)
}

// architecture returns the GOARCH of a static Linux binary and refuses every other file: in an image from scratch
// there is no loader that could start it.
func architecture(binary string) (string, error) {
	program, err := elf.Open(binary)
	if err != nil {
		return "", fmt.Errorf("read the ELF header: %w", err)
	}
	defer program.Close()
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return "", errors.New("not static: build it with CGO_ENABLED=0")
		}
	}
	switch program.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	default:
		return "", fmt.Errorf("no image is made for machine %s", program.Machine)
	}
}

// certificates returns Mozilla's roots in PEM form. They come from a pinned module rather than from the build host, so
// that the image is reproducible. A root that is trusted with a condition is left out: a PEM file cannot carry it.
func certificates() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return text.Bytes()
}

// file is one file of a layer, owned by root.
type file struct {
	path string
	mode int64
	text []byte
}

// layer packs files and the directories above them; all are of the epoch.
func layer(files ...file) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, f := range files {
		for _, dir := range parents(f.path) {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
				return nil, fmt.Errorf("pack %s: %w", dir, err)
			}
		}
		if err := pack(w, f); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("end the layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

func pack(w *tar.Writer, f file) error {
	header := tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: f.mode, Size: int64(len(f.text)), ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(&header); err != nil {
		return fmt.Errorf("pack %s: %w", f.path, err)
	}
	if _, err := w.Write(f.text); err != nil {
		return fmt.Errorf("pack %s: %w", f.path, err)
	}
	return nil
}

// parents lists the directories above a relative path, outermost first.
func parents(name string) []string {
	var dirs []string
	parts := strings.Split(path.Dir(name), "/")
	for i := range parts {
		if dir := path.Join(parts[:i+1]...); dir != "." {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
