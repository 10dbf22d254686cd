// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Portainer is a Portainer server in a container of a Guest's Docker engine.
//
// With NAME the name of the HostService, its keys are kept in Secrets of the namespace: NAME-api-key (apiKey), with which
// Phoenix speaks to it, and NAME-agent (secret), which its agents ask for. They outlive the HostService.
// +kubebuilder:validation:XValidation:rule="has(self.certificateRef) != has(self.secretRef)",message="portainer needs exactly one of certificateRef and secretRef: it is reached over TLS alone"
// +kubebuilder:validation:XValidation:rule="has(self.dataDir) == has(oldSelf.dataDir) && (!has(self.dataDir) || self.dataDir == oldSelf.dataDir)",message="dataDir cannot be changed: what is there would be left behind; move it by hand, and make a new HostService"
type Portainer struct {
	// image of the server.
	// +required
	Image DockerImage `json:"image,omitempty,omitzero"`
	// dockerRef names the docker HostService of the same Guest. Unset: the engine is there already.
	// +optional
	DockerRef *LocalReference `json:"dockerRef,omitempty"`
	// port on which it answers, over TLS. Default: 9443.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// dataDir of the machine has the server's database. It is never removed: on a mount that outlives the guest, it
	// survives the guest. It cannot be changed. Default: /var/lib/portainer.
	// +optional
	DataDir MachinePath `json:"dataDir,omitempty"`
	// certificateRef names the Certificate that it serves. The service waits until that is Issued.
	// +optional
	CertificateRef *LocalReference `json:"certificateRef,omitempty"`
	// secretRef names a Secret of type kubernetes.io/tls that it serves, with ca.crt when its issuer is not publicly trusted.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// adminSecretRef names a Secret with username and password (at least 12 characters) of the first administrator.
	// Unset: NAME-admin, which is made, with the user admin and a password by chance, if it is not there.
	// +optional
	AdminSecretRef *LocalReference `json:"adminSecretRef,omitempty"`
	// settings of the server. What is unset is left as it is.
	// +optional
	Settings *PortainerSettings `json:"settings,omitempty"`
}

// PortainerSettings are settings of a Portainer server.
type PortainerSettings struct {
	// sessionTimeout after which people sign in again. Portainer's own: 8h.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5m') && duration(self) <= duration('8760h')",message="sessionTimeout must be from 5m to 8760h"
	SessionTimeout *metav1.Duration `json:"sessionTimeout,omitempty"`
	// snapshotInterval at which Portainer looks at its environments. Portainer's own: 5m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('24h')",message="snapshotInterval must be from 1m to 24h"
	SnapshotInterval *metav1.Duration `json:"snapshotInterval,omitempty"`
	// telemetry is sent to Portainer's makers.
	// +optional
	Telemetry *bool `json:"telemetry,omitempty"`
}

// PortainerAgent is Portainer's agent in a container of a Guest's Docker engine, and its environment in Portainer.
// +kubebuilder:validation:XValidation:rule="self.portainerRef.name == oldSelf.portainerRef.name",message="portainerRef cannot be changed: make a new HostService instead"
// +kubebuilder:validation:XValidation:rule="has(self.environment) == has(oldSelf.environment) && (!has(self.environment) || self.environment == oldSelf.environment)",message="environment cannot be changed: make a new HostService instead"
type PortainerAgent struct {
	// image of the agent, of the server's version.
	// +required
	Image DockerImage `json:"image,omitempty,omitzero"`
	// dockerRef names the docker HostService of the same Guest. Unset: the engine is there already.
	// +optional
	DockerRef *LocalReference `json:"dockerRef,omitempty"`
	// portainerRef names the portainer HostService that manages this engine. It cannot be changed.
	// +required
	PortainerRef LocalReference `json:"portainerRef,omitempty,omitzero"`
	// environment is the engine's name in Portainer. It cannot be changed. Default: the HostService's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9_. ]*[A-Za-z0-9])?$')",message="environment must be letters, digits, spaces and - _ ., for example drphoenix"
	Environment string `json:"environment,omitempty"`
	// port on which it answers, over TLS, to whoever has the secret. Default: 9001.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// PortainerStatus is what was observed of a Portainer server.
type PortainerStatus struct {
	// url at which it is reached, such as https://10.0.0.111:9443.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=320
	URL string `json:"url,omitempty"`
	// serverName that its certificate is verified for.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServerName string `json:"serverName,omitempty"`
	// caBundle that its certificate is verified with; absent: what the manager's machine trusts.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	CABundle string `json:"caBundle,omitempty"`
	// version of the server.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`
	// instanceID by which the server knows itself; a new one after its data was lost.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	InstanceID string `json:"instanceID,omitempty"`
	// apiKeySecret names the Secret with the key of its API.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	APIKeySecret string `json:"apiKeySecret,omitempty"`
	// agentSecret names the Secret that its agents ask for.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	AgentSecret string `json:"agentSecret,omitempty"`
}

// PortainerAgentStatus is what was observed of an agent.
type PortainerAgentStatus struct {
	// environment is its name in Portainer.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Environment string `json:"environment,omitempty"`
	// environmentID is its number in Portainer.
	// +optional
	// +kubebuilder:validation:Minimum=1
	EnvironmentID int32 `json:"environmentID,omitempty"`
	// address at which Portainer reaches it, such as 10.0.0.102:9001.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=320
	Address string `json:"address,omitempty"`
}
