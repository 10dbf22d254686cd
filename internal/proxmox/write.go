// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Each method here makes one call, once. A UPID says that a task was accepted;
// Task tells what became of it. When the call went unanswered (IsUnreachable)
// it may have been carried out all the same.

// Create makes a guest on a node. A container's params hold at least
// ostemplate and rootfs. Measured: a wrong template or storage shows in the
// task, a taken VMID at once (IsExists).
func (c *Client) Create(ctx context.Context, node string, t GuestType, vmid int, params map[string]string) (UPID, error) {
	all := maps.Clone(params)
	if all == nil {
		all = map[string]string{}
	}
	all["vmid"] = strconv.Itoa(vmid)
	return c.task(ctx, http.MethodPost, fmt.Sprintf("/nodes/%s/%s", url.PathEscape(node), t), all)
}

// Clone makes the guest newID from a template. It cannot carry tags; full=1
// copies, else the clone is linked to a template. The task's ID is the
// template's.
func (c *Client) Clone(ctx context.Context, template Ref, newID int, params map[string]string) (UPID, error) {
	all := maps.Clone(params)
	if all == nil {
		all = map[string]string{}
	}
	all["newid"] = strconv.Itoa(newID)
	return c.task(ctx, http.MethodPost, template.path("/clone"), all)
}

// SetConfig sets and deletes configuration keys, if the digest is still the
// one of the file (else IsConflict); an empty digest writes in any case. It
// returns when all is applied or pending. Measured: deleting an absent key is
// fine, a failed hotplug is IsInvalid and names the key. With nothing to set
// or delete it makes no call, which Proxmox VE would refuse.
func (c *Client) SetConfig(ctx context.Context, r Ref, digest string, set map[string]string, del []string) error {
	if len(set) == 0 && len(del) == 0 {
		return nil
	}
	params := maps.Clone(set)
	if params == nil {
		params = map[string]string{}
	}
	if len(del) > 0 {
		params["delete"] = strings.Join(del, ",")
	}
	if digest != "" {
		params["digest"] = digest
	}
	if err := c.call(ctx, http.MethodPut, r.path("/config"), params, nil); err != nil {
		return err
	}
	if _, tagged := set["tags"]; tagged && c.onTags != nil {
		c.onTags()
	}
	return nil
}

// Resize grows a disk ("rootfs", "mp0", "scsi0") to an absolute size such as
// "8G". Measured: shrinking is refused with 500, the size that it has with
// IsAlready.
func (c *Client) Resize(ctx context.Context, r Ref, disk, size, digest string) (UPID, error) {
	params := map[string]string{"disk": disk, "size": size}
	if digest != "" {
		params["digest"] = digest
	}
	return c.task(ctx, http.MethodPut, r.path("/resize"), params)
}

// Start starts a guest. Measured: a running container is IsAlready, a running
// VM is a task that fails with that text (Task.Err is IsAlready).
func (c *Client) Start(ctx context.Context, r Ref) (UPID, error) {
	return c.task(ctx, http.MethodPost, r.path("/status/start"), nil)
}

// Shutdown asks the guest to stop and stops it by force after the timeout,
// which is rounded up to seconds.
func (c *Client) Shutdown(ctx context.Context, r Ref, timeout time.Duration) (UPID, error) {
	params := map[string]string{"timeout": seconds(timeout), "forceStop": "1"}
	return c.task(ctx, http.MethodPost, r.path("/status/shutdown"), params)
}

// Stop stops a guest at once, as by the power switch.
func (c *Client) Stop(ctx context.Context, r Ref) (UPID, error) {
	return c.task(ctx, http.MethodPost, r.path("/status/stop"), nil)
}

// Reboot shuts a guest down and starts it with its pending changes applied.
// The task fails when the guest does not react within the timeout.
func (c *Client) Reboot(ctx context.Context, r Ref, timeout time.Duration) (UPID, error) {
	return c.task(ctx, http.MethodPost, r.path("/status/reboot"), map[string]string{"timeout": seconds(timeout)})
}

// Destroy destroys a stopped guest with the volumes that its configuration
// names, and takes it out of backup jobs, replication and high availability.
// Volumes that only look like the guest's by their number are left alone.
// Measured: a running guest is refused with 500.
func (c *Client) Destroy(ctx context.Context, r Ref) (UPID, error) {
	params := map[string]string{"purge": "1", "destroy-unreferenced-disks": "0"}
	return c.task(ctx, http.MethodDelete, r.path(""), params)
}

// task makes a call that is answered with a UPID; null means done at once.
func (c *Client) task(ctx context.Context, method, path string, params map[string]string) (UPID, error) {
	var answer scalar
	if err := c.call(ctx, method, path, params, &answer); err != nil || answer == "" {
		return "", err
	}
	if _, err := ParseUPID(string(answer)); err != nil {
		return "", &Error{Method: method, Path: path, Code: http.StatusOK, Err: err}
	}
	return UPID(answer), nil
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
