// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

const (
	// jitterPart is the most that a renewal comes earlier, as a part of the life, so that what was issued together is not
	// renewed together.
	jitterPart = 20
	// jitterKept is the least part of the time until the renewal that jitter leaves: a certificate that is to be renewed
	// early in its life must not be due at once.
	jitterKept = 10
)

// life is from when until when a certificate is of use.
type life struct{ begin, end time.Time }

// lifeOf is the life that was issued. It begins when the certificate was, as authorities date it back, which makes a
// short life look longer than it is.
func (m *material) life() life {
	begin, end := stepca.Validity(m.chain)
	if at := m.marks.At; at.After(begin) && at.Before(end) {
		begin = at
	}
	return life{begin, end}
}

func (l life) length() time.Duration { return l.end.Sub(l.begin) }

// renewal is when a certificate is renewed, in whole seconds as the status has it, and what there is to say of that.
func renewal(c *v1alpha1.Certificate, m *material) (at time.Time, note string) {
	l := m.life()
	after := l.length() / 3 * 2
	switch before := c.Spec.RenewBefore; {
	case before != nil && before.Duration < l.length():
		after = l.length() - before.Duration
	case before != nil:
		note = fmt.Sprintf("renewBefore is %s and the life that was issued %s: two thirds of it count", before.Duration, l.length().Round(time.Second))
	case c.Spec.RenewBeforePercentage > 0:
		after = l.length() - l.length()/100*time.Duration(c.Spec.RenewBeforePercentage)
	}
	jitter := min(l.length()/jitterPart, after/jitterKept)
	at = l.begin.Add(after - time.Duration(float64(jitter)*spread(c, m.serial())))
	return at.Truncate(time.Second), note
}

// spread is a number from 0 to 1, the same one for the same certificate.
func spread(c *v1alpha1.Certificate, serial string) float64 {
	sum := sha256.Sum256([]byte(c.Namespace + "/" + c.Name + "/" + serial))
	return float64(binary.BigEndian.Uint64(sum[:])) / math.MaxUint64
}
