// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// introduce writes what Proxmox VE, or cloud-init, writes into a guest before it starts.
func (l *Lab) introduce(g *guest) error {
	s := g.spec
	err := errors.Join(
		g.write("etc/hostname", s.hostname+"\n", 0o644),
		g.write("etc/hosts", s.hostsFile(), 0o644),
		g.write("etc/resolv.conf", s.resolvFile(Gateway), 0o644),
	)
	asks := false
	for _, n := range s.nics {
		path := "etc/systemd/network/10-" + n.name + ".network"
		if n.dhcp {
			asks = true
			err = errors.Join(err, g.write(path, "[Match]\nName="+n.name+"\n\n[Network]\nDHCP=ipv4\nKeepConfiguration=yes\n", 0o644))
			continue
		}
		err = errors.Join(err, remove(g.root, path))
	}
	const unit = "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
	if !asks {
		return errors.Join(err, remove(g.root, unit))
	}
	return errors.Join(err, link(g.root, "/lib/systemd/system/systemd-networkd.service", unit))
}

func remove(dir, name string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(root.RemoveAll(name), root.Close())
}

func link(dir, target, name string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(root.MkdirAll(filepath.Dir(name), 0o755), root.RemoveAll(name), root.Symlink(target, name), root.Close())
}

// cloudInit makes the user that a VM's configuration asks for.
func (m *machine) cloudInit(ctx context.Context, s guestSpec) error {
	if len(s.keys) == 0 {
		return nil
	}
	user := s.user
	if user == "" {
		user = "debian"
	}
	script := `set -e
id -u "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1"
home=$(getent passwd "$1" | cut -d: -f6)
install -d -m 700 -o "$1" -g "$(id -g "$1")" "$home/.ssh"
printf '%s\n' "$2" >"$home/.ssh/authorized_keys"
chown "$1:" "$home/.ssh/authorized_keys"
chmod 600 "$home/.ssh/authorized_keys"`
	r, err := m.capture(ctx, "sh", "-c", script, "sh", user, strings.Join(s.keys, "\n"))
	if err == nil && r.Exit != 0 {
		err = errors.New(strings.TrimSpace(r.Stderr))
	}
	if err != nil {
		return fmt.Errorf("make user %s: %w", user, err)
	}
	return nil
}

// changeNICs makes the network cards of a running guest those of its configuration.
func (g *guest) changeNICs(ctx context.Context, old []nic) error {
	var errs []error
	same := func(a, b nic) bool {
		a.firewall, b.firewall = false, false
		return a.name == b.name && a.mac == b.mac && a.bridge == b.bridge && a.dhcp == b.dhcp && a.down == b.down && a.mtu == b.mtu &&
			slices.Equal(a.addresses, b.addresses) && slices.Equal(a.gateways, b.gateways)
	}
	for _, n := range old {
		if !slices.ContainsFunc(g.spec.nics, func(x nic) bool { return same(n, x) }) {
			_, err := g.inNetwork(ctx, nil, "ip", "link", "delete", n.name)
			errs = append(errs, err)
		}
	}
	for _, n := range g.spec.nics {
		if !slices.ContainsFunc(old, func(x nic) bool { return same(n, x) }) {
			errs = append(errs, g.addNIC(ctx, n))
		}
	}
	return errors.Join(errs...)
}

// addNIC plugs a network card into a running guest.
func (g *guest) addNIC(ctx context.Context, n nic) error {
	outer := fmt.Sprintf("l%s%s", g.name, n.name)
	if len(outer) > 15 {
		outer = outer[:15]
	}
	plug := fmt.Sprintf("link add %s type veth peer name %s netns %d\nlink set %s master %s up\n", outer, n.name, g.pid, outer, n.bridge)
	if err := command(ctx, strings.NewReader(plug), "ip", "-batch", "-"); err != nil {
		return err
	}
	var b strings.Builder
	if n.mac != "" {
		fmt.Fprintf(&b, "link set %s address %s\n", n.name, n.mac)
	}
	if n.mtu > 1 {
		fmt.Fprintf(&b, "link set %s mtu %d\n", n.name, n.mtu)
	}
	for _, a := range n.addresses {
		fmt.Fprintf(&b, "address add %s dev %s\n", a, n.name)
	}
	if !n.down {
		fmt.Fprintf(&b, "link set %s up\n", n.name)
		for _, gateway := range n.gateways {
			fmt.Fprintf(&b, "route replace default via %s\n", gateway)
		}
	}
	_, err := g.inNetwork(ctx, strings.NewReader(b.String()), "ip", "-batch", "-")
	return err
}

// addMounts mounts what came to a running container's configuration.
func (l *Lab) addMounts(g *guest, old []mount) error {
	for _, m := range g.spec.mounts {
		if slices.Contains(old, m) {
			continue
		}
		b, err := l.bind(g, m)
		if err != nil {
			return err
		}
		if err := g.mountNow(b); err != nil {
			return fmt.Errorf("mount %s in guest %s: %w", m.target, g.name, err)
		}
	}
	return nil
}

// mountNow mounts a folder of this machine in the running container.
func (m *machine) mountNow(b bind) error {
	root, err := os.OpenRoot(m.root)
	if err != nil {
		return err
	}
	err = errors.Join(root.MkdirAll(strings.Trim(b.target, "/"), 0o755), root.Close())
	if err != nil {
		return err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, b.source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(tree) }() // it is attached, or gone
	if b.readOnly {
		attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
			return err
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- attachTree(fmt.Sprintf("/proc/%d/ns/mnt", m.pid), tree, b.target)
	}()
	return <-done
}

// attachTree attaches a detached mount in another mount namespace; the calling thread stays there.
func attachTree(namespace string, tree int, target string) error {
	f, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
