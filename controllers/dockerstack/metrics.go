// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

// meters are how many services each DockerStack has, and how many are as they should be.
type meters struct{ services *prometheus.GaugeVec }

// newMeters registers the metrics, or finds those that are registered: several managers of one process share them.
func newMeters(registry prometheus.Registerer) (meters, error) {
	made := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "phoenix", Subsystem: "dockerstack", Name: "services", Help: "Services of the stack: those that are as they should be (ready), and the others.",
	}, []string{"namespace", "name", "state"})
	err := registry.Register(made)
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if had, ok := there.ExistingCollector.(*prometheus.GaugeVec); ok {
			made, err = had, nil
		}
	}
	if err != nil {
		return meters{}, fmt.Errorf("register metrics of DockerStacks: %w", err)
	}
	return meters{made}, nil
}

// set notes the counts of a stack, such as 2/3.
func (m meters) set(name types.NamespacedName, ready string) {
	some, all, _ := strings.Cut(ready, "/")
	good, err := strconv.Atoi(some)
	total, err2 := strconv.Atoi(all)
	if err != nil || err2 != nil {
		m.drop(name)
		return
	}
	m.services.WithLabelValues(name.Namespace, name.Name, "ready").Set(float64(good))
	m.services.WithLabelValues(name.Namespace, name.Name, "unready").Set(float64(total - good))
}

func (m meters) drop(name types.NamespacedName) {
	m.services.DeletePartialMatch(prometheus.Labels{"namespace": name.Namespace, "name": name.Name})
}
