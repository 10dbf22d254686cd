// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Volume of an engine.
type Volume struct {
	// Name is unique.
	Name string
	// Labels of the volume.
	Labels map[string]string
	// Created is when it was made.
	Created time.Time
}

// Network of an engine.
type Network struct {
	// Name and ID; both are unique.
	Name, ID string
	// Driver is bridge, host, null or another.
	Driver string
	// Labels of the network.
	Labels map[string]string
	// Created is when it was made.
	Created time.Time
}

// anonymous marks volumes that nobody gave a name.
const anonymous = "com.docker.volume.anonymous"

// CreateVolume makes a volume, if there is none of that name.
func (m *Memory) CreateVolume(name string, labels map[string]string) error {
	if err := m.awake(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.volume(name, labels)
	return nil
}

// volume makes one that is not there. The caller holds the lock.
func (m *Memory) volume(name string, labels map[string]string) {
	if m.volumes[name] == nil {
		m.volumes[name] = &Volume{Name: name, Labels: maps.Clone(labels), Created: m.opts.Clock()}
	}
}

// Volumes are all volumes by name.
func (m *Memory) Volumes() []Volume {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Volume, 0, len(m.volumes))
	for _, v := range m.volumes {
		out = append(out, *v)
	}
	slices.SortFunc(out, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// RemoveVolume removes one that no container has.
func (m *Memory) RemoveVolume(name string) error {
	if err := m.awake(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.volumes[name] == nil {
		return notFound("get %s: no such volume", name)
	}
	var users []string
	for _, l := range m.containers {
		if slices.ContainsFunc(l.Mounts, func(mount Mount) bool { return mount.Type == mountVolume && mount.Source == name }) {
			users = append(users, l.ID)
		}
	}
	if len(users) > 0 {
		slices.Sort(users)
		return conflict("remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
	}
	delete(m.volumes, name)
	return nil
}

// Networks are all networks by name.
func (m *Memory) Networks() []Network {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Network, 0, len(m.networks))
	for _, n := range m.networks {
		out = append(out, *n)
	}
	slices.SortFunc(out, func(a, b Network) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// CreateNetwork makes a network, if there is none of that name.
func (m *Memory) CreateNetwork(name, driver string, labels map[string]string) error {
	if err := m.awake(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.networks[name] == nil {
		if driver == "" {
			driver = "bridge"
		}
		m.networks[name] = &Network{Name: name, ID: m.identity("network " + name), Driver: driver, Labels: maps.Clone(labels), Created: m.opts.Clock()}
	}
	return nil
}

// RemoveNetwork removes one that no running container is on.
func (m *Memory) RemoveNetwork(name string) error {
	if err := m.awake(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	network := m.networks[name]
	if network == nil {
		return notFound("network %s not found", name)
	}
	for _, l := range m.containers {
		if l.State == stateRunning && slices.Contains(l.Networks, name) {
			return &EngineError{403, "error while removing network: network " + name + " id " + network.ID + " has active endpoints"}
		}
	}
	delete(m.networks, name)
	return nil
}
