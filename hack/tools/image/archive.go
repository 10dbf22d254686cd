// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations by which an importer learns the name of an image in an OCI layout.
const (
	annotationContainerd = "io.containerd.image.name"
	annotationRefName    = "org.opencontainers.image.ref.name"
)

// archive is what is written: an OCI image layout of all images under one name, and Docker's manifest.json for the
// image of one architecture, both over the same blobs.
type archive struct {
	tag    name.Tag
	images []v1.Image
	docker string
}

// writeFile writes the archive in one rename and returns the digest of the index of all architectures.
func (a archive) writeFile(path string) (v1.Hash, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return v1.Hash{}, err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	digest, err := a.write(temp)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := temp.Chmod(0o644); err != nil {
		return v1.Hash{}, err
	}
	if err := temp.Close(); err != nil {
		return v1.Hash{}, err
	}
	return digest, os.Rename(temp.Name(), path)
}

func (a archive) write(out io.Writer) (v1.Hash, error) {
	w := writer{tar: tar.NewWriter(out), written: map[string]bool{}}
	for _, image := range a.images {
		if err := w.image(image); err != nil {
			return v1.Hash{}, err
		}
	}
	index, err := a.index()
	if err != nil {
		return v1.Hash{}, err
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	files, err := a.entryPoints(index, digest)
	if err != nil {
		return v1.Hash{}, err
	}
	for _, f := range files {
		if err := w.file(f.path, f.text); err != nil {
			return v1.Hash{}, err
		}
	}
	return digest, w.tar.Close()
}

// entryPoints are the files by which importers find their way: the index of all architectures, the layout's own index
// that names it, and Docker's manifest.
func (a archive) entryPoints(index v1.ImageIndex, digest v1.Hash) ([]file, error) {
	raw, err := index.RawManifest()
	if err != nil {
		return nil, err
	}
	top, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{{
		MediaType:   types.OCIImageIndex,
		Size:        int64(len(raw)),
		Digest:      digest,
		Annotations: map[string]string{annotationContainerd: fullName(a.tag), annotationRefName: a.tag.TagStr()},
	}}})
	if err != nil {
		return nil, err
	}
	docker, err := a.dockerManifest()
	if err != nil {
		return nil, err
	}
	return []file{
		{path: blob(digest), text: raw},
		{path: "index.json", text: top},
		{path: "manifest.json", text: docker},
		{path: "oci-layout", text: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
	}, nil
}

// index joins the images of all architectures.
func (a archive) index() (v1.ImageIndex, error) {
	var adds []mutate.IndexAddendum
	for _, image := range a.images {
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		adds = append(adds, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: config.Platform()}})
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), adds...), nil
}

// dockerManifest describes the image of the chosen architecture as docker save does; without such an image the first.
func (a archive) dockerManifest() ([]byte, error) {
	chosen := a.images[0]
	for _, image := range a.images {
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		if config.Architecture == a.docker {
			chosen = image
		}
	}
	config, err := chosen.ConfigName()
	if err != nil {
		return nil, err
	}
	entry := tarball.Descriptor{Config: blob(config), RepoTags: []string{fullName(a.tag)}}
	layers, err := chosen.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		entry.Layers = append(entry.Layers, blob(digest))
	}
	return json.Marshal(tarball.Manifest{entry})
}

// fullName is the name as container runtimes spell it: go-containerregistry calls the default registry by another
// host than they do.
func fullName(tag name.Tag) string {
	return strings.Replace(tag.Name(), name.DefaultRegistry+"/", strings.TrimPrefix(name.DefaultRegistry, "index.")+"/", 1)
}

func blob(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }

// writer writes every file once: images share layers.
type writer struct {
	tar     *tar.Writer
	written map[string]bool
}

func (w writer) image(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	config, err := partial.ConfigLayer(image)
	if err != nil {
		return err
	}
	for _, l := range append(layers, config) {
		if err := w.blob(l); err != nil {
			return err
		}
	}
	raw, err := image.RawManifest()
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	return w.file(blob(digest), raw)
}

func (w writer) blob(l v1.Layer) error {
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	content, err := l.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	text, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	return w.file(blob(digest), text)
}

func (w writer) file(path string, text []byte) error {
	if w.written[path] {
		return nil
	}
	w.written[path] = true
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644, Size: int64(len(text)), ModTime: time.Unix(0, 0)}); err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	if _, err := w.tar.Write(text); err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	return nil
}
