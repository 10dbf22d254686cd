// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// MemoryOptions say what an engine in memory is like. The zero value is an empty
// engine that reaches no registry.
type MemoryOptions struct {
	// Images that are there from the start: name to content. The ID of an image
	// is made of its content.
	Images map[string]string
	// Registry that images are pulled from; nil: none can be reached.
	Registry *Registry
	// Clock; default time.Now.
	Clock func() time.Time
	// Name of the machine; default docker.
	Name string
	// RootDir is the data root; default /var/lib/docker.
	RootDir string
	// Version of the engine; default 20.10.24.
	Version string
	// Program says what the containers of an image run. nil, or a nil Program: see
	// Memory. It must not call the engine; what it gives may.
	Program func(image string) Program
	// Bind takes a port of the machine for a container that starts; release gives it back.
	// nil: ports are taken from other containers of the engine alone. Neither may call the
	// engine.
	Bind func(c Container, p Port) (release func(), err error)
}

// Program is what a container runs: it ends when the context is done, and gives
// its exit code.
type Program func(ctx context.Context, p Process) int

// Process is a program that runs.
type Process struct {
	// Container that it runs in, as it was when it started.
	Container Container
	// Stdout and Stderr are its log.
	Stdout, Stderr io.Writer
}

// Port of a container that is published. Published 0 lets the engine choose.
type Port struct {
	// Address of the machine; "" is all of them.
	Address string
	// Published is the port of the machine, Target the container's.
	Published, Target int
	// Protocol is tcp, the default, or udp.
	Protocol string
}

// Mount of a container.
type Mount struct {
	// Type is bind or volume.
	Type string
	// Source is a path, or the name of a volume; a volume without one gets one.
	Source string
	// Target is a path in the container.
	Target string
	// ReadOnly mounts cannot be written.
	ReadOnly bool
}

// Spec is what a container is made of.
type Spec struct {
	// Name without a leading slash; "" lets the engine choose.
	Name string
	// Image by name, or by ID.
	Image string
	// Entrypoint and Command; nil: the image's.
	Entrypoint, Command []string
	// Env are NAME=VALUE.
	Env []string
	// Labels of the container.
	Labels map[string]string
	// Ports that are published.
	Ports []Port
	// Mounts of the container.
	Mounts []Mount
	// Networks that it is on; none: bridge. The network host shares the machine's.
	Networks []string
	// Restart is no (the default), always, unless-stopped, or on-failure[:n].
	Restart string
	// AutoRemove removes it when it has ended.
	AutoRemove bool
	// Healthcheck says that its health is looked at.
	Healthcheck bool
	// Files that compose puts into it, from configs and secrets: path to content.
	Files map[string]string
}

// Container of an engine.
type Container struct {
	Spec
	// ID is 64 hexadecimal digits.
	ID string
	// ImageID is sha256: and 64 of them.
	ImageID string
	// State is created, running, restarting, or exited.
	State string
	// Health is "" without a health check, starting, healthy, or unhealthy.
	Health string
	// ExitCode of the last run.
	ExitCode int
	// Error of the last start.
	Error string
	// Restarts that its policy made.
	Restarts int
	// Created, Started and Finished are times of the clock.
	Created, Started, Finished time.Time
}

// Memory is a Docker engine in memory. A container's program is what
// MemoryOptions.Program says; without one it follows from the last part of the
// image's name: broken cannot be started; crash ends at once with 1 and job with 0; sick runs and is
// unhealthy; any other runs until it is stopped, and is healthy.
// The methods may be called at any time, by any number of goroutines.
type Memory struct {
	opts MemoryOptions
	mux  *http.ServeMux

	mu         sync.Mutex
	off        bool
	serial     int
	images     map[string]*Image // by ID
	containers map[string]*live  // by ID
	volumes    map[string]*Volume
	networks   map[string]*Network
	projects   map[string]*sync.Mutex // deployments of one project are one after another
}

var _ Engine = (*Memory)(nil)

// NewMemory makes an engine that runs.
func NewMemory(o MemoryOptions) *Memory {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Name == "" {
		o.Name = "docker"
	}
	if o.RootDir == "" {
		o.RootDir = "/var/lib/docker"
	}
	if o.Version == "" {
		o.Version = "20.10.24"
	}
	m := &Memory{
		opts: o, images: map[string]*Image{}, containers: map[string]*live{},
		volumes: map[string]*Volume{}, networks: map[string]*Network{}, projects: map[string]*sync.Mutex{},
	}
	for _, name := range []string{"bridge", "host", "none"} {
		m.networks[name] = &Network{Name: name, ID: m.identity("network " + name), Driver: name, Created: o.Clock()}
	}
	for name, content := range o.Images {
		if err := m.keep(NewImage(content), name); err != nil {
			panic(err) // a name in a test that is not a name
		}
	}
	m.mux = m.routes()
	return m
}

// identity is a number that looks like one of the engine's. The caller holds the lock,
// or nobody else knows the engine yet.
func (m *Memory) identity(of string) string {
	m.serial++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", m.opts.Name, m.serial, of))
	return hex.EncodeToString(sum[:])
}

func notFound(format string, args ...any) error {
	return &EngineError{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) error {
	return &EngineError{http.StatusConflict, fmt.Sprintf(format, args...)}
}

// Running says whether the engine runs.
func (m *Memory) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.off
}
