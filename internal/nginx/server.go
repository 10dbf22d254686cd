// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"fmt"
	"strings"
	"time"
)

// ciphers of TLS 1.2 are those that Mozilla calls intermediate.
const ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" +
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

// dropped are headers that a router believes the gateway, and so are not taken from clients.
var dropped = []string{
	"Forwarded", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info",
}

// listens are where HTTPS is spoken. With PassThrough, connections come from there by the stream module, which says who
// they are from.
func (c Config) listens(flags string) string {
	if c.PassThrough != nil {
		inner, _ := c.Ports()
		return fmt.Sprintf("\tlisten 127.0.0.1:%d ssl http2 proxy_protocol%s; # passThrough\n\tset_real_ip_from 127.0.0.1; # passThrough\n\treal_ip_header proxy_protocol; # passThrough\n", inner, flags)
	}
	return fmt.Sprintf("\tlisten %d ssl http2%s; # httpsPort\n\tlisten [::]:%d ssl http2%s; # httpsPort\n", c.HTTPSPort, flags, c.HTTPSPort, flags)
}

// server is what every server with a certificate begins with.
func (c Config) server() string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(c.listens("")+protocols, "\t", ""))
	idle := span(c.Proxy.IdleTimeout)
	fmt.Fprintf(&b, `ssl_ciphers %s;
ssl_prefer_server_ciphers off;
ssl_session_cache shared:phoenix:10m;
ssl_session_timeout 1d;
ssl_session_tickets off;
server_tokens off;
client_max_body_size %s; # proxy.maxBodySizeMiB
client_body_timeout %s; # proxy.idleTimeout
send_timeout %s; # proxy.idleTimeout
%sif ($phoenix_router = "") {
	return 499;
}
error_page 497 @nothing;
location @nothing {
	return 499;
}
location / {
	proxy_pass http://$phoenix_router;
	proxy_redirect off;
	proxy_http_version 1.1;
	proxy_set_header Host %s;
	proxy_set_header Upgrade $phoenix_upgrade;
	proxy_set_header Connection $phoenix_connection;
	proxy_set_header X-Forwarded-For $remote_addr;
	proxy_set_header X-Real-Ip $remote_addr;
	proxy_set_header X-Forwarded-Proto https;
	proxy_set_header X-Forwarded-Host %s;
	proxy_set_header X-Forwarded-Port %d;
`, ciphers, c.Proxy.body(), idle, idle, probe, c.authority(), c.authority(), c.HTTPSPort)
	for _, name := range dropped {
		fmt.Fprintf(&b, "\tproxy_set_header %s \"\";\n", name)
	}
	b.WriteString(c.Proxy.lines())
	b.WriteString(c.Headers.lines())
	b.WriteString("}\n")
	return b.String()
}

// body is the largest body of a request as nginx writes it; 0 is any.
func (p Proxy) body() string {
	if p.MaxBodyMiB == 0 {
		return "0"
	}
	return fmt.Sprintf("%dm", p.MaxBodyMiB)
}

// lines say how requests are passed on. What fails because the router closed a connection that it kept is asked again
// over a new one, if it can be; nothing else is ever asked twice, as there is one address.
func (p Proxy) lines() string {
	buffering := "off"
	if p.Buffering {
		buffering = "on"
	}
	idle := span(p.IdleTimeout)
	return fmt.Sprintf(`	proxy_connect_timeout %s; # proxy.connectTimeout
	proxy_read_timeout %s; # proxy.idleTimeout
	proxy_send_timeout %s; # proxy.idleTimeout
	proxy_buffering %s; # proxy.buffering
	proxy_request_buffering %s; # proxy.buffering
	proxy_buffer_size 32k;
	proxy_buffers 8 32k;
	proxy_socket_keepalive on;
	proxy_next_upstream error;
	proxy_ignore_headers X-Accel-Redirect X-Accel-Limit-Rate X-Accel-Charset;
	gzip off;
`, span(p.ConnectTimeout), idle, idle, buffering, buffering)
}

// span is a time as nginx writes it.
func span(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d/time.Millisecond)
}

// added is a header that is added.
type added struct{ name, variable, value, field string }

// list is the headers that are sent.
func (h Headers) list() []added {
	var list []added
	if h.HSTS != nil {
		list = append(list, added{"Strict-Transport-Security", "strict_transport_security", fmt.Sprintf("max-age=%d", *h.HSTS/time.Second), "hsts"})
	}
	if h.Nosniff {
		list = append(list, added{"X-Content-Type-Options", "x_content_type_options", "nosniff", "contentTypeNosniff"})
	}
	if h.FrameOptions != "" {
		list = append(list, added{"X-Frame-Options", "x_frame_options", h.FrameOptions, "frameOptions"})
	}
	if h.ReferrerPolicy != "" {
		list = append(list, added{"Referrer-Policy", "referrer_policy", h.ReferrerPolicy, "referrerPolicy"})
	}
	return list
}

// maps are the headers that are sent, empty where the backend sent its own: an empty one is not added.
func (h Headers) maps() string {
	var b strings.Builder
	for i, a := range h.list() {
		if i == 0 {
			b.WriteString("\n# Headers that an answer has already are left alone.\n")
		}
		fmt.Fprintf(&b, "map $upstream_http_%s $phoenix_%s {\n\tdefault \"\";\n\t\"\" %s; # securityHeaders.%s\n}\n", a.variable, a.variable, a.value, a.field)
	}
	return b.String()
}

func (h Headers) lines() string {
	var b strings.Builder
	for _, a := range h.list() {
		fmt.Fprintf(&b, "\tadd_header %s $phoenix_%s always; # securityHeaders.%s\n", a.name, a.variable, a.field)
	}
	return b.String()
}
