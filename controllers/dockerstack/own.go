// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/internal/compose"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// outside is what there is of a stack in its environment.
type outside struct {
	// record of the stack; nil: Portainer has none of its name.
	record *portainer.Stack
	// text of the record.
	text string
	// containers of the project, but for those that somebody runs for once.
	containers []portainer.Container
}

// outsideOf picks what is of a project.
func outsideOf(all sight, project string) outside {
	var out outside
	for i := range all.stacks {
		if strings.EqualFold(all.stacks[i].Name, project) {
			out.record = &all.stacks[i]
		}
	}
	for _, c := range all.containers {
		if c.Project == project && !c.OneOff {
			out.containers = append(out.containers, c)
		}
	}
	return out
}

// markInText finds marks in the text of a record.
var markInText = regexp.MustCompile(regexp.QuoteMeta(compose.OwnerLabel) + `["']?\s*[:=]\s*["']?([^\s"']+)`)

// marks are whose the record and the containers say they are, each once. A record whose values were cleared, as other
// clients of Portainer do, is known by its text.
func (o outside) marks() []string {
	var marks []string
	add := func(mark string) {
		if mark != "" && !slices.Contains(marks, mark) {
			marks = append(marks, mark)
		}
	}
	add(o.recordMark())
	for _, c := range o.containers {
		add(c.Labels[compose.OwnerLabel])
	}
	return marks
}

// recordMark is whose the record says it is; empty: nobody's.
func (o outside) recordMark() string {
	if o.record == nil {
		return ""
	}
	for _, v := range o.record.Env {
		if v.Name == markVariable {
			return v.Value
		}
	}
	if found := markInText.FindStringSubmatch(o.text); found != nil {
		return strings.ReplaceAll(found[1], "$$", "$")
	}
	return ""
}

// ours says whether anything of it is ours, and nothing somebody else's.
func (o outside) ours(owner string) bool {
	marks := o.marks()
	return len(marks) == 1 && marks[0] == owner
}

// notOurs says why the project is not touched; nil: it is ours, or nobody's and may be taken, or there is nothing.
func (o outside) notOurs(owner, project string, adopt bool) error {
	for _, mark := range o.marks() {
		if mark != owner {
			return reconcile.Stall(NotOwnedReason, fmt.Errorf("project %s is of %s: make a new DockerStack with another project, or remove it there", project, mark))
		}
	}
	if adopt {
		return nil
	}
	if o.record != nil && !o.ours(owner) {
		return reconcile.Stall(NotOwnedReason, fmt.Errorf(
			"stack %s (%d) is there already and not ours: delete it, or set adoptionPolicy: IfUnowned to have it taken over", project, o.record.ID))
	}
	for _, c := range o.containers { // what runs under our record is ours, whatever was made of its text
		if o.record == nil && c.Labels[compose.OwnerLabel] == "" {
			return reconcile.Stall(NotOwnedReason, fmt.Errorf(
				"container %s-%s-%d of project %s is there already and not ours: remove it, or set adoptionPolicy: IfUnowned to have it taken over",
				c.Project, c.Service, c.Number, project))
		}
	}
	return nil
}

// labelled are the containers that bear our label.
func (o outside) labelled(owner string) []portainer.Container {
	var all []portainer.Container
	for _, c := range o.containers {
		if c.Labels[compose.OwnerLabel] == owner {
			all = append(all, c)
		}
	}
	return all
}
