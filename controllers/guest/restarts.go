// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// restarts remember what guests were restarted for in vain, so that none is restarted over and over for what Proxmox does
// not apply. A new manager tries once more.
type restarts struct {
	mu   sync.Mutex
	vain map[types.NamespacedName][]proxmox.PendingChange
}

// note takes what waits for a guest's restart, and says whether it is what the last restart left.
func (r *restarts) note(g *v1alpha1.Guest, seen Seen) bool {
	name := client.ObjectKeyFromObject(g)
	r.mu.Lock()
	defer r.mu.Unlock()
	left := len(seen.pending) > 0 && (seen.restarted || slices.Equal(r.vain[name], seen.pending))
	if !left || !g.DeletionTimestamp.IsZero() {
		delete(r.vain, name)
		return false
	}
	r.vain[name] = seen.pending
	return true
}
