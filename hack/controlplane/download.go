// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// probeTimeout bounds the question whether downloads are reachable at all.
	probeTimeout = 15 * time.Second
	// downloadTimeout bounds the download of some 60 MB.
	downloadTimeout = 5 * time.Minute
)

// downloader fetches released binaries with setup-envtest, which go.mod pins as a tool and which verifies checksums.
type downloader struct {
	version string // of Kubernetes: the newest release of the same minor is taken
	out     io.Writer
}

// fetch is a source.
func (d downloader) fetch(ctx context.Context, want []binary, dir string) error {
	fmt.Fprintln(d.out, "controlplane: asking setup-envtest for released binaries")
	work := filepath.Join(dir, ".envtest")
	if err := os.Mkdir(work, 0o755); err != nil {
		return fmt.Errorf("create a work directory: %w", err)
	}
	defer removeWritable(work)
	tool := filepath.Join(work, "setup-envtest")
	if _, err := output(ctx, downloadTimeout, "go", "build", "-o", tool, "sigs.k8s.io/controller-runtime/tools/setup-envtest"); err != nil {
		return fmt.Errorf("build setup-envtest: %w", err)
	}
	minor := minorSelector(d.version)
	found, err := output(ctx, probeTimeout, tool, "list", minor, "--bin-dir", work)
	if err != nil {
		return fmt.Errorf("reach the downloads: %w", err)
	}
	if len(bytes.TrimSpace(found)) == 0 {
		return fmt.Errorf("find a download: no release matches %s", minor)
	}
	fmt.Fprintf(d.out, "controlplane: downloading kube-apiserver and etcd %s\n", minor)
	path, err := output(ctx, downloadTimeout, tool, "use", minor, "--bin-dir", work, "--print", "path")
	if err != nil {
		return fmt.Errorf("download %s: %w", minor, err)
	}
	for _, b := range want {
		if err := os.Rename(filepath.Join(strings.TrimSpace(string(path)), b.name), filepath.Join(dir, b.name)); err != nil {
			return fmt.Errorf("take %s from the download: %w", b.name, err)
		}
	}
	return nil
}

// minorSelector turns v1.36.3 into setup-envtest's 1.36.x: not every patch release is published for download.
func minorSelector(version string) string {
	version = strings.TrimPrefix(version, "v")
	return version[:strings.LastIndexByte(version, '.')] + ".x"
}

// removeWritable removes a tree whose directories setup-envtest has made read-only.
func removeWritable(root string) {
	_ = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return err
	})
	_ = os.RemoveAll(root)
}
