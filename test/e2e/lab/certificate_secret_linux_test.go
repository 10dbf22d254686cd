// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/test/lab"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// keyTexts are what key material looks like, whosever it is: in PEM, in that as base64, and in a JWK. They are put together here,
// so that a program that looks for them does not show them.
func keyTexts() map[string]string {
	return map[string]string{"a private key": "PRIVATE" + " KEY-----", "a private key in base64": "BQUklWQVRF" + "IEtFWS0tLS0t", "a private JWK": `"d"` + `:"`}
}

// keys collects all private keys that Phoenix puts into Secrets: those of certificates live for seconds here.
type keys struct {
	stop  chan struct{}
	ended sync.WaitGroup
	seen  map[string]string // part of the key: where
	err   error
}

// collectKeys begins to, until end is called.
func collectKeys(t *testing.T, kube client.Client) *keys {
	t.Helper()
	k := &keys{stop: make(chan struct{}), seen: map[string]string{}}
	k.ended.Go(func() {
		for {
			k.look(kube)
			select {
			case <-k.stop:
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	t.Cleanup(k.end)
	return k
}

func (k *keys) end() {
	select {
	case <-k.stop:
	default:
		close(k.stop)
	}
	k.ended.Wait()
}

func (k *keys) look(kube client.Client) {
	var secrets corev1.SecretList
	if err := kube.List(test, &secrets, client.InNamespace(world.Namespace)); err != nil {
		k.err = err
		return
	}
	for _, s := range secrets.Items {
		for name, data := range s.Data {
			if part := secretPart(data); part != "" {
				k.seen[part] = s.Name + " " + name
			}
		}
	}
}

// secretPart is a text that only who has the private key can have, in the form in which it stands in the Secret and in files.
func secretPart(data []byte) string {
	if block, _ := pem.Decode(data); block != nil && slices.Contains([]string{"PRIVATE KEY", "EC PRIVATE KEY"}, block.Type) {
		return strings.Split(string(data), "\n")[1]
	}
	var jwk struct{ D string }
	if json.Unmarshal(data, &jwk) == nil {
		return jwk.D
	}
	return ""
}

// keptKeys are the files of the machines that may have key material, and then others cannot read them.
var keptKeys = map[int][]string{
	nginx: {certificates["nginx"].key, certificates["site"].key}, traefik: {certificates["traefik"].key}, portainer: {"/etc/portainer-portainer/tls.key", certificates["portainer"].key},
	drphoenix: {certificates["drphoenix"].key}, stepCA: {"/etc/step-ca/intermediate.key"},
}

// keyMaterial looks for every private key that there was since a time: in the files of every machine and in all texts that people
// without access to Secrets may see; and there and in files that others can read for anything that looks like one.
func keyMaterial(r *reference, since time.Time, collected *keys) {
	t := r.T
	collected.end()
	if collected.err != nil || len(collected.seen) < 20 {
		t.Errorf("%d keys were collected only (%v)", len(collected.seen), collected.err)
	}
	var patterns []string
	for part := range collected.seen {
		patterns = append(patterns, part)
	}
	slices.Sort(patterns)
	const known = `cat >/dev/shm/patterns
find / /run /tmp /dev/shm /etc/pve -xdev -type f ! -path /dev/shm/patterns -newerct "$0" -exec grep -lF -f /dev/shm/patterns {} + | sort
rm /dev/shm/patterns`
	const likely = `find / /run /tmp /dev/shm /etc/pve -xdev -type f -perm /007 ! -perm /111 ! -path '/usr/lib/*' -newerct "$0" -exec grep -lE '^-----BEGIN [A-Z ]*PRIVATE[ ]KEY-----$|"d" ?: ?"[A-Za-z0-9_-]{43}"' {} +; true`
	began := since.Add(-time.Minute).UTC().Format("2006-01-02 15:04:05 UTC")
	machines := []int{hand, fresh}
	for vmid := range addresses {
		machines = append(machines, vmid)
	}
	for _, vmid := range machines {
		got, err := site.ExecInput(test, vmid, strings.NewReader(strings.Join(patterns, "\n")+"\n"), "sh", "-c", known, began)
		if found := strings.Fields(got.Stdout); err != nil || !slices.Equal(found, keptKeys[vmid]) {
			t.Errorf("files of machine %d with keys of Secrets: %q, want %q: %v %s", vmid, found, keptKeys[vmid], err, got.Stderr)
		}
		if got := inside(t, vmid, "sh", "-c", likely, began); got != "" {
			t.Errorf("files of machine %d that others can read look like keys: %s", vmid, got)
		}
		for _, path := range keptKeys[vmid] {
			if got := inside(t, vmid, "stat", "-c", "%a", path); got != "600" {
				t.Errorf("%s of machine %d has mode %s", path, vmid, got)
			}
		}
	}
	for place, text := range shown(r) {
		for part, where := range collected.seen {
			if strings.Contains(text, part) {
				t.Errorf("%s shows the key of %s", place, where)
			}
		}
		for what, text2 := range keyTexts() {
			if strings.Contains(text, text2) {
				t.Errorf("%s shows %s: %s", place, what, around(text, text2))
			}
		}
	}
	plantedKeys(t)
}

// around is where a text stands, without what follows it.
func around(text, what string) string {
	i := strings.Index(text, what)
	return fmt.Sprintf("%q", text[max(0, i-200):i+len(what)])
}

// plantedKeys proves that the looking finds what it looks for.
func plantedKeys(t *testing.T) {
	t.Helper()
	inside(t, lab.Host, "sh", "-c", "openssl genpkey -algorithm ed25519 -out /var/tmp/planted.key; chmod 644 /var/tmp/planted.key")
	defer inside(t, lab.Host, "rm", "/var/tmp/planted.key")
	text := inside(t, lab.Host, "cat", "/var/tmp/planted.key")
	if part := secretPart([]byte(text)); part == "" || !strings.Contains(text, keyTexts()["a private key"]) {
		t.Errorf("a planted key was not found in %q", text[:40])
	}
	if got := secretPart([]byte(`{"kty":"EC","d":"secret"}`)); got != "secret" {
		t.Errorf("of a planted JWK %q was found", got)
	}
}
