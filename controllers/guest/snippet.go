// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// snippetText has cloud-init install and start the guest agent at the first boot, by which the VM can then be reached. It is
// the same for every VM and holds no key: the VM's SSH host keys are read through the agent.
const snippetText = `#cloud-config
# Placed by Phoenix: the VM can be reached through its guest agent from its first boot on.
package_update: true
packages: [qemu-guest-agent]
runcmd:
  - systemctl enable --now qemu-guest-agent || systemctl start qemu-guest-agent
`

// ownSnippet is a cicustom that names a snippet of ours, of this VM or of the template that it was cloned from.
var ownSnippet = regexp.MustCompile(`^vendor=([^:,]+):snippets/(phoenix-[0-9]+\.yaml)$`)

func snippetFile(vmid int) string { return fmt.Sprintf("phoenix-%d.yaml", vmid) }

// wantsSnippet says that a VM is to be reachable from its birth: it has cloud-init, and an agent is expected in it.
func wantsSnippet(g *v1alpha1.Guest) bool {
	return g.Spec.Type == v1alpha1.GuestVM && g.Spec.CloudInit != nil && deref(g.Spec.Agent)
}

// readSnippets looks for a place for the snippet of a VM that is being made and was never started. What has no SSH or no
// such storage does without: then the agent has to come with the template.
func (k *Kind) readSnippets(ctx context.Context, g *v1alpha1.Guest, seen *Seen) error {
	node := seen.ref.Node
	switch {
	case !wantsSnippet(g) || !g.DeletionTimestamp.IsZero():
		return nil
	case seen.presence == absent && seen.node != "" && g.Spec.Source == nil: // a clone is asked for when it is there
		node = seen.node
		seen.shell, seen.hasShell = k.Shell(types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.HostRef.Name}, node)
	case seen.presence != present || seen.mark.stage != stageClone:
		return nil
	}
	if !seen.hasShell {
		return nil
	}
	storages, err := seen.site.Reader.SnippetStorages(ctx)
	if err != nil {
		return fmt.Errorf("list storages: %w", failure(err))
	}
	seen.snippets = chooseSnippets(storages, node, len(seen.host.nodes) > 1)
	return nil
}

// chooseSnippets takes the first storage of a node; where a VM may move, one that the other nodes see too goes before.
func chooseSnippets(storages []proxmox.SnippetStorage, node string, mayMove bool) *proxmox.SnippetStorage {
	var chosen *proxmox.SnippetStorage
	for _, s := range storages {
		if s.On(node) && (chosen == nil || mayMove && s.Shared && !chosen.Shared) {
			chosen = &s
		}
	}
	return chosen
}

// vendor names the snippet in the configuration of a VM that is being made. One that came with the template goes with the
// template; what somebody else put there is left alone.
func (d *draft) vendor() {
	now, there := d.now["cicustom"]
	if there && !ownSnippet.MatchString(now) || !d.making {
		return
	}
	if d.seen.snippets == nil {
		if there && d.snippetOf(now) == "" {
			d.api.remove("cicustom", change("cloudInit", now, "", v1alpha1.ImpactNone))
		}
		return
	}
	if value := "vendor=" + d.seen.snippets.Volume(snippetFile(d.vmid())); now != value {
		d.api.put("cicustom", value, change("cloudInit", now, value, v1alpha1.ImpactNone))
	}
}

// vmid of the guest, or the one that it will have.
func (d *draft) vmid() int {
	if d.seen.presence == absent {
		return d.seen.vmid
	}
	return d.seen.ref.VMID
}

// silence says what is the matter with an agent that does not answer.
func (s Seen) silence(g *v1alpha1.Guest) string {
	const what = "the guest agent does not answer"
	switch {
	case ownSnippet.MatchString(s.config.Values["cicustom"]):
		return what + ": the VM installs it at its first boot, for which it needs its package sources; see its console"
	case wantsSnippet(g):
		return what + ": install qemu-guest-agent in the VM or in its template, or have its node reached by SSH and give it a storage with " +
			"content snippets before the VM is made, so that the VM installs it itself"
	}
	return what + ": install qemu-guest-agent in the VM or in its template"
}

// snippetOf is the storage of this VM's own snippet that a cicustom names; empty: it names none.
func (d *draft) snippetOf(cicustom string) string {
	m := ownSnippet.FindStringSubmatch(cicustom)
	if m == nil || m[2] != snippetFile(d.vmid()) {
		return ""
	}
	return m[1]
}

// withSnippet places the VM's snippet before a step that names it.
func (d *draft) withSnippet(s reconcile.Step, cicustom string) reconcile.Step {
	return d.beside(s, cicustom, "place", placeScript)
}

// startable places the VM's snippet before a start, which would fail without the file after a move to another node. As a
// rule it is there: a node that SSH does not reach keeps no VM from its start.
func (d *draft) startable(s reconcile.Step) reconcile.Step {
	return d.tried(s, d.withSnippet(reconcile.Step{}, d.now["cicustom"]))
}

// withoutSnippet takes the VM's snippet away before a step that destroys the VM. A node that SSH does not reach keeps no VM
// from its end: what stays is the same for every VM, and goes with the next one of this VMID.
func (d *draft) withoutSnippet(s reconcile.Step) reconcile.Step {
	return d.tried(s, d.beside(reconcile.Step{}, d.now["cicustom"], "remove", removeScript))
}

// tried takes another step before a step, however it ends.
func (d *draft) tried(s, first reconcile.Step) reconcile.Step {
	if first.Do == nil {
		return s
	}
	do := s.Do
	s.Do = func(ctx context.Context) error {
		limited, cancel := context.WithTimeout(ctx, rootTimeout)
		_ = first.Do(limited) // the step itself says what it lacks
		cancel()
		return do(ctx)
	}
	return s
}

const (
	placeScript = `set -eu
umask 077
mkdir -p -- "$folder"
cat >"$folder/.$file.new" <<'END_OF_SNIPPET'
` + snippetText + `END_OF_SNIPPET
mv -f -- "$folder/.$file.new" "$folder/$file"`
	removeScript = `rm -f -- "$folder/$file" "$folder/.$file.new"`
)

// beside runs a script for the VM's own snippet on the VM's node before a step, which may do nothing itself. Without SSH,
// the step is taken alone.
func (d *draft) beside(s reconcile.Step, cicustom, verb, script string) reconcile.Step {
	storage, seen, do := d.snippetOf(cicustom), d.seen, s.Do
	if storage == "" || !seen.hasShell {
		return s
	}
	s.Do = func(ctx context.Context) error {
		storages, err := seen.site.Reader.SnippetStorages(ctx)
		if err != nil {
			return fmt.Errorf("list storages: %w", failure(err))
		}
		for _, at := range storages {
			if at.Name != storage {
				continue
			}
			if err := runSnippet(ctx, seen.shell, at.Folder, snippetFile(d.vmid()), script); err != nil {
				return fmt.Errorf("%s snippet %s: %w", verb, at.Volume(snippetFile(d.vmid())), err)
			}
		}
		if do == nil {
			return nil
		}
		return do(ctx)
	}
	return s
}

// runSnippet runs a script for a file in a folder of the node.
func runSnippet(ctx context.Context, shell Shell, folder, file, script string) error {
	quoted, err := machine.Quote([]string{folder})
	if err != nil {
		return err
	}
	result, err := machine.New(shell, machine.Options{}).Script(ctx, fmt.Sprintf("folder=%s file=%s\n%s", quoted, file, script))
	switch {
	case machine.IsAway(err):
		return reconcile.Wait(MachineAwayReason, later, err)
	case err != nil:
		return err
	case result.ExitCode != 0:
		return fmt.Errorf("exit %d: %s", result.ExitCode, excerpt(strings.TrimSpace(string(result.Stderr))))
	}
	return nil
}
