// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"archive/tar"
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// savedImage is what docker save writes of an image.
func savedImage(t *testing.T, name, content string) (archive []byte, id string) {
	t.Helper()
	config := `{"config":{"Entrypoint":["/app"],"Labels":{"content":"` + content + `"}},"created":"2026-01-01T00:00:00Z"}`
	sum := fullHash([]byte(config))
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range [][2]string{
		{sum + ".json", config}, {"1/layer.tar", "a layer"},
		{"manifest.json", `[{"Config":"` + sum + `.json","RepoTags":["` + name + `"],"Layers":["1/layer.tar"]}]`},
	} {
		err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))})
		if _, more := w.Write([]byte(f[1])); err != nil || more != nil {
			t.Fatal(err, more)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), "sha256:" + sum
}

// aptSourceOf is a source of apt, with the key that signs it.
func aptSourceOf(url string) []byte {
	return []byte("Types: deb\nURIs: " + url + "\nSuites: bookworm\nComponents: stable\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEZ\n -----END PGP PUBLIC KEY BLOCK-----\n")
}

// dockerEngine is an engine from a source of its own, with a configuration and
// a drop-in for its unit.
func dockerEngine(url string) State {
	changed := []Trigger{{"docker.service", Restart}}
	return State{
		Packages: []string{"docker-ce"},
		Files: []File{
			{Path: "/etc/apt/sources.list.d/docker.sources", Early: true, Content: aptSourceOf(url)},
			{Path: "/etc/docker/daemon.json", Content: []byte(`{"data-root": "/srv/docker"}` + "\n"), Replaces: true, Triggers: changed},
			{Path: "/etc/systemd/system/docker.service.d/phoenix.conf", Content: []byte("[Unit]\nRequiresMountsFor=/srv/docker\n"), Triggers: changed},
		},
		Units:  []Unit{{Name: "docker.service", Enabled: true, Running: true}},
		Probes: []Probe{{Name: "engine", Argv: []string{"docker", "info", "--format", "{{.DockerRootDir}}"}, Want: "/srv/docker"}},
	}
}

// TestDocker brings an engine whose packages no other source has, and images
// into it, and takes all of it away again.
func TestDocker(t *testing.T) {
	w := newWorld(t)
	w.sh("apt-get update")
	engine, images := *w, *w
	images.owner = "home/HostService/default/images"
	archive, id := savedImage(t, "lab/app:1", "one")
	w.web.Put(mirror+"1.tar", archive)
	want := State{Images: []Image{{Name: "portainer/agent:2.23.0"}, {Name: "lab/app:1", Archive: &Archive{URL: mirror + "1.tar", SHA256: fullHash(archive)}}}}
	var failed *ImageError
	if err := images.settle(want, images.planner(want)); !errors.As(err, &failed) || !failed.NoEngine {
		t.Errorf("there is no engine yet: %v", err)
	}
	without := dockerEngine("https://mirror.lan/other")
	if broken := until[*JobError](&engine, without); !strings.Contains(broken.Error(), "docker-ce") {
		t.Errorf("a source without the packages: %v", broken)
	}
	docker := dockerEngine("https://mirror.lan/docker/debian")
	engine.converge(docker)
	engine.quiet(docker)
	if got := w.sh("systemctl cat docker | grep RequiresMountsFor; systemctl show -p NeedDaemonReload --value docker"); strings.TrimSpace(got) != "RequiresMountsFor=/srv/docker\nno" {
		t.Errorf("the drop-in: %q", got)
	}
	images.converge(want)
	images.quiet(want)
	if got := w.sh("docker image inspect --format '{{.Id}}' lab/app:1"); got != id+"\n" {
		t.Errorf("lab/app:1 is %s, want %s", got, id)
	}
	agent := w.sh("docker image inspect --format '{{.Id}}' portainer/agent:2.23.0")
	w.sh("docker tag portainer/agent:2.23.0 lab/app:1; docker image rm portainer/agent:2.23.0")
	images.converge(want)
	images.quiet(want)
	if got := w.sh("docker image inspect --format '{{.Id}}' lab/app:1 portainer/agent:2.23.0"); got != id+"\n"+agent {
		t.Errorf("put right: %s", got)
	}
	second, id := savedImage(t, "lab/app:1", "two")
	w.web.Put(mirror+"2.tar", second)
	want.Images[1].Archive = &Archive{URL: mirror + "2.tar", SHA256: fullHash(second)}
	images.converge(want)
	images.quiet(want)
	if got := w.sh("docker image ls -q --no-trunc"); !strings.Contains(got, id) || strings.Count(got, "\n") != 2 {
		t.Errorf("another archive: %s", got)
	}
	wrong := State{Images: slices.Clone(want.Images)}
	wrong.Images[0].Name, wrong.Images[1].Name = "nobody/x", "lab/other:1"
	if err := images.settle(wrong, images.planner(wrong)); !errors.As(err, &failed) || failed.NoEngine || !strings.Contains(err.Error(), "pull access denied for nobody/x") {
		t.Errorf("%v", err)
	}
	wrong.Images = wrong.Images[1:]
	if err := images.settle(wrong, images.planner(wrong)); !errors.As(err, &failed) || err.Error() != "get image lab/other:1: the archive does not hold it; docker load: Loaded image: lab/app:1" {
		t.Errorf("%v", err)
	}
	w.sh("docker run -d --name mine lab/app:1")
	w.sh("systemctl stop docker")
	if _, err := images.pass(want, images.planner(want)); !errors.As(err, &failed) || err.Error() != "get image portainer/agent:2.23.0: no Docker engine: docker.service does not run" {
		t.Errorf("%v", err)
	}
	if got := w.sh("systemctl is-active docker"); got != "inactive\n" {
		t.Errorf("a look started the engine: %s", got)
	}
	engine.converge(docker)
	images.converge(want)
	images.clear()
	if got := w.sh("docker image ls --format '{{.Repository}}:{{.Tag}}'; docker rm -f mine"); got != "lab/app:1\nmine\n" {
		t.Errorf("what a container uses stays, and nothing else: %s", got)
	}
	engine.clear()
	if got := w.sh("ls /etc/docker /etc/apt/sources.list.d /etc/systemd/system /var/lib 2>/dev/null | grep -e phoenix -e daemon -e docker.s; dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n' | grep 'ii  docker-ce$'"); got != "" {
		t.Errorf("after the way back: %s", got)
	}
}
