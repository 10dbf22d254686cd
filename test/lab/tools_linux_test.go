// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import "testing"

func TestAttachName(t *testing.T) {
	for _, tc := range []struct {
		reason string
		args   []string
		want   string
	}{
		{"as an argument of its own", []string{"lxc-attach", "--clear-env", "-n", "101", "--", "true"}, "101"},
		{"with the option", []string{"lxc-attach", "--name=101"}, "101"},
		{"by the long name", []string{"lxc-attach", "--name", "101", "true"}, "101"},
		{"what the program gets is not an option", []string{"lxc-attach", "--", "-n", "101"}, ""},
		{"none", []string{"lxc-attach", "-n"}, ""},
	} {
		if got := attachName(tc.args); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.reason, got, tc.want)
		}
	}
}
