// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers"
)

// talkative makes a manager log all that it may.
func talkative(log *journal) func(*controllers.Options) {
	return func(o *controllers.Options) {
		quickly(o)
		o.HostInterval = o.HostServiceInterval
		o.Logger = funcr.New(log.add, funcr.Options{Verbosity: 7})
	}
}

// three declares one service of each kind.
func (s *stage) three(patch string) []*v1alpha1.HostService {
	return []*v1alpha1.HostService{s.service("dns", dnsmasq, patch), s.service("exports", nfs, patch), s.service("site-firewall", firewall, patch)}
}

// outsideOf is all that three services have made outside.
func (s *stage) outsideOf() string {
	s.Helper()
	node := s.node()
	text := file(node, dnsDropIn) + file(node, "/etc/exports.d/phoenix-exports.exports") + file(node, clusterFile) + s.shell(node, "exportfs -s")
	return text + fmt.Sprint(node.Unit(dnsUnit).Invocation, s.recorded(node))
}

// TestServicesStay has services that are let go, are found again, and are not touched while they are paused.
func TestServicesStay(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly}, slices.Concat(resolver, exporter)...)
	node := s.node()
	all := s.three(`deletionPolicy: Retain`)
	for _, o := range all {
		s.ready(o)
	}
	s.calmly()
	outside, writes := s.outsideOf(), node.Writes()
	s.site.ForgetRequests()
	for _, o := range all {
		s.remove(o)
		s.gone(o)
	}
	if now := s.outsideOf(); now != outside || node.Writes() != writes || len(s.writes()) > 0 {
		t.Errorf("Retain touched what is outside: %v\n%s", s.writes(), cmp.Diff(outside, now))
	}

	all = s.three(`deletionPolicy: Delete`)
	for _, o := range all {
		s.ready(o)
	}
	if now := s.outsideOf(); now != outside || node.Writes() != writes || len(s.writes()) > 0 {
		t.Errorf("the same manifest did not find what it had made: %v\n%s", s.writes(), cmp.Diff(outside, now))
	}

	for _, o := range all {
		s.change(o, `management: Paused`)
		s.says(o, "Ready", "True Paused")
	}
	s.shell(node, "systemctl stop dnsmasq; echo '/etc *(rw)' >> /etc/exports.d/phoenix-exports.exports")
	if err := s.site.WriteFile("phoenix", clusterFile, strings.Replace(file(node, clusterFile), "-dport 8006", "-dport 8007", 1)); err != nil {
		t.Fatal(err)
	}
	writes = node.Writes()
	looks := len(s.site.SSHCommands())
	s.until("the Host is looked at", func() error { return atLeast(looks+5, len(s.site.SSHCommands())) })
	if node.Unit(dnsUnit).Active == "active" || node.Writes() != writes || !strings.Contains(file(node, clusterFile), "8007") {
		t.Error("a paused service was put back")
	}
	for _, o := range all {
		s.change(o, `management: Enforce`)
	}
	for _, o := range all {
		s.ready(o)
	}
	s.answers(node, map[string]string{"nas.phoenix.lan A": "10.0.0.20"})
	s.exported(node, []string{"10.0.5.0/24("}, "/etc ")
	s.inForce("the rules are put back", onCluster, "ACCEPT tcp 8006 from 10.0.0.0/24")
}

// calmly waits until the node is written to no more.
func (s *stage) calmly() {
	s.Helper()
	s.until("nothing is written any more", func() error {
		before, looks := s.node().Writes(), s.trips()
		s.until("some looks", func() error { return atLeast(looks+4, s.trips()) })
		if now := s.node().Writes(); now != before {
			return fmt.Errorf("%d writes after %d", now, before)
		}
		return nil
	})
}

// TestEmptyEtcdOfServices loses all objects: those that are made anew from the same YAML find everything and write nothing.
func TestEmptyEtcdOfServices(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{idle: true}, slices.Concat(resolver, exporter)...)
	stop := s.manager(quickly)
	s.guest("box", container, `{vmid: 210, networks: [{device: net0, firewall: true, ipv4: {method: Static, address: 10.0.0.30/24}}]}`)
	s.readyGuest("box")
	all := s.three(`{}`)
	for _, o := range all {
		s.ready(o)
	}
	s.calmly()
	stop()
	outside, writes := s.outsideOf(), s.node().Writes()
	everything := []object{s.named("box"), s.host()}
	for _, o := range all {
		everything = append(everything, o)
	}
	for _, o := range everything {
		s.patch(o, `metadata: {finalizers: null}`)
		s.remove(o)
		s.gone(o)
	}
	s.site.ForgetRequests()
	s.create(s.hostYAML("site", s.site), `allow: {exportPaths: [/srv]}`)
	s.guest("box", container, `{vmid: 210, networks: [{device: net0, firewall: true, ipv4: {method: Static, address: 10.0.0.30/24}}]}`)
	all = s.three(`{}`)
	s.run(quickly)
	for _, o := range all {
		s.ready(o)
	}
	s.readyGuest("box")
	s.calmly()
	if now := s.outsideOf(); now != outside || s.node().Writes() != writes || len(s.writes()) > 0 {
		t.Errorf("finding everything again made %d writes to the node, and to the site %v\n%s", s.node().Writes()-writes, s.writes(), cmp.Diff(outside, now))
	}
}

// TestServicesKeepSecrets looks for the token and the key wherever somebody without access to Secrets may look, after all
// services were made, refused and cut off.
func TestServicesKeepSecrets(t *testing.T) {
	t.Parallel()
	log := &journal{}
	s := newServiceStage(t, set{idle: true}, slices.Concat(resolver, exporter)...)
	stop := s.manager(talkative(log))
	s.guest("box", container, filtered("10.0.0.30"))
	s.readyGuest("box")
	all := s.three(`{}`)
	for _, o := range all {
		s.ready(o)
	}
	s.node().Fail("dnsmasq --test*", 1, 1, "dnsmasq: bad option at line 3")
	s.change(all[0], `dnsmasq: {domain: changed.lan}`)
	s.says(all[0], "Ready", "False ValidationFailed")
	s.site.ExpireCredentials(true)
	s.says(s.host(), "Ready", "False Unauthorized")
	stop()

	places := map[string]string{"the manager's log": log.String()}
	var events eventsv1.EventList
	var hosts v1alpha1.HostList
	var guests v1alpha1.GuestList
	var services v1alpha1.HostServiceList
	for name, list := range map[string]client.ObjectList{"events": &events, "Hosts": &hosts, "Guests": &guests, "HostServices": &services} {
		if err := kube.List(context.Background(), list, client.InNamespace(s.namespace)); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		places[name] = string(text)
	}
	var commands strings.Builder
	for _, c := range s.site.SSHCommands() {
		fmt.Fprintln(&commands, c.Command)
	}
	for _, c := range s.node().Commands() {
		fmt.Fprintln(&commands, c)
	}
	places["command lines"] = commands.String()
	for _, path := range paths(s, s.node()) {
		places[path] = file(s.node(), path)
	}
	key := strings.Split(strings.TrimSpace(string(s.site.SSH[0].ClientKeyPEM)), "\n")
	for place, text := range places {
		if text == "" {
			t.Errorf("nothing in %s", place)
		}
		for what, secret := range map[string]string{"the token": s.site.TokenSecret, "the SSH key": key[len(key)/2]} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %s", place, what)
			}
		}
	}
	for _, c := range s.site.SSHCommands() { // content travels on standard input
		if strings.Contains(c.Command, "10.0.0.20") || strings.Contains(c.Command, "/srv/data") {
			t.Errorf("a command line has content: %s", c.Command)
		}
	}
}
