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

// Docker Compose is the program by which a Portainer server deploys stacks. The go command installs no module that excludes
// others, as this one does: it is built in a module of our own, in composeModule, which pins it and excludes the same.
const (
	composePackage = "github.com/docker/compose/v2"
	composeVersion = "v2.40.3"
	composeModule  = "hack/compose"
)

func composePath(folder string) string {
	return filepath.Join(folder, fmt.Sprintf("docker-compose-linux-%s-%s", runtime.GOARCH, composeVersion))
}

// findCompose returns the path of the program that a build left in a folder.
func findCompose(folder string) (string, error) {
	path := composePath(folder)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the lab's docker-compose is not there: run make lab-deps: %w", err)
	}
	return path, nil
}

// buildCompose makes the program in a folder, unless it is there.
func buildCompose(ctx context.Context, checkout, folder string, progress io.Writer) error {
	path := composePath(folder)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	began := time.Now()
	announce(progress, "docker-compose", composeVersion)
	built := filepath.Join(folder, "docker-compose.built") // the lock keeps others from it
	err := errors.Join(os.RemoveAll(built), os.MkdirAll(folder, 0o755))
	if err != nil {
		return err
	}
	stamp := composePackage + "/internal.Version=" + composeVersion
	if err := buildIn(ctx, filepath.Join(checkout, composeModule), composePackage+"/cmd", stamp, built); err != nil {
		return fmt.Errorf("build docker-compose %s: %w", composeVersion, err)
	}
	fmt.Fprintf(progress, "lab-deps: docker-compose took %.0f s\n", time.Since(began).Seconds())
	return os.Rename(built, path)
}

// buildIn builds a package by what a module of our own pins. stamp is VARIABLE=VALUE.
func buildIn(ctx context.Context, module, pkg, stamp, path string) error {
	return goTool(ctx, nil, "-C", module, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -X "+stamp, "-o", path, pkg)
}
