// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"slices"
	"testing"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// badService is a HostService that is in order by itself, and that only the rest of the world refuses.
type badService struct {
	reason, base, patch, begin string
	// parts are the named field or object, and the remedy.
	parts []string
	// retried says that it is tried again by itself.
	retried bool
}

var badServices = []badService{
	{"a directory beside what is allowed", nfs, `nfs: {exports: [{name: data, path: /srvx, clients: [{cidr: 10.0.0.0/24}]}]}`, "False PathNotAllowed", []string{"exports[data].path", "/srvx", "allow.exportPaths"}, false},
	{"a directory that nobody may export", nfs, `nfs: {exports: [{name: data, path: /srv/data, clients: [{cidr: 10.0.0.0/24}]}, {name: etc, path: /etc, clients: [{cidr: 10.0.0.0/24}]}]}`, "False PathNotAllowed", []string{"exports[etc].path", "allow.exportPaths"}, false},
	{"a link that leads elsewhere", nfs, `nfs: {exports: [{name: data, path: /srv/link, clients: [{cidr: 10.0.0.0/24}]}]}`, "False NotOwned", []string{"/srv/link"}, false},
	{"a node that the Host does not have", nfs, `node: nobody`, "False NoSSH", []string{"nobody", "ssh.nodes"}, true},
	{"a Host that is not there", nfs, `hostRef: {name: nobody}`, "Unknown DependencyNotReady", []string{"Host/nobody", "not found"}, true},
	{"a Guest that is not there", nfs, `{hostRef: null, guestRef: {name: nobody}}`, "False DependencyNotReady", []string{"Guest/nobody", "not found"}, true},
	{"a dependency that is not there", dnsmasq, `dependsOn: [{kind: Guest, name: nobody}]`, "False DependencyNotReady", []string{"Guest/nobody", "not found"}, true},
	{"a second dnsmasq", dnsmasq, ``, "False AlreadyServed", []string{"HostService/dns", "older"}, false},
	{"a second server of NFS", nfs, `nfs: {server: Ganesha}`, "False AlreadyServed", []string{"HostService/exports", "older"}, false},
	{"a macro that Proxmox does not have", firewall, `firewall: {datacenter: {rules: [{action: Accept, macro: Teleport}]}}`, "False InvalidFirewall", []string{"datacenter.rules[0].macro", "Teleport"}, false},
	{"an alias that is not declared", firewall, `firewall: {datacenter: {rules: [{action: Accept, source: {alias: nowhere}}]}}`, "False InvalidFirewall", []string{"datacenter.rules[0].source.alias", "nowhere"}, false},
	{"a set that is not declared", firewall, `firewall: {datacenter: {rules: [{action: Accept, source: {ipSet: nowhere}}]}}`, "False InvalidFirewall", []string{"datacenter.rules[0].source.ipSet", "nowhere"}, false},
	{"a node that is not the Host's", firewall, `firewall: {nodes: [{name: nobody}]}`, "False InvalidFirewall", []string{"nodes[0].name", "only phoenix"}, false},
	{"rules of a Guest that is not there", firewall, `firewall: {guests: [{name: nobody, enabled: true}]}`, "False GuestMissing", []string{"guests[0].name", "Guest/nobody"}, true},
	{"a source that is not there", firewall, `firewall: {datacenter: {rules: [{action: Accept, source: {guestRef: {name: nobody}}}]}}`, "False GuestMissing", []string{"datacenter.rules[0].source.guestRef", "Guest/nobody"}, true},
	{"a Guest of another Host", firewall, `firewall: {guests: [{name: stranger, enabled: true}]}`, "False GuestMissing", []string{"guests[0].name", "Host/site has no Guest/stranger"}, true},
	{"a port that there is not", firewall, `firewall: {datacenter: {rules: [{action: Accept, protocol: tcp, ports: "70000"}]}}`, "False InvalidFirewall", []string{"datacenter.rules[0].ports", "65535"}, false},
}

// TestBadService has what only the reconcile can refuse: each names what is wrong and what helps, writes nothing, and goes
// when it is deleted.
func TestBadService(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{}, slices.Concat(resolver, exporter)...)
	node := s.node()
	s.shell(node, "mkdir -p /srv && ln -s /etc /srv/link")
	other, err := pve.Start(t.Context(), pve.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	s.create(s.hostYAML("other", other), `{tokenSecretRef: {name: nowhere}, ssh: null}`)
	s.guest("stranger", container, `hostRef: {name: other}`)
	s.ready(s.service("dns", dnsmasq, ``))
	s.ready(s.service("exports", nfs, ``))
	s.calm()
	s.site.ForgetRequests()
	writes := node.Writes()
	for i, tc := range badServices {
		t.Run(tc.reason, func(t *testing.T) {
			s := s.with(t)
			o := s.service(fmt.Sprintf("zz-bad-%d", i), tc.base, tc.patch)
			s.says(o, "Ready", tc.begin, tc.parts...)
			if tc.retried {
				s.kstatus(o, status.InProgressStatus)
			} else {
				s.says(o, "Stalled", "True")
				s.kstatus(o, status.FailedStatus)
			}
			s.change(o, `deletionPolicy: Delete`)
			s.remove(o)
			s.gone(o)
		})
		if now := node.Writes(); now != writes || len(s.writes()) > 0 {
			t.Errorf("%s: %d writes to the node, and to the site %v", tc.reason, now-writes, s.writes())
			writes = now
			s.site.ForgetRequests()
		}
	}
	s.ready(s.service("later", nfs, `nfs: {exports: [{name: more, path: /srv/more, clients: [{cidr: 10.0.0.0/24}]}]}`))
}

// TestSamePathTwice has two services export one directory: the older one does, the other one says so and does the rest.
func TestSamePathTwice(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{}, exporter...)
	first := s.service("a-first", nfs, `deletionPolicy: Delete`)
	s.ready(first)
	second := s.service("b-second", nfs, `nfs: {exports: [{name: data, path: /srv/data, clients: [{cidr: 10.0.6.0/24}]}, {name: own, path: /srv/own, clients: [{cidr: 10.0.6.0/24}]}]}`)
	s.says(second, "Ready", "False DuplicatePath", "HostService/a-first and HostService/b-second both export /srv/data")
	s.exported(s.node(), []string{"/srv/own", "10.0.5.0/24("})
	s.ready(first)
	s.remove(first)
	s.gone(first)
	s.ready(second)
	s.exported(s.node(), []string{"/srv/own", "/srv/data"}, "10.0.5.0/24(")
}
