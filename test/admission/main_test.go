// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package admission asks a real API server what it says to objects that are wrong, and to objects that are right.
package admission

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

var (
	config *rest.Config
	kube   client.Client
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd"}, ErrorIfCRDPathMissing: true}
	defer func() { _ = env.Stop() }()
	var err error
	if config, err = env.Start(); err == nil {
		kube, err = client.New(config, client.Options{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// The smallest objects that are right. A case is a merge patch of a spec: null takes a field away.
const (
	host = `
kind: Host
spec:
  url: https://10.0.0.13:8006
  tls: {caSecretRef: {name: phoenix-ca, key: ca.pem}}
  tokenSecretRef: {name: phoenix-token}`
	container = `
kind: Guest
spec:
  hostRef: {name: phoenix}
  type: Container
  source: {template: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"}`
	vm = `
kind: Guest
spec:
  hostRef: {name: phoenix}
  type: VM`
)

// object is base with a patch of its spec.
func object(t *testing.T, base, name, patch string) *unstructured.Unstructured {
	t.Helper()
	o, p := map[string]any{}, map[string]any{}
	for text, into := range map[string]*map[string]any{base: &o, patch: &p} {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			t.Fatalf("bad test: %v in:\n%s", err, text)
		}
	}
	o["spec"] = merge(o["spec"].(map[string]any), p)
	o["apiVersion"] = "phoenix-hypervisor.io/v1alpha1"
	o["metadata"] = map[string]any{"name": name, "namespace": metav1.NamespaceDefault}
	// The client encodes numbers as they come from JSON: integers.
	u := &unstructured.Unstructured{}
	text, err := yaml.Marshal(o)
	if err == nil {
		text, err = yaml.YAMLToJSON(text)
	}
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

// try asks the API server for an object as kubectl does, and keeps nothing.
func try(ctx context.Context, o *unstructured.Unstructured) error {
	return kube.Create(ctx, o, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// refusal checks that an error names the field and the remedy.
func refusal(t *testing.T, reason string, err error, field, remedy string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: was accepted", reason)
		return
	}
	for what, want := range map[string]string{"field": field, "remedy": remedy} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error does not name the %s %q:\n%v", reason, what, want, err)
		}
	}
	if strings.Contains(err.Error(), "should match '") {
		t.Errorf("%s: the error shows a regular expression where words would do:\n%v", reason, err)
	}
}
