// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Command image assembles the manager's container image without a container engine:
//
//	image -out dist/phoenix-image.tar -name localhost/phoenix:dev dist/manager-linux-amd64 dist/manager-linux-arm64
//
// Each argument is one static Linux binary of the manager; its ELF header says which architecture it is for. The same
// binaries and flags give the same bytes. The archive is an OCI image layout with an index of all architectures that
// carries a Docker manifest for one of them too, so that docker load, kind load image-archive and ctr images import
// all take it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

func main() {
	err := run(os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH"), os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

// run assembles the image; epoch is the value of SOURCE_DATE_EPOCH.
func run(args []string, epoch string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "phoenix-image.tar", "archive to write")
	ref := flags.String("name", "localhost/phoenix:dev", "name and tag of the image")
	docker := flags.String("docker", runtime.GOARCH, "architecture that docker load takes from the archive")
	var about facts
	flags.StringVar(&about.version, "version", "dev", "version, for the labels")
	flags.StringVar(&about.revision, "revision", "", "commit, for the labels")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("read arguments: no manager binary is named")
	}
	tag, err := name.NewTag(*ref)
	if err != nil {
		return fmt.Errorf("read flag -name: %w", err)
	}
	if about.created, err = created(epoch); err != nil {
		return err
	}
	images, err := assemble(flags.Args(), about)
	if err != nil {
		return err
	}
	a := archive{tag: tag, images: images, docker: *docker}
	digest, err := a.writeFile(*out)
	if err != nil {
		return fmt.Errorf("write %s: %w", *out, err)
	}
	_, err = fmt.Fprintf(stdout, "%s@%s in %s\n", *ref, digest, filepath.Base(*out))
	return err
}

// created reads the time that the image says it was made at: SOURCE_DATE_EPOCH, or the epoch itself.
func created(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
