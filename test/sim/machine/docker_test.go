// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

const (
	away    = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n"
	helpRun = "See 'docker run --help'.\n"
)

// engine is a machine with Docker.
func engine(t *testing.T, o machine.Options) *machine.Machine {
	t.Helper()
	o.Installed = append(o.Installed, "docker.io", "curl")
	if o.Registry == nil {
		o.Registry = machine.DockerHub()
	}
	return booted(t, o)
}

// saved is what docker save writes, and the ID of what is in it.
func saved(t *testing.T, tag, content string) (archive, id string) {
	t.Helper()
	body, _ := machine.ImageArchive(tag, content)
	header, err := tar.NewReader(bytes.NewReader(body)).Next()
	if err != nil {
		t.Fatal(err)
	}
	return string(body), "sha256:" + strings.TrimSuffix(header.Name, ".json")
}

// ask asks a port of a machine.
func ask(t *testing.T, m *machine.Machine, port int) (string, error) {
	t.Helper()
	conn, err := m.Dial(t.Context(), port)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
	answer, err := client.Get("http://machine/")
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

func TestDockerImages(t *testing.T) {
	m := engine(t, machine.Options{})
	one, first := saved(t, "lab/app:1", "one")
	two, second := saved(t, "lab/app:1", "two")
	for name, text := range map[string]string{"/srv/one.tar": one, "/srv/two.tar": two, "/srv/half.tar": one[:700], "/srv/junk": "junk\n", "/srv/empty": ""} {
		if err := m.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	whoami, digest := portainer.NewImage("traefik/whoami:v1.10").ID, ""
	if out := must(t, m, "docker pull traefik/whoami:v1.10 | grep Digest"); strings.HasPrefix(out, "Digest: sha256:") {
		digest = strings.TrimSpace(strings.TrimPrefix(out, "Digest: "))
	}
	const id = "docker image inspect --format '{{.Id}}' "
	play(t, m, []script{
		{"pulled", "docker pull traefik/whoami:v1.10", "", "v1.10: Pulling from traefik/whoami\nDigest: " + digest + "\nStatus: Image is up to date for traefik/whoami:v1.10\ndocker.io/traefik/whoami:v1.10\n", "", 0},
		{"pulled quietly", "docker pull -q traefik/whoami:v1.10", "", "docker.io/traefik/whoami:v1.10\n", "", 0},
		{"pulled by its digest", "docker pull -q traefik/whoami@" + digest + "; " + id + "traefik/whoami@" + digest, "", "docker.io/traefik/whoami@" + digest + "\n" + whoami + "\n", "", 0},
		{"a tag that the registry does not have", "docker pull -q traefik/whoami:v0", "", "", "Error response from daemon: manifest for traefik/whoami:v0 not found: manifest unknown: manifest unknown\n", 1},
		{"a repository that it does not have", "docker pull -q nobody/x", "", "", "Error response from daemon: pull access denied for nobody/x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied\n", 1},
		{"a name that is none", "docker pull Bad", "", "", "invalid reference format: repository name must be lowercase\n", 1},
		{"no name", "docker pull", "", "", "\"docker pull\" requires exactly 1 argument.\nSee 'docker pull --help'.\n\nUsage:  docker pull [OPTIONS] NAME[:TAG|@DIGEST]\n\nPull an image or a repository from a registry\n", 1},
		{"its ID", id + "traefik/whoami:v1.10", "", whoami + "\n", "", 0},
		{"one of two", id + "traefik/whoami:v1.10 nope:1", "", whoami + "\n", "Error: No such image: nope:1\n", 1},
		{"none", id + "nope", "", "\n", "Error: No such image: nope\n", 1},
		{"names as JSON", "docker image inspect -f '{{json .RepoTags}} {{len .RepoDigests}}' traefik/whoami:v1.10", "", "[\"traefik/whoami:v1.10\"] 1\n", "", 0},
		{"loaded", "docker load -i /srv/one.tar; " + id + "lab/app:1", "", "Loaded image: lab/app:1\n" + first + "\n", "", 0},
		{"loaded again, from the input", "docker load -q < /srv/one.tar", "", "Loaded image: lab/app:1\n", "", 0},
		{"another one of that name", "docker load -q -i /srv/two.tar; " + id + "lab/app:1", "", "The image lab/app:1 already exists, renaming the old one with ID " + first + " to empty string\nLoaded image: lab/app:1\n" + second + "\n", "", 0},
		{"no file", "docker load -i /srv/none", "", "", "open /srv/none: no such file or directory\n", 1},
		{"no archive", "docker load -i /srv/junk", "", "", "Error processing tar file(exit status 1): unexpected EOF\n", 1},
		{"nothing", "docker load -i /srv/empty 2>&1 | grep -c '/repositories: no such file or directory'", "", "1\n", "", 0},
		{"listed", "docker images --format '{{.Repository}}:{{.Tag}}' | sort", "", "<none>:<none>\nlab/app:1\ntraefik/whoami:v1.10\n", "", 0},
		{"one repository", "docker image ls lab/app | cut -c1-18; docker images nope", "", "REPOSITORY   TAG  \nlab/app      1    \nREPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n", "", 0},
		{"tagged and untagged", "docker tag lab/app:1 lab/app:2; docker image rm lab/app:2; docker image rm lab/app:2", "", "Untagged: lab/app:2\n", "Error: No such image: lab/app:2\n", 1},
		{"in use", "docker run -d --name w1 lab/app:1 >/dev/null; docker stop w1; docker image rm lab/app:1 2>&1 | sed 's/container [0-9a-f]*/container ID/'", "",
			"w1\nError response from daemon: conflict: unable to remove repository reference \"lab/app:1\" (must force) - container ID is using its referenced image " + second[7:19] + "\n", "", 0},
		{"removed", "docker rm w1; docker rmi lab/app:1", "", "w1\nUntagged: lab/app:1\nDeleted: " + second + "\n", "", 0},
	})
}

func TestDockerContainers(t *testing.T) {
	m := engine(t, machine.Options{Addresses: []netip.Addr{addr("10.0.0.102")}})
	if err := m.WriteFile("/srv/env", "# a comment\nX=5 6\nHOME\nNOBODY\n", 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, m, "docker pull -q traefik/whoami:v1.10; docker tag traefik/whoami:v1.10 lab/app:1; printf 'A B=1\\n' > /srv/bad")
	const conflict = "docker: Error response from daemon: Conflict. The container name \"/w1\" is already in use by container \"ID\". You have to remove (or rename) that container to be able to reuse that name.\n"
	play(t, m, []script{
		{"runs", "docker run -d --name w1 -p 8080:80 lab/app:1 web | wc -c; docker ps --format '{{.Names}} {{.Image}} {{.Command}} {{.Ports}}'", "", "65\nw1 lab/app:1 \"/whoami web\" 0.0.0.0:8080->80/tcp, :::8080->80/tcp\n", "", 0},
		{"answers", "curl -s http://10.0.0.102:8080/ http://localhost:8080", "", "w1\n", "", 0},
		{"its name is taken", "docker run --name w1 -d lab/app:1 2>&1 | sed 's/container \"[0-9a-f]*\"/container \"ID\"/'", "", conflict + helpRun, "", 0},
		{"its port is taken", "docker run --name w2 -d -p 8080:80 lab/app:1 2>&1 | sed -e 's/([0-9a-f]*)/(ID)/' -e 's/^[0-9a-f]*$/ID/'", "",
			"ID\ndocker: Error response from daemon: driver failed programming external connectivity on endpoint w2 (ID): Bind for 0.0.0.0:8080 failed: port is already allocated.\n", "", 0},
		{"made, and not started", "docker ps -a --format '{{.Names}} {{.Status}}' -f name=w2; docker rm w2", "", "w2 Created\nw2\n", "", 0},
		{"another program has the port", "docker run --name w2 -d -p 22:80 lab/app:1 >/dev/null; docker rm -f w2", "", "w2\n", "", 0},
		{"running ones stay", "docker rm w1 2>&1 | sed 's/[0-9a-f]\\{64\\}/ID/'", "", "Error response from daemon: You cannot remove a running container ID. Stop the container before attempting removal or force remove\n", "", 0},
		{"state", "docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.Name}}' w1", "", "running 0 /w1\n", "", 0},
		{"no such field", "docker inspect -f '{{.Frob}}' w1", "", "\n", "template parsing error: template: :1:2: executing \"\" at <.Frob>: map has no entry for key \"Frob\"\n", 1},
		{"no template", "docker inspect -f '{{.Frob' w1", "", "", "template parsing error: template: :1: unclosed action\n", 64},
		{"killed, and waited for", "docker kill w1; docker wait w1; docker inspect -f '{{.State.Status}}' w1; curl -s http://localhost:8080", "", "w1\n137\nexited\n", "", 7},
		{"started, restarted and stopped", "docker start w1; docker restart -t 1 w1; docker stop -t 1 w1 nope", "", "w1\nw1\nw1\n", "Error response from daemon: No such container: nope\n", 1},
		{"removed", "docker rm w1; docker ps -aq", "", "w1\n", "", 0},
		{"nothing to remove", "docker rm nope", "", "", "Error: No such container: nope\n", 1},
		{"nothing to remove by force", "docker rm -f nope", "", "", "Error: No such container: nope\n", 0},
		{"nothing to start", "docker start nope", "", "", "Error response from daemon: No such container: nope\nError: failed to start containers: nope\n", 1},
		{"nothing to look at", "docker inspect nope", "", "[]\n", "Error: No such object: nope\n", 1},
		{"no logs", "docker logs nope", "", "", "Error: No such container: nope\n", 1},
		{"an unknown filter", "docker ps -f frob=1", "", "", "Error response from daemon: Invalid filter 'frob'\n", 1},
		{"an operand too many", "docker ps extra", "", "", "\"docker ps\" accepts no arguments.\nSee 'docker ps --help'.\n\nUsage:  docker ps [OPTIONS]\n\nList containers\n", 1},
		{"an empty list", "docker ps", "", "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n", "", 0},
		{"many ports", "docker run -d --name p1 -p 127.0.0.1:8080:80 -p 9000:9000/udp -p 7000-7001:7000-7001 lab/app:1 >/dev/null; docker ps --format '{{.Ports}}'; docker rm -f p1", "",
			"0.0.0.0:7000-7001->7000-7001/tcp, :::7000-7001->7000-7001/tcp, 0.0.0.0:9000->9000/udp, :::9000->9000/udp, 127.0.0.1:8080->80/tcp\np1\n", "", 0},
		{"its environment", "docker run -d --name e1 --env-file /srv/env -e Z=1 -e X=7 lab/app:1 >/dev/null; docker inspect -f '{{json .Config.Env}}' e1; docker rm -f e1", "", "[\"HOME=/root\",\"Z=1\",\"X=7\"]\ne1\n", "", 0},
		{"labels, folders and volumes", "docker run -d --name v1 -l a=b -v /srv/new/dir:/n:ro -v named:/x lab/app:1 >/dev/null; ls -d /srv/new/dir /var/lib/docker/volumes/named/_data; docker inspect -f '{{json .HostConfig.Binds}} {{.Config.Labels.a}}' v1; docker volume ls -q", "",
			"/srv/new/dir\n/var/lib/docker/volumes/named/_data\n[\"/srv/new/dir:/n:ro\",\"named:/x\"] b\nnamed\n", "", 0},
		{"a volume in use", "docker volume rm named 2>&1 | sed 's/[0-9a-f]\\{64\\}/ID/'; docker rm -f v1; docker volume rm named nope", "", "Error response from daemon: remove named: volume is in use - [ID]\nv1\nnamed\n", "Error: No such volume: nope\n", 1},
		{"networks", "docker network ls --format '{{.Name}} {{.Driver}}'", "", "bridge bridge\nhost host\nnone null\n", "", 0},
	})
	for _, tc := range []struct{ reason, options, why string }{
		{"an image that is none", "Bad", "invalid reference format: repository name must be lowercase."},
		{"a name that is none", "--name 'a b' lab/app:1", "Error response from daemon: Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed."},
		{"a policy that is none", "--name x1 --restart foo lab/app:1", "Error response from daemon: invalid restart policy 'foo'."},
		{"two wishes", "--rm --restart always lab/app:1", "Conflicting options: --restart and --rm."},
		{"a port that is none", "-p x:80 lab/app:1", "Invalid hostPort: x."},
		{"a port that is too great", "-p 99999:80 lab/app:1", "Invalid hostPort: 99999."},
		{"no file of variables", "--env-file /nope lab/app:1", "open /nope: no such file or directory."},
		{"a file of no variables", "--env-file /srv/bad lab/app:1", "poorly formatted environment: variable 'A B' contains whitespaces."},
		{"a folder by its path from here", "-v ./rel:/x lab/app:1", `Error response from daemon: create ./rel: "./rel" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path.`},
		{"a target that is not absolute", "-v /srv:rel lab/app:1", `Error response from daemon: invalid volume specification: '/srv:rel': invalid mount config for type "bind": invalid mount path: 'rel' mount path must be absolute.`},
		{"too many parts", "-v /a:/b:/c:d lab/app:1", "Error response from daemon: invalid volume specification: '/a:/b:/c:d'."},
		{"no image, and none wanted", "--name x2 --pull never nope:2", "Error response from daemon: No such image: nope:2."},
	} {
		play(t, m, []script{{tc.reason, "docker run " + tc.options, "", "", "docker: " + tc.why + "\n" + helpRun, 125}})
	}
	play(t, m, []script{
		{"an unknown option", "docker run --frob x", "", "", "unknown flag: --frob\n" + helpRun, 125},
		{"an unknown letter", "docker run -q x", "", "", "unknown shorthand flag: 'q' in -q\n" + helpRun, 125},
		{"an option without its value", "docker run -p", "", "", "flag needs an argument: 'p' in -p\n" + helpRun, 125},
		{"nothing to run", "docker run", "", "", "\"docker run\" requires at least 1 argument.\n" + helpRun + "\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun a command in a new container\n", 1},
		{"an unknown command", "docker frob", "", "", "docker: 'frob' is not a docker command.\nSee 'docker --help'\n", 1},
		{"an image that is pulled first", "docker run --rm -d --name n1 nginx:1.27 2>&1 >/dev/null | grep -v -e fs -e : ; docker rm -f n1", "", "n1\n", "", 0},
		{"leftovers", "docker ps -aq", "", "", "", 0},
	})
}

func TestDockerAway(t *testing.T) {
	m := engine(t, machine.Options{})
	must(t, m, "systemctl stop docker.socket")
	play(t, m, []script{
		{"info by a template", "docker info -f '{{.DockerRootDir}}'", "", "\n", "template: :1:2: executing \"\" at <.DockerRootDir>: reflect: indirection through nil pointer to embedded struct field Info\n", 1},
		{"info", "docker info", "", "Client:\n Context:    default\n Debug Mode: false\n\nServer:\nERROR: " + away, "errors pretty printing info\n", 1},
		{"version", "docker version -f '{{.Server.Version}}'", "", "\n", away, 1},
		{"images", "docker image inspect --format '{{.Id}}' a b", "", "\n", away + away, 1},
		{"list", "docker ps", "", "", away, 1},
		{"remove", "docker rm -f x", "", "", away, 1},
		{"pull", "docker pull -q a", "", "", away, 1},
		{"run", "docker run --rm a", "", "", "docker: " + strings.TrimSpace(away) + ".\n" + helpRun, 125},
		{"its socket starts it", "systemctl start docker.socket; systemctl is-active docker; docker info -f '{{.DockerRootDir}}'; systemctl is-active docker", "", "inactive\n/var/lib/docker\nactive\n", "", 0},
		{"who stops it is told", "systemctl stop docker", "", "", "Warning: Stopping docker.service, but it can still be activated by:\n  docker.socket\n", 0},
		{"version again", "docker version -f '{{.Server.Version}} {{.Client.Version}}'; docker --version", "", "20.10.24+dfsg1 20.10.24+dfsg1\nDocker version 20.10.24+dfsg1, build 297e128\n", "", 0},
	})
}

// TestDockerIsKeptInside names files of the computer that runs the simulator
// wherever docker takes a path, and finds a canary there unharmed and unseen.
func TestDockerIsKeptInside(t *testing.T) {
	dir := t.TempDir()
	canary := filepath.Join(dir, "canary")
	if err := os.WriteFile(canary, []byte("TWEET=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := engine(t, machine.Options{})
	for _, line := range []string{
		"docker load -i CANARY", "docker load < CANARY", "docker run --rm --env-file CANARY nginx:1.27", "docker run -d --name a -v CANARY:/x -v DIR/made:/y -v DIR/data:/data -p 9443:9443 portainer/portainer-ce:2.23.0",
		"docker run -d -v CANARY:/x portainer/portainer-ce:2.23.0 --sslcert /x --sslkey /x", "dockerd --validate --config-file CANARY", "docker -H unix://DIR/docker.sock ps",
		"echo '{\"data-root\": \"DIR/root\"}' > /etc/docker/daemon.json; systemctl restart docker; docker pull -q nginx:1.27; docker volume ls",
	} {
		line = strings.NewReplacer("CANARY", canary, "DIR", dir).Replace(line)
		if stdout, stderr, _ := run(t, m, line, ""); strings.Contains(stdout+stderr, "TWEET") {
			t.Errorf("%s shows the canary: %s%s", line, stdout, stderr)
		}
	}
	left, err := os.ReadDir(dir)
	text, bad := os.ReadFile(canary)
	if err != nil || bad != nil || len(left) != 1 || string(text) != "TWEET=1\n" {
		t.Errorf("the canary's folder: %v %q %v %v", left, text, err, bad)
	}
}
