// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// maxNodes is what status.nodes takes.
const maxNodes = 64

// Report writes what was seen to the status. What is not known stays as it was.
func (k *Kind) Report(host *v1alpha1.Host, seen Seen) []reconcile.Condition {
	status := &host.Status
	if seen.Version != "" {
		status.Version = seen.Version
	}
	if seen.Nodes != nil {
		status.Nodes, status.NodesOnline = nodesOf(seen.Nodes)
	}
	if seen.Guests != nil {
		status.Guests = &v1alpha1.HostGuests{
			Managed: ptr.To(int32(seen.Guests.Managed)), Unmanaged: ptr.To(int32(seen.Guests.Unmanaged)),
		}
	}
	var conditions []reconcile.Condition
	if seen.API != nil {
		conditions = append(conditions, condition(v1alpha1.ReachableCondition, *seen.API))
	}
	if seen.Judged {
		v := Verdict{true, Sufficient, "the token has every privilege that is in use"}
		if len(seen.Missing) > 0 {
			v = Verdict{false, MissingPrivileges, describe(seen.Missing)}
		}
		conditions = append(conditions, condition(v1alpha1.CapableCondition, v))
	}
	return append(conditions, seen.trustedCondition(host)...)
}

func condition(kind string, v Verdict) reconcile.Condition {
	status := metav1.ConditionFalse
	if v.OK {
		status = metav1.ConditionTrue
	}
	return reconcile.Condition{Type: kind, Status: status, Reason: v.Reason, Message: v.Message}
}

func nodesOf(seen []proxmox.Node) ([]v1alpha1.HostNode, *int32) {
	nodes := make([]v1alpha1.HostNode, 0, len(seen))
	var online int32
	for _, n := range seen {
		if n.Online {
			online++
		}
		if len(nodes) == maxNodes {
			continue
		}
		node := v1alpha1.HostNode{Name: n.Name, Online: ptr.To(n.Online), CPUs: int32(n.CPUs)}
		if n.MemoryBytes > 0 {
			node.Memory = resource.NewQuantity(n.MemoryBytes, resource.BinarySI)
		}
		nodes = append(nodes, node)
	}
	return nodes, &online
}
