// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package world is a whole Phoenix on one machine: a control plane, a simulated Proxmox VE site and the manager as a
// process of its own with its own RBAC, for "make run" and for tests that kill and restart it.
package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// Namespace in which the samples are applied.
const Namespace = "default"

// serviceAccount that the manager runs as; config/rbac binds it.
const (
	managerNamespace = "phoenix-system"
	serviceAccount   = "system:serviceaccount:" + managerNamespace + ":phoenix-manager"
)

// Options say what a world is made of.
type Options struct {
	// Root of the checkout, where config/ is.
	Root string
	// Dir takes the kubeconfigs (0600) and the manager's log. It is made.
	Dir string
	// Manager is the path of the manager's binary.
	Manager string
	// Site says what the simulated Proxmox VE site is like. Without a Web its machines can download what the samples name;
	// without a Registry its Docker engines can pull it, see machine.DockerHub.
	Site pve.Options
	// Running is a site that runs already, such as a lab's: it is used in place of one of the world's own, and left as it is.
	Running *pve.Server
	// Address of this machine that the API server tells others; default: that of the route to everywhere, which a lab has not.
	Address string
	// Edit, if set, changes the samples before they are applied.
	Edit func(objects []*unstructured.Unstructured) error
	// Progress takes a line for every part that is started.
	Progress io.Writer
}

// World is a running control plane with a simulated site.
type World struct {
	// Client is an administrator's.
	Client client.Client
	// Config is an administrator's.
	Config *rest.Config
	// Kubeconfig is the path of an administrator's kubeconfig.
	Kubeconfig string
	// Site is the simulated Proxmox VE site.
	Site *pve.Server
	// Proxy is the HOST:PORT of the SOCKS5 server that leads to the machines of a site of the world's own, else empty.
	Proxy string

	opts    Options
	env     *envtest.Environment
	manager *process
	// proxy and mirror are of a simulated site that is the world's own.
	proxy  *proxy
	mirror *machine.Mirror
}

// Start brings up the control plane and the site, and installs the CRDs and the manager's RBAC. The manager itself is
// started by StartManager. The caller calls Stop, also after an error.
func Start(ctx context.Context, o Options) (*World, error) {
	w := &World{opts: o}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return w, fmt.Errorf("make folder for the kubeconfig: %w", err)
	}
	began := time.Now()
	w.env = &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join(o.Root, "config", "crd")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: 20 * time.Second,
	}
	if o.Address != "" {
		w.env.ControlPlane.GetAPIServer().Configure().Set("advertise-address", o.Address)
	}
	config, err := w.env.Start()
	if err != nil {
		return w, fmt.Errorf("start control plane: %w", err)
	}
	w.Config = config
	w.say("control plane  kube-apiserver at %s, up in %.1f s", config.Host, time.Since(began).Seconds())
	if w.Client, err = newClient(config); err != nil {
		return w, err
	}
	w.Kubeconfig = filepath.Join(o.Dir, "kubeconfig")
	if err := os.WriteFile(w.Kubeconfig, w.env.KubeConfig, 0o600); err != nil {
		return w, fmt.Errorf("write kubeconfig: %w", err)
	}
	if w.Site = o.Running; w.Site == nil {
		if err := w.startSite(ctx); err != nil {
			return w, err
		}
	}
	return w, w.authorise(ctx)
}

// SwapSites exchanges the sites of two worlds: a new control plane meets a site that another one has made.
func (w *World) SwapSites(other *World) {
	w.Site, other.Site = other.Site, w.Site
	w.proxy, other.proxy = other.proxy, w.proxy
	w.Proxy, other.Proxy = other.Proxy, w.Proxy
	w.mirror, other.mirror = other.mirror, w.mirror
}

// startSite starts a simulated site with a way to its machines, and one from them to what they download.
func (w *World) startSite(ctx context.Context) error {
	if w.opts.Site.Web == nil {
		w.mirror = machine.NewMirror()
		w.opts.Site.Web = w.mirror.Get
	}
	if w.opts.Site.Registry == nil {
		w.opts.Site.Registry = machine.DockerHub()
	}
	var err error
	if w.Site, err = pve.Start(ctx, w.opts.Site); err != nil {
		return fmt.Errorf("start simulated site: %w", err)
	}
	if w.proxy, err = startProxy(ctx, w.Site); err != nil {
		return err
	}
	w.Proxy = w.proxy.listener.Addr().String()
	w.say("Proxmox VE     simulated at %s, its machines behind SOCKS5 at %s", w.Site.URL, w.Proxy)
	return nil
}

// authorise installs the manager's RBAC and writes a kubeconfig for its service account.
func (w *World) authorise(ctx context.Context) error {
	if err := w.applyFile(ctx, filepath.Join(w.opts.Root, "config", "default", "namespace.yaml")); err != nil {
		return err
	}
	if err := w.applyFolder(ctx, filepath.Join(w.opts.Root, "config", "rbac"), managerNamespace, nil); err != nil {
		return err
	}
	user, err := w.env.AddUser(envtest.User{
		Name:   serviceAccount,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + managerNamespace, "system:authenticated"},
	}, nil)
	if err != nil {
		return fmt.Errorf("make manager's credentials: %w", err)
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return fmt.Errorf("make manager's kubeconfig: %w", err)
	}
	return os.WriteFile(w.managerKubeconfig(), kubeconfig, 0o600)
}

func (w *World) managerKubeconfig() string { return filepath.Join(w.opts.Dir, "manager.kubeconfig") }

// Stop ends the manager, the site and the control plane, in this order, and removes the credentials.
func (w *World) Stop() error {
	var errs []error
	errs = append(errs, w.StopManager())
	if w.proxy != nil {
		errs = append(errs, w.proxy.Close())
	}
	if w.Site != nil && w.opts.Running == nil {
		w.Site.Close()
	}
	if w.env != nil {
		errs = append(errs, w.env.Stop())
	}
	for _, f := range []string{w.Kubeconfig, w.managerKubeconfig()} {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (w *World) say(format string, args ...any) {
	if w.opts.Progress != nil {
		fmt.Fprintf(w.opts.Progress, format+"\n", args...)
	}
}

func newClient(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: scheme})
}
