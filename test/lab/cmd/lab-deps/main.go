// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Command lab-deps is "make lab-deps": it installs and makes what the lab needs, once. It runs in the root of the checkout.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/phoenix-hypervisor/phoenix/test/lab/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	images, err := image.Build(ctx, ".", os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab-deps:", err)
		os.Exit(1)
	}
	fmt.Println("lab-deps: all is there:", images.Root)
}
