// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"context"
	"maps"

	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
)

// before are containers that are stopped, and that are removed, before a deployment.
func (seen *Seen) before() (frozen, spoilt []string) {
	for _, diff := range seen.diffs {
		spoilt = append(spoilt, diff.spoilt...)
		if diff.reason == PortsChangedReason && seen.inVain() {
			spoilt = append(spoilt, diff.frozen...)
			continue
		}
		frozen = append(frozen, diff.frozen...)
	}
	for _, c := range seen.orphans {
		spoilt = append(spoilt, c.ID)
	}
	return frozen, spoilt
}

// inVain says that the same was deployed for the same reasons, with success, and nothing came of it.
func (seen *Seen) inVain() bool {
	last, ok := seen.memory.tries[theDeployment]
	return ok && last.of == seen.trial() && last.reason == seen.diffs[0].reason
}

// remember reads what ran by the record, where the Secret does not tell. A text that Portainer has lost is not missed.
func (d *deployment) remember(ctx context.Context, there outside) error {
	if there.record == nil || d.vault.good != nil {
		return nil
	}
	text, err := d.place.portainer.StackFile(ctx, there.record.ID)
	switch kind := portainer.KindOf(err); {
	case kind == portainer.Failed || kind == portainer.NotFound || err == nil && text == "":
		return nil
	case err != nil:
		return err
	}
	d.before = &portainer.StackChange{Text: text, Env: there.record.Env}
	return nil
}

// isNew says that a release is another one than what ran.
func (d *deployment) isNew() bool {
	switch good := d.vault.good; {
	case good != nil:
		return good.hash != d.release.hash
	case d.before != nil:
		return d.before.Text != d.release.text || !maps.Equal(valuesOf(d.before.Env), valuesOf(d.release.variables(d.owner)))
	}
	return true
}

func valuesOf(env []portainer.Variable) map[string]string {
	out := map[string]string{}
	for _, v := range env {
		out[v.Name] = v.Value
	}
	return out
}

// putBack deploys what the record had before: there is nothing else that knows of it. The Secret says so already: it goes on
// within the deployment that failed.
func (k *Kind) putBack(ctx context.Context, d *deployment) error {
	if d.before == nil {
		return nil
	}
	there, err := k.lookAgain(ctx, d)
	if err != nil || there.record == nil {
		return err
	}
	return d.place.portainer.UpdateStack(ctx, there.record.ID, d.place.environmentID, *d.before)
}
