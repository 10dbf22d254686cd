// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the kinds with which a whole Proxmox VE site is declared.
//
// Every spec carries [CommonSpec] and every status [CommonStatus]. Controllers never write a spec: what they allocate
// (a VMID, a MAC address) stands in the status. An unset optional field means that Phoenix does not touch it, unless its
// description names a default.
//
// +kubebuilder:object:generate=true
// +groupName=phoenix-hypervisor.io
package v1alpha1
