// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/pin"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// Reasons of a Host's conditions, beside SecretMissing and SecretInvalid of package site.
const (
	// Answering: the API answers with the pinned certificate and accepts the token.
	Answering = "Answering"
	// Unreachable: nothing answers at the URL.
	Unreachable = "Unreachable"
	// CertificateMismatch: the endpoint shows another certificate than the pinned one.
	CertificateMismatch = "CertificateMismatch"
	// Unauthorized: the token is unknown, wrong or expired.
	Unauthorized = "Unauthorized"
	// Forbidden: the token is known and may not even ask.
	Forbidden = "Forbidden"
	// NoQuorum: the cluster refuses changes.
	NoQuorum = "NoQuorum"
	// Sufficient: the token has every privilege that is in use.
	Sufficient = "Sufficient"
	// MissingPrivileges: the token lacks privileges that are in use.
	MissingPrivileges = "MissingPrivileges"
	// UnknownNode: spec.ssh names a node that the site does not have.
	UnknownNode = "UnknownNode"
	// HostKeyMismatch: a node shows an SSH host key that is not pinned.
	HostKeyMismatch = "HostKeyMismatch"
	// SSHUnauthorized: a node refuses the SSH key.
	SSHUnauthorized = "SSHUnauthorized"
	// SSHUnreachable: a node cannot be worked with over SSH.
	SSHUnreachable = "SSHUnreachable"
)

// problem is what keeps a Host from being Ready. Its text is the same in every pass that meets it: it holds no time, no
// local port and no counter.
type problem struct {
	reason, text string
	err          error
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.err }

// judge makes a problem of an error that says something of the endpoint; another one it returns as it is.
func judge(host *v1alpha1.Host, err error) error {
	token := "Secret/" + host.Spec.TokenSecretRef.Name
	var said interface{ Reason() string }
	switch {
	case errors.As(err, &said):
		return &problem{said.Reason(), err.Error(), err}
	case proxmox.IsUntrusted(err):
		return untrusted(host, err)
	case proxmox.IsUnauthorized(err):
		return &problem{Unauthorized, fmt.Sprintf(
			"%s refuses the token of %s: make sure that entries tokenID and tokenSecret are right and that the token has not expired", host.Spec.URL, token), err}
	case proxmox.IsDenied(err):
		return &problem{Forbidden, fmt.Sprintf("%s forbids the token of %s: %v", host.Spec.URL, token, err), err}
	case proxmox.IsUnreachable(err), errors.Is(err, context.DeadlineExceeded):
		return unreachable(host, err)
	}
	return err
}

// unreachable keeps the words of the last pass while the circuit breaker lets nothing through, which says nothing new.
func unreachable(host *v1alpha1.Host, err error) *problem {
	last := meta.FindStatusCondition(host.Status.Conditions, v1alpha1.ReachableCondition)
	if errors.Is(err, proxmox.ErrBreakerOpen) && last != nil && last.Reason == Unreachable {
		return &problem{Unreachable, last.Message, err}
	}
	return &problem{Unreachable, fmt.Sprintf("reach %s: %s", host.Spec.URL, cause(err)), err}
}

// untrusted shows the certificate's fingerprint, so that a person can compare it with the node's own and pin it.
func untrusted(host *v1alpha1.Host, err error) *problem {
	shown, _ := pin.Shown(err)
	why := "spec.tls.fingerprint is " + host.Spec.TLS.Fingerprint
	if ca := host.Spec.TLS.CASecretRef; ca != nil {
		why = fmt.Sprintf("with the CA in entry %s of Secret/%s %s", ca.Key, ca.Name, distrust(err))
	}
	return &problem{CertificateMismatch, fmt.Sprintf(
		"%s shows the certificate with SHA-256 fingerprint %s, but %s; compare with: pvenode cert info", host.Spec.URL, shown, why), err}
}

// distrust says why a certificate does not verify, without the time that the library's text has.
func distrust(err error) string {
	var (
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &name):
		return "it is not for " + name.Host
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired or is not valid yet"
	case errors.As(err, &unknown):
		return "no authority there has signed it"
	}
	return "it does not verify"
}

// cause says in stable words why there was no answer.
func cause(err error) string {
	var (
		number  syscall.Errno
		resolve *net.DNSError
		record  tls.RecordHeaderError
		answer  *proxmox.Error
		timeout net.Error
	)
	switch {
	case errors.Is(err, proxmox.ErrBreakerOpen):
		return "the last calls went unanswered"
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &resolve):
		return "no address is known for " + resolve.Name
	case errors.As(err, &record):
		return "it does not speak TLS"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &answer) && answer.Code != 0:
		return strings.TrimSpace(fmt.Sprintf("a proxy answers %d %s", answer.Code, answer.Reason))
	}
	return "the connection breaks before an answer"
}

// judgeSSH makes a problem of what the check of a node met.
func judgeSSH(host *v1alpha1.Host, node v1alpha1.HostSSHNode, err error) *problem {
	key := host.Spec.SSH.KeySecretRef
	var (
		shown *machine.HostKeyError
		said  interface{ Reason() string }
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		return &problem{said.Reason(), "SSH: " + err.Error(), err}
	case errors.As(err, &shown):
		return &problem{HostKeyMismatch, fmt.Sprintf("node %s (%s) shows SSH host key %s %s, which spec.ssh.nodes does not list; compare with: ssh-keygen -lf on the node",
			node.Name, node.Address, shown.Type, shown.Fingerprint), err}
	case strings.Contains(err.Error(), "unable to authenticate"):
		return &problem{SSHUnauthorized, fmt.Sprintf("node %s (%s) refuses the SSH key in entry %s of Secret/%s: add its public key to authorized_keys there",
			node.Name, node.Address, key.Key, key.Name), err}
	}
	return &problem{SSHUnreachable, fmt.Sprintf("reach node %s (%s) over SSH: %s", node.Name, node.Address, cause(err)), err}
}
