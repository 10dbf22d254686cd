// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package pve simulates a Proxmox VE site: one node or a cluster, behind an
// HTTPS server that any Proxmox client can talk to and an SSH door to each
// node. It has memory, tasks that take time, locks, pending configuration,
// permissions and faults; it imports nothing of the project, so that what is
// tested against it is proven against something else than itself.
//
// What it answers is what Proxmox VE 9.2 was measured to answer. Requests are
// checked against schema.table, which schemagen makes from the API's own
// schema (go generate, with PVE_SCHEMA naming the schema's file); the property
// strings (net0, rootfs, scsi0 ...) are in formats.go.
package pve

//go:generate go run ./schemagen $PVE_SCHEMA schema.table
