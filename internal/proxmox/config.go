// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// configAnswer decodes a guest's configuration: all scalars to text, a
// container's lxc.* lines aside, anything else that is nested as JSON text.
type configAnswer Config

// UnmarshalJSON reads the object of GET config.
func (c *configAnswer) UnmarshalJSON(raw []byte) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		return err
	}
	c.Values = make(map[string]string, len(values))
	for key, raw := range values {
		var value scalar
		switch {
		case bytes.Equal(raw, []byte("null")):
			// Absent, in another spelling.
		case key == "lxc" && raw[0] == '[':
			if err := json.Unmarshal(raw, &c.Raw); err != nil {
				return fmt.Errorf("read lxc lines: %w", err)
			}
		case value.UnmarshalJSON(raw) != nil:
			c.Values[key] = string(raw)
		case key == "digest":
			c.Digest = string(value)
		default:
			c.Values[key] = string(value)
		}
	}
	return nil
}

// RootOnly says whether Proxmox VE 9.2 refuses a configuration key with this
// value to every API token, root's too (measured for bind mounts, dev0,
// features, lock and args). SetCommand sets it on the node instead. lxc.* lines
// can be set in the configuration file alone.
func RootOnly(t GuestType, key, value string) bool {
	switch {
	case key == "lock", key == "args", strings.HasPrefix(key, "lxc."):
		return true
	case t == LXC && strings.HasPrefix(key, "dev"):
		return true
	case t == LXC && key == "features":
		f, err := ParseFeatures(value)
		if err != nil {
			return false // malformed: refused by a better message
		}
		rest := f.props.Clone()
		rest.Delete("nesting")
		return !rest.Empty()
	case t == LXC && (key == "rootfs" || strings.HasPrefix(key, "mp")):
		m, err := ParseMountPoint(value)
		return err == nil && m.IsBind()
	}
	return false
}

// SetCommand returns the command that changes a guest's configuration as root
// on the guest's node: "pct set" or "qm set". Options are in a fixed order. It
// carries no secrets: a process's arguments can be read by all on the node.
func SetCommand(r Ref, digest string, set map[string]string, del []string) []string {
	tool := "pct"
	if r.Type == QEMU {
		tool = "qm"
	}
	command := []string{tool, "set", strconv.Itoa(r.VMID)}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		command = append(command, "--"+key, set[key])
	}
	if len(del) > 0 {
		command = append(command, "--delete", strings.Join(del, ","))
	}
	if digest != "" {
		command = append(command, "--digest", digest)
	}
	return command
}

// DigestCommand returns the command that prints the digests of all guests of
// a site on any of its nodes. Measured: sha1sum of a configuration file is
// exactly the API's digest, and it costs no request.
func DigestCommand() []string {
	return []string{
		"sh", "-c", "sha1sum /etc/pve/nodes/*/lxc/*.conf /etc/pve/nodes/*/qemu-server/*.conf 2>/dev/null || true",
	}
}

// ParseDigests reads what DigestCommand prints into digests by VMID.
func ParseDigests(out []byte) (map[int]string, error) {
	digests := map[int]string{}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		sum, path, found := strings.Cut(line, " ")
		name := path[strings.LastIndexByte(path, '/')+1:]
		number, isConf := strings.CutSuffix(name, ".conf")
		vmid, err := strconv.Atoi(number)
		if !found || !isConf || err != nil || len(sum) != 40 {
			return nil, fmt.Errorf("read digest: line %.200q is not sha1sum's", line)
		}
		digests[vmid] = sum
	}
	return digests, nil
}
