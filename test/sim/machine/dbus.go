// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"slices"
)

// runDBusSend is dbus-send for the one question that Ganesha is asked: its exports. They come as Ganesha 4.3 lists them,
// the root of its pseudo file system among them, without the counters.
func runDBusSend(_ context.Context, p *Process) int {
	wants := []string{"--system", "--print-reply", "--dest=org.ganesha.nfsd", "/org/ganesha/nfsd/ExportMgr", "org.ganesha.nfsd.exportmgr.ShowExports"}
	if !slices.Equal(p.Args[1:], wants) {
		return p.Errorf("Error org.freedesktop.DBus.Error.ServiceUnknown: this machine knows %v alone\n", wants)
	}
	g := p.M.ganesha()
	if g == nil {
		return p.Errorf("Error org.freedesktop.DBus.Error.ServiceUnknown: The name org.ganesha.nfsd was not provided by any .service files\n")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p.Printf("method return time=1.0 sender=:1.5 -> destination=:1.6 serial=7 reply_serial=2\n   struct {\n      uint64 1\n      uint64 0\n   }\n   array [\n")
	show := func(id, path string) {
		p.Printf("      struct {\n         uint16 %s\n         string \"%s\"\n         boolean true\n      }\n", id, path)
	}
	show("0", "/")
	for _, b := range g.list {
		show(b.get("Export_Id", ""), b.get("Path", ""))
	}
	p.Printf("   ]\n")
	return 0
}
