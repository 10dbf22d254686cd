// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"context"
	"io"
	"net/netip"
)

// Guests stand behind the guests of the site: what is inside of them, and their
// power. The methods are called without any lock of the site; those of one
// guest one after the other. An error of Create, Start or Stop fails the task
// (or the shutdown) that asked, with the error's text.
type Guests interface {
	// Create makes a guest, inside the task of a creation, clone or restore. It
	// is called as well for a guest that is there from the beginning.
	Create(ctx context.Context, g GuestInfo) error
	// Configure tells that the configuration changed, also that of a stopped guest.
	Configure(ctx context.Context, g GuestInfo) error
	// Start starts a guest.
	Start(ctx context.Context, g GuestInfo) error
	// Stop ends a guest; kill pulls the plug.
	Stop(ctx context.Context, vmid int, kill bool) error
	// Destroy removes a guest with everything in it.
	Destroy(ctx context.Context, vmid int) error
	// Exec runs a program as root inside a running guest. The error says that it
	// could not be run at all.
	Exec(ctx context.Context, vmid int, argv []string, stdin io.Reader, stdout, stderr io.Writer) (exit int, err error)
	// Interfaces are a running guest's network interfaces, without loopback.
	Interfaces(ctx context.Context, vmid int) ([]Interface, error)
}

// GuestInfo is a guest as its backend needs to know it.
type GuestInfo struct {
	VMID int
	// Kind: lxc or qemu.
	Kind       string
	Node, Name string
	// Config are the options as the running guest has them.
	Config  map[string]string
	Running bool
}

// Interface is a network interface inside a guest.
type Interface struct {
	Name, MAC string
	Addresses []netip.Prefix
}
