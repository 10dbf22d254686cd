// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// exported waits until the node exports what has all of the parts, and nothing that has one of the others.
func (s *stage) exported(m *machine.Machine, parts []string, not ...string) {
	s.Helper()
	s.until(fmt.Sprintf("exports have %q and not %q", parts, not), func() error {
		out := s.shell(m, "exportfs -s")
		for _, p := range parts {
			if !strings.Contains(out, p) {
				return fmt.Errorf("%q is not in\n%s", p, out)
			}
		}
		for _, p := range not {
			if strings.Contains(out, p) {
				return fmt.Errorf("%q is in\n%s", p, out)
			}
		}
		return nil
	})
}

// TestNFS exports a directory from a bare machine, follows its clients, and goes without a trace but the data.
func TestNFS(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly})
	node := s.node()
	before, packages := paths(s, node), node.Packages()
	o := s.service("exports", nfs, `
deletionPolicy: Delete
nfs:
  exports:
  - {name: data, path: /srv/data, owner: "100000", mode: "2770", clients: [{guestRef: {name: app}}, {cidr: 10.0.5.0/24, readOnly: true, squash: All}]}
  - {name: late, path: /srv/late, clients: [{guestRef: {name: nobody}}]}`)
	s.ready(o)
	s.says(o, "Exported", "True Exported", "10.0.0.13:/srv/data", "Guest/app has no address yet", "Guest/nobody has no address yet")
	if diff := cmp.Diff([]v1alpha1.ExportStatus{{Name: "data", Source: "10.0.0.13:/srv/data"}, {Name: "late", Source: "10.0.0.13:/srv/late"}}, o.Status.Exports); diff != "" {
		t.Errorf("status.exports (-want +got):\n%s", diff)
	}
	s.exported(node, []string{"10.0.5.0/24(", "all_squash", "ro,"}, "/srv/late")
	if got := strings.TrimSpace(s.shell(node, "stat -c '%a %u' /srv/data")); got != "2770 100000" {
		t.Errorf("the directory is %q", got)
	}

	s.guest("app", container, addressed("10.0.0.102"))
	app, _ := s.readyGuest("app")
	s.exported(node, []string{"10.0.0.102/32("})
	s.change(app, addressed("10.0.0.103"))
	s.exported(node, []string{"10.0.0.103/32("}, "10.0.0.102")
	s.readyGuest("app")
	s.ready(o)
	s.rest([]*machine.Machine{node}, o)

	if err := node.WriteFile("/srv/data/file", "precious", 0o600); err != nil {
		t.Fatal(err)
	}
	s.remove(o)
	s.gone(o)
	if got := file(node, "/srv/data/file"); got != "precious" {
		t.Errorf("the data is %q", got)
	}
	if diff := cmp.Diff(before, paths(s, node)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
	for name := range node.Packages() {
		if _, was := packages[name]; !was && name == "nfs-kernel-server" {
			t.Errorf("package %s is left", name)
		}
	}
}

// TestNFSDrift puts back what people do to the exports, and leaves theirs alone.
func TestNFSDrift(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly}, exporter...)
	node := s.node()
	s.shell(node, "mkdir -p /srv/other && echo '/srv/other 10.0.9.0/24(ro)' >> /etc/exports && exportfs -ra")
	byHand := file(node, "/etc/exports")
	o := s.service("exports", nfs, `nfs: {exports: [{name: data, path: /srv/data, mode: "0750", clients: [{cidr: 10.0.5.0/24}]}]}`)
	s.ready(o)
	const ours = "/etc/exports.d/phoenix-exports.exports"
	content := file(node, ours)
	for reason, line := range map[string]string{
		"an edited file":     "echo '/etc *(rw)' >> " + ours + " && exportfs -ra",
		"a removed file":     "rm " + ours + " && exportfs -ra",
		"a stopped server":   "systemctl disable --now nfs-server",
		"an open directory":  "chmod 777 /srv/data",
		"a removed package":  "apt-get remove -y nfs-kernel-server",
		"the record is lost": "rm -r /var/lib/phoenix",
	} {
		s.shell(node, line)
		s.until(reason+" is put back", func() error {
			u := node.Unit("nfs-server.service")
			info, err := node.Stat("/srv/data")
			if err != nil || info.Mode().Perm() != 0o750 || file(node, ours) != content || u.Active != "active" || u.Enabled != "enabled" ||
				!node.Knows("exportfs") || !s.recorded(node) {
				return fmt.Errorf("%v %w, unit %+v, file\n%s", info, err, u, file(node, ours))
			}
			return nil
		})
		s.exported(node, []string{"/srv/data", "10.0.5.0/24(", "/srv/other"}, "/etc ")
	}
	s.ready(o)
	if file(node, "/etc/exports") != byHand {
		t.Errorf("the exports made by hand were changed:\n%s", file(node, "/etc/exports"))
	}
	s.rest([]*machine.Machine{node}, o)
}

// TestNFSOnePass is what looking at exports in sync costs.
func TestNFSOnePass(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{}, exporter...)
	o := s.service("exports", nfs, ``)
	s.ready(o)
	s.onePass(o, s.node())
}

// TestNFSByHand observes and takes over exports that were made by hand.
func TestNFSByHand(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly}, exporter...)
	node := s.node()
	const byHand = "# mine\n/srv/data *(rw,sync,no_subtree_check)\n/srv/other *(ro,sync,no_subtree_check)\n"
	s.shell(node, "mkdir -p /srv/data /srv/other")
	if err := node.WriteFile("/etc/exports", byHand, 0o644); err != nil {
		t.Fatal(err)
	}
	s.shell(node, "exportfs -ra")
	writes := node.Writes()
	o := s.service("exports", nfs, `{management: Observe, deletionPolicy: Delete}`)
	s.says(o, "Drifted", "True Drifted")
	s.says(o, "Exported", "True")
	s.change(o, `management: Enforce`)
	s.says(o, "Ready", "False NotOwned", "/etc/exports line 2", "adoptionPolicy: IfUnowned")
	if node.Writes() != writes {
		t.Errorf("%d writes before anybody allowed them", node.Writes()-writes)
	}
	s.change(o, `adoptionPolicy: IfUnowned`)
	s.ready(o)
	s.exported(node, []string{"10.0.5.0/24(", "/srv/other"}, "/srv/data  *")
	s.rest([]*machine.Machine{node}, o)
	s.remove(o)
	s.gone(o)
	if got := file(node, "/etc/exports"); got != byHand {
		t.Errorf("the exports made by hand are not as they were:\n%s", got)
	}
	s.exported(node, []string{"/srv/other", "/srv/data"}, "10.0.5.0/24(")
}

// TestGanesha serves NFS from user space.
func TestGanesha(t *testing.T) {
	t.Parallel()
	s := newServiceStage(t, set{options: quickly}, "nfs-ganesha", "nfs-ganesha-vfs")
	node := s.node()
	original := file(node, "/etc/ganesha/ganesha.conf")
	o := s.service("exports", nfs, `{deletionPolicy: Delete, nfs: {server: Ganesha}}`)
	s.ready(o)
	s.says(o, "Exported", "True")
	if u := node.Unit("nfs-ganesha.service"); u.Active != "active" || u.Enabled != "enabled" {
		t.Errorf("the server is %+v", u)
	}
	s.rest([]*machine.Machine{node}, o)
	s.shell(node, "systemctl stop nfs-ganesha")
	s.until("a stopped server is put back", func() error {
		if u := node.Unit("nfs-ganesha.service"); u.Active != "active" {
			return fmt.Errorf("%+v", u)
		}
		return nil
	})
	s.remove(o)
	s.gone(o)
	if got := file(node, "/etc/ganesha/ganesha.conf"); got != original {
		t.Errorf("the distribution's file is\n%s", got)
	}
	for _, p := range paths(s, node) {
		if strings.Contains(p, "phoenix") {
			t.Errorf("%s is left", p)
		}
	}
}
