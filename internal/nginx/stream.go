// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"fmt"
	"strings"
)

// portStep is how far the ports of loopback are from the one that clients come to.
const portStep = 10000

// Ports are those of loopback to which PassThrough passes connections on: what ends its TLS here, and what goes on to a
// router. They follow from HTTPSPort.
func (c Config) Ports() (inner, through int) {
	if step := c.HTTPSPort + 2*portStep; step > 65535 {
		return c.HTTPSPort - portStep, c.HTTPSPort - 2*portStep
	}
	return c.HTTPSPort + portStep, c.HTTPSPort + 2*portStep
}

// stream passes connections on by the name that they ask for before TLS begins; nil without PassThrough. A name that
// nobody may have goes where names are known: it gets what every unknown name gets. A server of its own passes TCP Routes
// on, as a time to wait is one for a server, and websockets may be idle for longer.
func (c Config) stream() []byte {
	if c.PassThrough == nil {
		return nil
	}
	inner, through := c.Ports()
	var b strings.Builder
	b.WriteString(c.head())
	b.WriteString("stream {\n")
	b.WriteString(strings.TrimPrefix(c.hosts("$ssl_preread_server_name", streamSuffix, "\t"), "\n"))
	fmt.Fprintf(&b, "\t# What the machine asks itself is not passed on.\n\tgeo $phoenix_self {\n\t\tdefault 0;\n\t\t%s 1;\n\t}\n", c.Self)
	fmt.Fprintf(&b, "\tmap \"$phoenix_self $phoenix_router\" $phoenix_side {\n\t\tdefault 127.0.0.1:%d;\n\t\t\"~^(1 .*|0 )$\" 127.0.0.1:%d;\n\t}\n", through, inner)
	for _, u := range c.Upstreams {
		fmt.Fprintf(&b, "\tupstream %s {\n\t\tserver %s; # HostService/%s\n\t}\n", upstream(u.Router), u.at(u.SecurePort), u.Router)
	}
	fmt.Fprintf(&b, `
	server {
		listen %d; # httpsPort
		listen [::]:%d; # httpsPort
		ssl_preread on;
		proxy_pass $phoenix_side;
		proxy_protocol on;
		proxy_connect_timeout 5s;
		proxy_timeout %s; # proxy.idleTimeout
		proxy_socket_keepalive on;
	}
	server {
		listen 127.0.0.1:%d proxy_protocol; # passThrough
		set_real_ip_from 127.0.0.1;
		ssl_preread on;
		proxy_pass $phoenix_router;
		proxy_protocol on;
		proxy_connect_timeout %s; # proxy.connectTimeout
		proxy_timeout %s; # passThrough.idleTimeout
		proxy_socket_keepalive on;
	}
}
`, c.HTTPSPort, c.HTTPSPort, span(max(c.Proxy.IdleTimeout, c.PassThrough.IdleTimeout)), through, span(c.Proxy.ConnectTimeout), span(c.PassThrough.IdleTimeout))
	return []byte(b.String())
}
