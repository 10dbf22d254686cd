// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Traefik is the router of the site. The go command installs no module that replaces others, as this one does: it is built in
// a module of our own, in traefikModule, which pins it and replaces the same.
const (
	traefikProgram = "traefik"
	traefikPackage = "github.com/traefik/traefik/v3"
	traefikModule  = "hack/traefik"
)

// The releases of Traefik: the one that traefikModule pins, and one to which a site can upgrade. That is the same program with
// another version in it: it takes as long to link, not as long to compile.
const (
	traefikVersion     = "3.6.12"
	nextTraefikVersion = "3.6.13-lab"
)

func traefikPath(folder, version string) string {
	return filepath.Join(folder, fmt.Sprintf("%s_v%s_linux_%s.tar.gz", traefikProgram, version, runtime.GOARCH))
}

// findTraefik returns the release that a build left in a folder.
func findTraefik(folder, version string) (Artifact, error) {
	return findArchive(traefikPath(folder, version), traefikProgram)
}

// buildTraefik makes a release in a folder, unless it is there.
func buildTraefik(ctx context.Context, checkout, folder, version string, progress io.Writer) error {
	path := traefikPath(folder, version)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	began := time.Now()
	announce(progress, traefikProgram, "v"+version)
	dir := filepath.Join(folder, "build-traefik") // the lock keeps others from it
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	if err != nil {
		return err
	}
	program, packed := filepath.Join(dir, traefikProgram), filepath.Join(dir, "packed")
	stamp := traefikPackage + "/pkg/version.Version=" + version
	if err := buildIn(ctx, filepath.Join(checkout, traefikModule), traefikPackage+"/cmd/traefik", stamp, program); err != nil {
		return fmt.Errorf("build traefik %s: %w", version, err)
	}
	if err := pack(packed, program); err != nil {
		return fmt.Errorf("pack traefik: %w", err)
	}
	fmt.Fprintf(progress, "lab-deps: traefik took %.0f s\n", time.Since(began).Seconds())
	return errors.Join(os.Rename(packed, path), os.RemoveAll(dir))
}
