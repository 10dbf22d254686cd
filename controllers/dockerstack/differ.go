// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/compose"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// difference is something outside that is not as the release asks for.
type difference struct {
	reason, field, from, to string
	// spoilt are containers that compose would keep as they are: they are removed before.
	spoilt []string
	// frozen are containers that compose starts, or makes anew, once they are stopped.
	frozen []string
}

// changesOf are differences as the plan has them.
func changesOf(all []difference) []reconcile.Change {
	var out []reconcile.Change
	for _, d := range all {
		impact := v1alpha1.ImpactRestart
		if d.reason == NotDeployedReason {
			impact = v1alpha1.ImpactNone
		}
		out = append(out, reconcile.Change{Field: d.field, From: d.from, To: d.to, Impact: impact})
	}
	return out
}

// differences are all that is not as the release asks for; none: it is deployed, and its containers are there.
func (seen *Seen) differences(r *release) []difference {
	all := seen.recordDifferences(r)
	if len(all) == 1 && all[0].reason == NotDeployedReason {
		return all
	}
	for _, service := range r.services {
		all = append(all, seen.serviceDifferences(r, service)...)
	}
	return all
}

// recordDifferences compares what Portainer has on record.
func (seen *Seen) recordDifferences(r *release) []difference {
	record, key := seen.outside.record, seen.vault.key
	if record == nil && len(seen.outside.containers) == 0 {
		return []difference{{reason: NotDeployedReason, field: "compose", to: brief(key, r.text)}}
	}
	if record == nil {
		return []difference{{reason: RecordMissingReason, field: "stackID", to: seen.project}}
	}
	text, values := TextChangedReason, ValuesChangedReason
	if seen.vault.good != nil && seen.vault.good.hash == r.hash { // nobody asked for another one
		text, values = EditedInPortainerReason, EditedInPortainerReason
	}
	var all []difference
	if seen.outside.text != r.text && !compose.Same(seen.outside.text, r.text) {
		all = append(all, difference{reason: text, field: "compose", from: brief(key, seen.outside.text), to: brief(key, r.text)})
	}
	for _, d := range envDifferences(key, record.Env, r.variables(seen.owner)) {
		d.reason = values
		all = append(all, d)
	}
	if !record.Active {
		all = append(all, difference{reason: StoppedInPortainerReason, field: "state", from: "stopped", to: "active"})
	}
	return all
}

// envDifferences compares values, and shows hashes of them.
func envDifferences(key []byte, there, wanted []portainer.Variable) []difference {
	byName := map[string]*difference{}
	note := func(all []portainer.Variable, side func(*difference) *string) {
		for _, v := range all {
			if byName[v.Name] == nil {
				byName[v.Name] = &difference{field: "env[" + v.Name + "]"}
			}
			*side(byName[v.Name]) = digest(key, v.Value)
		}
	}
	note(there, func(d *difference) *string { return &d.from })
	note(wanted, func(d *difference) *string { return &d.to })
	var all []difference
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if d := *byName[name]; d.from != d.to {
			d.from, d.to = clip(d.from, briefLength), clip(d.to, briefLength)
			all = append(all, d)
		}
	}
	return all
}

// serviceDifferences compares the containers of a service.
func (seen *Seen) serviceDifferences(r *release, service compose.Service) []difference {
	there := seen.outside.of(service.Name)
	field := "services[" + service.Name + "]."
	var all []difference
	switch {
	case service.Containers == 0: // those that are there are pruned
		return nil
	case len(there) < service.Containers:
		all = append(all, difference{reason: ContainerMissingReason, field: field + "containers", from: strconv.Itoa(len(there)), to: strconv.Itoa(service.Containers)})
	case len(there) > service.Containers:
		all = append(all, difference{reason: ContainerExtraReason, field: field + "containers", from: strconv.Itoa(len(there)), to: strconv.Itoa(service.Containers)})
	}
	for _, c := range there {
		if !runs(c, service) {
			d := difference{reason: ContainerStoppedReason, field: field + "state", from: stateOf(c), to: "running"}
			switch c.State { // compose cannot start it
			case "paused": // and once it is stopped it can: volumes without a name go on with the container
				d.frozen = []string{c.ID}
			case "dead":
				d.spoilt = []string{c.ID}
			}
			all = append(all, d)
			continue
		}
		all = append(all, seen.madeOf(r, service, c)...)
	}
	return all
}

// madeOf compares what a container was made of.
func (seen *Seen) madeOf(r *release, service compose.Service, c portainer.Container) []difference {
	field := "services[" + service.Name + "]."
	if good := seen.vault.good; good != nil && good.hash == r.hash {
		if made := seen.vault.Made[service.Name]; made != "" && c.ConfigHash != made {
			return []difference{{reason: ContainerChangedReason, field: field + "configHash", from: clip(c.ConfigHash, 12), to: clip(made, 12)}}
		}
	}
	if image, looked := seen.images[service.Image]; looked && image != "" && image != c.ImageID {
		return []difference{{reason: ImageChangedReason, field: field + "image", from: c.ImageID, to: image}}
	}
	if port, ok := lacks(c, service); ok {
		// Compose makes a new container of another text, with the old one's volumes without a name. One of this text it keeps
		// as it is, unless it is stopped: a start publishes the ports again.
		return []difference{{reason: PortsChangedReason, field: field + "ports", from: portsText(c), to: port, frozen: []string{c.ID}}}
	}
	return nil
}

// of are the containers of a service.
func (o outside) of(service string) []portainer.Container {
	var all []portainer.Container
	for _, c := range o.containers {
		if c.Service == service {
			all = append(all, c)
		}
	}
	return all
}

// runs says whether a container is in the state that it should be in. One that compose or the engine is about to start
// again is not stopped.
func runs(c portainer.Container, service compose.Service) bool {
	switch c.State {
	case "running", "restarting":
		return true
	case "exited":
		return service.OneShot && c.ExitCode == 0
	}
	return false
}

func stateOf(c portainer.Container) string {
	if c.State == "exited" {
		return fmt.Sprintf("exited (%d)", c.ExitCode)
	}
	return c.State
}

// lacks names a port of the service that a running container does not publish.
func lacks(c portainer.Container, service compose.Service) (string, bool) {
	if c.State != "running" {
		return "", false
	}
	for _, p := range service.Ports {
		fits := func(there portainer.Port) bool {
			return there.Target == p.Target && there.Protocol == p.Protocol && (p.Address == "" || there.Address == p.Address) &&
				there.Published != 0 && there.Published >= p.Published && (p.Published == 0 || there.Published <= max(p.Published, p.Through))
		}
		if !slices.ContainsFunc(c.Ports, fits) {
			return fmt.Sprintf("%d:%d/%s", p.Published, p.Target, p.Protocol), true
		}
	}
	return "", false
}

// portsText are the published ports of a container, each once.
func portsText(c portainer.Container) string {
	var all []string
	for _, p := range c.Ports {
		if text := fmt.Sprintf("%d:%d/%s", p.Published, p.Target, p.Protocol); p.Published != 0 && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, " ")
}

// suspicious are the images of services whose containers have another name or none of it any more: the engine is asked
// what they are now.
func (seen *Seen) suspicious(r *release) []string {
	var all []string
	for _, service := range r.services {
		for _, c := range seen.outside.of(service.Name) {
			if !sameImage(c.Image, service.Image) && !slices.Contains(all, service.Image) && !seen.memory.images[imageKey(service.Image, c)] {
				all = append(all, service.Image)
			}
		}
	}
	return all
}

// imageKey is what it is remembered by that a container has the image of a name.
func imageKey(image string, c portainer.Container) string {
	return image + " " + c.Image + " " + c.ImageID
}

// sameImage says whether two names are of one image.
func sameImage(a, b string) bool { return a == b || wholeName(a) == wholeName(b) }

// wholeName is a name with registry and tag.
func wholeName(name string) string {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return name
	}
	return named.String()
}

// clip cuts a text of plain characters.
func clip(text string, n int) string { return text[:min(len(text), n)] }
