// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spec is an image of one program.
func spec(t *testing.T, text string) Spec {
	t.Helper()
	path := filepath.Join(t.TempDir(), "built")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Spec{
		Files: map[string]string{"bin/program": path}, Dirs: map[string]fs.FileMode{"tmp": 0o777 | fs.ModeSticky, "bin": 0o755},
		Entrypoint: []string{"/bin/program"}, Ports: []string{"80/tcp"}, Labels: map[string]string{"version": "1"},
	}
}

// entries are the files of an archive, and what tar says of them.
func entries(t *testing.T, archive []byte) (files map[string][]byte, listed []string) {
	t.Helper()
	files = map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, listed
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = text
		listed = append(listed, fmt.Sprintf("%s %o", h.Name, h.Mode))
	}
}

// TestPack proves that the archive holds the image in the form that docker load takes, under its name, and that its parts are
// what they are called by.
func TestPack(t *testing.T) {
	i, err := Pack(t.TempDir(), "example/program:v1", spec(t, "the program"))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(i.Archive)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(archive)); got != i.SHA256 {
		t.Errorf("the archive's SHA-256 is %s, not %s", got, i.SHA256)
	}
	files, _ := entries(t, archive)
	var index []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &index); err != nil || len(index) != 1 || len(index[0].Layers) != 1 {
		t.Fatalf("manifest.json is %s: %v", files["manifest.json"], err)
	}
	if diff := cmp.Diff([]string{"example/program:v1"}, index[0].RepoTags); diff != "" {
		t.Errorf("the name: (-want +got)\n%s", diff)
	}
	config, layer := files[index[0].Config], files[index[0].Layers[0]]
	if got := digest(config); got != i.ID {
		t.Errorf("the image's ID is %s, not %s", got, i.ID)
	}
	var says struct {
		Config struct {
			Entrypoint   []string
			ExposedPorts map[string]any
			Labels       map[string]string
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(config, &says); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{digest(layer)}, says.RootFS.DiffIDs); diff != "" {
		t.Errorf("the layer: (-want +got)\n%s", diff)
	}
	if got := fmt.Sprint(says.Config); got != "{[/bin/program] map[80/tcp:map[]] map[version:1]}" {
		t.Errorf("a container is like %s", got)
	}
	inside, listed := entries(t, layer)
	if diff := cmp.Diff([]string{"bin/ 755", "tmp/ 1777", "bin/program 755"}, listed); diff != "" {
		t.Errorf("the files: (-want +got)\n%s", diff)
	}
	if got := string(inside["bin/program"]); got != "the program" {
		t.Errorf("the program is %q", got)
	}
}

// TestPackAgain proves that an image is known by what is in it, and by nothing else.
func TestPackAgain(t *testing.T) {
	base := spec(t, "the program")
	first, err := Pack(t.TempDir(), "example/program:v1", base)
	if err != nil {
		t.Fatal(err)
	}
	labelled := base
	labelled.Labels = map[string]string{"version": "2"}
	for _, tc := range []struct {
		reason string
		spec   Spec
		same   bool
	}{
		{"the same files elsewhere", spec(t, "the program"), true},
		{"another program", spec(t, "another one"), false},
		{"another label", labelled, false},
	} {
		i, err := Pack(t.TempDir(), "example/program:v1", tc.spec)
		if err != nil {
			t.Fatal(err)
		}
		if same := i.ID == first.ID; same != tc.same {
			t.Errorf("%s: the same image: %v", tc.reason, same)
		}
		if same := i.SHA256 == first.SHA256 && i.Digest == first.Digest; same != tc.same {
			t.Errorf("%s: the same archive: %v", tc.reason, same)
		}
	}
	if _, err := Pack(t.TempDir(), "x:y", Spec{Files: map[string]string{"x": filepath.Join(t.TempDir(), "none")}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
}
