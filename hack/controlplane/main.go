// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Command controlplane makes the binaries of a Kubernetes control plane (kube-apiserver and etcd) available and prints
// the directory that holds them as the only line on standard output; everything it has to tell goes to standard error.
//
//	KUBEBUILDER_ASSETS="$(go run -C hack/controlplane .)" go test ./...
//
// It takes, in this order: the directory in KUBEBUILDER_ASSETS, its own cache, a download by setup-envtest, and a build
// from Go modules. Downloads and builds happen once; afterwards it is silent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// Sources that the -source flag accepts.
const (
	sourceAuto     = "auto"
	sourceDownload = "download"
	sourceBuild    = "build"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	dir, err := run(ctx, os.Args[1:], os.Getenv("KUBEBUILDER_ASSETS"), os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "controlplane: %v\n", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}

// run returns the directory with the binaries; assets is the value of KUBEBUILDER_ASSETS.
func run(ctx context.Context, args []string, assets string, out io.Writer) (string, error) {
	flags := flag.NewFlagSet("controlplane", flag.ContinueOnError)
	flags.SetOutput(out)
	cache := flags.String("cache", "", "directory to keep the binaries in (default: phoenix/controlplane in the user's cache directory)")
	module := flags.String("module", "build", "directory of the Go module that pins what is built")
	source := flags.String("source", sourceAuto, "where missing binaries come from: download, build, or auto (the first that works)")
	kubectl := flags.Bool("kubectl", false, "make kubectl available too")
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	if *source != sourceAuto && *source != sourceDownload && *source != sourceBuild {
		return "", fmt.Errorf("read flag -source: %q is none of auto, download, build", *source)
	}
	want := []binary{etcd, kubeAPIServer}
	if *kubectl {
		want = append(want, kubectlBinary)
	}
	if assets != "" {
		lacking := missing(assets, want)
		if len(lacking) == 0 {
			return filepath.Abs(assets)
		}
		fmt.Fprintf(out, "controlplane: KUBEBUILDER_ASSETS=%s lacks %s: looking elsewhere\n", assets, names(lacking))
	}
	if *cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache directory (or give one with -cache): %w", err)
		}
		*cache = filepath.Join(user, "phoenix", "controlplane")
	}
	version, err := pinned(filepath.Join(*module, "go.mod"), "k8s.io/kubernetes")
	if err != nil {
		return "", err
	}
	s := store{dir: filepath.Join(*cache, version+"-"+runtime.GOOS+"-"+runtime.GOARCH), out: out}
	return s.dir, s.provide(ctx, want, sources(*source, *module, version, out))
}

// sources lists what fills a store, best first.
func sources(name, module, version string, out io.Writer) []source {
	download := downloader{version: version, out: out}.fetch
	build := builder{module: module, version: version, out: out}.build
	switch name {
	case sourceDownload:
		return []source{download}
	case sourceBuild:
		return []source{build}
	default:
		return []source{download, build}
	}
}
