// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Management says how far Phoenix may go with an object.
// +kubebuilder:validation:Enum=Enforce;Observe;Paused
type Management string

const (
	// ManagementEnforce brings the outside to the spec and keeps it there. It is the default.
	ManagementEnforce Management = "Enforce"
	// ManagementObserve reads the outside, shows in status.plan what Enforce would do, and writes nothing there.
	ManagementObserve Management = "Observe"
	// ManagementPaused neither reads nor writes the outside; the last status stands.
	ManagementPaused Management = "Paused"
)

// DeletionPolicy says what happens outside when the object is deleted.
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

const (
	// DeletionDelete destroys what the object stands for.
	DeletionDelete DeletionPolicy = "Delete"
	// DeletionRetain leaves everything outside as it is, its owner mark included, so that the same object made again finds it.
	DeletionRetain DeletionPolicy = "Retain"
)

// AdoptionPolicy says whether something that exists outside without an owner mark may become this object's.
// +kubebuilder:validation:Enum=Never;IfUnowned
type AdoptionPolicy string

const (
	// AdoptionNever refuses what exists already. It is the default.
	AdoptionNever AdoptionPolicy = "Never"
	// AdoptionIfUnowned takes what exists and bears no owner mark; what another owner marked stays refused.
	AdoptionIfUnowned AdoptionPolicy = "IfUnowned"
)

// ObjectReference names another Phoenix object in the same namespace.
type ObjectReference struct {
	// kind of the object.
	// +required
	// +kubebuilder:validation:Enum=Host;Guest;HostService;Certificate;DockerStack;Route
	Kind string `json:"kind,omitempty"`
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// LocalReference names an object in the same namespace whose kind the field itself says.
type LocalReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// SecretKeyReference names one entry of a Secret in the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// key of the entry within the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="key must be a Secret's entry: letters, digits and - . _ only, for example id_ed25519"
	Key string `json:"key,omitempty"`
}

// CommonSpec is part of every kind's spec.
type CommonSpec struct {
	// management says how far Phoenix may go: Enforce (default), Observe (only show what would change) or Paused.
	// +optional
	Management Management `json:"management,omitempty"`
	// deletionPolicy says what happens outside when this object is deleted: Delete or Retain.
	// Unset means Retain for a Guest and Delete for every other kind.
	// Setting Retain while the object is already being deleted releases it without touching the outside.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// adoptionPolicy says whether something that exists already without an owner may be taken over: Never (default) or IfUnowned.
	// +optional
	AdoptionPolicy AdoptionPolicy `json:"adoptionPolicy,omitempty"`
	// dependsOn lists objects that must be Ready before any step is taken for this one.
	// While this object exists, they are not removed.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	DependsOn []ObjectReference `json:"dependsOn,omitempty"`
}

// Impact says what a change does to those who use the thing while it is made.
// +kubebuilder:validation:Enum=None;Reload;Restart;Outage;Destroy
type Impact string

const (
	// ImpactNone disturbs nobody.
	ImpactNone Impact = "None"
	// ImpactReload makes a service read its configuration again, without an interruption.
	ImpactReload Impact = "Reload"
	// ImpactRestart interrupts one service or one guest for the time of a restart.
	ImpactRestart Impact = "Restart"
	// ImpactOutage interrupts until something else is done.
	ImpactOutage Impact = "Outage"
	// ImpactDestroy loses data for good. Such a change waits for an approval.
	ImpactDestroy Impact = "Destroy"
)

// PlannedChange is one difference between the spec and the outside.
type PlannedChange struct {
	// reason is the step that the change belongs to, in one CamelCase word. It is also the reason of the step's event.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// field of the spec that differs, such as "memory" or "networks[net0].bridge".
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Field string `json:"field,omitempty"`
	// from is the value outside; absent where there is none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	From string `json:"from,omitempty"`
	// to is the value that the spec asks for; absent where it asks for none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	To string `json:"to,omitempty"`
	// impact on those who use the thing while the change is made.
	// +required
	Impact Impact `json:"impact,omitempty"`
	// approve is the token with which a person approves this change:
	// kubectl annotate KIND NAME phoenix-hypervisor.io/approve=TOKEN.
	// It stands only where the step waits for an approval, names this one step, and ends after 24 hours.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Approve string `json:"approve,omitempty"`
}

// Approval records an approval token that was offered for a step.
type Approval struct {
	// token that was offered.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Token string `json:"token,omitempty"`
	// offeredAt is when the token first stood in the plan. It ends 24 hours later.
	// +required
	OfferedAt metav1.Time `json:"offeredAt,omitempty,omitzero"`
	// consumedAt is when the approved step was begun. A consumed token approves nothing more.
	// +optional
	ConsumedAt *metav1.Time `json:"consumedAt,omitempty"`
}

// CommonStatus is part of every kind's status.
type CommonStatus struct {
	// conditions of the object. Ready always stands. Reconciling and Stalled stand only while they are true, Drifted only
	// under Observe while the plan is not empty.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// plan lists what differs between the spec and the outside. It is empty when they agree, and is cut after 20 entries.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Plan []PlannedChange `json:"plan,omitempty"`
	// approvals lists the approval tokens that were offered in the last 24 hours.
	// +optional
	// +listType=map
	// +listMapKey=token
	// +kubebuilder:validation:MaxItems=20
	Approvals []Approval `json:"approvals,omitempty"`
}
