// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Registry has images by name. It makes one when somebody asks for it for the first time. Its methods may be called at any
// time, by any number of goroutines.
//
// As an http.Handler it is read-only: /v2/ is the registry's API, /images/NAME.tar an archive, where NAME has - for / and :.
type Registry struct {
	mu     sync.Mutex
	images map[string]*source
}

// source makes an image, once.
type source struct {
	mu   sync.Mutex // held while it is made
	pack func(context.Context) (*Image, error)
	made atomic.Pointer[Image]
}

// Add says how the image of a name with its tag, such as example/program:v1, is made. A call that ends with an error is
// repeated when somebody asks again.
func (r *Registry) Add(name string, pack func(context.Context) (*Image, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.images == nil {
		r.images = map[string]*source{}
	}
	r.images[name] = &source{pack: pack}
}

// Tag gives an image, which is not copied, another name, as when its makers release it under that: from now on, the name
// stands for what is behind it.
func (r *Registry) Tag(name, of string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.images[of]
	if !ok {
		return fmt.Errorf("there is no image %s", of)
	}
	r.images[name] = s
	return nil
}

// Find returns an image by its name. It may make it, with ctx.
func (r *Registry) Find(ctx context.Context, name string) (*Image, error) {
	r.mu.Lock()
	s, ok := r.images[name]
	r.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("there is no image %s", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.made.Load(); i != nil {
		return i, nil
	}
	i, err := s.pack(ctx)
	if err != nil {
		return nil, fmt.Errorf("make image %s: %w", name, err)
	}
	s.made.Store(i)
	return i, nil
}

// ArchivePath is the path at which the archive of an image is served.
func ArchivePath(name string) string {
	return "/images/" + strings.NewReplacer("/", "-", ":", "-").Replace(name) + ".tar"
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	rest, isAPI := strings.CutPrefix(q.URL.Path, "/v2/")
	switch {
	case q.Method != http.MethodGet && q.Method != http.MethodHead:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "it is only read here")
	case !isAPI:
		r.serveArchive(w, q)
	case rest == "":
		serve(w, q, "application/json", []byte("{}"))
	default:
		if i := strings.LastIndex(rest, "/manifests/"); i > 0 {
			r.serveManifest(w, q, rest[:i], rest[i+len("/manifests/"):])
		} else if i := strings.LastIndex(rest, "/blobs/"); i > 0 {
			r.serveBlob(w, q, rest[:i], rest[i+len("/blobs/"):])
		} else {
			refuse(w, http.StatusNotFound, "UNSUPPORTED", "no such part of the API")
		}
	}
}

func (r *Registry) serveArchive(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	var found string
	for name := range r.images {
		if ArchivePath(name) == q.URL.Path {
			found = name
		}
	}
	r.mu.Unlock()
	i, err := r.Find(q.Context(), found)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	http.ServeFile(w, q, i.Archive)
}

// serveManifest answers with an image's manifest, by its tag or its digest.
func (r *Registry) serveManifest(w http.ResponseWriter, q *http.Request, repository, reference string) {
	i := r.made(repository, func(i *Image) bool { return i.Digest == reference })
	if i == nil {
		var err error
		if i, err = r.Find(q.Context(), repository+":"+reference); err != nil {
			refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", err.Error())
			return
		}
	}
	w.Header().Set("Docker-Content-Digest", i.Digest)
	serve(w, q, manifestType, i.manifest)
}

func (r *Registry) serveBlob(w http.ResponseWriter, q *http.Request, repository, digest string) {
	i := r.made(repository, func(i *Image) bool { return i.ID == digest || i.diff == digest })
	switch {
	case i == nil:
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no image here has "+digest)
	case i.ID == digest:
		serve(w, q, "application/octet-stream", i.config)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeFile(w, q, i.layer)
	}
}

// made finds an image of a repository among those that are made; nil when there is none.
func (r *Registry) made(repository string, fits func(*Image) bool) *Image {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, s := range r.images {
		if i := s.made.Load(); i != nil && strings.HasPrefix(name, repository+":") && fits(i) {
			return i
		}
	}
	return nil
}

func serve(w http.ResponseWriter, q *http.Request, kind string, text []byte) {
	w.Header().Set("Content-Type", kind)
	http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(text))
}

// refuse answers as registries do.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}}) // or the client has left
}
