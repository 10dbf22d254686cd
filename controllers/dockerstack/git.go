// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/git"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// defaultFile is the path in a repository where the spec names none.
	defaultFile = "compose.yaml"
	// defaultInterval is how often a repository is looked at.
	defaultInterval = 5 * time.Minute
	// gitLimit bounds one look at a repository, whatever the driver does.
	gitLimit = 2 * time.Minute
)

// checkout is what was last found in a repository.
type checkout struct {
	// of is what was asked for.
	of string
	// at is when it was last looked at, begun the look that goes on.
	at, begun time.Time
	file      git.File
	err       error
}

func intervalOf(g *v1alpha1.ComposeGit) time.Duration {
	if g.Interval == nil {
		return defaultInterval
	}
	return g.Interval.Duration
}

// checkOut returns the file of a repository as it was last seen. Looking takes a while, and goes on beside the passes.
func (k *Kind) checkOut(ctx context.Context, s *v1alpha1.DockerStack, r *reader, out *source) error {
	g := s.Spec.Compose.Git
	from, of, err := repository(ctx, g, r, &out.hidden)
	if err != nil {
		return err
	}
	now, last := k.Clock.Now(), k.memory.of(nameOf(s)).checkout
	if last.of != of {
		last = checkout{of: of}
	}
	due := last.at.IsZero() || now.Sub(last.at) >= intervalOf(g) || last.err != nil && now.Sub(last.at) >= min(intervalOf(g), ailingFor)
	if due && (last.begun.IsZero() || now.Sub(last.begun) >= gitLimit) {
		last.begun = now
		k.memory.change(nameOf(s), func(known *remembered) { known.checkout = last })
		name := nameOf(s)
		k.jobs.read(func(ctx context.Context) { k.fetch(ctx, name, from, last) })
	}
	if last.err != nil {
		out.problem = &problem{reason: GitFailedReason, after: min(intervalOf(g), ailingFor), failure: true, err: fmt.Errorf("look at %s: %w", g.URL, out.hidden.err(last.err))}
	}
	if last.file.Commit != "" {
		out.text, out.commit = last.file.Text, last.file.Commit
		return nil
	}
	if out.problem != nil {
		return outcome(s, out.problem)
	}
	return reconcile.Wait(FetchingReason, jobFor, fmt.Errorf("fetching %s", g.URL))
}

// fetch looks at a repository, and fetches the file when there is another commit.
func (k *Kind) fetch(ctx context.Context, name types.NamespacedName, from git.Source, last checkout) {
	ctx, cancel := context.WithTimeout(ctx, gitLimit)
	defer cancel()
	commit, err := "", error(nil)
	if last.file.Commit != "" {
		commit, err = k.Head(ctx, from)
	}
	news := err == nil && (commit == "" || commit != last.file.Commit)
	if news {
		var file git.File
		if file, err = k.Fetch(ctx, from); err == nil {
			last.file = file
		}
	}
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return // the manager ends
	}
	news = news || (err == nil) != (last.err == nil)
	last.at, last.begun, last.err = k.Clock.Now(), time.Time{}, err
	k.memory.change(name, func(known *remembered) {
		if known.checkout.of == last.of {
			known.checkout = last
		}
	})
	if news {
		k.Wake(name)
	}
}

// repository is what to ask for, and a text by which to tell it from another one.
func repository(ctx context.Context, g *v1alpha1.ComposeGit, r *reader, hide *hidden) (git.Source, string, error) {
	from := git.Source{URL: g.URL, Ref: g.Ref, Path: g.Path}
	if from.Path == "" {
		from.Path = defaultFile
	}
	if g.CABundle != "" {
		from.Roots = x509.NewCertPool()
		if !from.Roots.AppendCertsFromPEM([]byte(g.CABundle)) {
			return from, "", reconcile.Stall(InvalidReason, errors.New("compose.git.caBundle holds no certificate: it must be PEM"))
		}
	}
	if ref := g.CredentialsSecretRef; ref != nil {
		data, err := r.of(ctx, named{"Secret", ref.Name})
		if err != nil {
			return from, "", err
		}
		from.Username, from.Password, from.SSHKey = string(data["username"]), string(data["password"]), data["ssh-privatekey"]
		hide.add(from.Password)
		hide.add(string(from.SSHKey))
	}
	if ref := g.KnownHostsSecretRef; ref != nil {
		known, err := r.entry(ctx, entry{named{"Secret", ref.Name}, ref.Key})
		if err != nil {
			return from, "", err
		}
		from.KnownHosts = known
	}
	of := digest(nil, from.URL, from.Ref, from.Path, from.Username, from.Password, string(from.SSHKey), string(from.KnownHosts), g.CABundle)
	return from, of, nil
}
