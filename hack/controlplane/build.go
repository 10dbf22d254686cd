// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// builder compiles binaries from the Go module in a directory whose go.mod and go.sum pin every source.
type builder struct {
	module  string // directory of the module
	version string // stamped into the Kubernetes binaries
	out     io.Writer
}

// build is a source.
func (b builder) build(ctx context.Context, want []binary, dir string) error {
	fmt.Fprintf(b.out, "controlplane: building %s of Kubernetes %s from its Go modules: about 6 minutes on two cores (here: %d), once\n",
		names(want), b.version, runtime.NumCPU())
	start := time.Now()
	packages := make([]string, len(want))
	for i, w := range want {
		packages[i] = w.pkg
	}
	flags := []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=" + stamps(b.version)}
	stale, err := b.stale(ctx, flags, packages)
	if err != nil {
		return err
	}
	build := append(append([]string{"build", "-v", "-o", dir + string(filepath.Separator)}, flags...), packages...)
	meter := newMeter(b.out, "compiled", len(stale), start)
	var said []string
	_, err = b.goTool(ctx, build, func(line string) {
		if stale[line] {
			meter.step()
			return
		}
		said = append(said, line)
	})
	meter.end()
	if err != nil {
		return fmt.Errorf("build %s: %w\n%s", names(want), err, strings.Join(tail(said, 40), "\n"))
	}
	for _, w := range want {
		if err := os.Rename(filepath.Join(dir, w.built), filepath.Join(dir, w.name)); err != nil {
			return fmt.Errorf("take %s from the build: %w", w.name, err)
		}
	}
	return nil
}

// stale downloads the modules and returns the packages that a build would compile: the rest is in Go's build cache.
func (b builder) stale(ctx context.Context, flags, packages []string) (map[string]bool, error) {
	list := append(append([]string{"list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, flags...), packages...)
	meter := newMeter(b.out, "downloaded modules", 0, time.Now())
	var said []string
	out, err := b.goTool(ctx, list, func(line string) {
		if strings.HasPrefix(line, "go: downloading ") {
			meter.step()
			return
		}
		said = append(said, line)
	})
	meter.end()
	if err != nil {
		return nil, fmt.Errorf("list what to build: %w\n%s", err, strings.Join(tail(said, 40), "\n"))
	}
	stale := map[string]bool{}
	for path := range strings.FieldsSeq(string(out)) {
		stale[path] = true
	}
	return stale, nil
}

// goTool runs the go command in the module and hands every line of its standard error to line.
func (b builder) goTool(ctx context.Context, args []string, line func(string)) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.module
	// A workspace or flags of the user's must not change what the pinned sums stand for.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	// go removes its work directory when it is interrupted, not when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		line(lines.Text())
	}
	err = cmd.Wait() // only now is out complete
	return out.Bytes(), err
}

// stamps are the linker flags that make kube-apiserver and kubectl tell their version.
func stamps(version string) string {
	const pkg = "k8s.io/component-base/version"
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	flags := []string{"-s", "-w"}
	for _, set := range []string{
		"gitVersion=" + version, "gitMajor=" + parts[0], "gitMinor=" + parts[1], "gitCommit=", "gitTreeState=archive",
	} {
		flags = append(flags, "-X", pkg+"."+set)
	}
	return strings.Join(flags, " ")
}

// pinned reads the version that the go.mod file requires of a module.
func pinned(gomod, module string) (string, error) {
	text, err := os.ReadFile(gomod)
	if err != nil {
		return "", fmt.Errorf("read the pinned versions: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(words) >= 2 && words[0] == module && strings.Count(words[1], ".") >= 2 {
			return words[1], nil
		}
	}
	return "", fmt.Errorf("read the pinned versions: %s does not require %s", gomod, module)
}

// output runs a program and returns its standard output; its standard error becomes part of the error.
func output(ctx context.Context, limit time.Duration, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("no answer within %s: %w", limit, ctx.Err())
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("%w: %s", err, strings.Join(tail(strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n"), 3), "; "))
	}
	return out, err
}

func tail(lines []string, n int) []string {
	return lines[max(0, len(lines)-n):]
}
