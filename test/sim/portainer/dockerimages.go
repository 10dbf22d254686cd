// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/volume"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func (m *Memory) apiImages(r *http.Request) (any, error) {
	args, err := filtersOf(r)
	if err != nil {
		return nil, err
	}
	out := []image.Summary{}
	for _, one := range m.Images() {
		tags := familiars(one.Tags)
		if args.Contains("dangling") && args.ExactMatch("dangling", "true") != (len(tags) == 0) || !args.MatchKVList("label", one.Labels) {
			continue
		}
		if patterns := args.Get("reference"); len(patterns) > 0 {
			tags = slices.DeleteFunc(tags, func(tag string) bool {
				return !slices.ContainsFunc(patterns, func(p string) bool { return like(tag, p) })
			})
			if len(tags) == 0 {
				continue
			}
		}
		out = append(out, image.Summary{
			ID: one.ID, RepoTags: tags, RepoDigests: familiars(one.Digests), Created: one.Created.Unix(), Size: one.Size, Labels: one.Labels, Containers: -1, SharedSize: -1,
		})
	}
	return out, nil
}

// like says whether a name with a tag fits a pattern, which may have none.
func like(tag, pattern string) bool {
	named, err := reference.ParseNormalizedNamed(tag)
	if err != nil {
		return false
	}
	hit, err := reference.FamiliarMatch(pattern, named)
	return err == nil && hit
}

func familiars(names []string) []string {
	out := []string{}
	for _, name := range names {
		out = append(out, familiar(name))
	}
	return out
}

// named cuts the last part of a path off, which says what is asked of an image.
func named(r *http.Request, what string) (string, error) {
	name, found := strings.CutSuffix(r.PathValue("name"), "/"+what)
	if !found {
		return "", notFound("page not found")
	}
	return name, nil
}

func (m *Memory) apiImage(r *http.Request) (any, error) {
	name, err := named(r, "json")
	if err != nil {
		return nil, err
	}
	one, err := m.Image(name)
	if err != nil {
		return nil, err
	}
	config := &dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Entrypoint: one.Entrypoint, Cmd: one.Command, Env: one.Env, Labels: one.Labels}}
	return image.InspectResponse{
		ID: one.ID, RepoTags: familiars(one.Tags), RepoDigests: familiars(one.Digests), Created: one.Created.UTC().Format(time.RFC3339Nano),
		Size: one.Size, Os: "linux", Architecture: "amd64", Config: config,
	}, nil
}

func (m *Memory) apiImagePull(r *http.Request) (any, error) {
	name, tag := r.URL.Query().Get("fromImage"), r.URL.Query().Get("tag")
	switch {
	case name == "":
		return nil, badRequest("fromSrc is not simulated")
	case strings.HasPrefix(tag, "sha256:"):
		name += "@" + tag
	case tag != "":
		name += ":" + tag
	}
	before, _ := m.Image(name)
	one, err := m.Pull(r.Context(), name)
	if err != nil {
		return nil, err
	}
	words := "Downloaded newer image for "
	if before.ID == one.ID {
		words = "Image is up to date for "
	}
	return stream{map[string]string{"status": "Pulling from " + name}, map[string]string{"status": "Status: " + words + familiar(name)}}, nil
}

func (m *Memory) apiImageLoad(r *http.Request) (any, error) {
	names, err := m.Load(r.Body)
	if err != nil {
		return nil, err
	}
	out := stream{}
	for _, name := range names {
		words := "Loaded image: "
		if strings.HasPrefix(name, "sha256:") {
			words = "Loaded image ID: "
		}
		out = append(out, map[string]string{"stream": words + name + "\n"})
	}
	return out, nil
}

func (m *Memory) apiImageTag(r *http.Request) (any, error) {
	source, err := named(r, "tag")
	if err != nil {
		return nil, err
	}
	target := r.URL.Query().Get("repo")
	if tag := r.URL.Query().Get("tag"); tag != "" {
		target += ":" + tag
	}
	return status(http.StatusCreated), m.Tag(source, target)
}

func (m *Memory) apiImageRemove(r *http.Request) (any, error) {
	lines, err := m.RemoveImage(r.PathValue("name"), flag(r, "force"))
	if err != nil {
		return nil, err
	}
	out := []image.DeleteResponse{}
	for _, line := range lines {
		what, of, _ := strings.Cut(line, ": ")
		if what == "Deleted" {
			out = append(out, image.DeleteResponse{Deleted: of})
		} else {
			out = append(out, image.DeleteResponse{Untagged: of})
		}
	}
	return out, nil
}

func (m *Memory) apiDistribution(r *http.Request) (any, error) {
	name, err := named(r, "json")
	if err != nil {
		return nil, err
	}
	full, err := fullName(name)
	if err != nil {
		return nil, err
	}
	one, err := m.opts.Registry.find(r.Context(), full)
	if err != nil {
		return nil, err
	}
	return registry.DistributionInspect{
		Descriptor: ocispec.Descriptor{MediaType: "application/vnd.docker.distribution.manifest.v2+json", Digest: digest.Digest(one.Digests[0]), Size: 528},
		Platforms:  []ocispec.Platform{{Architecture: "amd64", OS: "linux"}},
	}, nil
}

func (m *Memory) apiVolumes(r *http.Request) (any, error) {
	args, err := filtersOf(r)
	if err != nil {
		return nil, err
	}
	out := volume.ListResponse{Volumes: []*volume.Volume{}}
	for _, v := range m.Volumes() {
		if args.MatchKVList("label", v.Labels) && args.Match("name", v.Name) {
			out.Volumes = append(out.Volumes, m.volumeAnswer(v))
		}
	}
	return out, nil
}

func (m *Memory) volumeAnswer(v Volume) *volume.Volume {
	return &volume.Volume{
		Name: v.Name, Driver: "local", Scope: "local", Labels: v.Labels, CreatedAt: v.Created.UTC().Format(time.RFC3339),
		Mountpoint: m.opts.RootDir + "/volumes/" + v.Name + "/_data",
	}
}

func (m *Memory) apiVolume(r *http.Request) (any, error) {
	for _, v := range m.Volumes() {
		if v.Name == r.PathValue("name") {
			return m.volumeAnswer(v), nil
		}
	}
	return nil, notFound("get %s: no such volume", r.PathValue("name"))
}

func (m *Memory) apiVolumeCreate(r *http.Request) (any, error) {
	var asked volume.CreateOptions
	if err := decode(r, &asked); err != nil {
		return nil, badRequest("%v", err)
	}
	if asked.Name == "" {
		return nil, badRequest("a volume without a name is not simulated")
	}
	if err := m.CreateVolume(asked.Name, asked.Labels); err != nil {
		return nil, err
	}
	r.SetPathValue("name", asked.Name)
	out, err := m.apiVolume(r)
	return created{out}, err
}

func (m *Memory) apiVolumeRemove(r *http.Request) (any, error) {
	return status(http.StatusNoContent), m.RemoveVolume(r.PathValue("name"))
}

func (m *Memory) apiNetworks(r *http.Request) (any, error) {
	args, err := filtersOf(r)
	if err != nil {
		return nil, err
	}
	out := []network.Summary{}
	for _, n := range m.Networks() {
		if args.MatchKVList("label", n.Labels) && args.Match("name", n.Name) {
			out = append(out, network.Summary{Name: n.Name, ID: n.ID, Driver: n.Driver, Labels: n.Labels, Scope: "local", Created: n.Created})
		}
	}
	return out, nil
}

func (m *Memory) apiNetworkRemove(r *http.Request) (any, error) {
	name := r.PathValue("name")
	for _, n := range m.Networks() {
		if n.ID == name {
			name = n.Name
		}
	}
	return status(http.StatusNoContent), m.RemoveNetwork(name)
}
