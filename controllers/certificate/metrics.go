// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

// meters are the times of every Certificate that has one.
type meters struct{ notAfter, renewal *prometheus.GaugeVec }

// newMeters registers the metrics, or finds those that are registered: several managers of one process share them.
func newMeters(registry prometheus.Registerer) (meters, error) {
	var m meters
	for name, about := range map[string]struct {
		help string
		into **prometheus.GaugeVec
	}{
		"not_after": {"When the certificate ends, in seconds since 1970.", &m.notAfter},
		"renewal":   {"When the certificate is renewed, in seconds since 1970.", &m.renewal},
	} {
		made := prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "phoenix", Subsystem: "certificate", Name: name + "_timestamp_seconds", Help: about.help,
		}, []string{"namespace", "name"})
		err := registry.Register(made)
		var there prometheus.AlreadyRegisteredError
		if errors.As(err, &there) {
			if had, ok := there.ExistingCollector.(*prometheus.GaugeVec); ok {
				made, err = had, nil
			}
		}
		if err != nil {
			return meters{}, fmt.Errorf("register metrics of Certificates: %w", err)
		}
		*about.into = made
	}
	return m, nil
}

func (m meters) set(name types.NamespacedName, notAfter, renewal time.Time) {
	m.notAfter.WithLabelValues(name.Namespace, name.Name).Set(float64(notAfter.Unix()))
	m.renewal.WithLabelValues(name.Namespace, name.Name).Set(float64(renewal.Unix()))
}

func (m meters) drop(name types.NamespacedName) {
	m.notAfter.DeleteLabelValues(name.Namespace, name.Name)
	m.renewal.DeleteLabelValues(name.Namespace, name.Name)
}
