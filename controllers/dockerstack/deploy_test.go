// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack_test

import (
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// TestDeploy brings a stack about from nothing.
func TestDeploy(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	s := w.ready("blog")
	w.says(s, "Deployed", "True Deployed", "stack blog in drphoenix")
	w.says(s, "Healthy", "True Healthy", "all 2 services run")
	want(w, "containers", w.containers("drphoenix", "blog"), []string{"db running", "web running"})
	want(w, "elsewhere", w.containers("local", "blog"), nil)
	record, text := w.mustStack("blog")
	if !strings.Contains(text, "phoenix-hypervisor.io/stack: site/home/blog") || strings.Contains(text, "pass-word") {
		t.Errorf("the text that was sent has no mark, or values:\n%s", text)
	}
	want(w, "values", record.Env[0].Name+"="+record.Env[0].Value, "PHOENIX_STACK=site/home/blog")
	st := s.Status
	if int(st.StackID) != record.ID || st.Environment != "drphoenix" || int(st.EnvironmentID) != w.ids["drphoenix"] || st.Project != "blog" || st.Ready != "2/2" || st.Deployed == "" {
		t.Errorf("status is %+v", st)
	}
	web := st.Services[1]
	if web.Name != "web" || web.Image != "lab/web:1" || web.State != "running" || web.Containers != "1/1" || !strings.HasPrefix(web.Digest, "sha256:") ||
		len(web.Ports) != 1 || web.Ports[0] != (v1alpha1.StackPort{Target: 80, Published: 8080, Protocol: "tcp"}) {
		t.Errorf("web is %+v", web)
	}
	want(w, "events", w.events.reasons(0), []string{"Normal Pulling", "Normal Deploying"})
	w.quiet("blog")
	w.quiet("blog")
}
