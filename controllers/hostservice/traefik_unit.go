// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
)

// unitText is the unit. It is ready when Traefik says so; it reads its folder, and writes nothing.
//
// Traefik refuses connections while it restarts, and answers 404 to everybody from its first moment until it has read its
// folder, 0.1 to 0.4 s. So the kernel lets new connections to the entry points wait from the moment at which Traefik is told
// to end until it serves: who comes meanwhile asks again after one second, and after three. That systemd held the sockets
// would not do: who waited would get the 404. What lets them wait ends by itself after 10 s, and where it cannot be had, as
// in a container without nftables, Traefik restarts without it.
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
ExecStartPost=-/bin/sh -c 'i=0; until curl --silent --fail --output /dev/null --noproxy "*" --max-time 1 ` + r.apiURL() + ` || [ $$i -ge 40 ]; do i=$$((i+1)); sleep 0.05; done'
ExecStartPost=-+/usr/sbin/nft delete table inet ` + holdTable + `
ExecStop=-+/usr/sbin/nft -f ` + traefikHold + `
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

// apiURL answers once Traefik has read its folder.
func (r router) apiURL() string {
	return fmt.Sprintf("http://127.0.0.1:%d/api/version", cmp.Or(r.s.Spec.Traefik.APIPort, defaultAPI))
}

// hold has the kernel drop the first packet of new connections to the entry points, for 10 s at most.
func (r router) hold() []byte {
	web, secure := traefikPorts(r.s.Spec.Traefik)
	return []byte(fmt.Sprintf(`# %[1]s
# Made by Phoenix: what is changed here by hand is put back.
table inet %[2]s
delete table inet %[2]s
table inet %[2]s {
	set held { type inet_service; timeout 10s; elements = { %[3]d, %[4]d }; }
	chain input {
		type filter hook input priority -10; policy accept;
		iif != "lo" tcp dport @held tcp flags & (syn | ack) == syn drop
	}
}
`, about(r.s), holdTable, web, secure))
}
