// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/nginx"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// nginxReads are the files that Debian's nginx reads servers and streams from.
var nginxReads = []string{nginx.MainFile, nginxConfD + "*.conf", "/etc/nginx/sites-enabled/*", nginxModules + "*.conf"}

// judgeServers finds what the files of an nginx have in the way of a service, and which others they include. The site that
// Debian comes with goes without asking: nobody wrote it, and it comes back.
func judgeServers(config nginx.Config, contents map[string]string) ([]handLine, []string) {
	var lines []handLine
	for _, f := range config.Conflicts(contents) {
		lines = append(lines, handLine{
			path: f.Path, line: f.Line, first: f.First, last: f.Last, text: f.Text, why: f.Why, instead: f.Instead, stock: f.Stock,
		})
	}
	reads := slices.DeleteFunc(nginx.Includes(contents), func(pattern string) bool { return slices.Contains(nginxReads, pattern) })
	return lines, reads
}

// gateway says whether an nginx service answers. While a change is under way, one server that answers is enough; a server
// that answers with another key than it should does answer.
func (m *machineSeen) gateway(s *v1alpha1.HostService) reconcile.Condition {
	c := reconcile.Condition{Type: v1alpha1.ServingCondition, Status: metav1.ConditionFalse, Reason: ProbeFailedReason}
	if len(m.seen.Probes) == 0 {
		c.Message = "no server can be served"
		if len(m.design.left) > 0 {
			c.Reason, c.Message = m.design.left[0].reason, m.design.left[0].text
		}
		return c
	}
	answers, all := false, true
	for _, p := range m.seen.Probes {
		ok := p.OK || p.ExitCode == otherKey
		answers, all = answers || ok, all && ok
		if !ok && c.Message == "" {
			c.Message = p.Name + " does not answer as it should: " + said(p)
		}
	}
	if !all && (!answers || m.applied(s)) {
		return c
	}
	c.Status, c.Reason, c.Message = metav1.ConditionTrue, AnsweringReason, "the service answers"
	if ends := m.endings(); len(ends) > 0 {
		c.Message += "; " + strings.Join(ends, ", ")
	}
	if len(m.design.notes) > 0 {
		c.Message += "; left out for now: " + strings.Join(m.design.notes, "; ")
	}
	return c
}

// endings say when the certificates end that the machine has.
func (m *machineSeen) endings() []string {
	var ends []string
	for _, served := range m.design.served {
		for _, f := range m.design.want.Files {
			sum := sha256.Sum256(f.Content)
			if f.Path == served.path && m.seen.Paths[f.Path].Hash == hex.EncodeToString(sum[:]) {
				ends = append(ends, served.server+" ends "+day(served.ends))
			}
		}
	}
	return ends
}
