// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// visits are the lines that ask for each Route that everybody may come to, from outside of the site: with the roots of its
// authorities, which are written to a file.
func visits(ctx context.Context, w *world.World, outsider string) (string, error) {
	var routes v1alpha1.RouteList
	if err := w.Client.List(ctx, &routes, client.InNamespace(world.Namespace)); err != nil {
		return "", fmt.Errorf("list Routes: %w", err)
	}
	roots, err := writeRoots(ctx, w)
	if err != nil {
		return "", err
	}
	way := ""
	if w.Proxy != "" {
		way = "--proxy socks5h://" + w.Proxy + " "
	}
	var lines []string
	for _, r := range routes.Items {
		at, err := url.Parse(r.Status.URL)
		if err != nil || at.Host == "" || r.Status.GatewayAddress == "" || r.Spec.Expose != v1alpha1.ExposeExternal {
			continue
		}
		lines = append(lines, fmt.Sprintf("  %scurl %s--cacert %s --connect-to %s:443:%s:443 %s\n", outsider, way, roots, at.Host, r.Status.GatewayAddress, at))
	}
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}

// writeRoots writes what clients of the site trust.
func writeRoots(ctx context.Context, w *world.World) (path string, err error) {
	var services v1alpha1.HostServiceList
	if err := w.Client.List(ctx, &services, client.InNamespace(world.Namespace)); err != nil {
		return "", fmt.Errorf("list HostServices: %w", err)
	}
	var text strings.Builder
	for _, s := range services.Items {
		if s.Status.StepCA != nil {
			text.WriteString(s.Status.StepCA.CABundle)
		}
	}
	if path, err = filepath.Abs(filepath.Join(filepath.Dir(w.Kubeconfig), "roots.pem")); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text.String()), 0o644) // roots are for everybody
}
