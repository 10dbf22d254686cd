// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// forwardedHeaders are those by which proxies tell who the client is.
var forwardedHeaders = []string{
	"X-Forwarded-Proto", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Method",
	"X-Forwarded-Prefix", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info", "X-Real-Ip",
}

// trustedSources are believed what they say of the client.
type trustedSources struct {
	all        bool
	list       *ipList
	connection []string
}

func newTrust(conf *trust) (trustedSources, error) {
	t := trustedSources{all: conf.Insecure}
	for _, name := range conf.Connection {
		t.connection = append(t.connection, http.CanonicalHeaderKey(name))
	}
	if len(conf.TrustedIPs) == 0 {
		return t, nil
	}
	var err error
	t.list, err = newIPList(conf.TrustedIPs)
	return t, err
}

// rewrite makes a request's headers say who the client is.
func (t trustedSources) rewrite(r *http.Request, hostname string) {
	client := hostOf(r.RemoteAddr)
	if !t.all && (t.list == nil || !t.list.contains(client)) {
		for _, name := range forwardedHeaders {
			delete(r.Header, name)
		}
	}
	unset := func(name, value string) {
		if r.Header.Get(name) == "" {
			r.Header[name] = []string{value}
		}
	}
	plain, _, _ := strings.Cut(client, "%")
	unset("X-Real-Ip", plain)
	scheme := "http"
	if websocket(r) {
		scheme = "ws"
	}
	if r.TLS != nil {
		scheme += "s"
	}
	unset("X-Forwarded-Proto", scheme)
	unset("X-Forwarded-Port", forwardedPort(r))
	if r.Host != "" {
		unset("X-Forwarded-Host", r.Host)
	}
	if all := r.Header["X-Forwarded-For"]; len(all) > 0 {
		r.Header["X-Forwarded-For"] = []string{strings.Join(all, ", ")}
	}
	if hostname != "" {
		r.Header["X-Forwarded-Server"] = []string{hostname}
	}
	t.dropConnection(r)
}

// dropConnection takes away what the headers of the connection name.
func (t trustedSources) dropConnection(r *http.Request) {
	upgrade := ""
	if hasToken(r.Header, "Connection", "upgrade") {
		upgrade = r.Header.Get("Upgrade")
	}
	var kept []string
	for _, line := range r.Header["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			key := http.CanonicalHeaderKey(textproto.TrimString(name))
			switch {
			case key == "", slices.Contains(forwardedHeaders, key):
			case slices.Contains(t.connection, key):
				kept = append(kept, key)
			default:
				delete(r.Header, key)
			}
		}
	}
	if upgrade != "" {
		kept = append(kept, "Upgrade")
		r.Header["Upgrade"] = []string{upgrade}
	}
	delete(r.Header, "Connection")
	if len(kept) > 0 {
		r.Header["Connection"] = []string{strings.Join(kept, ",")}
	}
}

func forwardedPort(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil && port != "" {
		return port
	}
	if proto := r.Header.Get("X-Forwarded-Proto"); proto == "https" || proto == "wss" || r.TLS != nil {
		return "443"
	}
	return "80"
}

func websocket(r *http.Request) bool {
	return hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

func hasToken(h http.Header, name, token string) bool {
	for _, line := range h[name] {
		for one := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}

// ipList is a list of addresses and networks.
type ipList struct {
	addresses []net.IP
	networks  []*net.IPNet
}

func newIPList(texts []string) (*ipList, error) {
	if len(texts) == 0 {
		return nil, errors.New("no trusted IPs provided")
	}
	list := &ipList{}
	for _, text := range texts {
		if address := net.ParseIP(text); address != nil {
			list.addresses = append(list.addresses, address)
			continue
		}
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return nil, fmt.Errorf("parsing CIDR trusted IPs %s: %w", network, err)
		}
		list.networks = append(list.networks, network)
	}
	return list, nil
}

func (l *ipList) contains(text string) bool {
	address := net.ParseIP(text)
	return address != nil && (slices.ContainsFunc(l.addresses, address.Equal) ||
		slices.ContainsFunc(l.networks, func(n *net.IPNet) bool { return n.Contains(address) }))
}

// remoteIP is the address from which a request came.
func remoteIP(r *http.Request) string { return hostOf(r.RemoteAddr) }
