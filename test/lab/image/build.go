// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// builder makes the images in a folder beside their place, and renames it when all is done.
type builder struct {
	release  release
	folder   string
	progress io.Writer
}

func (b builder) build(ctx context.Context) error {
	var missing []string
	for _, t := range builders {
		if _, err := exec.LookPath(t.program); err != nil {
			missing = append(missing, t.pkg)
		}
	}
	missing = append(missing, missingPackages()...)
	if err := install(ctx, b.progress, missing); err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(b.folder, "build-*"))
	for _, dir := range left { // of builds that were interrupted
		err = errors.Join(err, os.RemoveAll(dir))
	}
	dir := filepath.Join(b.folder, "build-"+version(b.release))
	if err := errors.Join(err, os.Mkdir(dir, 0o755)); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		make func(ctx context.Context, dir string) error
	}{{"root file system", b.root}, {"apt repository", b.repository}} {
		began := time.Now()
		fmt.Fprintf(b.progress, "lab-deps: making the %s\n", part.name)
		if err := part.make(ctx, dir); err != nil {
			return fmt.Errorf("make %s: %w", part.name, err)
		}
		fmt.Fprintf(b.progress, "lab-deps: the %s took %.0f s\n", part.name, time.Since(began).Seconds())
	}
	return os.Rename(dir, filepath.Join(b.folder, version(b.release)))
}

func (b builder) root(ctx context.Context, dir string) error {
	mirror, err := b.mirror(ctx)
	if err != nil {
		return err
	}
	root := filepath.Join(dir, "root")
	err = run(ctx, b.progress, "debootstrap", "--variant=minbase", "--include="+strings.Join(base, ","), b.release.codename, root, mirror)
	if err != nil {
		return err
	}
	return furnish(root)
}

// mirror is where this machine gets its distribution from.
func (b builder) mirror(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(CREATED_BY)|$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)").Output()
	if err != nil {
		return "", fmt.Errorf("read apt's sources: %w", err)
	}
	if mirror := findMirror(string(out), b.release.codename); mirror != "" {
		return mirror, nil
	}
	return "", fmt.Errorf("no apt source of this machine offers Debian %s: run apt-get update", b.release.codename)
}

func findMirror(targets, codename string) string {
	for line := range strings.Lines(targets) {
		if mirror, ok := strings.CutPrefix(strings.TrimSpace(line), "Packages|Debian|"+codename+"|main|"); ok {
			return mirror
		}
	}
	return ""
}

// repository downloads what a machine may install, as it would be installed over the root file system, and indexes it.
func (b builder) repository(ctx context.Context, dir string) error {
	root, repository := filepath.Join(dir, "root"), filepath.Join(dir, "apt")
	if err := os.MkdirAll(filepath.Join(repository, "partial"), 0o755); err != nil {
		return err
	}
	for _, name := range offered { // one by one: they need not fit together
		err := run(ctx, b.progress, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "--download-only",
			"-o", "Dir::State::status="+filepath.Join(root, "var/lib/dpkg/status"),
			"-o", "Dir::State::extended_states="+filepath.Join(root, "var/lib/apt/extended_states"),
			"-o", "Dir::Cache::archives="+repository,
			"-o", "APT::Keep-Downloaded-Packages=1", "-o", "APT::Sandbox::User=root", name)
		if err != nil {
			return err
		}
	}
	for _, name := range []string{"partial", "lock"} {
		if err := os.RemoveAll(filepath.Join(repository, name)); err != nil {
			return err
		}
	}
	return index(ctx, repository)
}
