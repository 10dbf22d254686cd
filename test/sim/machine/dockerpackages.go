// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// dockerSection is a part of the URL of Docker's own repository, and of its mirrors.
const dockerSection = "docker"

// dockerPackages are Debian's engine, and Docker's own. Docker's own need an apt
// source whose URL holds the word docker.
func dockerPackages() map[string]Package {
	const debian, docker, containerd = "20.10.24+dfsg1-1+deb12u1+b6", "5:28.5.2-1~debian.12~bookworm", "1.7.28-1~debian.12~bookworm"
	group := []string{"groupadd", "-f", "--system", "docker"}
	idle := service("containerd", "containerd container runtime", "ExecStart=/usr/bin/containerd\nType=notify\nDelegate=yes\nKillMode=process\nRestart=always\nRestartSec=5")
	return map[string]Package{
		"runc": {Version: "1.1.5+ds1-1+deb12u1", Files: []PackageFile{binary("/usr/sbin/runc")}}, "iptables": {Version: "1.8.9-2"}, "tini": {Version: "0.19.0-1+b3"},
		"containerd": {
			Version: "1.6.20~ds1-1+deb12u3", Depends: []string{"runc"}, Starts: []string{"containerd.service"},
			Files: []PackageFile{binary("/usr/bin/containerd"), idle},
		},
		"docker.io": {
			Version: debian, Depends: []string{"containerd", "runc", "iptables", "tini"}, Programs: []string{"docker", "dockerd"}, Configure: group,
			Starts: []string{"docker.socket", "docker.service"}, Files: []PackageFile{
				binary("/usr/bin/docker"), binary("/usr/sbin/dockerd"), {Path: "/etc/docker/"}, dockerSocketUnit,
				{Path: "/etc/default/docker", Conf: true, Text: "# Here in Debian, this file is sourced by:\n#   - systemd's docker.service\n\n# Use of this file for configuring your Docker daemon is discouraged.\n"},
				dockerService("/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS",
					"EnvironmentFile=-/etc/default/docker\nRestart=on-failure\nStartLimitBurst=3\nStartLimitInterval=60s\n"),
			},
		},
		"containerd.io": {
			Version: containerd, Origin: dockerSection, Conflicts: []string{"containerd", "runc"}, Starts: []string{"containerd.service"},
			Files: []PackageFile{binary("/usr/bin/containerd"), binary("/usr/bin/runc"), idle},
		},
		"docker-ce-cli": {Version: docker, Origin: dockerSection, Conflicts: []string{"docker.io"}, Programs: []string{"docker"}, Files: []PackageFile{binary("/usr/bin/docker")}},
		"docker-ce": {
			Version: docker, Origin: dockerSection, Depends: []string{"containerd.io", "docker-ce-cli", "iptables"}, Conflicts: []string{"docker.io"}, Programs: []string{"dockerd"},
			Configure: group, Starts: []string{"docker.socket", "docker.service"}, Files: []PackageFile{
				binary("/usr/bin/dockerd"), {Path: "/etc/docker/"}, dockerSocketUnit,
				dockerService("/usr/bin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock", "Restart=always\nRestartSec=2\n"),
			},
		},
	}
}

var dockerSocketUnit = PackageFile{
	Path: "/usr/lib/systemd/system/docker.socket",
	Text: "[Unit]\nDescription=Docker Socket for the API\n\n[Socket]\n# If /var/run is not implemented as a symlink to /run, you may need to\n# specify ListenStream=/var/run/docker.sock instead.\n" +
		"ListenStream=/run/docker.sock\nSocketMode=0660\nSocketUser=root\nSocketGroup=docker\n\n[Install]\nWantedBy=sockets.target\n",
}

func dockerService(start, settings string) PackageFile {
	return PackageFile{
		Path: "/usr/lib/systemd/system/docker.service",
		Text: "[Unit]\nDescription=Docker Application Container Engine\nDocumentation=https://docs.docker.com\nAfter=network-online.target docker.socket firewalld.service containerd.service\n" +
			"Wants=network-online.target containerd.service\nRequires=docker.socket\n\n[Service]\nType=notify\nExecStart=" + start + "\nExecReload=/bin/kill -s HUP $MAINPID\n" +
			"LimitNOFILE=1048576\nTimeoutStartSec=0\nDelegate=yes\nKillMode=process\n" + settings + "\n[Install]\nWantedBy=multi-user.target\n",
	}
}

// dockerRelease is the version of the installed engine; old tells that it is the
// 20.10 of Debian.
func (m *Machine) dockerRelease() (version string, old bool) {
	if m.hasPackage("docker-ce") {
		version = m.packageRecord("docker-ce").Version
		version, _, _ = strings.Cut(strings.TrimPrefix(version, "5:"), "-")
		return version, false
	}
	return "20.10.24+dfsg1", true
}

// ImageArchive is what docker save writes of an image with one name, and its
// SHA-256 in lower-case hex. Other content makes another image.
func ImageArchive(name, content string) (archive []byte, sum string) {
	config := must(json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z", "config": map[string]any{"Entrypoint": []string{"/app"}, "Labels": map[string]string{"content": content}},
	}))
	id := fmt.Sprintf("%x", sha256.Sum256(config))
	manifest := must(json.Marshal([]any{map[string]any{"Config": id + ".json", "RepoTags": []string{name}, "Layers": []string{id + "/layer.tar"}}}))
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, file := range []struct {
		name string
		text []byte
	}{{id + ".json", config}, {id + "/layer.tar", []byte(content)}, {"manifest.json", manifest}} {
		_ = w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.text))}) // a buffer takes all
		_ = must(w.Write(file.text))
	}
	_ = w.Close() // a buffer takes all
	return out.Bytes(), fmt.Sprintf("%x", sha256.Sum256(out.Bytes()))
}

// must is for what cannot fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// DockerHub is a registry with what the reference site pulls: Portainer and its
// agent, and small servers for stacks.
func DockerHub() *portainer.Registry {
	r := portainer.NewRegistry(nil)
	for name, entrypoint := range map[string]string{
		"portainer/portainer-ce:2.23.0": "/portainer", "portainer/agent:2.23.0": "./agent",
		"traefik/whoami:v1.10": "/whoami", "traefik/whoami:v1.11": "/whoami", "nginx:1.27": "/docker-entrypoint.sh",
	} {
		image := portainer.NewImage(name)
		image.Entrypoint, image.Size = []string{entrypoint}, 40<<20
		r.Push(name, image)
	}
	return r
}
