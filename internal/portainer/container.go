// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	docker "github.com/docker/docker/client"
)

// Labels that compose puts on what it makes.
const (
	labelProject = "com.docker.compose.project"
	labelService = "com.docker.compose.service"
	labelNumber  = "com.docker.compose.container-number"
	labelOneOff  = "com.docker.compose.oneoff"
	labelHash    = "com.docker.compose.config-hash"
	labelVolume  = "com.docker.compose.volume"
)

// Container is a container that compose made.
type Container struct {
	ID               string
	Project, Service string
	Number           int    // of the service's containers, from 1; 0: unknown
	Image            string // as the text names it, or its ID when the name was given to another image since
	ImageID          string
	// State is created, running, paused, restarting, removing, exited or dead.
	State string
	// Health is starting, healthy or unhealthy; empty when there is no check, or it does not run.
	Health   string
	ExitCode int  // when it is exited or restarting
	OneOff   bool // made by "compose run": it belongs to no service's number
	// ConfigHash is of the service's part of the text, by compose's own reckoning.
	ConfigHash string
	Labels     map[string]string
	Ports      []Port // sorted
	Created    time.Time
}

// Port is a port that a container listens on.
type Port struct {
	Address   string // of the machine, where it is published
	Target    int    // in the container
	Published int    // on the machine; 0: it is not published
	Protocol  string // tcp, udp or sctp
}

// Containers lists all containers of all compose projects, stopped ones too, sorted by project, service and number. It is
// one request.
func (e *Engine) Containers(ctx context.Context) ([]Container, error) {
	var found []container.Summary
	failed := e.do(ctx, false, func(ctx context.Context, library *docker.Client) (err error) {
		found, err = library.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelProject))})
		return err
	})
	if failed != nil {
		return nil, e.failed("list containers", failed)
	}
	out := make([]Container, 0, len(found))
	for _, f := range found {
		if f.Labels[labelProject] != "" {
			out = append(out, read(f))
		}
	}
	slices.SortFunc(out, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Number, b.Number), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func read(f container.Summary) Container {
	number, err := strconv.Atoi(f.Labels[labelNumber])
	if err != nil {
		number = 0
	}
	out := Container{
		ID: f.ID, Project: f.Labels[labelProject], Service: f.Labels[labelService], Number: number,
		Image: f.Image, ImageID: f.ImageID, State: f.State, Health: health(f.Status), ExitCode: exitCode(f.Status),
		OneOff: strings.EqualFold(f.Labels[labelOneOff], "true"), ConfigHash: f.Labels[labelHash],
		Labels: f.Labels, Created: time.Unix(f.Created, 0),
	}
	for _, p := range f.Ports {
		out.Ports = append(out.Ports, Port{Address: p.IP, Target: int(p.PrivatePort), Published: int(p.PublicPort), Protocol: p.Type})
	}
	slices.SortFunc(out.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Published, b.Published), cmp.Compare(a.Address, b.Address))
	})
	return out
}

// The list has health and exit code only in its words for people: "Up 5 minutes (healthy)", "Up 2 seconds (health:
// starting)", "Exited (137) 3 days ago", "Restarting (1) 4 seconds ago".
var (
	healthWords = regexp.MustCompile(`^Up .*\((?:health: )?(starting|healthy|unhealthy)\)$`)
	exitWords   = regexp.MustCompile(`^(?:Exited|Restarting) \((-?\d+)\)`)
)

func health(status string) string {
	if m := healthWords.FindStringSubmatch(status); m != nil {
		return m[1]
	}
	return ""
}

func exitCode(status string) int {
	m := exitWords.FindStringSubmatch(status)
	if m == nil {
		return 0
	}
	code, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return code
}

// ids are names and IDs of containers and volumes: nothing else may get into a path.
var ids = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// Stop stops a container, a paused one too, in the time that it allows itself; it stays, with all that it has. That it does
// not run is no error. The error is NotFound when it is gone.
func (e *Engine) Stop(ctx context.Context, containerID string) error {
	if !ids.MatchString(containerID) {
		return e.failed(fmt.Sprintf("stop container %q", containerID), invalid("that is no container's ID"))
	}
	failed := e.do(ctx, true, func(ctx context.Context, library *docker.Client) error {
		return library.ContainerStop(ctx, containerID, container.StopOptions{})
	})
	if failed != nil {
		return e.failed("stop container "+containerID, failed)
	}
	return nil
}

// Remove stops a container, in the time that it allows itself, and removes it; its volumes stay. The error is NotFound
// when it is gone, Conflict when it is being removed.
func (e *Engine) Remove(ctx context.Context, containerID string) error {
	what := fmt.Sprintf("remove container %s", containerID)
	if !ids.MatchString(containerID) {
		return e.failed(fmt.Sprintf("remove container %q", containerID), invalid("that is no container's ID"))
	}
	failed := e.do(ctx, true, func(ctx context.Context, library *docker.Client) error {
		if err := library.ContainerStop(ctx, containerID, container.StopOptions{}); err != nil {
			return err
		}
		// With force, as it may have been started again meanwhile.
		return library.ContainerRemove(ctx, containerID, container.RemoveOptions{Force: true})
	})
	if failed != nil {
		return e.failed(what, failed)
	}
	return nil
}
