// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/internal/compose"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
)

// TestWhatGoesBefore picks what is done to containers that compose cannot start. What is removed loses what is in its volumes
// without a name.
func TestWhatGoesBefore(t *testing.T) {
	cases := map[string]struct {
		reason         string
		frozen, spoilt []string
	}{
		"paused": {"once it is stopped, compose starts it", []string{"one"}, nil},
		"dead":   {"there is nothing to start any more", nil, []string{"one"}},
		"exited": {"compose starts it", nil, nil},
	}
	for state, c := range cases {
		t.Run(state, func(t *testing.T) {
			seen := Seen{outside: outside{containers: []portainer.Container{{ID: "one", Service: "db", State: state, ExitCode: 1}}}}
			got := seen.serviceDifferences(&release{}, compose.Service{Name: "db", Containers: 1})
			if len(got) != 1 || !cmp.Equal(got[0].frozen, c.frozen) || !cmp.Equal(got[0].spoilt, c.spoilt) {
				t.Errorf("%s: got %+v", c.reason, got)
			}
		})
	}
}
