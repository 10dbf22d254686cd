// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CertificateSpec declares a certificate: whose it is, who signs it, and where it is served.
// +kubebuilder:validation:XValidation:rule="has(self.commonName) || has(self.dnsNames) || has(self.ipAddresses) || has(self.uris) || has(self.emailAddresses)",message="a Certificate needs a name: set commonName, dnsNames, ipAddresses, uris or emailAddresses"
// +kubebuilder:validation:XValidation:rule="!(has(self.renewBefore) && has(self.renewBeforePercentage))",message="set renewBefore or renewBeforePercentage, not both"
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || !has(self.renewBefore) || duration(self.renewBefore) < duration(self.duration)",message="renewBefore must be shorter than duration"
type CertificateSpec struct {
	CommonSpec `json:",inline"`

	// authority that signs it.
	// +required
	Authority CertificateAuthority `json:"authority,omitempty,omitzero"`
	// secretName of the Secret of type kubernetes.io/tls that takes the key and the certificate. It cannot be changed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="secretName must be the name of a Secret: lower case letters, digits, - and ."
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="secretName cannot be changed: make a new Certificate instead"
	SecretName string `json:"secretName,omitempty"`
	// secretTemplate is what else the Secret bears.
	// +optional
	SecretTemplate *SecretTemplate `json:"secretTemplate,omitempty"`

	// commonName of the subject. Default: the first name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	CommonName string `json:"commonName,omitempty"`
	// dnsNames that it is for; the first label may be *.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(n, n.matches('^([*][.])?([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",message="dnsNames must be host names in lower case, for example www.phoenix.lan or *.phoenix.lan"
	DNSNames []string `json:"dnsNames,omitempty"`
	// ipAddresses that it is for.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="self.all(a, isIP(a))",message="ipAddresses must be IP addresses, for example 10.0.0.153"
	IPAddresses []string `json:"ipAddresses,omitempty"`
	// uris that it is for, such as spiffe://phoenix.lan/nginx.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.all(u, isURL(u))",message="uris must be absolute, for example spiffe://phoenix.lan/nginx"
	URIs []string `json:"uris,omitempty"`
	// emailAddresses that it is for.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=254
	// +kubebuilder:validation:XValidation:rule="self.all(e, e.matches('^[^@ ]+@[^@ ]+$'))",message="emailAddresses must be addresses, for example admin@phoenix.lan"
	EmailAddresses []string `json:"emailAddresses,omitempty"`

	// duration that is asked for. The authority may give less; renewal goes by what it gave. Default: the authority's.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s')",message="duration must be at least 10s"
	Duration *metav1.Duration `json:"duration,omitempty"`
	// renewBefore the end, as a time. When the life that was issued is not longer, two thirds of it count.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="renewBefore must be at least 1s"
	RenewBefore *metav1.Duration `json:"renewBefore,omitempty"`
	// renewBeforePercentage of the issued life that is left when it is renewed. Default: a third.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=99
	RenewBeforePercentage int32 `json:"renewBeforePercentage,omitempty"`
	// privateKey says what its key is like.
	// +optional
	PrivateKey *CertificateKey `json:"privateKey,omitempty"`
	// usages of the key. Default: ServerAuth and ClientAuth. An outside authority may decide otherwise: then Ready says so.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	Usages []KeyUsage `json:"usages,omitempty"`
	// keystores that the Secret holds as well.
	// +optional
	Keystores *CertificateKeystores `json:"keystores,omitempty"`

	// deliverTo lists machines that get the files, or are asked for what they serve.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	DeliverTo []CertificateDelivery `json:"deliverTo,omitempty"`
	// revokeOnDeletion revokes the certificate when this object is deleted with deletionPolicy Delete. Default: false.
	// +optional
	RevokeOnDeletion *bool `json:"revokeOnDeletion,omitempty"`
}

// CertificateAuthority is who signs a certificate.
// +kubebuilder:validation:XValidation:rule="has(self.serviceRef) != has(self.outside)",message="authority needs exactly one of serviceRef and outside"
// +kubebuilder:validation:XValidation:rule="has(self.outside) == has(self.provisioner)",message="authority.provisioner belongs to outside: it signs the one-time tokens there"
type CertificateAuthority struct {
	// serviceRef names a stepCA HostService. The Certificate waits until it is Serving.
	// +optional
	ServiceRef *LocalReference `json:"serviceRef,omitempty"`
	// outside is a step-ca that is not Phoenix's.
	// +optional
	Outside *OutsideAuthority `json:"outside,omitempty"`
	// provisioner of the outside authority.
	// +optional
	Provisioner *OutsideProvisioner `json:"provisioner,omitempty"`
}

// OutsideProvisioner is a JWK provisioner of a step-ca that is not Phoenix's.
type OutsideProvisioner struct {
	// name of the provisioner.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// keySecretRef is the provisioner's private key as a JWK, encrypted (JWE) or not.
	// +required
	KeySecretRef SecretKeyReference `json:"keySecretRef,omitempty,omitzero"`
	// passwordSecretRef is the password of an encrypted key.
	// +optional
	PasswordSecretRef *SecretKeyReference `json:"passwordSecretRef,omitempty"`
}

// SecretTemplate is what a Secret bears beside its data.
type SecretTemplate struct {
	// labels of the Secret.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Labels map[string]string `json:"labels,omitempty"`
	// annotations of the Secret.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Annotations map[string]string `json:"annotations,omitempty"`
}

// KeyAlgorithm of a private key.
// +kubebuilder:validation:Enum=ECDSA;RSA;Ed25519
type KeyAlgorithm string

// The algorithms.
const (
	KeyECDSA   KeyAlgorithm = "ECDSA"
	KeyRSA     KeyAlgorithm = "RSA"
	KeyEd25519 KeyAlgorithm = "Ed25519"
)

// KeyRotation says when a certificate gets a new key.
// +kubebuilder:validation:Enum=Always;Never
type KeyRotation string

const (
	// RotateAlways makes a new key with every certificate. It is the default.
	RotateAlways KeyRotation = "Always"
	// RotateNever keeps the key as long as it fits the spec.
	RotateNever KeyRotation = "Never"
)

// KeyEncoding of a private key in PEM.
// +kubebuilder:validation:Enum=PKCS8;PKCS1
type KeyEncoding string

const (
	// KeyPKCS8 fits every algorithm. It is the default.
	KeyPKCS8 KeyEncoding = "PKCS8"
	// KeyPKCS1 is the older form: of RSA, and, as SEC 1, of ECDSA.
	KeyPKCS1 KeyEncoding = "PKCS1"
)

// CertificateKey says what a private key is like.
// +kubebuilder:validation:XValidation:rule="!has(self.size) || (has(self.algorithm) && self.algorithm == 'RSA' ? self.size in [2048, 3072, 4096, 8192] : has(self.algorithm) && self.algorithm == 'Ed25519' ? false : self.size in [256, 384, 521])",message="privateKey.size must be 256, 384 or 521 for ECDSA, 2048, 3072, 4096 or 8192 for RSA, and unset for Ed25519"
// +kubebuilder:validation:XValidation:rule="!has(self.encoding) || self.encoding != 'PKCS1' || !has(self.algorithm) || self.algorithm != 'Ed25519'",message="privateKey.encoding PKCS1 does not exist for Ed25519: use PKCS8"
type CertificateKey struct {
	// algorithm is ECDSA (default), RSA or Ed25519.
	// +optional
	Algorithm KeyAlgorithm `json:"algorithm,omitempty"`
	// size in bits. Default: 256 for ECDSA, 3072 for RSA.
	// +optional
	// +kubebuilder:validation:Minimum=256
	// +kubebuilder:validation:Maximum=8192
	Size int32 `json:"size,omitempty"`
	// rotationPolicy is Always (default) or Never.
	// +optional
	RotationPolicy KeyRotation `json:"rotationPolicy,omitempty"`
	// encoding is PKCS8 (default) or PKCS1.
	// +optional
	Encoding KeyEncoding `json:"encoding,omitempty"`
}

// KeyUsage is what a certificate may be used for.
// +kubebuilder:validation:Enum=ServerAuth;ClientAuth;CodeSigning;EmailProtection
type KeyUsage string

// The usages.
const (
	UsageServerAuth      KeyUsage = "ServerAuth"
	UsageClientAuth      KeyUsage = "ClientAuth"
	UsageCodeSigning     KeyUsage = "CodeSigning"
	UsageEmailProtection KeyUsage = "EmailProtection"
)

// CertificateKeystores are further forms of the key and the certificate in the Secret.
type CertificateKeystores struct {
	// pkcs12 puts keystore.p12 and truststore.p12 into the Secret.
	// +optional
	PKCS12 *Keystore `json:"pkcs12,omitempty"`
	// jks puts keystore.jks and truststore.jks into the Secret.
	// +optional
	JKS *Keystore `json:"jks,omitempty"`
}

// Keystore is a key and a certificate behind a password.
type Keystore struct {
	// passwordSecretRef is the password of the keystore.
	// +required
	PasswordSecretRef SecretKeyReference `json:"passwordSecretRef,omitempty,omitzero"`
	// alias of the entry, of a jks. Default: certificate.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=250
	Alias string `json:"alias,omitempty"`
}

// CertificateDelivery is a machine that serves the certificate.
// +kubebuilder:validation:XValidation:rule="has(self.hostRef) != has(self.guestRef)",message="a delivery needs exactly one of hostRef and guestRef: the machine"
// +kubebuilder:validation:XValidation:rule="!has(self.node) || has(self.hostRef)",message="node belongs to hostRef: a guest is followed to the node that it is on"
// +kubebuilder:validation:XValidation:rule="has(self.files) || has(self.probe)",message="a delivery needs files, a probe, or both"
// +kubebuilder:validation:XValidation:rule="!has(self.reload) || has(self.files)",message="reload belongs to files: units take a change of them"
type CertificateDelivery struct {
	// name of the delivery.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="name must be lower case letters, digits and -, for example web"
	Name string `json:"name,omitempty"`
	// hostRef names the Host whose node is the machine.
	// +optional
	HostRef *LocalReference `json:"hostRef,omitempty"`
	// node of the Host. Default: the only one that the Host declares under ssh.nodes.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Node string `json:"node,omitempty"`
	// guestRef names the Guest that is the machine.
	// +optional
	GuestRef *LocalReference `json:"guestRef,omitempty"`
	// files on the machine.
	// +optional
	Files *CertificateFiles `json:"files,omitempty"`
	// reload lists units that take the new files, if they run.
	// +optional
	// +listType=map
	// +listMapKey=unit
	// +kubebuilder:validation:MaxItems=8
	Reload []UnitAction `json:"reload,omitempty"`
	// probe asks what is served.
	// +optional
	Probe *CertificateProbe `json:"probe,omitempty"`
}

// CertificateFiles are where a machine gets the certificate. At least one of the paths is set.
// +kubebuilder:validation:XValidation:rule="has(self.certificate) || has(self.chain) || has(self.key) || has(self.ca) || has(self.combined)",message="files needs a path: set certificate, chain, key, ca or combined"
type CertificateFiles struct {
	// certificate is the path of the certificate alone.
	// +optional
	Certificate MachinePath `json:"certificate,omitempty"`
	// chain is the path of the certificate followed by the intermediates: what servers want.
	// +optional
	Chain MachinePath `json:"chain,omitempty"`
	// key is the path of the private key. The file is never readable by others.
	// +optional
	Key MachinePath `json:"key,omitempty"`
	// ca is the path of the roots.
	// +optional
	CA MachinePath `json:"ca,omitempty"`
	// combined is the path of one file with the key and the chain. It is never readable by others.
	// +optional
	Combined MachinePath `json:"combined,omitempty"`
	// owner of the files, a user's name or number. Default: root.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z_][-a-z0-9_]*|[0-9]{1,9})$')",message="owner must be a user's name or number, for example www-data"
	Owner string `json:"owner,omitempty"`
	// group of the files, a group's name or number. Default: root.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z_][-a-z0-9_]*|[0-9]{1,9})$')",message="group must be a group's name or number, for example ssl-cert"
	Group string `json:"group,omitempty"`
	// mode of the files in octal. Default: 0644, and 0600 of those with the key, which others can never read.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="self.matches('^0?[46][04][04]$')",message="mode must be octal and for reading and writing, for example 0640"
	Mode string `json:"mode,omitempty"`
}

// MachinePath is a file on a machine.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule="self.matches('^(/[-A-Za-z0-9._]+)+$') && !self.contains('/../') && !self.endsWith('/..') && !self.contains('/./') && !self.endsWith('/.')",message="the path must be absolute, without '.' and '..', of letters, digits and - . _, for example /etc/ssl/site.pem"
type MachinePath string

// UnitActionKind is what a unit does to take a change.
// +kubebuilder:validation:Enum=Reload;Restart
type UnitActionKind string

const (
	// UnitReload reads the files again without an interruption; a unit that cannot is restarted. It is the default.
	UnitReload UnitActionKind = "Reload"
	// UnitRestart restarts the unit.
	UnitRestart UnitActionKind = "Restart"
)

// UnitAction has a unit of systemd take a change.
type UnitAction struct {
	// unit of systemd.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_][-A-Za-z0-9:_.@]*[.]service$')",message="unit must be a service of systemd, for example nginx.service"
	Unit string `json:"unit,omitempty"`
	// action is Reload (default) or Restart.
	// +optional
	Action UnitActionKind `json:"action,omitempty"`
}

// CertificateProbe asks a server for the certificate that it serves.
type CertificateProbe struct {
	// address and port of the server. Default: the machine's address.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="isIP(self) || self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="address must be an IP address or a host name, for example 10.0.0.153"
	Address string `json:"address,omitempty"`
	// port of the server. Default: 443.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// serverName that is asked for. Default: the first of dnsNames, without a *.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="serverName must be a host name in lower case, for example www.phoenix.lan"
	ServerName string `json:"serverName,omitempty"`
}

// CertificateStatus is what was observed of a Certificate.
type CertificateStatus struct {
	CommonStatus `json:",inline"`

	// secretName of the Secret that holds it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
	// serialNumber in hexadecimal digits.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	SerialNumber string `json:"serialNumber,omitempty"`
	// rootFingerprint is the SHA-256 of the root that its chain leads to.
	// +optional
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	RootFingerprint string `json:"rootFingerprint,omitempty"`
	// notBefore is when it begins.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// notAfter is when it ends.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// renewalTime is when it is renewed.
	// +optional
	RenewalTime *metav1.Time `json:"renewalTime,omitempty"`
	// revision counts the certificates that were issued for this object.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Revision int64 `json:"revision,omitempty"`
	// renewRequested is the last value of the annotation phoenix-hypervisor.io/renew that was followed.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	RenewRequested string `json:"renewRequested,omitempty"`
	// deliveries is what the machines have. One whose machine was changed is there twice until the former one is cleared.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Deliveries []DeliveryStatus `json:"deliveries,omitempty"`
}

// DeliveryStatus is what one machine has.
type DeliveryStatus struct {
	// name of the delivery.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
	// machine that has it, such as Host/phoenix or Guest/nginx.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=320
	Machine string `json:"machine,omitempty"`
	// serialNumber that is there, or that is served when there is a probe.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	SerialNumber string `json:"serialNumber,omitempty"`
}

// Certificate is a certificate of a step-ca: issued, renewed, and delivered to the machines that serve it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=pcert,categories=phoenix
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.spec.secretName`
// +kubebuilder:printcolumn:name="Not-After",type=string,JSONPath=`.status.notAfter`
// +kubebuilder:printcolumn:name="Renewal",type=string,JSONPath=`.status.renewalTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Certificate struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec declares the certificate.
	// +required
	Spec CertificateSpec `json:"spec,omitempty,omitzero"`
	// status is what was observed.
	// +optional
	Status CertificateStatus `json:"status,omitempty,omitzero"`
}

// CertificateList is a list of Certificates.
// +kubebuilder:object:root=true
type CertificateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Certificate `json:"items"`
}

// Common returns the part of the spec that every kind has.
func (c *Certificate) Common() *CommonSpec { return &c.Spec.CommonSpec }

// CommonStatus returns the part of the status that every kind has.
func (c *Certificate) CommonStatus() *CommonStatus { return &c.Status.CommonStatus }

// DefaultDeletionPolicy of a Certificate is Delete: its Secret and its files go with it.
func (c *Certificate) DefaultDeletionPolicy() DeletionPolicy { return DeletionDelete }
