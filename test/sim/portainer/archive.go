// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"time"
)

// archived is manifest.json of docker save.
type archived []struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// imageConfig is the configuration of an image, as far as containers need it.
type imageConfig struct {
	Created time.Time `json:"created"`
	Config  struct {
		Entrypoint, Cmd, Env []string
		Labels               map[string]string
		Healthcheck          *struct{ Test []string }
	} `json:"config"`
}

// maxSmall bounds the files of an archive that are read; layers are not.
const maxSmall = 1 << 20

// Load takes in what docker save wrote, packed by gzip or not, and gives the
// names of the images; one without a name gives its ID. The ID is the hash of
// the configuration, as for a real engine.
func (m *Memory) Load(r io.Reader) (names []string, err error) {
	if err := m.awake(); err != nil {
		return nil, err
	}
	files, size, err := unpack(r)
	if err != nil {
		return nil, err
	}
	text, there := files["manifest.json"]
	if !there {
		return nil, errors.New("open manifest.json: no such file or directory")
	}
	var list archived
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	for _, one := range list {
		config, there := files[path.Clean(one.Config)]
		if !there {
			return nil, fmt.Errorf("open %s: no such file or directory", one.Config)
		}
		image, err := readConfig(config)
		if err != nil {
			return nil, err
		}
		image.Size = size
		if err := m.keep(image, one.RepoTags...); err != nil {
			return nil, err
		}
		names = append(names, one.RepoTags...)
		if len(one.RepoTags) == 0 {
			names = append(names, image.ID)
		}
	}
	return names, nil
}

// unpack reads the small files of an archive.
func unpack(r io.Reader) (files map[string][]byte, size int64, err error) {
	buffered := bufio.NewReader(r)
	r = buffered
	if magic, _ := buffered.Peek(2); string(magic) == "\x1f\x8b" {
		if r, err = gzip.NewReader(buffered); err != nil {
			return nil, 0, err
		}
	}
	files = map[string][]byte{}
	archive := tar.NewReader(r)
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, size, nil
		}
		if err != nil {
			return nil, 0, err
		}
		size += head.Size
		if head.Typeflag != tar.TypeReg || head.Size > maxSmall {
			continue
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return nil, 0, err
		}
		files[path.Clean(head.Name)] = content
	}
}

func readConfig(text []byte) (Image, error) {
	var c imageConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return Image{}, err
	}
	sum := sha256.Sum256(text)
	return Image{
		ID: "sha256:" + hex.EncodeToString(sum[:]), Created: c.Created,
		Entrypoint: c.Config.Entrypoint, Command: c.Config.Cmd, Env: c.Config.Env, Labels: c.Config.Labels,
		Healthcheck: c.Config.Healthcheck != nil && len(c.Config.Healthcheck.Test) > 0 && c.Config.Healthcheck.Test[0] != "NONE",
	}, nil
}
