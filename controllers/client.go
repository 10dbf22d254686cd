// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kubeClient is the manager's client. Our kinds are read from the cache, after what was written before. Secrets and ConfigMaps
// are read and written live: the client of controller-runtime that waits for the cache lists and keeps all objects of every
// kind that it is asked for, those that are not to be cached as well.
type kubeClient struct {
	client.Client
	live client.Client
}

// newClient makes the manager's client.
func newClient(cfg *rest.Config, o client.Options) (client.Client, error) {
	cached, err := client.New(cfg, o)
	o.Cache = nil
	live, err2 := client.New(cfg, o)
	return kubeClient{cached, live}, errors.Join(err, err2)
}

// of is the client for an object, or a list of them.
func (c kubeClient) of(o runtime.Object) client.Client {
	switch o.(type) {
	case *corev1.Secret, *corev1.SecretList, *corev1.ConfigMap, *corev1.ConfigMapList:
		return c.live
	}
	return c.Client
}

func (c kubeClient) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	return c.of(o).Get(ctx, key, o, opts...)
}

func (c kubeClient) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return c.of(list).List(ctx, list, opts...)
}

func (c kubeClient) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	return c.of(o).Create(ctx, o, opts...)
}

func (c kubeClient) Update(ctx context.Context, o client.Object, opts ...client.UpdateOption) error {
	return c.of(o).Update(ctx, o, opts...)
}

func (c kubeClient) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
	return c.of(o).Patch(ctx, o, patch, opts...)
}

func (c kubeClient) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	return c.of(o).Delete(ctx, o, opts...)
}

// Apply writes live: nothing but Secrets is applied.
func (c kubeClient) Apply(ctx context.Context, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	return c.live.Apply(ctx, o, opts...)
}
