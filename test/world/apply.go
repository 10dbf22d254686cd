// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/traefik"
)

// fieldOwner of what is applied from files.
const fieldOwner = "phoenix-run"

// ApplySamples applies a folder of objects as a user would, with the Host and its Secrets pointed at the simulated site.
func (w *World) ApplySamples(ctx context.Context, folder string) error {
	return w.applyFolder(ctx, folder, Namespace, func(objects []*unstructured.Unstructured) error {
		if w.opts.Edit != nil {
			if err := w.opts.Edit(objects); err != nil {
				return err
			}
		}
		if err := w.pointAtMirror(objects); err != nil {
			return err
		}
		return w.pointAtSite(objects)
	})
}

// pointAtMirror puts the simulated step-ca and Traefik where the samples download theirs, and their hashes and names into
// them; and archives of simulated images likewise.
func (w *World) pointAtMirror(objects []*unstructured.Unstructured) error {
	if w.mirror == nil {
		return nil
	}
	if err := w.mirrorImages(objects); err != nil {
		return err
	}
	for _, o := range objects {
		err := errors.Join(w.mirrorProgram(o, "stepCA", func(string) (string, []byte, string, string) { return machine.StepCARelease() }),
			w.mirrorProgram(o, "traefik", func(address string) (string, []byte, string, string) {
				return traefik.Release(releasedVersion(address))
			}))
		if err != nil {
			return err
		}
	}
	return nil
}

// mirrorProgram has the program of a service downloaded from the mirror, at the address that is declared.
func (w *World) mirrorProgram(o *unstructured.Unstructured, block string, release func(address string) (where string, archive []byte, sum, member string)) error {
	artifact, there, err := unstructured.NestedMap(o.Object, "spec", block, "artifact")
	if err != nil || !there {
		return nil //nolint:nilerr // the API server says what is wrong with it
	}
	address, _, _ := unstructured.NestedString(artifact, "url")
	_, archive, sum, member := release(address)
	artifact["sha256"], artifact["member"] = sum, member
	if err := unstructured.SetNestedMap(o.Object, artifact, "spec", block, "artifact"); err != nil {
		return fmt.Errorf("point %s at the simulated %s: %w", o.GetName(), block, err)
	}
	w.mirror.Put(address, archive)
	return nil
}

var versionInURL = regexp.MustCompile(`_v([0-9][^_/]*)_[^/]*$`)

// releasedVersion is the version in the address of a release of Traefik; the simulated one's own if there is none.
func releasedVersion(address string) string {
	if found := versionInURL.FindStringSubmatch(address); found != nil {
		return found[1]
	}
	return traefik.Version
}

// mirrorImages makes the archives of images that the samples name.
func (w *World) mirrorImages(objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		for _, block := range []string{"portainer", "portainerAgent"} {
			image, there, err := unstructured.NestedMap(o.Object, "spec", block, "image")
			archive, packed := image["archive"].(map[string]any)
			if err != nil || !there || !packed {
				continue // the API server says what is wrong with it
			}
			name, _ := image["name"].(string)
			address, _ := archive["url"].(string)
			body, sum := machine.ImageArchive(name, name)
			archive["sha256"] = sum
			if err := unstructured.SetNestedMap(o.Object, image, "spec", block, "image"); err != nil {
				return fmt.Errorf("point %s at the simulated image %s: %w", o.GetName(), name, err)
			}
			w.mirror.Put(address, body)
		}
	}
	return nil
}

// applyFolder applies every YAML file of a folder in the order of their names. Objects without a namespace get the given
// one; edit may change an object before it is applied.
func (w *World) applyFolder(ctx context.Context, folder, namespace string, edit func([]*unstructured.Unstructured) error) error {
	objects, err := ReadFolder(folder)
	if err != nil {
		return err
	}
	if edit != nil {
		if err := edit(objects); err != nil {
			return err
		}
	}
	return w.applyAll(ctx, objects, namespace)
}

// applyFile applies the objects of one YAML file.
func (w *World) applyFile(ctx context.Context, path string) error {
	objects, err := readFile(path)
	if err != nil {
		return err
	}
	return w.applyAll(ctx, objects, "")
}

func (w *World) applyAll(ctx context.Context, objects []*unstructured.Unstructured, namespace string) error {
	for _, o := range objects {
		if err := w.apply(ctx, o, namespace); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) apply(ctx context.Context, o *unstructured.Unstructured, namespace string) error {
	namespaced, err := w.Client.IsObjectNamespaced(o)
	if err != nil {
		return fmt.Errorf("apply %s/%s: %w", o.GetKind(), o.GetName(), err)
	}
	if namespaced && o.GetNamespace() == "" {
		o.SetNamespace(namespace)
	}
	err = w.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(fieldOwner), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("apply %s/%s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}

// ReadFolder reads the objects of a folder's YAML files, in the order of the files' names; kustomization.yaml is not one.
func ReadFolder(folder string) ([]*unstructured.Unstructured, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("no YAML files in %s", folder))
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		more, err := readFile(file)
		if err != nil {
			return nil, err
		}
		objects = append(objects, more...)
	}
	return objects, nil
}

func readFile(path string) ([]*unstructured.Unstructured, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// pointAtSite gives the Host the simulated site's address and keys, and fills the Secrets that it names.
func (w *World) pointAtSite(objects []*unstructured.Unstructured) error {
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Host" })
	if i < 0 {
		return errors.New("no Host among the samples")
	}
	host := objects[i].Object
	var nodes []any
	for _, n := range w.Site.SSH {
		nodes = append(nodes, map[string]any{"name": n.Name, "address": n.Address, "hostKeys": []any{strings.TrimSpace(n.HostKey)}})
	}
	err := errors.Join(
		unstructured.SetNestedField(host, w.Site.URL, "spec", "url"),
		unstructured.SetNestedMap(host, map[string]any{"fingerprint": w.Site.Fingerprint}, "spec", "tls"),
		unstructured.SetNestedSlice(host, nodes, "spec", "ssh", "nodes"),
	)
	if err != nil {
		return fmt.Errorf("point Host at the simulated site: %w", err)
	}
	token, _, _ := unstructured.NestedString(host, "spec", "tokenSecretRef", "name")
	ssh, _, _ := unstructured.NestedString(host, "spec", "ssh", "keySecretRef", "name")
	key, _, _ := unstructured.NestedString(host, "spec", "ssh", "keySecretRef", "key")
	secrets := map[string]map[string]any{
		token: {"tokenID": w.Site.TokenID, "tokenSecret": w.Site.TokenSecret},
		ssh:   {key: string(w.Site.SSH[0].ClientKeyPEM)},
	}
	for _, o := range objects {
		if data, ok := secrets[o.GetName()]; ok && o.GetKind() == "Secret" {
			o.Object["stringData"] = data
			delete(secrets, o.GetName())
		}
	}
	if len(secrets) > 0 {
		return fmt.Errorf("the Host names Secrets that the samples do not have: %v", slices.Sorted(maps.Keys(secrets)))
	}
	return nil
}
