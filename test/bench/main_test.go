// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package bench measures what the documentation claims: what a site in sync costs, what a pass that changes nothing costs,
// and how near the making of many guests comes to what Proxmox VE allows. Run it with "make bench".
//
// A real API server, a simulated site and the manager run in this process. Nothing is asserted about time: the numbers are
// for people, and the ratios are taken within one run.
package bench

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/phoenix-hypervisor/phoenix/controllers"
)

var (
	plane = &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd"}, ErrorIfCRDPathMissing: true}
	// config and kube are an administrator's, once startPlane has returned.
	config *rest.Config
	kube   client.Client
)

// startPlane starts the control plane for the first benchmark: a package without one chosen needs none.
var startPlane = sync.OnceValue(func() error {
	ctrl.SetLogger(logr.Discard())
	var err error
	if config, err = plane.Start(); err != nil {
		return fmt.Errorf("start control plane: %w", err)
	}
	config.QPS, config.Burst = -1, -1
	scheme, err := controllers.Scheme()
	if err != nil {
		return err
	}
	kube, err = client.New(config, client.Options{Scheme: scheme})
	return err
})

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	code := m.Run()
	if config != nil {
		if err := plane.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	results.print()
	return code
}

// table is what a person reads at the end.
type table struct {
	mu    sync.Mutex
	parts []*part
}

type part struct {
	title string
	head  []string
	rows  [][]string
}

var results table

// row adds a row to the part with this title.
func (t *table) row(title string, head []string, cells ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.parts {
		if p.title == title {
			p.rows = append(p.rows, cells)
			return
		}
	}
	t.parts = append(t.parts, &part{title, head, [][]string{cells}})
}

func (t *table) print() {
	for _, p := range t.parts {
		fmt.Fprintf(os.Stdout, "\n%s\n", p.title)
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
		for _, cells := range append([][]string{p.head}, p.rows...) {
			fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
		}
		_ = w.Flush() // to standard output
	}
}

func figure(v float64) string { return fmt.Sprintf("%.1f", v) }
