// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package registry makes container images of programs, without a container engine, and serves them to engines: as archives
// that "docker load" takes, and by the part of the registry's API that "docker pull" needs.
package registry

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Spec says what an image is made of.
type Spec struct {
	// Files of the image by their path in it, without the first slash: their paths on this machine. All are programs.
	Files map[string]string
	// Dirs are empty folders, by their path as above, with their permissions.
	Dirs map[string]fs.FileMode
	// Entrypoint is what a container runs.
	Entrypoint []string
	// Ports that it serves, such as 80/tcp.
	Ports []string
	// Labels of the image. They tell images of one program apart.
	Labels map[string]string
}

// Image is a container image in a folder of this machine.
type Image struct {
	// ID is that by which engines know it, and Digest that of its manifest, by which registries do: sha256:...
	ID, Digest string
	// Archive is the path of what docker save would write, and SHA256 what sha256sum prints for it.
	Archive, SHA256 string

	layer    string // path of the layer's file
	diff     string // its digest
	config   []byte
	manifest []byte
}

// The media types of an image's parts.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// descriptor refers to a part of an image.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// Pack makes an image in a folder, which it makes. The same spec and files give the same image at any time. The name, such as
// example/program:v1, is what a loaded archive is called.
func Pack(folder, name string, s Spec) (*Image, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	i := &Image{Archive: filepath.Join(folder, "image.tar"), layer: filepath.Join(folder, "layer.tar")}
	sum, size, err := writeFile(i.layer, s.writeLayer)
	if err != nil {
		return nil, fmt.Errorf("pack layer of %s: %w", name, err)
	}
	i.diff = "sha256:" + sum
	if i.config, err = json.Marshal(s.config(i.diff)); err != nil {
		return nil, err
	}
	i.ID = digest(i.config)
	i.manifest, err = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": descriptor{configType, i.ID, int64(len(i.config))},
		"layers": []descriptor{{layerType, i.diff, size}},
	})
	if err != nil {
		return nil, err
	}
	i.Digest = digest(i.manifest)
	if i.SHA256, _, err = writeFile(i.Archive, func(out *tar.Writer) error { return i.writeArchive(out, name) }); err != nil {
		return nil, fmt.Errorf("pack archive of %s: %w", name, err)
	}
	return i, nil
}

// config is what a container of the image is like.
func (s Spec) config(layer string) map[string]any {
	ports := map[string]struct{}{}
	for _, p := range s.Ports {
		ports[p] = struct{}{}
	}
	return map[string]any{
		"created": "2026-01-01T00:00:00Z", "architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, "Entrypoint": s.Entrypoint,
			"ExposedPorts": ports, "Labels": s.Labels, "WorkingDir": "/",
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{layer}},
		"history": []map[string]any{{"created": "2026-01-01T00:00:00Z", "created_by": "phoenix lab"}},
	}
}

// writeLayer writes the files of the image.
func (s Spec) writeLayer(out *tar.Writer) error {
	for _, name := range slices.Sorted(maps.Keys(s.Dirs)) {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: tarMode(s.Dirs[name])}); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		if err := addFile(out, name, 0o755, s.Files[name]); err != nil {
			return err
		}
	}
	return nil
}

func tarMode(m fs.FileMode) int64 {
	mode := int64(m.Perm())
	if m&fs.ModeSticky != 0 {
		mode |= 0o1000
	}
	return mode
}

// writeArchive writes the image as docker save does.
func (i *Image) writeArchive(out *tar.Writer, name string) error {
	config, layer := hexPart(i.ID)+".json", hexPart(i.diff)+"/layer.tar"
	index, err := json.Marshal([]map[string]any{{"Config": config, "RepoTags": []string{name}, "Layers": []string{layer}}})
	if err != nil {
		return err
	}
	return errors.Join(addText(out, config, i.config), addFile(out, layer, 0o644, i.layer), addText(out, "manifest.json", index))
}

func addText(out *tar.Writer, name string, text []byte) error {
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
		return err
	}
	_, err := out.Write(text)
	return err
}

func addFile(out *tar.Writer, name string, mode int64, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return err
}

// writeFile writes an archive, and returns its SHA-256 and its size.
func writeFile(path string, write func(*tar.Writer) error) (sum string, size int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	out := tar.NewWriter(io.MultiWriter(f, h))
	if err := errors.Join(write(out), out.Close()); err != nil {
		return "", 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), info.Size(), nil
}

func digest(text []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(text)) }

func hexPart(digest string) string { return strings.TrimPrefix(digest, "sha256:") }
