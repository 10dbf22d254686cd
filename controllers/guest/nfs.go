// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
)

const unitFolder = "/etc/systemd/system/"

// sourceForm is what an NFS client mounts: an address and a directory. Nothing else reaches a unit's file.
var sourceForm = regexp.MustCompile(`^([0-9.]+|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:]+):(/[-A-Za-z0-9._]+)+$`)

// mountUnit is the unit that systemd wants for a mount point: the path's elements with "-" between them.
func mountUnit(path string) string {
	var name strings.Builder
	for i, c := range []byte(strings.Trim(path, "/")) {
		switch {
		case c == '/':
			name.WriteByte('-')
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == ':', c == '_', c == '.' && i > 0:
			name.WriteByte(c)
		default:
			fmt.Fprintf(&name, `\x%02x`, c)
		}
	}
	return name.String() + ".mount"
}

// unitText is the unit of one mount.
func unitText(m v1alpha1.NFSMount, source string) string {
	mode := "rw"
	if deref(m.ReadOnly) {
		mode = "ro"
	}
	return `# Written by Phoenix for nfsMounts of the Guest; a change is put back.
[Unit]
Description=` + m.Path + ` from ` + source + `
After=network-online.target
Wants=network-online.target

[Mount]
What=` + source + `
Where=` + m.Path + `
Type=nfs4
Options=` + mode + `,_netdev
TimeoutSec=30

[Install]
WantedBy=multi-user.target
`
}

// sourceOf is what a unit mounts, for people.
func sourceOf(unit []byte) string {
	for line := range strings.Lines(string(unit)) {
		if what, ok := strings.CutPrefix(line, "What="); ok {
			return strings.TrimSpace(what)
		}
	}
	return ""
}

// mountState is what nfsMounts want of a VM: a client, and one unit a mount that runs and mounts just that.
func mountState(mounts []v1alpha1.NFSMount, sources map[v1alpha1.ExportReference]export) machine.State {
	var want machine.State
	if len(mounts) == 0 {
		return want
	}
	want.Packages = []string{"nfs-common"}
	for _, m := range mounts {
		unit, source := mountUnit(m.Path), sources[m.Export].source
		if !slices.ContainsFunc(mounts, func(above v1alpha1.NFSMount) bool { return strings.HasPrefix(m.Path, above.Path+"/") }) {
			want.Dirs = append(want.Dirs, machine.Dir{Path: m.Path}) // within another export it is systemd that makes it
		}
		want.Files = append(want.Files, machine.File{
			Path: unitFolder + unit, Mode: 0o644, Content: []byte(unitText(m, source)),
			Triggers: []machine.Trigger{{Unit: unit, Action: machine.Restart}},
		})
		want.Units = append(want.Units, machine.Unit{Name: unit, Enabled: true, Running: true})
		want.Probes = append(want.Probes, machine.Probe{
			Name: m.Path, Argv: []string{"findmnt", "-n", "-o", "SOURCE", "--mountpoint", m.Path}, Want: source,
		})
		want.Reads = append(want.Reads, unitFolder+unit)
	}
	return want
}

// nfsMounts refuses what cannot be mounted. A VM is not made before all of it can be had.
func (d *draft) nfsMounts() {
	for _, m := range d.guest.Spec.NFSMounts {
		field := "nfsMounts[" + m.Path + "].export"
		if refused := unmountable(field, m.Export, d.seen.exports[m.Export]); refused != nil {
			d.refuse(refused)
		}
	}
}

// unmountable says why an export cannot be mounted; nil: it can.
func unmountable(field string, ref v1alpha1.ExportReference, e export) *refusal {
	switch {
	case e.missing != "":
		return stall(ExportMissingReason, field, "%s: %s", field, e.missing)
	case e.source == "":
		return fail(ExportMissingReason, field, "%s: HostService/%s does not say how export %s is mounted", field, ref.ServiceRef.Name, ref.Name)
	case !sourceForm.MatchString(e.source):
		return fail(ExportMissingReason, field, "%s: HostService/%s says that export %s is mounted from %q, which is no ADDRESS:DIRECTORY",
			field, ref.ServiceRef.Name, ref.Name, excerpt(e.source))
	}
	return nil
}
