// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"cmp"
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// maxProject is how long the name of a project may be.
const maxProject = 63

// tooLong says that a name that comes of the object's is none for a project.
func tooLong(project string) error {
	if len(project) <= maxProject {
		return nil
	}
	return reconcile.Stall(InvalidReason, fmt.Errorf("the object's name has %d characters: set project, which may have %d", len(project), maxProject))
}

// taken names an older DockerStack of the same project in the same environment.
func (k *Kind) taken(ctx context.Context, s *v1alpha1.DockerStack) error {
	var list v1alpha1.DockerStackList
	project := projectOf(s)
	err := k.Client.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingFields{ByProject: project},
		client.DisableReadYourWritesConsistency) // nothing that we write counts here, and to wait for all of it takes long
	if err != nil {
		return fmt.Errorf("list DockerStacks of project %s: %w", project, err)
	}
	for i := range list.Items {
		other := &list.Items[i]
		if other.Name == s.Name || !older(other, s) {
			continue
		}
		same, err := k.together(ctx, other, s)
		if err != nil {
			return err
		}
		if same {
			return reconcile.Stall(ProjectTakenReason, fmt.Errorf("project %s: DockerStack/%s has it in this environment, and is older: make a new DockerStack with another project, or delete that one", project, other.Name))
		}
	}
	return nil
}

// older orders DockerStacks by age, those of one second by name.
func older(a, b *v1alpha1.DockerStack) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name)) < 0
}

// together says whether two stacks run in one environment, however they name it.
func (k *Kind) together(ctx context.Context, a, b *v1alpha1.DockerStack) (bool, error) {
	serverA, roomA, err := k.roomOf(ctx, a)
	if err != nil {
		return false, err
	}
	serverB, roomB, err := k.roomOf(ctx, b)
	return serverA == serverB && roomA == roomB && roomA != "", err
}

// roomOf names the server and the environment of a stack, without asking the server.
func (k *Kind) roomOf(ctx context.Context, s *v1alpha1.DockerStack) (server, room string, err error) {
	e := s.Spec.Environment
	if e.AgentRef == nil {
		return e.PortainerRef.Name, e.Name, nil
	}
	var agent v1alpha1.HostService
	err = k.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: e.AgentRef.Name}, &agent)
	if client.IgnoreNotFound(err) != nil {
		return "", "", fmt.Errorf("read HostService/%s: %w", e.AgentRef.Name, err)
	}
	if err != nil || agent.Spec.PortainerAgent == nil {
		return "", "", nil
	}
	return agent.Spec.PortainerAgent.PortainerRef.Name, cmp.Or(agent.Spec.PortainerAgent.Environment, agent.Name), nil
}
