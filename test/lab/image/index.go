// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// index writes the files by which apt knows the packages of a folder.
func index(ctx context.Context, folder string) error {
	packages, err := filepath.Glob(filepath.Join(folder, "*.deb"))
	if err != nil {
		return err
	}
	if len(packages) == 0 {
		return fmt.Errorf("no packages in %s", folder)
	}
	var all strings.Builder
	for _, path := range packages {
		name := plainName(filepath.Base(path))
		if err := os.Rename(path, filepath.Join(folder, name)); err != nil {
			return err
		}
		path = filepath.Join(folder, name)
		control, err := exec.CommandContext(ctx, "dpkg-deb", "--field", path).Output()
		if err != nil {
			return fmt.Errorf("read package %s: %w", name, err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all.WriteString(stanza(string(control), name, content))
	}
	release := fmt.Sprintf("Suite: lab\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n %x %d Packages\n", sha256.Sum256([]byte(all.String())), all.Len())
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "Packages"), []byte(all.String()), 0o644),
		os.WriteFile(filepath.Join(folder, "Release"), []byte(release), 0o644), // else apt tries every compression
	)
}

// plainName is a name for a package's file that no client escapes on its way to the server.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("~+:%", r) {
			return '_'
		}
		return r
	}, name)
}

// stanza is a package's entry in the index: what it says of itself, and where and what its file is.
func stanza(control, name string, content []byte) string {
	return fmt.Sprintf("%s\nFilename: ./%s\nSize: %d\nSHA256: %x\n\n",
		strings.TrimRight(control, "\n"), name, len(content), sha256.Sum256(content))
}
