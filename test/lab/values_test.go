// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func declared() []*unstructured.Unstructured {
	object := func(name string, spec map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name}, "spec": spec}}
	}
	return []*unstructured.Unstructured{
		object("dnsmasq", map[string]any{"dnsmasq": map[string]any{"upstreams": []any{"192.0.2.1"}, "domain": "lan"}}),
		object("nfs", map[string]any{"nfs": map[string]any{"address": "10.0.0.13"}}),
		object("vm", map[string]any{"type": "VM", "nfsMounts": []any{map[string]any{"path": "/srv"}}}),
		object("other", map[string]any{"type": "Container"}),
		object("ca", map[string]any{"stepCA": map[string]any{"packageName": "step-ca", "port": int64(443)}}),
		object("engine", map[string]any{"docker": map[string]any{"registryMirrors": []any{"https://mirror.example"}, "liveRestore": true}}),
		object("router", map[string]any{"traefik": map[string]any{"webPort": int64(80), "artifact": map[string]any{"url": "https://there.example"}}}),
	}
}

func TestAdapt(t *testing.T) {
	for _, tc := range []struct {
		reason    string
		kernelNFS bool
		notes     int
		change    func(o []*unstructured.Unstructured)
	}{
		{"the kernel has NFS: only the resolver, the downloads and the registry are others", true, 0, func([]*unstructured.Unstructured) {}},
		{"the kernel has none", false, 2, func(o []*unstructured.Unstructured) {
			o[1].Object["spec"].(map[string]any)["nfs"].(map[string]any)["server"] = "Ganesha"
			delete(o[2].Object["spec"].(map[string]any), "nfsMounts")
		}},
	} {
		got, want := declared(), declared()
		notes, err := Adapt(got, tc.kernelNFS, Releases{
			StepCA: Artifact{URL: "http://10.0.0.1/x", SHA256: "12", Member: "x"}, Traefik: Artifact{URL: "http://10.0.0.1/y", SHA256: "34", Member: "y"},
		})
		if err != nil || len(notes) != tc.notes {
			t.Errorf("%s: notes %q (%v)", tc.reason, notes, err)
		}
		want[0].Object["spec"].(map[string]any)["dnsmasq"].(map[string]any)["upstreams"] = []any{Gateway}
		want[4].Object["spec"].(map[string]any)["stepCA"] = map[string]any{
			"port": int64(443), "artifact": map[string]any{"url": "http://10.0.0.1/x", "sha256": "12", "member": "x"},
		}
		want[5].Object["spec"].(map[string]any)["docker"].(map[string]any)["registryMirrors"] = []any{"http://10.0.0.1"}
		want[6].Object["spec"].(map[string]any)["traefik"] = map[string]any{
			"webPort": int64(80), "artifact": map[string]any{"url": "http://10.0.0.1/y", "sha256": "34", "member": "y"},
		}
		tc.change(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.reason, diff)
		}
	}
}

func TestHasNFS(t *testing.T) {
	for text, want := range map[string]bool{"nodev\tsysfs\n\text4\n": false, "nodev\tnfs4\nnodev\tnfsd\n": true, "nodev\tnfs4\n": false} {
		if got := hasNFS(text); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}
