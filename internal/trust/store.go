// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
)

// Store is the trust store of a machine as one owner sees it.
type Store struct {
	// Wanted are the roots that are to be trusted.
	Wanted []Root

	owner machine.Owner
	seen  machine.Seen
}

// Look looks at the trust store of a machine in one round trip. Its errors are those of Machine.Observe.
func Look(ctx context.Context, m *machine.Machine, owner machine.Owner, wanted []Root) (*Store, error) {
	seen, err := m.Observe(ctx, owner, State(wanted))
	if err != nil {
		return nil, err
	}
	return &Store{Wanted: wanted, owner: owner, seen: seen}, nil
}

// Ours are the roots that the owner put on the machine and that stand there as they were.
func (s *Store) Ours() []Root {
	var roots []Root
	for _, path := range slices.Sorted(maps.Keys(s.seen.Contents)) {
		_, recorded := s.seen.Paths[path] // of files that were not asked for, the paths of our record alone
		if root, ok := rootAt(path, s.seen.Contents[path]); ok && recorded {
			roots = append(roots, root)
		}
	}
	return roots
}

// Missing are the wanted roots that programs on the machine do not trust.
func (s *Store) Missing() []Root {
	var roots []Root
	for i, r := range s.Wanted {
		if !s.seen.Probes[i].OK {
			roots = append(roots, r)
		}
	}
	return roots
}

// Options of a plan.
type Options struct {
	// Keep leaves the roots that the owner put there and that are not wanted: they may be of an authority that does not
	// say what its roots are.
	Keep bool
	// Adopt takes over files of other content at our paths.
	Adopt bool
}

// Plan returns the steps after which the machine trusts the wanted roots and, of ours, no others. Without a wanted root
// everything of the owner goes. It is pure. Its errors are those of machine.Plan.
func (s *Store) Plan(o Options) ([]machine.Step, error) {
	roots := s.Wanted
	if o.Keep {
		roots = Unite(roots, s.Ours())
	}
	if len(roots) == 0 {
		return machine.Clear(s.owner, s.seen), nil
	}
	steps, err := machine.Plan(s.owner, State(roots), s.seen, machine.PlanOptions{Adopt: o.Adopt})
	if missing := s.Missing(); err == nil && len(steps) == 0 && len(missing) > 0 {
		steps = append(steps, refresh(missing))
	}
	return steps, err
}

// refresh is the step that has the bundle made anew: the files are as they should be.
func refresh(missing []Root) machine.Step {
	step := machine.Step{Reason: machine.ReasonApply, Message: "run update-ca-certificates", Do: func(ctx context.Context, m *machine.Machine) error {
		result, err := m.Script(ctx, "update-ca-certificates 2>&1")
		if err != nil {
			return fmt.Errorf("run update-ca-certificates: %w", err)
		}
		if result.ExitCode != 0 {
			return &RefreshError{Output: lastWords(string(result.Stdout)), ExitCode: result.ExitCode}
		}
		return nil
	}}
	for _, r := range missing {
		step.Changes = append(step.Changes, machine.Change{What: r.path(), To: bundle, Impact: machine.ImpactNone})
	}
	return step
}

// lastWords is the end of what a program said, on one line.
func lastWords(output string) string {
	const most = 500
	text := strings.Join(strings.Fields(output), " ")
	return strings.ToValidUTF8(text[max(0, len(text)-most):], "")
}

// RefreshError says that update-ca-certificates failed although nothing had to be changed.
type RefreshError struct {
	Output   string
	ExitCode int
}

// Error shows what the program said.
func (e *RefreshError) Error() string {
	return fmt.Sprintf("run update-ca-certificates: exit code %d: %s", e.ExitCode, e.Output)
}

// Describe says what a change of a step does, for people: from and to are empty where nothing was, or nothing will be.
func (s *Store) Describe(c machine.Change) (from, to string) {
	path := strings.TrimSuffix(c.What, " mode and owner")
	if i := slices.IndexFunc(s.Wanted, func(r Root) bool { return r.path() == path }); i >= 0 {
		return c.From, s.Wanted[i].String()
	}
	if root, ok := rootAt(path, s.seen.Contents[path]); ok {
		return root.String(), c.To
	}
	return c.From, strings.TrimSpace(c.What + " " + c.To)
}
