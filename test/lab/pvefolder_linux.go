// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// pveFolder is /etc/pve of the host, kept in step with the site: what the site writes appears in it, what somebody on the
// host writes reaches the site.
type pveFolder struct {
	site      *pve.Server
	node, dir string

	mu   sync.Mutex
	both map[string]string // what folder and site agreed on last, by path below /etc/pve
}

// openFolder makes the folder and begins to keep it.
func (l *Lab) openFolder() error {
	l.folder = &pveFolder{site: l.Site, node: l.node, dir: l.hostFolder("pve"), both: map[string]string{}}
	node := filepath.Join("nodes", l.node)
	var watched []string
	for _, dir := range []string{"firewall", node, filepath.Join(node, "lxc"), filepath.Join(node, "qemu-server")} {
		path := filepath.Join(l.folder.dir, dir)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		watched = append(watched, path)
	}
	for name, target := range map[string]string{"local": node, "lxc": filepath.Join(node, "lxc"), "qemu-server": filepath.Join(node, "qemu-server")} {
		if err := os.Symlink(target, filepath.Join(l.folder.dir, name)); err != nil {
			return err
		}
	}
	if err := l.folder.fromSite(); err != nil {
		return err
	}
	watch, err := newWatcher(watched...)
	if err != nil {
		return err
	}
	l.closers = append(l.closers, watch)
	l.running.Go(func() { l.watchFolder(watch) })
	return nil
}

// watchFolder takes over what is written on the host, until the watcher is closed.
func (l *Lab) watchFolder(watch *watcher) {
	for {
		paths, err := watch.next()
		if err != nil {
			return
		}
		for _, path := range paths {
			if err := l.folder.fromHost(strings.TrimPrefix(path, l.folder.dir+"/")); err != nil {
				l.say("lab /etc/pve   %v", err)
			}
		}
	}
}

// fromHost takes over what somebody on the host made of a file.
func (f *pveFolder) fromHost(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	gone := errors.Is(err, fs.ErrNotExist)
	if err != nil && !gone {
		return nil // a folder, or it is being replaced: another event follows
	}
	old, known := f.both[name]
	if known && old == string(text) || !known && gone {
		return nil
	}
	if err := f.site.WriteFile(f.node, "/etc/pve/"+name, string(text)); err != nil {
		return fmt.Errorf("take over /etc/pve/%s: %w", name, err)
	}
	f.both[name] = string(text)
	return nil
}

// fromSite brings the folder up to what the site says.
func (f *pveFolder) fromSite() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	now := f.files()
	for name, text := range now {
		if old, known := f.both[name]; !known || old != text {
			errs = append(errs, f.put(name, text))
		}
	}
	for name := range f.both {
		if _, there := now[name]; !there {
			delete(f.both, name)
			if err := os.Remove(filepath.Join(f.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// files are the site's files by path below /etc/pve.
func (f *pveFolder) files() map[string]string {
	names := []string{"firewall/cluster.fw", "nodes/" + f.node + "/host.fw"}
	for _, g := range f.site.Guests() {
		kind := map[string]string{"lxc": "lxc", "qemu": "qemu-server"}[g.Kind]
		names = append(names, fmt.Sprintf("nodes/%s/%s/%d.conf", f.node, kind, g.VMID), fmt.Sprintf("firewall/%d.fw", g.VMID))
	}
	out := map[string]string{}
	for _, name := range names {
		if text, err := f.site.ReadFile(f.node, "/etc/pve/"+name); err == nil {
			out[name] = text
		}
	}
	return out
}

// put replaces a file as a whole.
func (f *pveFolder) put(name, text string) error {
	staged := f.dir + ".staged" // beside the folder: nobody watches it there
	if err := os.WriteFile(staged, []byte(text), 0o640); err != nil {
		return err
	}
	f.both[name] = text
	return os.Rename(staged, filepath.Join(f.dir, name))
}
