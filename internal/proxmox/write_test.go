// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWrites holds each write to what goes over the wire.
func TestWrites(t *testing.T) {
	vm := Ref{Node: "pve1", Type: QEMU, VMID: 100}
	params := map[string]string{"ostemplate": "local:vztmpl/debian-13.tar.zst", "memory": "512"}
	cases := map[string]struct {
		reason string
		write  func(context.Context, *Client) (UPID, error)
		call   string
		body   map[string]string
		query  string
		answer answer
		want   UPID
	}{
		"create": {
			"the VMID joins the parameters", func(ctx context.Context, c *Client) (UPID, error) { return c.Create(ctx, "pve1", LXC, 101, params) },
			"POST /nodes/pve1/lxc", map[string]string{"ostemplate": "local:vztmpl/debian-13.tar.zst", "memory": "512", "vmid": "101"}, "", data(`"` + upidStart + `"`), upidStart,
		},
		"clone": {
			"on the template's node", func(ctx context.Context, c *Client) (UPID, error) {
				return c.Clone(ctx, vm, 110, map[string]string{"full": "1"})
			},
			"POST /nodes/pve1/qemu/100/clone", map[string]string{"newid": "110", "full": "1"}, "", data(`"` + upidStart + `"`), upidStart,
		},
		"linked clone": {
			"no parameters at all", func(ctx context.Context, c *Client) (UPID, error) { return c.Clone(ctx, vm, 110, nil) },
			"POST /nodes/pve1/qemu/100/clone", map[string]string{"newid": "110"}, "", data(`"` + upidStart + `"`), upidStart,
		},
		"config": {
			"PUT for VMs too: POST would be a task", func(ctx context.Context, c *Client) (UPID, error) {
				return "", c.SetConfig(ctx, vm, "4f71", map[string]string{"cores": "2"}, []string{"tags", "net1"})
			},
			"PUT /nodes/pve1/qemu/100/config", map[string]string{"cores": "2", "delete": "tags,net1", "digest": "4f71"}, "", data(`null`), "",
		},
		"resize": {
			"an absolute size", func(ctx context.Context, c *Client) (UPID, error) {
				return c.Resize(ctx, guest101, "rootfs", "8G", "d1")
			},
			"PUT /nodes/pve1/lxc/101/resize", map[string]string{"disk": "rootfs", "size": "8G", "digest": "d1"}, "", data(`"` + upidStart + `"`), upidStart,
		},
		"resize, older": {
			"null is done at once", func(ctx context.Context, c *Client) (UPID, error) { return c.Resize(ctx, vm, "scsi0", "8G", "") },
			"PUT /nodes/pve1/qemu/100/resize", map[string]string{"disk": "scsi0", "size": "8G"}, "", data(`null`), "",
		},
		"start": {
			"no body", func(ctx context.Context, c *Client) (UPID, error) { return c.Start(ctx, guest101) },
			"POST /nodes/pve1/lxc/101/status/start", nil, "", data(`"` + upidStart + `"`), upidStart,
		},
		"shutdown": {
			"by force in the end; seconds are rounded up", func(ctx context.Context, c *Client) (UPID, error) {
				return c.Shutdown(ctx, guest101, 1500*time.Millisecond)
			},
			"POST /nodes/pve1/lxc/101/status/shutdown", map[string]string{"timeout": "2", "forceStop": "1"}, "", data(`"` + upidStart + `"`), upidStart,
		},
		"stop": {
			"no body", func(ctx context.Context, c *Client) (UPID, error) { return c.Stop(ctx, vm) },
			"POST /nodes/pve1/qemu/100/status/stop", nil, "", data(`"` + upidStart + `"`), upidStart,
		},
		"reboot": {
			"with a timeout", func(ctx context.Context, c *Client) (UPID, error) { return c.Reboot(ctx, vm, time.Minute) },
			"POST /nodes/pve1/qemu/100/status/reboot", map[string]string{"timeout": "60"}, "", data(`"` + upidStart + `"`), upidStart,
		},
		"destroy": {
			"DELETE with a body is 501: the parameters stand in the query", func(ctx context.Context, c *Client) (UPID, error) { return c.Destroy(ctx, guest101) },
			"DELETE /nodes/pve1/lxc/101", nil, "destroy-unreferenced-disks=0&purge=1", data(`"` + upidStart + `"`), upidStart,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			site := record(t, map[string][]answer{c.call: {c.answer}})
			upid, err := c.write(t.Context(), site.client(t))
			if err != nil || upid != c.want {
				t.Fatalf("%s: %q, %v", c.reason, upid, err)
			}
			var body map[string]string
			if raw := site.last().body; raw != "" {
				if err := json.Unmarshal([]byte(raw), &body); err != nil {
					t.Fatalf("%s: body %q: %v", c.reason, raw, err)
				}
			}
			if diff := cmp.Diff(c.body, body); diff != "" {
				t.Errorf("%s: body (-want +got):\n%s", c.reason, diff)
			}
			if q := site.last().query.Encode(); q != c.query {
				t.Errorf("%s: query %q, want %q", c.reason, q, c.query)
			}
			if n := site.count(c.call); n != 1 {
				t.Errorf("%s: %d calls", c.reason, n)
			}
		})
	}
	if len(params) != 2 {
		t.Errorf("the caller's parameters were changed: %v", params)
	}
}

func TestNothingToWrite(t *testing.T) {
	site := record(t, nil)
	if err := site.client(t).SetConfig(t.Context(), guest101, "d", nil, nil); err != nil || len(site.calls) != 0 {
		t.Errorf("an empty change made %d calls: %v", len(site.calls), err)
	}
}

func TestAcceptedWithNonsense(t *testing.T) {
	site := record(t, map[string][]answer{"POST /nodes/pve1/lxc/101/status/start": {data(`"hello"`)}})
	if upid, err := site.client(t).Start(t.Context(), guest101); err == nil {
		t.Errorf("%q was taken for a task", upid)
	}
}
