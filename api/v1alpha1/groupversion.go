// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "phoenix-hypervisor.io", Version: "v1alpha1"}

// AddToScheme registers the kinds of this package with a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&Host{}, &HostList{},
		&Guest{}, &GuestList{},
		&HostService{}, &HostServiceList{},
		&Certificate{}, &CertificateList{},
		&DockerStack{}, &DockerStackList{},
		&Route{}, &RouteList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
