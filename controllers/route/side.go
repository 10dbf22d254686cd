// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/nginx"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// routerPath is below the folder that Traefik watches, and itself is not watched: see routerFolder.
	routerPath   = routerBeside + "/dynamic/routes"
	routerBeside = "/etc/traefik"
	routerGroup  = "traefik"
	routerSuffix = ".yml"
	// maxPrefixName is how much of a Route's name its files bear.
	maxPrefixName = 120
)

// The ports where a gateway and a router listen, unless their specs say otherwise.
const (
	defaultHTTP       = 80
	defaultHTTPS      = 443
	defaultWeb        = 80
	defaultWebSecure  = 443
	defaultAPI        = 8080
	defaultPortainer  = 9443
	defaultAuthority  = 443
	defaultPlainPort  = 80
	defaultSecurePort = 443
)

// side is a service through which a Route goes, its gateway or its router, and the folder in which it has its files.
type side struct {
	service *v1alpha1.HostService
	guest   *v1alpha1.Guest
	host    *v1alpha1.Host
	machine *machine.Machine
	options machine.FolderOptions
	// prefix of the Route's files.
	prefix string
}

// String names the service.
func (s *side) String() string { return "HostService/" + s.service.Name }

// address is where the service is reached; empty: it is not known yet.
func (s *side) address() string { return addressOf(s.guest) }

// key names the folder among all.
func (s *side) key() string { return s.guest.Namespace + "/" + s.guest.Name + ":" + s.options.Path }

func (s *side) folder() *machine.Folder { return s.machine.Folder(s.options) }

// gatewayFolder is where a gateway has the files of Routes. Keys are among them. It hears of changes when they are right.
func gatewayFolder(s *v1alpha1.HostService) machine.FolderOptions {
	return machine.FolderOptions{
		Path: nginx.RoutesFolder(s.Name), Owner: "root", Group: "root", Mode: 0o600,
		Check: []string{"nginx", "-t"}, Refresh: []string{"systemctl", "reload", "nginx.service"},
	}
}

// routerFolder is where a router has them. For every file that changes in the folder that it watches, Traefik reads all files
// of all folders below; so it hears once of all of them instead, by a change of the folder that they are in.
func routerFolder(*v1alpha1.HostService) machine.FolderOptions {
	return machine.FolderOptions{
		Path: routerPath, Beside: routerBeside, Owner: "root", Group: routerGroup, Mode: fs.FileMode(0o640), Refresh: []string{"touch", routerPath},
	}
}

// prefixOf is what the names of a Route's files on the machines of a Host begin with: it says whose they are.
func prefixOf(r *v1alpha1.Route, h *v1alpha1.Host) string {
	sum := sha256.Sum256([]byte(markOf(r, h)))
	name := r.Name[:min(len(r.Name), maxPrefixName)]
	return hex.EncodeToString(sum[:])[:12] + "-" + strings.TrimRight(name, "-.")
}

// markOf is in whose name the machines of a Host are changed for a Route.
func markOf(r *v1alpha1.Route, h *v1alpha1.Host) string {
	return ownerID(h) + "/Route/" + r.Namespace + "/" + r.Name
}

// errGone says that a side is not there any more, and took all with it.
var errGone = errors.New("it is gone")

// sideOf reads a service with its machine; options says where it has the files. The error is errGone when the service is not
// there any more, nor is its machine, or that is being destroyed.
func (k *Kind) sideOf(ctx context.Context, r *v1alpha1.Route, from *reader, name string, options func(*v1alpha1.HostService) machine.FolderOptions) (*side, error) {
	s := &side{}
	var found bool
	var err error
	if s.service, found, err = from.service(ctx, name); err != nil || !found {
		return nil, cmp.Or(err, errGone)
	}
	if s.service.Spec.GuestRef == nil {
		return nil, errGone
	}
	if s.guest, found, err = from.guest(ctx, s.service.Spec.GuestRef.Name); err != nil || !found || vanishes(s.guest) {
		return nil, cmp.Or(err, errGone)
	}
	if s.host, found, err = from.host(ctx, s.guest.Spec.HostRef.Name); err != nil || !found {
		return nil, cmp.Or(err, errGone)
	}
	s.options, s.prefix = options(s.service), prefixOf(r, s.host)
	if s.machine, err = k.Machine(ctx, s.guest); err != nil {
		return s, err
	}
	return s, nil
}

// vanishes says whether a guest is on its way out itself.
func vanishes(g *v1alpha1.Guest) bool {
	policy := cmp.Or(g.Spec.DeletionPolicy, g.DefaultDeletionPolicy())
	return !g.DeletionTimestamp.IsZero() && policy == v1alpha1.DeletionDelete && g.Spec.Management != v1alpha1.ManagementObserve
}

// sides reads the gateway and the router of a Route, and says whether they go together.
func (k *Kind) sides(ctx context.Context, r *v1alpha1.Route, from *reader) (gateway, router *side, err error) {
	gateway, err = k.sideOf(ctx, r, from, r.Spec.GatewayRef.Name, gatewayFolder)
	if err != nil {
		return gateway, nil, sideError(r.Spec.GatewayRef.Name, err)
	}
	router, err = k.sideOf(ctx, r, from, r.Spec.RouterRef.Name, routerFolder)
	if err != nil {
		return gateway, router, sideError(r.Spec.RouterRef.Name, err)
	}
	return gateway, router, together(r, gateway.service, router.service)
}

func sideError(name string, err error) error {
	if errors.Is(err, errGone) {
		return reconcile.Wait(MachineAwayReason, missingFor, fmt.Errorf("waiting for the machine of HostService/%s: %w", name, err))
	}
	return machineError(err)
}

// together says why a gateway and a router do not go together, if they do not.
func together(r *v1alpha1.Route, gateway, router *v1alpha1.HostService) error {
	switch {
	case gateway.Spec.Nginx == nil:
		return reconcile.Stall(WrongServiceReason, fmt.Errorf("gatewayRef: HostService/%s is no nginx: name one that is", gateway.Name))
	case router.Spec.Traefik == nil:
		return reconcile.Stall(WrongServiceReason, fmt.Errorf("routerRef: HostService/%s is no traefik: name one that is", router.Name))
	case !slices.ContainsFunc(router.Spec.Traefik.GatewayRefs, func(g v1alpha1.LocalReference) bool { return g.Name == gateway.Name }):
		return reconcile.Stall(NotListedReason, fmt.Errorf(
			"HostService/%s takes nothing from HostService/%s: add it to traefik.gatewayRefs of HostService/%s", router.Name, gateway.Name, router.Name))
	case r.Spec.TCP != nil && gateway.Spec.Nginx.PassThrough == nil:
		return reconcile.Stall(NoPassThroughReason, fmt.Errorf(
			"tcp: HostService/%s passes no connections through: set nginx.passThrough of HostService/%s", gateway.Name, gateway.Name))
	}
	return nil
}

// gatewayPorts are where a gateway listens.
func gatewayPorts(s *v1alpha1.HostService) []int {
	return []int{int(cmp.Or(s.Spec.Nginx.HTTPPort, defaultHTTP)), int(cmp.Or(s.Spec.Nginx.HTTPSPort, defaultHTTPS))}
}

// routerPorts are where a router listens for requests.
func routerPorts(s *v1alpha1.HostService) []int {
	return []int{int(cmp.Or(s.Spec.Traefik.WebPort, defaultWeb)), int(cmp.Or(s.Spec.Traefik.WebSecurePort, defaultWebSecure))}
}

// apiPort is where a router tells what it has loaded.
func apiPort(s *v1alpha1.HostService) int { return int(cmp.Or(s.Spec.Traefik.APIPort, defaultAPI)) }
