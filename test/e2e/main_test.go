// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the whole program: the manager's binary as a process of its own with its real RBAC, against a real API
// server and a simulated Proxmox VE site. It is killed at every step, restarted, and has to end where it would have ended.
//
// "make e2e" runs it: MANAGER names the binary, KUBEBUILDER_ASSETS the control plane's.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

const (
	patience = 2 * time.Minute
	tick     = 20 * time.Millisecond
	root     = "../.."
	samples  = "../../config/samples/phoenix"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// theatre is a world in a test.
type theatre struct {
	*testing.T
	*world.World
}

// open starts a world without a manager.
func open(t *testing.T, site pve.Options) *theatre {
	t.Helper()
	manager := os.Getenv("MANAGER")
	if manager == "" {
		t.Fatal("MANAGER does not name the manager's binary: run make e2e")
	}
	manager, err := filepath.Abs(manager)
	if err != nil {
		t.Fatal(err)
	}
	w, err := world.Start(context.Background(), world.Options{Root: root, Dir: t.TempDir(), Manager: manager, Site: site})
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(w.LogFile())
			t.Logf("the manager's log:\n%s", log)
		}
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return &theatre{t, w}
}

// start starts the manager; kill ends it as a power cut does.
func (w *theatre) start() {
	w.Helper()
	if err := w.StartManager(); err != nil {
		w.Fatal(err)
	}
}

func (w *theatre) kill() {
	w.Helper()
	if err := w.KillManager(); err != nil {
		w.Fatal(err)
	}
}

// until waits for what comes by itself.
func (w *theatre) until(what string, check func() error) {
	w.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(tick) {
		if err = check(); err == nil {
			return
		}
	}
	w.Fatalf("%s: not within %s: %v", what, patience, err)
}

// allReady waits until every object is Ready.
func (w *theatre) allReady() {
	w.Helper()
	w.until("all is Ready", func() error {
		states, err := w.States(context.Background())
		if err == nil && !world.AllReady(states) {
			err = fmt.Errorf("%+v", states)
		}
		return err
	})
}

// ready waits until a Guest is Ready and in sync.
func (w *theatre) ready(g *v1alpha1.Guest) {
	w.Helper()
	w.until(g.Name+" is Ready", func() error {
		if err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(g), g); err != nil {
			return err
		}
		c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReadyCondition)
		if c == nil || c.Status != metav1.ConditionTrue || g.Status.ObservedGeneration != g.Generation {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

// gone waits until a Guest is gone.
func (w *theatre) gone(g *v1alpha1.Guest) {
	w.Helper()
	w.until(g.Name+" is gone", func() error {
		err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(g), g)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("%+v", g.Status.Conditions))
	})
}

// nothingTwice proves that a VMID was made once, and that it has the volumes that it should have.
func (w *theatre) nothingTwice(vmid, volumes int) {
	w.Helper()
	state, there := w.Site.Guest(vmid)
	if !there {
		w.Errorf("guest %d is not there", vmid)
		return
	}
	if len(state.Volumes) != volumes {
		w.Errorf("guest %d has volumes %v, want %d", vmid, state.Volumes, volumes)
	}
	if n := strings.Count(state.Options["description"], "phoenix-hypervisor.io "); n != 1 {
		w.Errorf("guest %d bears %d marks: %q", vmid, n, state.Options["description"])
	}
	if state.Lock != "" {
		w.Errorf("guest %d is locked (%s)", vmid, state.Lock)
	}
	if n := w.made(vmid); n != 1 {
		w.Errorf("guest %d was made %d times", vmid, n)
	}
}

// made counts the tasks that made a guest.
func (w *theatre) made(vmid int) int {
	n := 0
	for _, task := range w.Site.Tasks() {
		config := task.Kind == "vzcreate" || task.Kind == "qmcreate"
		if config && task.ID == fmt.Sprint(vmid) && task.Exit == "OK" {
			n++
		}
	}
	for _, r := range w.Site.Requests() {
		if strings.HasSuffix(r.Path, "/clone") && r.Params["newid"] == fmt.Sprint(vmid) && (r.Status == 200 || r.Status == 0) {
			n++
		}
	}
	return n
}
