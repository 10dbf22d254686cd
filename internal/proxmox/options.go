// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"net/url"
	"slices"
	"strings"
)

// Features are a container's feature flags. Measured on 9.2: every API token,
// root's too, may change only Nesting; the rest needs `pct set` on the node.
type Features struct {
	Nesting, KeyCtl, FUSE, MkNod, ForceRWSys bool
	Mount                                    []string // file systems, such as "nfs"

	props Props
}

// ParseFeatures reads features.
func ParseFeatures(s string) (Features, error) {
	p, err := ParseProps(s, "")
	if err != nil {
		return Features{}, err
	}
	f := Features{props: p}
	return f, decode(&p, f.fields())
}

// Encode renders features; "" when none is on.
func (f Features) Encode() (string, error) {
	p := f.props.Clone()
	err := encode(&p, f.fields())
	return p.String(), err
}

func (f *Features) fields() []field {
	return []field{
		flag("nesting", &f.Nesting), flag("keyctl", &f.KeyCtl), flag("fuse", &f.FUSE), flag("mknod", &f.MkNod),
		flag("force_rw_sys", &f.ForceRWSys), list("mount", ";", &f.Mount),
	}
}

// Startup is the order of a guest at the node's start and stop.
type Startup struct {
	Order *int // lower starts earlier; nil: after all that have one
	Up    *int // seconds to wait before the next guest starts
	Down  *int // seconds to wait for this guest to stop

	props Props
}

// ParseStartup reads startup; the bare form "5" is the order.
func ParseStartup(s string) (Startup, error) {
	p, err := ParseProps(s, "order")
	if err != nil {
		return Startup{}, err
	}
	v := Startup{props: p}
	return v, decode(&p, v.fields())
}

// Encode renders startup; "" when nothing is set.
func (v Startup) Encode() (string, error) {
	p := v.props.Clone()
	p.defaultKey = "" // "order=1" is what Proxmox writes
	err := encode(&p, v.fields())
	return p.String(), err
}

func (v *Startup) fields() []field {
	return []field{maybeNumber("order", &v.Order), maybeNumber("up", &v.Up), maybeNumber("down", &v.Down)}
}

// AgentOpts are a VM's guest agent settings.
type AgentOpts struct {
	Enabled           bool
	FSTrimClonedDisks bool
	FreezeFSOnBackup  *bool  // nil: Proxmox's default, which is to freeze
	Type              string // "virtio" or "isa"

	props Props
}

// ParseAgent reads agent; the bare form "1" is Enabled.
func ParseAgent(s string) (AgentOpts, error) {
	p, err := ParseProps(s, "enabled")
	if err != nil {
		return AgentOpts{}, err
	}
	a := AgentOpts{props: p}
	return a, decode(&p, a.fields())
}

// Encode renders agent; a disabled agent is "0", so that an option left behind
// still has its required key.
func (a AgentOpts) Encode() (string, error) {
	p := a.props.Clone()
	p.defaultKey = "enabled"
	err := encode(&p, a.fields())
	if _, ok := p.Get("enabled"); err == nil && !ok {
		err = p.Set("enabled", "0")
	}
	return p.String(), err
}

func (a *AgentOpts) fields() []field {
	return []field{
		flag("enabled", &a.Enabled), maybeFlag("freeze-fs-on-backup", &a.FreezeFSOnBackup),
		flag("fstrim_cloned_disks", &a.FSTrimClonedDisks), text("type", &a.Type),
	}
}

// ParseTags reads a list of tags: separated by semicolons, commas or blanks.
func ParseTags(s string) []string {
	tags := strings.FieldsFunc(s, func(r rune) bool { return r == ';' || r == ',' || r == ' ' })
	slices.Sort(tags)
	return slices.Compact(tags)
}

// FormatTags renders tags as Proxmox VE 9.2 stores them: sorted, once each,
// separated by semicolons.
func FormatTags(tags []string) string {
	return strings.Join(ParseTags(strings.Join(tags, ";")), ";")
}

// EncodeSSHKeys renders public keys for a VM's sshkeys, which is percent-encoded
// text of one key a line ("+" for a blank is refused).
func EncodeSSHKeys(keys []string) string {
	return strings.ReplaceAll(url.QueryEscape(strings.Join(keys, "\n")), "+", "%20")
}

// DecodeSSHKeys reads a VM's sshkeys into its keys, without blank lines.
func DecodeSSHKeys(s string) ([]string, error) {
	plain, err := url.PathUnescape(s)
	if err != nil {
		return nil, err
	}
	var keys []string
	for line := range strings.Lines(plain) {
		if line = strings.TrimSpace(line); line != "" {
			keys = append(keys, line)
		}
	}
	return keys, nil
}
