// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// GuestSpec is a guest that is there from the beginning, or that Add adds.
type GuestSpec struct {
	VMID int
	// Kind: lxc or qemu.
	Kind string
	// Node; default the first.
	Node string
	// Config is its configuration file, in Proxmox's format. Volumes that it
	// names are made, of the size that it says.
	Config string
	// Running from the start, booted long ago.
	Running bool
	// Behaviour of its inside.
	Behaviour Behaviour
}

// GuestState is a guest as a person at its node sees it.
type GuestState struct {
	VMID       int
	Kind, Node string
	// Config is the text of the configuration file, Digest its SHA-1.
	Config, Digest string
	// Options are the options as they are now, Pending the merged ones.
	Options, Pending map[string]string
	Running          bool
	// Started is when it was started last.
	Started time.Time
	Lock    string
	// Volumes are all volumes that belong to it, used or not.
	Volumes []string
}

func defaultTemplate(node string) GuestSpec {
	return GuestSpec{VMID: 9000, Kind: kindQEMU, Node: node, Config: `agent: 1
boot: order=scsi0
cores: 1
memory: 1024
meta: creation-qemu=10.0.13,ctime=1795287846
name: debian-12-cloud
net0: virtio=BC:24:11:90:00:01,bridge=vmbr0
ostype: l26
scsi0: local-lvm:base-9000-disk-0,size=2G
scsihw: virtio-scsi-single
serial0: socket
smbios1: uuid=47c21de7-b5b3-465e-a881-9e331a949000
template: 1
vga: serial0
vmgenid: ebd0cb42-1dcf-485d-946f-5cc9b47b9000
`}
}

// Add puts a guest there, as a restored backup would.
func (s *Server) Add(spec GuestSpec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if spec.Node == "" {
		spec.Node = s.order[0]
	}
	return s.add(spec)
}

func (s *Server) add(spec GuestSpec) error {
	if spec.Kind != kindLXC && spec.Kind != kindQEMU {
		return fmt.Errorf("add guest %d: unknown kind %q", spec.VMID, spec.Kind)
	}
	if s.nodes[spec.Node] == nil {
		return fmt.Errorf("add guest %d: unknown node %q", spec.VMID, spec.Node)
	}
	if s.guests[spec.VMID] != nil {
		return fmt.Errorf("add guest %d: the id is taken", spec.VMID)
	}
	g := newGuest(spec.VMID, spec.Kind, spec.Node)
	g.behaviour = spec.Behaviour
	g.save(parseConf(spec.Kind, spec.Config))
	s.guests[spec.VMID] = g
	for key, value := range g.conf.main {
		s.adopt(g, key, value)
	}
	if err := s.enter(g); err != nil || !spec.Running {
		return err
	}
	if err := s.outside(g, func(b Guests, info GuestInfo) error { return b.Start(s.ctx, info) }); err != nil {
		return err
	}
	s.run(g)
	g.booted = g.started
	return nil
}

// adopt makes the volume that an option names, if its storage exists.
func (s *Server) adopt(g *guest, key, value string) {
	id := diskVolume(g.kind, key, value)
	if !isDiskKey(g.kind, key) && !strings.HasPrefix(key, "unused") {
		return
	}
	if st, v := s.volumeByID(g.node, id); st != nil && v == nil {
		size, ok := parseSize(looseParse(value)["size"])
		if !ok {
			size = 1 << 30
		}
		content := "images"
		if g.kind == kindLXC {
			content = "rootdir"
		}
		v = &volume{id: id, size: size, content: content, vmid: g.vmid, format: first(formatOf(id), "raw"), made: s.born}
		if i := strings.LastIndexByte(id, '/'); i >= 0 && strings.Contains(id[:i], "base-") {
			v.parent = id[:i]
		}
		st.on(g.node)[id] = v
	}
}

// Guest looks at a guest; false when there is none.
func (s *Server) Guest(vmid int) (GuestState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.guests[vmid]
	if g == nil {
		return GuestState{}, false
	}
	return s.state(g), true
}

// Guests looks at all guests, by VMID.
func (s *Server) Guests() []GuestState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []GuestState
	for _, g := range s.sortedGuests() {
		out = append(out, s.state(g))
	}
	return out
}

func (s *Server) state(g *guest) GuestState {
	return GuestState{
		VMID: g.vmid, Kind: g.kind, Node: g.node, Config: g.text, Digest: g.digest(), Options: g.conf.main.clone(),
		Pending: g.conf.merged(), Running: g.running, Started: g.started, Lock: g.lock(), Volumes: s.ownedVolumes(g),
	}
}

// asRoot does something to a guest that is there.
func (s *Server) asRoot(vmid int, do func(*guest) error) error {
	defer s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.guests[vmid]
	if g == nil {
		return fmt.Errorf("guest %d does not exist", vmid)
	}
	return do(g)
}

// change updates a guest as root@pam at the web interface would.
func (s *Server) change(vmid int, params map[string]string) error {
	g, there := s.Guest(vmid)
	if !there {
		return fmt.Errorf("guest %d does not exist", vmid)
	}
	params["vmid"], params["node"] = fmt.Sprint(vmid), g.Node
	m, _ := loadSchema().find("PUT", []string{"nodes", g.Node, g.Kind, fmt.Sprint(vmid), "config"})
	if errs := m.validate(params, true); len(errs) > 0 {
		return fmt.Errorf("change guest %d: %s", vmid, problemText(badParams, errs))
	}
	return s.rootUpdate(g.Node, g.Kind, vmid, params)
}

// SetConfig sets an option as a person at the web interface: it may become
// pending, as the guest's state and the option demand.
func (s *Server) SetConfig(vmid int, key, value string) error {
	return s.change(vmid, map[string]string{key: value})
}

// DeleteConfig deletes options in the same way.
func (s *Server) DeleteConfig(vmid int, keys ...string) error {
	return s.change(vmid, map[string]string{"delete": strings.Join(keys, ",")})
}

// SetLock puts a configuration lock (backup, migrate ...) on a guest; "" takes
// it away.
func (s *Server) SetLock(vmid int, lock string) error {
	return s.asRoot(vmid, func(g *guest) error { g.setLock(lock); return nil })
}

// HoldFileLock keeps a guest's file lock until release is called, so that its
// writers time out.
func (s *Server) HoldFileLock(vmid int) (release func(), err error) {
	s.mu.Lock()
	g := s.guests[vmid]
	s.mu.Unlock()
	if g == nil {
		return nil, fmt.Errorf("guest %d does not exist", vmid)
	}
	return s.lockFile(vmid, g.kind)
}

// Move takes a guest to another node, as HA does.
func (s *Server) Move(vmid int, node string) error {
	return s.asRoot(vmid, func(g *guest) error {
		if s.nodes[node] == nil {
			return fmt.Errorf("move guest %d: unknown node %q", vmid, node)
		}
		s.move(g, node)
		return nil
	})
}

// Power starts or stops a guest at once.
func (s *Server) Power(vmid int, on bool) error {
	return s.asRoot(vmid, func(g *guest) error {
		if !on {
			return s.halt(g, true)
		}
		if err := s.boot(g, &task{}); err != nil {
			return err
		}
		g.booted = g.started
		return nil
	})
}

// Destroy removes a guest at once, whatever it does.
func (s *Server) Destroy(vmid int) error {
	return s.asRoot(vmid, func(g *guest) error {
		g.running = false
		return s.discard(g)
	})
}

// Behave sets what a guest's inside does; clones inherit it.
func (s *Server) Behave(vmid int, b Behaviour) error {
	return s.asRoot(vmid, func(g *guest) error { g.behaviour = b; return nil })
}

// TaskState is a task as its node's log has it.
type TaskState struct {
	UPID, Node, Kind, ID, User string
	// Exit is "" while the task runs.
	Exit string
	Log  []string
}

// Tasks are all tasks since the start, lost ones included.
func (s *Server) Tasks() []TaskState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]TaskState, len(s.taskLog))
	for i, t := range s.taskLog {
		out[i] = TaskState{UPID: t.upid, Node: t.node, Kind: t.kind, ID: t.id, User: t.user.id(), Exit: t.exit, Log: append([]string(nil), t.log...)}
	}
	return out
}

// Volumes are the volumes of a storage on a node.
func (s *Server) Volumes(storage, node string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.storages[storage]
	if st == nil {
		return nil
	}
	out := sortedNames(st.on(node))
	sort.Strings(out)
	return out
}

// SetNodeOnline brings a node down (its proxied requests answer 595 after wait)
// or back up.
//
// A node that goes down takes its SSH connections and what runs on it along; its
// guests' state stays what the cluster believes.
func (s *Server) SetNodeOnline(name string, online bool, wait time.Duration) {
	s.mu.Lock()
	n := s.nodes[name]
	if n == nil {
		s.mu.Unlock()
		return
	}
	n.online, n.deadWait = online, wait
	s.mu.Unlock()
	if online {
		n.machine.Boot()
		return
	}
	n.machine.Halt()
	s.cutSSH(name)
}

// SetQuorum takes the cluster's quorum away, or gives it back.
func (s *Server) SetQuorum(quorate bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quorum = quorate
}

// FreezeStatus stops the status rounds: figures grow stale.
func (s *Server) FreezeStatus(frozen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = frozen
}

// ForgetStatus makes every guest "unknown" until the next status round, as
// after a restart of a node's status daemon.
func (s *Server) ForgetStatus() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.guests {
		g.seen = figures{}
	}
}

// StatusRound broadcasts the figures now.
func (s *Server) StatusRound() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round()
}

// ExpireCredentials makes every token and ticket be refused, or accepted again.
func (s *Server) ExpireCredentials(expired bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access.expired = expired
}

// SetStrict turns the refusal of unknown parameters on (the default) or off.
func (s *Server) SetStrict(strict bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strict = strict
}

// AddUser makes a user (name@realm) with a password.
func (s *Server) AddUser(id, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access.users[id] = &account{password: password, tokens: map[string]*apiToken{}}
}

// AddToken makes a token of a user that exists.
func (s *Server) AddToken(user, name string, privsep bool) (id, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access.addToken(user, name, privsep)
}

// Grant gives a user, or a token (name@realm!id), a role on a path and below.
func (s *Server) Grant(path, who, role string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := "user"
	if strings.Contains(who, "!") {
		kind = "token"
	}
	s.access.grant(aclEntry{path: path, kind: kind, who: who, role: role, propagate: true}, false)
}
