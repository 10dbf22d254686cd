// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestComposeVersion proves that what is built is what the module pins.
func TestComposeVersion(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("../../..", composeModule, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "\t" + composePackage + " " + composeVersion + " "; !strings.Contains(string(text), want) {
		t.Errorf("%s/go.mod has no line %q", composeModule, want)
	}
}

// TestBuildComposeOnce proves that what is there is found and not built again, and that a missing one says what to do.
func TestBuildComposeOnce(t *testing.T) {
	folder := t.TempDir()
	if _, err := findCompose(folder); err == nil || !strings.Contains(err.Error(), "make lab-deps") {
		t.Errorf("a program that is not there: %v", err)
	}
	if err := os.WriteFile(composePath(folder), []byte("there"), 0o700); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := buildCompose(t.Context(), t.TempDir(), folder, &said); err != nil || said.String() != "" {
		t.Errorf("built: %v, %q", err, said.String())
	}
	if path, err := findCompose(folder); err != nil || path != composePath(folder) {
		t.Errorf("found %q: %v", path, err)
	}
}
