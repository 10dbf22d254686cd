// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package site_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

var name = types.NamespacedName{Namespace: "ns", Name: "phoenix"}

// lookups counts how often Secrets are read.
type lookups struct {
	client.Client
	n int
}

func (l *lookups) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	l.n++
	return l.Client.Get(ctx, key, into, opts...)
}

// world is a pool over a simulated site, with the Host that names it.
type world struct {
	sim     *pve.Server
	secrets *lookups
	pool    *site.Pool
	host    *v1alpha1.Host
	changes chan []int
}

func newWorld(t *testing.T, opts pve.Options) *world {
	t.Helper()
	sim, err := pve.Start(t.Context(), opts)
	if err != nil {
		t.Fatalf("start the simulated site: %v", err)
	}
	t.Cleanup(sim.Close)
	w := &world{sim: sim, changes: make(chan []int, 1000)}
	w.secrets = &lookups{Client: fake.NewClientBuilder().WithObjects(
		secretOf("token", map[string]string{site.TokenIDEntry: sim.TokenID, site.TokenSecretEntry: sim.TokenSecret}),
	).Build()}
	w.host = &v1alpha1.Host{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: "one", Generation: 1},
		Spec: v1alpha1.HostSpec{
			URL: sim.URL, TLS: v1alpha1.HostTLS{Fingerprint: sim.Fingerprint}, TokenSecretRef: v1alpha1.LocalReference{Name: "token"},
		},
	}
	if len(sim.SSH) > 0 {
		if err := w.secrets.Create(t.Context(), secretOf("ssh", map[string]string{"id": string(sim.SSH[0].ClientKeyPEM)})); err != nil {
			t.Fatal(err)
		}
		w.host.Spec.SSH = &v1alpha1.HostSSH{KeySecretRef: v1alpha1.SecretKeyReference{Name: "ssh", Key: "id"}}
		for _, n := range sim.SSH {
			w.host.Spec.SSH.Nodes = append(w.host.Spec.SSH.Nodes, v1alpha1.HostSSHNode{Name: n.Name, Address: n.Address, HostKeys: []string{n.HostKey}})
		}
	}
	w.pool = site.NewPool(site.Options{
		Secrets: w.secrets, Timing: site.Timing{Interval: 10 * time.Millisecond, DigestInterval: 10 * time.Millisecond},
		OnChange: func(host types.NamespacedName, vmids []int) {
			if host == name {
				w.changes <- vmids
			}
		},
	})
	t.Cleanup(func() { w.pool.Drop(w.host) })
	return w
}

func secretOf(name string, entries map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Data: map[string][]byte{}}
	for key, value := range entries {
		s.Data[key] = []byte(value)
	}
	return s
}

// start runs the pool until the test ends, as a manager does.
func (w *world) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.pool.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run the pool: %v", err)
		}
	})
}

// await reads changes until one names the guest.
func (w *world) await(t *testing.T, vmid int) {
	t.Helper()
	for {
		select {
		case vmids := <-w.changes:
			if slices.Contains(vmids, vmid) {
				return
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no change of guest %d was told", vmid)
		}
	}
}

// settle lets the site see all there is, and forgets the changes up to now.
func (w *world) settle(t *testing.T, s *site.Site) {
	t.Helper()
	w.sim.StatusRound()
	for seen := false; !seen; {
		snapshot, err := s.API().Refresh(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen = !snapshot.DigestsAt.IsZero()
	}
	for len(w.changes) > 0 {
		<-w.changes
	}
}

func (w *world) connect(t *testing.T) *site.Site {
	t.Helper()
	s, err := w.pool.Connect(t.Context(), w.host)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return s
}

func TestConnectKeepsWhatStands(t *testing.T) {
	for name, tc := range map[string]struct {
		reason  string
		change  func(*testing.T, *world)
		another bool
	}{
		"nothing": {"the same spec and Secrets", func(*testing.T, *world) {}, false},
		"a field that is no connection's": {"a new safety limit breaks no connection", func(_ *testing.T, w *world) {
			w.host.Generation++
			w.host.Spec.OwnerID = "me"
		}, false},
		"token": {"a rotated token is used at once", func(t *testing.T, w *world) {
			w.set(t, "token", map[string]string{site.TokenIDEntry: w.sim.TokenID, site.TokenSecretEntry: "another"})
		}, true},
		"a line break at the end of the token": {"a file that an editor wrote has one; it is no other token", func(t *testing.T, w *world) {
			w.set(t, "token", map[string]string{site.TokenIDEntry: w.sim.TokenID + "\n", site.TokenSecretEntry: w.sim.TokenSecret + "\r\n"})
		}, false},
		"limits": {"new limits count at once", func(_ *testing.T, w *world) {
			tasks := int32(9)
			w.host.Spec.Limits = &v1alpha1.HostLimits{Tasks: &tasks}
		}, true},
		"host keys": {"a key that is pinned anew is accepted at once", func(_ *testing.T, w *world) {
			w.host.Spec.SSH.Nodes[0].HostKeys = append(w.host.Spec.SSH.Nodes[0].HostKeys, w.sim.SSH[0].HostKey)
		}, true},
		"another Host of the name": {"it may be another site", func(_ *testing.T, w *world) { w.host.UID = "two" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, pve.Options{})
			before := w.connect(t)
			tc.change(t, w)
			if another := w.connect(t) != before; another != tc.another {
				t.Errorf("connections were made anew: %t, want %t: %s", another, tc.another, tc.reason)
			}
		})
	}
}

func (w *world) set(t *testing.T, name string, entries map[string]string) {
	t.Helper()
	if err := w.secrets.Update(t.Context(), secretOf(name, entries)); err != nil {
		t.Fatal(err)
	}
}

func TestGetReadsNoSecretsTwice(t *testing.T) {
	w := newWorld(t, pve.Options{})
	made, err := w.pool.Get(t.Context(), w.host)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	read := w.secrets.n
	if again, err := w.pool.Get(t.Context(), w.host); err != nil || again != made || w.secrets.n != read {
		t.Errorf("a second Get: same %t, error %v, %d more Secrets read; want the same without a look", again == made, err, w.secrets.n-read)
	}
	w.host.Generation++
	if _, err := w.pool.Get(t.Context(), w.host); err != nil || w.secrets.n == read {
		t.Errorf("Get with a new spec: error %v, %d Secrets read; want a look at them", err, w.secrets.n-read)
	}
}

func TestConnectErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		change func(*testing.T, *world)
		want   string // reason of the Error; empty: none, it is the API server's own
		says   string
	}{
		"no token": {"it may be made later", func(_ *testing.T, w *world) { w.host.Spec.TokenSecretRef.Name = "none" }, site.SecretMissing, "Secret/none"},
		"no entry": {"it is named", func(t *testing.T, w *world) { w.set(t, "token", map[string]string{site.TokenIDEntry: "a@b!c"}) }, site.SecretMissing, "entry tokenSecret"},
		"bad token": {"what is wrong with it is said, but not its value", func(t *testing.T, w *world) {
			w.set(t, "token", map[string]string{site.TokenIDEntry: "root", site.TokenSecretEntry: "hidden-value"})
		}, site.SecretInvalid, "user@realm!name"},
		"entries mixed up": {"the secret does not show although it stands where the ID belongs", func(t *testing.T, w *world) {
			w.set(t, "token", map[string]string{site.TokenIDEntry: "hidden-value", site.TokenSecretEntry: "root@pam!phoenix"})
		}, site.SecretInvalid, "user@realm!name"},
		"both in one entry": {"as they stand in a header", func(t *testing.T, w *world) {
			w.set(t, "token", map[string]string{site.TokenIDEntry: "root@pam!phoenix=hidden-value", site.TokenSecretEntry: "hidden-value"})
		}, site.SecretInvalid, "user@realm!name"},
		"two lines": {"no header can carry them", func(t *testing.T, w *world) {
			w.set(t, "token", map[string]string{site.TokenIDEntry: "root@pam!phoenix", site.TokenSecretEntry: "hidden-value\nhidden-value"})
		}, site.SecretInvalid, "line break"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, pve.Options{NoSSH: true})
			tc.change(t, w)
			_, err := w.pool.Connect(t.Context(), w.host)
			var e *site.Error
			if !errors.As(err, &e) || e.Reason() != tc.want || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error is %v, want reason %s and %q: %s", err, tc.want, tc.says, tc.reason)
			}
			if strings.Contains(err.Error(), "hidden-value") {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
	t.Run("API server away", func(t *testing.T) {
		w := newWorld(t, pve.Options{NoSSH: true})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w.pool = site.NewPool(site.Options{Secrets: away{w.secrets}})
		_, err := w.pool.Connect(ctx, w.host)
		var e *site.Error
		if err == nil || errors.As(err, &e) {
			t.Errorf("error is %v, want one that concludes nothing about the Secret", err)
		}
	})
}

// away is an API server that does not answer.
type away struct{ client.Reader }

func (away) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("etcd is away")
}

func TestRun(t *testing.T) {
	w := newWorld(t, pve.Options{Nodes: []string{"pve1", "pve2"}})
	s := w.connect(t)
	result, err := s.Run(t.Context(), "pve2", []string{"true"}, nil)
	if err != nil || result.ExitCode != 0 {
		t.Errorf("true on pve2: %+v, %v", result, err)
	}
	if err := s.CheckSSH(t.Context(), "pve1"); err != nil {
		t.Errorf("check SSH of pve1: %v", err)
	}
	if _, err := s.Run(t.Context(), "pve3", []string{"true"}, nil); !errors.Is(err, site.ErrNoSSH) {
		t.Errorf("true on an undeclared node: error %v, want ErrNoSSH", err)
	}
	if !s.HasSSH("pve1") || s.HasSSH("pve3") {
		t.Error("HasSSH does not tell pve1, which is declared, from pve3, which is not")
	}
}

func TestSiteStandsWithoutUsableKey(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.set(t, "ssh", map[string]string{"id": "no key"})
	s := w.connect(t)
	if guests, err := s.Guests(t.Context()); err != nil || len(guests) != 1 {
		t.Errorf("%d guests, error %v; want the template: the API works without SSH", len(guests), err)
	}
	_, err := s.Run(t.Context(), "phoenix", []string{"true"}, nil)
	var e *site.Error
	if !errors.As(err, &e) || e.Reason() != site.SecretInvalid {
		t.Errorf("run: error %v, want reason %s", err, site.SecretInvalid)
	}
	if !s.HasSSH("phoenix") {
		t.Error("HasSSH is false: the error that a use meets says more")
	}
}

func TestPoolTellsChanges(t *testing.T) {
	w := newWorld(t, pve.Options{Guests: []pve.GuestSpec{{VMID: 101, Kind: "lxc", Config: "hostname: nginx\nmemory: 512\n"}}})
	s := w.connect(t) // before the pool runs: it is followed from its start
	w.start(t)
	w.await(t, 101) // the first list
	t.Run("of the list", func(t *testing.T) {
		w.settle(t, s)
		if err := w.sim.Power(101, true); err != nil {
			t.Fatal(err)
		}
		w.await(t, 101)
	})
	t.Run("of a configuration, by its digest over SSH", func(t *testing.T) {
		w.settle(t, s)
		if err := w.sim.SetConfig(101, "memory", "1024"); err != nil {
			t.Fatal(err)
		}
		w.await(t, 101)
	})
	t.Run("of a Host that comes while the pool runs", func(t *testing.T) {
		w.host.UID = "two"
		w.connect(t)
		w.await(t, 101)
	})
}

func TestDropEndsTheSite(t *testing.T) {
	w := newWorld(t, pve.Options{})
	w.start(t)
	s := w.connect(t)
	if _, err := s.Run(t.Context(), "phoenix", []string{"true"}, nil); err != nil {
		t.Fatal(err)
	}
	w.pool.Drop(w.host)
	w.pool.Drop(w.host) // is fine
	if _, err := s.Run(t.Context(), "phoenix", []string{"true"}, nil); err == nil {
		t.Error("a command runs over a connection that was dropped")
	}
	if _, err := w.pool.Get(t.Context(), w.host); !errors.Is(err, site.ErrGone) {
		t.Errorf("an old copy of a Host that is gone opens connections that nobody will drop: %v", err)
	}
	old := w.host.DeepCopy()
	w.host.UID = "two"
	s = w.connect(t)
	w.pool.Drop(old)
	if w.connect(t) != s {
		t.Error("the connections of a Host end with another one that had its name")
	}
}
