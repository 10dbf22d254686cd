// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const (
	patience = 5 * time.Minute
	tick     = 50 * time.Millisecond
)

// The smallest guests; tests patch their spec.
const (
	container = `
kind: Guest
spec:
  hostRef: {name: site}
  type: Container
  restartPolicy: WhenRequired
  source: {template: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"}`
	vm = `
kind: Guest
spec:
  hostRef: {name: site}
  type: VM
  restartPolicy: WhenRequired`
)

// parse reads YAML and applies a merge patch to its spec.
func parse(t *testing.T, base, patch string) *unstructured.Unstructured {
	t.Helper()
	o, p := map[string]any{}, map[string]any{}
	for text, into := range map[string]*map[string]any{base: &o, patch: &p} {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			t.Fatalf("bad test: %v in:\n%s", err, text)
		}
	}
	o["spec"] = merge(o["spec"].(map[string]any), p)
	o["apiVersion"] = v1alpha1.GroupVersion.String()
	text, err := yaml.Marshal(o)
	if err == nil {
		text, err = yaml.YAMLToJSON(text)
	}
	u := &unstructured.Unstructured{}
	if err == nil {
		err = u.UnmarshalJSON(text)
	}
	if err != nil {
		t.Fatalf("bad test: %v", err)
	}
	return u
}

// merge is a merge patch (RFC 7386).
func merge(into, patch map[string]any) map[string]any {
	out := maps.Clone(into)
	for key, value := range patch {
		before, isMap := out[key].(map[string]any)
		after, patchesMap := value.(map[string]any)
		switch {
		case value == nil:
			delete(out, key)
		case isMap && patchesMap:
			out[key] = merge(before, after)
		default:
			out[key] = value
		}
	}
	return out
}

// create applies an object as YAML says it.
func (s *stage) create(base, patch string) {
	s.Helper()
	o := parse(s.T, base, patch)
	o.SetNamespace(s.namespace)
	if err := kube.Create(context.Background(), o, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
		s.Fatal(err)
	}
}

// guest creates a Guest.
func (s *stage) guest(name, base, patch string) {
	s.Helper()
	s.create(strings.Replace(base, "kind: Guest", "kind: Guest\nmetadata: {name: "+name+"}", 1), patch)
}

// change patches an object's spec.
func (s *stage) change(o object, patch string) {
	s.Helper()
	s.patch(o, "spec: "+strings.ReplaceAll("\n"+strings.TrimSpace(patch), "\n", "\n  "))
}

// patch patches an object.
func (s *stage) patch(o object, patch string) {
	s.Helper()
	data, err := yaml.YAMLToJSON([]byte(patch))
	if err != nil {
		s.Fatalf("bad test: %v in:\n%s", err, patch)
	}
	if err := kube.Patch(context.Background(), o, client.RawPatch(types.MergePatchType, data)); err != nil {
		s.Fatal(err)
	}
}

type object interface {
	client.Object
	v1alpha1.Object
}

func (s *stage) host() *v1alpha1.Host {
	return &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Name: "site", Namespace: s.namespace}}
}

func (s *stage) named(guest string) *v1alpha1.Guest {
	return &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Name: guest, Namespace: s.namespace}}
}

// get reads an object again.
func (s *stage) get(o object) {
	s.Helper()
	if err := kube.Get(context.Background(), client.ObjectKeyFromObject(o), o); err != nil {
		s.Fatal(err)
	}
}

// until waits for a condition that comes by itself.
func (s *stage) until(what string, check func() error) {
	s.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(tick) {
		if err = check(); err == nil {
			return
		}
	}
	s.Fatalf("%s: not within %s: %v", what, patience, err)
}

// condition says what a condition of an object is, as "True InSync: message".
func condition(o object, kind string) string {
	c := meta.FindStatusCondition(o.CommonStatus().Conditions, kind)
	if c == nil {
		return "absent"
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

// says waits until a condition of an object's present spec begins with one text and contains the others.
func (s *stage) says(o object, kind, begin string, parts ...string) {
	s.Helper()
	s.until(fmt.Sprintf("%s of %s is %q %q", kind, o.GetName(), begin, parts), func() error {
		if err := kube.Get(context.Background(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		got := condition(o, kind)
		ok := strings.HasPrefix(got, begin) && o.CommonStatus().ObservedGeneration == o.GetGeneration()
		for _, part := range parts {
			ok = ok && strings.Contains(got, part)
		}
		if !ok {
			return errors.New(describe(o))
		}
		return nil
	})
}

// ready waits until an object is Ready and in sync, and asks kstatus.
func (s *stage) ready(o object) {
	s.Helper()
	s.says(o, v1alpha1.ReadyCondition, "True InSync")
	if plan := o.CommonStatus().Plan; len(plan) > 0 {
		s.Errorf("%s is Ready and has a plan: %v", o.GetName(), plan)
	}
	s.kstatus(o, status.CurrentStatus)
}

// readyGuest waits for a Guest and returns it with its guest.
func (s *stage) readyGuest(name string) (*v1alpha1.Guest, pve.GuestState) {
	s.Helper()
	g := s.named(name)
	s.ready(g)
	return g, s.outside(g)
}

// outside is a Guest's guest.
func (s *stage) outside(g *v1alpha1.Guest) pve.GuestState {
	s.Helper()
	if g.Status.VMID == nil {
		s.Fatalf("%s has no VMID:\n%s", g.Name, describe(g))
	}
	state, ok := s.site.Guest(int(*g.Status.VMID))
	if !ok {
		s.Fatalf("guest %d of %s is not there:\n%s", *g.Status.VMID, g.Name, describe(g))
	}
	return state
}

// kstatus asks the library that GitOps tools ask.
func (s *stage) kstatus(o object, want status.Status) {
	s.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		s.Fatal(err)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		s.Fatal(err)
	}
	if result.Status != want {
		s.Errorf("kstatus of %s is %s (%s), want %s", o.GetName(), result.Status, result.Message, want)
	}
}

// describe shows an object's conditions and plan.
func describe(o object) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s generation %d observed %d", o.GetName(), o.GetGeneration(), o.CommonStatus().ObservedGeneration)
	for _, c := range o.CommonStatus().Conditions {
		fmt.Fprintf(&b, "\n  %s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, p := range o.CommonStatus().Plan {
		fmt.Fprintf(&b, "\n  plan %s %s %q -> %q %s", p.Reason, p.Field, p.From, p.To, p.Impact)
	}
	return b.String()
}

// remove deletes an object without waiting.
func (s *stage) remove(o object) {
	s.Helper()
	if err := kube.Delete(context.Background(), o); err != nil {
		s.Fatal(err)
	}
}

// gone waits until an object is gone.
func (s *stage) gone(o object) {
	s.Helper()
	s.until(o.GetName()+" is gone", func() error {
		err := kube.Get(context.Background(), client.ObjectKeyFromObject(o), o)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New(describe(o)))
	})
}

// events are the reasons of the namespace's events about an object, in no order.
func (s *stage) events(o object) []string {
	s.Helper()
	var list eventsv1.EventList
	if err := kube.List(context.Background(), &list, client.InNamespace(s.namespace)); err != nil {
		s.Fatal(err)
	}
	var reasons []string
	for _, e := range list.Items {
		if e.Regarding.Name == o.GetName() {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}
