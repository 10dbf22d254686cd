// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// KernelNFS says whether this machine's kernel, which is that of all machines of the lab, has an NFS server and client. A
// module that could be loaded does not count: machines of the lab load none.
func KernelNFS() bool {
	text, err := os.ReadFile("/proc/filesystems")
	return err == nil && hasNFS(string(text))
}

// hasNFS reads /proc/filesystems.
func hasNFS(text string) bool {
	words := strings.Fields(text)
	has := map[string]bool{}
	for _, w := range words {
		has[w] = true
	}
	return has["nfsd"] && has["nfs4"]
}

// Artifact is a release of a program at the lab's mirror.
type Artifact struct {
	// URL of an archive, SHA256 of what it gives, and the Member of it that is the program.
	URL, SHA256, Member string
}

// Releases are the releases of programs at the lab's mirror.
type Releases struct {
	// StepCA is step-ca.
	StepCA Artifact
	// Traefik is Traefik. NextTraefik is one to which it can be upgraded: the same program with another version in it.
	Traefik, NextTraefik Artifact
}

// RegistryMirror is the URL, for machines, at which a Docker engine pulls the lab's images when it is named as a mirror of
// Docker Hub.
const RegistryMirror = "http://" + Gateway

// Adapt changes declared objects to what the lab has: the resolver at the Gateway stands for those of the world, and the mirror
// for Docker Hub and for the downloads of step-ca and Traefik, and where the kernel has no NFS the server is Ganesha, and no virtual
// machine mounts what only a user-space client could read. It returns what it changed that somebody may miss.
func Adapt(objects []*unstructured.Unstructured, kernelNFS bool, releases Releases) (notes []string, err error) {
	for _, o := range objects {
		if _, ok, _ := unstructured.NestedSlice(o.Object, "spec", "dnsmasq", "upstreams"); ok {
			err = errors.Join(err, unstructured.SetNestedStringSlice(o.Object, []string{Gateway}, "spec", "dnsmasq", "upstreams"))
		}
		if _, ok, _ := unstructured.NestedMap(o.Object, "spec", "docker"); ok {
			err = errors.Join(err, unstructured.SetNestedStringSlice(o.Object, []string{RegistryMirror}, "spec", "docker", "registryMirrors"))
		}
		if _, ok, _ := unstructured.NestedMap(o.Object, "spec", "stepCA"); ok {
			unstructured.RemoveNestedField(o.Object, "spec", "stepCA", "packageName")
			err = errors.Join(err, unstructured.SetNestedStringMap(o.Object, releases.StepCA.spec(), "spec", "stepCA", "artifact"))
		}
		if _, ok, _ := unstructured.NestedMap(o.Object, "spec", "traefik"); ok {
			err = errors.Join(err, unstructured.SetNestedStringMap(o.Object, releases.Traefik.spec(), "spec", "traefik", "artifact"))
		}
		if !kernelNFS {
			more, e := adaptNFS(o)
			notes, err = append(notes, more...), errors.Join(err, e)
		}
	}
	return notes, err
}

func (a Artifact) spec() map[string]string {
	return map[string]string{"url": a.URL, "sha256": a.SHA256, "member": a.Member}
}

func adaptNFS(o *unstructured.Unstructured) (notes []string, err error) {
	if _, ok, _ := unstructured.NestedMap(o.Object, "spec", "nfs"); ok {
		err = unstructured.SetNestedField(o.Object, "Ganesha", "spec", "nfs", "server")
		notes = append(notes, o.GetName()+" is served by Ganesha: this kernel has no NFS")
	}
	if _, ok, _ := unstructured.NestedSlice(o.Object, "spec", "nfsMounts"); ok {
		unstructured.RemoveNestedField(o.Object, "spec", "nfsMounts")
		notes = append(notes, o.GetName()+" mounts nothing over NFS: this kernel has no NFS")
	}
	return notes, err
}
