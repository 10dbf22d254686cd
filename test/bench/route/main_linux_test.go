// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/phoenix-hypervisor/phoenix/test/lab"
	"github.com/phoenix-hypervisor/phoenix/test/lab/image"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// noLab says why there is no lab; nil: there is one.
var noLab error

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	if _, noLab = image.Find(); noLab == nil && os.Getuid() != 0 {
		noLab = errors.New("only root can have a lab")
	}
	if noLab != nil {
		os.Exit(m.Run())
	}
	os.Exit(lab.Main(m.Run))
}

// newGround is real machines where there is a lab, else simulated ones.
func newGround(b *testing.B) (ground, world.Options) {
	b.Helper()
	if noLab != nil {
		return simulated(noLab)
	}
	l, err := lab.Start(b.Context(), lab.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Stop(); err != nil {
			b.Error(err)
		}
	})
	g := ground{what: "containers with real nginx and Traefik; lxc-attach takes 20 ms at least", dial: l.DialClient}
	return g, world.Options{Running: l.Site, Address: lab.Gateway, Edit: func(objects []*unstructured.Unstructured) error {
		if _, err := lab.Adapt(objects, lab.KernelNFS(), l.Releases); err != nil {
			return fmt.Errorf("adapt the samples to the lab: %w", err)
		}
		return nil
	}}
}
