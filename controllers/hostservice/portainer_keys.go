// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	usernameEntry    = corev1.BasicAuthUsernameKey
	passwordEntry    = corev1.BasicAuthPasswordKey
	apiKeyEntry      = "apiKey"
	agentSecretEntry = "secret"
	// defaultAdmin is the administrator's name when nobody chose one.
	defaultAdmin = "admin"
	// minPassword is how long a password has to be; Portainer refuses shorter ones.
	minPassword = 12
	// portainerAnnotation names the HostService whose Secret it is.
	portainerAnnotation = "phoenix-hypervisor.io/portainer"
)

// The Secrets of a Portainer server, by the name of its HostService.
func apiKeySecretOf(service string) string { return service + "-api-key" }
func agentSecretOf(service string) string  { return service + "-agent" }

// adminSecretOf names the Secret with the administrator's name and password.
func adminSecretOf(s *v1alpha1.HostService) string {
	if ref := s.Spec.Portainer.AdminSecretRef; ref != nil {
		return ref.Name
	}
	return s.Name + "-admin"
}

// credentials are an administrator's.
type credentials struct{ username, password string }

// keyring is what the Secrets of a Portainer server hold. What is not there is empty; what cannot be used is a problem.
type keyring struct {
	// admin, if adminThere and there is no adminProblem.
	admin        credentials
	adminThere   bool
	adminProblem error
	apiKey       string
	agent        string
	// apiKeySecret and agentSecret are as they were read; nil: not there.
	apiKeySecret, agentSecret *corev1.Secret
	problems                  []string
}

// usable says whether somebody can sign in.
func (r *keyring) usable() bool { return r.adminThere && r.adminProblem == nil }

// readSecret reads a Secret live; nil: it is not there.
func (k *Kind) readSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := k.Reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	return secret, nil
}

// readKeyring reads the Secrets of a Portainer server.
func (k *Kind) readKeyring(ctx context.Context, s *v1alpha1.HostService) (keyring, error) {
	var r keyring
	admin, err := k.readSecret(ctx, s.Namespace, adminSecretOf(s))
	if err != nil {
		return r, err
	}
	if r.apiKeySecret, err = k.readSecret(ctx, s.Namespace, apiKeySecretOf(s.Name)); err != nil {
		return r, err
	}
	if r.agentSecret, err = k.readSecret(ctx, s.Namespace, agentSecretOf(s.Name)); err != nil {
		return r, err
	}
	r.readAdmin(admin)
	r.apiKey = r.readOwn(r.apiKeySecret, s, apiKeyEntry)
	r.agent = r.readOwn(r.agentSecret, s, agentSecretEntry)
	if err := checkAgentSecret(r.agent); r.agent != "" && err != nil {
		r.problem(r.agentSecret.Name, err)
	}
	return r, nil
}

func (r *keyring) problem(name string, err error) {
	r.problems = append(r.problems, fmt.Sprintf("Secret %s: %v", name, err))
}

// readAdmin reads the administrator's Secret. A final line end is what editors and echo leave: it is no part of a password.
func (r *keyring) readAdmin(secret *corev1.Secret) {
	if secret == nil {
		return
	}
	r.adminThere = true
	r.admin = credentials{chomped(secret.Data[usernameEntry]), chomped(secret.Data[passwordEntry])}
	switch {
	case strings.TrimSpace(r.admin.username) == "":
		r.adminProblem = fmt.Errorf("use Secret %s: it has no %s: put the administrator's name into it", secret.Name, usernameEntry)
	case len(r.admin.password) < minPassword:
		r.adminProblem = fmt.Errorf("use Secret %s: it has no %s of at least %d characters: put one into it", secret.Name, passwordEntry, minPassword)
	}
}

func chomped(data []byte) string { return strings.TrimRight(string(data), "\r\n") }

// readOwn reads an entry of a Secret that is this server's alone.
func (r *keyring) readOwn(secret *corev1.Secret, s *v1alpha1.HostService, entry string) string {
	if secret == nil {
		return ""
	}
	value := chomped(secret.Data[entry])
	switch other := secret.Annotations[portainerAnnotation]; {
	case other != "" && other != s.Name:
		r.problem(secret.Name, errors.New("it is of HostService "+other))
	case value == "" && other == "":
		r.problem(secret.Name, fmt.Errorf("it has no %s, and is not of HostService %s: remove it, or put one into it", entry, s.Name))
	}
	return value
}

// checkAgentSecret refuses what a line of a file cannot hold.
func checkAgentSecret(secret string) error {
	if secret == "" || len(secret) > 512 || strings.ContainsFunc(secret, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fmt.Errorf("want up to 512 letters, digits and signs without blanks as %s", agentSecretEntry)
	}
	return nil
}

// writeSecret makes a Secret of a Portainer server, or changes entries of one under the version that was read.
func (k *Kind) writeSecret(ctx context.Context, s *v1alpha1.HostService, had *corev1.Secret, name string, data map[string][]byte) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name}, Type: corev1.SecretTypeOpaque}
	if had != nil {
		secret = had.DeepCopy()
	}
	set(&secret.Labels, map[string]string{managedByLabel: "phoenix"})
	set(&secret.Annotations, map[string]string{portainerAnnotation: s.Name})
	set(&secret.Data, data)
	var err error
	if had == nil {
		err = k.Writer.Create(ctx, secret)
	} else {
		err = k.Writer.Update(ctx, secret)
	}
	if err != nil {
		return vaultFailure(fmt.Errorf("write Secret %s: %w", name, err))
	}
	return nil
}

// byChance is a password or a secret that nobody can guess.
func byChance() []byte { return []byte(rand.Text() + rand.Text()) }
