// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/controllers"
	"github.com/phoenix-hypervisor/phoenix/controllers/site"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// stage is a namespace, a simulated site and a manager.
type stage struct {
	*testing.T
	namespace string
	site      *pve.Server
	// stop ends the manager and waits for its end.
	stop func()
}

// set says what differs from an ordinary stage.
type set struct {
	site pve.Options
	// host is a merge patch of the Host's spec; token, if not nil, takes the place of the site's all-powerful one.
	host  string
	token func(s *pve.Server) (id, secret string)
	// idle leaves the manager out.
	idle bool
	// options edits the manager's.
	options func(*controllers.Options)
}

// newStage makes a stage with Host "site", and its Secrets "token" and "ssh".
func newStage(t *testing.T, c set) *stage {
	t.Helper()
	if c.site.TaskTime == 0 {
		c.site.TaskTime = 20 * time.Millisecond
	}
	server, err := pve.Start(context.Background(), c.site)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := &stage{T: t, site: server, namespace: newNamespace(t)}
	id, secret := server.TokenID, server.TokenSecret
	if c.token != nil {
		id, secret = c.token(server)
	}
	s.secret("token", map[string]string{"tokenID": id, "tokenSecret": secret})
	if len(server.SSH) > 0 {
		s.secret("ssh", map[string]string{"id": string(server.SSH[0].ClientKeyPEM)})
	}
	s.create(s.hostYAML("site", server), c.host)
	if !c.idle {
		s.run(c.options)
	}
	return s
}

// with is the same stage for a subtest.
func (s *stage) with(t *testing.T) *stage {
	c := *s
	c.T = t
	return &c
}

func newNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "stage-"}}
	if err := kube.Create(context.Background(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

func (s *stage) secret(name string, data map[string]string) {
	s.Helper()
	o := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}, StringData: data}
	if err := kube.Create(context.Background(), o); err != nil {
		s.Fatal(err)
	}
}

// hostYAML declares a site with room for as many tasks as a test begins.
func (s *stage) hostYAML(name string, server *pve.Server) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
kind: Host
metadata: {name: %s}
spec:
  url: %s
  tls: {fingerprint: "%s"}
  tokenSecretRef: {name: token}
  vmidRange: {first: 200, last: 299}
  defaults: {storage: local-lvm}
  limits: {requestsPerSecond: 1000, tasks: 100, tasksPerStorage: 100, clonesPerTemplate: 100}
  safety: {destructionsPerHour: 100}
  allow: {bindMountPaths: [/srv/data]}
`, name, server.URL, server.Fingerprint)
	if len(server.SSH) > 0 {
		b.WriteString("  ssh:\n    keySecretRef: {name: ssh, key: id}\n    nodes:\n")
		for _, n := range server.SSH {
			fmt.Fprintf(&b, "    - {name: %s, address: \"%s\", hostKeys: [\"%s\"]}\n", n.Name, n.Address, n.HostKey)
		}
	}
	return b.String()
}

// run starts the manager. It ends with the test, or with s.stop.
func (s *stage) run(edit func(*controllers.Options)) {
	s.Helper()
	s.stop = s.manager(edit)
}

// manager starts a manager and returns what ends it. Its log is shown when the test fails.
func (s *stage) manager(edit func(*controllers.Options)) (stop func()) {
	s.Helper()
	log := &journal{}
	options := controllers.Options{
		Namespace: s.namespace, SkipNameValidation: true, Logger: funcr.New(log.add, funcr.Options{LogTimestamp: true}),
		Timing:        site.Timing{Interval: 200 * time.Millisecond, DigestInterval: 300 * time.Millisecond},
		GuestInterval: time.Minute, HostInterval: time.Minute,
	}
	if edit != nil {
		edit(&options)
	}
	mgr, err := controllers.NewManager(config, options)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t := s.T
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("the manager ended with: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the manager does not end")
		}
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("the manager's log:\n%s", log)
		}
	})
	return stop
}

// journal keeps a log.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) add(prefix, line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(&j.text, "%s %s\n", prefix, line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
