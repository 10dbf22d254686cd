// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package site

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// digestTimeout bounds the reading of all digests on one node.
const digestTimeout = 20 * time.Second

// ErrNoSSH says that a Host declares no SSH to a node.
var ErrNoSSH = errors.New("no SSH is declared")

// Timing says how often a site is listed. A zero member is its default.
type Timing struct {
	Interval       time.Duration // 10 s: between two lists of all guests
	DigestInterval time.Duration // 60 s: between two readings of all digests, with SSH
}

// Site is what one Host is reached by.
type Site struct {
	api   *proxmox.Site
	nodes map[string]*machine.Conn
	doors map[string]machine.SSH // what the nodes' connections are made from
	// sshErr is why there are no nodes although the Host declares some.
	sshErr error
}

// open makes a Site. It makes no connection.
func (p *Pool) open(name types.NamespacedName, c config) (*Site, error) {
	s := &Site{nodes: make(map[string]*machine.Conn, len(c.nodes)), doors: make(map[string]machine.SSH, len(c.nodes))}
	if c.sshErr != "" {
		s.sshErr = fail(c.sshReason, errors.New(c.sshErr))
	}
	for node, cfg := range c.nodes {
		cfg.Clock = p.options.Clock
		conn, err := machine.Dial(cfg)
		if err != nil {
			return nil, fmt.Errorf("prepare SSH to node %s: %w", node, err)
		}
		s.nodes[node], s.doors[node] = conn, cfg
	}
	options := proxmox.SiteOptions{
		Endpoint: c.endpoint, Interval: p.options.Timing.Interval, DigestInterval: p.options.Timing.DigestInterval, Clock: p.options.Clock,
		OnChange: func(vmids []int) { p.options.OnChange(name, vmids) },
	}
	if len(s.nodes) > 0 {
		options.Digests = s.digests
	}
	var err error
	s.api, err = proxmox.NewSite(options)
	return s, err
}

// API returns the followed Proxmox VE site.
func (s *Site) API() *proxmox.Site { return s.api }

// Run runs a command on a node over SSH; see machine.Conn. Without SSH to the node the error is ErrNoSSH, or says why the
// declared SSH cannot be used.
func (s *Site) Run(ctx context.Context, node string, argv []string, stdin []byte) (machine.Result, error) {
	conn, ok := s.nodes[node]
	switch {
	case ok:
		return conn.Run(ctx, argv, stdin)
	case s.sshErr != nil:
		return machine.Result{}, s.sshErr
	}
	return machine.Result{}, fmt.Errorf("reach node %s: %w", node, ErrNoSSH)
}

// HasSSH says whether SSH to a node is declared, though it may not be of use.
func (s *Site) HasSSH(node string) bool { return s.nodes[node] != nil || s.sshErr != nil }

// CheckSSH makes sure that commands can be run on a node.
func (s *Site) CheckSSH(ctx context.Context, node string) error {
	result, err := s.Run(ctx, node, []string{"true"}, nil)
	if err == nil && result.ExitCode != 0 {
		return fmt.Errorf("run true on node %s: exit code %d", node, result.ExitCode)
	}
	return err
}

// CheckNewSSH makes sure that a node's SSH answers over a connection of its own, which it closes: one that stands already
// proves nothing of the rules for new ones.
func (s *Site) CheckNewSSH(ctx context.Context, node string) error {
	door, ok := s.doors[node]
	if !ok {
		return s.CheckSSH(ctx, node) // says why there is none
	}
	conn, err := machine.Dial(door)
	if err != nil {
		return fmt.Errorf("prepare SSH to node %s: %w", node, err)
	}
	defer func() { _ = conn.Close() }() // what it was for is over either way
	result, err := conn.Run(ctx, []string{"true"}, nil)
	if err == nil && result.ExitCode != 0 {
		return fmt.Errorf("run true on node %s: exit code %d", node, result.ExitCode)
	}
	return err
}

// Guests returns the last list of guests, or asks for one when there is none yet.
func (s *Site) Guests(ctx context.Context) (map[int]proxmox.Resource, error) {
	if snapshot, ok := s.api.Snapshot(); ok {
		return snapshot.Guests, nil
	}
	snapshot, err := s.api.Refresh(ctx)
	return snapshot.Guests, err
}

// digests reads the digests of all guests from the first node that answers: each has the files of all.
func (s *Site) digests(ctx context.Context) (map[int]string, error) {
	var errs []error
	for _, node := range slices.Sorted(maps.Keys(s.nodes)) {
		digests, err := digestsFrom(ctx, s.nodes[node])
		if err == nil {
			return digests, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func digestsFrom(ctx context.Context, conn *machine.Conn) (map[int]string, error) {
	ctx, cancel := context.WithTimeout(ctx, digestTimeout)
	defer cancel()
	result, err := conn.Run(ctx, proxmox.DigestCommand(), nil)
	if err != nil {
		return nil, err
	}
	return proxmox.ParseDigests(result.Stdout)
}

func (s *Site) close() {
	for _, conn := range s.nodes {
		_ = conn.Close() // it is of no use any more either way
	}
}
