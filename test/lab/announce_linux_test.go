// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGratuitousARP(t *testing.T) {
	got := gratuitousARP(net.HardwareAddr{0xbc, 0x24, 0x11, 0, 0, 1}, netip.MustParseAddr("10.0.0.170"))
	want := []byte{
		0, 1, 8, 0, 6, 4, 0, 2, 0xbc, 0x24, 0x11, 0, 0, 1, 10, 0, 0, 170, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 10, 0, 0, 170,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
