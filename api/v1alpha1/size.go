// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// Size is an amount of memory or storage: a Kubernetes quantity in whole Mi, Gi or Ti, such as 512Mi or 2Gi.
//
// It is a type of its own, a bounded string in the schema, because admission rules over the integer-or-string form of a
// quantity exceed the API server's cost limit.
//
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=10
type Size struct {
	resource.Quantity `json:"-"`
}

// MustParseSize reads a size, and panics when it is none. It is for constants.
func MustParseSize(s string) Size { return Size{resource.MustParse(s)} }
