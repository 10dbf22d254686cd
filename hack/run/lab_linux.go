// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

// labMain runs the command inside a lab's namespaces.
func labMain(run func() int) int { return lab.Main(run) }

// startLab starts the real machines.
func startLab(ctx context.Context) (*place, error) {
	l, err := lab.Start(ctx, lab.Options{Root: ".", Progress: os.Stdout})
	if err != nil {
		return nil, fmt.Errorf("start lab: %w", err)
	}
	return &place{
		running: l.Site, address: lab.Gateway, stop: l.Stop,
		edit:     func(objects []*unstructured.Unstructured) error { return adapt(objects, l.Releases) },
		enter:    fmt.Sprintf("nsenter --target %d --net ", l.PID),
		outsider: l.Outsider(),
		hint:     fmt.Sprintf("\n  %s    # the host\n  %s    # container step-ca\n", l.Shell(lab.Host), l.Shell(103)),
	}, nil
}

// adapt changes the samples to what the lab has, and says so.
func adapt(objects []*unstructured.Unstructured, releases lab.Releases) error {
	notes, err := lab.Adapt(objects, lab.KernelNFS(), releases)
	for _, note := range notes {
		fmt.Println("lab            " + note)
	}
	return err
}
