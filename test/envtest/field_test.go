// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// field is one field of a Guest, from YAML to the site and back from drift.
type field struct {
	name string
	// first is the spec that the guest is made with, then is what the spec is changed to; both are merge patches.
	first, then string
	// made and changed are what the configuration then says: "key=value", "key has sub-key=value", "no key".
	made, changed []string
	// drift is what a person does at the web interface: "key=value", "key has sub-key=value", "no key".
	drift string
	// shown is the field as the plan names it while it is only observed.
	shown string
}

// TestContainerFields takes every field of a container through its life.
func TestContainerFields(t *testing.T) {
	t.Parallel()
	checkFields(t, container, containerFields)
}

// TestVMFields takes every field of a VM through its life.
func TestVMFields(t *testing.T) {
	t.Parallel()
	checkFields(t, vm, vmFields)
}

// checkFields has one site and one manager work on all fields at the same time.
func checkFields(t *testing.T, base string, fields []field) {
	s := newStage(t, set{site: pve.Options{Bridges: []string{"vmbr0", "vmbr1"}}})
	s.secret("keys", map[string]string{"one": keyOne, "two": keyOne + "\n" + keyTwo})
	s.ready(s.host())
	t.Run("fields", func(t *testing.T) { // returns when all are done: then the manager ends
		for i, f := range fields {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				f.check(s.with(t), base, fmt.Sprintf("guest-%d", i))
			})
		}
	})
}

func (f field) check(s *stage, base, name string) {
	s.guest(name, base, f.first)
	g, state := s.readyGuest(name)
	vmid := state.VMID
	s.agrees("made", state, f.made)

	// What nobody declared stays, whatever happens to the rest.
	if err := s.site.SetConfig(vmid, "hookscript", "local:snippets/hook.pl"); err != nil {
		s.Fatal(err)
	}

	s.change(g, f.then)
	g, state = s.readyGuest(name)
	s.agrees("changed", state, f.changed)

	before := state.Config
	s.drift(vmid, f.drift)
	s.until("the drift is put back", func() error { return disagreement(s.outside(g), f.changed) })
	s.readyGuest(name)

	s.change(g, "management: Observe")
	s.ready(g)
	s.drift(vmid, f.drift)
	drifted := s.outside(g).Config
	s.until("the plan shows "+f.shown, func() error {
		s.get(g)
		if !slices.ContainsFunc(g.Status.Plan, func(c v1alpha1.PlannedChange) bool { return c.Field == f.shown }) {
			return errors.New(describe(g))
		}
		return nil
	})
	s.says(g, v1alpha1.DriftedCondition, "True Drifted")
	s.says(g, v1alpha1.ReadyCondition, "True Drifted")
	if now := s.outside(g).Config; now != drifted {
		s.Errorf("observing changed the guest from\n%s\nto\n%s", drifted, now)
	}

	s.change(g, "management: Enforce")
	g, state = s.readyGuest(name)
	s.agrees("enforced again", state, append([]string{"hookscript=local:snippets/hook.pl"}, f.changed...))
	if s.Failed() {
		s.Logf("before the drift:\n%s\nat the end:\n%s", before, state.Config)
	}
}

// agrees checks a guest's configuration, and that nothing of it waits.
func (s *stage) agrees(when string, state pve.GuestState, want []string) {
	s.Helper()
	if err := disagreement(state, want); err != nil {
		s.Errorf("%s: %v\n%s", when, err, state.Config)
	}
}

// disagreement says in what a guest's configuration, as it is in effect, differs from what is wanted.
func disagreement(state pve.GuestState, want []string) error {
	for _, w := range want {
		key, sub, value, there := clause(w)
		got, has := state.Options[key]
		switch {
		case !there && sub == "":
			if has {
				return fmt.Errorf("%s is %q, want none", key, got)
			}
		case !there:
			if slices.ContainsFunc(strings.Split(got, ","), func(p string) bool { return strings.HasPrefix(p, sub+"=") }) {
				return fmt.Errorf("%s is %q, want no %s in it", key, got, sub)
			}
		case sub != "":
			if !slices.Contains(strings.Split(got, ","), sub+"="+value) {
				return fmt.Errorf("%s is %q, want %s=%s in it", key, got, sub, value)
			}
		case !strings.HasPrefix(got, value):
			return fmt.Errorf("%s is %q, want %q", key, got, value)
		}
		if state.Pending[key] != got {
			return fmt.Errorf("%s is %q and waits to become %q", key, got, state.Pending[key])
		}
	}
	return nil
}

// clause reads "key=value", "key has sub=value", "no key" and "no key has sub".
func clause(text string) (key, sub, value string, there bool) {
	text, absent := strings.CutPrefix(text, "no ")
	key, rest, hasSub := strings.Cut(text, " has ")
	if !hasSub {
		key, value, _ = strings.Cut(text, "=")
		return key, "", value, !absent
	}
	sub, value, _ = strings.Cut(rest, "=")
	return key, sub, value, !absent
}

// drift does what a person does at the web interface.
func (s *stage) drift(vmid int, text string) {
	s.Helper()
	state, ok := s.site.Guest(vmid)
	if !ok {
		s.Fatalf("guest %d is not there", vmid)
	}
	key, sub, value, there := clause(text)
	var err error
	switch {
	case sub != "":
		err = s.site.SetConfig(vmid, key, withSub(state.Pending[key], sub, value, there))
	case there:
		err = s.site.SetConfig(vmid, key, value)
	default:
		err = s.site.DeleteConfig(vmid, key)
	}
	if err != nil {
		s.Fatalf("drift %q: %v", text, err)
	}
}

// withSub is a property string with one sub-key set, or taken out.
func withSub(text, sub, value string, there bool) string {
	parts := slices.DeleteFunc(strings.Split(text, ","), func(p string) bool { return strings.HasPrefix(p, sub+"=") || p == "" })
	if there {
		parts = append(parts, sub+"="+value)
	}
	return strings.Join(parts, ",")
}

// grown waits until a disk has a size.
func grown(state pve.GuestState, key, size string) error {
	if err := disagreement(state, []string{key + " has size=" + size}); err != nil {
		return errors.Join(errors.New("the disk has not grown"), err)
	}
	return nil
}
