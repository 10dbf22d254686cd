// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/compose"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
)

// TestPortsInVain picks what is done to a container that does not publish its ports: it is started again, and made anew only
// when that was of no use.
func TestPortsInVain(t *testing.T) {
	cases := map[string]struct {
		reason         string
		tries          map[string]try
		frozen, spoilt []string
	}{
		"First":    {"a start publishes them", nil, []string{"web-1"}, nil},
		"InVain":   {"it did not", map[string]try{theDeployment: {problem: &problem{reason: PortsChangedReason}}}, nil, []string{"web-1"}},
		"NotAtAll": {"nothing was started", map[string]try{theDeployment: {problem: &problem{reason: DeployFailedReason}}}, []string{"web-1"}, nil},
		"Other":    {"that was about something else", map[string]try{theDeployment: {of: "-", problem: &problem{reason: PortsChangedReason}}}, []string{"web-1"}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			seen := inSync()
			seen.outside.containers[1].Ports, seen.memory.tries = nil, c.tries
			seen.compareAll(&v1alpha1.DockerStack{})
			if last, ok := c.tries[theDeployment]; ok && last.of == "" {
				last.of = seen.trial()
				c.tries[theDeployment] = last
			}
			frozen, spoilt := seen.before()
			if !cmp.Equal(frozen, c.frozen) || !cmp.Equal(spoilt, c.spoilt) {
				t.Errorf("%s: got %q and %q", c.reason, frozen, spoilt)
			}
		})
	}
}

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
