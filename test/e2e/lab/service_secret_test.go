// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

// canary is a text that is planted where secrets are looked for, so that the looking is known to find something.
const canary = "canary-1f0d7c2e9b"

// secretTexts are the token and a line of the private SSH key.
func secretTexts() map[string]string {
	lines := strings.Split(string(site.Site.SSH[0].ClientKeyPEM), "\n")
	return map[string]string{"the token": site.Site.TokenSecret, "the SSH key": lines[len(lines)/2], "the canary": canary}
}

// processes collects what is seen of secrets in the arguments and the environments of all processes in the lab.
type processes struct {
	since time.Time
	stop  chan struct{}
	ended sync.WaitGroup
	texts map[string]string // what is looked for
	seen  map[string]string // by secret: where
	looks int
	// arguments of all processes that were seen.
	arguments map[string]struct{}
}

// watchProcesses looks at all processes again and again until the test ends.
func watchProcesses(t *testing.T) *processes {
	t.Helper()
	p := &processes{since: time.Now(), stop: make(chan struct{}), seen: map[string]string{}, texts: secretTexts(), arguments: map[string]struct{}{}}
	maps.Copy(p.texts, keyTexts())
	p.ended.Go(func() {
		for {
			p.look()
			select {
			case <-p.stop:
				return
			case <-time.After(30 * time.Millisecond):
			}
		}
	})
	t.Cleanup(p.end)
	return p
}

func (p *processes) look() {
	p.looks++
	for _, file := range []string{"cmdline", "environ"} {
		found, _ := filepath.Glob("/proc/[0-9]*/" + file) // the pattern is right
		for _, path := range found {
			text, _ := os.ReadFile(path) // a process may end
			if file == "cmdline" {
				p.arguments[string(text)] = struct{}{}
			}
			for what, secret := range p.texts {
				if bytes.Contains(text, []byte(secret)) {
					p.seen[what] = fmt.Sprintf("%s: %q", path, text)
				}
			}
		}
	}
}

func (p *processes) end() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.ended.Wait()
}

// secrets looks for the token and the SSH key: in every file of every machine that changed since the lab's site was made, in
// the processes, in Phoenix's log at its most talkative, and in all objects.
func secrets(r *reference, watched *processes) {
	t := r.T
	inside(t, lab.Host, "sh", "-c", "echo "+canary+" >/var/tmp/canary; sleep 1; :", canary)
	watched.end()
	if watched.seen["the canary"] == "" {
		t.Errorf("in %d looks the processes did not show what was planted", watched.looks)
	}
	delete(watched.seen, "the canary")
	for what, where := range watched.seen {
		t.Errorf("a process shows %s: %s", what, where)
	}
	var patterns []string
	for _, text := range secretTexts() {
		patterns = append(patterns, text)
	}
	slices.Sort(patterns)
	const script = `cat >/dev/shm/patterns
find / /run /tmp /dev/shm /etc/pve -xdev -type f ! -path /dev/shm/patterns -newerct "$0" -exec grep -lF -f /dev/shm/patterns {} +
rm /dev/shm/patterns`
	began := watched.since.Add(-time.Minute).UTC().Format("2006-01-02 15:04:05 UTC")
	for vmid := range addresses {
		got, err := site.ExecInput(test, vmid, strings.NewReader(strings.Join(patterns, "\n")+"\n"), "sh", "-c", script, began)
		want := ""
		if vmid == lab.Host {
			want = "/var/tmp/canary"
		}
		if found := strings.TrimSpace(got.Stdout); err != nil || found != want {
			t.Errorf("files of machine %d show a secret: %q, want %q: %v %s", vmid, found, want, err, got.Stderr)
		}
	}
	inside(t, lab.Host, "rm", "/var/tmp/canary")
	for place, text := range shown(r) {
		if len(text) == 0 {
			t.Errorf("nothing in %s", place)
		}
		for what, secret := range secretTexts() {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %s", place, what)
			}
		}
	}
}

// shown are the texts that people without access to Secrets may see.
func shown(r *reference) map[string]string {
	r.Helper()
	log, err := os.ReadFile(r.LogFile())
	if err != nil {
		r.Fatal(err)
	}
	places := map[string]string{"the manager's log": string(log)}
	for name, list := range map[string]client.ObjectList{
		"Hosts": &v1alpha1.HostList{}, "Guests": &v1alpha1.GuestList{}, "HostServices": &v1alpha1.HostServiceList{},
		"Certificates": &v1alpha1.CertificateList{}, "DockerStacks": &v1alpha1.DockerStackList{}, "Routes": &v1alpha1.RouteList{}, "ConfigMaps": &corev1.ConfigMapList{}, "events": &eventsv1.EventList{}, "core events": &corev1.EventList{},
	} {
		if err := r.Client.List(test, list); err != nil {
			r.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			r.Fatal(err)
		}
		places[name] = string(text)
	}
	return places
}
