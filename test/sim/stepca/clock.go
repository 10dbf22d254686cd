// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"time"

	"github.com/smallstep/certificates/cas/apiv1"
	"github.com/smallstep/certificates/cas/softcas"
)

// shifted signs as the authority does, by a clock that may be wrong: the library
// takes the time from the computer.
type shifted struct {
	soft  *softcas.SoftCAS
	shift func() time.Duration
}

var _ apiv1.CertificateAuthorityService = (*shifted)(nil)

// CreateCertificate implements apiv1.CertificateAuthorityService.
func (s *shifted) CreateCertificate(req *apiv1.CreateCertificateRequest) (*apiv1.CreateCertificateResponse, error) {
	if d := s.shift(); d != 0 {
		req.Template.NotBefore, req.Template.NotAfter = req.Template.NotBefore.Add(d), req.Template.NotAfter.Add(d)
	}
	return s.soft.CreateCertificate(req)
}

// RenewCertificate implements apiv1.CertificateAuthorityService.
func (s *shifted) RenewCertificate(req *apiv1.RenewCertificateRequest) (*apiv1.RenewCertificateResponse, error) {
	now := time.Now().Add(s.shift())
	req.Template.NotBefore, req.Template.NotAfter = now.Add(-req.Backdate), now.Add(req.Lifetime)
	out, err := s.soft.CreateCertificate(&apiv1.CreateCertificateRequest{Template: req.Template, CSR: req.CSR, Lifetime: req.Lifetime, Backdate: req.Backdate})
	if err != nil {
		return nil, err
	}
	return &apiv1.RenewCertificateResponse{Certificate: out.Certificate, CertificateChain: out.CertificateChain}, nil
}

// RevokeCertificate implements apiv1.CertificateAuthorityService.
func (s *shifted) RevokeCertificate(req *apiv1.RevokeCertificateRequest) (*apiv1.RevokeCertificateResponse, error) {
	return s.soft.RevokeCertificate(req)
}
