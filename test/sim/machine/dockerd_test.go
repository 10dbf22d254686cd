// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

const dockerList = "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: bookworm\nComponents: stable\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ\n -----END PGP PUBLIC KEY BLOCK-----\n"

func TestDockerPackages(t *testing.T) {
	m := booted(t, machine.Options{})
	const list = "/etc/apt/sources.list.d/docker.sources"
	install := func(name string) string { return "apt-get install -y " + name + " >/dev/null; " }
	play(t, m, []script{
		{"it is a package", "docker info", "", "", "bash: line 1: docker: command not found\n", 127},
		{"Debian's", "apt-get update -q >/dev/null; " + install("docker.io") + "systemctl is-active docker docker.socket containerd; systemctl is-enabled docker docker.socket; docker info -f '{{.ServerVersion}}'; stat -c '%a %U:%G' /var/run/docker.sock; stat -c %a /var/lib/docker", "",
			"active\nactive\nactive\nenabled\nenabled\n20.10.24+dfsg1\n660 root:docker\n710\n", "", 0},
		{"it cannot validate", "dockerd --help | grep -c validate; dockerd --validate --config-file /etc/docker/daemon.json", "", "0\n", "Status: unknown flag: --validate\nSee 'dockerd --help'., Code: 125\n", 1},
		{"Docker's own is nowhere", "apt-get install -y docker-ce; apt-cache policy docker-ce", "", "Reading package lists...\nBuilding dependency tree...\nReading state information...\n", "E: Unable to locate package docker-ce\n", 0},
		{"a source that is none", "mkdir -p /etc/apt/sources.list.d; echo 'Types: deb' > " + list + "; apt-get update", "", "", "E: Malformed entry 1 in sources file " + list + " (URI)\nE: The list of sources could not be read.\n", 100},
		{"a source without a key", "printf 'Types: deb\\nURIs: https://download.docker.com/linux/debian\\nSuites: bookworm\\nComponents: stable\\n' > " + list + "; apt-get update -q | head -n1", "", "Hit:1 http://deb.debian.org/debian bookworm InRelease\n",
			"E: The repository 'https://download.docker.com/linux/debian bookworm InRelease' is not signed.\n", 0},
		{"a source of something else", "printf 'deb https://mirror.test/x bookworm stable\\n' > /etc/apt/sources.list.d/x.list; rm " + list + "; apt-get update; rm /etc/apt/sources.list.d/x.list", "",
			"Hit:1 http://deb.debian.org/debian bookworm InRelease\nErr:2 https://mirror.test/x bookworm InRelease\nReading package lists...\n",
			"W: Failed to fetch https://mirror.test/x/dists/bookworm/InRelease  Could not resolve host\nW: Some index files failed to download. They have been ignored, or old ones used instead.\n", 0},
	})
	if err := m.WriteFile(list, dockerList, 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, m, "docker run --help >/dev/null")
	play(t, m, []script{
		{"its source", "apt-get update; " + install("docker-ce") + "dpkg-query -W -f '${Package} ${db:Status-Status}\\n' docker-ce docker-ce-cli containerd.io docker.io; systemctl is-active docker; docker version -f '{{.Server.Version}}'", "",
			"Hit:1 http://deb.debian.org/debian bookworm InRelease\nGet:2 https://download.docker.com/linux/debian bookworm InRelease\nReading package lists...\n" +
				"docker-ce installed\ndocker-ce-cli installed\ncontainerd.io installed\ndocker.io config-files\nactive\n28.5.2\n", "", 0},
		{"it can validate", "dockerd --help | grep -c -e --validate; echo '{}' > /srv/a; dockerd --validate --config-file /srv/a; echo '{\"frob\":1}' > /srv/a; dockerd --validate --config-file /srv/a", "", "1\n",
			"configuration OK\nunable to configure the Docker daemon with file /srv/a: the following directives don't match any configuration option: frob\n", 1},
	})
}

func TestDockerConfig(t *testing.T) {
	m := engine(t, machine.Options{})
	const broken = "unable to configure the Docker daemon with file /etc/docker/daemon.json: "
	cases := []struct{ reason, text, why string }{
		{"no JSON", "{ junk", broken + "invalid character 'j' looking for beginning of object key string"},
		{"nothing", "", broken + "EOF"},
		{"no object", "[]", broken + "json: cannot unmarshal array into Go value of type map[string]interface {}"},
		{"options that nobody knows", `{"frob": 1, "bar": 2}`, broken + "the following directives don't match any configuration option: bar, frob"},
		{"what the command line says", `{"hosts": ["unix:///x"]}`, broken + "the following directives are specified both as a flag and in the configuration file: hosts: (from flag: [fd://], from file: [unix:///x])"},
		{"a wrong type", `{"live-restore": "yes"}`, broken + "json: cannot unmarshal string into Go struct field Config.live-restore of type bool"},
		{"a DNS server that is none", `{"dns": ["nope"]}`, broken + "configuration validation from file failed: nope is not an ip address"},
		{"a log option that is none", `{"log-opts": {"frob": "10"}}`, "failed to start daemon: failed to set log opts: unknown log opt 'frob' for json-file log driver"},
		{"a mirror that is none", `{"registry-mirrors": ["frob"]}`, `failed to start daemon: invalid mirror: unsupported scheme "" in "frob"`},
		{"a mirror with a path", `{"registry-mirrors": ["https://a/b"]}`, `failed to start daemon: invalid mirror: path, query, or fragment at end of the URI "https://a/b"`},
		{"pools greater than their range", `{"default-address-pools": [{"base": "10.0.0.0/8", "size": 4}]}`, "failed to start daemon: Error initializing network controller: error obtaining controller instance: invalid pools size: 4"},
		{"a range that is none", `{"default-address-pools": [{"base": "nope", "size": 24}]}`, `failed to start daemon: Error initializing network controller: error obtaining controller instance: invalid base pool "nope": invalid CIDR address: nope`},
		{"a driver that is none", `{"storage-driver": "frob"}`, "failed to start daemon: error initializing graphdriver: driver not supported"},
	}
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			if err := m.WriteFile("/etc/docker/daemon.json", tc.text, 0o644); err != nil {
				t.Fatal(err)
			}
			_, stderr, exit := run(t, m, "systemctl reset-failed docker; systemctl restart docker", "")
			if exit != 1 || !strings.HasPrefix(stderr, "Job for docker.service failed because the control process exited with error code.\n") {
				t.Errorf("exit %d, %s", exit, stderr)
			}
			if journal := must(t, m, "journalctl -u docker -o cat -n 12"); !strings.Contains(journal, tc.why+"\n") || m.Unit("docker").Active != "failed" {
				t.Errorf("%s, journal:\n%s\nwant %q", m.Unit("docker").Active, journal, tc.why)
			}
			if _, stderr, exit := run(t, m, "docker ps", ""); stderr != away || exit != 1 {
				t.Errorf("docker ps: %d %s", exit, stderr)
			}
		})
	}
	if err := m.WriteFile("/etc/docker/daemon.json", `{"data-root": "/srv/docker", "live-restore": true, "log-driver": "json-file", "log-opts": {"max-size": "10m"}, "registry-mirrors": ["https://mirror.lan"]}`, 0o644); err != nil {
		t.Fatal(err)
	}
	play(t, m, []script{
		{"what it was told", "systemctl restart docker; docker info -f '{{.DockerRootDir}} {{.LiveRestoreEnabled}} {{.RegistryConfig.Mirrors}}'; ls -d /srv/docker/volumes", "", "/srv/docker true [https://mirror.lan]\n/srv/docker/volumes\n", "", 0},
		{"a reload takes some of it", "echo '{\"data-root\": \"/srv/other\"}' > /etc/docker/daemon.json; systemctl reload docker; docker info -f '{{.DockerRootDir}} {{.LiveRestoreEnabled}} {{.RegistryConfig.Mirrors}}'", "", "/srv/docker false []\n", "", 0},
		{"a reload of what is broken takes none", "echo '{' > /etc/docker/daemon.json; systemctl reload docker; journalctl -u docker -o cat | grep -c 'unexpected EOF'; systemctl is-active docker", "", "1\nactive\n", "", 0},
	})
}

// restartable is a service around docker run, as people write it.
const restartable = `[Unit]
Description=A container
Requires=docker.service
After=docker.service
StartLimitIntervalSec=0
[Service]
ExecStartPre=-/usr/bin/docker rm -f app
ExecStart=/usr/bin/docker run --rm --name app -p 8080:80 -v /srv/app:/data traefik/whoami:v1.10
ExecStop=/usr/bin/docker stop -t 20 app
Restart=always
RestartSec=50ms
SuccessExitStatus=143
[Install]
WantedBy=multi-user.target
`

func TestDockerUnit(t *testing.T) {
	m := engine(t, machine.Options{})
	if err := m.WriteFile("/etc/systemd/system/app.service", restartable, 0o644); err != nil {
		t.Fatal(err)
	}
	up := func(what string) {
		t.Helper()
		wait(t, what, func() bool { body, err := ask(t, m, 8080); return err == nil && strings.HasPrefix(body, "Hostname: ") })
	}
	down := func(what string) {
		t.Helper()
		wait(t, what, func() bool { _, err := m.Dial(t.Context(), 8080); return err != nil })
	}
	must(t, m, "systemctl enable -q --now app")
	up("the first start")
	id := func() string { return strings.TrimSpace(must(t, m, "docker ps -q --no-trunc")) }
	before := id()
	must(t, m, "docker kill app")
	wait(t, "systemd to start it again", func() bool { return len(m.Engine().Containers()) == 1 && id() != before })
	up("a container that was killed")
	if got := must(t, m, "systemctl show -P NRestarts app; systemctl is-active app"); got != "1\nactive\n" {
		t.Errorf("restarts and state: %q", got)
	}
	before = id()
	must(t, m, "systemctl restart docker")
	up("an engine that was restarted")
	if id() == before {
		t.Error("a container of docker run --rm has outlived its engine")
	}
	must(t, m, "systemctl stop app")
	down("a unit that was stopped")
	if got := must(t, m, "docker ps -aq; systemctl show -P Result,ActiveState app"); got != "success\ninactive\n" {
		t.Errorf("what is left of it: %q", got)
	}
	must(t, m, "systemctl start app")
	up("a unit that was started again")
	must(t, m, "systemctl stop docker.socket")
	down("a unit without the engine that it requires")
	if got, want := m.Unit("app").Active+m.Unit("docker").Active, "inactiveinactive"; got != want {
		t.Errorf("states %s", got)
	}
	m.Halt()
	m.Boot()
	up("a machine that was off")
}

func TestDockerLiveRestore(t *testing.T) {
	cases := []struct {
		reason, conf string
		survives     bool
	}{
		{"told so", `{"live-restore": true}`, true},
		{"by itself", `{}`, false},
	}
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			m := engine(t, machine.Options{})
			if err := m.WriteFile("/etc/docker/daemon.json", tc.conf, 0o644); err != nil {
				t.Fatal(err)
			}
			must(t, m, "systemctl restart docker; docker run -d --name stays -p 80:80 --restart unless-stopped nginx:1.27; docker run -d --name goes -p 81:80 nginx:1.27; systemctl stop docker 2>/dev/null")
			for _, port := range []int{80, 81} {
				if _, err := ask(t, m, port); (err == nil) != tc.survives {
					t.Errorf("port %d of a container without an engine: %v", port, err)
				}
			}
			must(t, m, "systemctl start docker")
			want := map[bool]string{true: "goes running\nstays running\n", false: "goes exited\nstays running\n"}[tc.survives]
			if got := must(t, m, "docker ps -a --format '{{.Names}} {{.State}}' | sort"); got != want {
				t.Errorf("containers:\n%swant\n%s", got, want)
			}
			m.Halt()
			if _, err := m.Dial(t.Context(), 80); err == nil {
				t.Error("a container outlives its machine")
			}
			m.Boot()
			if body, err := ask(t, m, 80); err != nil || body != "stays\n" {
				t.Errorf("after a start of the machine: %q, %v", body, err)
			}
			if _, err := ask(t, m, 81); err == nil {
				t.Error("a container without a policy came back with its machine")
			}
		})
	}
}

func TestDockerDataRoot(t *testing.T) {
	network := machine.NewNetwork()
	host := booted(t, machine.Options{Network: network, Addresses: []netip.Addr{addr("10.0.0.13")}})
	must(t, host, "mkdir -p /srv/docker")
	guest := func() *machine.Machine {
		m := engine(t, machine.Options{Network: network})
		m.Bind("/var/lib/docker", host, "/srv/docker", false)
		must(t, m, "systemctl restart docker")
		return m
	}
	first := guest()
	must(t, first, "docker run -d --name app -p 80:80 --restart always nginx:1.27")
	first.Halt()
	second := guest()
	if body, err := ask(t, second, 80); err != nil || body != "app\n" {
		t.Errorf("a guest that was made anew on the old data root: %q, %v", body, err)
	}
	must(t, second, "systemctl stop docker 2>/dev/null; rm -r /var/lib/docker/*; systemctl start docker; [ -z \"$(docker ps -aq)$(docker images -q)\" ]")
}

func TestDockerPrivatePort(t *testing.T) {
	m := engine(t, machine.Options{Addresses: []netip.Addr{addr("10.0.0.102")}})
	must(t, m, "docker run -d --name app -p 127.0.0.1:8080:80 nginx:1.27; curl -s http://127.0.0.1:8080")
	if _, err := m.Dial(t.Context(), 8080); err == nil {
		t.Error("a port of 127.0.0.1 is reached from elsewhere")
	}
}

func TestDockerStackOfMemory(t *testing.T) {
	m := engine(t, machine.Options{})
	out, err := m.Engine().Deploy(t.Context(), portainer.Deployment{Project: "a", Text: "services:\n  web:\n    image: traefik/whoami:v1.10\n    ports: ['8081:80']\n"})
	if err != nil {
		t.Fatal(err, out)
	}
	if body, err := ask(t, m, 8081); err != nil || !strings.HasPrefix(body, "Hostname: ") {
		t.Errorf("%q, %v", body, err)
	}
	play(t, m, []script{
		{"docker sees it", "docker ps --filter label=com.docker.compose.project=a --format '{{.Names}} {{.Image}} {{.State}}'", "", "a-web-1 traefik/whoami:v1.10 running\n", "", 0},
		{"and stops it", "docker stop a-web-1; curl -s http://localhost:8081", "", "a-web-1\n", "", 7},
	})
}

func TestDockerLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	before := runtime.NumGoroutine()
	for range 2 {
		m := machine.New(machine.Options{Registry: machine.DockerHub(), Installed: []string{"docker.io"}})
		if err := m.WriteFile("/etc/docker/daemon.json", `{"live-restore": true}`, 0o644); err != nil {
			t.Fatal(err)
		}
		m.Boot()
		if err := m.WriteFile("/etc/systemd/system/app.service", restartable, 0o644); err != nil {
			t.Fatal(err)
		}
		must(t, m, "systemctl start app; docker run -d --name p -p 9443:9443 -p 8000:8000 -v /var/run/docker.sock:/var/run/docker.sock portainer/portainer-ce:2.23.0; docker run -d -p 9001:9001 -v /var/run/docker.sock:/var/run/docker.sock portainer/agent:2.23.0; docker run -d --restart always -p 80:80 nginx:1.27; systemctl stop docker.socket")
		m.Halt()
	}
	for range 500 {
		if runtime.NumGoroutine() <= before {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before:\n%s", n, before, stacks[:runtime.Stack(stacks, true)])
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the folder for temporary files: %v %v", left, err)
	}
}
