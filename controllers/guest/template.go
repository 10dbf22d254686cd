// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/proxmox"
)

// resolve finds the guest that is to be cloned.
func (k *Kind) resolve(ctx context.Context, g *v1alpha1.Guest, seen *Seen) error {
	list, _ := seen.site.View.Snapshot()
	clone := g.Spec.Source.Clone
	var found []proxmox.Resource
	var what string
	switch {
	case clone.VMID != nil:
		what = fmt.Sprintf("template %d", *clone.VMID)
		found = listed(list, int(*clone.VMID))
	case clone.GuestRef != nil:
		what = "Guest/" + clone.GuestRef.Name
		var template v1alpha1.Guest
		if err := k.get(ctx, g, clone.GuestRef.Name, &template); err != nil {
			return fmt.Errorf("read %s: %w", what, err)
		}
		if template.Spec.HostRef != g.Spec.HostRef {
			seen.refusals = append(seen.refusals, *stall(TemplateNotFoundReason, "source.clone.guestRef",
				"%s is on Host/%s, this one is on Host/%s: name a Guest of the same Host", what, template.Spec.HostRef.Name, g.Spec.HostRef.Name))
			return nil
		}
		if template.Status.Node != "" {
			found = listed(list, int(deref(template.Status.VMID)))
		}
	default:
		what = fmt.Sprintf("template %q", clone.Name)
		found = templatesNamed(list, clone.Name, driverType(g.Spec.Type))
	}
	source, refused := judgeTemplates(g, found, what)
	if refused != nil {
		seen.refusals = append(seen.refusals, *refused)
	}
	seen.source = source
	return nil
}

func listed(list proxmox.Snapshot, vmid int) []proxmox.Resource {
	if r, ok := list.Guests[vmid]; ok {
		return []proxmox.Resource{r}
	}
	return nil
}

func templatesNamed(list proxmox.Snapshot, name string, t proxmox.GuestType) []proxmox.Resource {
	var found []proxmox.Resource
	for _, r := range list.Guests {
		if r.Name == name && r.Type == t && r.Template {
			found = append(found, r)
		}
	}
	return found
}

// judgeTemplates says whether exactly one guest was found and can be cloned.
func judgeTemplates(g *v1alpha1.Guest, found []proxmox.Resource, what string) (*proxmox.Resource, *refusal) {
	const field = "source.clone"
	switch {
	case len(found) == 0:
		return nil, fail(TemplateNotFoundReason, field, "%s does not exist on Host/%s, or its token cannot see it", what, g.Spec.HostRef.Name)
	case len(found) > 1:
		return nil, stall(TemplateAmbiguousReason, field, "%d templates bear the name of %s: name it by vmid", len(found), what)
	}
	r := found[0]
	switch {
	case r.Type != driverType(g.Spec.Type):
		return nil, stall(TypeDiffersReason, field, "%s is a %s, spec.type is %s: choose another source", what, nounOf(r.Type), g.Spec.Type)
	case g.Spec.Source.Clone.Mode == v1alpha1.CloneLinked && !r.Template:
		return nil, fail(TemplateUnusableReason, field, "%s is no template, so that it cannot be cloned with mode Linked: make it one, or use mode Full", what)
	case r.Type == proxmox.LXC && !r.Template && r.Status == "running":
		return nil, fail(TemplateUnusableReason, field, "%s runs: a running container cannot be cloned; stop it, or make it a template", what)
	}
	return &r, nil
}

// readKeys reads the SSH keys that the cloud-init user gets.
func (k *Kind) readKeys(ctx context.Context, g *v1alpha1.Guest, seen *Seen) error {
	if g.Spec.CloudInit == nil || g.Spec.CloudInit.SSHKeysSecretRef == nil || !g.DeletionTimestamp.IsZero() {
		return nil
	}
	const field = "cloudInit.sshKeysSecretRef"
	ref := *g.Spec.CloudInit.SSHKeysSecretRef
	var secret corev1.Secret
	err := k.Secrets.Get(ctx, types.NamespacedName{Namespace: g.Namespace, Name: ref.Name}, &secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read Secret/%s: %w", ref.Name, err)
	}
	data, ok := secret.Data[ref.Key]
	switch {
	case err != nil:
		seen.refusals = append(seen.refusals, *fail(SecretMissingReason, field, "Secret/%s does not exist", ref.Name))
		return nil
	case !ok:
		seen.refusals = append(seen.refusals, *fail(SecretMissingReason, field, "Secret/%s has no entry %s", ref.Name, ref.Key))
		return nil
	}
	keys, bad := publicKeys(string(data))
	if bad != 0 || len(keys) == 0 {
		where := fmt.Sprintf("line %d of it is none", bad)
		if bad == 0 {
			where = "it holds none"
		}
		seen.refusals = append(seen.refusals, *fail(SecretMissingReason, field,
			"entry %s of Secret/%s must hold public SSH keys, one on a line: %s", ref.Key, ref.Name, where))
		return nil
	}
	seen.keys = keys
	return nil
}

// publicKeys reads public keys, one on a line; bad is the number of the first line that is none. What the line holds is
// not said: it may be a private key.
func publicKeys(text string) (keys []string, bad int) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err != nil {
			return nil, n
		}
		keys = append(keys, line)
	}
	return keys, 0
}
