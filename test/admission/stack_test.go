// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"strings"
	"testing"
)

// The smallest objects that are right.
const (
	stack = `
kind: DockerStack
spec:
  environment: {agentRef: {name: drphoenix}}
  compose: {inline: "services: {web: {image: whoami}}"}`
	docker = `
kind: HostService
spec:
  guestRef: {name: drphoenix}
  docker: {}`
	portainer = `
kind: HostService
spec:
  guestRef: {name: portainer}
  portainer: {image: {name: "portainer/portainer-ce:2.23.0"}, certificateRef: {name: portainer}}`
	portainerAgent = `
kind: HostService
spec:
  guestRef: {name: drphoenix}
  portainerAgent: {image: {name: "portainer/agent:2.23.0"}, portainerRef: {name: portainer}}`
)

func TestDockerStackRefused(t *testing.T) {
	t.Parallel()
	git := func(fields string) string { return `compose: {inline: null, git: {` + fields + `}}` }
	checkRefused(t, stack, []refused{
		{"nowhere", `environment: null`, "spec.environment", "Required value"},
		{"in no environment", `environment: {agentRef: null}`, "spec.environment", "exactly one of agentRef and name"},
		{"in two environments", `environment: {name: local, portainerRef: {name: portainer}}`, "spec.environment", "exactly one of agentRef and name"},
		{"in an environment of nobody", `environment: {agentRef: null, name: local}`, "spec.environment", "environment.name needs portainerRef"},
		{"in an agent's environment of another Portainer", `environment: {portainerRef: {name: other}}`, "spec.environment", "which agentRef has itself"},
		{"nothing", `compose: null`, "spec.compose", "Required value"},
		{"no text", `compose: {inline: null}`, "spec.compose", "exactly one of inline, configMapKeyRef, secretKeyRef and git"},
		{"two texts", `compose: {configMapKeyRef: {name: a, key: b}}`, "spec.compose", "exactly one of inline"},
		{"an empty text", `compose: {inline: ""}`, "spec.compose.inline", "at least 1 chars"},
		{"a text that no object holds", `compose: {inline: "` + strings.Repeat("x", 262145) + `"}`, "spec.compose.inline", "may not be more than 262144"},
		{"an entry out of its ConfigMap", `compose: {inline: null, configMapKeyRef: {name: a, key: ../b}}`, "spec.compose.configMapKeyRef.key", "for example compose.yaml"},
		{"a name that Portainer would change", `project: My-App`, "spec.project", "Portainer would make another name of it"},
		{"a name that begins with a dash", `project: -v`, "spec.project", "for example blog-staging"},
		{"a variable with a blank", `env: [{name: "A B", value: c}]`, "spec.env[0].name", "for example DB_PASSWORD"},
		{"a variable twice", `env: [{name: A, value: b}, {name: A, value: c}]`, "spec.env[1]", "Duplicate value"},
		{"a variable with two values", `env: [{name: A, value: b, valueFrom: {secretKeyRef: {name: a, key: b}}}]`, "spec.env[0]", "not both"},
		{"a value from nowhere", `env: [{name: A, valueFrom: {}}]`, "spec.env[0].valueFrom", "exactly one of secretKeyRef and configMapKeyRef"},
		{"the mark of somebody else", `env: [{name: PHOENIX_STACK, value: other/stack}]`, "spec.env", "Phoenix knows its stacks by it"},
		{"a config from nowhere", `configs: [{name: a}]`, "spec.configs[0]", "exactly one of secretKeyRef and configMapKeyRef"},
		{"a config with a path", `configs: [{name: ../a, configMapKeyRef: {name: a, key: b}}]`, "spec.configs[0].name", "for example nginx-conf"},
		{"a config in the open", `configs: [{name: a, content: secret, secretKeyRef: {name: a, key: b}}]`, "spec.configs[0].content", "unknown field"},
		{"a label of compose's own", `labels: {com.docker.compose.project: other}`, "spec.labels", "none that begins with com.docker."},
		{"a pull policy of compose's", `pullPolicy: missing`, "spec.pullPolicy", `"Always", "IfNotPresent", "Never"`},
		{"a volume by its path", `deleteVolumes: [/srv]`, "spec.deleteVolumes", "for example data"},
		{"all volumes", `deleteVolumes: ["*"]`, "spec.deleteVolumes", "names of volumes in the text"},
		{"git without authentication", git(`url: "http://git.lan/a.git"`), "spec.compose.git.url", "https:// or ssh://"},
		{"git from a file", git(`url: "file:///etc"`), "spec.compose.git.url", "https:// or ssh://"},
		{"a password in a URL", git(`url: "https://me:secret@git.lan/a.git"`), "spec.compose.git.url", "hold no password"},
		{"ssh without a key", git(`url: "ssh://git@git.lan/a.git"`), "spec.compose.git", "ssh needs credentialsSecretRef"},
		{"ssh to whoever answers", git(`url: "ssh://git@git.lan/a.git", credentialsSecretRef: {name: a}`), "spec.compose.git", "knownHostsSecretRef"},
		{"host keys for https", git(`url: "https://git.lan/a.git", knownHostsSecretRef: {name: a, key: b}`), "spec.compose.git", "belongs to ssh"},
		{"a reference with an option", git(`url: "https://git.lan/a.git", ref: --upload-pack=reboot`), "spec.compose.git.ref", "for example main"},
		{"a path out of the repository", git(`url: "https://git.lan/a.git", path: ../../etc/shadow`), "spec.compose.git.path", "within the repository"},
		{"git asked all the time", git(`url: "https://git.lan/a.git", interval: 1s`), "spec.compose.git.interval", "at least 10s"},
	})
}

func TestDockerRefused(t *testing.T) {
	t.Parallel()
	key := "-----BEGIN PGP PUBLIC KEY BLOCK-----\\n\\nmDM=\\n-----END PGP PUBLIC KEY BLOCK-----"
	repository := func(fields string) string { return `docker: {packageName: docker-ce, repository: {` + fields + `}}` }
	checkRefused(t, docker, []refused{
		{"on the node", `{guestRef: null, hostRef: {name: phoenix}}`, "spec", "do not run on the Proxmox host itself"},
		{"podman", `docker: {packageName: podman}`, "spec.docker.packageName", `"docker.io", "docker-ce"`},
		{"a repository for the distribution's package", `docker: {repository: {url: "https://a/b", suite: bookworm, key: "` + key + `"}}`, "spec.docker", "docker.io comes from the distribution"},
		{"a repository without a key", repository(`url: "https://a/b", suite: bookworm`), "spec.docker.repository.key", "Required value"},
		{"a repository with a private key", repository(`url: "https://a/b", suite: bookworm, key: "-----BEGIN PGP PRIVATE KEY BLOCK-----"`), "spec.docker.repository.key", "OpenPGP public key"},
		{"a repository with a line of its own", repository(`url: "https://a/b\ntrusted: yes", suite: bookworm, key: "` + key + `"`), "spec.docker.repository.url", "http:// or https://"},
		{"a suite with an option", repository(`url: "https://a/b", suite: "bookworm [trusted=yes]", key: "` + key + `"`), "spec.docker.repository.suite", "for example bookworm"},
		{"a relative data root", `docker: {dataRoot: var/lib/docker}`, "spec.docker.dataRoot", "must be absolute"},
		{"a data root with a command", `docker: {dataRoot: "/srv/$(reboot)"}`, "spec.docker.dataRoot", "letters, digits and - . _"},
		{"logs of nothing", `docker: {logs: {maxSizeMiB: 0}}`, "spec.docker.logs.maxSizeMiB", "greater than or equal to 1"},
		{"a mirror with a path", `docker: {registryMirrors: ["https://mirror.lan/v2/x"]}`, "spec.docker.registryMirrors", "URLs without a path"},
		{"a pool that is no range", `docker: {addressPools: [{base: 172.30.0.0, size: 24}]}`, "spec.docker.addressPools[0].base", "for example 172.30.0.0/16"},
		{"networks larger than their pool", `docker: {addressPools: [{base: 172.30.0.0/16, size: 8}]}`, "spec.docker.addressPools[0]", "size must not be smaller"},
		{"a name as DNS server", `docker: {dnsServers: [dns.lan]}`, "spec.docker.dnsServers", "for example 10.0.0.13"},
		{"a daemon.json of its own", `docker: {config: {"insecure-registries": ["0.0.0.0/0"]}}`, "spec.docker.config", "unknown field"},
	})
}

func TestPortainerRefused(t *testing.T) {
	t.Parallel()
	image := func(fields string) string { return `portainer: {image: {` + fields + `}}` }
	checkRefused(t, portainer, []refused{
		{"on the node", `{guestRef: null, hostRef: {name: phoenix}}`, "spec", "a Guest with a Docker engine"},
		{"no image", `portainer: {image: null}`, "spec.portainer.image", "Required value"},
		{"an image with an option", image(`name: "--privileged"`), "spec.portainer.image.name", "for example portainer/portainer-ce:2.23.0"},
		{"an image with a command", image(`name: "portainer;reboot"`), "spec.portainer.image.name", "for example portainer/portainer-ce:2.23.0"},
		{"an image in capitals", image(`name: Portainer/CE`), "spec.portainer.image.name", "for example portainer/portainer-ce:2.23.0"},
		{"an archive that is not pinned", image(`archive: {url: "https://a/b.tar"}`), "spec.portainer.image.archive.sha256", "Required value"},
		{"an archive with credentials", image(`archive: {url: "https://me:secret@a/b.tar", sha256: "` + sha256sum + `"}`), "spec.portainer.image.archive.url", "hold no credentials"},
		{"an archive of a digest", image(`name: "a@sha256:` + sha256sum + `", archive: {url: "https://a/b.tar", sha256: "` + sha256sum + `"}`), "spec.portainer.image", "a tag without a digest"},
		{"without TLS", `portainer: {certificateRef: null}`, "spec.portainer", "reached over TLS alone"},
		{"with two certificates", `portainer: {secretRef: {name: a}}`, "spec.portainer", "exactly one of certificateRef and secretRef"},
		{"a password in the open", `portainer: {adminPassword: secret}`, "spec.portainer.adminPassword", "unknown field"},
		{"sessions without an end", `portainer: {settings: {sessionTimeout: 0s}}`, "spec.portainer.settings.sessionTimeout", "from 5m to 8760h"},
		{"a snapshot a second", `portainer: {settings: {snapshotInterval: 1s}}`, "spec.portainer.settings.snapshotInterval", "from 1m to 24h"},
		{"its data in /proc/..", `portainer: {dataDir: /proc/../etc}`, "spec.portainer.dataDir", "without '.' and '..'"},
	})
	checkRefused(t, portainerAgent, []refused{
		{"on the node", `{guestRef: null, hostRef: {name: phoenix}}`, "spec", "a Guest with a Docker engine"},
		{"of no Portainer", `portainerAgent: {portainerRef: null}`, "spec.portainerAgent.portainerRef", "Required value"},
		{"an environment with a quote", `portainerAgent: {environment: "a\"b"}`, "spec.portainerAgent.environment", "for example drphoenix"},
		{"a port beyond TCP's", `portainerAgent: {port: 65536}`, "spec.portainerAgent.port", "less than or equal to 65535"},
		{"its secret in the open", `portainerAgent: {secret: abc}`, "spec.portainerAgent.secret", "unknown field"},
	})
}
