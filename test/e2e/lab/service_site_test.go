// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/lab"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

const (
	root    = "../../.."
	samples = root + "/config/samples/phoenix"
	// lookAnnotation has no meaning: a change of it makes Phoenix look at an object at once.
	lookAnnotation = "test.example.org/look"
	// installTime is how long packages may take on a busy machine.
	installTime = 3 * time.Minute
)

// The guests of the reference site.
const (
	nginx     = 101
	traefik   = 102
	stepCA    = 103
	portainer = 1001
	drphoenix = 1002
)

// test is for what must end even when a test has failed.
var test = context.Background()

// reference is the reference site in the lab, with Phoenix at work.
type reference struct {
	*testing.T
	*world.World
	looks int
	began time.Time
}

// openSite starts a control plane and Phoenix in the lab, and applies a folder of objects.
func openSite(t *testing.T, folder string) *reference {
	t.Helper()
	manager, err := filepath.Abs(os.Getenv("MANAGER"))
	if err != nil || os.Getenv("MANAGER") == "" {
		t.Fatal("MANAGER does not name the manager's binary: run make e2e")
	}
	r := &reference{T: t, began: time.Now()}
	r.World, err = world.Start(test, world.Options{
		Root: root, Dir: t.TempDir(), Manager: manager, Running: site.Site, Address: lab.Gateway,
		Edit: func(objects []*unstructured.Unstructured) error {
			notes, err := lab.Adapt(objects, lab.KernelNFS(), site.Releases)
			t.Log(strings.Join(notes, "; "))
			return err
		},
	})
	t.Cleanup(r.close)
	if err != nil {
		t.Fatal(err)
	}
	r.startManager()
	if err := r.ApplySamples(test, folder); err != nil {
		t.Fatal(err)
	}
	return r
}

// startManager starts Phoenix as talkative as it gets.
func (r *reference) startManager() {
	r.Helper()
	if err := r.StartManager("--log-level=DEBUG-3"); err != nil {
		r.Fatal(err)
	}
}

func (r *reference) close() {
	if r.Failed() {
		log, _ := os.ReadFile(r.LogFile())
		r.Logf("the manager's log:\n%s", important(string(log)))
	}
	if err := r.Stop(); err != nil {
		r.Error(err)
	}
	for _, g := range site.Site.Guests() { // what a failed test has left
		if path := fmt.Sprintf("/nodes/phoenix/%s/%d", g.Kind, g.VMID); g.VMID != 9000 {
			err := errors.Join(api.task("POST", path+"/status/stop", nil), api.task("DELETE", path, nil))
			r.Errorf("guest %d was left: %v", g.VMID, err)
		}
	}
}

// important are the lines of a log that are not for debugging, the last ones of them.
func important(log string) string {
	var lines []string
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `"level":"DEBUG`) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-150):], "")
}

// in is the reference site for a part of the test.
func (r *reference) in(t *testing.T) *reference {
	other := *r
	other.T = t
	return &other
}

// part runs a part of the test and says how long it took.
func (r *reference) part(name string, run func(*reference)) {
	r.Helper()
	r.Run(name, func(t *testing.T) {
		began := time.Now()
		run(r.in(t))
		fmt.Printf("    %-10s %5.1f s\n", name, time.Since(began).Seconds())
	})
}

// allReady waits until every object is Ready.
func (r *reference) allReady() {
	r.Helper()
	r.within(2*installTime, "all is Ready", func() error {
		states, err := r.States(test)
		if err == nil && !world.AllReady(states) {
			var waiting []string
			for _, s := range states {
				if !s.Ready {
					waiting = append(waiting, fmt.Sprintf("%s/%s %s: %s", s.Kind, s.Name, s.Reason, s.Message))
				}
			}
			err = errors.New(strings.Join(waiting, "\n"))
		}
		return err
	})
}

// within is until with patience of its own.
func (r *reference) within(patience time.Duration, what string, check func() error) {
	r.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * tick) {
		if err = check(); err == nil {
			return
		}
	}
	r.Fatalf("%s: not within %s: %v", what, patience, err)
}

func serviceKey(name string) *v1alpha1.HostService {
	return &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace}}
}

// service reads a HostService.
func (r *reference) service(name string) *v1alpha1.HostService {
	r.Helper()
	s := serviceKey(name)
	if err := r.Client.Get(test, client.ObjectKeyFromObject(s), s); err != nil {
		r.Fatal(err)
	}
	return s
}

// patch merges JSON into an object.
func (r *reference) patch(o client.Object, text string) {
	r.Helper()
	if err := r.Client.Patch(test, o, client.RawPatch(types.MergePatchType, []byte(text))); err != nil {
		r.Fatal(err)
	}
}

// look makes Phoenix look at services at once.
func (r *reference) look(names ...string) {
	r.Helper()
	for _, name := range names {
		r.lookAt(serviceKey(name))
	}
}

// lookAt makes Phoenix look at an object at once.
func (r *reference) lookAt(o client.Object) {
	r.Helper()
	r.looks++
	r.patch(o, fmt.Sprintf(`{"metadata":{"annotations":{%q:"%d-%d"}}}`, lookAnnotation, time.Now().UnixNano(), r.looks))
}

// says waits until a condition of a service begins with a text: its status, its reason, its message.
func (r *reference) says(name, condition, want string) *v1alpha1.HostService {
	r.Helper()
	var s *v1alpha1.HostService
	r.within(patience, fmt.Sprintf("%s of %s says %q", condition, name, want), func() error {
		s = r.service(name)
		c := meta.FindStatusCondition(s.Status.Conditions, condition)
		if c == nil || s.Status.ObservedGeneration != s.Generation {
			return fmt.Errorf("%+v", s.Status.Conditions)
		}
		if got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message); !strings.HasPrefix(got, want) {
			return errors.New(got)
		}
		return nil
	})
	return s
}

// ready waits until services are Ready, current as kstatus sees it, and have nothing left to do.
func (r *reference) ready(names ...string) {
	r.Helper()
	for _, name := range names {
		r.within(installTime, name+" is Ready", func() error {
			s := r.service(name)
			o, err := runtime.DefaultUnstructuredConverter.ToUnstructured(s)
			if err != nil {
				return err
			}
			result, err := status.Compute(&unstructured.Unstructured{Object: o})
			if err != nil {
				return err
			}
			if c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ReadyCondition); result.Status != status.CurrentStatus || c == nil ||
				c.Status != metav1.ConditionTrue || len(s.Status.Plan) > 0 {
				return fmt.Errorf("%s: %s; %+v; plan %+v", result.Status, result.Message, c, s.Status.Plan)
			}
			return nil
		})
	}
}

// declare creates objects.
func (r *reference) declare(objects ...client.Object) {
	r.Helper()
	for _, o := range objects {
		if err := r.Client.Create(test, o); err != nil {
			r.Fatal(err)
		}
	}
}

// remove deletes objects and waits until they are gone.
func (r *reference) remove(objects ...client.Object) {
	r.Helper()
	for _, o := range objects {
		if err := r.Client.Delete(test, o); err != nil {
			r.Fatal(err)
		}
	}
	for _, o := range objects {
		r.within(2*time.Minute, o.GetName()+" is gone", func() error {
			err := r.Client.Get(test, client.ObjectKeyFromObject(o), o)
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(err, fmt.Errorf("%+v", o.(v1alpha1.Object).CommonStatus().Conditions))
		})
	}
}

// begun counts the passes over a service that Phoenix began, by its log, and passes those that came to their end.
func (r *reference) begun(name string) int {
	return r.logged(`"msg":"Reconciling"`, "HostService", name)
}
func (r *reference) passes(name string) int { return r.passesOf("HostService", name) }

// passesOf is passes for another kind.
func (r *reference) passesOf(kind, name string) int {
	return r.logged(`"msg":"Reconcile done`, kind, name)
}

func (r *reference) logged(what, kind, name string) int {
	r.Helper()
	log, err := os.ReadFile(r.LogFile())
	if err != nil {
		r.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, what) && strings.Contains(line, fmt.Sprintf(`%q:{"name":%q`, kind, name)) {
			n++
		}
	}
	return n
}

// rest waits until Phoenix does nothing about the services any more.
func (r *reference) rest(names ...string) {
	r.Helper()
	sum := func() string {
		var all []string
		for _, name := range names {
			all = append(all, fmt.Sprint(r.passes(name)))
		}
		return strings.Join(all, " ")
	}
	last, since := sum(), time.Now()
	r.within(patience, "Phoenix rests", func() error {
		if now := sum(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < time.Second {
			return fmt.Errorf("passes: %s", last)
		}
		return nil
	})
}

// box is a container of the site, without a firewall.
func box(name string, vmid int32, address string) *v1alpha1.Guest {
	g := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace}}
	g.Spec.HostRef.Name, g.Spec.Type, g.Spec.VMID = "phoenix", v1alpha1.GuestContainer, &vmid
	g.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	g.Spec.Source = &v1alpha1.GuestSource{Template: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"}
	g.Spec.Networks = []v1alpha1.Network{{
		Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: address + "/24", Gateway: lab.Gateway},
	}}
	return g
}
