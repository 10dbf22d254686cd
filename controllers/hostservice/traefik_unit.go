// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
)

// unitText is the unit. It is ready when Traefik says so; it reads its folder, and writes nothing.
//
// systemd does not hold the sockets of the entry points for it: Traefik answers 404 to everybody from its first moment until
// it has read its folder, 0.1 to 0.4 s, and who had waited for it would be told that. A connection that is refused can be
// made elsewhere.
func (r router) unitText() string {
	return madeFor(r.s) + `[Unit]
Description=Router of ` + about(r.s) + `
After=network-online.target
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
