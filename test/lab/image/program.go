// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The programs of this repository that run on the lab's machines, as packages below the root of the checkout.
const (
	Shim      = "./test/lab/shim"
	Whoami    = "./test/lab/whoami"
	Portainer = "./test/sim/cmd/portainer-sim"
)

// Compile builds a program of the checkout for machines; static, as their libraries may be others. What it gives changes with
// the sources alone. Unlike the rest it is not kept: the go command does that, and knows when the sources changed.
func Compile(ctx context.Context, checkout, pkg, path string) error {
	err := goTool(ctx, nil, "-C", checkout, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, pkg)
	if err != nil {
		return fmt.Errorf("build %s: %w", pkg, err)
	}
	return nil
}

// compileAll has the go command remember all programs, with the modules that they need: a lab has no way to those.
func compileAll(ctx context.Context, checkout string, progress io.Writer) error {
	dir, err := os.MkdirTemp("", "lab-deps-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is the system's to clean
	for _, pkg := range []string{Shim, Whoami, Portainer} {
		fmt.Fprintf(progress, "lab-deps: compiling %s\n", pkg)
		if err := Compile(ctx, checkout, pkg, filepath.Join(dir, filepath.Base(pkg))); err != nil {
			return err
		}
	}
	return nil
}
