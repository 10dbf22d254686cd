// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// problem is something that is not as it should be and cannot be mended in this pass.
type problem struct {
	reason string
	// after is when it is worth another look.
	after time.Duration
	// failure says that it is worth an event, not a mere wait.
	failure bool
	// changes are what would be done if it were not for the problem.
	changes []reconcile.Change
	err     error
}

func (p *problem) Error() string { return p.err.Error() }

// with says what is not done because of the problem.
func (p *problem) with(diffs []difference) *problem {
	out := *p
	out.changes = changesOf(diffs)
	return &out
}

// restSteps say, once nothing else is left to do, what is not as it should be. Taking the first of them says all.
func restSteps(s *v1alpha1.DockerStack, problems []*problem) []reconcile.Step {
	if len(problems) == 0 {
		return nil
	}
	first, after := problems[0], problems[0].after
	var said []string
	for _, p := range problems {
		after = min(after, p.after)
		if !first.failure && p.failure {
			first = p
		}
		said = append(said, p.Error())
	}
	out := outcome(s, &problem{reason: first.reason, after: after, failure: first.failure, err: errors.New(strings.Join(said, "; "))})
	var steps []reconcile.Step
	for _, p := range problems {
		step := reconcile.Step{Reason: WaitingReason, Message: p.Error(), Changes: p.changes, Do: func(context.Context) error { return out }}
		if len(step.Changes) == 0 {
			step.Changes = []reconcile.Change{{To: p.Error(), Impact: v1alpha1.ImpactNone}}
		}
		steps = append(steps, step)
	}
	return steps
}

// outcome is a failure the first time, so that an event tells of it, and a wait from then on.
func outcome(s *v1alpha1.DockerStack, p *problem) error {
	ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ReadyCondition)
	if p.failure && (ready == nil || ready.Reason != p.reason) {
		return reconcile.Fail(p.reason, p.err)
	}
	return reconcile.Wait(p.reason, p.after, p.err)
}

// maxWords is how much is told of what compose or Docker said.
const maxWords = 600

// err is an error without what is hidden, cut to a length that can be read. It keeps its sort, if it is one of Portainer's.
func (h hidden) err(err error) error {
	text := h.in(err.Error())
	if len(text) > maxWords { // the end says what went wrong
		cut := len(text) - maxWords
		for cut < len(text) && !utf8.RuneStart(text[cut]) {
			cut++
		}
		text = "… " + text[cut:]
	}
	if text == err.Error() {
		return err
	}
	out := told{text: text}
	if kind := portainer.KindOf(err); kind != "" {
		out.sort = &portainer.Error{Kind: kind, Message: text}
	}
	return out
}

// told is an error in other words.
type told struct {
	text string
	sort error
}

func (t told) Error() string { return t.text }

// Unwrap is the sort of the error, without its words.
func (t told) Unwrap() error { return t.sort }
