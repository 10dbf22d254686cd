// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"

	"github.com/distribution/reference"
)

// Registry is a place that images are pulled from: all registries of the world
// in one. The zero value has none.
type Registry struct {
	mu     sync.Mutex
	images map[string]Image // by full name with tag
	broken map[string]error
	pulls  map[string]int
}

// NewRegistry makes one with images: name to content.
func NewRegistry(images map[string]string) *Registry {
	r := &Registry{}
	for name, content := range images {
		r.Push(name, NewImage(content))
	}
	return r
}

// Push keeps an image under a name, in place of the one that had it. The digest
// is returned; it follows from the image.
func (r *Registry) Push(name string, image Image) (digest string) {
	full, err := fullName(name)
	if err != nil {
		panic(err) // a name in a test that is not a name
	}
	sum := sha256.Sum256([]byte("manifest of " + image.ID))
	digest = "sha256:" + hex.EncodeToString(sum[:])
	image.Tags, image.Digests = nil, []string{digest}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.images == nil {
		r.images = map[string]Image{}
	}
	r.images[full] = image
	return digest
}

// Break lets every pull of a name end with the error, until heal is called.
func (r *Registry) Break(name string, err error) (heal func()) {
	full, bad := fullName(name)
	if bad != nil {
		panic(bad) // a name in a test that is not a name
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken == nil {
		r.broken = map[string]error{}
	}
	r.broken[full] = err
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.broken, full)
	}
}

// Pulls says how often a name was pulled, or tried to be.
func (r *Registry) Pulls(name string) int {
	full, err := fullName(name)
	if err != nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pulls[full]
}

// count notes a pull.
func (r *Registry) count(full string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pulls == nil {
		r.pulls = map[string]int{}
	}
	r.pulls[full]++
}

// find is the image that a full name stands for.
func (r *Registry) find(ctx context.Context, full string) (Image, error) {
	named, err := reference.ParseNormalizedNamed(full)
	if err != nil {
		return Image{}, &EngineError{http.StatusBadRequest, err.Error()}
	}
	host := reference.Domain(named)
	if r == nil {
		return Image{}, &EngineError{http.StatusInternalServerError, fmt.Sprintf("Get \"https://%s/v2/\": dial tcp: lookup %[1]s: Temporary failure in name resolution", registryHost(host))}
	}
	if err := ctx.Err(); err != nil {
		return Image{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.broken[full]; err != nil {
		return Image{}, &EngineError{http.StatusInternalServerError, err.Error()}
	}
	if image, there := r.images[full]; there {
		return image, nil
	}
	digested, isDigest := named.(reference.Digested)
	for name, image := range r.images {
		other, _ := reference.ParseNormalizedNamed(name)
		if other.Name() != named.Name() {
			continue
		}
		if isDigest && image.Digests[0] == digested.Digest().String() {
			return image, nil
		}
		if !isDigest {
			return Image{}, notFound("manifest for %s not found: manifest unknown: manifest unknown", reference.FamiliarString(named))
		}
	}
	return Image{}, notFound("pull access denied for %s, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", reference.FamiliarName(named))
}

// registryHost is the machine that answers for a domain of names.
func registryHost(domain string) string {
	if domain == "docker.io" {
		return "registry-1.docker.io"
	}
	return domain
}

// fullName is a name with its registry and its tag.
func fullName(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", &EngineError{http.StatusBadRequest, "invalid reference format"}
	}
	return reference.TagNameOnly(named).String(), nil
}
