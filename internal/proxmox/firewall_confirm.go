// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// CheckNewConnection asks for the version over a connection that it makes and
// closes: a firewall lets connections live that it would not let in any more.
// The token bucket and the breakers are passed by, nothing is repeated, and
// the certificate has to be the pinned one. It takes at most 30 s; give the
// context a shorter end, since a firewall that drops says nothing.
func (c *Client) CheckNewConnection(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	kept, ok := c.carrier.base.(*http.Transport)
	if !ok {
		return errors.New("check a new connection: the client's transport makes none")
	}
	fresh := kept.Clone()
	fresh.DisableKeepAlives = true
	defer fresh.CloseIdleConnections()
	carrier := &exchange{base: fresh, prefix: c.carrier.prefix, tokenID: c.carrier.tokenID, secret: c.carrier.secret}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address+"/version", nil)
	if err != nil {
		return fmt.Errorf("check a new connection: %w", err)
	}
	response, err := carrier.RoundTrip(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// FirewallDigestCommand returns the command that prints the digest of every
// firewall file of a site on any of its nodes. Files that are not there are not
// printed.
func FirewallDigestCommand() []string {
	return []string{"sh", "-c", "sha1sum /etc/pve/firewall/*.fw /etc/pve/nodes/*/host.fw 2>/dev/null || true"}
}

var digestLine = regexp.MustCompile(`^([0-9a-f]{40})  (/etc/pve/(?:firewall/[^/]+\.fw|nodes/[^/]+/host\.fw))$`)

// ParseFirewallDigests reads what FirewallDigestCommand prints into digests by
// path. While they are the same, the firewall is. They are digests of files,
// not those that the API's calls take.
func ParseFirewallDigests(stdout []byte) (map[string]string, error) {
	digests := map[string]string{}
	for line := range strings.Lines(string(stdout)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		m := digestLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("read firewall digest: line %.200q is not sha1sum's", line)
		}
		digests[m[2]] = m[1]
	}
	return digests, nil
}
