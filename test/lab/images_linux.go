// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/phoenix-hypervisor/phoenix/test/lab/image"
	"github.com/phoenix-hypervisor/phoenix/test/lab/registry"
)

// Image is a container image at the lab's mirror. It bears the name of one that the world has, and stands for it.
type Image struct {
	// Name with its tag.
	Name string
	// URL of the archive, for machines, and SHA256 of what it gives.
	URL, SHA256 string
	// ID is that by which engines know it, Digest that by which registries do: sha256:...
	ID, Digest string
}

// The images of the lab. All hold programs of this repository, WhoamiImage and NewWhoamiImage the same one; PortainerImage has
// the real /docker-compose beside its own.
const (
	PortainerImage = "portainer/portainer-ce:2.23.0"
	AgentImage     = "portainer/agent:2.23.0"
	WhoamiImage    = "traefik/whoami:v1.10"
	NewWhoamiImage = "traefik/whoami:v1.11"
)

// Image returns an image by its name. The first call for one makes it, which takes some seconds: its program is compiled from
// the checkout.
func (l *Lab) Image(ctx context.Context, name string) (Image, error) {
	i, err := l.registry.Find(ctx, name)
	if err != nil {
		return Image{}, err
	}
	return Image{Name: name, URL: RegistryMirror + registry.ArchivePath(name), SHA256: i.SHA256, ID: i.ID, Digest: i.Digest}, nil
}

// TagImage gives an image another name at the lab's registry, as when its makers release it under that: who pulls that name
// from now on gets this image. Archives keep the name that is in them.
func (l *Lab) TagImage(name, of string) error { return l.registry.Tag(name, of) }

// LoadImage has the Docker engine of a machine load an image, under its own name.
func (l *Lab) LoadImage(ctx context.Context, vmid int, name string) error {
	i, err := l.registry.Find(ctx, name)
	if err != nil {
		return err
	}
	f, err := os.Open(i.Archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	r, err := l.ExecInput(ctx, vmid, f, "docker", "load", "-q")
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
	}
	if err != nil {
		return fmt.Errorf("load image %s in machine %d: %w", name, vmid, err)
	}
	return nil
}

// addImages says how the images are made.
func (l *Lab) addImages() {
	portainer, whoami := l.program(image.Portainer), l.program(image.Whoami)
	tmp := map[string]fs.FileMode{"tmp": 0o777 | fs.ModeSticky}
	l.addImage(PortainerImage, "portainer", portainer, registry.Spec{
		Files: map[string]string{"docker-compose": l.images.Compose}, Dirs: tmp, Ports: []string{"8000/tcp", "9443/tcp"},
	})
	l.addImage(AgentImage, "agent", portainer, registry.Spec{Dirs: tmp, Ports: []string{"9001/tcp"}})
	for _, name := range []string{WhoamiImage, NewWhoamiImage} {
		l.addImage(name, "whoami", whoami, registry.Spec{Ports: []string{"80/tcp"}})
	}
}

// program compiles a program of the checkout, once.
func (l *Lab) program(pkg string) (compile func() (string, error)) {
	return sync.OnceValues(func() (string, error) {
		path := filepath.Join(l.dir, "programs", filepath.Base(pkg))
		return path, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), image.Compile(l.ctx, l.options.Root, pkg, path))
	})
}

// addImage adds an image that runs one program, which is the file of the given name in it.
func (l *Lab) addImage(name, file string, compile func() (string, error), s registry.Spec) {
	s.Entrypoint, s.Labels = []string{"/" + file}, map[string]string{"org.opencontainers.image.ref.name": name}
	pack := func() (*registry.Image, error) {
		path, err := compile()
		if err != nil {
			return nil, err
		}
		files := map[string]string{file: path}
		maps.Copy(files, s.Files)
		spec := s
		spec.Files = files
		return registry.Pack(filepath.Join(l.dir, "images", strings.NewReplacer("/", "-", ":", "-").Replace(name)), name, spec)
	}
	l.registry.Add(name, func(context.Context) (i *registry.Image, err error) {
		done := make(chan struct{})
		l.running.Go(func() { // the lab does not end while this writes in its folder
			defer close(done)
			i, err = pack()
		})
		<-done
		return i, err
	})
}
