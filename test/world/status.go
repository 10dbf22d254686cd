// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// State is what one object's Ready condition says.
type State struct {
	Kind, Name      string
	Ready           bool
	Reason, Message string
}

// States reads every Phoenix object in order of kind and name.
func (w *World) States(ctx context.Context) ([]State, error) {
	var states []State
	for _, list := range []client.ObjectList{&v1alpha1.HostList{}, &v1alpha1.GuestList{}, &v1alpha1.HostServiceList{}, &v1alpha1.CertificateList{}, &v1alpha1.DockerStackList{}, &v1alpha1.RouteList{}} {
		if err := w.Client.List(ctx, list, client.InNamespace(Namespace)); err != nil {
			return nil, fmt.Errorf("list objects: %w", err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			states = append(states, stateOf(o.(object)))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return states, nil
}

type object interface {
	client.Object
	v1alpha1.Object
}

func stateOf(o object) State {
	s := State{Kind: kindOf(o), Name: o.GetName(), Reason: "New", Message: "not looked at yet"}
	c := meta.FindStatusCondition(o.CommonStatus().Conditions, v1alpha1.ReadyCondition)
	if c == nil {
		return s
	}
	s.Reason, s.Message = c.Reason, c.Message
	s.Ready = c.Status == metav1.ConditionTrue && o.CommonStatus().ObservedGeneration == o.GetGeneration()
	return s
}

func kindOf(o object) string {
	name := fmt.Sprintf("%T", o)
	return strings.ToLower(name[strings.LastIndex(name, ".")+1:])
}

// AllReady says whether there are objects and all are Ready.
func AllReady(states []State) bool {
	for _, s := range states {
		if !s.Ready {
			return false
		}
	}
	return len(states) > 0
}

// PrintTable prints what "kubectl get" prints for a resource: the API server's own Table answer.
func (w *World) PrintTable(ctx context.Context, out io.Writer, resource string) error {
	config := rest.CopyConfig(w.Config)
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	c, err := rest.RESTClientFor(config)
	if err != nil {
		return fmt.Errorf("make client for tables: %w", err)
	}
	table := &metav1.Table{}
	body, err := c.Get().Namespace(Namespace).Resource(resource).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(ctx).Raw()
	if err != nil {
		return fmt.Errorf("get %s as a table: %w", resource, err)
	}
	if err := json.Unmarshal(body, table); err != nil {
		return fmt.Errorf("read table of %s: %w", resource, err)
	}
	return printers.NewTablePrinter(printers.PrintOptions{}).PrintObj(table, out)
}
