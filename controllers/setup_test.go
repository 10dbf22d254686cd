// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const (
	systemNamespace = "phoenix-system"
	patience        = 30 * time.Second
	pause           = 20 * time.Millisecond
)

// installation is a real API server with config/rbac in it, and the manager's own credentials.
type installation struct {
	admin   client.Client
	manager *rest.Config
}

// installed is shared by the tests of this package; each uses namespaces of its own.
var installed installation

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	log.SetLogger(logr.Discard())
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../config/crd"}, ErrorIfCRDPathMissing: true}
	defer func() { _ = env.Stop() }()
	if err := install(env); err != nil {
		fmt.Fprintln(os.Stderr, "start the API server (KUBEBUILDER_ASSETS names the folder of kube-apiserver and etcd; make test sets it):", err)
		return 1
	}
	return m.Run()
}

func install(env *envtest.Environment) error {
	cfg, err := env.Start()
	if err != nil {
		return err
	}
	scheme, err := Scheme()
	if err != nil {
		return err
	}
	if err := errors.Join(rbacv1.AddToScheme(scheme), coordinationv1.AddToScheme(scheme), eventsv1.AddToScheme(scheme)); err != nil {
		return err
	}
	if installed.admin, err = client.New(cfg, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	objects, err := readFolder("../config/rbac")
	if err != nil {
		return err
	}
	namespaces := []string{systemNamespace, "site", "mine", "others", "samples"}
	for _, name := range namespaces {
		if err := installed.admin.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	for _, o := range objects {
		if err := installed.admin.Create(context.Background(), o); err != nil {
			return fmt.Errorf("install %s/%s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	account := fmt.Sprintf("system:serviceaccount:%s:phoenix-manager", systemNamespace)
	user, err := env.AddUser(envtest.User{Name: account, Groups: []string{"system:serviceaccounts", "system:authenticated"}}, nil)
	if err != nil {
		return err
	}
	installed.manager = user.Config()
	return nil
}

// readFolder reads the objects of a folder's YAML files.
func readFolder(folder string) ([]*unstructured.Unstructured, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("find YAML files in %s: %w", folder, cmp.Or(err, os.ErrNotExist))
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for part := range strings.SplitSeq(string(text), "\n---\n") {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(part), &o.Object); err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			if len(o.Object) > 0 {
				objects = append(objects, o)
			}
		}
	}
	return objects, nil
}

// eventually asks until the answer is empty, which means yes.
func eventually(t *testing.T, ask func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		why := ask()
		if why == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(why)
		}
	}
}

// run runs a manager until the test ends.
func (i *installation) run(t *testing.T, o Options) {
	t.Helper()
	o.SkipNameValidation = true
	o.Logger = logr.Discard()
	mgr, err := NewManager(i.manager, o)
	if err != nil {
		t.Fatalf("make the manager: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run the manager: %v", err)
		}
	})
}

// declare makes a Host on a simulated site, with its Secret.
func (i *installation) declare(t *testing.T, name types.NamespacedName, sim *pve.Server) *v1alpha1.Host {
	t.Helper()
	about := metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}
	host := &v1alpha1.Host{ObjectMeta: about, Spec: v1alpha1.HostSpec{
		URL: sim.URL, TLS: v1alpha1.HostTLS{Fingerprint: sim.Fingerprint}, TokenSecretRef: v1alpha1.LocalReference{Name: name.Name},
	}}
	token := &corev1.Secret{ObjectMeta: about, StringData: map[string]string{site.TokenIDEntry: sim.TokenID, site.TokenSecretEntry: sim.TokenSecret}}
	for _, o := range []client.Object{token, host} {
		if err := i.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return host
}

func (i *installation) awaitReady(t *testing.T, name types.NamespacedName) {
	t.Helper()
	eventually(t, func() string {
		var host v1alpha1.Host
		if err := i.admin.Get(t.Context(), name, &host); err != nil {
			return err.Error()
		}
		ready := meta.FindStatusCondition(host.Status.Conditions, v1alpha1.ReadyCondition)
		if ready == nil || ready.Status != metav1.ConditionTrue {
			return fmt.Sprintf("Host %s is not Ready: %+v", name, ready)
		}
		return ""
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestManager(t *testing.T) {
	i := &installed
	sim, err := pve.Start(t.Context(), pve.Options{NoSSH: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	metrics, probes := freeAddress(t), freeAddress(t)
	i.run(t, Options{
		LeaderElection: true, LeaderElectionNamespace: systemNamespace, MetricsAddress: metrics, ProbeAddress: probes,
		HostInterval: time.Hour, Timing: site.Timing{Interval: 20 * time.Millisecond},
	})
	name := types.NamespacedName{Namespace: "site", Name: "phoenix"}
	host := i.declare(t, name, sim)
	i.awaitReady(t, name)

	t.Run("holds the lease", func(t *testing.T) {
		var lease coordinationv1.Lease
		err := i.admin.Get(t.Context(), types.NamespacedName{Namespace: systemNamespace, Name: leaseName}, &lease)
		if err != nil || lease.Spec.HolderIdentity == nil {
			t.Errorf("the lease is not held: %v", err)
		}
	})
	t.Run("says that it lives and is ready", func(t *testing.T) {
		for _, path := range []string{"/healthz", "/readyz"} {
			eventually(t, func() string { return wants(t, http.DefaultClient, "http://"+probes+path, http.StatusOK) })
		}
	})
	t.Run("shows its metrics to nobody unknown", func(t *testing.T) {
		// Anybody may connect to it: what is asked here is whether that is enough.
		trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: trustAll()}}
		t.Cleanup(trusting.CloseIdleConnections)
		eventually(t, func() string { return wants(t, trusting, "https://"+metrics+"/metrics", http.StatusUnauthorized) })
	})
	t.Run("hears of what changes outside", func(t *testing.T) {
		if err := sim.Add(pve.GuestSpec{VMID: 4711, Kind: "lxc", Config: "hostname: new\nmemory: 512\n"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			if err := i.admin.Get(t.Context(), name, host); err != nil {
				return err.Error()
			}
			if got := host.Status.Guests; got == nil || *got.Unmanaged != 2 {
				return fmt.Sprintf("guests are %+v, want the template and the new one, before the interval of an hour", got)
			}
			return ""
		})
	})
	t.Run("tells of a fault in an event", func(t *testing.T) {
		sim.ExpireCredentials(true)
		if err := i.admin.Patch(t.Context(), host, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"limits":{"tasks":3}}}`))); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			var list eventsv1.EventList
			if err := i.admin.List(t.Context(), &list, client.InNamespace(name.Namespace)); err != nil {
				return err.Error()
			}
			for _, e := range list.Items {
				if e.Reason == "Unauthorized" && e.Regarding.Name == name.Name {
					return ""
				}
			}
			return fmt.Sprintf("none of %d events has reason Unauthorized", len(list.Items))
		})
		sim.ExpireCredentials(false)
	})
	t.Run("leaves a site alone whose Host is gone", func(t *testing.T) {
		if err := i.admin.Delete(t.Context(), host); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			if err := i.admin.Get(t.Context(), name, host); !apierrors.IsNotFound(err) {
				return fmt.Sprintf("the Host is still there (%v)", err)
			}
			return ""
		})
		eventually(t, func() string {
			sim.ForgetRequests()
			<-time.After(10 * pause)
			if n := len(sim.Requests()); n > 0 {
				return fmt.Sprintf("the site is still asked: %d requests", n)
			}
			return ""
		})
	})
}

// trustAll is TLS that accepts the certificate that the manager signed itself.
func trustAll() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:forbidigo,gosec // the answer to a stranger is what is tested
}

// wants returns why a GET is not answered with the status; empty: it is.
func wants(t *testing.T, c *http.Client, url string, status int) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if response.StatusCode != status {
		return fmt.Sprintf("GET %s: %s, want %d", url, response.Status, status)
	}
	return ""
}

func TestManagerOfOneNamespace(t *testing.T) {
	i := &installed
	sim, err := pve.Start(t.Context(), pve.Options{NoSSH: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	i.run(t, Options{Namespace: "mine"})
	other := types.NamespacedName{Namespace: "others", Name: "phoenix"}
	mine := types.NamespacedName{Namespace: "mine", Name: "phoenix"}
	i.declare(t, other, sim)
	i.declare(t, mine, sim)
	i.awaitReady(t, mine)
	var host v1alpha1.Host
	if err := i.admin.Get(t.Context(), other, &host); err != nil || len(host.Finalizers)+len(host.Status.Conditions) > 0 {
		t.Errorf("a Host of another namespace was worked on: finalizers %v, conditions %v (%v)", host.Finalizers, host.Status.Conditions, err)
	}
}

// What the repository shows as examples is accepted as it stands, and is complete: what is named is there.
func TestSamplesAreAdmitted(t *testing.T) {
	i := &installed
	objects, err := readFolder("../config/samples/phoenix")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, o := range objects {
		there[o.GetKind()+"/"+o.GetName()] = true
		o.SetNamespace("samples")
		if err := i.admin.Create(t.Context(), o); err != nil {
			t.Errorf("apply %s/%s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	for _, want := range []string{
		"Host/phoenix", "Guest/step-ca", "Guest/nginx", "Guest/traefik", "Guest/portainer", "Guest/drphoenix",
		"Secret/phoenix-token", "Secret/phoenix-ssh", "Secret/admin-keys",
	} {
		if !there[want] {
			t.Errorf("the samples have no %s", want)
		}
	}
}
