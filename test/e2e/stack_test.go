// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// project is the stack of TestPortainer, and port what it publishes.
const project, port = "phoenix-e2e", "18081"

// TestPortainer has a stack deployed, drift, fail and go, and looks at all of it through Portainer's own API alone. So the
// server may be any: PORTAINER_URL, PORTAINER_USER and PORTAINER_PASSWORD put a real one in the simulated one's place, with
// PORTAINER_CA (a file with its roots), PORTAINER_ENVIRONMENT (default: the first that is up) and PORTAINER_IMAGE (default:
// traefik/whoami:v1.10). It must hold nothing that is needed: its settings are those of the samples afterwards.
func TestPortainer(t *testing.T) {
	site, given := pve.Options{}, os.Getenv("PORTAINER_URL")
	if given != "" {
		way := wayTo(t, given)
		site.Portainer = func(o *sim.Options) { o.Handler = way }
	}
	w := open(t, site)
	if given != "" {
		w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: world.Namespace, Name: "portainer-admin"},
			StringData: map[string]string{"username": os.Getenv("PORTAINER_USER"), "password": os.Getenv("PORTAINER_PASSWORD")}})
	}
	if err := w.ApplySamples(context.Background(), samples); err != nil {
		t.Fatal(err)
	}
	w.start()
	e := w.engineOf(given == "")
	image := cmp.Or(os.Getenv("PORTAINER_IMAGE"), "traefik/whoami:v1.10")
	text := "services: {web: {image: '" + image + "', restart: unless-stopped, environment: {GREETING: '${GREETING}'}}}"
	s := &v1alpha1.DockerStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: world.Namespace, Name: project},
		Spec: v1alpha1.DockerStackSpec{
			Environment: v1alpha1.StackEnvironment{PortainerRef: &v1alpha1.LocalReference{Name: "portainer"}, Name: e.name},
			Compose:     v1alpha1.ComposeSource{Inline: text},
			Env:         []v1alpha1.StackVariable{{Name: "GREETING", Value: new(`it's "a" $word # \ with` + "\ntwo lines")}},
		},
	}
	w.create(s)
	e.deployed(s)
	first := e.one(s)

	if err := e.api.UpdateStack(t.Context(), int(s.Status.StackID), e.id, portainer.StackChange{Text: strings.Replace(text, "web", "other", 1)}); err != nil {
		t.Fatal(err)
	}
	e.mended(s, "an edit in Portainer", first.ConfigHash)
	if err := e.engine.Remove(t.Context(), e.one(s).ID); err != nil {
		t.Fatal(err)
	}
	e.mended(s, "a container that was removed", first.ConfigHash)

	before := e.one(s).ID
	e.declare(s, strings.Replace(text, image, "phoenix.invalid/none:1", 1))
	e.says(s, "PullFailed")
	if now := e.one(s).ID; now != before {
		t.Errorf("an image that there is not: container %s took the place of %s", now, before)
	}
	e.declare(s, strings.Replace(text, "restart", "ports: ['"+port+":80'], restart", 1))
	e.deployed(s)
	holder := s.DeepCopy()
	holder.ObjectMeta = metav1.ObjectMeta{Namespace: world.Namespace, Name: project + "-2"}
	holder.Spec.Compose.Inline = text
	w.create(holder)
	e.deployed(holder)
	first = e.one(holder)
	e.declare(holder, s.Spec.Compose.Inline) // the same port
	e.says(holder, "RolledBack")
	e.mended(holder, "a port that is taken", first.ConfigHash)

	for _, o := range []*v1alpha1.DockerStack{s, holder} {
		e.removed(o)
	}
}

// wayTo is the way to a server outside.
func wayTo(t *testing.T, address string) http.Handler {
	t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := os.Getenv("PORTAINER_CA"); file != "" {
		text, err := os.ReadFile(file)
		if config.RootCAs = x509.NewCertPool(); err != nil || !config.RootCAs.AppendCertsFromPEM(text) {
			t.Fatalf("read roots of %s: %v", file, err)
		}
	}
	return &httputil.ReverseProxy{
		Transport: &http.Transport{TLSClientConfig: config}, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = to.Host
		},
	}
}

// engineRoom is an environment of Portainer, seen through its API.
type engineRoom struct {
	*theatre
	api    *portainer.Client
	engine *portainer.Engine
	id     int
	name   string
}

// engineOf waits for Portainer, and for the environment: the agent's of the samples, or one that the server had before.
func (w *theatre) engineOf(agents bool) *engineRoom {
	w.Helper()
	service, condition := "portainer", v1alpha1.ServingCondition
	if agents {
		service, condition = "drphoenix", v1alpha1.RegisteredCondition
	}
	var s v1alpha1.HostService
	w.until(service+" is "+condition, func() error {
		err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: world.Namespace, Name: service}, &s)
		if err == nil && !meta.IsStatusConditionTrue(s.Status.Conditions, condition) {
			err = fmt.Errorf("%+v", s.Status.Conditions)
		}
		return err
	})
	room := &engineRoom{theatre: w, api: w.api()}
	name := os.Getenv("PORTAINER_ENVIRONMENT")
	if agents {
		name = s.Status.PortainerAgent.Environment
	}
	all, err := room.api.Environments(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	at := slices.IndexFunc(all, func(e portainer.Environment) bool { return e.Name == name || name == "" && e.Up })
	if at < 0 {
		w.Fatalf("Portainer has no environment %q that is up: %+v", name, all)
	}
	room.id, room.name = all[at].ID, all[at].Name
	if room.engine, err = room.api.Engine(room.id); err != nil {
		w.Fatal(err)
	}
	return room
}

// api is Portainer's, by the key that Phoenix made.
func (w *theatre) api() *portainer.Client {
	w.Helper()
	var s v1alpha1.HostService
	var key corev1.Secret
	if err := errors.Join(w.Client.Get(w.Context(), client.ObjectKey{Namespace: world.Namespace, Name: "portainer"}, &s),
		w.Client.Get(w.Context(), client.ObjectKey{Namespace: world.Namespace, Name: "portainer-api-key"}, &key)); err != nil {
		w.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.Status.Portainer.CABundle))
	server, err := portainer.New(portainer.Options{URL: s.Status.Portainer.URL, ServerName: s.Status.Portainer.ServerName, Roots: roots, Dial: w.Site.DialContext})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(server.Close)
	return server.With(string(key.Data["apiKey"]))
}

// of are a stack's containers.
func (e *engineRoom) of(name string) []portainer.Container {
	e.Helper()
	all, err := e.engine.Containers(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	return slices.DeleteFunc(all, func(c portainer.Container) bool { return c.Project != name })
}

// one is the only container of a stack.
func (e *engineRoom) one(s *v1alpha1.DockerStack) portainer.Container {
	e.Helper()
	all := e.of(s.Name)
	if len(all) != 1 || all[0].Service != "web" || all[0].State != "running" {
		e.Fatalf("it runs %+v", all)
	}
	return all[0]
}

// declare gives a stack another text.
func (e *engineRoom) declare(s *v1alpha1.DockerStack, text string) {
	e.Helper()
	base := s.DeepCopy()
	s.Spec.Compose.Inline = text
	if err := e.Client.Patch(e.Context(), s, client.MergeFrom(base)); err != nil {
		e.Fatal(err)
	}
}

// says waits until the present spec of a stack is not Ready, for a reason.
func (e *engineRoom) says(s *v1alpha1.DockerStack, reason string) {
	e.Helper()
	e.until(s.Name+" says "+reason, func() error {
		err := e.Client.Get(e.Context(), client.ObjectKeyFromObject(s), s)
		c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ReadyCondition)
		if err == nil && (c == nil || c.Reason != reason || s.Status.ObservedGeneration != s.Generation) {
			err = fmt.Errorf("%+v", c)
		}
		return err
	})
}

// deployed waits until a stack is as its text says.
func (e *engineRoom) deployed(s *v1alpha1.DockerStack) {
	e.Helper()
	e.says(s, v1alpha1.InSyncReason)
	if s.Status.Ready != "1/1" {
		e.Errorf("%s has %s services", s.Name, s.Status.Ready)
	}
}

// mended has Phoenix look again and again, until one container made of the first text runs, and nothing else.
func (e *engineRoom) mended(s *v1alpha1.DockerStack, what, hash string) {
	e.Helper()
	tries := 0
	e.until(what+" is mended", func() error {
		tries++
		look := fmt.Sprintf(`{"metadata":{"annotations":{"example.org/look":"%s %d"}}}`, what, tries)
		if err := e.Client.Patch(e.Context(), s, client.RawPatch(types.MergePatchType, []byte(look))); err != nil {
			return err
		}
		all := e.of(s.Name)
		if len(all) != 1 || all[0].State != "running" || all[0].Service != "web" || all[0].ConfigHash != hash {
			return fmt.Errorf("it runs %+v", all)
		}
		return nil
	})
}

// removed deletes a stack: nothing of it stays.
func (e *engineRoom) removed(s *v1alpha1.DockerStack) {
	e.Helper()
	if err := e.Client.Delete(e.Context(), s); err != nil {
		e.Fatal(err)
	}
	e.until(s.Name+" is gone", func() error {
		if err := e.Client.Get(e.Context(), client.ObjectKeyFromObject(s), s); !apierrors.IsNotFound(err) {
			return errors.Join(err, fmt.Errorf("%+v", s.Status.Conditions))
		}
		return nil
	})
	if left := e.of(s.Name); len(left) > 0 {
		e.Errorf("%s leaves %+v", s.Name, left)
	}
}
