// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package world

import "syscall"

// childOnly makes a child that a terminal's Ctrl-C does not reach, and that ends when its parent is killed.
func childOnly() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
