// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// node answers as lxc-attach on a node does.
type node struct {
	argv   []string
	stdin  string
	result Result
	err    error
}

func (n *node) Run(_ context.Context, argv []string, stdin []byte) (Result, error) {
	n.argv, n.stdin = argv, string(stdin)
	return n.result, n.err
}

func TestAttach(t *testing.T) {
	const complaint = "lxc-attach: 103: ../src/lxc/attach.c: get_attach_context: 405 Connection refused - Failed to get init pid\n"
	cases := map[string]struct {
		reason string
		result Result
		err    error
		away   bool
	}{
		"works":     {"as it is", Result{Stdout: []byte("out"), Stderr: []byte("err"), ExitCode: 3}, nil, false},
		"exit 1":    {"the command's own", Result{ExitCode: 1}, nil, false},
		"off":       {"the container does not run here", Result{Stderr: []byte(complaint), ExitCode: 1}, nil, true},
		"complains": {"the command speaks of lxc-attach, and it ran", Result{Stdout: []byte("x"), Stderr: []byte(complaint), ExitCode: 1}, nil, false},
		"node away": {"so is the container", Result{}, Away(errors.New("no route")), true},
		"wrong key": {"the node is not away", Result{}, &HostKeyError{}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := &node{result: c.result, err: c.err}
			got, err := Attach(n, 103).Run(t.Context(), []string{"sh", "-c", "$HOME"}, []byte("input"))
			if IsAway(err) != c.away || (err != nil) != (c.away || c.err != nil) {
				t.Fatalf("%s: %v", c.reason, err)
			}
			if diff := cmp.Diff(c.result, got); err == nil && diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			want := []string{"lxc-attach", "-n", "103", "--clear-env", "--set-var", "PATH=" + searchPath, "--set-var", "HOME=/root", "--set-var", "LANG=C.UTF-8", "--", "sh", "-c", "$HOME"}
			if !slices.Equal(n.argv, want) || n.stdin != "input" {
				t.Errorf("%s: runs %q with %q", c.reason, n.argv, n.stdin)
			}
		})
	}
	if _, err := Attach(&node{}, 103).Run(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("no command at all: %v", err)
	}
}
