// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"slices"
	"strings"
)

// Admits returns the server that nginx shows the certificate of to a client that asks for a host: the one that has the
// host itself, else the one with the longest wildcard above it. False: none, so the handshake is refused. Of two servers
// with one name the first has it. For a host with a wildcard it is the server of all names below.
func Admits(servers []Server, host string) (Server, bool) {
	for name := host; ; {
		i := slices.IndexFunc(servers, func(s Server) bool { return slices.Contains(s.Names, name) })
		if i >= 0 {
			return servers[i], true
		}
		_, above, more := strings.Cut(strings.TrimPrefix(name, "*."), ".")
		if !more {
			return Server{}, false
		}
		name = "*." + above
	}
}

// Covers says whether the DNS names of a certificate are good for a host: one of them is the host, or has a wildcard in
// the place of the host's first label. A host with a wildcard needs the same name with the wildcard.
func Covers(names []string, host string) bool {
	_, above, more := strings.Cut(host, ".")
	return slices.ContainsFunc(names, func(name string) bool {
		name = strings.ToLower(name)
		return name == host || more && name == "*."+above
	})
}
