// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package route

import (
	"errors"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// newGround is simulated machines.
func newGround(*testing.B) (ground, world.Options) {
	return simulated(errors.New("the lab needs Linux"))
}
