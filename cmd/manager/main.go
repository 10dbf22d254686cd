// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Command manager is Phoenix: it brings Proxmox VE sites to what the objects of a Kubernetes cluster declare.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/phoenix-hypervisor/phoenix/controllers"
)

var version = "dev" // set by the linker

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	var o controllers.Options
	var level slog.Level
	flag.StringVar(&o.Namespace, "namespace", "", "the namespace to watch; empty: all")
	flag.BoolVar(&o.LeaderElection, "leader-elect", true, "let one of several managers work at a time")
	flag.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", "", "where the lease is; empty: the manager's own namespace")
	flag.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8443", "serve /metrics over HTTPS, to those who may read it; 0: nowhere")
	flag.StringVar(&o.ProbeAddress, "health-probe-bind-address", ":8081", "serve /healthz and /readyz; 0: nowhere")
	flag.IntVar(&o.Concurrency, "concurrency", 8, "how many Guests are worked on at the same time")
	flag.TextVar(&level, "log-level", slog.LevelInfo, "DEBUG, INFO, WARN or ERROR; each also takes an offset, down to DEBUG-3")
	showVersion := flag.Bool("version", false, "print the version and end")
	flag.Parse() // --kubeconfig is controller-runtime's own; without it, KUBECONFIG or the Pod's account is used
	if *showVersion {
		_, err := fmt.Fprintln(os.Stdout, version)
		return err
	}
	if o.Logger, err = controllers.NewLogger(os.Stderr, level); err != nil {
		return err
	}
	ctrl.SetLogger(o.Logger)
	klog.SetLogger(o.Logger)

	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	mgr, err := controllers.NewManager(cfg, o)
	if err != nil {
		return err
	}
	o.Logger.Info("start", "version", version)
	return mgr.Start(ctrl.SetupSignalHandler())
}
