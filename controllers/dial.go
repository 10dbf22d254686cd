// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"net"
	"time"

	"golang.org/x/net/proxy"
)

// connectTimeout bounds how long a connection may take to come about.
const connectTimeout = 10 * time.Second

// Dial opens a connection, as (*net.Dialer).DialContext does.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// dialFromEnvironment goes through the proxy that ALL_PROXY names, but for what NO_PROXY lists; without one, directly.
func dialFromEnvironment() Dial {
	direct := &net.Dialer{Timeout: connectTimeout}
	if through, ok := proxy.FromEnvironmentUsing(direct).(proxy.ContextDialer); ok {
		return through.DialContext
	}
	return direct.DialContext
}
