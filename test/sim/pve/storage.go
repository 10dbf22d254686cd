// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
)

// Storage describes one storage of the site.
type Storage struct {
	// Name and Type: dir, lvmthin, nfs, zfspool, rbd, cephfs.
	Name, Type string
	// Content that it takes: images rootdir iso vztmpl snippets import backup.
	Content []string
	// Shared storages hold the same volumes on every node.
	Shared bool
	// Nodes that have it; none is all.
	Nodes []string
	// Size in bytes; default 500 GiB.
	Size int64
	// Volumes to begin with, like local:vztmpl/NAME.
	Volumes []string
}

// DefaultStorages are those of the reference site.
func DefaultStorages() []Storage {
	return []Storage{
		{
			Name: "local", Type: "dir", Content: []string{"iso", "vztmpl", "snippets", "import", "backup"}, Size: 100 << 30,
			Volumes: []string{"local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"},
		},
		{Name: "local-lvm", Type: "lvmthin", Content: []string{"rootdir", "images"}},
	}
}

type storage struct {
	Storage

	// volumes by node ("" when shared), then by volume ID.
	volumes map[string]map[string]*volume
}

type volume struct {
	id      string
	size    int64
	format  string
	content string
	vmid    int
	parent  string
	made    time.Time
}

func newStorage(spec Storage) *storage {
	if spec.Size == 0 {
		spec.Size = 500 << 30
	}
	return &storage{Storage: spec, volumes: map[string]map[string]*volume{}}
}

// on returns a node's volumes.
func (st *storage) on(node string) map[string]*volume {
	if st.Shared {
		node = ""
	}
	if st.volumes[node] == nil {
		st.volumes[node] = map[string]*volume{}
		for _, id := range st.Volumes {
			name := strings.TrimPrefix(id, st.Name+":")
			st.volumes[node][id] = &volume{
				id: id, size: 120 << 20, content: path.Dir(name), format: formatOf(name), made: time.Now(),
			}
		}
	}
	return st.volumes[node]
}

func formatOf(name string) string {
	if i := strings.Index(name, ".tar."); i >= 0 {
		return "t" + name[i+len(".tar."):]
	}
	return strings.TrimPrefix(path.Ext(name), ".")
}

func (st *storage) takes(content string) bool {
	for _, c := range st.Content {
		if c == content {
			return true
		}
	}
	return false
}

func (st *storage) isOn(node string) bool {
	for _, n := range st.Nodes {
		if n == node {
			return true
		}
	}
	return len(st.Nodes) == 0
}

func (st *storage) used(node string) int64 {
	var sum int64
	for _, v := range st.on(node) {
		sum += v.size
	}
	return sum
}

func (st *storage) isDir() bool { return st.Type == "dir" || st.Type == "nfs" || st.Type == "cephfs" }

// storageFor finds a storage that is on a node and takes a content.
func (s *Server) storageFor(name, node, content string) (*storage, error) {
	st := s.storages[name]
	switch {
	case st == nil:
		return nil, failf("storage '%s' does not exist", name)
	case !st.isOn(node):
		return nil, failf("storage '%s' is not available on node '%s'", name, node)
	case content == "rootdir" && !st.takes(content):
		return nil, paramError("storage", "storage '%s' does not support container directories", name)
	case !st.takes(content):
		return nil, failf("storage '%s' does not support content-type '%s'", name, content)
	}
	return st, nil
}

// allocate makes a volume for a guest and returns it.
func (s *Server) allocate(name, node string, g *guest, size int64, format, parent string) (*volume, error) {
	content := "images"
	if g.kind == kindLXC {
		content = "rootdir"
	}
	st, err := s.storageFor(name, node, content)
	if err != nil {
		return nil, err
	}
	if st.used(node)+size > st.Size {
		return nil, failf("not enough free space on storage '%s': %d bytes wanted, %d free", name, size, st.Size-st.used(node))
	}
	v := &volume{size: size, content: content, vmid: g.vmid, parent: parent, made: time.Now()}
	v.format = first(format, "raw")
	for n := 0; ; n++ {
		v.id = st.volumeID(g, fmt.Sprintf("disk-%d", n), v.format, parent)
		if !st.hasDisk(node, v.id) {
			break
		}
	}
	st.on(node)[v.id] = v
	return v, nil
}

// volumeID names a volume as the storage's plugin does.
func (st *storage) volumeID(g *guest, what, format, parent string) string {
	prefix := "vm"
	if st.Type == "zfspool" && g.kind == kindLXC {
		prefix = "subvol"
	}
	name := fmt.Sprintf("%s-%d-%s", prefix, g.vmid, what)
	if st.isDir() {
		name = fmt.Sprintf("%d/%s.%s", g.vmid, name, format)
	}
	if parent != "" {
		name = strings.TrimPrefix(parent, st.Name+":") + "/" + name
	}
	return st.Name + ":" + name
}

// hasDisk tells whether the name of a volume is taken, linked clones included.
func (st *storage) hasDisk(node, id string) bool {
	want := path.Base(id[strings.IndexByte(id, ':')+1:])
	for have := range st.on(node) {
		base := path.Base(have[strings.IndexByte(have, ':')+1:])
		if base == want || strings.Replace(base, "base-", "vm-", 1) == want {
			return true
		}
	}
	return false
}

// volumeByID finds a volume on a node.
func (s *Server) volumeByID(node, id string) (*storage, *volume) {
	name, _, _ := strings.Cut(id, ":")
	st := s.storages[name]
	if st == nil {
		return nil, nil
	}
	return st, st.on(node)[id]
}

// freeVolume removes a volume; one that linked clones stand on stays.
func (s *Server) freeVolume(node, id string) error {
	st, v := s.volumeByID(node, id)
	if v == nil {
		return nil
	}
	if st.inUse(node, id) {
		return failf("base volume '%s' is still in use by linked cloned", id)
	}
	delete(st.on(node), id)
	return nil
}

// inUse tells whether a linked clone stands on a base volume.
func (st *storage) inUse(node, id string) bool {
	for _, v := range st.on(node) {
		if v.parent == id {
			return true
		}
	}
	return false
}

func (c *call) storage() (*storage, error) {
	st := c.storages[c.params["storage"]]
	if st == nil {
		return nil, failf("storage '%s' does not exist", c.params["storage"])
	}
	if !st.isOn(c.node) {
		return nil, failf("storage '%s' is not available on node '%s'", st.Name, c.node)
	}
	return st, nil
}

func (st *storage) row(node string) map[string]any {
	used := st.used(node)
	return map[string]any{
		"storage": st.Name, "type": st.Type, "content": strings.Join(st.Content, ","), "enabled": 1, "active": 1,
		"shared": bit(st.Shared), "total": st.Size, "used": used, "avail": st.Size - used,
		"used_fraction": float64(used) / float64(st.Size),
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func nodeStorages(c *call) (any, error) {
	rows := []map[string]any{}
	for _, name := range sortedNames(c.storages) {
		st := c.storages[name]
		path := "/storage/" + name
		if !st.isOn(c.node) || (!c.can(path, "Datastore.Audit") && !c.can(path, "Datastore.AllocateSpace")) {
			continue
		}
		if want := c.params["content"]; want != "" && !st.takesAny(want) {
			continue
		}
		if want := c.params["storage"]; want != "" && want != name {
			continue
		}
		rows = append(rows, st.row(c.node))
	}
	return rows, nil
}

func (st *storage) takesAny(contents string) bool {
	for _, want := range strings.Split(contents, ",") {
		if st.takes(want) {
			return true
		}
	}
	return false
}

func storageStatus(c *call) (any, error) {
	st, err := c.storage()
	if err != nil {
		return nil, err
	}
	row := st.row(c.node)
	delete(row, "storage")
	delete(row, "used_fraction")
	return row, nil
}

func storageContent(c *call) (any, error) {
	st, err := c.storage()
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	vols := st.on(c.node)
	for _, id := range sortedNames(vols) {
		v := vols[id]
		if (c.params["content"] != "" && c.params["content"] != v.content) || (c.vmid == 0 && c.params["vmid"] != "" && c.params["vmid"] != fmt.Sprint(v.vmid)) {
			continue
		}
		rows = append(rows, v.row())
	}
	return rows, nil
}

func (v *volume) row() map[string]any {
	row := map[string]any{"volid": v.id, "size": v.size, "format": v.format, "content": v.content, "ctime": v.made.Unix()}
	if v.vmid != 0 {
		row["vmid"] = v.vmid
	}
	if v.parent != "" {
		row["parent"] = v.parent[strings.IndexByte(v.parent, ':')+1:]
	}
	return row
}

func (c *call) volumeParam(st *storage) string {
	id := c.params["volume"]
	if !strings.Contains(id, ":") {
		id = st.Name + ":" + id
	}
	return id
}

func volumeInfo(c *call) (any, error) {
	st, err := c.storage()
	if err != nil {
		return nil, err
	}
	if err := c.need("/storage/"+st.Name, "Datastore.Audit"); err != nil {
		return nil, err
	}
	id := c.volumeParam(st)
	v := st.on(c.node)[id]
	if v == nil {
		return nil, failf("volume_size_info on '%s' failed - no format", id)
	}
	return map[string]any{"path": "/dev/" + strings.Replace(id, ":", "/", 1), "size": v.size, "used": v.size, "format": v.format}, nil
}

var guestVolume = regexp.MustCompile(`^(?:vm|base|subvol)-(\d+)-`)

// removeVolume deletes a volume, in use or not: Proxmox does not ask.
func removeVolume(c *call) (any, error) {
	st, err := c.storage()
	if err != nil {
		return nil, err
	}
	id := c.volumeParam(st)
	if !c.can("/storage/"+st.Name, "Datastore.Allocate") && !c.can("/storage/"+st.Name, "Datastore.AllocateSpace") {
		return nil, permError("/storage/" + st.Name + ", Datastore.Allocate")
	}
	node, owner := c.node, ""
	if m := guestVolume.FindStringSubmatch(path.Base(id[strings.IndexByte(id, ':')+1:])); m != nil {
		owner = m[1]
	}
	return c.spawn(c.user, work{node: node, kind: "imgdel", id: owner + "@" + st.Name, steps: []step{{
		takes: 300 * time.Millisecond, do: func(*task) error { return c.freeVolume(node, id) },
	}}}), nil
}

// allocateVolume makes a volume of a given name.
func allocateVolume(c *call) (any, error) {
	st, err := c.storage()
	if err != nil {
		return nil, err
	}
	size, _ := parseSize(c.params["size"])
	if !strings.ContainsAny(c.params["size"], "KMGT") {
		size <<= 10 // a bare number counts KiB here
	}
	id := st.Name + ":" + c.params["filename"]
	if st.isDir() {
		id = st.Name + ":" + c.params["vmid"] + "/" + c.params["filename"]
	}
	if st.on(c.node)[id] != nil {
		return nil, failf("unable to create image: '%s' already exists", id)
	}
	st.on(c.node)[id] = &volume{
		id: id, size: size, format: first(c.params["format"], formatOf(id), "raw"), content: "images",
		vmid: atoi(c.params["vmid"]), made: c.now,
	}
	return id, nil
}

// downloadURL "downloads" a file: nothing leaves this machine. The discard port
// (9) of the loopback refuses, as on every machine.
func downloadURL(c *call) (any, error) {
	st, err := c.storage()
	if err != nil {
		return nil, err
	}
	content, name, source := c.params["content"], c.params["filename"], c.params["url"]
	if !st.takes(content) {
		return nil, failf("storage '%s' is not configured for content-type '%s'", st.Name, content)
	}
	node := c.node
	return c.spawn(c.user, work{node: node, kind: "download", id: name, steps: []step{{
		takes: 2 * time.Second, do: func(*task) error {
			if strings.Contains(source, "://127.0.0.1:9/") {
				return failf("download failed: exit code 4")
			}
			c.putFile(st, node, content, name, 120<<20)
			return nil
		},
	}}}), nil
}

func (s *Server) putFile(st *storage, node, content, name string, size int64) {
	id := st.Name + ":" + content + "/" + name
	st.on(node)[id] = &volume{id: id, size: size, content: content, format: formatOf(name), made: time.Now()}
}

func listStorages(c *call) (any, error) {
	rows := []map[string]any{}
	for _, name := range sortedNames(c.storages) {
		if c.can("/storage/"+name, "Datastore.Audit") || c.can("/storage/"+name, "Datastore.AllocateSpace") {
			rows = append(rows, c.storages[name].definition())
		}
	}
	return rows, nil
}

func getStorage(c *call) (any, error) {
	st := c.storages[c.params["storage"]]
	if st == nil {
		return nil, failf("storage '%s' does not exist", c.params["storage"])
	}
	return st.definition(), nil
}

func (st *storage) definition() map[string]any {
	row := map[string]any{
		"storage": st.Name, "type": st.Type, "content": strings.Join(st.Content, ","), "digest": digestOf(st.Name + st.Type),
	}
	if st.Shared {
		row["shared"] = 1
	}
	if len(st.Nodes) > 0 {
		row["nodes"] = strings.Join(st.Nodes, ",")
	}
	if st.isDir() {
		row["path"] = "/var/lib/vz"
	} else {
		row["vgname"], row["thinpool"] = "pve", "data"
	}
	return row
}
