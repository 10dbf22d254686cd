// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// booted is a machine that runs.
func booted(t *testing.T, o machine.Options) *machine.Machine {
	t.Helper()
	m := machine.New(o)
	m.Boot()
	t.Cleanup(m.Halt)
	return m
}

// run runs a line of bash.
func run(t *testing.T, m *machine.Machine, line, input string) (stdout, stderr string, exit int) {
	t.Helper()
	var out, errs strings.Builder
	exit = m.Shell(t.Context(), line, strings.NewReader(input), &out, &errs)
	return out.String(), errs.String(), exit
}

// must runs a line that has to succeed.
func must(t *testing.T, m *machine.Machine, line string) string {
	t.Helper()
	stdout, stderr, exit := run(t, m, line, "")
	if exit != 0 {
		t.Fatalf("%s: exit %d\n%s%s", line, exit, stdout, stderr)
	}
	return stdout
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// scripts are cases of one machine, in order.
type script struct {
	reason, command, input string
	stdout, stderr         string
	exit                   int
}

func play(t *testing.T, m *machine.Machine, cases []script) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			stdout, stderr, exit := run(t, m, tc.command, tc.input)
			if stdout != tc.stdout || stderr != tc.stderr || exit != tc.exit {
				t.Errorf("%s:\nstdout %q, want %q\nstderr %q, want %q\nexit %d, want %d", tc.command, stdout, tc.stdout, stderr, tc.stderr, exit, tc.exit)
			}
		})
	}
}
