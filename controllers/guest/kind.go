// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package guest brings containers and virtual machines of a Proxmox VE site to what Guests declare.
//
// A Guest is found by its owner mark (mark.go), read in full (observe.go), and compared with its spec by one draft of its
// configuration (draft.go), which serves the creation and the putting back of drift alike. What one call can carry goes
// in one call; what is a task of Proxmox is begun and then seen by the next observation.
package guest

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/authority"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// Reader reads guests. *proxmox.Client is one.
type Reader interface {
	Config(ctx context.Context, r proxmox.Ref) (proxmox.Config, error)
	Pending(ctx context.Context, r proxmox.Ref) ([]proxmox.PendingChange, error)
	Status(ctx context.Context, r proxmox.Ref) (proxmox.Status, error)
	Interfaces(ctx context.Context, r proxmox.Ref) ([]proxmox.Interface, error)
	FreeVMID(ctx context.Context, first, last int, taken func(int) bool) (int, error)
	TaskLog(ctx context.Context, upid proxmox.UPID, lines int) ([]string, error)
	SnippetStorages(ctx context.Context) ([]proxmox.SnippetStorage, error)
}

// Writer makes, changes and destroys guests. A UPID means accepted, not done; an empty one, done at once.
// *proxmox.Client is one.
type Writer interface {
	Create(ctx context.Context, node string, t proxmox.GuestType, vmid int, params map[string]string) (proxmox.UPID, error)
	Clone(ctx context.Context, template proxmox.Ref, newID int, params map[string]string) (proxmox.UPID, error)
	SetConfig(ctx context.Context, r proxmox.Ref, digest string, set map[string]string, del []string) error
	Resize(ctx context.Context, r proxmox.Ref, disk, size, digest string) (proxmox.UPID, error)
	Destroy(ctx context.Context, r proxmox.Ref) (proxmox.UPID, error)
}

// Switch turns guests on and off. *proxmox.Client is one.
type Switch interface {
	Start(ctx context.Context, r proxmox.Ref) (proxmox.UPID, error)
	Shutdown(ctx context.Context, r proxmox.Ref, timeout time.Duration) (proxmox.UPID, error)
	Reboot(ctx context.Context, r proxmox.Ref, timeout time.Duration) (proxmox.UPID, error)
}

// View is the site as a whole: the list of its guests and its tasks. *proxmox.Site is one.
type View interface {
	// Snapshot is the last list of all guests, and whether there is one.
	Snapshot() (proxmox.Snapshot, bool)
	// Refresh asks for a new list.
	Refresh(ctx context.Context) (proxmox.Snapshot, error)
	// Watch follows a task; ended are called when it is over, and the guest is looked at again.
	Watch(upid proxmox.UPID, vmid int, ended ...func())
	// Result is how far a watched task is; false: nobody watches it.
	Result(upid proxmox.UPID) (proxmox.Task, bool)
	// Acquire takes room for one task, without waiting.
	Acquire(storage string, template int) (release func(), ok bool)
}

// Shell runs commands as root on one node. *machine.Conn is one.
type Shell interface {
	Run(ctx context.Context, argv []string, stdin []byte) (machine.Result, error)
}

// Site is one Host's site as this kind needs it.
type Site struct {
	Reader Reader
	Writer Writer
	Switch Switch
	View   View
}

// On returns the Site over a driver's site.
func On(s *proxmox.Site) Site {
	return Site{Reader: s.Client(), Writer: s.Client(), Switch: s.Client(), View: s}
}

// Config is what a Kind works with. Every field is needed.
type Config struct {
	// Reader reads Guests, Hosts and HostServices from the cache.
	Reader client.Reader
	// Secrets reads Secrets, past the cache.
	Secrets client.Reader
	// Sites returns the site of a Host; false: the Host was not reached yet.
	Sites func(host types.NamespacedName) (Site, bool)
	// Shell returns the shell of a Host's node; false: the Host has no SSH for that node.
	Shell func(host types.NamespacedName, node string) (Shell, bool)
	// Machine returns the machine that a Guest is; its status says which guest of Proxmox, and on which node. Whoever
	// works on one machine shares it.
	Machine func(ctx context.Context, g *v1alpha1.Guest) (*machine.Machine, error)
	// Authorities knows the roots that Guests trust.
	Authorities *authority.Book
	// Clock tells the time.
	Clock clock.PassiveClock
}

// Kind is what a Guest has to say to the loop.
type Kind struct {
	Config
	reserved  *reservations
	restarted *restarts
}

var (
	_ reconcile.Kind[*v1alpha1.Guest, Seen]    = (*Kind)(nil)
	_ reconcile.Glancer[*v1alpha1.Guest, Seen] = (*Kind)(nil)
)

// New returns the kind.
func New(c Config) *Kind {
	return &Kind{
		Config: c, reserved: newReservations(c.Clock), restarted: &restarts{vain: map[types.NamespacedName][]proxmox.PendingChange{}},
	}
}

// Refs says what the Guest refers to: its Host, the Guest that it is cloned from, the Secret with its SSH keys, the nfs
// HostServices whose exports it mounts, and, softly, the authorities that it trusts.
// The one that it is cloned from must be Ready until the clone exists, and must stay while a linked clone shares its disks.
func (k *Kind) Refs(g *v1alpha1.Guest) []reconcile.Ref {
	refs := []reconcile.Ref{reconcile.Through("Host", g.Spec.HostRef.Name, v1alpha1.ReachableCondition)}
	if s := g.Spec.Source; s != nil && s.Clone != nil && s.Clone.GuestRef != nil {
		name := s.Clone.GuestRef.Name
		switch {
		case g.Status.Node == "" && g.DeletionTimestamp.IsZero():
			refs = append(refs, reconcile.Hard("Guest", name, v1alpha1.ReadyCondition))
		case s.Clone.Mode == v1alpha1.CloneLinked:
			refs = append(refs, reconcile.Ref{Kind: "Guest", Name: name, Keeps: true})
		}
	}
	if c := g.Spec.CloudInit; c != nil && c.SSHKeysSecretRef != nil {
		refs = append(refs, reconcile.Soft("Secret", c.SSHKeysSecretRef.Name))
	}
	return append(append(refs, exportRefs(&g.Spec)...), authority.Refs(g.Spec.TrustAuthorities)...)
}
