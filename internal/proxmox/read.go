// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Version returns the release that runs, such as "9.2.11".
func (c *Client) Version(ctx context.Context) (string, error) {
	var answer struct {
		Version scalar `json:"version"`
	}
	err := c.get(ctx, "/version", nil, &answer)
	return string(answer.Version), err
}

// Nodes lists the machines of the site, sorted by name.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var rows []struct {
		Node   scalar  `json:"node"`
		Status scalar  `json:"status"`
		CPUs   integer `json:"maxcpu"`
		Memory integer `json:"maxmem"`
	}
	if err := c.get(ctx, "/nodes", nil, &rows); err != nil {
		return nil, err
	}
	nodes := make([]Node, 0, len(rows))
	for _, row := range rows {
		nodes = append(nodes, Node{
			Name: string(row.Node), Status: string(row.Status), Online: row.Status == "online",
			CPUs: int(row.CPUs), MemoryBytes: int64(row.Memory),
		})
	}
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes, nil
}

// Quorate says whether the site accepts writes. A node that is in no cluster
// always does.
func (c *Client) Quorate(ctx context.Context) (bool, error) {
	state, err := c.clusterStatus(ctx)
	return state.quorate, err
}

// clusterState is the part of /cluster/status that matters here.
type clusterState struct {
	quorate bool
	offline []string // nodes, sorted
}

func (c *Client) clusterStatus(ctx context.Context) (clusterState, error) {
	var rows []struct {
		Type    scalar `json:"type"`
		Name    scalar `json:"name"`
		Quorate truth  `json:"quorate"`
		Online  *truth `json:"online"`
	}
	if err := c.get(ctx, "/cluster/status", nil, &rows); err != nil {
		return clusterState{}, err
	}
	state := clusterState{quorate: true}
	for _, row := range rows {
		switch {
		case row.Type == "cluster":
			state.quorate = bool(row.Quorate)
		case row.Type == "node" && row.Online != nil && !bool(*row.Online):
			state.offline = append(state.offline, string(row.Name))
		}
	}
	slices.Sort(state.offline)
	return state, nil
}

// Resources lists all guests of the site that the token may see (VM.Audit),
// sorted by VMID. Guests that it may not see are left out in silence.
func (c *Client) Resources(ctx context.Context) ([]Resource, error) {
	var rows []struct {
		VMID     integer `json:"vmid"`
		Type     scalar  `json:"type"`
		Node     scalar  `json:"node"`
		Name     scalar  `json:"name"`
		Status   scalar  `json:"status"`
		Tags     scalar  `json:"tags"`
		Lock     scalar  `json:"lock"`
		HAState  scalar  `json:"hastate"`
		Template truth   `json:"template"`
	}
	if err := c.get(ctx, "/cluster/resources", map[string]string{"type": "vm"}, &rows); err != nil {
		return nil, err
	}
	guests := make([]Resource, 0, len(rows))
	for _, row := range rows {
		t := GuestType(row.Type)
		if t != LXC && t != QEMU {
			continue
		}
		if row.Status == "" {
			row.Status = "unknown"
		}
		guests = append(guests, Resource{
			Ref:  Ref{Node: string(row.Node), Type: t, VMID: int(row.VMID)},
			Name: string(row.Name), Status: string(row.Status), Tags: ParseTags(string(row.Tags)),
			Lock: string(row.Lock), HAState: string(row.HAState), Template: bool(row.Template),
		})
	}
	slices.SortFunc(guests, func(a, b Resource) int { return a.VMID - b.VMID })
	return guests, nil
}

// Permissions returns the effective privileges of the token itself.
func (c *Client) Permissions(ctx context.Context) (Permissions, error) {
	var answer map[string]map[string]truth
	if err := c.get(ctx, "/access/permissions", nil, &answer); err != nil {
		return nil, err
	}
	permissions := make(Permissions, len(answer))
	for path, privileges := range answer {
		permissions[path] = make(map[string]bool, len(privileges))
		for privilege, propagates := range privileges {
			permissions[path][privilege] = bool(propagates)
		}
	}
	return permissions, nil
}

// Storages lists a node's storages, sorted by name.
func (c *Client) Storages(ctx context.Context, node string) ([]Storage, error) {
	var rows []struct {
		Storage scalar  `json:"storage"`
		Type    scalar  `json:"type"`
		Content scalar  `json:"content"`
		Active  truth   `json:"active"`
		Enabled truth   `json:"enabled"`
		Shared  truth   `json:"shared"`
		Avail   integer `json:"avail"`
		Total   integer `json:"total"`
	}
	if err := c.get(ctx, "/nodes/"+url.PathEscape(node)+"/storage", nil, &rows); err != nil {
		return nil, err
	}
	storages := make([]Storage, 0, len(rows))
	for _, row := range rows {
		storages = append(storages, Storage{
			Name: string(row.Storage), Type: string(row.Type), Content: ParseTags(string(row.Content)),
			Active: bool(row.Active), Enabled: bool(row.Enabled), Shared: bool(row.Shared),
			Avail: int64(row.Avail), Total: int64(row.Total),
		})
	}
	slices.SortFunc(storages, func(a, b Storage) int { return strings.Compare(a.Name, b.Name) })
	return storages, nil
}

// Config reads a guest's configuration with pending changes merged in.
func (c *Client) Config(ctx context.Context, r Ref) (Config, error) {
	var answer configAnswer
	if err := c.get(ctx, r.path("/config"), nil, &answer); err != nil {
		return Config{}, err
	}
	if c.onConfig != nil {
		c.onConfig(r.VMID, answer.Digest)
	}
	return Config(answer), nil
}

// Pending lists what a guest does not run with yet, sorted by key.
func (c *Client) Pending(ctx context.Context, r Ref) ([]PendingChange, error) {
	var rows []struct {
		Key     scalar  `json:"key"`
		Value   scalar  `json:"value"`
		Pending *scalar `json:"pending"`
		Delete  integer `json:"delete"` // 2: with force
	}
	if err := c.get(ctx, r.path("/pending"), nil, &rows); err != nil {
		return nil, err
	}
	var changes []PendingChange
	for _, row := range rows {
		if row.Pending == nil && row.Delete == 0 {
			continue
		}
		change := PendingChange{Key: string(row.Key), Value: string(row.Value), Delete: row.Delete != 0}
		if row.Pending != nil {
			change.Pending = string(*row.Pending)
		}
		changes = append(changes, change)
	}
	slices.SortFunc(changes, func(a, b PendingChange) int { return strings.Compare(a.Key, b.Key) })
	return changes, nil
}

// Status reads how a guest is now.
func (c *Client) Status(ctx context.Context, r Ref) (Status, error) {
	var answer struct {
		Status    scalar  `json:"status"`
		QMPStatus scalar  `json:"qmpstatus"`
		Lock      scalar  `json:"lock"`
		Uptime    integer `json:"uptime"`
		Agent     scalar  `json:"agent"`
		HA        struct {
			Managed truth `json:"managed"`
		} `json:"ha"`
	}
	if err := c.get(ctx, r.path("/status/current"), nil, &answer); err != nil {
		return Status{}, err
	}
	return Status{
		Running: answer.Status == "running", Status: string(answer.Status), QMPStatus: string(answer.QMPStatus),
		Lock: string(answer.Lock), Uptime: time.Duration(answer.Uptime) * time.Second,
		AgentEnabled: answer.Agent != "" && answer.Agent != "0", HAManaged: bool(answer.HA.Managed),
	}, nil
}

// Interfaces asks a running container, or a VM's guest agent, for its
// addresses. Without an agent the error is ErrAgentAbsent.
func (c *Client) Interfaces(ctx context.Context, r Ref) ([]Interface, error) {
	if r.Type == LXC {
		var rows []interfaceRow
		err := c.get(ctx, r.path("/interfaces"), nil, &rows)
		return readInterfaces(rows), err
	}
	var answer struct {
		Result []interfaceRow `json:"result"`
	}
	err := c.get(ctx, r.path("/agent/network-get-interfaces"), nil, &answer)
	if fits(err, textNoAgent) {
		return nil, fmt.Errorf("%w: %w", ErrAgentAbsent, err)
	}
	return readInterfaces(answer.Result), err
}

// FreeVMID returns the lowest VMID from first to last that no guest has and
// that taken does not claim. It reserves nothing (measured: three parallel
// calls of nextid gave the same number), so a create may still find the VMID
// taken (IsExists). It returns ErrRangeExhausted when there is none.
func (c *Client) FreeVMID(ctx context.Context, first, last int, taken func(int) bool) (int, error) {
	guests, err := c.Resources(ctx)
	if err != nil {
		return 0, err
	}
	used := make(map[int]bool, len(guests))
	for _, guest := range guests {
		used[guest.VMID] = true
	}
	for vmid := first; vmid <= last; vmid++ {
		if used[vmid] || taken != nil && taken(vmid) {
			continue
		}
		// The list leaves out what the token may not see; nextid does not.
		var free scalar
		err := c.get(ctx, "/cluster/nextid", map[string]string{"vmid": strconv.Itoa(vmid)}, &free)
		if err == nil {
			return vmid, nil
		}
		if !IsExists(err) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%w %d to %d", ErrRangeExhausted, first, last)
}

// Task reads how far a task is. One that its node no longer knows has the
// state TaskUnknown and no error.
func (c *Client) Task(ctx context.Context, upid UPID) (Task, error) {
	task, err := ParseUPID(string(upid))
	if err != nil {
		return Task{}, err
	}
	var answer struct {
		Status scalar `json:"status"`
		Exit   scalar `json:"exitstatus"`
	}
	err = c.get(ctx, task.path("/status"), nil, &answer)
	switch {
	case fits(err, textNoTask):
		return task, nil
	case err != nil:
		return Task{}, err
	case answer.Status == "running":
		task.State = TaskRunning
	default:
		task.judge(string(answer.Exit))
	}
	return task, nil
}

// TaskLog returns the last lines of a task's log.
func (c *Client) TaskLog(ctx context.Context, upid UPID, lines int) ([]string, error) {
	const page, pages = 500, 20
	task, err := ParseUPID(string(upid))
	if err != nil {
		return nil, err
	}
	var tail []string
	for n := range pages {
		var rows []struct {
			Text scalar `json:"t"`
		}
		query := map[string]string{"start": strconv.Itoa(n * page), "limit": strconv.Itoa(page)}
		if err := c.get(ctx, task.path("/log"), query, &rows); err != nil {
			return nil, err
		}
		for _, row := range rows {
			tail = append(tail, clip(string(row.Text)))
		}
		tail = tail[max(0, len(tail)-lines):]
		if len(rows) < page {
			break
		}
	}
	return tail, nil
}

func (t Task) path(rest string) string {
	return "/nodes/" + url.PathEscape(t.Node) + "/tasks/" + url.PathEscape(string(t.UPID)) + rest
}

func (r Ref) path(rest string) string {
	return fmt.Sprintf("/nodes/%s/%s/%d%s", url.PathEscape(r.Node), r.Type, r.VMID, rest)
}

type interfaceRow struct {
	Name      scalar `json:"name"`
	Hardware  scalar `json:"hardware-address"`
	HWAddr    scalar `json:"hwaddr"`
	Inet      scalar `json:"inet"`
	Inet6     scalar `json:"inet6"`
	Addresses []struct {
		Address scalar  `json:"ip-address"`
		Prefix  integer `json:"prefix"`
	} `json:"ip-addresses"`
}

func readInterfaces(rows []interfaceRow) []Interface {
	interfaces := make([]Interface, 0, len(rows))
	for _, row := range rows {
		in := Interface{Name: string(row.Name), MAC: strings.ToLower(string(row.Hardware))}
		if in.MAC == "" {
			in.MAC = strings.ToLower(string(row.HWAddr))
		}
		for _, a := range row.Addresses {
			in.add(string(a.Address), int(a.Prefix))
		}
		if len(row.Addresses) == 0 {
			for _, text := range []scalar{row.Inet, row.Inet6} {
				address, length, _ := strings.Cut(string(text), "/")
				bits, err := strconv.Atoi(length)
				if err == nil {
					in.add(address, bits)
				}
			}
		}
		interfaces = append(interfaces, in)
	}
	return interfaces
}

// add takes an address, unless it is none: what a guest says is not trusted.
func (in *Interface) add(address string, bits int) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return
	}
	if p := netip.PrefixFrom(a.WithZone(""), bits); p.IsValid() {
		in.Addresses = append(in.Addresses, p)
	}
}
