// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/nfs"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	kernelUnit  = "nfs-server.service"
	ganeshaUnit = "nfs-ganesha.service"
	ganeshaConf = "/etc/ganesha/ganesha.conf"
)

// designNFS turns an nfs service into the state of its machine.
func designNFS(s *v1alpha1.HostService, t target, guests []v1alpha1.Guest, older []v1alpha1.HostService) (design, error) {
	if err := checkServers(s, t, older); err != nil {
		return design{}, err
	}
	if err := checkPaths(s, t); err != nil {
		return design{}, err
	}
	var d design
	config := nfs.Config{About: about(s)}
	spec := s.Spec.NFS
	for i, e := range spec.Exports {
		if other := exporterOf(e.Path, older); other != "" {
			d.left = append(d.left, leftOut{DuplicatePathReason, fmt.Sprintf("HostService/%s and HostService/%s both export %s: the older one does", other, s.Name, e.Path)})
			continue
		}
		if serverOf(s) == v1alpha1.NFSGanesha {
			if j := slices.IndexFunc(e.Clients, func(c v1alpha1.NFSClient) bool { return isTrue(c.Async, false) }); j >= 0 {
				return design{}, reconcile.Stall(InvalidReason, fmt.Errorf("exports[%d].clients[%d].async: Ganesha has no such option: leave it out, or set server: Kernel", i, j))
			}
		}
		made := nfs.Export{Source: "exports[" + e.Name + "]", Path: e.Path, Clients: clientsOf(e, guests, &d)}
		config.Exports = append(config.Exports, made)
		d.want.Dirs = append(d.want.Dirs, machine.Dir{Path: e.Path, Owner: e.Owner, Group: e.Group, Mode: directoryMode(e.Mode)})
		shown := designedExport{name: e.Name, source: sourceOf(s, t, e.Path), probe: -1}
		if len(made.Clients) > 0 {
			shown.probe = len(d.want.Probes)
			d.want.Probes = append(d.want.Probes, exportProbe(serverOf(s), e))
		}
		d.exports = append(d.exports, shown)
	}
	d.fields = func(_, line string) string { return exportField(spec.Exports, line) }
	var err error
	if serverOf(s) == v1alpha1.NFSGanesha {
		err = ganeshaState(s, config, &d)
	} else {
		err = kernelState(s, config, &d)
	}
	if err != nil {
		return design{}, reconcile.Stall(InvalidReason, err)
	}
	return d, nil
}

func serverOf(s *v1alpha1.HostService) v1alpha1.NFSServer {
	return cmp.Or(s.Spec.NFS.Server, v1alpha1.NFSKernel)
}

// checkServers refuses a second server, as there is one port, and a second owner of Ganesha's main file.
func checkServers(s *v1alpha1.HostService, t target, older []v1alpha1.HostService) error {
	for i := range older {
		if older[i].Spec.NFS != nil && (serverOf(&older[i]) != serverOf(s) || serverOf(s) == v1alpha1.NFSGanesha) {
			return reconcile.Stall(AlreadyServedReason, fmt.Errorf(
				"serve NFS with %s on %s: HostService/%s does so with %s already, and is older: declare the exports there, or delete it",
				serverOf(s), t, older[i].Name, serverOf(&older[i])))
		}
	}
	return nil
}

// checkPaths refuses what the Host does not allow.
func checkPaths(s *v1alpha1.HostService, t target) error {
	if t.guest != nil {
		return nil
	}
	var allowed []string
	if t.host.Spec.Allow != nil {
		allowed = t.host.Spec.Allow.ExportPaths
	}
	for _, e := range s.Spec.NFS.Exports {
		if !slices.ContainsFunc(allowed, func(p string) bool { return e.Path == p || strings.HasPrefix(e.Path, p+"/") }) {
			return reconcile.Stall(PathNotAllowedReason, fmt.Errorf("exports[%s].path: Host/%s does not allow to export %s: add it to allow.exportPaths of the Host",
				e.Name, t.host.Name, e.Path))
		}
	}
	return nil
}

// exporterOf names an older service that exports the same directory.
func exporterOf(path string, older []v1alpha1.HostService) string {
	for i := range older {
		if n := older[i].Spec.NFS; n != nil && slices.ContainsFunc(n.Exports, func(e v1alpha1.NFSExport) bool { return e.Path == path }) {
			return older[i].Name
		}
	}
	return ""
}

// clientsOf are the networks of an export's clients. A Guest without an address is left out for now.
func clientsOf(e v1alpha1.NFSExport, guests []v1alpha1.Guest, d *design) []nfs.Client {
	var clients []nfs.Client
	for i, c := range e.Clients {
		made := nfs.Client{Source: fmt.Sprintf("exports[%s].clients[%d]", e.Name, i), Network: c.CIDR, ReadOnly: isTrue(c.ReadOnly, false), Async: isTrue(c.Async, false)}
		switch c.Squash {
		case v1alpha1.SquashAll:
			made.Squash = nfs.All
		case v1alpha1.SquashNone:
			made.Squash = nfs.None
		}
		if c.GuestRef == nil {
			clients = append(clients, made)
			continue
		}
		networks := networksOf(guestNamed(guests, c.GuestRef.Name))
		if len(networks) == 0 {
			d.notes = append(d.notes, fmt.Sprintf("%s: Guest/%s has no address yet", made.Source, c.GuestRef.Name))
		}
		for _, network := range networks {
			made.Network = network
			clients = append(clients, made)
		}
	}
	return clients
}

// networksOf are a Guest's addresses, each as a network of one machine.
func networksOf(g *v1alpha1.Guest) []string {
	if g == nil {
		return nil
	}
	var networks []string
	for _, text := range ipsOf(presentAddresses(g)) {
		if a, err := netip.ParseAddr(text); err == nil {
			networks = append(networks, netip.PrefixFrom(a, a.BitLen()).String())
		}
	}
	return networks
}

// directoryMode reads octal; what is not set is 0, which leaves it.
func directoryMode(text string) fs.FileMode {
	n, err := strconv.ParseUint(text, 8, 12)
	if err != nil {
		return 0
	}
	return fs.FileMode(n)
}

// sourceOf is what a client mounts.
func sourceOf(s *v1alpha1.HostService, t target, path string) string {
	address := s.Spec.NFS.Address
	if own := t.addresses(); address == "" && len(own) > 0 {
		address = own[0]
	}
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	return address + ":" + path
}

// exportProbe asks the server whether it exports a directory. The kernel's table has it at the start of a line; Ganesha tells over D-Bus.
func exportProbe(server v1alpha1.NFSServer, e v1alpha1.NFSExport) machine.Probe {
	p := machine.Probe{Name: "export " + e.Name, Argv: []string{"exportfs", "-s"}, Match: "^" + regexp.QuoteMeta(e.Path) + "[[:space:]]"}
	if server == v1alpha1.NFSGanesha {
		p.Argv = []string{
			"dbus-send", "--system", "--print-reply", "--dest=org.ganesha.nfsd", "/org/ganesha/nfsd/ExportMgr", "org.ganesha.nfsd.exportmgr.ShowExports",
		}
		p.Match = `string "` + regexp.QuoteMeta(e.Path) + `"$`
	}
	return p
}

// exportField tells by which field a line of exports is declared.
func exportField(exports []v1alpha1.NFSExport, line string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	for _, e := range exports {
		if e.Path == word {
			return "exports[" + e.Name + "]"
		}
	}
	return ""
}
