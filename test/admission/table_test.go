// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// TestColumns asks for what "kubectl get" prints.
func TestColumns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		resource, base string
		status         map[string]any
		columns, cells []string
	}{
		{
			"hosts", host,
			map[string]any{"version": "9.2.4", "nodesOnline": 1, "guests": map[string]any{"managed": 5, "unmanaged": 1}},
			[]string{"NAME", "READY", "STATUS", "VERSION", "NODES", "GUESTS", "AGE"}, []string{"row", "True", "InSync", "9.2.4", "1", "5"},
		},
		{
			"guests", container,
			map[string]any{"vmid": 103, "node": "phoenix", "addresses": []any{"10.0.0.10", "fd00::10"}},
			[]string{"NAME", "READY", "STATUS", "TYPE", "VMID", "NODE", "IP", "AGE"}, []string{"row", "True", "InSync", "Container", "103", "phoenix", "10.0.0.10"},
		},
		{
			"hostservices", dnsmasq,
			map[string]any{"service": "dnsmasq", "machine": "Host/phoenix"},
			[]string{"NAME", "READY", "STATUS", "SERVICE", "MACHINE", "AGE"}, []string{"row", "True", "InSync", "dnsmasq", "Host/phoenix"},
		},
		{
			"certificates", certificate,
			map[string]any{"notAfter": "2026-03-02T03:04:05Z", "renewalTime": "2026-02-02T03:04:05Z"},
			[]string{"NAME", "READY", "STATUS", "SECRET", "NOT-AFTER", "RENEWAL", "AGE"},
			[]string{"row", "True", "InSync", "site-tls", "2026-03-02T03:04:05Z", "2026-02-02T03:04:05Z"},
		},
		{
			"dockerstacks", stack,
			map[string]any{"environment": "drphoenix", "ready": "3/3", "stackID": 4},
			[]string{"NAME", "READY", "STATUS", "ENVIRONMENT", "SERVICES", "AGE"}, []string{"row", "True", "InSync", "drphoenix", "3/3"},
		},
		{
			"routes", route,
			map[string]any{"hosts": "blog.phoenix.lan +1", "backend": "DockerStack/blog web", "url": "https://blog.phoenix.lan/"},
			[]string{"NAME", "READY", "STATUS", "HOSTS", "BACKEND", "URL", "AGE"},
			[]string{"row", "True", "InSync", "blog.phoenix.lan +1", "DockerStack/blog web", "https://blog.phoenix.lan/"},
		},
	} {
		t.Run(tc.resource, func(t *testing.T) {
			t.Parallel()
			o := object(t, tc.base, "row", `{}`)
			if err := kube.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			tc.status["conditions"] = []any{map[string]any{
				"type": "Ready", "status": "True", "reason": "InSync", "message": "as declared", "lastTransitionTime": "2026-01-02T03:04:05Z",
			}}
			o.Object["status"] = tc.status
			if err := kube.Status().Update(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			columns, cells := table(t, tc.resource, "row")
			if diff := cmp.Diff(tc.columns, columns); diff != "" {
				t.Errorf("columns (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.cells, cells[:len(cells)-1]); diff != "" {
				t.Errorf("cells (-want +got):\n%s", diff)
			}
		})
	}
}

// table asks the API server for the Table of one object, without the columns of -o wide.
func table(t *testing.T, resource, name string) (columns, cells []string) {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	discover, err := discovery.NewDiscoveryClientForConfigAndClient(config, client)
	if err != nil {
		t.Fatal(err)
	}
	body, err := discover.RESTClient().Get().AbsPath("/apis/phoenix-hypervisor.io/v1alpha1/namespaces/default", resource, name).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	var answer metav1.Table
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	for i, c := range answer.ColumnDefinitions {
		if c.Priority == 0 {
			columns = append(columns, strings.ToUpper(c.Name))
			cells = append(cells, fmt.Sprint(answer.Rows[0].Cells[i]))
		}
	}
	return columns, cells
}

// TestNames has what may be typed instead of the full names.
func TestNames(t *testing.T) {
	t.Parallel()
	discover, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	list, err := discover.ServerResourcesForGroupVersion("phoenix-hypervisor.io/v1alpha1")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, r := range list.APIResources {
		if !strings.Contains(r.Name, "/") {
			got[r.Name] = append(append([]string{r.SingularName}, r.ShortNames...), r.Categories...)
		}
	}
	want := map[string][]string{"hosts": {"host", "phoenix"}, "guests": {"guest", "gu", "phoenix"}, "hostservices": {"hostservice", "hs", "phoenix"},
		"certificates": {"certificate", "pcert", "phoenix"}, "dockerstacks": {"dockerstack", "dstack", "phoenix"},
		"routes": {"route", "proute", "phoenix"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}
