// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"
	"strconv"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
)

// units are the files of the units. systemd holds the sockets of the entry points and hands them on: who comes while Traefik
// restarts waits a moment, and is not turned away.
func (r router) units() []machine.File {
	web, secure := traefikPorts(r.s.Spec.Traefik)
	return []machine.File{
		r.unit(webSocket, r.socketText(traefik.Web, web), webSocket), r.unit(webSecureSocket, r.socketText(traefik.WebSecure, secure), webSecureSocket),
		r.unit(traefikUnit, r.serviceText()),
	}
}

// unit is a unit's file. A socket that is restarted takes the service with it, which needs it.
func (r router) unit(name, text string, restarts ...string) machine.File {
	f := machine.File{Path: "/etc/systemd/system/" + name, Content: []byte(madeFor(r.s) + text)}
	for _, one := range append(restarts, traefikUnit) {
		f.Triggers = append(f.Triggers, machine.Trigger{Unit: one, Action: machine.Restart})
	}
	return f
}

// socketText is the socket of an entry point. It never gives up: what a Traefik that fails was sent waits for the next one.
func (r router) socketText(entryPoint string, port int) string {
	return `[Unit]
Description=Entry point ` + entryPoint + ` of ` + about(r.s) + `

[Socket]
ListenStream=` + strconv.Itoa(port) + `
BindIPv6Only=both
Backlog=4096
FileDescriptorName=` + entryPoint + `
Service=` + traefikUnit + `
TriggerLimitIntervalSec=0

[Install]
WantedBy=sockets.target
`
}

// serviceText is the service. It reads its folder, and writes nothing.
func (r router) serviceText() string {
	return `[Unit]
Description=Router of ` + about(r.s) + `
Requires=` + webSocket + ` ` + webSecureSocket + `
After=network-online.target ` + webSocket + ` ` + webSecureSocket + `
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
User=` + traefikUser + `
Group=` + traefikUser + `
ExecStart=` + traefikProgram + ` --configFile=` + traefikConf + `
Restart=always
RestartSec=1
TimeoutStartSec=30
TimeoutStopSec=` + fmt.Sprint(traefik.GraceTimeout+10) + `
LimitNOFILE=1048576
UMask=0077
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictSUIDSGID=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
`
}
