// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// pulled is what a registry's answer comes to.
type pulled struct {
	status     int
	kind, text string
	digest     string // as the registry says
}

func get(t *testing.T, server *httptest.Server, method, path string) pulled {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := server.Client().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return pulled{answer.StatusCode, answer.Header.Get("Content-Type"), string(text), answer.Header.Get("Docker-Content-Digest")}
}

// TestPull pulls an image as an engine does: the manifest by its tag, by its digest, and what that names.
func TestPull(t *testing.T) {
	var r Registry
	packed := 0
	r.Add("example/program:v1", func(context.Context) (*Image, error) {
		packed++
		return Pack(t.TempDir(), "example/program:v1", spec(t, "the program"))
	})
	server := httptest.NewServer(&r)
	defer server.Close()
	if got := get(t, server, "GET", "/v2/"); got.status != 200 {
		t.Errorf("the API is not there: %+v", got)
	}
	byTag := get(t, server, "GET", "/v2/example/program/manifests/v1")
	if byTag.status != 200 || byTag.kind != manifestType || digest([]byte(byTag.text)) != byTag.digest {
		t.Fatalf("the manifest is %+v", byTag)
	}
	if got := get(t, server, "GET", "/v2/example/program/manifests/"+byTag.digest); got != byTag {
		t.Errorf("by its digest it is %+v", got)
	}
	if got := get(t, server, "HEAD", "/v2/example/program/manifests/v1"); got.digest != byTag.digest || got.text != "" {
		t.Errorf("without its text it is %+v", got)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal([]byte(byTag.text), &manifest); err != nil || len(manifest.Layers) != 1 {
		t.Fatalf("the manifest is %s: %v", byTag.text, err)
	}
	for _, part := range append(manifest.Layers, manifest.Config) {
		got := get(t, server, "GET", "/v2/example/program/blobs/"+part.Digest)
		if got.status != 200 || digest([]byte(got.text)) != part.Digest || int64(len(got.text)) != part.Size {
			t.Errorf("part %+v is %d, %d bytes", part, got.status, len(got.text))
		}
	}
	i, err := r.Find(t.Context(), "example/program:v1")
	if err != nil || i.ID != manifest.Config.Digest || packed != 1 {
		t.Errorf("the image is %+v (%v), made %d times", i, err, packed)
	}
	archive := get(t, server, "GET", ArchivePath("example/program:v1"))
	if archive.status != 200 || digest([]byte(archive.text)) != "sha256:"+i.SHA256 {
		t.Errorf("the archive is %d, %d bytes", archive.status, len(archive.text))
	}
}

// TestRefuse proves that what is not there is refused as registries do, and that nothing is written.
func TestRefuse(t *testing.T) {
	var r Registry
	tries := 0
	r.Add("example/broken:v1", func(context.Context) (*Image, error) {
		tries++
		return nil, errors.New("no compiler")
	})
	server := httptest.NewServer(&r)
	defer server.Close()
	for _, tc := range []struct {
		reason, method, path string
		status               int
		code                 string
	}{
		{"no such repository", "GET", "/v2/example/none/manifests/v1", 404, "MANIFEST_UNKNOWN"},
		{"no such tag", "GET", "/v2/example/broken/manifests/v2", 404, "MANIFEST_UNKNOWN"},
		{"it cannot be made", "GET", "/v2/example/broken/manifests/v1", 404, "MANIFEST_UNKNOWN"},
		{"no such part", "GET", "/v2/example/broken/blobs/sha256:12", 404, "BLOB_UNKNOWN"},
		{"a push", "POST", "/v2/example/broken/blobs/uploads/", 405, "UNSUPPORTED"},
		{"another part of the API", "GET", "/v2/_catalog", 404, "UNSUPPORTED"},
	} {
		got := get(t, server, tc.method, tc.path)
		var says struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(got.text), &says); err != nil || len(says.Errors) != 1 || says.Errors[0].Message == "" {
			t.Fatalf("%s: %+v (%v)", tc.reason, got, err)
		}
		if got.status != tc.status || says.Errors[0].Code != tc.code {
			t.Errorf("%s: %+v", tc.reason, got)
		}
	}
	if got := get(t, server, "GET", "/images/none.tar"); got.status != 404 {
		t.Errorf("an archive that is not there: %+v", got)
	}
	if _, err := r.Find(t.Context(), "example/broken:v1"); err == nil || tries != 2 {
		t.Errorf("it is made after all: %v, tried %d times", err, tries)
	}
}

// TestTag proves that a name can be given to another image, as when its makers release it anew.
func TestTag(t *testing.T) {
	var r Registry
	for _, version := range []string{"v1", "v2"} {
		name := "example/program:" + version
		r.Add(name, func(context.Context) (*Image, error) { return Pack(t.TempDir(), name, spec(t, version)) })
	}
	var ids []string
	for _, of := range []string{"example/program:v1", "example/program:v2"} {
		if err := r.Tag("example/program:latest", of); err != nil {
			t.Fatal(err)
		}
		latest, err := r.Find(t.Context(), "example/program:latest")
		if err != nil {
			t.Fatal(err)
		}
		if i, err := r.Find(t.Context(), of); err != nil || i != latest {
			t.Errorf("%s is another image: %v", of, err)
		}
		ids = append(ids, latest.ID)
	}
	if ids[0] == ids[1] {
		t.Error("the name stands for the image that it did")
	}
	if err := r.Tag("example/program:latest", "example/none:v1"); err == nil {
		t.Error("a name was given to what is not there")
	}
}
