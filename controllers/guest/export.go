// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// export is an export of an nfs HostService as a Guest meets it.
type export struct {
	path string // the exported directory
	host string // the Host on whose node it is; empty: it is in a guest
	node string // of the Host; empty: the service does not say
	// source is what an NFS client mounts; empty: the service does not say yet.
	source string
	// missing says why there is no such export; empty: there is one.
	missing string
}

// exportsOf are the exports that a spec refers to, each once.
func exportsOf(s *v1alpha1.GuestSpec) []v1alpha1.ExportReference {
	var refs []v1alpha1.ExportReference
	for _, m := range s.MountPoints {
		if m.Export != nil && !slices.Contains(refs, *m.Export) {
			refs = append(refs, *m.Export)
		}
	}
	for _, m := range s.NFSMounts {
		if !slices.Contains(refs, m.Export) {
			refs = append(refs, m.Export)
		}
	}
	return refs
}

// exportRefs are the nfs HostServices that the Guest waits for. None of them waits for the Guest.
func exportRefs(s *v1alpha1.GuestSpec) []reconcile.Ref {
	var refs []reconcile.Ref
	for _, e := range exportsOf(s) {
		ref := reconcile.Hard("HostService", e.ServiceRef.Name, v1alpha1.ExportedCondition)
		if !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// readExports reads the exports that the spec refers to.
func (k *Kind) readExports(ctx context.Context, g *v1alpha1.Guest, host *v1alpha1.Host, seen *Seen) error {
	refs := exportsOf(&g.Spec)
	if len(refs) == 0 || !g.DeletionTimestamp.IsZero() {
		return nil
	}
	seen.exports = make(map[v1alpha1.ExportReference]export, len(refs))
	for _, ref := range refs {
		var service v1alpha1.HostService
		if err := k.get(ctx, g, ref.ServiceRef.Name, &service); err != nil {
			return fmt.Errorf("read HostService/%s: %w", ref.ServiceRef.Name, err)
		}
		seen.exports[ref] = exportOf(&service, ref.Name, host)
	}
	return nil
}

// exportOf finds an export by its name.
func exportOf(s *v1alpha1.HostService, name string, host *v1alpha1.Host) export {
	if s.Spec.NFS == nil {
		return export{missing: fmt.Sprintf("HostService/%s is no nfs service: name one", s.Name)}
	}
	var names []string
	for _, e := range s.Spec.NFS.Exports {
		if e.Name != name {
			names = append(names, e.Name)
			continue
		}
		found := export{path: e.Path, node: s.Spec.Node}
		if s.Spec.HostRef != nil {
			found.host = s.Spec.HostRef.Name
		}
		if ssh := host.Spec.SSH; found.node == "" && found.host == host.Name && ssh != nil && len(ssh.Nodes) == 1 {
			found.node = ssh.Nodes[0].Name
		}
		if i := slices.IndexFunc(s.Status.Exports, func(e v1alpha1.ExportStatus) bool { return e.Name == name }); i >= 0 {
			found.source = s.Status.Exports[i].Source
		}
		return found
	}
	return export{missing: fmt.Sprintf("HostService/%s has no export %s, only %s: correct the name, or declare it there",
		s.Name, name, strings.Join(names, ", "))}
}

// exported is the directory of the container's node that an export is.
func (d *draft) exported(field string, want v1alpha1.MountPoint) (string, *refusal) {
	e, service := d.seen.exports[*want.Export], "HostService/"+want.Export.ServiceRef.Name
	node := d.seen.ref.Node
	if d.seen.presence == absent {
		node = d.seen.node
	}
	switch {
	case e.missing != "":
		return "", stall(ExportMissingReason, field, "%s: %s", field, e.missing)
	case e.host == "":
		return "", stall(ExportElsewhereReason, field,
			"%s: %s runs in a guest, and a container mounts directories of its own node alone: name a service with hostRef %s, or use a VM with nfsMounts",
			field, service, d.seen.host.name)
	case e.host != d.seen.host.name:
		return "", stall(ExportElsewhereReason, field,
			"%s: %s is on Host/%s, the container is on Host/%s: name a service with that hostRef, or use a VM with nfsMounts",
			field, service, e.host, d.seen.host.name)
	case e.node != node:
		return "", stall(ExportElsewhereReason, field,
			"%s: %s is on node %s, the container is on %s: name a service with that node, move the container, or use a VM with nfsMounts",
			field, service, e.node, node)
	case !below(e.path, d.seen.host.exportPaths):
		return e.path, stall(PathNotAllowedReason, field, "Host/%s does not allow to export %s: add it to allow.exportPaths of the Host%s",
			d.seen.host.name, e.path, orBelow(d.seen.host.exportPaths))
	}
	return e.path, nil
}
