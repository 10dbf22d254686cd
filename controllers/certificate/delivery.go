// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// delivery is a machine that has the files of a Certificate, or is to have them, or is asked for what it serves.
type delivery struct {
	name string
	at   place
	// spec of the delivery; nil: it is in the spec no more, and is cleared.
	spec *v1alpha1.CertificateDelivery
	// problem is what is in its way.
	problem *problem

	owner machine.Owner
	want  machine.State
	run   *machine.Machine
	seen  machine.Seen
	// steps are what is left to do on the machine, later what is left to do once it is time to try again.
	steps, later []machine.Step
	// there is the serial of the certificate that the files hold, served that of the one that the server shows; empty: not known.
	there, served string
	// done says that the files are as they are to be; of one that is cleared, that nothing is left.
	done bool
}

// files says whether the delivery brings any.
func (d *delivery) files() bool { return d.spec != nil && d.spec.Files != nil }

func (d *delivery) String() string { return d.name + " (" + d.at.String() + ")" }

// fail notes what is in the way of the delivery, and names it.
func (d *delivery) fail(p *problem) {
	with := *p
	with.field, with.err = "deliverTo["+d.name+"]", fmt.Errorf("%s: %w", d, p.err)
	d.problem = &with
}

// trial is what tries of it are remembered by, and what they depend on.
func (d *delivery) trial(c *v1alpha1.Certificate) (what, of string) {
	hash := sha256.New()
	for _, f := range d.want.Files {
		fmt.Fprintf(hash, "%s %d\n", f.Path, len(f.Content))
		hash.Write(f.Content)
	}
	return d.String(), fmt.Sprint(c.Generation, hex.EncodeToString(hash.Sum(nil)))
}

// stateOf is what a machine is to have.
func stateOf(spec *v1alpha1.CertificateDelivery, m *material, pkcs1 bool, bundle []byte) machine.State {
	files := spec.Files
	var triggers []machine.Trigger
	for _, r := range spec.Reload {
		triggers = append(triggers, machine.Trigger{Unit: r.Unit, Action: machine.Action(cmp.Or(r.Action, v1alpha1.UnitReload))})
	}
	var state machine.State
	add := func(at v1alpha1.MachinePath, secret bool, parts ...[]byte) {
		if at == "" {
			return
		}
		state.Files = append(state.Files, machine.File{
			Path: string(at), Content: slices.Concat(parts...), Owner: files.Owner, Group: files.Group, Mode: modeOf(files.Mode, secret),
			Secret: secret, Triggers: triggers,
		})
		if !secret && at != files.CA {
			state.Reads = append(state.Reads, string(at)) // to tell which certificate is there
		}
	}
	key := m.keyPEM(pkcs1)
	add(files.Key, true, key)
	add(files.Certificate, false, stepca.EncodeChain(m.chain[:1]))
	add(files.Chain, false, m.chainPEM())
	add(files.CA, false, bundle)
	add(files.Combined, true, key, m.chainPEM())
	return state
}

// modeOf reads a mode; others never read what has the key. 0: the driver's own.
func modeOf(octal string, secret bool) fs.FileMode {
	n, err := strconv.ParseUint(octal, 8, 12)
	if err != nil {
		return 0
	}
	if secret {
		n &^= 0o007
	}
	return fs.FileMode(n)
}

// refused says which paths a Host does not allow; nil: none.
func refused(t target, want machine.State) *problem {
	if t.guestObject != nil {
		return nil
	}
	var allowed []string
	if t.hostObject.Spec.Allow != nil {
		allowed = t.hostObject.Spec.Allow.CertificatePaths
	}
	for _, f := range want.Files {
		if !slices.ContainsFunc(allowed, func(p string) bool { return f.Path == p || strings.HasPrefix(f.Path, p+"/") }) {
			return &problem{reason: PathNotAllowedReason, after: refusedFor, failure: true, err: fmt.Errorf(
				"deliver to %s: Host/%s does not allow it: add the directory to allow.certificatePaths of the Host", f.Path, t.hostObject.Name)}
		}
	}
	return nil
}

// fileSerial is the serial of the certificate in the files that were read.
func fileSerial(seen machine.Seen) string {
	for _, content := range seen.Contents {
		if chain, err := stepca.ParseChain(content); err == nil {
			return stepca.Serial(chain[0])
		}
	}
	return ""
}

// deliveriesOf are those of the spec, and those that were there before and are cleared.
func deliveriesOf(c *v1alpha1.Certificate) []*delivery {
	var all []*delivery
	for i := range c.Spec.DeliverTo {
		d := &c.Spec.DeliverTo[i]
		all = append(all, &delivery{name: d.Name, at: placeOf(d), spec: d})
	}
	return all
}

// left are the deliveries of the status that the given ones do not take over.
func left(c *v1alpha1.Certificate, taken []*delivery) []*delivery {
	var all []*delivery
	for _, had := range c.Status.Deliveries {
		at, ok := parsePlace(had.Machine)
		if !ok || slices.ContainsFunc(taken, func(d *delivery) bool { return d.files() && d.name == had.Name && d.at.covers(at) }) {
			continue
		}
		all = append(all, &delivery{name: had.Name, at: at})
	}
	return all
}

// covers says whether another place is the same, or may be while the node is not made out.
func (p place) covers(other place) bool {
	return p.guest == other.guest && p.host == other.host && (p.node == other.node || p.node == "")
}
