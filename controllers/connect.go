// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/x509"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/guest"
	"github.com/phoenix-hypervisor/phoenix/controllers/host"
	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// connectPatience bounds the reading of a Host and its Secrets for a Guest.
const connectPatience = 10 * time.Second

// hostSite is a Host's connections as the kind Host needs them.
type hostSite struct {
	*proxmox.Client
	*site.Site
}

var _ host.Site = hostSite{}

// connections returns those of the named Host. They are made here if they are not there: after a restart, and for a Host
// on its way out whose Guests still need it.
func (h *house) connections(name types.NamespacedName) (*site.Site, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), connectPatience)
	defer cancel()
	var obj v1alpha1.Host
	if err := h.mgr.GetClient().Get(ctx, name, &obj); err != nil {
		return nil, false
	}
	s, err := h.pool.Get(ctx, &obj)
	return s, err == nil
}

// guestSite is a Host's site as the kind Guest needs it.
func (h *house) guestSite(name types.NamespacedName) (guest.Site, bool) {
	s, ok := h.connections(name)
	if !ok {
		return guest.Site{}, false
	}
	return guest.On(s.API()), true
}

// shell is the SSH door of one node.
type shell struct {
	site *site.Site
	node string
}

// Run runs a command as root on the node.
func (s shell) Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error) {
	return s.site.Run(ctx, s.node, argv, stdin)
}

// fetchRoot asks a step-ca for its root with a fingerprint.
func (h *house) fetchRoot(ctx context.Context, url, fingerprint string) (*x509.Certificate, error) {
	return stepca.Root(ctx, h.opts.Dial, url, fingerprint)
}

// firewall is a Host's site as its firewall needs it.
func (h *house) firewall(name types.NamespacedName) (hostservice.FirewallSite, bool) {
	s, ok := h.connections(name)
	if !ok {
		return hostservice.FirewallSite{}, false
	}
	return hostservice.FirewallSite{
		API:    s.API().Client(),
		Guests: s.Guests,
		Shell: func(node string) (hostservice.NodeShell, bool) {
			if !s.HasSSH(node) {
				return nil, false
			}
			return shell{s, node}, true
		},
		CheckNewSSH: s.CheckNewSSH,
	}, true
}

func (h *house) shell(name types.NamespacedName, node string) (guest.Shell, bool) {
	s, ok := h.connections(name)
	if !ok || !s.HasSSH(node) {
		return nil, false
	}
	return shell{s, node}, true
}
