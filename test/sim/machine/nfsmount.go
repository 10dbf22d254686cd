// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

// attachNFS mounts a folder of another machine.
func (m *Machine) attachNFS(what, where, kind, options string) string {
	return "mount: " + where + ": bad option; for several filesystems (e.g. nfs, cifs) you might need a /sbin/mount.<type> helper program." + what[:0] + kind[:0] + options[:0]
}
