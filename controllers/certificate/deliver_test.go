// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate_test

import (
	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// toWeb is a delivery to the Guest "web", whose dnsmasq takes it.
func toWeb(name, chain, key string) v1alpha1.CertificateDelivery {
	return v1alpha1.CertificateDelivery{
		Name: name, GuestRef: &v1alpha1.LocalReference{Name: "web"},
		Files:  &v1alpha1.CertificateFiles{Chain: v1alpha1.MachinePath(chain), Key: v1alpha1.MachinePath(key)},
		Reload: []v1alpha1.UnitAction{{Unit: "dnsmasq.service"}},
	}
}
