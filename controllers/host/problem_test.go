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
	"os"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

func TestCause(t *testing.T) {
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 54321}
	for name, tc := range map[string]struct {
		reason string
		err    error
		want   string
	}{
		"refused": {
			"a plain word of the system",
			&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "connection refused",
		},
		"reset": {
			"the local port differs in every pass and must not be in it",
			&net.OpError{Op: "read", Source: local, Err: os.NewSyscallError("read", syscall.ECONNRESET)}, "connection reset by peer",
		},
		"unknown name": {
			"the name is what helps",
			&net.DNSError{Err: "no such host", Name: "pve.lan", Server: "10.0.0.13:53"}, "no address is known for pve.lan",
		},
		"no TLS":       {"a port that speaks something else", tls.RecordHeaderError{Msg: "first record"}, "it does not speak TLS"},
		"deadline":     {"the time is over", context.DeadlineExceeded, "no answer in time"},
		"timeout":      {"the time is over, as the net package says it", &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "no answer in time"},
		"proxy":        {"an answer that is none", &proxmox.Error{Code: 596, Reason: "Broken pipe"}, "a proxy answers 596 Broken pipe"},
		"bare proxy":   {"a dead node's answer has no text", &proxmox.Error{Code: 595}, "a proxy answers 595"},
		"breaker":      {"the call was not made", &proxmox.Error{Err: proxmox.ErrBreakerOpen}, "the last calls went unanswered"},
		"cut":          {"all else", errors.New("unexpected EOF"), "the connection breaks before an answer"},
		"wrapped text": {"causes are found below other errors", fmt.Errorf("list guests: %w", &proxmox.Error{Err: context.DeadlineExceeded}), "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := cause(tc.err); got != tc.want {
				t.Errorf("cause is %q, want %q: %s", got, tc.want, tc.reason)
			}
		})
	}
}

func TestDistrust(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		err    error
		want   string
	}{
		"expired": {"the library's text holds the time of day", x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time 12:00:01"}, "it has expired or is not valid yet"},
		"name":    {"the URL's host is not in it", x509.HostnameError{Host: "10.0.0.13", Certificate: &x509.Certificate{}}, "it is not for 10.0.0.13"},
		"unknown": {"signed by somebody else", x509.UnknownAuthorityError{}, "no authority there has signed it"},
		"other":   {"all else", errors.New("x509: strange"), "it does not verify"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := distrust(fmt.Errorf("handshake: %w", tc.err)); got != tc.want {
				t.Errorf("distrust says %q, want %q: %s", got, tc.want, tc.reason)
			}
		})
	}
}

func TestBreakerSaysNothingNew(t *testing.T) {
	host := &v1alpha1.Host{Spec: v1alpha1.HostSpec{URL: "https://pve.lan:8006"}}
	open := &proxmox.Error{Err: proxmox.ErrBreakerOpen}
	if got, want := unreachable(host, open).text, "reach https://pve.lan:8006: the last calls went unanswered"; got != want {
		t.Errorf("without a message from before it says %q, want %q", got, want)
	}
	host.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReachableCondition, Reason: Unreachable, Message: "reach it: connection refused"}}
	if got, want := unreachable(host, open).text, "reach it: connection refused"; got != want {
		t.Errorf("it says %q, want the last pass's %q: the breaker says nothing new", got, want)
	}
}

func TestJudgeLeavesOtherErrors(t *testing.T) {
	for name, err := range map[string]error{
		"application": &proxmox.Error{Code: 500, Reason: "something broke"},
		"cancelled":   context.Canceled,
	} {
		t.Run(name, func(t *testing.T) {
			var p *problem
			if got := judge(&v1alpha1.Host{}, err); errors.As(got, &p) {
				t.Errorf("judge concludes %s from it, although it says nothing of the endpoint", p.reason)
			}
		})
	}
}
