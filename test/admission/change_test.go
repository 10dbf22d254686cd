// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// TestChanges has what may be changed in an object that exists, and what not.
func TestChanges(t *testing.T) {
	t.Parallel()
	for i, tc := range []struct {
		reason, base, first, then string
		// field and remedy stand in the error; empty: the change is accepted.
		field, remedy string
	}{
		{"another type", vm, `{}`, `{type: Container, source: {template: "local:vztmpl/a.tar.zst"}}`, "type", "make a new Guest"},
		{"another Host", vm, `{}`, `hostRef: {name: other}`, "hostRef", "make a new Guest"},
		{"another user mapping", container, `unprivileged: true`, `unprivileged: false`, "unprivileged", "make a new Guest"},
		{"a user mapping declared later", container, `{}`, `unprivileged: false`, "unprivileged", "make a new Guest"},
		{"a user mapping not declared any more", container, `unprivileged: false`, `unprivileged: null`, "unprivileged", "make a new Guest"},
		{"another owner", host, `ownerID: a`, `ownerID: b`, "ownerID", "make a new Host"},
		{"an owner declared later", host, `{}`, `ownerID: b`, "ownerID", "make a new Host"},
		{"an owner not declared any more", host, `ownerID: a`, `ownerID: null`, "ownerID", "make a new Host"},

		{"another service", dnsmasq, `{}`, `{dnsmasq: null, firewall: {}}`, "service", "make a new HostService"},
		{"a service on another Host", nfs, `{}`, `hostRef: {name: other}`, "hostRef", "make a new HostService"},
		{"a service that moves into a guest", dnsmasq, `{}`, `{hostRef: null, guestRef: {name: dns}}`, "hostRef", "make a new HostService"},
		{"a service on another node", nfs, `node: pve1`, `node: pve2`, "node", "make a new HostService"},
		{"a Certificate in another Secret", certificate, `{}`, `secretName: other`, "secretName", "make a new Certificate"},
		{"a stack in another environment", stack, `{}`, `environment: {agentRef: {name: other}}`, "environment", "make a new DockerStack"},
		{"a stack in an environment of another kind", stack, `{}`, `environment: {agentRef: null, portainerRef: {name: a}, name: local}`, "environment", "make a new DockerStack"},
		{"a stack of another name", stack, `project: a`, `project: b`, "project", "make a new DockerStack"},
		{"a stack that is named later", stack, `{}`, `project: b`, "project", "make a new DockerStack"},
		{"another data root", docker, `{}`, `docker: {dataRoot: /srv/docker}`, "dataRoot", "make a new HostService"},
		{"Portainer's data elsewhere", portainer, `{}`, `portainer: {dataDir: /srv/portainer}`, "dataDir", "make a new HostService"},
		{"an agent of another Portainer", portainerAgent, `{}`, `portainerAgent: {portainerRef: {name: other}}`, "portainerRef", "make a new HostService"},
		{"an agent of another environment", portainerAgent, `{}`, `portainerAgent: {environment: other}`, "environment", "make a new HostService"},
		{"another text", stack, `{}`, `compose: {inline: "services: {web: {image: nginx}}"}`, "", ""},
		{"another version of Portainer", portainer, `{}`, `portainer: {image: {name: "portainer/portainer-ce:2.24.0"}}`, "", ""},
		{"another root", stepCA, `{}`, `stepCA: {rootGeneration: 2}`, "", ""},
		{"another record", dnsmasq, `{}`, `dnsmasq: {records: [{name: nas, addresses: [10.0.0.20]}]}`, "", ""},

		{"a VMID declared later", vm, `{}`, `vmid: 200`, "", ""},
		{"another source, which has no meaning any more", vm, `source: {clone: {vmid: 9000}}`, `source: null`, "", ""},
		{"another hostname", vm, `hostname: a`, `hostname: b`, "", ""},
		{"a smaller disk, which only the site can judge", vm, `rootDisk: {size: 8Gi}`, `rootDisk: {size: 4Gi}`, "", ""},
		{"another URL of the same site", host, `{}`, `url: "https://10.0.0.14:8006"`, "", ""},
		{"another certificate", host, `{}`, `tls: {caSecretRef: {name: new}}`, "", ""},
		{"another policy", vm, `{}`, `{deletionPolicy: Delete, management: Paused}`, "", ""},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			o := object(t, tc.base, fmt.Sprintf("change-%d", i), tc.first)
			if err := kube.Create(t.Context(), o, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
				t.Fatal(err)
			}
			patch := map[string]any{}
			if err := yaml.UnmarshalStrict([]byte(tc.then), &patch); err != nil {
				t.Fatal(err)
			}
			o.Object["spec"] = merge(o.Object["spec"].(map[string]any), patch)
			err := kube.Update(t.Context(), o, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
			switch {
			case tc.field != "":
				refusal(t, tc.reason, err, tc.field, tc.remedy)
			case err != nil:
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}

// TestStatusApart proves that whoever writes a spec does not write a status with it, and the other way round.
func TestStatusApart(t *testing.T) {
	t.Parallel()
	o := object(t, vm, "status-apart", `cores: 2`)
	if err := unstructured.SetNestedField(o.Object, int64(4711), "status", "vmid"); err != nil {
		t.Fatal(err)
	}
	if err := kube.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if status, there := o.Object["status"]; there {
		t.Errorf("a status came with the spec: %v", status)
	}
	generation := o.GetGeneration()
	o.Object["status"] = map[string]any{"vmid": int64(200)}
	o.Object["spec"].(map[string]any)["cores"] = int64(8)
	if err := kube.Status().Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	cores, _, _ := unstructured.NestedInt64(o.Object, "spec", "cores")
	if cores != 2 || o.GetGeneration() != generation {
		t.Errorf("a spec came with the status: cores %d, generation %d after %d", cores, o.GetGeneration(), generation)
	}
}
