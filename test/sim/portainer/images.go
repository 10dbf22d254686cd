// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
)

// Image of an engine or of a registry.
type Image struct {
	// ID is sha256: and 64 hexadecimal digits.
	ID string
	// Tags are full names with their tag, such as docker.io/library/nginx:1.27.
	Tags []string
	// Digests are name@sha256:... for the names that it was pulled by.
	Digests []string
	// Created is when it was made; Size is in bytes.
	Created time.Time
	Size    int64
	// Entrypoint, Command, Env and Labels are what containers get from it.
	Entrypoint, Command, Env []string
	Labels                   map[string]string
	// Healthcheck says that its containers' health is looked at.
	Healthcheck bool
}

// NewImage makes an image: its ID follows from the content, which is nothing more than
// a name for what is in it.
func NewImage(content string) Image {
	sum := sha256.Sum256([]byte(content))
	return Image{ID: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(content)), Created: time.Unix(1700000000, 0)}
}

// keep takes an image in, under names, which other images lose.
func (m *Memory) keep(image Image, names ...string) error {
	var full []string
	for _, name := range names {
		one, err := fullName(name)
		if err != nil {
			return err
		}
		full = append(full, one)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.images[image.ID]
	if kept == nil {
		copied := image
		copied.Tags = slices.Clone(image.Tags)
		kept = &copied
		m.images[image.ID] = kept
	} else {
		kept.Digests = union(kept.Digests, image.Digests)
	}
	for _, name := range full {
		m.retag(kept, name)
	}
	return nil
}

// retag gives a full name to an image. The caller holds the lock.
func (m *Memory) retag(image *Image, name string) {
	for _, other := range m.images {
		other.Tags = slices.DeleteFunc(other.Tags, func(tag string) bool { return tag == name })
	}
	image.Tags = append(image.Tags, name)
}

func union(a, b []string) []string {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

// Pull asks the registry for an image and keeps it.
func (m *Memory) Pull(ctx context.Context, name string) (Image, error) {
	if err := m.awake(); err != nil {
		return Image{}, err
	}
	full, err := fullName(name)
	if err != nil {
		return Image{}, err
	}
	m.opts.Registry.count(full)
	image, err := m.opts.Registry.find(ctx, full)
	if err != nil {
		return Image{}, err
	}
	named, err := reference.ParseNormalizedNamed(full)
	if err != nil {
		return Image{}, err
	}
	digests := make([]string, 0, len(image.Digests))
	for _, digest := range image.Digests {
		digests = append(digests, named.Name()+"@"+digest)
	}
	image.Digests = digests
	var names []string
	if _, pinned := named.(reference.Digested); !pinned {
		names = append(names, full)
	}
	if err := m.keep(image, names...); err != nil {
		return Image{}, err
	}
	return m.Image(name)
}

// Tag gives an image another name.
func (m *Memory) Tag(source, target string) error {
	full, err := fullName(target)
	if err != nil {
		return err
	}
	if err := m.awake(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	image := m.findImage(source)
	if image == nil {
		return notFound("No such image: %s", familiar(source))
	}
	m.retag(image, full)
	return nil
}

// Images are all images, the newest first.
func (m *Memory) Images() []Image {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Image, 0, len(m.images))
	for _, image := range m.images {
		out = append(out, image.copied())
	}
	slices.SortFunc(out, func(a, b Image) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID))
	})
	return out
}

// Image is the one with a name, a digest, or the beginning of an ID.
func (m *Memory) Image(ref string) (Image, error) {
	if err := m.awake(); err != nil {
		return Image{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if image := m.findImage(ref); image != nil {
		return image.copied(), nil
	}
	return Image{}, notFound("No such image: %s", familiar(ref))
}

func (i *Image) copied() Image {
	out := *i
	out.Tags, out.Digests = slices.Clone(i.Tags), slices.Clone(i.Digests)
	return out
}

// findImage looks an image up. The caller holds the lock.
func (m *Memory) findImage(ref string) *Image {
	if image := m.images[ref]; image != nil {
		return image
	}
	full, err := fullName(ref)
	for _, image := range m.images {
		if err == nil && (slices.Contains(image.Tags, full) || slices.Contains(image.Digests, full)) {
			return image
		}
	}
	short := strings.TrimPrefix(ref, "sha256:")
	if len(short) < 4 || strings.Trim(short, "0123456789abcdef") != "" {
		return nil
	}
	for id, image := range m.images {
		if strings.HasPrefix(id, "sha256:"+short) {
			return image
		}
	}
	return nil
}

// familiar is a name as people write it, with its tag.
func familiar(name string) string {
	full, err := fullName(name)
	if err != nil {
		return name
	}
	named, err := reference.ParseNormalizedNamed(full)
	if err != nil {
		return name
	}
	return reference.FamiliarString(named)
}

// RemoveImage takes a name from an image, or all of them from one named by its ID, and
// removes it when that was the last. The lines say what was done, as the program
// docker writes them.
func (m *Memory) RemoveImage(ref string, force bool) (lines []string, err error) {
	if err := m.awake(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	image := m.findImage(ref)
	if image == nil {
		return nil, notFound("No such image: %s", familiar(ref))
	}
	names := image.Tags
	if full, err := fullName(ref); err == nil && slices.Contains(image.Tags, full) {
		names = []string{full}
	} else if len(names) > 1 && !force {
		return nil, conflict("conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", short(image.ID))
	}
	last := len(names) == len(image.Tags)
	if last {
		if err := m.spared(image, ref, force); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Clone(names) {
		lines = append(lines, "Untagged: "+familiar(name))
	}
	image.Tags = slices.DeleteFunc(slices.Clone(image.Tags), func(tag string) bool { return slices.Contains(names, tag) })
	if last {
		for _, digest := range image.Digests {
			lines = append(lines, "Untagged: "+familiar(digest))
		}
		lines = append(lines, "Deleted: "+image.ID)
		delete(m.images, image.ID)
	}
	return lines, nil
}

// spared says that an image cannot go, for a container's sake. The caller holds the lock.
func (m *Memory) spared(image *Image, ref string, force bool) error {
	user := m.userOf(image.ID)
	switch {
	case user == nil:
		return nil
	case user.State == stateRunning:
		return conflict("conflict: unable to remove repository reference %q (cannot be forced) - container %s is using its referenced image %s", ref, short(user.ID), short(image.ID))
	case !force:
		return conflict("conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s", ref, short(user.ID), short(image.ID))
	}
	return nil
}

// userOf is a container of an image; running ones first. The caller holds the lock.
func (m *Memory) userOf(id string) *live {
	var found *live
	for _, l := range m.containers {
		if l.ImageID == id && (found == nil || l.State == stateRunning) {
			found = l
		}
	}
	return found
}

// short is an ID as people write it.
func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}

// ErrHalted is what an engine that does not run answers.
var ErrHalted = fmt.Errorf("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?") //nolint:staticcheck // Docker says so

// awake says whether the engine answers.
func (m *Memory) awake() error {
	if !m.Running() {
		return ErrHalted
	}
	return nil
}

func badRequest(format string, args ...any) error {
	return &EngineError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}
