// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package site

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/pin"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

// Reasons why a Host cannot be connected to.
const (
	// SecretMissing: a Secret that the Host names, or an entry of it, is not there.
	SecretMissing = "SecretMissing"
	// SecretInvalid: an entry is there and cannot be used.
	SecretInvalid = "SecretInvalid"
)

// Error says why the connections of a Host cannot be made: what its spec or its Secrets say is not enough.
type Error struct {
	reason string
	err    error
}

func fail(reason string, err error) error { return &Error{reason, err} }

// Error names the Secret and the entry.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns what was met.
func (e *Error) Unwrap() error { return e.err }

// Reason is one of the reasons above.
func (e *Error) Reason() string { return e.reason }

// Entries of the Secret that tokenSecretRef names.
const (
	TokenIDEntry     = "tokenID"
	TokenSecretEntry = "tokenSecret"
)

// config is everything that the connections of one Host are made from. Two that are equal make the same connections.
type config struct {
	endpoint proxmox.Endpoint
	nodes    map[string]machine.SSH
	// sshErr is why nodes is empty although the Host declares SSH; text, so that two can be compared.
	sshErr, sshReason string
}

// read gathers the configuration from the Host's spec and its Secrets.
func (p *Pool) read(ctx context.Context, host *v1alpha1.Host) (config, error) {
	r := reader{get: func(name string, into *corev1.Secret) error {
		return p.options.Secrets.Get(ctx, types.NamespacedName{Namespace: host.Namespace, Name: name}, into)
	}}
	token := host.Spec.TokenSecretRef.Name
	c := config{endpoint: proxmox.Endpoint{
		URL: host.Spec.URL,
		// A file that was made with an editor ends in a line break.
		TokenID:     strings.TrimSpace(r.entry(token, TokenIDEntry)),
		TokenSecret: secret.Secret(strings.TrimSpace(r.entry(token, TokenSecretEntry))),
		TLS:         pin.Config{Fingerprint: host.Spec.TLS.Fingerprint},
		Limits:      limits(host.Spec.Limits),
	}}
	if ref := host.Spec.TLS.CASecretRef; ref != nil {
		c.endpoint.TLS.CA = []byte(r.entry(ref.Name, ref.Key))
	}
	if r.err != nil {
		return config{}, r.err
	}
	if _, err := proxmox.New(c.endpoint); err != nil {
		return config{}, fail(SecretInvalid, fmt.Errorf("%w (%s)", err, sources(host)))
	}
	err := r.readSSH(&c, host.Spec.SSH)
	return c, err
}

// sources names what an endpoint is made from, for a message.
func sources(host *v1alpha1.Host) string {
	text := fmt.Sprintf("the token is in Secret/%s", host.Spec.TokenSecretRef.Name)
	if ref := host.Spec.TLS.CASecretRef; ref != nil {
		text += fmt.Sprintf(", the CA in entry %s of Secret/%s", ref.Key, ref.Name)
	}
	return text
}

func limits(l *v1alpha1.HostLimits) proxmox.Limits {
	if l == nil {
		return proxmox.Limits{}
	}
	return proxmox.Limits{
		RequestsPerSecond: float64(value(l.RequestsPerSecond)),
		Burst:             2 * int(value(l.RequestsPerSecond)),
		Tasks:             int(value(l.Tasks)),
		PerStorage:        int(value(l.TasksPerStorage)),
		PerTemplate:       int(value(l.ClonesPerTemplate)),
	}
}

func value(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

// readSSH adds the nodes. What is wrong with the key is no error: the API works without it.
func (r *reader) readSSH(c *config, ssh *v1alpha1.HostSSH) error {
	if ssh == nil {
		return nil
	}
	key := secret.Secret(r.entry(ssh.KeySecretRef.Name, ssh.KeySecretRef.Key))
	if r.err != nil {
		if !r.missing {
			return r.err
		}
		c.sshReason, c.sshErr = SecretMissing, r.err.Error()
		return nil
	}
	c.nodes = make(map[string]machine.SSH, len(ssh.Nodes))
	for _, n := range ssh.Nodes {
		cfg := machine.SSH{Address: n.Address, User: ssh.User, Key: key, HostKeys: n.HostKeys}
		if _, err := machine.Dial(cfg); err != nil {
			c.nodes, c.sshReason = nil, SecretInvalid
			c.sshErr = fmt.Sprintf("prepare SSH to node %s: %v (the key is entry %s of Secret/%s)", n.Name, err, ssh.KeySecretRef.Key, ssh.KeySecretRef.Name)
			return nil
		}
		c.nodes[n.Name] = cfg
	}
	return nil
}

// reader reads entries of Secrets until the first error.
type reader struct {
	get     func(name string, into *corev1.Secret) error
	err     error
	missing bool // err is an absent Secret or entry, not the API server's
}

func (r *reader) entry(name, key string) string {
	if r.err != nil {
		return ""
	}
	var s corev1.Secret
	err := r.get(name, &s)
	switch {
	case apierrors.IsNotFound(err):
		r.missing, r.err = true, fail(SecretMissing, fmt.Errorf("read Secret/%s: it is not there; make it, with an entry %s", name, key))
	case err != nil:
		r.err = fmt.Errorf("read Secret/%s: %w", name, err)
	case len(s.Data[key]) == 0:
		r.missing, r.err = true, fail(SecretMissing, fmt.Errorf("read Secret/%s: it has no entry %s; add it", name, key))
	}
	return string(s.Data[key])
}
