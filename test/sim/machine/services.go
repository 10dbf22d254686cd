// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import "path"

// daemonProgram starts a service that stays; exit is not 0 when it refuses, and
// why stands in the journal.
type daemonProgram func(p *Process) (d daemon, exit int)

func startIdle(*Process) (daemon, int) { return idle{}, 0 }

// daemons are the programs that stay when a unit starts them.
var daemons = map[string]daemonProgram{
	"sshd": startIdle, "qemu-ga": startIdle, "rpcbind": startIdle, "ganesha.nfsd": startGanesha, "dnsmasq": startDnsmasq, "nginx": startNginx,
	"dockerd": startDockerd, "containerd": startIdle,
}

// daemonFor finds the daemon that a command line starts, or nil.
func (m *Machine) daemonFor(argv []string) daemonProgram {
	if len(argv) == 0 || !m.owns(argv[0]) {
		return nil
	}
	switch {
	case argv[0] == dnsmasqHelper:
		return daemons["dnsmasq"]
	case m.isStepCA(argv[0]):
		return startStepCA
	case m.isTraefik(argv[0]):
		return startTraefik
	}
	return daemons[path.Base(argv[0])]
}

const dnsmasqHelper = "/usr/share/dnsmasq/systemd-helper"

// packaged are the programs of packages.
var packaged map[string]Program

func init() { // the table refers to functions that refer to it
	packaged = map[string]Program{
		"dbus-send": runDBusSend, "exportfs": runExportfs, "showmount": runShowmount, "rpc.nfsd": runNFSD, "mount.nfs": runMount, "mount.nfs4": runMount,
		"dnsmasq": runDnsmasq, "dig": runDig, "curl": runCurl, "nginx": runNginx, "update-ca-certificates": runUpdateCACertificates,
		"docker": runDocker, "dockerd": runDockerd,
	}
}

// helpers are programs of packages that are called by their paths.
var helpers = map[string]Program{dnsmasqHelper: runHelper}
