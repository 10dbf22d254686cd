// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// auditor is a token that may read everything.
func auditor() proxmox.Permissions {
	return proxmox.Permissions{"/": {"VM.Audit": true, "Sys.Audit": true, "Datastore.Audit": true}}
}

// readGuest makes a Guest from the YAML of its spec.
func readGuest(t *testing.T, name, spec string) v1alpha1.Guest {
	t.Helper()
	g := v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &g.Spec); err != nil {
		t.Fatalf("read spec: %v", err)
	}
	return g
}

func TestMissing(t *testing.T) {
	for name, tc := range map[string]struct {
		reason  string
		spec    string // of one Guest; empty: none
		status  v1alpha1.GuestStatus
		version string
		held    proxmox.Permissions
		want    []string // "privilege path"
	}{
		"no guests, no privileges": {
			reason: "a Host alone has to see the site",
			held:   proxmox.Permissions{},
			want:   []string{"VM.Audit /vms", "Sys.Audit /", "Datastore.Audit /storage"},
		},
		"no guests": {
			reason: "and needs no more than to see it",
			held:   auditor(),
		},
		"new container": {
			reason: "creation, mark, start, and what the fields of the spec write",
			spec:   "{type: Container, vmid: 103, cores: 1, memory: 512Mi, rootDisk: {storage: local-lvm, size: 8Gi}, features: {nesting: true}, networks: [{device: net0, bridge: vmbr1}]}",
			held:   auditor(),
			want: []string{
				"VM.Allocate /vms/103", "VM.Allocate /vms/103", "VM.PowerMgmt /vms/103", "VM.Config.Options /vms/103", "VM.Config.CPU /vms/103",
				"VM.Config.Memory /vms/103", "VM.Config.Disk /vms/103", "VM.Config.Network /vms/103",
				"Datastore.AllocateSpace /storage/local-lvm", "SDN.Use /sdn/zones/localnetwork/vmbr1",
			},
		},
		"existing container": {
			reason: "what exists is not created, and a bridge that is not declared stays",
			spec:   "{type: Container, networks: [{device: net0}]}",
			status: v1alpha1.GuestStatus{VMID: ptr.To(int32(10007)), Node: "pve1"},
			held:   auditor(),
			want:   []string{"VM.PowerMgmt /vms/10007", "VM.Config.Options /vms/10007", "VM.Config.Network /vms/10007"},
		},
		"clone": {
			reason: "the template is another guest, the clone has no VMID yet; the Host's storage and bridge stand in",
			spec:   "{type: VM, source: {clone: {vmid: 9000}}, cloudInit: {user: phoenix}, networks: [{device: net0, vlan: 7}]}",
			held:   auditor(),
			want: []string{
				"VM.Allocate /vms", "VM.Clone /vms/9000", "VM.PowerMgmt /vms", "VM.Config.Options /vms", "VM.Config.Network /vms",
				"VM.Config.Cloudinit /vms", "VM.Config.CDROM /vms", "Datastore.AllocateSpace /storage/tank", "SDN.Use /sdn/zones/localnetwork/vmbr9/7",
			},
		},
		"linked clone": {
			reason: "it takes its disks from the template's storage, whatever the Host's default",
			spec:   "{type: VM, vmid: 1001, source: {clone: {name: debian-12-cloud, mode: Linked}}}",
			held:   auditor(),
			want:   []string{"VM.Allocate /vms/1001", "VM.Clone /vms", "VM.PowerMgmt /vms/1001", "VM.Config.Options /vms/1001"},
		},
		"blank VM": {
			reason: "without a source the hardware is ours to choose",
			spec:   "{type: VM, vmid: 1001}",
			held:   auditor(),
			want:   []string{"VM.Allocate /vms/1001", "VM.PowerMgmt /vms/1001", "VM.Config.Options /vms/1001", "VM.Config.HWType /vms/1001"},
		},
		"deletion policy": {
			reason: "to destroy a guest is a privilege of its creation",
			spec:   "{type: VM, deletionPolicy: Delete}",
			status: v1alpha1.GuestStatus{VMID: ptr.To(int32(1001)), Node: "pve1"},
			held:   auditor(),
			want:   []string{"VM.Allocate /vms/1001", "VM.PowerMgmt /vms/1001", "VM.Config.Options /vms/1001"},
		},
		"agent on 9": {
			reason: "Proxmox VE 9 has privileges of its own for the agent",
			spec:   "{type: VM, management: Observe, vmid: 1001, agent: true}",
			held:   auditor(), version: "9.2.11",
			want: []string{"VM.GuestAgent.Audit /vms/1001"},
		},
		"agent on 8": {
			reason: "Proxmox VE 8 has not",
			spec:   "{type: VM, management: Observe, vmid: 1001, agent: true}",
			held:   auditor(), version: "8.4.1",
			want: []string{"VM.Monitor /vms/1001"},
		},
		"trusting VM on 9": {
			reason: "its trust store is seen to through the agent, under Observe too",
			spec:   "{type: VM, management: Observe, vmid: 1001, agent: true, trustAuthorities: [{serviceRef: {name: ca}}]}",
			held:   auditor(), version: "9.2.11",
			want: []string{"VM.GuestAgent.Audit /vms/1001", "VM.GuestAgent.Unrestricted /vms/1001"},
		},
		"trusting VM on 8": {
			reason: "one privilege is for both there",
			spec:   "{type: VM, management: Observe, vmid: 1001, agent: true, trustAuthorities: [{serviceRef: {name: ca}}]}",
			held:   auditor(), version: "8.4.1",
			want: []string{"VM.Monitor /vms/1001", "VM.Monitor /vms/1001"},
		},
		"trusting container": {
			reason: "it is entered over SSH",
			spec:   "{type: Container, management: Observe, vmid: 103, trustAuthorities: [{serviceRef: {name: ca}}]}",
			held:   auditor(),
		},
		"observed": {
			reason: "who only looks needs no privilege to write",
			spec:   "{type: Container, management: Observe, vmid: 103, cores: 4}",
			held:   auditor(),
		},
		"paused": {
			reason: "who does not even look needs none",
			spec:   "{type: VM, management: Paused, vmid: 1001, agent: true}",
			held:   auditor(),
		},
		"privileges on the guest alone": {
			reason: "a role on one guest's path is enough for that guest",
			spec:   "{type: VM}",
			status: v1alpha1.GuestStatus{VMID: ptr.To(int32(1001)), Node: "pve1"},
			held: proxmox.Permissions{
				"/": auditor()["/"], "/vms/1001": {"VM.PowerMgmt": true, "VM.Config.Options": false},
			},
		},
		"SDN of another zone": {
			reason: "a virtual network's name does not tell its zone",
			spec:   "{type: VM, management: Enforce, networks: [{device: net0, bridge: vnet1}]}",
			status: v1alpha1.GuestStatus{VMID: ptr.To(int32(1001)), Node: "pve1"},
			held: proxmox.Permissions{
				"/": auditor()["/"], "/vms": {"VM.PowerMgmt": true, "VM.Config.Options": true, "VM.Config.Network": true, "VM.Audit": true},
				"/sdn/zones/blue": {"SDN.Use": true},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			host := &v1alpha1.Host{Spec: v1alpha1.HostSpec{Defaults: &v1alpha1.HostDefaults{Storage: "tank", Bridge: "vmbr9"}}}
			var guests []v1alpha1.Guest
			if tc.spec != "" {
				g := readGuest(t, "g", tc.spec)
				g.Status = tc.status
				guests = append(guests, g)
			}
			var got []string
			for _, m := range missing(host, objects{guests: guests}, tc.version, tc.held) {
				got = append(got, m.Privilege+" "+m.Path)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("missing (-want +got): %s\n%s", tc.reason, diff)
			}
		})
	}
}

func TestMissingForServices(t *testing.T) {
	guests := []v1alpha1.Guest{
		readGuest(t, "dns", "{type: VM, vmid: 1003}"), readGuest(t, "web", "{type: Container, vmid: 101}"), readGuest(t, "db", "{type: Container, vmid: 102}"),
	}
	for name, tc := range map[string]struct {
		reason  string
		spec    string // of one HostService
		version string
		want    []string // "privilege path"
	}{
		"on a node":             {"all is done over SSH", "{hostRef: {name: h}, dnsmasq: {}}", "9.2", nil},
		"in a container":        {"all is done over SSH", "{guestRef: {name: web}, dnsmasq: {}}", "9.2", nil},
		"in a VM":               {"commands run through the agent", "{guestRef: {name: dns}, dnsmasq: {}}", "9.2", []string{"VM.GuestAgent.Unrestricted /vms/1003"}},
		"in a VM, observed":     {"looking takes commands as well", "{guestRef: {name: dns}, management: Observe, dnsmasq: {}}", "9.2", []string{"VM.GuestAgent.Unrestricted /vms/1003"}},
		"in a VM on version 8":  {"it has another privilege there", "{guestRef: {name: dns}, dnsmasq: {}}", "8.4.1", []string{"VM.Monitor /vms/1003"}},
		"in no VM that exists":  {"the reference is the service's to name", "{guestRef: {name: none}, dnsmasq: {}}", "9.2", nil},
		"firewall":              {"groups are the site's", "{hostRef: {name: h}, firewall: {}}", "9.2", []string{"Sys.Modify /"}},
		"firewall, observed":    {"reading takes what every Host needs", "{hostRef: {name: h}, management: Observe, firewall: {flows: Derive}}", "9.2", nil},
		"firewall, paused":      {"nothing is done", "{hostRef: {name: h}, management: Paused, firewall: {flows: Derive}}", "9.2", nil},
		"firewall of a guest":   {"its rules are its own", "{hostRef: {name: h}, firewall: {guests: [{name: web}]}}", "9.2", []string{"Sys.Modify /", "VM.Config.Network /vms/101"}},
		"firewall with flows":   {"every guest has rules", "{hostRef: {name: h}, firewall: {flows: Derive}}", "9.2", []string{"Sys.Modify /", "VM.Config.Network /vms/1003", "VM.Config.Network /vms/101", "VM.Config.Network /vms/102"}},
		"in a VM that is wrong": {"version that cannot be read counts as the newest", "{guestRef: {name: dns}, dnsmasq: {}}", "", []string{"VM.GuestAgent.Unrestricted /vms/1003"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
			if err := yaml.UnmarshalStrict([]byte(tc.spec), &s.Spec); err != nil {
				t.Fatal(err)
			}
			major, _ := strconv.Atoi(strings.Split(tc.version, ".")[0])
			var got []string
			for _, m := range missingForServices(&v1alpha1.Host{}, objects{guests, []v1alpha1.HostService{s}}, major, auditor()) {
				got = append(got, m.Privilege+" "+m.Path)
				if m.User != "HostService/s" {
					t.Errorf("the user is %q", m.User)
				}
			}
			slices.Sort(got)
			slices.Sort(tc.want)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("missing (-want +got): %s\n%s", tc.reason, diff)
			}
		})
	}
}

func TestMissingIsInOrder(t *testing.T) {
	b, a := readGuest(t, "b", "{type: VM, vmid: 2000}"), readGuest(t, "a", "{type: VM, vmid: 3000}")
	b.Status.Node, a.Status.Node = "pve1", "pve1"
	host := &v1alpha1.Host{}
	if diff := cmp.Diff(missing(host, objects{guests: []v1alpha1.Guest{a, b}}, "", auditor()), missing(host, objects{guests: []v1alpha1.Guest{b, a}}, "", auditor())); diff != "" {
		t.Errorf("the order of the Guests changes the message, which would be written again and again:\n%s", diff)
	}
}

func TestDescribe(t *testing.T) {
	var many []Missing
	for i := range 9 {
		many = append(many, Missing{Privilege: fmt.Sprintf("P%d", i), Path: "/vms", Feature: "try"})
	}
	for name, tc := range map[string]struct {
		reason  string
		missing []Missing
		want    string
	}{
		"one": {
			"privilege, path, feature and Guest are named",
			[]Missing{{"VM.Clone", "/vms/9000", "clone a template", "Guest/portainer"}},
			"the token lacks VM.Clone on /vms/9000: needed to clone a template (Guest/portainer)",
		},
		"several guests": {
			"a hundred Guests make no hundred lines",
			[]Missing{{"VM.PowerMgmt", "/vms/1", "start", "Guest/a"}, {"VM.PowerMgmt", "/vms/2", "start", "Guest/b"}, {"VM.PowerMgmt", "/vms/3", "start", "Guest/c"}},
			"the token lacks VM.PowerMgmt on /vms/1 and 2 more: needed to start (Guest/a and 2 more)",
		},
		"no guest": {
			"what the Host needs itself has no Guest",
			[]Missing{{"Sys.Audit", "/", "read nodes", ""}},
			"the token lacks Sys.Audit on /: needed to read nodes",
		},
		"many": {
			"a message is bounded",
			many,
			"the token lacks P0 on /vms: needed to try; P1 on /vms: needed to try; P2 on /vms: needed to try; P3 on /vms: needed to try; " +
				"P4 on /vms: needed to try; P5 on /vms: needed to try; and 3 more",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, describe(tc.missing)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// Every privilege of the tables stands in the documentation, and in the command there that makes the role.
func TestPrivilegesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/privileges.md")
	if err != nil {
		t.Fatal(err)
	}
	_, role, found := strings.Cut(string(page), "pveum role add Phoenix --privs '")
	role, _, _ = strings.Cut(role, "'")
	if !found {
		t.Fatal("docs/privileges.md has no command that makes the role")
	}
	known := map[string]bool{}
	var features []string
	for _, m := range always {
		known[m.Privilege] = true
		features = append(features, m.Feature)
	}
	for _, n := range append(append([]need{}, reading...), writing...) {
		known[n.privilege] = true
		features = append(features, n.feature)
	}
	for _, row := range serving {
		known[row.privilege] = true
		features = append(features, row.feature)
	}
	inRole := map[string]bool{}
	for _, p := range strings.Fields(role) {
		inRole[p] = true
		if !known[p] {
			t.Errorf("the role holds %s, which nothing needs", p)
		}
	}
	for p := range known {
		if p != "VM.Monitor" && !inRole[p] { // of version 8 alone
			t.Errorf("the role lacks %s", p)
		}
		if !strings.Contains(string(page), "`"+p+"`") {
			t.Errorf("docs/privileges.md does not explain %s", p)
		}
	}
	for _, f := range features {
		if !strings.Contains(string(page), f) {
			t.Errorf("docs/privileges.md does not name the feature %q", f)
		}
	}
}
