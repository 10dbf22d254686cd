// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DockerStackSpec declares containers that run together: a compose text, what it is filled with, and where it runs.
// +kubebuilder:validation:XValidation:rule="has(self.project) == has(oldSelf.project) && (!has(self.project) || self.project == oldSelf.project)",message="project cannot be changed: make a new DockerStack instead"
type DockerStackSpec struct {
	CommonSpec `json:",inline"`

	// environment in which it runs.
	// +required
	Environment StackEnvironment `json:"environment,omitempty,omitzero"`
	// project is the stack's name in Portainer and in compose. It cannot be changed. Default: the object's name, with - for every dot.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9][-_a-z0-9]*$')",message="project must be lower case letters, digits, - and _, for example blog-staging: Portainer would make another name of it"
	Project string `json:"project,omitempty"`
	// compose is the text.
	// +required
	Compose ComposeSource `json:"compose,omitempty,omitzero"`
	// env are the values of the variables in the text.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:XValidation:rule="self.all(e, e.name != 'PHOENIX_STACK')",message="env must not have PHOENIX_STACK: Phoenix knows its stacks by it"
	Env []StackVariable `json:"env,omitempty"`
	// configs become configs of the text, with the content that they name. A service takes one by its name, as always.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Configs []StackConfig `json:"configs,omitempty"`
	// labels of every container.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('com.docker.') && k.size() > 0 && k.size() <= 253 && self[k].size() <= 1024)",message="labels must have keys of at most 253 and values of at most 1024 characters, and none that begins with com.docker."
	Labels map[string]string `json:"labels,omitempty"`
	// pullPolicy says when images are pulled, in place of what the services say: Always (before every deployment),
	// IfNotPresent or Never. Default: what the services say, else IfNotPresent.
	// +optional
	PullPolicy PullPolicy `json:"pullPolicy,omitempty"`
	// prune removes the containers of services that are not in the text any more. Default: true.
	// +optional
	Prune *bool `json:"prune,omitempty"`
	// deleteVolumes are names, as in the text, of volumes whose data is destroyed when the object is deleted with
	// deletionPolicy Delete. All others stay.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.all(v, v.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$'))",message="deleteVolumes must be names of volumes in the text, for example data"
	DeleteVolumes []string `json:"deleteVolumes,omitempty"`
}

// StackEnvironment is the Docker engine, as Portainer knows it.
// +kubebuilder:validation:XValidation:rule="has(self.agentRef) != has(self.name)",message="environment needs exactly one of agentRef and name"
// +kubebuilder:validation:XValidation:rule="has(self.name) == has(self.portainerRef)",message="environment.name needs portainerRef, which agentRef has itself"
// +kubebuilder:validation:XValidation:rule="has(self.agentRef) == has(oldSelf.agentRef) && (!has(self.agentRef) || self.agentRef.name == oldSelf.agentRef.name) && (!has(self.name) || self.name == oldSelf.name && self.portainerRef.name == oldSelf.portainerRef.name)",message="environment cannot be changed: make a new DockerStack instead"
type StackEnvironment struct {
	// agentRef names a portainerAgent HostService. The stack waits until it is Registered.
	// +optional
	AgentRef *LocalReference `json:"agentRef,omitempty"`
	// portainerRef names the portainer HostService that knows the environment called name.
	// +optional
	PortainerRef *LocalReference `json:"portainerRef,omitempty"`
	// name of an environment that Phoenix did not make, such as local.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// ComposeSource is where a compose text comes from.
// +kubebuilder:validation:XValidation:rule="(has(self.inline) ? 1 : 0) + (has(self.configMapKeyRef) ? 1 : 0) + (has(self.secretKeyRef) ? 1 : 0) + (has(self.git) ? 1 : 0) == 1",message="compose needs exactly one of inline, configMapKeyRef, secretKeyRef and git"
type ComposeSource struct {
	// inline is the text itself.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	Inline string `json:"inline,omitempty"`
	// configMapKeyRef names an entry of a ConfigMap.
	// +optional
	ConfigMapKeyRef *ConfigMapKeyReference `json:"configMapKeyRef,omitempty"`
	// secretKeyRef names an entry of a Secret.
	// +optional
	SecretKeyRef *SecretKeyReference `json:"secretKeyRef,omitempty"`
	// git is a file in a repository, which the manager fetches.
	// +optional
	Git *ComposeGit `json:"git,omitempty"`
}

// ConfigMapKeyReference names one entry of a ConfigMap in the same namespace.
type ConfigMapKeyReference struct {
	// name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// key of the entry within the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="key must be a ConfigMap's entry: letters, digits and - . _ only, for example compose.yaml"
	Key string `json:"key,omitempty"`
}

// ComposeGit is a file in a git repository.
// +kubebuilder:validation:XValidation:rule="!has(self.knownHostsSecretRef) || !self.url.startsWith('https://')",message="knownHostsSecretRef belongs to ssh: https has caBundle"
// +kubebuilder:validation:XValidation:rule="!self.url.startsWith('ssh://') || (has(self.credentialsSecretRef) && has(self.knownHostsSecretRef))",message="ssh needs credentialsSecretRef with ssh-privatekey, and knownHostsSecretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.caBundle) || self.url.startsWith('https://')",message="caBundle belongs to https"
type ComposeGit struct {
	// url of the repository: https:// or ssh://.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https://[A-Za-z0-9.-]+(:[0-9]{1,5})?|ssh://([A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+(:[0-9]{1,5})?)/[-A-Za-z0-9._~/%+]+$')",message="url must begin with https:// or ssh:// and hold no password, for example https://git.phoenix.lan/stacks.git"
	URL string `json:"url,omitempty"`
	// ref is a branch, a tag or the 40 digits of a commit. Default: the repository's HEAD.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_][-A-Za-z0-9._/]*$') && !self.contains('..')",message="ref must be a branch, a tag or a commit, for example main"
	Ref string `json:"ref,omitempty"`
	// path of the file in the repository. Default: compose.yaml.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._][-A-Za-z0-9._/ ]*$') && !self.contains('..')",message="path must be a path within the repository, for example blog/compose.yaml"
	Path string `json:"path,omitempty"`
	// credentialsSecretRef names a Secret with username and password (or a token as password), or ssh-privatekey.
	// +optional
	CredentialsSecretRef *LocalReference `json:"credentialsSecretRef,omitempty"`
	// knownHostsSecretRef is an entry of a Secret with the keys of the ssh server, as in known_hosts.
	// +optional
	KnownHostsSecretRef *SecretKeyReference `json:"knownHostsSecretRef,omitempty"`
	// caBundle verifies the https server: PEM. Default: what the manager's machine trusts.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	CABundle string `json:"caBundle,omitempty"`
	// interval at which the repository is looked at. Default: 5m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s')",message="interval must be at least 10s"
	Interval *metav1.Duration `json:"interval,omitempty"`
}

// StackVariable is the value of a variable in the text: plain, of a Secret or of a ConfigMap.
// +kubebuilder:validation:XValidation:rule="!has(self.valueFrom) || !has(self.value)",message="set value or valueFrom, not both"
type StackVariable struct {
	// name of the variable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",message="name must be letters, digits and _, for example DB_PASSWORD"
	Name string `json:"name,omitempty"`
	// value of the variable. Default: empty.
	// +optional
	// +kubebuilder:validation:MinLength=0
	// +kubebuilder:validation:MaxLength=32768
	Value *string `json:"value,omitempty"`
	// valueFrom is where the value stands.
	// +optional
	ValueFrom *StackValueSource `json:"valueFrom,omitempty"`
}

// StackValueSource is an entry of a Secret or of a ConfigMap.
// +kubebuilder:validation:XValidation:rule="has(self.secretKeyRef) != has(self.configMapKeyRef)",message="set exactly one of secretKeyRef and configMapKeyRef"
type StackValueSource struct {
	// secretKeyRef names an entry of a Secret.
	// +optional
	SecretKeyRef *SecretKeyReference `json:"secretKeyRef,omitempty"`
	// configMapKeyRef names an entry of a ConfigMap.
	// +optional
	ConfigMapKeyRef *ConfigMapKeyReference `json:"configMapKeyRef,omitempty"`
}

// StackConfig is a config of the compose text with its content.
// +kubebuilder:validation:XValidation:rule="has(self.secretKeyRef) != has(self.configMapKeyRef)",message="a config needs exactly one of secretKeyRef and configMapKeyRef"
type StackConfig struct {
	// name of the config in the text.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')",message="name must be letters, digits and - . _, for example nginx-conf"
	Name string `json:"name,omitempty"`
	// secretKeyRef names an entry of a Secret.
	// +optional
	SecretKeyRef *SecretKeyReference `json:"secretKeyRef,omitempty"`
	// configMapKeyRef names an entry of a ConfigMap.
	// +optional
	ConfigMapKeyRef *ConfigMapKeyReference `json:"configMapKeyRef,omitempty"`
}

// PullPolicy says when images are pulled.
// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
type PullPolicy string

const (
	// PullAlways pulls before every deployment, and looks for newer images at every interval.
	PullAlways PullPolicy = "Always"
	// PullIfNotPresent pulls what the engine lacks.
	PullIfNotPresent PullPolicy = "IfNotPresent"
	// PullNever takes what the engine has.
	PullNever PullPolicy = "Never"
)

// DockerStackStatus is what was observed of a DockerStack.
type DockerStackStatus struct {
	CommonStatus `json:",inline"`

	// stackID is its number in Portainer.
	// +optional
	// +kubebuilder:validation:Minimum=1
	StackID int32 `json:"stackID,omitempty"`
	// project is its name in Portainer and in compose.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Project string `json:"project,omitempty"`
	// environment in which it runs.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Environment string `json:"environment,omitempty"`
	// environmentID is the environment's number in Portainer.
	// +optional
	// +kubebuilder:validation:Minimum=1
	EnvironmentID int32 `json:"environmentID,omitempty"`
	// commit of the repository whose text is deployed.
	// +optional
	// +kubebuilder:validation:MinLength=40
	// +kubebuilder:validation:MaxLength=64
	Commit string `json:"commit,omitempty"`
	// deployed is a keyed hash of all that the last good deployment was made of.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Deployed string `json:"deployed,omitempty"`
	// refused is a keyed hash of what was deployed, failed, and was rolled back: it is not tried again.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Refused string `json:"refused,omitempty"`
	// ready says how many services are as they should be, such as 3/3.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	Ready string `json:"ready,omitempty"`
	// services of the stack, by name.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	Services []StackService `json:"services,omitempty"`
}

// StackService is a service of a stack as it runs.
type StackService struct {
	// name of the service.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// image that it runs.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`
	// digest is the image's ID, such as sha256:...
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Digest string `json:"digest,omitempty"`
	// state of its containers, the worst of them: running, restarting, exited and so on; absent when there is none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	State string `json:"state,omitempty"`
	// health of its containers, the worst of them: healthy, unhealthy or starting; absent when they are not checked.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Health string `json:"health,omitempty"`
	// containers that run, and how many there should be, such as 1/1.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	Containers string `json:"containers,omitempty"`
	// ports that are published on the engine's machine.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Ports []StackPort `json:"ports,omitempty"`
}

// StackPort is a port of a service that is published on the engine's machine.
type StackPort struct {
	// target is the port within the container.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Target int32 `json:"target,omitempty"`
	// published is the port on the machine.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Published int32 `json:"published,omitempty"`
	// protocol is tcp, udp or sctp.
	// +required
	// +kubebuilder:validation:Enum=tcp;udp;sctp
	Protocol string `json:"protocol,omitempty"`
	// address on which it is published; absent: on all of the machine's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=45
	Address string `json:"address,omitempty"`
}

// DockerStack is a compose text whose containers run in an environment of Portainer.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=dstack,categories=phoenix
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Environment",type=string,JSONPath=`.status.environment`
// +kubebuilder:printcolumn:name="Services",type=string,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type DockerStack struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec declares the stack.
	// +required
	Spec DockerStackSpec `json:"spec,omitempty,omitzero"`
	// status is what was observed.
	// +optional
	Status DockerStackStatus `json:"status,omitempty,omitzero"`
}

// DockerStackList is a list of DockerStacks.
// +kubebuilder:object:root=true
type DockerStackList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DockerStack `json:"items"`
}

// Common returns the part of the spec that every kind has.
func (s *DockerStack) Common() *CommonSpec { return &s.Spec.CommonSpec }

// CommonStatus returns the part of the status that every kind has.
func (s *DockerStack) CommonStatus() *CommonStatus { return &s.Status.CommonStatus }

// DefaultDeletionPolicy of a DockerStack is Delete: its volumes stay in any case.
func (s *DockerStack) DefaultDeletionPolicy() DeletionPolicy { return DeletionDelete }
