// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// States of a container.
const (
	stateCreated    = "created"
	stateRunning    = "running"
	stateRestarting = "restarting"
	stateExited     = "exited"
)

// Kinds of mounts, and what a health check says.
const (
	mountVolume = "volume"
	healthy     = "healthy"
	unhealthy   = "unhealthy"
)

// live is a container with what only the engine knows of it.
type live struct {
	Container
	log     transcript
	serial  int
	byHand  bool               // stopped by hand: its policy does not start it
	outlive bool               // it ran when the engine was halted, and starts again with it
	cancel  context.CancelFunc // nil: no program runs
	ended   chan struct{}      // closed when the present run is over
	release []func()           // gives ports of the machine back
}

// copied is what others may have of it. The caller holds the lock.
func (l *live) copied() Container {
	c := l.Container
	c.Entrypoint, c.Command, c.Env = slices.Clone(c.Entrypoint), slices.Clone(c.Command), slices.Clone(c.Env)
	c.Ports, c.Mounts, c.Networks = slices.Clone(c.Ports), slices.Clone(c.Mounts), slices.Clone(c.Networks)
	c.Labels = maps.Clone(c.Labels)
	return c
}

// Create makes a container that does not run yet.
func (m *Memory) Create(s Spec) (id string, err error) {
	if err := m.awake(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.create(s)
}

// create is Create. The caller holds the lock.
func (m *Memory) create(s Spec) (string, error) {
	image := m.findImage(s.Image)
	if image == nil {
		return "", notFound("No such image: %s", familiar(s.Image))
	}
	for _, name := range s.Networks {
		if m.networks[name] == nil {
			return "", notFound("network %s not found", name)
		}
	}
	id := m.identity("container " + s.Name)
	if s.Name == "" {
		s.Name = "quiet_" + id[:8]
	}
	if other := m.named(s.Name); other != nil {
		return "", conflict("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+s.Name, other.ID)
	}
	m.furnish(&s, image, id)
	l := &live{Container: Container{Spec: s, ID: id, ImageID: image.ID, State: stateCreated, Created: m.opts.Clock()}, serial: m.serial}
	m.containers[id] = l
	return id, nil
}

// furnish adds what the image and the engine give to a container.
func (m *Memory) furnish(s *Spec, image *Image, id string) {
	if s.Entrypoint == nil {
		s.Entrypoint = image.Entrypoint
		if s.Command == nil {
			s.Command = image.Command
		}
	}
	s.Env = environment(image.Env, s.Env)
	labels := maps.Clone(image.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, s.Labels)
	s.Labels = labels
	s.Healthcheck = s.Healthcheck || image.Healthcheck
	if len(s.Networks) == 0 {
		s.Networks = []string{"bridge"}
	}
	s.Mounts = slices.Clone(s.Mounts)
	for i := range s.Mounts {
		mount := &s.Mounts[i]
		if mount.Type != mountVolume {
			continue
		}
		var marks map[string]string
		if mount.Source == "" {
			mount.Source, marks = m.identity("volume of "+id), map[string]string{anonymous: ""}
		}
		m.volume(mount.Source, marks)
	}
}

// environment is a list of NAME=VALUE with another laid over it.
func environment(base, over []string) []string {
	out := slices.Clone(base)
	for _, one := range over {
		name, _, _ := strings.Cut(one, "=")
		out = slices.DeleteFunc(out, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		out = append(out, one)
	}
	return out
}

// named is the container with a name. The caller holds the lock.
func (m *Memory) named(name string) *live {
	for _, l := range m.containers {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// find looks a container up by name, ID or the beginning of an ID. The caller
// holds the lock.
func (m *Memory) find(ref string) (*live, error) {
	if m.off {
		return nil, ErrHalted
	}
	ref = strings.TrimPrefix(ref, "/")
	if l := m.containers[ref]; l != nil {
		return l, nil
	}
	if l := m.named(ref); l != nil {
		return l, nil
	}
	for id, l := range m.containers {
		if len(ref) >= 4 && strings.HasPrefix(id, ref) {
			return l, nil
		}
	}
	return nil, notFound("No such container: %s", ref)
}

// Container is the one with a name, an ID, or the beginning of an ID.
func (m *Memory) Container(ref string) (Container, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.find(ref)
	if err != nil {
		return Container{}, err
	}
	return l.copied(), nil
}

// Containers are all containers, the newest first.
func (m *Memory) Containers() []Container {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Container
	for _, l := range m.ordered() {
		out = append(out, l.copied())
	}
	return out
}

// ordered are all containers, the newest first. The caller holds the lock.
func (m *Memory) ordered() []*live {
	all := slices.Collect(maps.Values(m.containers))
	slices.SortFunc(all, func(a, b *live) int { return b.serial - a.serial })
	return all
}

// Rename gives a container another name.
func (m *Memory) Rename(ref, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.find(ref)
	if err != nil {
		return err
	}
	if other := m.named(name); other != nil {
		return conflict("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, other.ID)
	}
	l.Name = name
	return nil
}

// Remove removes a container; one that runs only by force. volumes removes those
// of its volumes that have no name.
func (m *Memory) Remove(ref string, force, volumes bool) error {
	m.mu.Lock()
	l, err := m.find(ref)
	if err != nil {
		m.mu.Unlock()
		return err
	}
	if l.State == stateRunning || l.State == stateRestarting {
		if !force {
			m.mu.Unlock()
			return conflict("You cannot remove a running container %s. Stop the container before attempting removal or force remove", l.ID)
		}
		l.byHand = true
		wait := m.endNow(l, 137)
		m.mu.Unlock()
		wait()
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	m.remove(l, volumes)
	return nil
}

// remove forgets a container that does not run. The caller holds the lock.
func (m *Memory) remove(l *live, volumes bool) {
	delete(m.containers, l.ID)
	if !volumes {
		return
	}
	for _, mount := range l.Mounts {
		if v := m.volumes[mount.Source]; mount.Type == mountVolume && v != nil {
			if _, nameless := v.Labels[anonymous]; nameless {
				delete(m.volumes, mount.Source)
			}
		}
	}
}

// Logs are what a container wrote: standard output and error in the order of
// writing.
func (m *Memory) Logs(ref string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.find(ref)
	if err != nil {
		return "", err
	}
	return l.log.String(), nil
}

// SetHealth lets a running container's health check say healthy, unhealthy or
// starting.
func (m *Memory) SetHealth(ref, health string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.find(ref)
	if err != nil {
		return err
	}
	if l.State != stateRunning || l.Health == "" {
		return fmt.Errorf("container %s has no health: it is %s", l.Name, l.State)
	}
	l.Health = health
	return nil
}

// Exit ends a container's run as if its program had ended: its restart policy
// decides what follows.
func (m *Memory) Exit(ref string, code int) error {
	m.mu.Lock()
	l, err := m.find(ref)
	if err != nil {
		m.mu.Unlock()
		return err
	}
	if l.State != stateRunning {
		m.mu.Unlock()
		return conflict("Container %s is not running", l.ID)
	}
	wait := m.endNow(l, code)
	m.mu.Unlock()
	wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	l.ExitCode = code
	m.follow(l, true)
	return nil
}

// stopTime is how long a program gets to end, by default.
const stopTime = 10 * time.Second
