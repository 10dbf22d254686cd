// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package envtest runs the whole manager in this process, against a real API server and simulated Proxmox VE sites: from
// YAML to condition to the site's state, and back from drift.
//
// Every test has a namespace, a site and a manager of its own. They mostly wait, so many run at the same time.
package envtest

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/phoenix-hypervisor/phoenix/controllers"
)

// atOnce is how many tests run at the same time. They mostly wait, but each has a manager and a site: with many more of them,
// two cores are so busy that each waits for minutes for what it has in seconds alone.
const atOnce = "8"

var (
	config *rest.Config
	kube   client.Client
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	parallel := true
	flag.Visit(func(f *flag.Flag) { parallel = parallel && f.Name != "test.parallel" })
	if parallel {
		_ = flag.Set("test.parallel", atOnce)
	}
	ctrl.SetLogger(logr.Discard())
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd"}, ErrorIfCRDPathMissing: true}
	defer func() { _ = env.Stop() }()
	if err := start(env); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func start(env *envtest.Environment) error {
	var err error
	if config, err = env.Start(); err != nil {
		return err
	}
	config.QPS, config.Burst = -1, -1
	scheme, err := controllers.Scheme()
	if err != nil {
		return err
	}
	if err := eventsv1.AddToScheme(scheme); err != nil {
		return err
	}
	kube, err = client.New(config, client.Options{Scheme: scheme})
	return err
}
