// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

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

// binary is one program of the control plane.
type binary struct {
	name    string   // file name in the store
	pkg     string   // import path of its main package
	built   string   // file name that go build gives it
	version []string // arguments that make it print its version and end
}

var (
	etcd          = binary{"etcd", "go.etcd.io/etcd/server/v3", "server", []string{"--version"}}
	kubeAPIServer = binary{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver", []string{"--version"}}
	kubectlBinary = binary{"kubectl", "k8s.io/kubernetes/cmd/kubectl", "kubectl", []string{"version", "--client"}}
)

// source puts the wanted binaries, under their store names, into dir, which is empty.
type source func(ctx context.Context, want []binary, dir string) error

// store is a directory of binaries outside the repository. A binary appears in it by rename, complete and tried, or
// not at all, so that an interrupted run leaves nothing broken behind.
type store struct {
	dir string
	out io.Writer
}

// provide fills the store with the wanted binaries that it lacks, from the first source that works.
func (s store) provide(ctx context.Context, want []binary, from []source) error {
	if len(missing(s.dir, want)) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o755); err != nil {
		return fmt.Errorf("create the cache: %w", err)
	}
	unlock, err := lock(ctx, s.dir+".lock", func() {
		fmt.Fprintln(s.out, "controlplane: waiting for another run that is filling the cache")
	})
	if err != nil {
		return err
	}
	defer unlock()
	// The other run may have brought everything.
	lacking := missing(s.dir, want)
	if len(lacking) == 0 {
		return nil
	}
	if err := s.sweep(); err != nil {
		return err
	}
	return s.fill(ctx, lacking, from)
}

// fill tries the sources in turn.
func (s store) fill(ctx context.Context, lacking []binary, from []source) error {
	fmt.Fprintf(s.out, "controlplane: %s missing in %s; this is needed once\n", names(lacking), s.dir)
	var all error
	for _, get := range from {
		err := s.accept(ctx, lacking, get)
		if err == nil {
			fmt.Fprintf(s.out, "controlplane: %s ready in %s\n", names(lacking), s.dir)
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
		all = errors.Join(all, err)
		fmt.Fprintf(s.out, "controlplane: %v\n", err)
	}
	return fmt.Errorf("obtain %s: %w", names(lacking), all)
}

// accept runs one source in a directory of its own, tries what it brought, and moves it into the store.
func (s store) accept(ctx context.Context, lacking []binary, get source) error {
	temp, err := os.MkdirTemp(filepath.Dir(s.dir), filepath.Base(s.dir)+".tmp-")
	if err != nil {
		return fmt.Errorf("create a work directory: %w", err)
	}
	defer os.RemoveAll(temp)
	if err := get(ctx, lacking, temp); err != nil {
		return err
	}
	for _, b := range lacking {
		if err := try(ctx, filepath.Join(temp, b.name), b.version); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("create the cache: %w", err)
	}
	for _, b := range lacking {
		if err := os.Rename(filepath.Join(temp, b.name), filepath.Join(s.dir, b.name)); err != nil {
			return fmt.Errorf("move %s into the cache: %w", b.name, err)
		}
	}
	return nil
}

// sweep removes what a killed run left behind. The lock must be held.
func (s store) sweep() error {
	left, err := filepath.Glob(s.dir + ".tmp-*")
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove leftovers: %w", err)
		}
	}
	return nil
}

// try proves that a binary starts on this machine.
func try(ctx context.Context, path string, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("try %s: %w: %s", filepath.Base(path), err, out)
	}
	return nil
}

// missing returns the binaries that dir does not hold as executable files.
func missing(dir string, want []binary) []binary {
	var lacking []binary
	for _, b := range want {
		info, err := os.Stat(filepath.Join(dir, b.name))
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			lacking = append(lacking, b)
		}
	}
	return lacking
}

func names(list []binary) string {
	words := make([]string, len(list))
	for i, b := range list {
		words[i] = b.name
	}
	return strings.Join(words, ", ")
}
