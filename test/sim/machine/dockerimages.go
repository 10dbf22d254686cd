// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/distribution/reference"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// imageName reads the name of an image; the error is docker's.
func imageName(name string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		if strings.Contains(err.Error(), "must be lowercase") {
			return nil, errors.New("invalid reference format: repository name must be lowercase")
		}
		return nil, reference.ErrReferenceInvalidFormat
	}
	return reference.TagNameOnly(named), nil
}

func dockerPull(ctx context.Context, c *dockerCall) int {
	named, err := imageName(c.args[0])
	if err != nil {
		return c.fail(err)
	}
	m, err := c.memory()
	if err != nil {
		return c.fail(err)
	}
	if bare, err := reference.ParseNormalizedNamed(c.args[0]); err == nil && reference.IsNameOnly(bare) && !c.has("q") {
		c.Printf("Using default tag: latest\n")
	}
	if err := c.pull(ctx, m, named, c.has("q"), c.Stdout); err != nil {
		return c.fail(err)
	}
	c.Printf("%s\n", named)
	return 0
}

// pull pulls an image and tells how it goes.
func (c *dockerCall) pull(ctx context.Context, m *portainer.Memory, named reference.Named, quiet bool, out io.Writer) error {
	name := reference.FamiliarString(named)
	before, _ := m.Image(name) // it need not be there
	image, err := m.Pull(ctx, name)
	if err != nil || quiet {
		return err
	}
	what := reference.Path(named)
	if tagged, ok := named.(reference.Tagged); ok {
		what = tagged.Tag() + ": Pulling from " + what
	} else {
		what = named.String() + ": Pulling from " + what
	}
	fmt.Fprintln(out, what)
	status := "Image is up to date"
	if before.ID != image.ID {
		layer := strings.TrimPrefix(image.ID, "sha256:")[20:32]
		fmt.Fprintf(out, "%s: Pulling fs layer\n%[1]s: Verifying Checksum\n%[1]s: Download complete\n%[1]s: Pull complete\n", layer)
		status = "Downloaded newer image"
	}
	for _, digest := range image.Digests {
		if repository, sum, _ := strings.Cut(digest, "@"); repository == named.Name() {
			fmt.Fprintf(out, "Digest: %s\n", sum)
			break
		}
	}
	fmt.Fprintf(out, "Status: %s for %s\n", status, name)
	return nil
}

func dockerLoad(_ context.Context, c *dockerCall) int {
	var text string
	var err error
	if name := c.last("i", ""); name != "" {
		if text, err = c.M.readFile(c.abs(name)); err != nil {
			fmt.Fprintf(c.Stderr, "open %s: %v\n", name, err)
			return 1
		}
	} else if text, err = c.input(); err != nil {
		return c.fail(err)
	}
	d, err := c.engine()
	if err != nil {
		return c.fail(err)
	}
	before := imagesByTag(d.engine.memory)
	names, err := d.engine.memory.Load(strings.NewReader(text))
	if err != nil {
		fmt.Fprintln(c.Stderr, loadError(d.config().DataRoot, text, err))
		return 1
	}
	after := imagesByTag(d.engine.memory)
	for _, name := range names {
		if named, err := imageName(name); err == nil && !strings.HasPrefix(name, "sha256:") {
			if old := before[named.String()]; old != "" && old != after[named.String()] {
				c.Printf("The image %s already exists, renaming the old one with ID %s to empty string\n", reference.FamiliarString(named), old)
			}
			c.Printf("Loaded image: %s\n", reference.FamiliarString(named))
			continue
		}
		c.Printf("Loaded image ID: %s\n", name)
	}
	return 0
}

func imagesByTag(m *portainer.Memory) map[string]string {
	out := map[string]string{}
	for _, image := range m.Images() {
		for _, tag := range image.Tags {
			out[tag] = image.ID
		}
	}
	return out
}

// loadError words what is wrong with an archive as 20.10 does.
func loadError(root, text string, err error) string {
	_, broken := tar.NewReader(strings.NewReader(text)).Next()
	switch {
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF), text != "" && broken != nil && !errors.Is(broken, io.EOF):
		return "Error processing tar file(exit status 1): unexpected EOF"
	case strings.HasPrefix(err.Error(), "open manifest.json"):
		return "open " + path.Join(root, "tmp/docker-import-1542613809/repositories") + ": no such file or directory"
	}
	return err.Error()
}

func dockerTag(_ context.Context, c *dockerCall) int {
	target, err := imageName(c.args[1])
	if err != nil {
		fmt.Fprintf(c.Stderr, "Error parsing reference: %q is not a valid repository/tag: %v\n", c.args[1], err)
		return 1
	}
	m, err := c.memory()
	if err == nil {
		err = m.Tag(c.args[0], target.String())
	}
	if err != nil {
		return c.fail(err)
	}
	return 0
}

func dockerImageRemove(_ context.Context, c *dockerCall) int {
	return c.each(plain, func(m *portainer.Memory, name string) (string, error) {
		lines, err := m.RemoveImage(name, c.has("f"))
		return strings.Join(lines, "\n"), err
	})
}

// dockerImages lists images, one line a name.
func dockerImages(_ context.Context, c *dockerCall) int {
	m, err := c.memory()
	if err != nil {
		return c.fail(err)
	}
	var rows []row
	for _, image := range m.Images() {
		tags := image.Tags
		if len(tags) == 0 {
			tags = []string{""}
		}
		for _, tag := range tags {
			if one := c.imageRow(image, tag); one != nil {
				rows = append(rows, one)
			}
			if c.has("q") {
				break
			}
		}
	}
	columns := []column{{"Repository", "REPOSITORY"}, {"Tag", "TAG"}, {"ID", "IMAGE ID"}, {"CreatedSince", "CREATED"}, {"Size", "SIZE"}}
	if c.has("digests") {
		columns = append(columns[:2:2], append([]column{{"Digest", "DIGEST"}}, columns[2:]...)...)
	}
	return c.table(rows, columns)
}

// imageRow is a line of the list; nil when it was not asked for.
func (c *dockerCall) imageRow(image portainer.Image, tag string) row {
	repository, version, digest := "<none>", "<none>", "<none>"
	named, err := reference.ParseNormalizedNamed(tag)
	if err == nil {
		repository = reference.FamiliarName(named)
		if tagged, ok := named.(reference.Tagged); ok {
			version = tagged.Tag()
		}
	}
	for _, one := range image.Digests {
		if name, sum, _ := strings.Cut(one, "@"); named == nil || name == named.Name() {
			digest = sum
			if other, err := reference.ParseNormalizedNamed(name); named == nil && err == nil {
				repository = reference.FamiliarName(other)
			}
		}
	}
	if len(c.args) > 0 && c.args[0] != repository && c.args[0] != repository+":"+version {
		return nil
	}
	id := image.ID
	if !c.has("no-trunc") {
		id = shortID(id)
	}
	return row{
		"Repository": repository, "Tag": version, "ID": id, "Digest": digest, "CreatedSince": c.since(image.Created) + " ago", "Size": size(image.Size),
		"CreatedAt": image.Created.UTC().Format("2006-01-02 15:04:05 -0700 MST"), "Containers": "N/A", "SharedSize": "N/A", "UniqueSize": "N/A", "VirtualSize": size(image.Size),
	}
}

func shortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}
