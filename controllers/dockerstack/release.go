// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/compose"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	// markVariable is the variable of a stack by which it is known whose it is.
	markVariable = "PHOENIX_STACK"
	// largestStack is how much a Secret takes of a text and its values, with room for the rest.
	largestStack = 700 << 10
)

// projectOf is the name of a stack in Portainer and in compose.
func projectOf(s *v1alpha1.DockerStack) string {
	if s.Spec.Project != "" {
		return s.Spec.Project
	}
	return strings.ReplaceAll(s.Name, ".", "-")
}

// release is what is deployed: a text, values, and what comes of them. It holds Secrets, and is never printed.
type release struct {
	text     string
	env      []value // by name, without the mark
	services []compose.Service
	images   []compose.Image
	commit   string
	// hash is a keyed one of text and values.
	hash string
}

// pullPolicies are compose's words.
var pullPolicies = map[v1alpha1.PullPolicy]string{
	v1alpha1.PullAlways: "always", v1alpha1.PullIfNotPresent: "missing", v1alpha1.PullNever: "never",
}

// want is the release that the spec asks for.
func want(s *v1alpha1.DockerStack, owner string, from *source) (*release, error) {
	values := map[string]string{}
	size := 0
	for _, v := range from.env {
		values[v.Name] = v.Value
		size += len(v.Name) + len(v.Value)
	}
	project, err := compose.Parse(compose.Input{
		Text: from.text, Project: projectOf(s), Values: values, Configs: from.configs, Labels: s.Spec.Labels,
		PullPolicy: pullPolicies[s.Spec.PullPolicy], Owner: owner,
	})
	if err == nil && len(project.Text)+size > largestStack {
		err = fmt.Errorf("the text with its configs and values has %d KiB: it may have %d", (len(project.Text)+size)>>10, largestStack>>10)
	}
	if err != nil {
		err = fmt.Errorf("read compose text: %w", from.hidden.err(err))
		if s.Spec.Compose.Git != nil { // no event tells of another commit
			return nil, outcome(s, &problem{reason: InvalidReason, after: intervalOf(s.Spec.Compose.Git), failure: true, err: err})
		}
		return nil, reconcile.Stall(InvalidReason, err)
	}
	return &release{text: project.Text, env: from.env, services: project.Services, images: project.Images, commit: from.commit}, nil
}

// variables are the values as Portainer has them, with the mark.
func (r *release) variables(owner string) []portainer.Variable {
	out := []portainer.Variable{{Name: markVariable, Value: owner}}
	for _, v := range r.env {
		out = append(out, portainer.Variable{Name: v.Name, Value: v.Value})
	}
	return out
}

// plain names the variables whose values everybody may read.
func (r *release) plain() []string {
	out := []string{markVariable}
	for _, v := range r.env {
		if !v.Hidden {
			out = append(out, v.Name)
		}
	}
	return out
}

// sealed gives the release its hash. Texts that mean the same are the same: compose wrote them.
func (r *release) sealed(key []byte) *release {
	parts := []string{r.text}
	for _, v := range r.env {
		parts = append(parts, v.Name, v.Value)
	}
	r.hash = digest(key, parts...)
	return r
}

// digest is a keyed hash of some texts; without a key, one for this process alone.
func digest(key []byte, parts ...string) string {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		fmt.Fprintf(mac, "%d\n%s", len(part), part)
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// brief is a short keyed hash of a text, for plans.
func brief(key []byte, text string) string { return "text:" + digest(key, text)[:briefLength] }

// briefLength is how much of a hash is in plans.
const briefLength = 8

// quoted is a text as it is within quotation marks.
func quoted(text string) string {
	q := strconv.Quote(text)
	return q[1 : len(q)-1]
}
