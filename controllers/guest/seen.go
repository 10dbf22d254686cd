// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// presence says whether the guest is there.
type presence int

const (
	unknown presence = iota // nothing was looked at
	absent
	present
)

// Seen is what one observation of a guest found.
type Seen struct {
	presence presence
	host     facts
	owner    owner
	now      time.Time

	// Of a guest that is there:
	ref      proxmox.Ref
	template bool
	// marked says that the line in the notes is right; else the guest is ours by other evidence, or about to be adopted.
	marked     bool
	mark       mark
	config     proxmox.Config
	pending    []proxmox.PendingChange
	status     proxmox.Status
	interfaces []proxmox.Interface
	// silent says that the guest agent does not answer.
	silent bool
	// doubt says why nothing may be made or destroyed now.
	doubt string

	// Of a guest that is not there:
	list proxmox.Snapshot // that it is not in
	// Of one that is to be made:
	vmid   int // chosen or given
	node   string
	source *proxmox.Resource // the template to clone
	// snippets is where the snippet of a VM goes that was never started; nil: it does without.
	snippets *proxmox.SnippetStorage

	// exports are those that the spec refers to.
	exports map[v1alpha1.ExportReference]export
	// mounts are what was seen in a VM with nfsMounts; nil: it was not looked at.
	mounts *mounts
	// trust is what was seen of the authorities that the guest trusts; nil: it was not looked at.
	trust *roots
	// keys are the SSH keys of the Secret.
	keys []string
	// refusals are what the spec asks for and cannot be had, found while observing.
	refusals []refusal
	// hasShell says that root commands can be run on the guest's node.
	hasShell bool
	// failed is what became of the last task, when it failed.
	failed error
	// restarted says that the last task was a restart, and succeeded.
	restarted bool
	// vain says that what waits for a restart outlasted one.
	vain bool

	site  Site
	shell Shell
}

// facts are what a Host's spec and status say for its Guests.
type facts struct {
	name     string
	defaults v1alpha1.HostDefaults
	nodes    []string // as observed, sorted
	// bindPaths are the directories that may be bound, with all that is below them.
	bindPaths []string
	// exportPaths are the directories that may be exported, with all that is below them.
	exportPaths []string
	// controlPlane is the name of the Guest that is never stopped or destroyed.
	controlPlane string
}

func factsOf(h *v1alpha1.Host) facts {
	f := facts{name: h.Name, defaults: deref(h.Spec.Defaults)}
	if h.Spec.Allow != nil {
		f.bindPaths, f.exportPaths = h.Spec.Allow.BindMountPaths, h.Spec.Allow.ExportPaths
	}
	if h.Spec.ControlPlaneGuest != nil {
		f.controlPlane = h.Spec.ControlPlaneGuest.Name
	}
	for _, n := range h.Status.Nodes {
		f.nodes = append(f.nodes, n.Name)
	}
	return f
}

// ownerOf is whose mark a Guest's guest bears.
func ownerOf(h *v1alpha1.Host, g *v1alpha1.Guest) owner {
	id := h.Spec.OwnerID
	if id == "" {
		id = h.Namespace + "/" + h.Name
	}
	return owner{id: id, guest: g.Namespace + "/" + g.Name}
}

// hostname that the guest is given when it is made.
func hostname(g *v1alpha1.Guest) string {
	if g.Spec.Hostname != "" {
		return g.Spec.Hostname
	}
	return g.Name
}

// destroysVolumes says whether volumes that the spec dropped are destroyed.
func destroysVolumes(g *v1alpha1.Guest) bool { return g.Spec.DeletionPolicy == v1alpha1.DeletionDelete }
