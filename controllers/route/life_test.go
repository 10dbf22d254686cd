// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// TestRoute takes a Route from nothing to what is served, through a change, and away again.
func TestRoute(t *testing.T) {
	w := newWorld(t)
	w.declare("blog", nil)
	r := w.ready("blog")
	w.served("blog.phoenix.lan")
	w.says(r, v1alpha1.ProgrammedCondition, "True Programmed")
	w.says(r, v1alpha1.CertificateMatchesCondition, "True Matches")
	w.says(r, v1alpha1.BackendReachableCondition, "True Reachable")
	w.says(r, v1alpha1.PublishedCondition, "Unknown NotDeclared")
	s := r.Status
	if got := strings.Join([]string{s.URL, s.Hosts, s.Backend, strings.Join(s.Servers, " "), s.GatewayAddress}, "; "); got !=
		"https://blog.phoenix.lan/; blog.phoenix.lan; Guest/web; http://10.0.0.20:8081; 10.0.0.153" {
		t.Errorf("the status says %s", got)
	}
	if got := w.files(w.gateway, gatewayFolder) + "; " + w.files(w.router, routerFolder); got != "blog.map; blog.yml" {
		t.Errorf("the files are %s", got)
	}
	if w.patches > 3 {
		t.Errorf("%d patches of the status", w.patches)
	}
	w.quiet("blog")
	w.sleep(10 * time.Minute)
	w.quiet("blog")
	w.restart()
	w.quiet("blog")

	w.edit("blog", func(r *v1alpha1.Route) { r.Spec.Hosts = []string{"news.phoenix.lan"} })
	w.ready("blog")
	w.served("news.phoenix.lan")
	if got := w.ask("blog.phoenix.lan", "/"); !strings.HasPrefix(got, "404") {
		t.Errorf("the old host answers %q", got)
	}
	w.remove("blog")
	if got := w.files(w.gateway, gatewayFolder) + w.files(w.router, routerFolder); got != "" {
		t.Errorf("left behind is %s", got)
	}
}
