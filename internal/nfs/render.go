// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nfs

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

const notice = "# Made by Phoenix: what is changed here by hand is put back."

// Kernel returns a file for /etc/exports.d. The same configuration always renders to the same bytes. The error joins a
// *FieldError for every value that does not fit.
func (c Config) Kernel() ([]byte, error) {
	exports, err := c.checked()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n%s\n", c.About, notice)
	for _, e := range exports {
		b.WriteString(e.Path)
		for _, client := range e.Clients {
			fmt.Fprintf(&b, " %s(%s)", client.Network, strings.Join(client.options(), ","))
		}
		b.WriteByte('\n')
	}
	return []byte(b.String()), nil
}

// options of exports(5), all of them said, as their defaults changed over time.
func (c Client) options() []string {
	options := []string{"rw", "sync", "no_subtree_check", "root_squash"}
	if c.ReadOnly {
		options[0] = "ro"
	}
	if c.Async {
		options[1] = "async"
	}
	switch c.Squash {
	case All:
		options[3] = "all_squash"
	case None:
		options[3] = "no_root_squash"
	}
	return options
}

// GaneshaMain returns Ganesha's main file: what the distribution's has, NFSv4 alone, and the exports of another file. A
// change takes effect with a restart. There is no grace after a start: what a client had locked before a restart may be
// lost to another one, but nobody waits 90 s for a first mount.
func GaneshaMain(about, distribution, exports string) ([]byte, error) {
	if err := plain(about, distribution, exports); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `# %s
%s
%%include "%s"
NFS_CORE_PARAM {
	Protocols = 4;
	Enable_NLM = false;
	Enable_RQUOTA = false;
}
NFSv4 {
	Graceless = true;
}
%%include "%s"
`, about, notice, distribution, exports), nil
}

// GaneshaUnit returns a drop-in for nfs-ganesha.service that starts it with another main file. A change takes effect with
// a restart.
func GaneshaUnit(about, main string) ([]byte, error) {
	if err := plain(about, main); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `# %s
%s
[Service]
ExecStart=
ExecStart=/usr/bin/ganesha.nfsd -L /var/log/ganesha/ganesha.log -f %s -N NIV_EVENT
`, about, notice, main), nil
}

// plain refuses text and paths that could be more than that.
func plain(about string, paths ...string) error {
	if !linePattern.MatchString(about) {
		return &FieldError{"about", about, "must be printable ASCII"}
	}
	for _, p := range paths {
		if !pathPattern.MatchString(p) {
			return &FieldError{"path", p, "must be an absolute path of letters, digits and - . _"}
		}
	}
	return nil
}

// Ganesha returns the file with the exports. A change takes effect with SIGHUP. The error is as Kernel's.
func (c Config) Ganesha() ([]byte, error) {
	exports, err := c.checked()
	if err != nil {
		return nil, err
	}
	ids := identities(exports)
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n%s\n", c.About, notice)
	for _, e := range exports {
		fmt.Fprintf(&b, "EXPORT {\n\tExport_Id = %d;\n\tPath = \"%s\";\n\tPseudo = \"%s\";\n", ids[e.Path], e.Path, e.Path)
		b.WriteString("\tProtocols = 4;\n\tTransports = TCP;\n\tSecType = sys;\n\tAccess_Type = NONE;\n\tFSAL {\n\t\tName = VFS;\n\t}\n")
		for _, client := range e.Clients {
			fmt.Fprintf(&b, "\tCLIENT {\n\t\tClients = %s;\n\t\tProtocols = 4;\n\t\tAccess_Type = %s;\n\t\tSquash = %s;\n\t}\n",
				client.Network, client.access(), client.squash())
		}
		b.WriteString("}\n")
	}
	return []byte(b.String()), nil
}

func (c Client) access() string {
	if c.ReadOnly {
		return "RO"
	}
	return "RW"
}

func (c Client) squash() string {
	switch c.Squash {
	case All:
		return "All_Squash"
	case None:
		return "No_Root_Squash"
	}
	return "Root_Squash"
}

// identities are the numbers of exports, from 1000 to 64999. They are made from the paths, as clients keep them over a
// restart; two paths with the same one take turns in the order of the paths.
func identities(exports []Export) map[string]int {
	const first, count = 1000, 64000
	ids := map[string]int{}
	used := map[int]bool{}
	paths := make([]string, 0, len(exports))
	for _, e := range exports {
		paths = append(paths, e.Path)
	}
	slices.Sort(paths)
	for _, p := range paths {
		h := fnv.New32a()
		_, _ = h.Write([]byte(p)) // a hash takes everything
		id := int(h.Sum32() % count)
		for used[id] {
			id = (id + 1) % count
		}
		used[id] = true
		ids[p] = first + id
	}
	return ids
}
