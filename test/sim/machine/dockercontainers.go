// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

func dockerRemove(_ context.Context, c *dockerCall) int {
	exit := c.each(plain, func(m *portainer.Memory, name string) (string, error) {
		return name, m.Remove(name, c.has("f"), c.has("v"))
	})
	if d := c.M.dockerd(); c.has("f") && d != nil {
		return 0 // what is gone is no failure then
	}
	return exit
}

// grace is the time of --time.
func (c *dockerCall) grace() time.Duration {
	return time.Duration(atoi(c.last("t", "10"))) * time.Second
}

func dockerStop(ctx context.Context, c *dockerCall) int {
	return c.each(fromDaemon, func(m *portainer.Memory, name string) (string, error) {
		return name, m.Stop(ctx, name, max(c.grace(), time.Millisecond))
	})
}

func dockerRestart(ctx context.Context, c *dockerCall) int {
	return c.each(fromDaemon, func(m *portainer.Memory, name string) (string, error) {
		return name, m.Restart(ctx, name, max(c.grace(), time.Millisecond))
	})
}

func dockerKill(ctx context.Context, c *dockerCall) int {
	return c.each(fromDaemon, func(m *portainer.Memory, name string) (string, error) { return name, m.Kill(ctx, name) })
}

func dockerWait(ctx context.Context, c *dockerCall) int {
	return c.each(fromDaemon, func(m *portainer.Memory, name string) (string, error) {
		code, err := m.Wait(ctx, name)
		return strconv.Itoa(code), err
	})
}

func dockerStart(_ context.Context, c *dockerCall) int {
	var failed []string
	exit := c.each(fromDaemon, func(m *portainer.Memory, name string) (string, error) {
		err := m.Start(name)
		if err != nil {
			failed = append(failed, name)
		}
		return name, err
	})
	if len(failed) > 0 {
		fmt.Fprintf(c.Stderr, "Error: failed to start containers: %s\n", strings.Join(failed, ", "))
	}
	return exit
}

func dockerLogs(_ context.Context, c *dockerCall) int {
	m, err := c.memory()
	if err != nil {
		return c.fail(err)
	}
	text, err := m.Logs(c.args[0])
	if err != nil {
		fmt.Fprintln(c.Stderr, plain(err))
		return 1
	}
	rows := lines(text)
	if n, err := strconv.Atoi(c.last("n", "all")); err == nil {
		rows = rows[max(len(rows)-n, 0):]
	}
	for _, line := range rows {
		c.Printf("%s\n", line)
	}
	return 0
}

// query is the query of a list with its filters.
func (c *dockerCall) query(all bool) string {
	filters := map[string]map[string]bool{}
	for _, one := range c.set["f"] {
		key, value, _ := strings.Cut(one, "=")
		if filters[key] == nil {
			filters[key] = map[string]bool{}
		}
		filters[key][value] = true
	}
	text, _ := json.Marshal(filters) // strings alone
	out := url.Values{"filters": {string(text)}}
	if all {
		out.Set("all", "1")
	}
	return "?" + out.Encode()
}

var containerFilters = map[string]bool{
	"ancestor": true, "before": true, "expose": true, "exited": true, "health": true, "id": true, "is-task": true, "isolation": true, "label": true, "name": true,
	"network": true, "publish": true, "since": true, "status": true, "volume": true,
}

// dockerPs lists containers.
func dockerPs(ctx context.Context, c *dockerCall) int {
	d, err := c.engine()
	if err != nil {
		return c.fail(err)
	}
	for _, one := range c.set["f"] {
		if key, _, _ := strings.Cut(one, "="); !containerFilters[key] {
			return c.fail(&portainer.EngineError{Status: 400, Message: "Invalid filter '" + key + "'"})
		}
	}
	text, err := get(ctx, d.engine.memory, "/containers/json"+c.query(c.has("a") || c.has("l") || c.has("n")))
	if err != nil {
		return c.fail(err)
	}
	var listed []struct{ ID, Image, Status string }
	if err := json.Unmarshal(text, &listed); err != nil {
		return c.fail(err)
	}
	most := len(listed)
	if n, err := strconv.Atoi(c.last("n", "all")); err == nil {
		most = min(n, most)
	}
	if c.has("l") {
		most = min(1, most)
	}
	var rows []row
	for _, one := range listed[:most] {
		if full, err := d.engine.memory.Container(one.ID); err == nil {
			rows = append(rows, c.containerRow(full, one.Image, one.Status))
		}
	}
	return c.table(rows, []column{
		{"ID", "CONTAINER ID"}, {"Image", "IMAGE"}, {"Command", "COMMAND"}, {"RunningFor", "CREATED"}, {"Status", "STATUS"}, {"Ports", "PORTS"}, {"Names", "NAMES"},
	})
}

func (c *dockerCall) containerRow(one portainer.Container, image, status string) row {
	id, command := one.ID, strings.Join(append(append([]string{}, one.Entrypoint...), one.Command...), " ")
	if !c.has("no-trunc") {
		id = shortID(id)
		if runes := []rune(command); len(runes) > 20 {
			command = string(runes[:19]) + "…"
		}
		if strings.HasPrefix(image, "sha256:") {
			image = shortID(image)
		}
	}
	var labels, mounts []string
	for key, value := range one.Labels {
		labels = append(labels, key+"="+value)
	}
	sort.Strings(labels)
	volumes := 0
	for _, mount := range one.Mounts {
		mounts = append(mounts, mount.Source)
		if mount.Type == "volume" {
			volumes++
		}
	}
	ports := ""
	if one.State == "running" {
		ports = showPorts(one.Ports)
	}
	return row{
		"ID": id, "Image": image, "Command": strconv.Quote(command), "RunningFor": c.since(one.Created) + " ago", "Status": status, "Ports": ports, "Names": one.Name,
		"State": one.State, "CreatedAt": one.Created.UTC().Format("2006-01-02 15:04:05 -0700 MST"), "Labels": strings.Join(labels, ","), "Mounts": strings.Join(mounts, ","),
		"Networks": strings.Join(one.Networks, ","), "LocalVolumes": strconv.Itoa(volumes), "Size": "0B",
	}
}

// showPorts lists published ports. Those that have the same number inside stand
// first, and together with those that follow them.
func showPorts(ports []portainer.Port) string {
	var all []portainer.Port
	for _, p := range ports {
		if p.Address != "" {
			all = append(all, p)
			continue
		}
		for _, address := range []string{"0.0.0.0", "::"} {
			p.Address = address
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b portainer.Port) int {
		return cmp.Or(a.Target-b.Target, strings.Compare(a.Address, b.Address), a.Published-b.Published, strings.Compare(a.Protocol, b.Protocol))
	})
	type group struct {
		portainer.Port
		last int
	}
	var groups []*group
	var out, moved []string
	for _, p := range all {
		if p.Published != p.Target {
			moved = append(moved, fmt.Sprintf("%s:%d->%d/%s", p.Address, p.Published, p.Target, p.Protocol))
			continue
		}
		i := slices.IndexFunc(groups, func(g *group) bool { return g.Address == p.Address && g.Protocol == p.Protocol && g.last+1 == p.Target })
		if i < 0 {
			groups = append(groups, &group{p, p.Target})
			continue
		}
		groups[i].last = p.Target
	}
	for _, g := range groups {
		numbers := strconv.Itoa(g.Target)
		if g.last > g.Target {
			numbers = fmt.Sprintf("%d-%d", g.Target, g.last)
		}
		out = append(out, fmt.Sprintf("%s:%s->%s/%s", g.Address, numbers, numbers, g.Protocol))
	}
	return strings.Join(append(out, moved...), ", ")
}

func dockerVolumes(_ context.Context, c *dockerCall) int {
	m, err := c.memory()
	if err != nil {
		return c.fail(err)
	}
	var rows []row
	for _, v := range m.Volumes() {
		rows = append(rows, row{"ID": v.Name, "Name": v.Name, "Driver": "local", "Scope": "local"})
	}
	return c.table(rows, []column{{"Driver", "DRIVER"}, {"Name", "VOLUME NAME"}})
}

func dockerVolumeRemove(_ context.Context, c *dockerCall) int {
	d, err := c.engine()
	if err != nil {
		return c.fail(err)
	}
	word := func(err error) string {
		var engine *portainer.EngineError
		if errors.As(err, &engine) && engine.Status == 404 {
			name, _, _ := strings.Cut(strings.TrimPrefix(engine.Message, "get "), ":")
			return "Error: No such volume: " + name
		}
		return fromDaemon(err)
	}
	return c.each(word, func(m *portainer.Memory, name string) (string, error) {
		err := m.RemoveVolume(name)
		if err == nil {
			d.engine.forgetVolume(name)
		}
		return name, err
	})
}

func dockerNetworks(_ context.Context, c *dockerCall) int {
	m, err := c.memory()
	if err != nil {
		return c.fail(err)
	}
	var rows []row
	for _, n := range m.Networks() {
		driver := n.Driver
		if n.Name == "none" {
			driver = "null"
		}
		id := n.ID
		if !c.has("no-trunc") {
			id = shortID(id)
		}
		rows = append(rows, row{"ID": id, "Name": n.Name, "Driver": driver, "Scope": "local"})
	}
	return c.table(rows, []column{{"ID", "NETWORK ID"}, {"Name", "NAME"}, {"Driver", "DRIVER"}, {"Scope", "SCOPE"}})
}
