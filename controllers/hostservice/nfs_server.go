// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/nfs"
)

// kernelState adds what the kernel's server needs.
func kernelState(s *v1alpha1.HostService, config nfs.Config, d *design) error {
	content, err := config.Kernel()
	if err != nil {
		return err
	}
	file := "/etc/exports.d/phoenix-" + fileName(s) + ".exports"
	d.triggers = []machine.Trigger{{Unit: kernelUnit, Action: machine.Reload}}
	d.want.Packages = []string{"nfs-kernel-server"}
	d.want.Files = []machine.File{{Path: file, Content: content, Triggers: d.triggers}}
	d.want.Units = []machine.Unit{{Name: kernelUnit, Enabled: true, Running: true}}
	d.want.Reads = []string{"/etc/exports", "/etc/exports.d/*.exports"}
	d.judge = func(contents map[string]string) ([]handLine, []string) {
		return handLines(config.KernelConflicts(contents)), nil
	}
	return nil
}

// ganeshaState adds what Ganesha needs: a main file of our own that has the distribution's in it, and a drop-in that
// starts Ganesha with it.
func ganeshaState(s *v1alpha1.HostService, config nfs.Config, d *design) error {
	folder := "/etc/phoenix/nfs-ganesha/" + fileName(s)
	mainFile, exports := folder+"/ganesha.conf", folder+"/exports.conf"
	content, err := config.Ganesha()
	if err != nil {
		return err
	}
	top, err := nfs.GaneshaMain(config.About, ganeshaConf, exports)
	if err != nil {
		return err
	}
	unit, err := nfs.GaneshaUnit(config.About, mainFile)
	if err != nil {
		return err
	}
	restart := []machine.Trigger{{Unit: ganeshaUnit, Action: machine.Restart}}
	d.triggers = restart
	d.want.Packages = []string{"nfs-ganesha", "nfs-ganesha-vfs"}
	d.want.Files = []machine.File{
		{Path: exports, Content: content, Triggers: []machine.Trigger{{Unit: ganeshaUnit, Action: machine.Reload}}},
		{Path: mainFile, Content: top, Triggers: restart},
		{Path: "/etc/systemd/system/" + ganeshaUnit + ".d/phoenix.conf", Content: unit, Triggers: restart},
	}
	d.want.Units = []machine.Unit{{Name: ganeshaUnit, Enabled: true, Running: true}}
	d.want.Reads = []string{ganeshaConf, "/etc/ganesha/*.conf", exports}
	d.judge = func(contents map[string]string) ([]handLine, []string) {
		files := map[string]string{}
		for path, content := range contents {
			if path == ganeshaConf || included(contents[ganeshaConf], path) {
				files[path] = content
			}
		}
		return handLines(config.GaneshaConflicts(files)), nil
	}
	return nil
}

// included says whether Ganesha's main file of the distribution reads another file.
func included(main, path string) bool {
	for line := range strings.SplitSeq(main, "\n") {
		line, _, _ = strings.Cut(line, "#")
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "%include")
		if ok && strings.HasSuffix("/"+strings.Trim(strings.TrimSpace(name), `"`), path[strings.LastIndex(path, "/"):]) {
			return true
		}
	}
	return false
}

func handLines(conflicts []nfs.Conflict) []handLine {
	var lines []handLine
	for _, f := range conflicts {
		lines = append(lines, handLine{path: f.Path, first: f.Line, last: f.Last, text: f.Text, why: f.Why})
	}
	return lines
}
