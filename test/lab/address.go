// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

// The addresses of the lab, beside those that the site's guests are given.
const (
	// Gateway is where the control plane and the manager run, and every machine's way out. The apt repository and the artifact
	// mirror stand there.
	Gateway = "10.0.0.1"
	// HostAddress is the Proxmox VE host's.
	HostAddress = "10.0.0.13"
	// ClientAddress is that of the one outside.
	ClientAddress = "198.51.100.2"

	clientGateway = "198.51.100.1"
	clientNetwork = "/run/netns/client"
)
