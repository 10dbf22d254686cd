// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// named is a Secret or ConfigMap.
type named struct{ kind, name string }

func (n named) String() string { return n.kind + "/" + n.name }

// entry is a place in a Secret or ConfigMap.
type entry struct {
	named
	key string
}

// secret says whether the value is not for everybody.
func (e entry) secret() bool { return e.kind == "Secret" }

// entryOf is where a value stands.
func entryOf(s *v1alpha1.SecretKeyReference, c *v1alpha1.ConfigMapKeyReference) (entry, bool) {
	switch {
	case s != nil:
		return entry{named{"Secret", s.Name}, s.Key}, true
	case c != nil:
		return entry{named{"ConfigMap", c.Name}, c.Key}, true
	}
	return entry{}, false
}

// sourcesOf are the Secrets and ConfigMaps that a stack is made of, each once.
func sourcesOf(s *v1alpha1.DockerStack) []named {
	var all []named
	add := func(sec *v1alpha1.SecretKeyReference, cm *v1alpha1.ConfigMapKeyReference) {
		if e, ok := entryOf(sec, cm); ok && !slices.Contains(all, e.named) {
			all = append(all, e.named)
		}
	}
	add(s.Spec.Compose.SecretKeyRef, s.Spec.Compose.ConfigMapKeyRef)
	if g := s.Spec.Compose.Git; g != nil {
		if g.CredentialsSecretRef != nil {
			add(&v1alpha1.SecretKeyReference{Name: g.CredentialsSecretRef.Name}, nil)
		}
		add(g.KnownHostsSecretRef, nil)
	}
	for _, v := range s.Spec.Env {
		if v.ValueFrom != nil {
			add(v.ValueFrom.SecretKeyRef, v.ValueFrom.ConfigMapKeyRef)
		}
	}
	for _, c := range s.Spec.Configs {
		add(c.SecretKeyRef, c.ConfigMapKeyRef)
	}
	return all
}

// reader reads Secrets and ConfigMaps of a namespace, each once a pass.
type reader struct {
	client    client.Client
	namespace string
	read      map[named]map[string][]byte
}

// of reads one; nil: it is not there.
func (r *reader) of(ctx context.Context, n named) (map[string][]byte, error) {
	if had, ok := r.read[n]; ok {
		return had, nil
	}
	data, err := r.get(ctx, n)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read %s: %w", n, err)
	}
	if r.read == nil {
		r.read = map[named]map[string][]byte{}
	}
	r.read[n] = data
	if apierrors.IsNotFound(err) {
		return nil, missing(n.String() + ": not found")
	}
	return data, nil
}

func (r *reader) get(ctx context.Context, n named) (map[string][]byte, error) {
	at := types.NamespacedName{Namespace: r.namespace, Name: n.name}
	if n.kind == "Secret" {
		var s corev1.Secret
		err := r.client.Get(ctx, at, &s)
		return s.Data, err
	}
	var c corev1.ConfigMap
	err := r.client.Get(ctx, at, &c)
	data := maps.Clone(c.BinaryData)
	if data == nil {
		data = map[string][]byte{}
	}
	for key, text := range c.Data {
		data[key] = []byte(text)
	}
	return data, err
}

// entry reads one entry.
func (r *reader) entry(ctx context.Context, e entry) ([]byte, error) {
	data, err := r.of(ctx, e.named)
	if err != nil {
		return nil, err
	}
	value, ok := data[e.key]
	if !ok {
		if len(data) == 0 {
			return nil, missing(e.String() + ": not found, or empty")
		}
		return nil, missing(fmt.Sprintf("%s: it has no entry %s", e.named, e.key))
	}
	return value, nil
}

func missing(what string) error {
	return reconcile.Wait(SourceMissingReason, missingFor, fmt.Errorf("waiting for %s", what))
}

// source is all that a stack is made of. It holds Secrets, and is never printed.
type source struct {
	text    []byte
	commit  string
	env     []value
	configs map[string][]byte
	hidden  hidden
	// problem is what is in the way of a newer text; the one that is there holds.
	problem *problem
}

// value is a variable and its value.
type value struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Hidden bool   `json:"hidden,omitempty"`
}

// gather reads all that a stack is made of.
func (k *Kind) gather(ctx context.Context, s *v1alpha1.DockerStack) (*source, error) {
	r := &reader{client: k.Client, namespace: s.Namespace}
	out := &source{configs: map[string][]byte{}}
	if err := k.gatherText(ctx, s, r, out); err != nil {
		return nil, err
	}
	for _, v := range s.Spec.Env {
		one, err := valueOf(ctx, r, v)
		if err != nil {
			return nil, err
		}
		if one.Hidden {
			out.hidden.add(one.Value)
		}
		if err := errors.Join(portainer.CheckName(one.Name), portainer.CheckValue(one.Value)); err != nil {
			return nil, reconcile.Stall(InvalidReason, fmt.Errorf("env[%s]: %w", v.Name, err))
		}
		out.env = append(out.env, one)
	}
	for _, c := range s.Spec.Configs {
		e, _ := entryOf(c.SecretKeyRef, c.ConfigMapKeyRef)
		content, err := r.entry(ctx, e)
		if err != nil {
			return nil, err
		}
		if e.secret() {
			out.hidden.add(string(content))
		}
		out.configs[c.Name] = content
	}
	slices.SortFunc(out.env, func(a, b value) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func valueOf(ctx context.Context, r *reader, v v1alpha1.StackVariable) (value, error) {
	out := value{Name: v.Name}
	if v.Value != nil {
		out.Value = *v.Value
	}
	if v.ValueFrom == nil {
		return out, nil
	}
	e, _ := entryOf(v.ValueFrom.SecretKeyRef, v.ValueFrom.ConfigMapKeyRef)
	text, err := r.entry(ctx, e)
	if err != nil {
		return out, err
	}
	out.Value, out.Hidden = string(text), e.secret()
	return out, nil
}

// gatherText reads the compose text.
func (k *Kind) gatherText(ctx context.Context, s *v1alpha1.DockerStack, r *reader, out *source) (err error) {
	c := s.Spec.Compose
	if c.Git != nil {
		return k.checkOut(ctx, s, r, out)
	}
	e, ok := entryOf(c.SecretKeyRef, c.ConfigMapKeyRef)
	if !ok {
		out.text = []byte(c.Inline)
		return nil
	}
	if out.text, err = r.entry(ctx, e); err == nil && e.secret() {
		out.hidden.addText(string(out.text))
	}
	return err
}

// hidden are texts that nobody may read.
type hidden []string

// leastHidden is the least length of what is hidden: what is shorter is in every text.
const leastHidden = 3

// add hides values, and each line of those that have several. There may be many: a config may have thousands of lines.
func (h *hidden) add(texts ...string) {
	there := make(map[string]bool, len(*h))
	for _, line := range *h {
		there[line] = true
	}
	for _, text := range texts {
		for _, line := range append(strings.Split(text, "\n"), text) {
			if line = strings.TrimSpace(line); len(line) >= leastHidden && !there[line] {
				there[line] = true
				*h = append(*h, line)
			}
		}
	}
	slices.SortFunc(*h, func(a, b string) int { return len(b) - len(a) }) // one may be within another
}

// addText hides what a text has after its keys.
func (h *hidden) addText(text string) {
	var all []string
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "- ")
		for _, sign := range []string{": ", "="} {
			if _, after, ok := strings.Cut(line, sign); ok {
				all = append(all, strings.Trim(strings.TrimSpace(after), `"'`))
			}
		}
		if !strings.Contains(line, ":") {
			all = append(all, strings.Trim(line, `"'`))
		}
	}
	h.add(all...)
}

// in takes what is hidden out of a text.
func (h hidden) in(text string) string {
	for _, secret := range h {
		text = strings.ReplaceAll(text, secret, "***")
		if quoted := quoted(secret); quoted != secret {
			text = strings.ReplaceAll(text, quoted, "***")
		}
	}
	return text
}

// shown is the name of an image without the values of Secrets that are in it.
func (r *release) shown(image string) string {
	var hide hidden
	for _, v := range r.env {
		if v.Hidden {
			hide.add(v.Value)
		}
	}
	return hide.in(image)
}
