// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package lab is a Proxmox VE site whose machines are real: the site's API is the simulator's, but its host and every guest
// that it makes are LXC containers with systemd, on a bridge with the addresses of the reference site. It needs root on
// Debian, and what "make lab-deps" makes.
//
// A process that wants a lab begins with Main: everything runs in network, mount and process namespaces of its own, so that
// nothing of it is left once the process has ended, however it ended.
package lab
