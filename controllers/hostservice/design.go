// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/dnsmasq"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// design is what a service wants of its machine.
type design struct {
	want machine.State
	// judge finds lines made by hand that say something else, in the files that want.Reads names and that are not ours,
	// and further paths that have to be read to tell. Nil: there are none.
	judge func(contents map[string]string) (lines []handLine, reads []string)
	// complete returns the whole design once files that want.Reads names were read, where it depends on them; nil: this is
	// it. Nil: it depends on none.
	complete func(contents map[string][]byte) (*design, error)
	// blocked says what of the machine forbids every step, where that depends on what is ours. Nil: nothing does.
	blocked func(seen *machineSeen) error
	// triggers of a file that somebody else made.
	triggers []machine.Trigger
	// left are declared things that are left out although everything could be done: Ready says so in the end.
	left []leftOut
	// notes are things that come by themselves, such as the address of a client.
	notes []string
	// exports of an nfs service.
	exports []designedExport
	// served are the certificates of an nginx service.
	served []servedCertificate
	// config of a dnsmasq service.
	config dnsmasq.Config
	// fields tells by which field of the spec a line of a file of ours is declared; empty: by none.
	fields func(path, line string) string
}

// leftOut is something declared that is left out, and why.
type leftOut struct{ reason, text string }

// designedExport is an export, with the number of the probe that asks for it; -1: it has no client yet.
type designedExport struct {
	name, source string
	probe        int
}

// designFor turns the spec, and the Guests that it speaks of, into what is wanted of the machine.
func (k *Kind) designFor(ctx context.Context, s *v1alpha1.HostService, t target) (design, error) {
	older, _, err := k.siblings(ctx, s, t)
	if err != nil {
		return design{}, err
	}
	var list v1alpha1.GuestList
	if err := k.Reader.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return design{}, fmt.Errorf("list Guests: %w", err)
	}
	guests := slices.DeleteFunc(list.Items, func(g v1alpha1.Guest) bool { return !g.DeletionTimestamp.IsZero() })
	slices.SortFunc(guests, func(a, b v1alpha1.Guest) int { return byAge(&a, &b) })
	switch {
	case s.Spec.Dnsmasq != nil:
		return k.designNames(ctx, s, t, guests, older)
	case s.Spec.Docker != nil:
		return designDocker(s, t, older)
	case s.Spec.NFS != nil:
		if err := k.awaitGuests(ctx, s, guests, mounting(s)); err != nil {
			return design{}, err
		}
		return designNFS(s, t, guests, older)
	case s.Spec.Nginx != nil:
		return k.designGateway(ctx, s, t, guests, older)
	case s.Spec.Traefik != nil:
		return k.designRouter(ctx, s, t, guests, older)
	}
	return design{}, reconcile.Stall(InvalidReason, errors.New("the spec declares no service: set dnsmasq, docker, firewall, nfs, nginx, portainer, portainerAgent, stepCA or traefik"))
}

// about names an object in the files that are made for it.
func about(s *v1alpha1.HostService) string { return "HostService " + s.Namespace + "/" + s.Name }

// fileName is the object's name as a part of a file's name; a long one is cut and told apart by its hash.
func fileName(s *v1alpha1.HostService) string {
	const most = 100
	if len(s.Name) <= most {
		return s.Name
	}
	sum := sha256.Sum256([]byte(s.Name))
	return s.Name[:most] + "-" + hex.EncodeToString(sum[:])[:8]
}

// isTrue reads an optional switch.
func isTrue(b *bool, unset bool) bool {
	if b == nil {
		return unset
	}
	return *b
}

// guestNamed finds a Guest by its name.
func guestNamed(guests []v1alpha1.Guest, name string) *v1alpha1.Guest {
	i := slices.IndexFunc(guests, func(g v1alpha1.Guest) bool { return g.Name == name })
	if i < 0 {
		return nil
	}
	return &guests[i]
}
