// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTraefikVersion proves that what is built is what the module pins, with the replacements of its makers.
func TestTraefikVersion(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("../../..", traefikModule, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		traefikPackage + " v" + traefikVersion + "\n", "github.com/abbot/go-http-auth => github.com/containous/go-http-auth ",
		"github.com/gorilla/mux => github.com/containous/mux ", "github.com/mailgun/minheap => github.com/containous/minheap ",
	} {
		if !strings.Contains(strings.ReplaceAll(string(text), " // indirect", ""), want) {
			t.Errorf("%s/go.mod does not say %q", traefikModule, want)
		}
	}
}

// TestBuildTraefikOnce proves that what is there is found and not built again, each version for itself, and that a missing one
// says what to do.
func TestBuildTraefikOnce(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(traefikPath(folder, traefikVersion), []byte("there"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := buildTraefik(t.Context(), t.TempDir(), folder, traefikVersion, &said); err != nil || said.String() != "" {
		t.Errorf("built: %v, %q", err, said.String())
	}
	if a, err := findTraefik(folder, traefikVersion); err != nil || a.Path != traefikPath(folder, traefikVersion) || a.Member != "traefik" {
		t.Errorf("found %+v: %v", a, err)
	}
	if _, err := findTraefik(folder, nextTraefikVersion); err == nil || !strings.Contains(err.Error(), "make lab-deps") {
		t.Errorf("a release that is not there: %v", err)
	}
}
