// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Artifact is a release of a program, in the form in which its makers offer it.
type Artifact struct {
	// Path of the archive, a .tar.gz.
	Path string
	// SHA256 of the archive, as sha256sum prints it.
	SHA256 string
	// Member of the archive that is the program.
	Member string
}

// module is a program that is built from its Go module, as no release of it can be downloaded everywhere that Go modules can.
type module struct {
	path, version string
	// stamp is the variable that takes the version.
	stamp string
}

// stepCA is the certificate authority.
var stepCA = module{path: "github.com/smallstep/certificates/cmd/step-ca", version: "v0.30.2", stamp: "main.Version"}

// archive is the name of its release.
func (m module) archive() string {
	return fmt.Sprintf("%s_linux_%s_%s.tar.gz", m.program(), strings.TrimPrefix(m.version, "v"), runtime.GOARCH)
}

func (m module) program() string { return filepath.Base(m.path) }

// find returns the release that a build left in a folder.
func (m module) find(folder string) (Artifact, error) {
	return findArchive(filepath.Join(folder, m.archive()), m.program())
}

// findArchive returns the release in an archive with one program in it.
func findArchive(path, program string) (Artifact, error) {
	sum, err := hash(path)
	if err != nil {
		return Artifact{}, fmt.Errorf("the lab's %s is not there: run make lab-deps: %w", program, err)
	}
	return Artifact{Path: path, SHA256: sum, Member: program}, nil
}

// build makes the release in a folder, unless it is there. Its Go module's own requirements are what it is built with.
func (m module) build(ctx context.Context, folder string, progress io.Writer) error {
	path := filepath.Join(folder, m.archive())
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	began := time.Now()
	announce(progress, m.program(), m.version)
	dir := filepath.Join(folder, "build") // the lock keeps others from it
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	if err != nil {
		return err
	}
	stamp := "-ldflags=-s -w -X " + m.stamp + "=" + strings.TrimPrefix(m.version, "v")
	if err := goTool(ctx, []string{"GOBIN=" + dir}, "install", "-trimpath", stamp, m.path+"@"+m.version); err != nil {
		return fmt.Errorf("build %s %s: %w", m.path, m.version, err)
	}
	packed := filepath.Join(dir, "packed")
	if err := pack(packed, filepath.Join(dir, m.program())); err != nil {
		return fmt.Errorf("pack %s: %w", m.program(), err)
	}
	fmt.Fprintf(progress, "lab-deps: %s took %.0f s\n", m.program(), time.Since(began).Seconds())
	return errors.Join(os.Rename(packed, path), os.RemoveAll(dir))
}

func announce(progress io.Writer, program, version string) {
	fmt.Fprintf(progress, "lab-deps: building %s %s from its Go module: some minutes on two cores (here: %d), once\n", program, version, runtime.NumCPU())
}

// goTool runs the go command for a program of the lab's machines.
func goTool(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	// A workspace or flags of the user's must not change what the module says.
	cmd.Env = slices.Concat(os.Environ(), []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOOS=linux", "GOARCH=" + runtime.GOARCH}, env)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it removes what it has begun then
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// pack makes an archive with one program in it.
func pack(path, program string) (err error) {
	in, err := os.Open(program)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	zipped, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(zipped)
	err = archive.WriteHeader(&tar.Header{Name: filepath.Base(program), Mode: 0o755, Size: info.Size()})
	if err == nil {
		_, err = io.Copy(archive, in)
	}
	return errors.Join(err, archive.Close(), zipped.Close())
}

// hash is a file's SHA-256.
func hash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
