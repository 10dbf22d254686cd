// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package proxmox is the driver of a Proxmox VE site: a typed client of its
// API, a codec of its property strings, and an observer that follows all
// guests and tasks of one site with few requests.
//
// It knows neither Kubernetes nor what the site should look like: plain values
// go in and out. Where a comment says "measured", the behaviour was seen on
// Proxmox VE 9.2.11.
package proxmox

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// GuestType is "lxc" for a container and "qemu" for a VM, as in API paths.
type GuestType string

// The two types of guests.
const (
	LXC  GuestType = "lxc"
	QEMU GuestType = "qemu"
)

// Ref says where a guest is. The node is where it was last seen: high
// availability or a person may move it, so it is never part of its identity.
type Ref struct {
	Node string
	Type GuestType
	VMID int
}

// String renders the reference as "lxc/101 on pve1".
func (r Ref) String() string { return fmt.Sprintf("%s/%d on %s", r.Type, r.VMID, r.Node) }

// Node is one machine of the site.
type Node struct {
	Name        string
	Online      bool
	Status      string // online, offline or unknown; measured: right after a node's death still online
	CPUs        int    // 0 when unknown or the token lacks Sys.Audit
	MemoryBytes int64  // 0 when unknown or the token lacks Sys.Audit
}

// Resource is one guest in the site's list. Measured: node, type, lock and
// tags are fresh, name and status lag by up to 10 s; a new guest appears as
// "unknown" and without a name.
type Resource struct {
	Ref
	Name     string
	Status   string   // running, stopped or unknown; unknown is not stopped
	Tags     []string // sorted
	Lock     string   // why the configuration is locked, such as "backup"
	HAState  string   // empty: not managed by high availability
	Template bool
}

// equal says whether nothing differs that a change is reported for.
func (r Resource) equal(o Resource) bool {
	return r.Ref == o.Ref && r.Name == o.Name && r.Status == o.Status && r.Lock == o.Lock &&
		r.HAState == o.HAState && r.Template == o.Template && slices.Equal(r.Tags, o.Tags)
}

// Storage is a storage as one node sees it.
type Storage struct {
	Name    string
	Type    string   // dir, zfspool, lvmthin, nfs, ...
	Content []string // sorted: images, rootdir, vztmpl, snippets, iso, backup, import
	Active  bool
	Enabled bool
	Shared  bool
	Avail   int64 // bytes
	Total   int64 // bytes
}

// Config is a guest's configuration with pending changes merged in.
type Config struct {
	// Digest is the SHA-1 of the configuration file; send it with a write.
	Digest string
	// Values are all keys but the digest; numbers and booleans as text ("1").
	Values map[string]string
	// Raw are a container's lxc.* lines in their order; only root may set them.
	Raw [][2]string
}

// PendingChange is a key whose value is not yet what the guest runs with: a
// container applies it when it stops, a VM when it next starts.
type PendingChange struct {
	Key     string
	Value   string // what it runs with; empty: the key is not there
	Pending string // what it will run with
	Delete  bool   // the key will go
}

// Status is how a guest is now.
type Status struct {
	Running      bool
	Status       string // running or stopped
	QMPStatus    string // VMs: running, paused, prelaunch, ...
	Lock         string
	Uptime       time.Duration
	AgentEnabled bool // VMs: whether the configuration says that an agent is there
	HAManaged    bool
}

// Interface is a network interface as the guest itself sees it.
type Interface struct {
	Name      string
	MAC       string // lower case
	Addresses []netip.Prefix
}

// Permissions are a token's effective privileges: path, then privilege. The
// value says whether the privilege also holds for what lies below the path.
type Permissions map[string]map[string]bool

// Has says whether the token holds a privilege at a path such as "/vms/101".
// A path that is not listed takes what propagates from its nearest listed
// ancestor; an entry further down replaces the ones above it.
func (p Permissions) Has(path, privilege string) bool {
	if privileges, ok := p[path]; ok {
		_, held := privileges[privilege]
		return held
	}
	for path != "/" && path != "" {
		path = path[:strings.LastIndexByte(path, '/')]
		at := path
		if at == "" {
			at = "/"
		}
		if privileges, ok := p[at]; ok {
			return privileges[privilege]
		}
	}
	return false
}

// TaskState is how far a task is.
type TaskState string

// The states of a task. An unknown one is over or lost, and nothing is known of
// its success: look at the guest.
const (
	TaskRunning   TaskState = "Running"
	TaskSucceeded TaskState = "Succeeded"
	TaskFailed    TaskState = "Failed"
	TaskUnknown   TaskState = "Unknown"
)

// Task is a job of a node.
type Task struct {
	UPID     UPID
	Node     string
	Type     string // vzcreate, qmclone, resize, ...
	ID       string // mostly the VMID; a clone's is its template's
	User     string // with the token: "root@pam!phoenix"
	State    TaskState
	Exit     string // "OK", "WARNINGS: 2", or what went wrong
	Warnings int    // a task with warnings succeeded
	Started  time.Time
}

// UPID names a task. That a call returned one says that it was accepted, not
// that it will succeed.
type UPID string

// ParseUPID reads a UPID, "UPID:node:pid:pstart:starttime:type:id:user:" with
// hexadecimal numbers and a colon at the end, into a Task whose State is
// TaskUnknown.
func ParseUPID(s string) (Task, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 9 || parts[0] != "UPID" || parts[8] != "" || parts[1] == "" || parts[5] == "" || parts[7] == "" {
		return Task{}, fmt.Errorf("parse task name %q: want eight parts that each end in a colon", s)
	}
	var numbers [3]int64
	for i, part := range parts[2:5] {
		n, err := strconv.ParseInt(part, 16, 64)
		if err != nil {
			return Task{}, fmt.Errorf("parse task name %q: %q is not a hexadecimal number", s, part)
		}
		numbers[i] = n
	}
	return Task{
		UPID: UPID(s), Node: parts[1], Type: parts[5], ID: parts[6], User: parts[7], State: TaskUnknown,
		Started: time.Unix(numbers[2], 0).UTC(),
	}, nil
}

// judge sets the state by the exit text of a stopped task.
func (t *Task) judge(exit string) {
	t.Exit = exit
	switch count, warned := strings.CutPrefix(exit, "WARNINGS: "); {
	case exit == "OK":
		t.State = TaskSucceeded
	case warned:
		t.State = TaskSucceeded
		t.Warnings, _ = strconv.Atoi(count)
	case exit == "" || exit == "unexpected status":
		t.State = TaskUnknown
	default:
		t.State = TaskFailed
	}
}
