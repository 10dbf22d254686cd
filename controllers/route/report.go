// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// maxServers and the lengths are what the status has room for.
	maxServers, maxURL, maxRefusal, maxBackend = 16, 1024, 1024, 512
)

// refusals are reasons of Observe that say that what is there was not made of the spec.
var refusals = []string{
	InvalidReason, WrongServiceReason, NotListedReason, NoPassThroughReason, LoopReason, NoServiceReason, NoCertificateReason, NotOwnedReason,
}

// Report writes what was seen to the status.
func (k *Kind) Report(r *v1alpha1.Route, seen Seen) []reconcile.Condition {
	r.Status.Hosts = hostsOf(r)
	r.Status.URL = urlOf(r, &seen)
	if seen.gateway != nil {
		r.Status.GatewayAddress = seen.gateway.address()
	}
	switch {
	case slices.Contains(refusals, reconcile.ReasonOf(seen.refusal)):
		return []reconcile.Condition{condition(v1alpha1.ProgrammedCondition, reconcile.ReasonOf(seen.refusal), "%s", seen.refusal)}
	case !seen.known || !r.DeletionTimestamp.IsZero():
		return nil
	case seen.taken != "":
		return []reconcile.Condition{condition(v1alpha1.ProgrammedCondition, HostTakenReason, "%s", seen.taken)}
	case seen.own.due(r):
		return nil
	}
	r.Status.Backend, r.Status.Servers = backendOf(seen.to), serversOf(seen.to)
	if seen.want.hash != r.Status.Refused || seen.programmed() {
		r.Status.Refused, r.Status.Refusal = "", ""
	}
	conditions := []reconcile.Condition{seen.programmedCondition(r)}
	if seen.sight != nil {
		conditions = append(conditions, seen.sight.certificate, seen.sight.published, seen.sight.reachable)
	}
	return conditions
}

// programmedCondition says whether the router has the Route as it is declared.
func (seen *Seen) programmedCondition(r *v1alpha1.Route) reconcile.Condition {
	const kind = v1alpha1.ProgrammedCondition
	switch {
	case seen.programmed():
		return fulfilled(kind, ProgrammedReason, "%s has it", seen.router)
	case r.Status.Refused != "":
		return condition(kind, RejectedByRouterReason, "%s", r.Status.Refusal)
	case seen.routerProblem != nil:
		c := condition(kind, reconcile.ReasonOf(seen.routerProblem), "%s", seen.routerProblem)
		c.Status = metav1.ConditionUnknown
		return c
	case seen.asked && seen.state.Loaded && len(seen.state.Errors) > 0 && seen.atRouter.same(seen.want.routerSums):
		return condition(kind, RejectedByRouterReason, "%s", seen.words())
	}
	if last := meta.FindStatusCondition(r.Status.Conditions, kind); last != nil && last.Status == metav1.ConditionTrue && seen.atRouter.same(seen.want.routerSums) {
		return fulfilled(kind, last.Reason, "%s", last.Message) // it was not asked
	}
	return condition(kind, ProgrammingReason, "waiting for %s to take the Route", seen.router)
}

// hostsOf are the hosts in short.
func hostsOf(r *v1alpha1.Route) string {
	if len(r.Spec.Hosts) == 1 {
		return r.Spec.Hosts[0]
	}
	return fmt.Sprintf("%s +%d", r.Spec.Hosts[0], len(r.Spec.Hosts)-1)
}

// urlOf is how a client asks for the first host and path.
func urlOf(r *v1alpha1.Route, seen *Seen) string {
	if r.Spec.TCP != nil {
		return ""
	}
	path := "/"
	if len(r.Spec.Paths) > 0 && r.Spec.Paths[0].Type != v1alpha1.PathRegex {
		path = r.Spec.Paths[0].Value
	}
	port := ""
	if seen.gateway != nil && seen.gateway.service != nil && seen.gateway.service.Spec.Nginx != nil {
		if https := gatewayPorts(seen.gateway.service)[1]; https != defaultHTTPS {
			port = fmt.Sprintf(":%d", https)
		}
	} else if r.Status.URL != "" {
		return r.Status.URL
	}
	return clip("https://"+r.Spec.Hosts[0]+port+path, maxURL)
}

// backendOf are the backends in short.
func backendOf(to ends) string {
	var names []string
	for _, t := range to.targets {
		if !slices.Contains(names, t.name) {
			names = append(names, t.name)
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return clip(names[0], maxBackend)
	}
	return clip(fmt.Sprintf("%s +%d", names[0], len(names)-1), maxBackend)
}

func serversOf(to ends) []string {
	var all []string
	for _, t := range to.targets[:min(len(to.targets), maxServers)] {
		all = append(all, t.url())
	}
	return all
}

// clip cuts a text to at most n bytes, at the end of a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	cut := n - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
