// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package nginx is an nginx 1.22 as Debian 12 has it, in this process: it reads
// a configuration from files that the caller keeps, complains in nginx's words,
// and serves what the configuration says about TLS, names, maps, return, add_header,
// upstreams and files below root. With the stream module it passes connections on
// by the name in their TLS handshake. Its time limits are not kept.
package nginx

// Version that is simulated.
const Version = "1.22.1"
