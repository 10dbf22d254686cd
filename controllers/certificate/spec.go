// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// namesOf is whom the certificate is for.
func namesOf(c *v1alpha1.Certificate) stepca.Names {
	return stepca.Names{
		CommonName: c.Spec.CommonName,
		SANs:       slices.Concat(c.Spec.DNSNames, c.Spec.IPAddresses, c.Spec.URIs, c.Spec.EmailAddresses),
	}
}

// usageNames are the driver's words for usages.
var usageNames = map[v1alpha1.KeyUsage]string{
	v1alpha1.UsageServerAuth: stepca.UsageServerAuth, v1alpha1.UsageClientAuth: stepca.UsageClientAuth,
	v1alpha1.UsageCodeSigning: stepca.UsageCodeSigning, v1alpha1.UsageEmailProtection: stepca.UsageEmailProtection,
}

// usagesOf are what the key may be used for, sorted.
func usagesOf(c *v1alpha1.Certificate) []string {
	if len(c.Spec.Usages) == 0 {
		return []string{stepca.UsageClientAuth, stepca.UsageServerAuth}
	}
	var usages []string
	for _, u := range c.Spec.Usages {
		usages = append(usages, usageNames[u])
	}
	slices.Sort(usages)
	return slices.Compact(usages)
}

// asked is a hash of what makes a certificate another one. The Secret keeps that of the request, so that an authority
// that gives something else is asked once.
func asked(c *v1alpha1.Certificate) string {
	names := namesOf(c)
	slices.Sort(names.SANs)
	text, _ := json.Marshal([]any{names, usagesOf(c)}) // strings always encode
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// durationOf is the life that is asked for; 0: the authority's.
func durationOf(c *v1alpha1.Certificate) time.Duration {
	if c.Spec.Duration == nil {
		return 0
	}
	return c.Spec.Duration.Duration
}

// keyKind is what a private key is like.
type keyKind struct {
	algorithm string
	size      int // 0 of Ed25519
}

func (k keyKind) String() string {
	if k.size == 0 {
		return k.algorithm
	}
	return fmt.Sprintf("%s %d", k.algorithm, k.size)
}

// keyOf is what the spec wants the key to be like.
func keyOf(c *v1alpha1.Certificate) keyKind {
	var spec v1alpha1.CertificateKey
	if c.Spec.PrivateKey != nil {
		spec = *c.Spec.PrivateKey
	}
	kind := keyKind{algorithm: cmp.Or(string(spec.Algorithm), stepca.ECDSA), size: int(spec.Size)}
	if kind.size == 0 {
		kind.size = map[string]int{stepca.ECDSA: 256, stepca.RSA: 3072}[kind.algorithm]
	}
	return kind
}

// kindOf is what a key is like.
func kindOf(key crypto.Signer) keyKind {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return keyKind{stepca.ECDSA, k.Curve.Params().BitSize}
	case *rsa.PrivateKey:
		return keyKind{stepca.RSA, k.N.BitLen()}
	case ed25519.PrivateKey:
		return keyKind{algorithm: stepca.Ed25519}
	}
	return keyKind{algorithm: fmt.Sprintf("%T", key)}
}

// keepsKey says whether a renewal keeps the key.
func keepsKey(c *v1alpha1.Certificate) bool {
	return c.Spec.PrivateKey != nil && c.Spec.PrivateKey.RotationPolicy == v1alpha1.RotateNever
}

// isPKCS1 says whether the key is written in its older form.
func isPKCS1(c *v1alpha1.Certificate) bool {
	return c.Spec.PrivateKey != nil && c.Spec.PrivateKey.Encoding == v1alpha1.KeyPKCS1
}

// maxRequest is how long a value of the annotation is in the status.
const maxRequest = 253

// requestOf is the present value of the annotation that asks for a renewal; of a longer one, its hash.
func requestOf(c *v1alpha1.Certificate) string {
	value := c.Annotations[v1alpha1.RenewAnnotation]
	if len(value) <= maxRequest {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// adopts says whether what nobody owns is taken over.
func adopts(c *v1alpha1.Certificate) bool {
	return c.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned
}

// revokes says whether the certificate is revoked when its object is deleted.
func revokes(c *v1alpha1.Certificate) bool {
	return c.Spec.RevokeOnDeletion != nil && *c.Spec.RevokeOnDeletion
}
