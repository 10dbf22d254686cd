// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

// vaultPart is one Secret of an authority.
type vaultPart string

// The Secrets of an authority, by what stands behind the name of the HostService.
const (
	rootPart         vaultPart = "root"
	rootKeyPart      vaultPart = "root-key"
	intermediatePart vaultPart = "intermediate"
	provisionerPart  vaultPart = "provisioner"
)

var vaultParts = []vaultPart{rootPart, rootKeyPart, intermediatePart, provisionerPart}

// of is the name of the Secret of one HostService.
func (p vaultPart) of(service string) string { return service + "-" + string(p) }

const (
	certEntry   = corev1.TLSCertKey
	keyEntry    = corev1.TLSPrivateKeyKey
	formerEntry = "previous.key" // of the root before, while certificates are still issued under it
	jwkEntry    = "jwk.json"
	bundleEntry = "ca.crt"

	managedByLabel = "app.kubernetes.io/managed-by"
	// authorityAnnotation names the HostService whose Secret or ConfigMap it is.
	authorityAnnotation = "phoenix-hypervisor.io/authority"
	// generationAnnotation is the rootGeneration that the first root was made for.
	generationAnnotation = "phoenix-hypervisor.io/root-generation"
	// untilAnnotation says until when old roots are trusted: FINGERPRINT=TIME, separated by blanks.
	untilAnnotation = "phoenix-hypervisor.io/trusted-until"
)

// vault is what the Secrets of an authority hold. What is not there is empty; what cannot be used is a problem.
type vault struct {
	service string
	secrets map[vaultPart]*corev1.Secret // as they were read
	// roots that are trusted, the present one first.
	roots []*x509.Certificate
	// generation of the present root; 0: the Secret does not say.
	generation int32
	// until when old roots are trusted, by fingerprint.
	until map[string]time.Time
	// keys of roots, by fingerprint.
	keys map[string][]byte
	// next is a root whose key is kept and that is not among the roots yet: it was being made.
	next *nextRoot
	pair *caPair
	jwk  []byte
	// public part of the provisioner's key.
	public   []byte
	problems []string
}

// nextRoot is a root that is being made.
type nextRoot struct {
	cert       *x509.Certificate
	generation int32
}

// readVault reads the Secrets of an authority.
func readVault(service string, secrets map[vaultPart]*corev1.Secret) vault {
	v := vault{service: service, secrets: secrets, until: map[string]time.Time{}, keys: map[string][]byte{}}
	for _, part := range vaultParts {
		if other := v.annotation(part, authorityAnnotation); other != "" && other != service {
			v.problem(part, errors.New("it is of HostService "+other))
		}
	}
	v.readRoots()
	v.readRootKey()
	v.readPair()
	v.readProvisioner()
	return v
}

func (v *vault) problem(part vaultPart, err error) {
	v.problems = append(v.problems, fmt.Sprintf("Secret %s: %v", part.of(v.service), err))
}

func (v *vault) has(part vaultPart) bool { return v.secrets[part] != nil }

func (v *vault) annotation(part vaultPart, name string) string {
	if !v.has(part) {
		return ""
	}
	return v.secrets[part].Annotations[name]
}

// entry is one entry of a Secret; what is not there is a problem.
func (v *vault) entry(part vaultPart, name string) []byte {
	if !v.has(part) {
		return nil
	}
	data := v.secrets[part].Data[name]
	if len(data) == 0 {
		v.problem(part, errors.New("it has no "+name))
	}
	return data
}

func (v *vault) generationOf(part vaultPart) int32 {
	n, err := strconv.ParseInt(v.annotation(part, generationAnnotation), 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

func (v *vault) readRoots() {
	data := v.entry(rootPart, certEntry)
	if len(data) == 0 {
		return
	}
	roots, err := parseRoots(data)
	if err != nil {
		v.problem(rootPart, err)
		return
	}
	v.roots, v.generation = roots, v.generationOf(rootPart)
	for word := range strings.FieldsSeq(v.annotation(rootPart, untilAnnotation)) {
		fingerprint, text, _ := strings.Cut(word, "=")
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			v.until[fingerprint] = at
		}
	}
}

// readRootKey reads the root's key, which may be away. Beside it stands the certificate that it was made with, so that a
// making that was cut short is gone on with.
func (v *vault) readRootKey() {
	key := v.entry(rootKeyPart, keyEntry)
	if len(key) == 0 {
		return
	}
	if len(v.roots) > 0 && stepca.Matches(stepca.EncodeChain(v.roots[:1]), key) == nil {
		v.keys[stepca.Fingerprint(v.roots[0])] = key
		v.readFormerKey()
		return
	}
	if v.readNextRoot(key) {
		return
	}
	if len(v.roots) > 0 {
		err := stepca.Matches(stepca.EncodeChain(v.roots[:1]), key)
		v.problem(rootKeyPart, fmt.Errorf("its %s does not fit the first certificate of Secret %s: %w", keyEntry, rootPart.of(v.service), err))
	}
}

// readNextRoot reads a root that was being made, and that the Secret with the roots does not have yet.
func (v *vault) readNextRoot(key []byte) bool {
	own, generation := v.secrets[rootKeyPart].Data[certEntry], v.generationOf(rootKeyPart)
	roots, err := parseRoots(own)
	if err != nil || stepca.Matches(own, key) != nil || v.annotation(rootKeyPart, authorityAnnotation) == "" {
		return false
	}
	if len(v.roots) > 0 && generation <= v.generation {
		return false
	}
	v.next = &nextRoot{cert: roots[0], generation: generation}
	v.keys[stepca.Fingerprint(roots[0])] = key
	v.readFormerKey()
	return true
}

// readFormerKey reads the key of the root before, whichever that is.
func (v *vault) readFormerKey() {
	key := v.secrets[rootKeyPart].Data[formerEntry]
	for _, root := range v.roots {
		if len(key) > 0 && stepca.Matches(stepca.EncodeChain([]*x509.Certificate{root}), key) == nil {
			v.keys[stepca.Fingerprint(root)] = key
		}
	}
}

func (v *vault) readPair() {
	if !v.has(intermediatePart) {
		return
	}
	certPEM, keyPEM := v.entry(intermediatePart, certEntry), v.entry(intermediatePart, keyEntry)
	if len(certPEM) == 0 || len(keyPEM) == 0 {
		return
	}
	pair, err := parsePair(certPEM, keyPEM)
	if err == nil && len(v.roots) > 0 {
		err = pair.leadTo(v.roots)
	}
	if err != nil {
		v.problem(intermediatePart, err)
		return
	}
	v.pair = pair
}

func (v *vault) readProvisioner() {
	jwk := v.entry(provisionerPart, jwkEntry)
	if len(jwk) == 0 {
		return
	}
	public, err := stepca.PublicJWK(jwk)
	if err != nil {
		v.problem(provisionerPart, fmt.Errorf("%s: %w", jwkEntry, err))
		return
	}
	v.jwk, v.public = jwk, public
}

// whole says whether everything is there that a machine needs.
func (v *vault) whole() bool { return len(v.roots) > 0 && v.pair != nil && v.public != nil }

// keyOf is the key of a root; nil: it is away.
func (v *vault) keyOf(root *x509.Certificate) []byte {
	if root == nil {
		return nil
	}
	return v.keys[stepca.Fingerprint(root)]
}
