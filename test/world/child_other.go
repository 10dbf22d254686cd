// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package world

import "syscall"

// childOnly makes a child that a terminal's Ctrl-C does not reach.
func childOnly() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
