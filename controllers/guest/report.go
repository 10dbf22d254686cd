// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"errors"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// startTolerance is how far two readings of the same start may lie apart.
	startTolerance = 10 * time.Second
	// answerTime is how long a guest may take from its start until it can be reached.
	answerTime   = 10 * time.Minute
	maxAddresses = 32
	maxPending   = 64
)

// Report writes what was seen to the status.
func (k *Kind) Report(g *v1alpha1.Guest, seen Seen) []reconcile.Condition {
	s := &g.Status
	switch seen.presence {
	case unknown:
		return nil
	case absent:
		s.Node, s.Power, s.Addresses, s.Networks, s.StartedAt, s.PendingRestart = "", "", nil, nil, nil, nil
		return append([]reconcile.Condition{
			{Type: v1alpha1.RunningCondition, Status: metav1.ConditionFalse, Reason: AbsentReason, Message: "the guest does not exist"},
			{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionFalse, Reason: NotRunningReason, Message: "the guest does not run"},
		}, seen.inside(g)...)
	}
	vmid := int32(seen.ref.VMID)
	s.VMID, s.Node = &vmid, seen.ref.Node
	s.Networks = seen.networks()
	s.Power, s.Addresses, s.PendingRestart = v1alpha1.PowerStopped, nil, nil
	if !seen.status.Running {
		s.StartedAt = nil
		return append([]reconcile.Condition{
			{Type: v1alpha1.RunningCondition, Status: metav1.ConditionFalse, Reason: StoppedReason, Message: "the guest is off"},
			{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionFalse, Reason: NotRunningReason, Message: "the guest does not run"},
		}, seen.inside(g)...)
	}
	s.Power = v1alpha1.PowerRunning
	s.Addresses = seen.addresses(g)
	s.PendingRestart = seen.pendingKeys()
	started := seen.now.Add(-seen.status.Uptime)
	if s.StartedAt == nil || started.Sub(s.StartedAt.Time).Abs() > startTolerance {
		at := metav1.NewTime(started.Truncate(time.Second))
		s.StartedAt = &at
	}
	return append([]reconcile.Condition{
		{Type: v1alpha1.RunningCondition, Status: metav1.ConditionTrue, Reason: RunningReason, Message: "the guest is on"},
		seen.reachable(g),
	}, seen.inside(g)...)
}

// inside are the conditions of what is in the guest.
func (s Seen) inside(g *v1alpha1.Guest) []reconcile.Condition {
	return append(s.mounted(g), s.trusted(g)...)
}

// networks are the interfaces of the configuration with their MAC addresses, by slot.
func (s Seen) networks() []v1alpha1.GuestNetwork {
	var networks []v1alpha1.GuestNetwork
	for n := range maxAddresses {
		slot := "net" + strconv.Itoa(n)
		text, ok := s.config.Values[slot]
		if !ok {
			continue
		}
		net, err := proxmox.ParseNet(s.ref.Type, text)
		if err != nil {
			continue // what cannot be read has no MAC address to show; the plan says so
		}
		networks = append(networks, v1alpha1.GuestNetwork{Device: slot, MAC: strings.ToUpper(net.MAC)})
	}
	return networks
}

// pendingKeys are what takes effect only with a restart.
func (s Seen) pendingKeys() []string {
	var keys []string
	for _, p := range s.pending {
		keys = append(keys, p.Key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)[:min(len(keys), maxPending)]
}

// inner are the interfaces that engines of containers and machines make inside a guest. Their addresses lead nowhere from
// outside, are the same in many guests, and come and go with every stack.
var inner = regexp.MustCompile(`^(docker[0-9]+|docker_gwbridge|br-[0-9a-f]{12}|veth.+|(cni-)?podman[0-9]+|cni[0-9]+|(vir|lxc|lxd|incus)br[0-9]+)$`)

// within says that an interface is none of the configuration's, but one that an engine in the guest made.
func (s Seen) within(i proxmox.Interface) bool {
	return inner.MatchString(i.Name) && !slices.ContainsFunc(s.networks(), func(n v1alpha1.GuestNetwork) bool { return strings.EqualFold(n.MAC, i.MAC) })
}

// observed are the addresses that the guest says it has, without loopback and link-local ones, and those of engines in it.
func (s Seen) observed() []netip.Addr {
	var found []netip.Addr
	for _, i := range s.interfaces {
		if s.within(i) {
			continue
		}
		for _, p := range i.Addresses {
			a := p.Addr()
			if !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified() && !slices.Contains(found, a) {
				found = append(found, a)
			}
		}
	}
	return found
}

// addresses are those, the declared one first. Of a VM that cannot be asked, the declared one is taken for granted.
func (s Seen) addresses(g *v1alpha1.Guest) []string {
	found := s.observed()
	if static, ok := staticAddress(g); ok {
		i := slices.Index(found, static)
		switch {
		case i >= 0:
			found = slices.Insert(slices.Delete(found, i, i+1), 0, static)
		case s.taken(g):
			found = slices.Insert(found, 0, static)
		}
	}
	var texts []string
	for _, a := range found[:min(len(found), maxAddresses)] {
		texts = append(texts, a.String())
	}
	return texts
}

// addressText names all addresses: who depends on the guest is woken by conditions alone, so a change of any address must
// show in one.
func (s Seen) addressText(g *v1alpha1.Guest) string {
	texts := s.addresses(g)
	word := "address"
	if len(texts) > 1 {
		word = "addresses"
	}
	return word + " " + strings.Join(texts, ", ")
}

// taken says that a declared address is taken for granted: the VM has no guest agent that could be asked.
func (s Seen) taken(g *v1alpha1.Guest) bool {
	return s.ref.Type == proxmox.QEMU && !deref(g.Spec.Agent) && (s.silent || !s.status.AgentEnabled)
}

// reachable is the condition Reachable of a guest that runs.
func (s Seen) reachable(g *v1alpha1.Guest) reconcile.Condition {
	is := func(status metav1.ConditionStatus, reason, format string, args ...any) reconcile.Condition {
		return reconcile.Condition{Type: v1alpha1.ReachableCondition, Status: status, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	static, declared := staticAddress(g)
	found := s.observed()
	switch {
	case declared && (slices.Contains(found, static) || s.taken(g)), !declared && len(found) > 0:
		return is(metav1.ConditionTrue, AddressKnownReason, "the guest has the %s", s.addressText(g))
	case s.ref.Type == proxmox.QEMU && !s.status.AgentEnabled:
		return is(metav1.ConditionFalse, NoAgentReason, "without a guest agent or a static address it is not known how to reach the VM")
	case s.ref.Type == proxmox.QEMU && s.silent:
		return is(metav1.ConditionFalse, AgentAbsentReason, "%s", s.silence(g))
	case declared:
		return is(metav1.ConditionFalse, NoAddressReason, "the guest does not have the address %s", static)
	}
	return is(metav1.ConditionFalse, NoAddressReason, "the guest has no address")
}

// awaitAnswer waits until a guest that was started can be reached for the first time. What is lost later says nothing of
// the configuration: the condition Reachable shows it.
func (s Seen) awaitAnswer(g *v1alpha1.Guest) error {
	_, static := staticAddress(g)
	if s.presence != present || !s.status.Running || s.template || !wantsRunning(g) || !static && !deref(g.Spec.Agent) {
		return nil
	}
	c := s.reachable(g)
	if c.Status == metav1.ConditionTrue || s.answered(g) {
		return nil
	}
	if s.status.Uptime > answerTime {
		return reconcile.Fail(c.Reason, fmt.Errorf("%s %d runs for more than %s: %s", nounOf(s.ref.Type), s.ref.VMID, answerTime, c.Message))
	}
	reason := StartingReason
	if c.Reason == AgentAbsentReason || c.Reason == NoAgentReason {
		reason = WaitingForAgentReason
	}
	return reconcile.Wait(reason, s.patience(), errors.New(c.Message))
}

// patience is how soon a guest that boots is asked again: soon at first, for Ready waits for its answer.
func (s Seen) patience() time.Duration {
	const share = 30
	return min(max(s.status.Uptime/share, 2*time.Second), shortly)
}

// answered says whether the guest was reached since it was started: then Reachable changed after that.
func (s Seen) answered(g *v1alpha1.Guest) bool {
	last := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ReachableCondition)
	if last == nil {
		return false
	}
	if last.Status == metav1.ConditionTrue {
		return g.Status.StartedAt != nil && s.now.Add(-s.status.Uptime).Sub(g.Status.StartedAt.Time) <= startTolerance
	}
	started := s.now.Add(-s.status.Uptime)
	return last.LastTransitionTime.After(started.Add(startTolerance))
}
