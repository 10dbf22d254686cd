// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	docker "github.com/docker/docker/client"
)

// ImageInfo is an image that an engine has.
type ImageInfo struct {
	ID      string
	Names   []string // with their tags: nginx:1.27
	Digests []string // NAME@sha256:..., of what was pulled
}

// Image looks for an image by name or ID. found is false when the engine does not have it; that is not an error.
func (e *Engine) Image(ctx context.Context, ref string) (info ImageInfo, found bool, err error) {
	if _, err := reference.ParseAnyReference(ref); err != nil {
		return ImageInfo{}, false, e.failed(fmt.Sprintf("look for image %q", ref), invalid(err.Error()))
	}
	var seen image.InspectResponse
	failed := e.do(ctx, false, func(ctx context.Context, library *docker.Client) (err error) {
		seen, err = library.ImageInspect(ctx, ref)
		return err
	})
	switch {
	case failed == nil:
		return ImageInfo{ID: seen.ID, Names: seen.RepoTags, Digests: seen.RepoDigests}, true, nil
	case failed.Kind == NotFound && failed.engine:
		return ImageInfo{}, false, nil
	}
	return ImageInfo{}, false, e.failed("look for image "+ref, failed)
}

// Images lists all images with a name or a digest, sorted by ID.
func (e *Engine) Images(ctx context.Context) ([]ImageInfo, error) {
	var found []image.Summary
	failed := e.do(ctx, false, func(ctx context.Context, library *docker.Client) (err error) {
		found, err = library.ImageList(ctx, image.ListOptions{})
		return err
	})
	if failed != nil {
		return nil, e.failed("list images", failed)
	}
	out := make([]ImageInfo, 0, len(found))
	for _, f := range found {
		out = append(out, ImageInfo{ID: f.ID, Names: named(f.RepoTags, "<none>:<none>"), Digests: named(f.RepoDigests, "<none>@<none>")})
	}
	slices.SortFunc(out, func(a, b ImageInfo) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// named drops what engines before 24 say of an image without a name.
func named(names []string, none string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return name == none })
}

// Pull pulls an image, in the time that the context allows. The error is Failed or NotFound with the engine's words when
// the registry does not have it, or does not answer. An engine that dies meanwhile may go unnoticed: look for the image.
func (e *Engine) Pull(ctx context.Context, ref string) error {
	if _, err := reference.ParseNormalizedNamed(ref); err != nil {
		return e.failed(fmt.Sprintf("pull image %q", ref), invalid(err.Error()))
	}
	failed := e.do(ctx, true, func(ctx context.Context, library *docker.Client) error {
		progress, err := library.ImagePull(context.WithValue(ctx, streamed{}, true), ref, image.PullOptions{})
		if err != nil {
			return err
		}
		defer progress.Close()
		return follow(progress)
	})
	if failed != nil {
		return e.failed("pull image "+ref, failed)
	}
	return nil
}

// follow reads what an engine reports of a pull to its end.
func follow(progress io.Reader) error {
	for lines := json.NewDecoder(progress); ; {
		var line struct {
			Error       string `json:"error"`
			ErrorDetail struct {
				Message string `json:"message"`
			} `json:"errorDetail"`
		}
		err := lines.Decode(&line)
		switch words := cmp.Or(line.ErrorDetail.Message, line.Error); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case words != "":
			return &Error{Kind: Failed, Status: http.StatusOK, Message: words, engine: true}
		}
	}
}

// Volume is a volume that compose made.
type Volume struct {
	Name  string // at the engine: web_data
	Short string // in the text: data
}

// Volumes lists the volumes of a compose project, sorted by name.
func (e *Engine) Volumes(ctx context.Context, project string) ([]Volume, error) {
	if project == "" {
		return nil, e.failed("list volumes", invalid("a project has a name"))
	}
	var found volume.ListResponse
	failed := e.do(ctx, false, func(ctx context.Context, library *docker.Client) (err error) {
		found, err = library.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelProject+"="+project))})
		return err
	})
	if failed != nil {
		return nil, e.failed("list volumes of project "+project, failed)
	}
	var out []Volume
	for _, f := range found.Volumes {
		if f != nil && f.Labels[labelProject] == project {
			out = append(out, Volume{Name: f.Name, Short: f.Labels[labelVolume]})
		}
	}
	slices.SortFunc(out, func(a, b Volume) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// RemoveVolume removes a volume and what is in it. The error is Conflict while a container uses it, NotFound when it is
// gone.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	if !ids.MatchString(name) {
		return e.failed(fmt.Sprintf("remove volume %q", name), invalid("that is no volume's name"))
	}
	failed := e.do(ctx, true, func(ctx context.Context, library *docker.Client) error {
		return library.VolumeRemove(ctx, name, false)
	})
	if failed != nil {
		return e.failed("remove volume "+name, failed)
	}
	return nil
}
