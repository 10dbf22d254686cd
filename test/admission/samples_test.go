// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestSamples applies every sample as kubectl does: with strict validation, so that a misspelt field is an error.
func TestSamples(t *testing.T) {
	t.Parallel()
	found := 0
	err := filepath.WalkDir("../../config/samples", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" || d.Name() == "kustomization.yaml" {
			return err
		}
		objects, err := readObjects(path)
		for _, o := range objects {
			found++
			o.SetNamespace(metav1.NamespaceDefault)
			if err := kube.Create(t.Context(), o, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
				t.Errorf("%s: %s/%s: %v", path, o.GetKind(), o.GetName(), err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 6 {
		t.Errorf("only %d samples found", found)
	}
}

// TestKindsAreDeployed proves that what is applied to a cluster knows every kind, and that its readers do.
func TestKindsAreDeployed(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../config/crd/phoenix-hypervisor.io_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d definitions: %v", len(files), err)
	}
	var want, kinds []string
	for _, f := range files {
		want = append(want, filepath.Base(f))
		kinds = append(kinds, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "phoenix-hypervisor.io_"), ".yaml"))
	}
	if diff := cmp.Diff(want, stringsOf(t, "../../config/crd/kustomization.yaml", "resources")); diff != "" {
		t.Errorf("config/crd/kustomization.yaml (-want +got):\n%s", diff)
	}
	people, err := readObjects("../../config/rbac/people.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules, _, err := unstructured.NestedSlice(people[0].Object, "rules")
	if err != nil || len(rules) != 1 {
		t.Fatalf("%s: %v %v", people[0].GetName(), rules, err)
	}
	got, _, err := unstructured.NestedStringSlice(rules[0].(map[string]any), "resources")
	if diff := cmp.Diff(kinds, got); diff != "" || err != nil {
		t.Errorf("%s may read other kinds: %v (-want +got):\n%s", people[0].GetName(), err, diff)
	}
}

// stringsOf is a list in a file's first object.
func stringsOf(t *testing.T, path string, fields ...string) []string {
	t.Helper()
	objects, err := readObjects(path)
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := unstructured.NestedStringSlice(objects[0].Object, fields...)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func readObjects(path string) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}
