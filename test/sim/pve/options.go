// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"sort"
	"strings"
)

// optionFormat is the property format of a guest's option, or nil.
func optionFormat(kind, key string) *propertyFormat {
	base := key
	if m := numbered.FindStringSubmatch(key); m != nil {
		base = m[1]
	}
	formats := parsedFormats()
	if f := formats[kind+"."+key]; f != nil {
		return f
	}
	if base != key {
		return formats[kind+"."+base]
	}
	return nil
}

// render writes a property string as Proxmox does: the default key's value, the
// keys that must be there, then the rest by name.
func (f *propertyFormat) render(values propertyString) string {
	var must, may []string
	for key := range values {
		switch {
		case key == f.defaultKey:
		case f.keys[key] != nil && f.keys[key].Optional == 0:
			must = append(must, key+"="+values[key])
		default:
			may = append(may, key+"="+values[key])
		}
	}
	sort.Strings(must)
	sort.Strings(may)
	parts := append(must, may...)
	if value, ok := values[f.defaultKey]; ok && f.defaultKey != "" {
		parts = append([]string{value}, parts...)
	}
	return strings.Join(parts, ",")
}

// normalise is how an option's value ends up in the file.
func normalise(kind, key, value string) string {
	base := key
	if m := numbered.FindStringSubmatch(key); m != nil {
		base = m[1]
	}
	switch {
	case key == "tags":
		return sortTags(value)
	case base == "net" && base != key:
		return normaliseNet(kind, key, value)
	case kind == kindLXC && base == "dev" && base != key:
		f := optionFormat(kind, key)
		values, _ := f.parse(kind, key, value)
		return f.render(values)
	case key == "description":
		return value
	case key == "nameserver" || key == "searchdomain":
		return strings.Join(strings.FieldsFunc(value, isListSeparator), " ")
	}
	return value
}

func normaliseNet(kind, key, value string) string {
	f := optionFormat(kind, key)
	values, _ := f.parse(kind, key, value)
	if kind == kindLXC {
		values["type"] = "veth"
		if values["hwaddr"] == "" {
			values["hwaddr"] = newMAC()
		}
		return f.render(values)
	}
	if values["macaddr"] == "" {
		values["macaddr"] = newMAC()
	}
	model := values["model"] + "=" + values["macaddr"]
	delete(values, "macaddr")
	values["model"] = model
	return f.render(values)
}

func newMAC() string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return fmt.Sprintf("BC:24:11:%02X:%02X:%02X", b[0], b[1], b[2])
}

// sortTags lower-cases, sorts and dedupes, with semicolons.
func sortTags(value string) string {
	seen := map[string]bool{}
	var tags []string
	for _, tag := range strings.FieldsFunc(strings.ToLower(value), isListSeparator) {
		if !seen[tag] {
			seen[tag] = true
			tags = append(tags, tag)
		}
	}
	sort.Strings(tags)
	return strings.Join(tags, ";")
}

var newVolumeRE = regexp.MustCompile(`^([^:\s/]+):(\d+(?:\.\d+)?)$`)

// placeDisk turns the value of a disk option into what stands in the file: a new
// volume is allocated, a given one must exist, a directory is bound as it is.
func (s *Server) placeDisk(g *guest, node, key, value string) (string, error) {
	f := optionFormat(g.kind, key)
	values, problem := f.parse(g.kind, key, value)
	if problem != "" {
		return "", paramError(key, "invalid format - %s", problem)
	}
	source := values[f.defaultKey]
	switch m := newVolumeRE.FindStringSubmatch(source); {
	case strings.HasPrefix(source, "/") || source == "none" || source == "cdrom":
	case m != nil:
		v, err := s.newDisk(g, node, m[1], m[2], values)
		if err != nil {
			return "", err
		}
		values[f.defaultKey] = v.id
		values["size"] = formatSize(v.size)
		delete(values, "format")
		delete(values, "import-from")
	case g.kind == kindQEMU && strings.HasSuffix(source, ":cloudinit"):
		id, err := s.newCloudInit(g, node, strings.TrimSuffix(source, ":cloudinit"))
		if err != nil {
			return "", err
		}
		values[f.defaultKey] = id
		values["media"] = "cdrom"
		delete(values, "format")
	default:
		st, v := s.volumeByID(node, source)
		if st == nil {
			name, _, _ := strings.Cut(source, ":")
			return "", failf("storage '%s' does not exist", name)
		}
		if v == nil {
			return "", failf("volume '%s' does not exist", source)
		}
		if values["media"] != "cdrom" {
			values["size"] = formatSize(v.size)
		}
	}
	return f.render(values), nil
}

func (s *Server) newDisk(g *guest, node, storage, gib string, values propertyString) (*volume, error) {
	size, ok := parseSize(gib + "G")
	if from := values["import-from"]; from != "" {
		_, v := s.volumeByID(node, from)
		if v == nil {
			return nil, failf("unable to import '%s': volume does not exist", from)
		}
		size, ok = v.size, true
	}
	if !ok {
		return nil, failf("unable to parse volume size '%s'", gib)
	}
	if _, special := values["efitype"]; special || strings.HasPrefix(values["version"], "v") {
		size = 4 << 20
	}
	return s.allocate(storage, node, g, size, values["format"], "")
}

func (s *Server) newCloudInit(g *guest, node, storage string) (string, error) {
	st, err := s.storageFor(storage, node, "images")
	if err != nil {
		return "", err
	}
	format := "raw"
	if st.isDir() {
		format = "qcow2"
	}
	id := st.volumeID(g, "cloudinit", format, "")
	st.on(node)[id] = &volume{id: id, size: 4 << 20, format: format, content: "images", vmid: g.vmid, made: s.born}
	return id, nil
}

// diskVolume is the volume that a disk option's value names, or "".
func diskVolume(kind, key, value string) string {
	if strings.HasPrefix(key, "unused") {
		return looseParse(value)[""]
	}
	f := optionFormat(kind, key)
	if f == nil {
		return ""
	}
	values, _ := f.parse(kind, key, value)
	source := values[f.defaultKey]
	if strings.HasPrefix(source, "/") || !strings.Contains(source, ":") {
		return ""
	}
	return source
}

// isOwned tells whether a volume belongs to a guest.
func isOwned(id string, vmid int) bool {
	base := id[strings.LastIndexAny(id, ":/")+1:]
	m := guestVolume.FindStringSubmatch(base)
	return m != nil && atoi(m[1]) == vmid
}

// addUnused keeps a detached volume in the configuration.
func addUnused(c *conf, id string) {
	for n := range 256 {
		key := fmt.Sprintf("unused%d", n)
		if c.main[key] == "" {
			c.main[key] = id
			return
		}
	}
}

// newVolumesWanted are the storages that the disk options would allocate on.
func newVolumesWanted(kind string, params map[string]string) []string {
	var out []string
	for _, key := range sortedNames(params) {
		if !isDiskKey(kind, key) {
			continue
		}
		f := optionFormat(kind, key)
		values, _ := f.parse(kind, key, params[key])
		if m := newVolumeRE.FindStringSubmatch(values[f.defaultKey]); m != nil {
			out = append(out, m[1])
		} else if name, ok := strings.CutSuffix(values[f.defaultKey], ":cloudinit"); ok {
			out = append(out, name)
		}
	}
	return out
}
