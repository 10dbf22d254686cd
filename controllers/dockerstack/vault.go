// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/compose"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

// fieldOwner is whose the entries of the Secret are.
const fieldOwner = client.FieldOwner("phoenix-dockerstack")

// Entries of the Secret NAME-stack.
const (
	vaultSuffix  = "-stack"
	hashKeyEntry = "key"          // of all hashes
	textEntry    = "compose.yaml" // what was last seen to run as it should
	valuesEntry  = "env.json"     // its values
	notesEntry   = "notes.json"   // the rest, without values
)

// keyLength of the hashes.
const keyLength = 32

// vault is the Secret of a stack.
type vault struct {
	key []byte
	// good is what was last seen to run as it should; nil: nothing was yet.
	good *release
	notes
}

// notes are what is known of a stack's deployments.
type notes struct {
	// Project and Place are where good was seen.
	Project string `json:"project,omitempty"`
	Place   string `json:"place,omitempty"`
	Commit  string `json:"commit,omitempty"`
	// Services and Images are what the text of good asks for.
	Services []compose.Service `json:"services,omitempty"`
	Images   []compose.Image   `json:"images,omitempty"`
	// Made is what compose says that the containers of each service of good were made of.
	Made map[string]string `json:"made,omitempty"`
	// Attempt is a deployment that may go on at Portainer: it was begun, and no answer to it was noted.
	Attempt *attempt `json:"attempt,omitempty"`
	// Refused is what failed, and was rolled back.
	Refused *refused `json:"refused,omitempty"`
}

// attempt is a deployment that was begun.
type attempt struct {
	At time.Time `json:"at"`
}

// refused is a release that was deployed and failed.
type refused struct {
	Hash string    `json:"hash"`
	At   time.Time `json:"at"`
	Why  string    `json:"why"`
}

func vaultOf(s *v1alpha1.DockerStack) string { return s.Name + vaultSuffix }

// readVault reads the Secret of a stack. What is not there has the key that it will get.
func (k *Kind) readVault(ctx context.Context, s *v1alpha1.DockerStack) (vault, error) {
	var there corev1.Secret
	name := vaultOf(s)
	err := k.Client.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: name}, &there)
	switch {
	case apierrors.IsNotFound(err):
		return vault{key: k.memory.key(nameOf(s))}, nil
	case err != nil:
		return vault{}, fmt.Errorf("read Secret/%s: %w", name, err)
	case !owned(&there, s) && !s.DeletionTimestamp.IsZero(): // what somebody else keeps there is none of our business
		return vault{key: k.memory.key(nameOf(s))}, nil
	case !owned(&there, s):
		return vault{}, reconcile.Stall(NotOwnedReason, fmt.Errorf("use Secret/%s: it is there already, and is not of this DockerStack: delete it", name))
	}
	v := vault{key: there.Data[hashKeyEntry]}
	if len(v.key) == 0 {
		v.key = k.memory.key(nameOf(s))
	}
	if err := v.parse(there.Data); err != nil { // somebody edited it: what runs will tell
		return vault{key: v.key}, nil
	}
	return v, nil
}

// owned says whether a Secret is of the stack, or of one of its name before it.
func owned(there *corev1.Secret, s *v1alpha1.DockerStack) bool {
	for _, o := range there.OwnerReferences {
		if o.Kind == "DockerStack" && o.Name == s.Name && o.APIVersion == v1alpha1.GroupVersion.String() {
			return true
		}
	}
	return false
}

func (v *vault) parse(data map[string][]byte) error {
	if len(data[notesEntry]) > 0 {
		if err := json.Unmarshal(data[notesEntry], &v.notes); err != nil {
			return errors.New("read notes")
		}
	}
	if len(data[textEntry]) == 0 {
		return nil
	}
	good := &release{text: string(data[textEntry]), commit: v.Commit, services: v.Services, images: v.Images}
	if err := json.Unmarshal(data[valuesEntry], &good.env); err != nil {
		return errors.New("read values")
	}
	v.good = good.sealed(v.key)
	return nil
}

// hidden are the values that nobody may read.
func (v *vault) hidden(h *hidden) {
	if v.good == nil {
		return
	}
	for _, e := range v.good.env {
		if e.Hidden {
			h.add(e.Value)
		}
	}
}

// write writes the Secret of a stack. The stack's end takes it away.
func (k *Kind) write(ctx context.Context, s *v1alpha1.DockerStack, v vault) error {
	data := map[string][]byte{hashKeyEntry: v.key}
	var err error
	if data[notesEntry], err = json.Marshal(v.notes); err != nil {
		return fmt.Errorf("encode notes: %w", err)
	}
	if v.good != nil {
		data[textEntry] = []byte(v.good.text)
		if data[valuesEntry], err = json.Marshal(slices.Concat([]value{}, v.good.env)); err != nil {
			return errors.New("encode values")
		}
	}
	secret := applycore.Secret(vaultOf(s), s.Namespace).WithType(corev1.SecretTypeOpaque).WithData(data).
		WithOwnerReferences(applymeta.OwnerReference().WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("DockerStack").
			WithName(s.Name).WithUID(s.UID).WithController(true))
	if err := k.Client.Apply(ctx, secret, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("write Secret/%s: %w", vaultOf(s), err)
	}
	return nil
}

// newKey makes a key by chance.
func newKey() []byte {
	key := make([]byte, keyLength)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	return key
}
