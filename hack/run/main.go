// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Command run is "make run" and "make lab": the reference site, declared and brought up on this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

func main() {
	if slices.Contains(os.Args[1:], "--lab") {
		os.Exit(labMain(do)) // in namespaces of its own
	}
	os.Exit(do())
}

// do runs the command and returns its exit status.
func do() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrllog.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		return 1
	}
	return 0
}

type options struct {
	until   string
	timeout time.Duration
	manager string
	samples string
	lab     bool
}

// place is the site that the world is about.
type place struct {
	site    pve.Options
	running *pve.Server
	address string // of the machine that the control plane runs on
	edit    func(objects []*unstructured.Unstructured) error
	// enter says how to get into it from another terminal: what comes before a command, and what else there is to know.
	// outsider is enter for a command that comes from outside of the site.
	enter, outsider, hint string
	stop                  func() error
}

func run(ctx context.Context, args []string) (err error) {
	var o options
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	flags.StringVar(&o.until, "until", "", `"ready": end as soon as every object is Ready`)
	flags.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long the objects may take to become Ready")
	flags.StringVar(&o.manager, "manager", "bin/manager", "the manager's binary")
	flags.StringVar(&o.samples, "samples", "config/samples/phoenix", "the objects to apply")
	flags.BoolVar(&o.lab, "lab", false, "real machines, in containers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.until != "" && o.until != "ready" {
		return fmt.Errorf("UNTIL is %q: it can only be ready", o.until)
	}
	p := &place{site: pve.Options{TaskTime: 300 * time.Millisecond}, stop: func() error { return nil }}
	if o.lab {
		if p, err = startLab(ctx); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	w, err := world.Start(ctx, world.Options{
		Root: ".", Dir: ".phoenix", Manager: o.manager, Progress: os.Stdout, Site: p.site, Running: p.running, Address: p.address, Edit: p.edit,
	})
	defer func() { err = errors.Join(err, w.Stop()) }()
	if err != nil {
		return err
	}
	return bringUp(ctx, w, o, p)
}

// bringUp applies the samples and waits as long as was asked for.
func bringUp(ctx context.Context, w *world.World, o options, p *place) error {
	if err := errors.Join(os.RemoveAll(w.LogFile()), w.StartManager()); err != nil {
		return err
	}
	if err := w.ApplySamples(ctx, o.samples); err != nil {
		return err
	}
	fmt.Printf("applied        %s\n\n", o.samples)
	if err := converge(ctx, w, o.timeout); err != nil || o.until == "ready" {
		return err
	}
	return stay(ctx, w, p)
}

// converge shows what becomes of every object until all are Ready, then prints their tables.
func converge(ctx context.Context, w *world.World, timeout time.Duration) error {
	began := time.Now()
	over := time.After(timeout)
	said := map[string]string{}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		states, err := w.States(ctx)
		if err != nil {
			return interrupted(ctx, err)
		}
		for _, s := range states {
			tell(said, s, time.Since(began))
		}
		if world.AllReady(states) {
			fmt.Printf("\nall %d objects are Ready after %.1f s\n\n", len(states), time.Since(began).Seconds())
			return printTables(ctx, w, "hosts", "guests", "hostservices", "certificates", "dockerstacks", "routes")
		}
		select {
		case <-tick.C:
		case <-w.ManagerEnded():
			return w.ManagerError()
		case <-over:
			return blockers(states, timeout)
		case <-ctx.Done():
			return interrupted(ctx, ctx.Err())
		}
	}
}

// interrupted says so in place of what an interruption broke.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted before every object was Ready")
	}
	return err
}

func tell(said map[string]string, s world.State, since time.Duration) {
	id := s.Kind + "/" + s.Name
	line := s.Reason + ": " + s.Message
	if s.Ready {
		line = "Ready"
	}
	if said[id] == line {
		return
	}
	said[id] = line
	fmt.Printf("%5.1fs  %-22s %s\n", since.Seconds(), id, line)
}

// blockers names every object that is not Ready.
func blockers(states []world.State, timeout time.Duration) error {
	lines := []string{fmt.Sprintf("not every object is Ready after %s:", timeout)}
	for _, s := range states {
		if !s.Ready {
			lines = append(lines, fmt.Sprintf("  %s/%s  %s: %s", s.Kind, s.Name, s.Reason, s.Message))
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}

// printTables prints what kubectl get prints for each resource.
func printTables(ctx context.Context, w *world.World, resources ...string) error {
	for i, r := range resources {
		if i > 0 {
			fmt.Println()
		}
		if err := w.PrintTable(ctx, os.Stdout, r); err != nil {
			return err
		}
	}
	return nil
}

// stay says how to connect and waits for Ctrl-C.
func stay(ctx context.Context, w *world.World, p *place) error {
	path, err := filepath.Abs(w.Kubeconfig)
	if err != nil {
		return err
	}
	visits, err := visits(ctx, w, p.outsider)
	if err != nil {
		return interrupted(ctx, err)
	}
	fmt.Printf("\nTo look around from another terminal:\n\n  export KUBECONFIG=%s; %skubectl get phoenix\n%s%s\nCtrl-C ends everything.\n", path, p.enter, visits, p.hint)
	select {
	case <-ctx.Done():
		fmt.Println("\nstopping")
		return nil
	case <-w.ManagerEnded():
		return w.ManagerError()
	}
}
