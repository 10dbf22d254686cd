// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"crypto/x509"
	"fmt"

	"github.com/phoenix-hypervisor/phoenix/controllers/hostservice"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// stepCA is the authority at a URL, pinned by its roots, as its HostService needs it.
func (h *house) stepCA(url string, roots []*x509.Certificate) (hostservice.Authority, error) {
	c, err := stepca.NewClient(stepca.Options{URL: url, Roots: roots, Dial: h.opts.Dial, Clock: h.opts.Clock})
	if err != nil {
		return nil, fmt.Errorf("reach authority: %w", err)
	}
	return c, nil
}
