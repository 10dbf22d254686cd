// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// often looks at objects again and again, for what no event tells.
func often(o *controllers.Options) {
	o.GuestInterval, o.HostInterval = 300*time.Millisecond, 300*time.Millisecond
}

// TestHostFaults takes what a Host is reached by away, and gives it back.
func TestHostFaults(t *testing.T) {
	t.Parallel()
	wrong := strings.Repeat("00", 32)
	for _, tc := range []struct {
		name         string
		broken       func(s *stage)
		begin        string
		parts        []string
		mended       func(s *stage)
		reachedStill bool
		nodes        []string
	}{
		{
			name:   "token refused",
			broken: func(s *stage) { s.site.ExpireCredentials(true) }, mended: func(s *stage) { s.site.ExpireCredentials(false) },
			begin: "False Unauthorized", parts: []string{"Secret/token", "tokenSecret"},
		},
		{
			name:   "another certificate",
			broken: func(s *stage) { s.change(s.host(), `tls: {fingerprint: "`+wrong+`"}`) },
			mended: func(s *stage) { s.change(s.host(), `tls: {fingerprint: "`+s.site.Fingerprint+`"}`) },
			begin:  "False CertificateMismatch", parts: []string{wrong, "pvenode cert info"},
		},
		{
			name:   "nothing answers",
			broken: func(s *stage) { s.site.Suspend() },
			mended: func(s *stage) {
				if err := s.site.Resume(); err != nil {
					s.Fatal(err)
				}
			},
			begin: "False Unreachable", parts: []string{"reach https://"},
		},
		{
			name:   "entry missing",
			broken: func(s *stage) { s.change(s.host(), `tokenSecretRef: {name: ssh}`) },
			mended: func(s *stage) { s.change(s.host(), `tokenSecretRef: {name: token}`) },
			begin:  "False SecretMissing", parts: []string{"Secret/ssh", "tokenID"},
		},
		{
			name:   "Secret missing",
			broken: func(s *stage) { s.change(s.host(), `tokenSecretRef: {name: later}`) },
			mended: func(s *stage) {
				s.secret("later", map[string]string{"tokenID": s.site.TokenID, "tokenSecret": s.site.TokenSecret})
			},
			begin: "False SecretMissing", parts: []string{"Secret/later"},
		},
		{
			name:   "no quorum",
			broken: func(s *stage) { s.site.SetQuorum(false) }, mended: func(s *stage) { s.site.SetQuorum(true) },
			begin: "False NoQuorum", parts: []string{"quorum"}, reachedStill: true, nodes: []string{"phoenix", "other"},
		},
		{
			name: "another host key",
			broken: func(s *stage) {
				s.change(s.host(), `ssh: {nodes: [{name: phoenix, address: "`+s.site.SSH[0].Address+`", hostKeys: ["`+keyOne+`"]}]}`)
			},
			mended: func(s *stage) {
				s.change(s.host(), `ssh: {nodes: [{name: phoenix, address: "`+s.site.SSH[0].Address+`", hostKeys: ["`+s.site.SSH[0].HostKey+`"]}]}`)
			},
			begin: "False HostKeyMismatch", parts: []string{"ssh-ed25519", "phoenix"}, reachedStill: true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, set{options: often, site: pve.Options{Nodes: tc.nodes}})
			s.guest("box", container, `{cores: 1, node: phoenix}`)
			g, before := s.readyGuest("box")
			host := s.host()
			s.site.ForgetRequests()
			tc.broken(s)
			s.says(host, "Ready", tc.begin, tc.parts...)
			s.kstatus(host, status.InProgressStatus)
			if !tc.reachedStill {
				s.says(host, "Reachable", tc.begin)
				s.until("what stands on the Host is not known", func() error {
					s.get(g)
					if !strings.HasPrefix(condition(g, "Ready"), "Unknown") {
						return errors.New(describe(g))
					}
					return nil
				})
			}
			tc.mended(s)
			s.ready(host)
			_, after := s.readyGuest("box")
			if before.Config != after.Config || len(s.site.Writes()) > 0 {
				t.Errorf("a Host that was away changed its Guest: %v", s.site.Writes())
			}
		})
	}
}

// TestCapable has a token that may only look.
func TestCapable(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{options: often, token: func(site *pve.Server) (string, string) {
		site.AddUser("phoenix@pve", "unused")
		site.Grant("/", "phoenix@pve", "PVEAuditor")
		return site.AddToken("phoenix@pve", "phoenix", false)
	}})
	host := s.host()
	s.ready(host)
	s.says(host, "Capable", "True Sufficient")
	s.guest("box", container, `{cores: 1, networks: [{device: net0}]}`)
	s.says(host, "Capable", "False MissingPrivileges", "VM.Allocate on /vms", "Guest/box", "needed to")
	s.says(host, "Ready", "False MissingPrivileges")
	s.says(s.named("box"), "Ready", "False Forbidden", "Permission check failed")
	if n := len(s.site.Guests()); n != 1 {
		t.Errorf("%d guests, want the template alone", n)
	}
	s.site.Grant("/", "phoenix@pve", "Administrator")
	s.change(host, `limits: {tasks: 50}`) // a new spec does not wait for the end of a backoff
	s.ready(host)
	s.says(host, "Capable", "True Sufficient")
	s.readyGuest("box")
}

// TestNodes has a cluster: guests are followed, not moved back, and a node that is down stops what stands on it.
func TestNodes(t *testing.T) {
	t.Parallel()
	shared := append(pve.DefaultStorages(), pve.Storage{Name: "ceph", Type: "rbd", Content: []string{"rootdir", "images"}, Shared: true})
	s := newStage(t, set{options: often, site: pve.Options{Nodes: []string{"one", "two"}, Storages: shared}, host: `defaults: {storage: ceph, node: one}`})
	s.guest("box", container, `{node: two, cores: 1, deletionPolicy: Delete}`)
	s.guest("other", container, `cores: 1`)
	g, state := s.readyGuest("box")
	s.readyGuest("other")
	if g.Status.Node != "two" || state.Node != "two" {
		t.Fatalf("made on %s, status says %s", state.Node, g.Status.Node)
	}

	if err := s.site.Move(state.VMID, "one"); err != nil {
		t.Fatal(err)
	}
	s.until("the guest is followed", func() error {
		s.get(g)
		if g.Status.Node != "one" {
			return errors.New(describe(g))
		}
		return nil
	})
	s.readyGuest("box")
	s.change(g, `cores: 2`)
	_, state = s.readyGuest("box")
	s.agrees("changed on its new node", state, []string{"cores=2"})
	if state.Node != "one" {
		t.Errorf("moved back to %s", state.Node)
	}

	if err := s.site.Move(state.VMID, "two"); err != nil {
		t.Fatal(err)
	}
	s.until("the guest is followed back", func() error {
		s.get(g)
		if g.Status.Node != "two" {
			return errors.New(describe(g))
		}
		return nil
	})
	s.site.SetNodeOnline("two", false, 10*time.Millisecond)
	host := s.host()
	s.until("the Host sees the node down", func() error {
		s.get(host)
		if *host.Status.NodesOnline != 1 {
			return errors.New(describe(host))
		}
		return nil
	})
	s.until("the guest on it is not known", func() error {
		s.get(g)
		if !strings.HasPrefix(condition(g, "Ready"), "Unknown") {
			return errors.New(describe(g))
		}
		return nil
	})
	s.ready(s.named("other"))
	s.remove(g)
	s.site.SetNodeOnline("two", true, 0)
	s.gone(g)
	s.absent(state.VMID)
}

// TestFrozen makes nothing and destroys nothing while the site is in doubt.
func TestFrozen(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{})
	s.guest("old", vm, `{deletionPolicy: Delete, power: Stopped, rootDisk: {size: 1Gi}}`)
	old, state := s.readyGuest("old")
	s.site.ForgetRequests()
	s.site.SetQuorum(false)
	s.guest("new", container, `cores: 1`)
	g := s.named("new")
	s.until("nothing is made without a quorum", func() error {
		s.get(g)
		if c := condition(g, "Ready"); !strings.HasPrefix(c, "False Frozen") && !strings.HasPrefix(c, "False NoQuorum") {
			return errors.New(describe(g))
		}
		return nil
	})
	s.remove(old)
	s.until("nothing is destroyed without a quorum", func() error {
		s.get(old)
		if c := condition(old, "Ready"); !strings.HasPrefix(c, "False Frozen") && !strings.HasPrefix(c, "False NoQuorum") {
			return errors.New(describe(old))
		}
		return nil
	})
	if _, there := s.site.Guest(state.VMID); !there || len(s.site.Guests()) != 2 {
		t.Error("something was made or destroyed")
	}
	s.site.SetQuorum(true)
	s.readyGuest("new")
	s.gone(old)
}

// TestSecretsStaySecret looks for the token and the key where they must not be.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	s := newStage(t, set{options: often})
	s.guest("box", container, `{mountPoints: [{path: /mnt, bind: {path: /srv/data/a}}]}`)
	s.readyGuest("box")
	s.site.ExpireCredentials(true)
	s.says(s.host(), "Ready", "False Unauthorized")
	secrets := []string{s.site.TokenSecret, strings.Split(string(s.site.SSH[0].ClientKeyPEM), "\n")[1]}
	for _, o := range []object{s.host(), s.named("box")} {
		s.get(o)
		text := describe(o)
		if slices.ContainsFunc(secrets, func(x string) bool { return strings.Contains(text, x) }) {
			t.Errorf("%s shows a secret", o.GetName())
		}
	}
	var all corev1.SecretList
	if err := kube.List(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	for _, o := range all.Items {
		if o.Namespace == s.namespace && !slices.Contains([]string{"token", "ssh"}, o.Name) {
			t.Errorf("a Secret %s that nobody declared", o.Name)
		}
	}
}
