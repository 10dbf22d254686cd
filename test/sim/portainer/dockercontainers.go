// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
)

func (m *Memory) apiContainers(r *http.Request) (any, error) {
	args, err := filtersOf(r)
	if err != nil {
		return nil, err
	}
	all := flag(r, "all") || args.Contains("status")
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	out := []container.Summary{}
	for _, c := range m.Containers() {
		if !all && c.State != stateRunning && c.State != stateRestarting || !matches(c, args) {
			continue
		}
		if limit > 0 && len(out) == limit {
			break
		}
		out = append(out, m.summary(c))
	}
	return out, nil
}

// matches says whether a container passes filters.
func matches(c Container, args filters.Args) bool {
	health := c.Health
	if health == "" {
		health = container.NoHealthcheck
	}
	exited := args.Get("exited")
	return args.MatchKVList("label", c.Labels) &&
		args.ExactMatch("status", c.State) && args.ExactMatch("health", health) &&
		args.Match("name", c.Name) && args.Match("id", c.ID) &&
		(len(exited) == 0 || c.State == stateExited && slices.Contains(exited, strconv.Itoa(c.ExitCode))) &&
		(!args.Contains("volume") || slices.ContainsFunc(c.Mounts, func(one Mount) bool {
			return args.ExactMatch("volume", one.Source) || args.ExactMatch("volume", one.Target)
		}))
}

// summary is a container in a list.
func (m *Memory) summary(c Container) container.Summary {
	out := container.Summary{
		ID: c.ID, Names: []string{"/" + c.Name}, Image: c.Image, ImageID: c.ImageID, Command: strings.Join(append(c.Entrypoint, c.Command...), " "),
		Created: c.Created.Unix(), Ports: []container.Port{}, Labels: c.Labels, State: c.State, Status: m.statusOf(c), Mounts: mountPoints(c),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: m.endpoints(c)},
	}
	if image, err := m.Image(c.Image); err != nil || image.ID != c.ImageID {
		out.Image = c.ImageID // the name stands for another image now
	}
	out.HostConfig.NetworkMode = c.Networks[0]
	if c.State == stateRunning {
		for _, p := range c.Ports {
			for _, address := range addresses(p) {
				out.Ports = append(out.Ports, container.Port{IP: address, PrivatePort: uint16(p.Target), PublicPort: uint16(p.Published), Type: p.Protocol})
			}
		}
	}
	return out
}

// addresses that a port is published at: an engine lists those of IPv4 and IPv6.
func addresses(p Port) []string {
	if p.Address == "" {
		return []string{"0.0.0.0", "::"}
	}
	return []string{p.Address}
}

// statusOf is a container's state in words.
func (m *Memory) statusOf(c Container) string {
	now := m.opts.Clock()
	switch c.State {
	case stateRunning:
		words := "Up " + ago(now.Sub(c.Started))
		switch c.Health {
		case "":
		case "starting":
			words += " (health: starting)"
		default:
			words += " (" + c.Health + ")"
		}
		return words
	case stateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", c.ExitCode, ago(now.Sub(c.Finished)))
	case stateExited:
		return fmt.Sprintf("Exited (%d) %s ago", c.ExitCode, ago(now.Sub(c.Finished)))
	}
	return "Created"
}

func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "Less than a second"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d seconds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	}
	return fmt.Sprintf("%d hours", int(d.Hours()))
}

func mountPoints(c Container) []container.MountPoint {
	out := []container.MountPoint{}
	for _, one := range c.Mounts {
		point := container.MountPoint{Type: mount.Type(one.Type), Source: one.Source, Destination: one.Target, RW: !one.ReadOnly}
		if one.Type == mountVolume {
			point.Name, point.Driver, point.Source = one.Source, "local", "/var/lib/docker/volumes/"+one.Source+"/_data"
		}
		out = append(out, point)
	}
	return out
}

// endpoints are the networks of a container.
func (m *Memory) endpoints(c Container) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	for _, n := range m.Networks() {
		if slices.Contains(c.Networks, n.Name) {
			out[n.Name] = &network.EndpointSettings{NetworkID: n.ID}
		}
	}
	return out
}

func (m *Memory) apiContainer(r *http.Request) (any, error) {
	c, err := m.Container(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	command := append(slices.Clone(c.Entrypoint), c.Command...)
	base := &container.ContainerJSONBase{
		ID: c.ID, Name: "/" + c.Name, Created: c.Created.UTC().Format(time.RFC3339Nano), Image: c.ImageID, RestartCount: c.Restarts, Driver: "overlay2", Platform: "linux",
		State: stateOf(c), HostConfig: hostConfig(c), Args: []string{},
	}
	if len(command) > 0 {
		base.Path, base.Args = command[0], command[1:]
	}
	out := container.InspectResponse{
		ContainerJSONBase: base, Mounts: mountPoints(c),
		Config: &container.Config{
			Hostname: short(c.ID), Image: c.Image, Env: c.Env, Cmd: c.Command, Entrypoint: c.Entrypoint, Labels: c.Labels, ExposedPorts: nat.PortSet{},
		},
		NetworkSettings: &container.NetworkSettings{Networks: m.endpoints(c)},
	}
	out.NetworkSettings.Ports = nat.PortMap{}
	for _, p := range c.Ports {
		port := nat.Port(fmt.Sprintf("%d/%s", p.Target, p.Protocol))
		out.Config.ExposedPorts[port] = struct{}{}
		if c.State != stateRunning {
			continue
		}
		for _, address := range addresses(p) {
			out.NetworkSettings.Ports[port] = append(out.NetworkSettings.Ports[port], nat.PortBinding{HostIP: address, HostPort: strconv.Itoa(p.Published)})
		}
	}
	if c.Healthcheck {
		out.Config.Healthcheck = &container.HealthConfig{Test: []string{"CMD-SHELL", "true"}}
	}
	return out, nil
}

func stateOf(c Container) *container.State {
	out := &container.State{
		Status: c.State, Running: c.State == stateRunning, Restarting: c.State == stateRestarting, ExitCode: c.ExitCode, Error: c.Error,
		StartedAt: c.Started.UTC().Format(time.RFC3339Nano), FinishedAt: c.Finished.UTC().Format(time.RFC3339Nano),
	}
	if c.Health != "" {
		out.Health = &container.Health{Status: c.Health}
	}
	return out
}

func hostConfig(c Container) *container.HostConfig {
	policy, count, _ := strings.Cut(c.Restart, ":")
	most, _ := strconv.Atoi(count)
	if policy == "" {
		policy = "no"
	}
	out := &container.HostConfig{
		NetworkMode: container.NetworkMode(c.Networks[0]), AutoRemove: c.AutoRemove, PortBindings: nat.PortMap{},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyMode(policy), MaximumRetryCount: most},
	}
	for _, p := range c.Ports {
		port := nat.Port(fmt.Sprintf("%d/%s", p.Target, p.Protocol))
		out.PortBindings[port] = append(out.PortBindings[port], nat.PortBinding{HostIP: p.Address, HostPort: strconv.Itoa(p.Published)})
	}
	for _, one := range c.Mounts {
		bind := one.Source + ":" + one.Target
		if one.ReadOnly {
			bind += ":ro"
		}
		out.Binds = append(out.Binds, bind)
	}
	return out
}

// apiContainerDo starts, stops, restarts, kills, renames or waits for a container.
func (m *Memory) apiContainerDo(r *http.Request) (any, error) {
	id := r.PathValue("id")
	before, err := m.Container(id)
	if err != nil {
		return nil, err
	}
	seconds, _ := strconv.Atoi(r.URL.Query().Get("t"))
	grace := time.Duration(seconds) * time.Second
	running := before.State == stateRunning || before.State == stateRestarting
	switch what := r.PathValue("what"); what {
	case "start":
		if running {
			return status(http.StatusNotModified), nil
		}
		err = m.Start(id)
	case "stop":
		if !running {
			return status(http.StatusNotModified), nil
		}
		err = m.Stop(r.Context(), id, grace)
	case "restart":
		err = m.Restart(r.Context(), id, grace)
	case "kill":
		err = m.Kill(r.Context(), id)
	case "rename":
		err = m.Rename(id, r.URL.Query().Get("name"))
	case "wait":
		code, err := m.Wait(r.Context(), id)
		return container.WaitResponse{StatusCode: int64(code)}, err
	default:
		return nil, notFound("page not found")
	}
	return status(http.StatusNoContent), err
}

func (m *Memory) apiContainerRemove(r *http.Request) (any, error) {
	return status(http.StatusNoContent), m.Remove(r.PathValue("id"), flag(r, "force"), flag(r, "v"))
}
