// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// TestMountUnit: systemd refuses a unit whose name is not its path's.
func TestMountUnit(t *testing.T) {
	for path, want := range map[string]string{
		"/mnt/data":        "mnt-data.mount",
		"/srv/my-data_1.x": `srv-my\x2ddata_1.x.mount`,
		"/.hidden/a":       `\x2ehidden-a.mount`,
		"/a/.hidden":       "a-.hidden.mount",
		"/A/b/c9/-d":       `A-b-c9-\x2dd.mount`,
	} {
		if got := mountUnit(path); got != want {
			t.Errorf("%s: want %s, got %s", path, want, got)
		}
	}
}

func mountOf(path string) v1alpha1.NFSMount {
	return v1alpha1.NFSMount{Path: path, Export: *exportedMedia}
}

func sourcesOf(source string) map[v1alpha1.ExportReference]export {
	return map[v1alpha1.ExportReference]export{*exportedMedia: {path: "/exports/media", source: source}}
}

// TestMountState: what nfsMounts are on a machine.
func TestMountState(t *testing.T) {
	data := mountOf("/mnt/my-data")
	data.ReadOnly = ptr(true)
	const unit = `mnt-my\x2ddata.mount`
	want := machine.State{
		Packages: []string{"nfs-common"},
		Dirs:     []machine.Dir{{Path: "/mnt/my-data"}},
		Files: []machine.File{{Path: "/etc/systemd/system/" + unit, Mode: 0o644, Triggers: []machine.Trigger{{Unit: unit, Action: machine.Restart}}, Content: []byte(
			`# Written by Phoenix for nfsMounts of the Guest; a change is put back.
[Unit]
Description=/mnt/my-data from [fd00::13]:/exports/media
After=network-online.target
Wants=network-online.target

[Mount]
What=[fd00::13]:/exports/media
Where=/mnt/my-data
Type=nfs4
Options=ro,_netdev
TimeoutSec=30

[Install]
WantedBy=multi-user.target
`)}},
		Units:  []machine.Unit{{Name: unit, Enabled: true, Running: true}},
		Probes: []machine.Probe{{Name: "/mnt/my-data", Argv: []string{"findmnt", "-n", "-o", "SOURCE", "--mountpoint", "/mnt/my-data"}, Want: "[fd00::13]:/exports/media"}},
		Reads:  []string{"/etc/systemd/system/" + unit},
	}
	if diff := cmp.Diff(want, mountState([]v1alpha1.NFSMount{data}, sourcesOf("[fd00::13]:/exports/media"))); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	nested := mountState([]v1alpha1.NFSMount{mountOf("/mnt/a/b"), mountOf("/mnt/a")}, sourcesOf("10.0.0.13:/exports/media"))
	if diff := cmp.Diff([]machine.Dir{{Path: "/mnt/a"}}, nested.Dirs); diff != "" {
		t.Errorf("no directory is made in an export (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(machine.State{}, mountState(nil, nil)); diff != "" {
		t.Errorf("nothing declared (-want +got):\n%s", diff)
	}
}

// TestUnmountable: nothing but an address and a directory reaches a unit's file.
func TestUnmountable(t *testing.T) {
	for _, c := range []struct{ reason, source, want string }{
		{"IPv4", "10.0.0.13:/exports/media", ""},
		{"IPv6", "[fd00::13]:/exports/media", ""},
		{"nothing yet", "", ExportMissingReason},
		{"another line", "10.0.0.13:/exports/media\nOptions=exec", ExportMissingReason},
		{"a specifier of systemd", "10.0.0.13:/exports/%h", ExportMissingReason},
		{"no directory", "10.0.0.13", ExportMissingReason},
		{"a name, which somebody else may answer", "nas.lan:/exports/media", ExportMissingReason},
	} {
		got := ""
		if refused := unmountable("f", *exportedMedia, export{source: c.source}); refused != nil {
			got = refused.reason
		}
		if got != c.want {
			t.Errorf("%s: want %q, got %q", c.reason, c.want, got)
		}
	}
}

// TestMountFailure: which outcome an error in the VM deserves.
func TestMountFailure(t *testing.T) {
	for _, c := range []struct {
		reason string
		err    error
		want   func(error) error
	}{
		{"packages are being installed", &machine.PendingError{What: "apt"}, func(e error) error { return reconcile.Wait(MountingReason, shortly, e) }},
		{"the VM is away", machine.Away(errors.New("cut")), func(e error) error { return reconcile.Wait(MachineAwayReason, shortly, e) }},
		{"somebody else writes there", &machine.ChangedError{What: "/etc/x"}, func(e error) error { return reconcile.Wait(ChangedReason, soon, e) }},
		{"the server refuses", &machine.UnitError{What: "start"}, func(e error) error { return reconcile.Fail(MountFailedReason, e) }},
		{"something else is mounted", &machine.ProbeError{Name: "/mnt"}, func(e error) error { return reconcile.Fail(MountFailedReason, e) }},
		{"the package cannot be had", &machine.JobError{What: "install"}, func(e error) error { return reconcile.Fail(MountFailedReason, e) }},
		{"anything else", errors.New("y"), func(e error) error { return e }},
	} {
		err := fmt.Errorf("x: %w", c.err)
		if got, want := mountFailure(MountingReason, err), c.want(err); !alike(got, want) {
			t.Errorf("%s: want %#v, got %#v", c.reason, want, got)
		}
	}
}

// TestInShort: of what a unit says, the reason is kept.
func TestInShort(t *testing.T) {
	unit := &machine.UnitError{What: "start mnt-media.mount", Output: "Job for mnt-media.mount failed.\nMounting mnt-media.mount...\n" +
		"mount.nfs4: access denied by server while mounting 10.0.0.13:/exports/media\nmnt-media.mount: Failed with result 'exit-code'."}
	const want = "not rolled back in full: start mnt-media.mount: mount.nfs4: access denied by server while mounting 10.0.0.13:/exports/media"
	if got := inShort(unit); got.Error() != want {
		t.Errorf("want %q, got %q", want, got)
	}
	for reason, err := range map[string]error{
		"nothing of mount's": &machine.UnitError{What: "start x", Output: "timed out"}, "another error": errors.New("x"),
	} {
		if got := inShort(err); got.Error() != err.Error() {
			t.Errorf("%s: got %q", reason, got)
		}
	}
}

// TestMountsNotSeen: what a Guest says of mounts that could not be looked at, and whether Ready waits.
func TestMountsNotSeen(t *testing.T) {
	answers := all(enabled, having("10.0.0.7/24"))
	mounting := func(s *v1alpha1.GuestSpec) {
		agent(s)
		s.NFSMounts = []v1alpha1.NFSMount{mountOf("/mnt/data")}
	}
	for _, c := range []struct {
		reason string
		spec   func(*v1alpha1.GuestSpec)
		seen   func(*Seen)
		want   string // the condition
		waits  string
	}{
		{"none declared: no condition", agent, answers, "", ""},
		{"the VM is off", mounting, func(s *Seen) { s.status = proxmox.Status{} }, "False NotRunning: the guest does not run", ""},
		{"the agent does not answer", mounting, silent, "Unknown MachineAway: the VM cannot be looked at", "nfsMounts of VM 103 cannot be looked at: " + absentAgent},
		{"the agent does not answer any more", mounting, all(answers, func(s *Seen) { s.mounts = &mounts{err: machine.Away(errors.New("cut"))} }),
			"Unknown MachineAway: cut", "look at nfsMounts of VM 103: cut"},
		{"one is missing", mounting, all(answers, func(s *Seen) {
			s.mounts = &mounts{seen: machine.Seen{Probes: []machine.ProbeResult{{Name: "/mnt/a", OK: true}, {Name: "/mnt/data"}}}}
		}), "False NotMounted: not mounted: /mnt/data", ""},
		{"all are there", mounting, all(answers, func(s *Seen) {
			s.mounts = &mounts{seen: machine.Seen{Probes: []machine.ProbeResult{{Name: "/mnt/data", OK: true}}}}
		}), "True Mounted: mounted: /mnt/data", ""},
		{"dropped by the spec, and the VM is away", agent, all(answers, func(s *Seen) { s.mounts = &mounts{err: machine.Away(errors.New("cut"))} }),
			"", "look at nfsMounts of VM 103: cut"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			seen := presentSeen(vm, nil)
			seen.now, seen.status.Running = noon, true
			c.seen(&seen)
			g := newGuest(vm, c.spec)
			g.Status.Conditions = []metav1.Condition{{Type: v1alpha1.MountedCondition, Status: metav1.ConditionTrue}}
			got := ""
			for _, condition := range new(Kind).Report(g, seen) {
				if condition.Type == v1alpha1.MountedCondition {
					got = fmt.Sprintf("%s %s: %s", condition.Status, condition.Reason, condition.Message)
				}
			}
			if got != c.want || c.want == "" && len(g.Status.Conditions) != 0 {
				t.Errorf("Mounted: want %q, got %q, %v", c.want, got, g.Status.Conditions)
			}
			err := seen.awaitMounts(g)
			if fmt.Sprint(err) != c.waits && (err != nil || c.waits != "") {
				t.Errorf("want a wait that says %q, got %v", c.waits, err)
			}
		})
	}
}

// TestNoMountsNoRoundTrip: a VM is only looked into when its spec has, or had, nfsMounts and it can be reached.
func TestNoMountsNoRoundTrip(t *testing.T) {
	answers := all(enabled, having("10.0.0.7/24"), func(s *Seen) { s.status.Running, s.exports = true, sourcesOf("10.0.0.13:/exports/media") })
	declared := func(s *v1alpha1.GuestSpec) {
		agent(s)
		s.NFSMounts = []v1alpha1.NFSMount{mountOf("/mnt/data")}
	}
	for _, c := range []struct {
		reason string
		spec   func(*v1alpha1.GuestSpec)
		seen   func(*Seen)
		looks  int
	}{
		{"none declared", agent, answers, 0},
		{"declared", declared, answers, 1},
		{"declared before", agent, all(answers, func(s *Seen) { s.mark.mounts = true }), 1},
		{"the VM is off", declared, all(answers, func(s *Seen) { s.status.Running = false }), 0},
		{"the VM is to be off", func(s *v1alpha1.GuestSpec) { declared(s); s.Power = v1alpha1.PowerStopped }, answers, 0},
		{"the agent does not answer", declared, all(answers, silent), 0},
		{"it has no address yet", declared, all(answers, having("127.0.0.1/8")), 0},
		{"it is not known what to mount: what is there stays", declared, all(answers, func(s *Seen) { s.exports = nil }), 0},
		{"a template", declared, all(answers, func(s *Seen) { s.template = true }), 0},
	} {
		t.Run(c.reason, func(t *testing.T) {
			seen, looks := presentSeen(vm, nil), 0
			c.seen(&seen)
			k := &Kind{Config: Config{Machine: func(_ context.Context, g *v1alpha1.Guest) (*machine.Machine, error) {
				looks++
				if *g.Status.VMID != 103 || g.Status.Node != "phoenix" {
					t.Errorf("the status says which guest it is: got %v", g.Status)
				}
				return nil, errors.New("none")
			}}}
			k.readMounts(t.Context(), newGuest(vm, c.spec), &seen)
			if looks != c.looks {
				t.Errorf("want %d looks, got %d", c.looks, looks)
			}
		})
	}
}

// TestMarkNamesMounts: what a spec drops is found in the VM although every status is lost.
func TestMarkNamesMounts(t *testing.T) {
	declared := func(s *v1alpha1.GuestSpec) {
		agent(s)
		s.NFSMounts = []v1alpha1.NFSMount{mountOf("/mnt/data")}
	}
	for _, c := range []struct {
		reason string
		spec   func(*v1alpha1.GuestSpec)
		seen   func(*Seen)
		want   bool
	}{
		{"declared", declared, func(*Seen) {}, true},
		{"never declared", agent, func(*Seen) {}, false},
		{"dropped, and not looked at yet", agent, func(s *Seen) { s.mark.mounts = true }, true},
		{"dropped, and nothing is left", agent, func(s *Seen) { s.mark.mounts, s.mounts = true, &mounts{} }, false},
		{"dropped, and the VM is away", agent, func(s *Seen) { s.mark.mounts, s.mounts = true, &mounts{err: errors.New("cut")} }, true},
	} {
		seen := presentSeen(vm, nil)
		seen.exports = sourcesOf("10.0.0.13:/exports/media")
		c.seen(&seen)
		d := newDraft(newGuest(vm, c.spec), seen)
		if m := d.markFor(d.after(), nil); m.mounts != c.want || strings.Contains(m.line(), "mounts=nfs") != c.want {
			t.Errorf("%s: want %v, got %s", c.reason, c.want, m.line())
		}
	}
}
