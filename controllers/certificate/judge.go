// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// finding is why a certificate is issued anew; nothing of it is set when there is no reason to.
type finding struct {
	reason, text string
	// useless says that the present certificate is of no use, or does not fit the spec.
	useless bool
}

// judge says whether key and certificate are as the spec wants them, and still valid. It is pure. What the authority
// decided otherwise when it was asked is no reason to ask again.
func judge(c *v1alpha1.Certificate, m *material, seen Seen) finding {
	if m == nil {
		return finding{SecretMissingReason, "Secret/" + c.Spec.SecretName + " is not there", true}
	}
	if m.why != "" {
		return finding{m.why, m.said, true}
	}
	for _, check := range []func(*v1alpha1.Certificate, *material, Seen) finding{
		expired, revoked, otherNames, otherKey, otherUsages, otherRoot, requested, expiring,
	} {
		if found := check(c, m, seen); found.reason != "" {
			return found
		}
	}
	return finding{}
}

func expired(_ *v1alpha1.Certificate, m *material, seen Seen) finding {
	if end := m.life().end; !seen.now.Before(end) {
		return finding{ExpiredReason, "it is over since " + stamp(end), true}
	}
	return finding{}
}

func revoked(_ *v1alpha1.Certificate, m *material, seen Seen) finding {
	if seen.memory.revoked == m.serial() {
		return finding{RevokedReason, "the authority renews it no more", true}
	}
	return finding{}
}

func otherNames(c *v1alpha1.Certificate, m *material, _ Seen) finding {
	if err := namesOf(c).Check(m.leaf()); err != nil {
		return finding{NamesChangedReason, err.Error(), true}
	}
	return finding{}
}

func otherKey(c *v1alpha1.Certificate, m *material, _ Seen) finding {
	if got, want := kindOf(m.key), keyOf(c); got != want {
		return finding{KeyChangedReason, fmt.Sprintf("its key is %s, not %s", got, want), true}
	}
	return finding{}
}

func otherUsages(c *v1alpha1.Certificate, m *material, _ Seen) finding {
	if text := usagesDiffer(c, m); text != "" && m.marks.Asked != asked(c) {
		return finding{UsagesChangedReason, text, true}
	}
	return finding{}
}

// usagesDiffer says how the usages are not those of the spec.
func usagesDiffer(c *v1alpha1.Certificate, m *material) string {
	got, want := issuedUsages(m), usagesOf(c)
	if slices.Equal(got, want) {
		return ""
	}
	return fmt.Sprintf("it is for %s, not for %s", listed(got), listed(want))
}

func otherRoot(_ *v1alpha1.Certificate, m *material, seen Seen) finding {
	a := seen.authority
	root := seen.rootOf(m)
	switch {
	case a.issuer == "" || root == a.issuer || root == "" && a.roots == nil: // fine, or nobody knows
		return finding{}
	case a.trusts(root):
		return finding{RootRotatedReason, fmt.Sprintf("it leads to root %s, and %s issues under %s", short(root), a.name, short(a.issuer)), false}
	}
	return finding{RootRotatedReason, "it does not lead to a root of " + a.name, true}
}

func requested(c *v1alpha1.Certificate, m *material, _ Seen) finding {
	if value := requestOf(c); value != "" && value != m.marks.Renewed {
		return finding{RequestedReason, "its annotation asks for it", false}
	}
	return finding{}
}

func expiring(c *v1alpha1.Certificate, m *material, seen Seen) finding {
	if at, _ := renewal(c, m); !seen.now.Before(at) {
		return finding{ExpiringReason, "it ends at " + stamp(m.life().end), false}
	}
	return finding{}
}

// short is enough of a fingerprint for people.
func short(fingerprint string) string { return fingerprint[:min(12, len(fingerprint))] }

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

func listed(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}
