// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/phoenix-hypervisor/phoenix/test/lab/image"
	"github.com/phoenix-hypervisor/phoenix/test/lab/registry"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// Options say what a lab is like. The zero value is the reference site, as slow as a real host where programs are concerned.
type Options struct {
	// Root of the checkout, from which the host's programs are built; default: the folder of go.mod above the present one.
	Root string
	// Site says what the Proxmox VE site is like. The lab sets what is behind it: Nodes (one), Listener, NoSSH and the hooks.
	Site pve.Options
	// Names are what the resolver at the Gateway knows beside UpstreamName.
	Names map[string]netip.Addr
	// ToolDelay is how long pct, qm and the other programs of the host take before they do anything; default 0.9 s, as
	// Perl does. AttachDelay is how long lxc-attach takes at least; default 0.02 s. Negative: no time.
	ToolDelay, AttachDelay time.Duration
	// Progress takes a line for every part that is started, and what goes wrong in the background.
	Progress io.Writer
}

// Lab is a running lab. Its methods may be called at any time, by any number of goroutines.
type Lab struct {
	// Site is the Proxmox VE site: its API listens inside the host, at https://10.0.0.13:8006. Site.SSH is the host's sshd.
	Site *pve.Server
	// PID is a process inside, as those outside of the lab see it: "nsenter --target PID --net" enters the lab's network.
	PID int
	// Repository is the URL of the apt repository, for machines.
	Repository string
	// Releases are the releases of programs at the lab's mirror.
	Releases Releases

	options Options
	images  image.Images
	dir     string // of this lab, below the process's
	name    string // of the control groups
	node    string
	door    pve.SSHNode
	host    *machine
	guests  *guests
	walls   walls
	folder  *pveFolder
	// registry has the images of containers.
	registry registry.Registry

	site    atomic.Pointer[pve.Server] // Site, once it is there
	ctx     context.Context            // ends with Stop
	cancel  context.CancelFunc
	running sync.WaitGroup // what ends with ctx and closers
	calls   sync.WaitGroup // of the host's programs: the last end with the host
	closers []io.Closer    // in the order of their making
	said    sync.Mutex
}

// labs counts the labs of this process: their folders and control groups have names of their own.
var labs atomic.Int32

// Start starts a lab: its network, the host, and the site's API. The process must have begun with Main, and may have one lab
// at a time. The caller calls Stop, unless there is an error.
func Start(ctx context.Context, o Options) (*Lab, error) {
	folder, pid, err := inside()
	if err != nil {
		return nil, err
	}
	images, err := image.Find()
	if err != nil {
		return nil, err
	}
	if o.Root == "" {
		if o.Root, err = checkout(); err != nil {
			return nil, err
		}
	}
	if o.ToolDelay == 0 {
		o.ToolDelay = 900 * time.Millisecond
	}
	if o.AttachDelay == 0 {
		o.AttachDelay = 20 * time.Millisecond
	}
	number := strconv.Itoa(int(labs.Add(1)))
	l := &Lab{
		PID: pid, options: o, images: images, node: "phoenix", dir: filepath.Join(folder, number),
		name:       groupPrefix + filepath.Base(folder) + "-" + number,
		Repository: "http://" + Gateway + "/apt",
		Releases:   Releases{StepCA: atMirror(images.StepCA), Traefik: atMirror(images.Traefik), NextTraefik: atMirror(images.NextTraefik)},
	}
	l.options.Site.Nodes = []string{l.node}
	if len(o.Site.Bridges) == 0 {
		l.options.Site.Bridges = []string{"vmbr0"}
	}
	l.walls = walls{wake: make(chan struct{}, 1), again: make(chan struct{}), loaded: map[int]string{}}
	l.guests = &guests{lab: l, all: map[int]*guest{}}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.addImages()
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(err, l.Stop())
	}
	return l, nil
}

// start starts the parts.
func (l *Lab) start(ctx context.Context) error {
	began := time.Now()
	if err := openNetwork(ctx, l.options.Site.Bridges); err != nil {
		return err
	}
	if err := errors.Join(l.serveFiles(ctx), l.serveNames(ctx)); err != nil {
		return err
	}
	if err := l.prepareHost(ctx); err != nil {
		return err
	}
	var shim errgroup.Group // it is needed last
	shim.Go(func() error {
		return image.Compile(ctx, l.options.Root, image.Shim, l.hostFolder("tools", "shim"))
	})
	err := errors.Join(l.startHost(ctx), shim.Wait())
	if err != nil {
		return err
	}
	l.say("lab host       %s, sshd at %s, after %.1f s", l.node, HostAddress, time.Since(began).Seconds())
	if err := l.startSite(ctx); err != nil {
		return err
	}
	l.say("lab            %s, all up after %.1f s", l.Site.URL, time.Since(began).Seconds())
	return nil
}

// startSite starts the simulated site with the lab behind it.
func (l *Lab) startSite(ctx context.Context) error {
	listener, err := listenIn(ctx, l.host.network(), HostAddress+":8006")
	if err != nil {
		return err
	}
	o := l.options.Site
	o.Listener, o.NoSSH, o.Backend, o.OnFirewall = listener, true, l.guests, l.changed
	site, err := pve.Start(l.ctx, o)
	if err != nil {
		return errors.Join(fmt.Errorf("start site: %w", err), listener.Close())
	}
	l.Site = site
	l.site.Store(site)
	site.SSH = []pve.SSHNode{l.door}
	if err := l.openFolder(); err != nil {
		return err
	}
	l.running.Go(l.keepWalls)
	l.changed()
	return nil
}

// Stop ends the lab: the site, every machine, the network; nothing of it is left.
func (l *Lab) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), bootTime)
	defer cancel()
	l.cancel()
	if l.Site != nil {
		l.Site.Close()
	}
	var errs []error
	for _, c := range l.closers {
		errs = append(errs, c.Close())
	}
	l.running.Wait()
	errs = append(errs, l.guests.close(ctx))
	if l.host != nil {
		errs = append(errs, l.host.stop(ctx, true), l.host.remove())
	}
	l.calls.Wait()
	errs = append(errs, closeNetwork(ctx, l.options.Site.Bridges), removeGroups(l.name+"/"), os.RemoveAll(l.dir))
	return errors.Join(errs...)
}

// close removes all guests.
func (s *guests) close(ctx context.Context) error {
	s.mu.Lock()
	var vmids []int
	for vmid := range s.all {
		vmids = append(vmids, vmid)
	}
	s.mu.Unlock()
	var group errgroup.Group
	for _, vmid := range vmids {
		group.Go(func() error { return s.Destroy(ctx, vmid) })
	}
	return group.Wait()
}

// Host stands for the host in calls that take a guest's VMID.
const Host = 0

// Exec runs a program as root in a machine: a guest by its VMID, or the Host.
func (l *Lab) Exec(ctx context.Context, vmid int, argv ...string) (Result, error) {
	return l.ExecInput(ctx, vmid, nil, argv...)
}

// ExecInput is Exec with something on the program's standard input.
func (l *Lab) ExecInput(ctx context.Context, vmid int, stdin io.Reader, argv ...string) (Result, error) {
	m, err := l.machine(vmid)
	if err != nil {
		return Result{}, err
	}
	return m.captureInput(ctx, stdin, argv...)
}

// machine is a running one.
func (l *Lab) machine(vmid int) (*machine, error) {
	if vmid == Host {
		return l.host, nil
	}
	g, err := l.guests.find(vmid)
	if err != nil {
		return nil, err
	}
	defer g.mu.Unlock()
	if g.pid == 0 {
		return nil, fmt.Errorf("run in guest %d: %w", vmid, errNotRunning)
	}
	m := *g.machine
	return &m, nil
}

// Booted waits until a machine has booted.
func (l *Lab) Booted(ctx context.Context, vmid int) error {
	m, err := l.machine(vmid)
	if err != nil {
		return err
	}
	return m.booted(ctx)
}

// Shell is the command by which root outside of the lab gets a shell in a machine.
func (l *Lab) Shell(vmid int) string {
	name := strconv.Itoa(vmid)
	if vmid == Host {
		name = l.node
	}
	return fmt.Sprintf("nsenter --target %d --all lxc-attach -P %s -n %s", l.PID, filepath.Join(l.dir, "lxc"), name)
}

func (l *Lab) say(format string, args ...any) {
	l.said.Lock()
	defer l.said.Unlock()
	if l.options.Progress != nil {
		fmt.Fprintf(l.options.Progress, format+"\n", args...)
	}
}

// mirror is where the releases of programs are.
const mirror = "http://" + Gateway + "/artifacts/"

// atMirror is a release as machines download it.
func atMirror(a image.Artifact) Artifact {
	return Artifact{URL: mirror + filepath.Base(a.Path), SHA256: a.SHA256, Member: a.Member}
}

// serveFiles serves the apt repository, the artifacts and the images of containers.
func (l *Lab) serveFiles(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("/apt/", http.StripPrefix("/apt/", http.FileServer(http.Dir(l.images.Repository))))
	for _, a := range []image.Artifact{l.images.StepCA, l.images.Traefik, l.images.NextTraefik} {
		mux.HandleFunc("/artifacts/"+filepath.Base(a.Path), func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, a.Path)
		})
	}
	mux.Handle("/images/", &l.registry)
	mux.Handle("/v2/", &l.registry)
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", Gateway+":80")
	if err != nil {
		return fmt.Errorf("serve packages: %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	l.closers = append(l.closers, server)
	l.running.Go(func() { _ = server.Serve(listener) }) // it ends with Stop
	return nil
}

// checkout is the folder of go.mod above the present one.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no go.mod above %s: set Options.Root", dir)
		}
	}
}
