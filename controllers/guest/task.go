// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// follow looks after the task that the Guest's status names. While it runs, it returns a wait. When it is over, the status
// lets go of it, and a failure is kept in seen: only the guest itself says whether it matters.
func follow(ctx context.Context, g *v1alpha1.Guest, seen *Seen) error {
	if g.Status.Task == nil {
		return nil
	}
	upid, reason := proxmox.UPID(g.Status.Task.UPID), g.Status.Task.Reason
	task, watched := seen.site.View.Result(upid)
	if !watched { // begun by another process: take it over
		seen.site.View.Watch(upid, int(deref(g.Status.VMID)))
		task, watched = seen.site.View.Result(upid)
	}
	if watched && task.State == proxmox.TaskRunning {
		return runs(g, reason)
	}
	g.Status.Task = nil
	seen.restarted = watched && task.State == proxmox.TaskSucceeded && reason == RestartRequiredReason
	if watched && task.State == proxmox.TaskFailed {
		seen.failed = taskFailure(ctx, g, seen.site.Reader, reason, task)
	}
	return nil
}

func runs(g *v1alpha1.Guest, reason string) error {
	return reconcile.Wait(reason, taskFallback, errors.New(taskText(reason, g)+": the task runs"))
}

// taskFailure says why a task failed: its exit text, and the last line of its log that says more.
func taskFailure(ctx context.Context, g *v1alpha1.Guest, reader Reader, reason string, task proxmox.Task) error {
	err := task.Err()
	switch {
	case proxmox.IsAlready(err):
		return nil
	case proxmox.IsLocked(err):
		return reconcile.Wait(LockedReason, taskFallback, fmt.Errorf("%s: %s", taskText(reason, g), task.Exit))
	}
	text := task.Exit
	if lines, err := reader.TaskLog(ctx, task.UPID, 5); err == nil { // the log is a courtesy
		for i := len(lines) - 1; i >= 0; i-- {
			if line := strings.TrimSpace(lines[i]); line != "" && !strings.HasPrefix(line, "TASK ") && !strings.Contains(text, line) {
				text += " (" + line + ")"
				break
			}
		}
	}
	if reason == DestroyingReason && inUseText.MatchString(text) {
		reason = LinkedClonesReason
		return reconcile.Undone(reason, fmt.Errorf("%s: %s", taskText(DestroyingReason, g), text))
	}
	return reconcile.Undone(failedReason(reason), fmt.Errorf("%s: %s", taskText(reason, g), text))
}

// begin makes a call that is answered with a task, within the Host's limits, and writes the task down. It returns a wait
// with the step's reason while the task runs.
func begin(g *v1alpha1.Guest, seen Seen, reason, storage string, template int, call func() (proxmox.UPID, error)) error {
	release, ok := seen.site.View.Acquire(storage, template)
	if !ok {
		return reconcile.Wait(BusyReason, shortly, fmt.Errorf("%s: the limits of tasks of Host/%s are reached", taskText(reason, g), seen.host.name))
	}
	upid, err := call()
	if err != nil || upid == "" {
		release()
		if err == nil || proxmox.IsAlready(err) {
			return nil
		}
		return fmt.Errorf("%s: %w", taskText(reason, g), failure(err))
	}
	g.Status.Task = &v1alpha1.GuestTask{UPID: string(upid), Reason: reason}
	seen.site.View.Watch(upid, int(deref(g.Status.VMID)), release)
	return runs(g, reason)
}
