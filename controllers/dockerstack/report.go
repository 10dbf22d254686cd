// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/compose"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// maxServices and maxPorts are how many the status has room for.
	maxServices, maxPorts = 128, 64
	// maxImage and maxState are how much of a text the status has room for.
	maxImage, maxState = 512, 32
)

// refusals are reasons of Observe that say that what is there was not made of the spec.
var refusals = []string{NotOwnedReason, ProjectTakenReason, InvalidReason, WrongServiceReason, SourceMissingReason}

// blindness are reasons of Observe that leave what is there unknown.
var blindness = []string{EnvironmentMissingReason, GitFailedReason}

// Report writes what was seen to the status.
func (k *Kind) Report(s *v1alpha1.DockerStack, seen Seen) []reconcile.Condition {
	if s.Status.Project = seen.project; len(seen.project) > maxProject {
		s.Status.Project = ""
	}
	switch reason := reconcile.ReasonOf(seen.refusal); {
	case seen.job != nil && slices.Contains([]string{DeployingReason, RedeployingReason, RollingBackReason}, seen.job.reason):
		return []reconcile.Condition{deployedNot(seen.job.reason, seen.job.message)}
	case slices.Contains(refusals, reason):
		return []reconcile.Condition{deployedNot(reason, seen.refusal.Error())}
	case slices.Contains(blindness, reason):
		unknown := deployedNot(reason, seen.refusal.Error())
		unknown.Status = metav1.ConditionUnknown
		same := unknown
		same.Type = v1alpha1.HealthyCondition
		return []reconcile.Condition{unknown, same}
	case !seen.known || seen.gone != "":
		return nil
	}
	status := &s.Status
	status.Environment, status.EnvironmentID = seen.place.environment, int32(seen.place.environmentID)
	status.StackID = 0
	if record := seen.outside.record; record != nil {
		status.StackID = int32(record.ID)
	}
	if !s.DeletionTimestamp.IsZero() { // its volumes are destroyed by what was deployed
		status.Services, status.Ready = nil, ""
		return nil
	}
	status.Refused, status.Deployed, status.Commit = "", "", ""
	if r := seen.vault.Refused; r != nil {
		status.Refused = r.Hash
	}
	if good := seen.vault.good; good != nil {
		status.Deployed, status.Commit = good.hash, good.commit
	}
	reportServices(status, &seen)
	k.meters.set(nameOf(s), status.Ready)
	return []reconcile.Condition{deployed(&seen), healthy(&seen)}
}

func deployedNot(reason, message string) reconcile.Condition {
	return reconcile.Condition{Type: v1alpha1.DeployedCondition, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// reportServices writes how each service is.
func reportServices(status *v1alpha1.DockerStackStatus, seen *Seen) {
	status.Services, status.Ready = nil, ""
	if seen.target == nil {
		return
	}
	ready, all := 0, 0
	for _, service := range seen.target.services {
		if service.Containers == 0 {
			continue
		}
		service.Image = seen.target.shown(service.Image)
		entry, well := serviceStatus(service, seen.outside.of(service.Name))
		if all++; well {
			ready++
		}
		if len(status.Services) < maxServices {
			status.Services = append(status.Services, entry)
		}
	}
	status.Ready = fmt.Sprintf("%d/%d", ready, all)
}

// worst orders states from the worst to the best.
var worst = []string{"dead", "removing", "exited", "paused", "created", "restarting", "running"}

// sickest orders healths from the worst to the best.
var sickest = []string{"unhealthy", "starting", "healthy", ""}

// serviceStatus is how a service is, and whether it is as it should be.
func serviceStatus(service compose.Service, there []portainer.Container) (v1alpha1.StackService, bool) {
	out := v1alpha1.StackService{Name: service.Name, Image: clip(service.Image, maxImage)}
	running := 0
	for i, c := range there {
		if runs(c, service) && c.State != "restarting" {
			running++
		}
		if i == 0 || slices.Index(worst, c.State) < slices.Index(worst, out.State) {
			out.State = clip(c.State, maxState)
		}
		if i == 0 || slices.Index(sickest, c.Health) < slices.Index(sickest, out.Health) {
			out.Health = clip(c.Health, maxState)
		}
		if i == 0 {
			out.Digest = c.ImageID
		}
		out.Ports = append(out.Ports, portsOf(c)...)
	}
	out.Containers = fmt.Sprintf("%d/%d", running, service.Containers)
	out.Ports = tidyPorts(out.Ports)
	well := running == service.Containers && len(there) == service.Containers && (out.Health == "" || out.Health == "healthy")
	return out, well
}

// portsOf are the published ports of a container.
func portsOf(c portainer.Container) []v1alpha1.StackPort {
	var all []v1alpha1.StackPort
	for _, p := range c.Ports {
		if p.Published == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, p.Protocol) {
			continue
		}
		port := v1alpha1.StackPort{Target: int32(p.Target), Published: int32(p.Published), Protocol: p.Protocol, Address: p.Address}
		if port.Address == "0.0.0.0" || port.Address == "::" {
			port.Address = ""
		}
		all = append(all, port)
	}
	return all
}

// tidyPorts sorts ports, each once.
func tidyPorts(all []v1alpha1.StackPort) []v1alpha1.StackPort {
	slices.SortFunc(all, func(a, b v1alpha1.StackPort) int {
		return cmp.Or(cmp.Compare(a.Published, b.Published), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Address, b.Address))
	})
	all = slices.Compact(all)
	return all[:min(len(all), maxPorts)]
}

// deployed says whether what runs was made of the present text and values. Its message changes with what runs.
func deployed(seen *Seen) reconcile.Condition {
	switch {
	case seen.isRefused():
		p := seen.refusedProblem()
		return deployedNot(p.reason, p.Error())
	case len(seen.diffs) > 0:
		return deployedNot(seen.diffs[0].reason, said(seen.diffs))
	}
	message := fmt.Sprintf("stack %s (%d) runs %s", seen.name(), seen.outside.record.ID, clip(seen.target.hash, 8))
	if seen.target.commit != "" {
		message += " of commit " + seen.target.commit
	}
	return reconcile.Condition{Type: v1alpha1.DeployedCondition, Status: metav1.ConditionTrue, Reason: DeployedReason, Message: message}
}

// healthy says whether every container runs, and none says that it is not well.
func healthy(seen *Seen) reconcile.Condition {
	out := reconcile.Condition{Type: v1alpha1.HealthyCondition, Status: metav1.ConditionFalse, Reason: NotDeployedReason, Message: "nothing is deployed"}
	if seen.target == nil {
		return out
	}
	var parts []string
	count := 0
	for _, service := range seen.target.services {
		if service.Containers == 0 {
			continue
		}
		entry, well := serviceStatus(service, seen.outside.of(service.Name))
		count++
		if !well {
			parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s: %s %s %s", service.Name, entry.Containers, entry.State, entry.Health)))
		}
	}
	switch ailing := seen.ailments(); {
	case len(parts) == 0:
		out.Status, out.Reason, out.Message = metav1.ConditionTrue, HealthyReason, "all "+strconv.Itoa(count)+" services run"
		return out
	case len(ailing) > 0:
		out.Reason = ailing[0].reason
	case len(seen.outside.containers) > 0:
		out.Reason = ContainerStoppedReason
	}
	out.Message = strings.Join(parts, "; ")
	return out
}
