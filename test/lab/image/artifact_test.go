// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFindArtifact proves that a release is known by what is in its file, and that a missing one says what to do.
func TestFindArtifact(t *testing.T) {
	m, folder := module{path: "example.test/m/cmd/tool", version: "v1.2.3"}, t.TempDir()
	if _, err := m.find(folder); err == nil || !strings.Contains(err.Error(), "make lab-deps") {
		t.Errorf("a release that is not there: %v", err)
	}
	program := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(program, []byte("the program"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := pack(filepath.Join(folder, m.archive()), program); err != nil {
		t.Fatal(err)
	}
	got, err := m.find(folder)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(got.Path)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(content); got.SHA256 != hex.EncodeToString(sum[:]) || !strings.HasPrefix(filepath.Base(got.Path), "tool_linux_1.2.3_") {
		t.Errorf("got %+v", got)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(unzipped)
	header, err := archive.Next()
	if err != nil || header.Name != got.Member || header.Mode != 0o755 {
		t.Fatalf("the archive holds %+v (%v), want %s", header, err, got.Member)
	}
	if text, err := io.ReadAll(archive); err != nil || string(text) != "the program" {
		t.Errorf("the program is %q (%v)", text, err)
	}
	if _, err := archive.Next(); err != io.EOF {
		t.Errorf("there is more in the archive: %v", err)
	}
}

// TestBuildArtifactOnce proves that what is there is not built again.
func TestBuildArtifactOnce(t *testing.T) {
	m, folder := module{path: "example.test/m/cmd/tool", version: "v1.2.3"}, t.TempDir()
	path := filepath.Join(folder, m.archive())
	if err := os.WriteFile(path, []byte("there"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := m.build(t.Context(), folder, &said); err != nil || said.String() != "" {
		t.Errorf("built: %v, %q", err, said.String())
	}
}
