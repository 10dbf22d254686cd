// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Address is the lab's own on its network: the gateway, the apt repository, the artifact mirror.
const Address = "10.0.0.1"

// written are files of the root file system.
var written = map[string]string{
	"etc/apt/sources.list":     "deb [trusted=yes] http://" + Address + "/apt ./\n",
	"etc/apt/apt.conf.d/50lab": "Acquire::Languages \"none\";\nAcquire::Retries \"0\";\n",
	"etc/dpkg/dpkg.cfg.d/lab":  "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n",
	"etc/machine-id":           "", // every machine gets its own; a missing one would enable every unit
	"etc/resolv.conf":          "",
	"etc/hostname":             "localhost\n",
	// A machine of the lab has no disk of its own, no clock and no console.
	"etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\nForwardToSyslog=no\n",
}

// masked are units that only cost time, or would reach for what is not the machine's.
var masked = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service", "dev-hugepages.mount", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
	"fstrim.timer", "getty.target", "proc-sys-fs-binfmt_misc.automount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount",
	"sys-kernel-tracing.mount", "systemd-modules-load.service", "systemd-networkd-wait-online.service", "systemd-pstore.service",
	"systemd-remount-fs.service", "systemd-sysctl.service", "systemd-timesyncd.service", "systemd-udevd.service", "systemd-update-utmp.service",
	"systemd-update-utmp-runlevel.service", "modprobe@.service",
}

// removed are files that every machine makes for itself, or that nobody reads.
var removed = []string{
	"etc/ssh/ssh_host_*", "etc/apt/sources.list.d/*", "var/cache/apt/*.bin", "var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "var/log/*.log",
	"usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*",
}

// furnishing is all of it as one text.
func furnishing() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(written)) {
		fmt.Fprintf(&b, "%s=%q\n", name, written[name])
	}
	return b.String() + strings.Join(masked, " ") + strings.Join(removed, " ")
}

// furnish makes a fresh root file system one that fits every machine of the lab.
func furnish(root string) error {
	for _, pattern := range removed {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		for _, name := range names {
			err = errors.Join(err, os.RemoveAll(name))
		}
		if err != nil {
			return err
		}
	}
	for name, text := range written {
		if err := write(filepath.Join(root, name), text); err != nil {
			return err
		}
	}
	for _, unit := range masked {
		err := os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system", unit))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
