// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package image makes what the lab's machines are made of: one root file system that all of them share below their own
// layer, an apt repository with what they may install, and releases of programs that Debian does not have. All is made once
// by "make lab-deps", from the packages that this machine's own apt sources offer and from Go modules, and kept in the user's
// cache folder.
package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// format changes when the same packages are put together in another way.
const format = "4"

// base are the packages of the root file system, beside those that Debian calls required.
var base = []string{"systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "nftables", "ca-certificates"}

// offered are the packages that a machine may install, with all that they depend on.
var offered = []string{
	"bind9-dnsutils", "curl", "dnsmasq", "docker.io", "iputils-ping", "libnfs-utils", "libnginx-mod-stream", "nfs-common", "nfs-ganesha", "nfs-ganesha-vfs",
	"nfs-kernel-server", "nginx-light", "qemu-guest-agent", "sudo",
}

// tools are the programs that the lab runs on this machine, and the packages that have them.
var tools = []struct{ program, pkg string }{
	{"lxc-start", "lxc"}, {"nft", "nftables"}, {"ip", "iproute2"}, {"nsenter", "util-linux"}, {"ping", "iputils-ping"},
	{"nfs-ls", "libnfs-utils"}, {"dig", "bind9-dnsutils"}, {"openssl", "openssl"},
}

// builders are needed for a build alone.
var builders = []struct{ program, pkg string }{{"debootstrap", "debootstrap"}, {"dpkg-deb", "dpkg"}}

// Images are the folders that a build makes. They are only read.
type Images struct {
	// Root is the root file system.
	Root string
	// Repository is the apt repository: a folder of packages with their index.
	Repository string
	// StepCA is the release of step-ca.
	StepCA Artifact
	// Traefik is the release of Traefik, NextTraefik one to which it can be upgraded.
	Traefik, NextTraefik Artifact
	// Compose is the path of docker-compose, a static program.
	Compose string
}

// Folder is where everything of the lab is kept: a folder for every version of the images, and what runs now.
func Folder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	return filepath.Join(cache, "phoenix", "lab"), nil
}

// artifacts is the folder of the releases: they are kept by version of their own.
func artifacts(folder string) string { return filepath.Join(folder, "artifacts") }

// Find names the images; the error says how to make them.
func Find() (Images, error) {
	folder, err := Folder()
	if err != nil {
		return Images{}, err
	}
	release, err := readRelease("/etc/os-release")
	if err != nil {
		return Images{}, err
	}
	dir := filepath.Join(folder, version(release))
	if _, err := os.Stat(dir); err != nil {
		return Images{}, fmt.Errorf("the lab's images are not there: run make lab-deps: %w", err)
	}
	if missing := missingPackages(); len(missing) > 0 {
		return Images{}, fmt.Errorf("the lab needs %s: run make lab-deps", strings.Join(missing, ", "))
	}
	i := Images{Root: filepath.Join(dir, "root"), Repository: filepath.Join(dir, "apt")}
	return i, i.findPrograms(artifacts(folder))
}

// findPrograms finds what Debian does not have.
func (i *Images) findPrograms(folder string) (err error) {
	if i.StepCA, err = stepCA.find(folder); err != nil {
		return err
	}
	if i.Traefik, err = findTraefik(folder, traefikVersion); err != nil {
		return err
	}
	if i.NextTraefik, err = findTraefik(folder, nextTraefikVersion); err != nil {
		return err
	}
	i.Compose, err = findCompose(folder)
	return err
}

// Build installs the tools that are missing and makes the images that are missing. It is safe to run twice at a time, and
// what an interrupted one left behind is made anew. checkout is the root of this repository, progress takes the output of the
// tools that take long.
func Build(ctx context.Context, checkout string, progress io.Writer) (Images, error) {
	release, err := readRelease("/etc/os-release")
	if err != nil {
		return Images{}, err
	}
	if os.Getuid() != 0 {
		return Images{}, errors.New("only root can make the lab's images")
	}
	folder, err := Folder()
	if err != nil {
		return Images{}, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Images{}, err
	}
	unlock, err := lock(filepath.Join(folder, "lock"))
	if err != nil {
		return Images{}, err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(folder, version(release))); err != nil {
		b := builder{release: release, folder: folder, progress: progress}
		if err := b.build(ctx); err != nil {
			return Images{}, err
		}
	}
	if missing := missingPackages(); len(missing) > 0 {
		if err := install(ctx, progress, missing); err != nil {
			return Images{}, err
		}
	}
	err = errors.Join(
		stepCA.build(ctx, artifacts(folder), progress), buildCompose(ctx, checkout, artifacts(folder), progress),
		buildTraefik(ctx, checkout, artifacts(folder), traefikVersion, progress),
		buildTraefik(ctx, checkout, artifacts(folder), nextTraefikVersion, progress),
		compileAll(ctx, checkout, progress),
	)
	if err != nil {
		return Images{}, err
	}
	return Find()
}

// lock waits until no other process makes images.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close() // the lock could not be had
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil // closing gives the lock back
}

// version names what a build would make.
func version(release release) string {
	text := strings.Join([]string{format, release.codename, runtime.GOARCH, strings.Join(base, " "), strings.Join(offered, " "), furnishing()}, "\n")
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[:12]
}

func missingPackages() []string {
	var out []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			out = append(out, t.pkg)
		}
	}
	return out
}

func install(ctx context.Context, progress io.Writer, packages []string) error {
	fmt.Fprintf(progress, "lab-deps: installing %s\n", strings.Join(packages, ", "))
	if err := run(ctx, progress, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	return run(ctx, progress, "apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends"}, packages...)...)
}

// run runs a program; what it prints is progress.
func run(ctx context.Context, progress io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	cmd.Stdout, cmd.Stderr = progress, progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// release is the distribution of this machine, which is that of the lab's machines.
type release struct{ id, codename string }

func readRelease(path string) (release, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return release{}, fmt.Errorf("the lab needs Debian: %w", err)
	}
	r := parseRelease(string(text))
	if r.id != "debian" || r.codename == "" {
		return release{}, fmt.Errorf("the lab needs Debian; %s says %q", path, r.id)
	}
	return r, nil
}

func parseRelease(text string) release {
	var r release
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			r.id = value
		case "VERSION_CODENAME":
			r.codename = value
		}
	}
	return r
}
