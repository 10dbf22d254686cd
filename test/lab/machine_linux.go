// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
	k8swait "k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
)

// bootTime is how long a machine may take to boot.
const bootTime = time.Minute

// machine is an LXC container with a file system of its own over the shared one. The methods are not to be called at once.
type machine struct {
	// name is LXC's: the VMID, or the node's name.
	name string
	// dir has the machine's files, root is where they are seen.
	dir, root string
	// paths is where LXC keeps what it knows of the containers.
	paths string
	// groups is the name of its control groups.
	groups string
	pid    int // of its first process; 0 when it does not run
}

// newMachine makes a machine's file system; a folder that is there already is used as it is.
func (l *Lab) newMachine(name string) (*machine, error) {
	dir := filepath.Join(l.dir, "machines", name)
	m := &machine{name: name, dir: dir, root: filepath.Join(dir, "root"), paths: filepath.Join(l.dir, "lxc"), groups: l.name + "/" + name}
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{upper, work, m.root, filepath.Join(m.paths, name)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	err := unix.Mount("overlay", m.root, "overlay", 0, fmt.Sprintf("index=on,nfs_export=on,lowerdir=%s,upperdir=%s,workdir=%s", l.images.Root, upper, work))
	if err != nil {
		return nil, fmt.Errorf("mount file system of machine %s: %w", name, err)
	}
	if err := m.individualise(); err != nil {
		return nil, errors.Join(err, m.remove())
	}
	return m, nil
}

// individualise gives the machine what no two machines share.
func (m *machine) individualise() error {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	private, public, err := newKey("root@" + m.name)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"etc/machine-id", hex.EncodeToString(id[:]) + "\n", 0o444},
		{"etc/ssh/ssh_host_ed25519_key", string(private), 0o600},
		{"etc/ssh/ssh_host_ed25519_key.pub", public + "\n", 0o644},
	} {
		if err := m.write(f.name, f.text, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// newKey is an SSH key: the private one as PEM, the public one as a line.
func newKey(comment string) (private []byte, public string, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, "", err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, "", err
	}
	return pem.EncodeToMemory(block), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}

// write writes a file of the machine, by a path without the first slash, unless it is so already. The machine's links are
// the machine's: none leads out of it.
func (m *machine) write(name, text string, mode os.FileMode) error {
	root, err := os.OpenRoot(m.root)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // it was only read
	if old, err := root.ReadFile(name); err == nil && string(old) == text {
		return nil
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("write %s of machine %s: %w", name, m.name, err)
	}
	if err := root.RemoveAll(name); err != nil {
		return fmt.Errorf("write %s of machine %s: %w", name, m.name, err)
	}
	if err := root.WriteFile(name, []byte(text), mode); err != nil {
		return fmt.Errorf("write %s of machine %s: %w", name, m.name, err)
	}
	return nil
}

// remove ends the machine with all of its files.
func (m *machine) remove() error {
	err := unix.Unmount(m.root, unix.MNT_DETACH)
	if err != nil {
		err = fmt.Errorf("unmount file system of machine %s: %w", m.name, err)
	}
	return errors.Join(err, removeGroups(m.groups+"/"), removeAll(m.dir), os.RemoveAll(filepath.Join(m.paths, m.name)))
}

// start starts the container; it has not booted then.
func (m *machine) start(ctx context.Context, config string) error {
	log := filepath.Join(m.dir, "lxc.log")
	if err := os.WriteFile(filepath.Join(m.paths, m.name, "config"), []byte(config), 0o600); err != nil {
		return err
	}
	if err := os.RemoveAll(log); err != nil {
		return err
	}
	if err := command(ctx, nil, "lxc-start", "-P", m.paths, "-n", m.name, "-o", log, "-l", "WARN"); err != nil {
		text, _ := os.ReadFile(log) // it only explains
		return fmt.Errorf("start machine %s: %w\n%s", m.name, err, text)
	}
	pid, err := m.findPID(ctx)
	m.pid = pid
	return err
}

// findPID is the first process of the container, 0 when it does not run.
func (m *machine) findPID(ctx context.Context) (int, error) {
	r, err := capture(ctx, nil, "lxc-info", "-P", m.paths, "-n", m.name, "-p", "-H")
	if err != nil {
		return 0, err
	}
	if text := strings.TrimSpace(r.Stdout); text != "" {
		return strconv.Atoi(text)
	}
	return 0, nil
}

// stop ends the container: in order, or at once.
func (m *machine) stop(ctx context.Context, kill bool) error {
	args := []string{"-P", m.paths, "-n", m.name, "-k"}
	if !kill && m.pid != 0 {
		args = append(args[:4], "-t", "30")
		_ = m.booted(ctx) // before, systemd would not hear that it is to end; it is killed in the end
	}
	r, err := capture(ctx, nil, "lxc-stop", args...)
	if err != nil {
		return err
	}
	if r.Exit != 0 && r.Exit != 2 { // 2: it does not run
		return fmt.Errorf("stop machine %s: exit %d: %s", m.name, r.Exit, strings.TrimSpace(r.Stderr))
	}
	m.pid = 0
	return nil
}

// booted waits until systemd has started what there is to start.
func (m *machine) booted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for {
		r, err := m.capture(ctx, "systemctl", "is-system-running", "--wait")
		if err != nil {
			return fmt.Errorf("wait for machine %s to boot: %w", m.name, err)
		}
		if state := strings.TrimSpace(r.Stdout); state == "running" || state == "degraded" {
			return nil
		}
		select { // systemd does not answer yet
		case <-ctx.Done():
			return fmt.Errorf("wait for machine %s to boot: %w", m.name, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// attach runs a program inside, as root with a clean environment.
func (m *machine) attach(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	args := append([]string{"-P", m.paths, "-n", m.name, "--clear-env", "-v", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"-v", "HOME=/root", "-v", "USER=root", "-v", "LANG=C.UTF-8", "--"}, argv...)
	return stream(ctx, stdin, stdout, stderr, nil, "lxc-attach", args...)
}

// capture is attach without input, with the output as text.
func (m *machine) capture(ctx context.Context, argv ...string) (Result, error) {
	return m.captureInput(ctx, nil, argv...)
}

func (m *machine) captureInput(ctx context.Context, stdin io.Reader, argv ...string) (Result, error) {
	var out, errs strings.Builder
	exit, err := m.attach(ctx, argv, stdin, &out, &errs)
	return Result{Exit: exit, Stdout: out.String(), Stderr: errs.String()}, err
}

// inNetwork runs a program of this machine in the network of the container.
func (m *machine) inNetwork(ctx context.Context, stdin io.Reader, argv ...string) (string, error) {
	return output(ctx, stdin, "nsenter", append([]string{"--net=" + m.network(), "--"}, argv...)...)
}

// network is the file of the container's network namespace.
func (m *machine) network() string { return fmt.Sprintf("/proc/%d/ns/net", m.pid) }

// resolve finds a path of the machine as the machine itself would, and where that is on this machine.
func (m *machine) resolve(path string) (string, error) {
	root, err := unix.Open(m.root, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(root) }() // it was only looked at
	fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return "", fmt.Errorf("find %s of machine %s: %w", path, m.name, err)
	}
	defer func() { _ = unix.Close(fd) }() // as above
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// removeAll removes a folder. A file system whose unmounting goes on may put something there for a moment longer.
func removeAll(dir string) error {
	patience := k8swait.Backoff{Steps: 50, Duration: 100 * time.Millisecond}
	return retry.OnError(patience, func(error) bool { return true }, func() error { return os.RemoveAll(dir) })
}
