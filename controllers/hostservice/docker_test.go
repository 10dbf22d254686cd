// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

func testDocker(change func(*v1alpha1.Docker)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: about1("docker")}
	s.Spec.GuestRef = &v1alpha1.LocalReference{Name: "drphoenix"}
	s.Spec.Docker = &v1alpha1.Docker{}
	if change != nil {
		change(s.Spec.Docker)
	}
	return s
}

var dockerTarget = target{host: testHost(), guest: testGuest("drphoenix", "10.0.0.102")}

// fileOf is the content of a file of a state; empty: it is not among them.
func fileOf(state machine.State, path string) string {
	for _, f := range state.Files {
		if f.Path == path {
			return string(f.Content)
		}
	}
	return ""
}

func TestDockerDesign(t *testing.T) {
	plain := `{
  "live-restore": true,
  "log-driver": "json-file",
  "log-opts": {
    "max-file": "3",
    "max-size": "10m"
  }
}
`
	for name, c := range map[string]struct {
		reason string
		change func(*v1alpha1.Docker)
		conf   string
		dropIn string
		source string
		pkg    string
		match  string
	}{
		"nothing said": {"logs are bounded, and containers outlive the engine", nil, plain, "", "", "docker.io", "^/"},
		"everything": {
			"each field has its place", func(d *v1alpha1.Docker) {
				no := false
				d.PackageName, d.DataRoot, d.LiveRestore = "docker-ce", "/srv/docker", &no
				d.Logs = &v1alpha1.DockerLogs{MaxSizeMiB: 50, MaxFiles: 5}
				d.RegistryMirrors, d.DNSServers = []string{"https://mirror.lan"}, []string{"10.0.0.13"}
				d.AddressPools = []v1alpha1.DockerAddressPool{{Base: "172.30.0.1/16", Size: 24}}
				d.Repository = &v1alpha1.AptRepository{
					URL: "https://download.docker.com/linux/debian", Suite: "bookworm",
					Key: "-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n\r\nmQINBFit\n=0YYh\n-----END PGP PUBLIC KEY BLOCK-----\n",
				}
			}, `{
  "data-root": "/srv/docker",
  "live-restore": false,
  "log-driver": "json-file",
  "log-opts": {
    "max-file": "5",
    "max-size": "50m"
  },
  "registry-mirrors": [
    "https://mirror.lan"
  ],
  "default-address-pools": [
    {
      "base": "172.30.0.0/16",
      "size": 24
    }
  ],
  "dns": [
    "10.0.0.13"
  ]
}
`,
			"# Made by Phoenix for HostService home/docker: changes are put back.\n[Unit]\nRequiresMountsFor=/srv/docker\n",
			`# Made by Phoenix for HostService home/docker: changes are put back.
Types: deb
URIs: https://download.docker.com/linux/debian
Suites: bookworm
Components: stable
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFit
 =0YYh
 -----END PGP PUBLIC KEY BLOCK-----
`, "docker-ce", "^/srv/docker$",
		},
		"flat repository": {
			"a folder has no components", func(d *v1alpha1.Docker) {
				d.Repository = &v1alpha1.AptRepository{URL: "http://mirror.lan/docker", Suite: "bookworm/", Key: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n-----END PGP PUBLIC KEY BLOCK-----"}
			}, plain, "",
			"# Made by Phoenix for HostService home/docker: changes are put back.\nTypes: deb\nURIs: http://mirror.lan/docker\nSuites: bookworm/\nSigned-By:\n" +
				" -----BEGIN PGP PUBLIC KEY BLOCK-----\n -----END PGP PUBLIC KEY BLOCK-----\n", "docker.io", "^/",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := designDocker(testDocker(c.change), dockerTarget, nil)
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]string{dockerConf: c.conf, dockerDropIn: c.dropIn, dockerSource: c.source} {
				if diff := cmp.Diff(want, fileOf(d.want, path)); diff != "" {
					t.Errorf("%s: %s (-want +got):\n%s", c.reason, path, diff)
				}
			}
			if diff := cmp.Diff([]string{c.pkg}, d.want.Packages); diff != "" || d.want.Probes[0].Match != c.match {
				t.Errorf("%s: probe wants %q, packages (-want +got):\n%s", c.reason, d.want.Probes[0].Match, diff)
			}
			for _, f := range d.want.Files {
				if restarts := len(f.Triggers) > 0; restarts != (f.Path == dockerConf) || f.Early != (f.Path == dockerSource) || f.Replaces != (f.Path == dockerConf) {
					t.Errorf("%s: %s is %+v", c.reason, f.Path, f)
				}
			}
			if _, err := machine.Plan("home/HostService/home/docker", d.want, machine.Seen{Paths: map[string]machine.Path{}}, machine.PlanOptions{}); err != nil {
				t.Errorf("%s: the machine refuses the state: %v", c.reason, err)
			}
		})
	}
}

func TestDockerIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		change func(*v1alpha1.Docker)
		older  []v1alpha1.HostService
		want   string
	}{
		"second": {"one machine has one engine", nil, []v1alpha1.HostService{*testDocker(nil)}, "AlreadyServed: run a Docker engine on Guest/drphoenix: HostService/docker does so"},
		"small pool": {"no network of this size can be cut from it", func(d *v1alpha1.Docker) {
			d.AddressPools = []v1alpha1.DockerAddressPool{{Base: "172.30.0.0/24", Size: 16}}
		}, nil, "Invalid: addressPools[0]: networks of size 16"},
		"big size": {"an IPv4 address has 32 bits", func(d *v1alpha1.Docker) {
			d.AddressPools = []v1alpha1.DockerAddressPool{{Base: "172.30.0.0/16", Size: 64}}
		}, nil, "Invalid: addressPools[0]: networks of size 64"},
		"folder with components": {"a folder has none", func(d *v1alpha1.Docker) {
			d.Repository = &v1alpha1.AptRepository{Suite: "x/", Components: []string{"stable"}}
		}, nil, "Invalid: repository: suite x/ is a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := designDocker(testDocker(c.change), dockerTarget, c.older)
			if got := said1(err); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: %q, want %q", c.reason, got, c.want)
			}
		})
	}
}

// A file of somebody else that has the engine's data elsewhere is not replaced without asking: the containers would be gone.
func TestOtherDataRoot(t *testing.T) {
	there := map[string]machine.Path{dockerConf: {Kind: "file", Mode: "0644", Owner: "root", Group: "root", UID: "0", GID: "0", Hash: "x"}}
	for name, c := range map[string]struct {
		reason, content string
		change          func(*v1alpha1.HostService)
		refused         bool
	}{
		"elsewhere":  {"the engine would come up empty", `{"data-root": "/mnt/big"}`, nil, true},
		"taken over": {"unless that is asked for", `{"data-root": "/mnt/big"}`, func(s *v1alpha1.HostService) { s.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }, false},
		"declared":   {"it is the declared one", `{"data-root": "/mnt/big"}`, func(s *v1alpha1.HostService) { s.Spec.Docker.DataRoot = "/mnt/big" }, false},
		"default":    {"it is the default", `{"data-root": "/var/lib/docker", "debug": true}`, nil, false},
		"others":     {"other settings come back when the service goes", `{"debug": true}`, nil, false},
		"broken":     {"no engine reads that", `{"data-root": "/mnt`, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := testDocker(nil)
			if c.change != nil {
				c.change(s)
			}
			d, err := designDocker(s, dockerTarget, nil)
			if err != nil {
				t.Fatal(err)
			}
			seen := &machineSeen{target: dockerTarget, owner: "home/HostService/home/docker", design: d, looked: true, seen: machine.Seen{
				Paths: there, Contents: map[string][]byte{dockerConf: []byte(c.content)},
			}}
			steps := planMachine(s, seen)
			if refused := steps[0].Reason == NotOwnedReason; refused != c.refused {
				t.Errorf("%s: the first step is %s: %s", c.reason, steps[0].Reason, steps[0].Message)
			}
		})
	}
}

// goldenUnit is what a unit of a container has in common.
func goldenUnit(about, what, folder, name, run string) string {
	return "# Made by Phoenix for HostService home/" + about + `: changes are put back.
[Unit]
Description=` + what + ` of HostService home/` + about + `
Requires=docker.service
After=docker.service network-online.target
Wants=network-online.target
RequiresMountsFor=` + folder + `
StartLimitIntervalSec=0

[Service]
ExecStartPre=-/usr/bin/docker rm -f ` + name + `
ExecStart=/usr/bin/docker run --rm --name ` + name + ` ` + run + `
ExecStop=/usr/bin/docker stop -t 20 ` + name + `
TimeoutStopSec=40
SuccessExitStatus=143
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
`
}

func TestPortainerDesign(t *testing.T) {
	pair := judgePair(testPair(t, caBorn, "portainer.phoenix.lan"), "Secret/x", caBorn)
	for name, c := range map[string]struct {
		change func(*v1alpha1.Portainer)
		folder string
		run    string
	}{
		"nothing said": {nil, "/var/lib/portainer", "-p 9443:9443 -v /var/run/docker.sock:/var/run/docker.sock -v /var/lib/portainer:/data -v /etc/portainer-main:/certs:ro " +
			"--env-file /etc/portainer-main/agent.env portainer/portainer-ce:2.23.0 --sslcert /certs/tls.crt --sslkey /certs/tls.key --http-disabled"},
		"port and data": {
			func(p *v1alpha1.Portainer) { p.Port, p.DataDir = 443, "/srv/portainer" }, "/srv/portainer",
			"-p 443:9443 -v /var/run/docker.sock:/var/run/docker.sock -v /srv/portainer:/data -v /etc/portainer-main:/certs:ro " +
				"--env-file /etc/portainer-main/agent.env portainer/portainer-ce:2.23.0 --sslcert /certs/tls.crt --sslkey /certs/tls.key --http-disabled",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &serverParts{s: testPortainer(c.change), address: "10.0.0.111", pair: pair, agent: "sesame"}
			state := p.design().want
			want := goldenUnit("main", "Portainer", c.folder, "portainer-main", c.run)
			if diff := cmp.Diff(want, fileOf(state, "/etc/systemd/system/portainer-main.service")); diff != "" {
				t.Errorf("the unit (-want +got):\n%s", diff)
			}
			if got := fileOf(state, "/etc/portainer-main/agent.env"); got != "AGENT_SECRET=sesame\n" {
				t.Errorf("the environment is %q", got)
			}
			nothingToRead(t, state, "sesame", strings.Split(string(pair.key), "\n")[1])
		})
	}
}

// nothingToRead asserts that secrets stand in files alone that are root's own, and in no argument.
func nothingToRead(t *testing.T, state machine.State, secrets ...string) {
	t.Helper()
	if _, err := machine.Plan("home/HostService/home/main", state, machine.Seen{Paths: map[string]machine.Path{}}, machine.PlanOptions{}); err != nil {
		t.Errorf("the machine refuses the state: %v", err)
	}
	for _, secret := range secrets {
		held := false
		for _, f := range state.Files {
			has := strings.Contains(string(f.Content), secret)
			held = held || has
			if has && (f.Mode != 0o600 || !f.Secret) {
				t.Errorf("%s is readable, with mode %o", f.Path, f.Mode)
			}
			f.Content = nil
			if text := fmt.Sprintf("%+v", f); strings.Contains(text, secret) {
				t.Errorf("a secret stands in %s", text)
			}
		}
		if !held {
			t.Error("no file has the secret")
		}
		state := state
		state.Files = nil
		if text := fmt.Sprintf("%+v", state); strings.Contains(text, secret) {
			t.Errorf("a secret stands in %s", text)
		}
	}
}

func TestAgentDesign(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*v1alpha1.HostService)
		dataRoot string
		run      string
	}{
		"nothing said": {nil, "/var/lib/docker", "-p 9001:9001 -v /var/run/docker.sock:/var/run/docker.sock -v /var/lib/docker/volumes:/var/lib/docker/volumes -v /:/host " +
			"--env-file /etc/portainer-agent-drphoenix/agent.env portainer/agent:2.23.0"},
		"port and data root": {
			func(s *v1alpha1.HostService) { s.Spec.PortainerAgent.Port = 9100 }, "/srv/docker",
			"-p 9100:9001 -v /var/run/docker.sock:/var/run/docker.sock -v /srv/docker/volumes:/var/lib/docker/volumes -v /:/host " +
				"--env-file /etc/portainer-agent-drphoenix/agent.env portainer/agent:2.23.0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := agentParts{s: testAgent(c.change), address: "10.0.0.102", dataRoot: c.dataRoot, secret: "sesame"}
			state := p.design().want
			want := goldenUnit("drphoenix", "Portainer agent", c.dataRoot, "portainer-agent-drphoenix", c.run)
			if diff := cmp.Diff(want, fileOf(state, "/etc/systemd/system/portainer-agent-drphoenix.service")); diff != "" {
				t.Errorf("the unit (-want +got):\n%s", diff)
			}
			nothingToRead(t, state, "sesame")
		})
	}
}

func TestImages(t *testing.T) {
	c := (&serverParts{s: testPortainer(func(p *v1alpha1.Portainer) {
		p.Image.Archive = &v1alpha1.ImageArchive{URL: "http://mirror.lan/portainer.tar", SHA256: strings.Repeat("0a", 32)}
	})}).container()
	want := []machine.Image{{
		Name: "portainer/portainer-ce:2.23.0", Archive: &machine.Archive{URL: "http://mirror.lan/portainer.tar", SHA256: strings.Repeat("0a", 32)},
		Triggers: []machine.Trigger{{Unit: "portainer-main.service", Action: machine.Restart}},
	}}
	if diff := cmp.Diff(want, c.images()); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestServerName(t *testing.T) {
	guest := testGuest("portainer", "10.0.0.111")
	for name, c := range map[string]struct {
		reason string
		names  []string
		want   string
	}{
		"own name":   {"the Guest's own name is the best", []string{"www.phoenix.lan", "portainer.phoenix.lan"}, "portainer.phoenix.lan"},
		"other name": {"any other will do", []string{"*.lan", "www.phoenix.lan"}, "www.phoenix.lan"},
		"wildcard":   {"a wildcard is good for any name", []string{"*.phoenix.lan"}, "portainer.phoenix.lan"},
		"none":       {"a certificate without a name is good for nothing", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := serverName(judgePair(testPair(t, caBorn, c.names...), "Secret/x", caBorn), guest, "10.0.0.111"); got != c.want {
				t.Errorf("%s: %q, want %q", c.reason, got, c.want)
			}
		})
	}
}

func TestContainerServicesClash(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		older  *v1alpha1.HostService
		want   bool
	}{
		"same port": {"two cannot listen", testPortainer(func(p *v1alpha1.Portainer) { p.DataDir = "/srv/other" }), true},
		"same data": {"two cannot write one database", testPortainer(func(p *v1alpha1.Portainer) { p.Port = 9444 }), true},
		"apart":     {"two servers may run on one machine", testPortainer(func(p *v1alpha1.Portainer) { p.Port, p.DataDir = 9444, "/srv/other" }), false},
		"an agent":  {"an agent is no server", testAgent(nil), false},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&serverParts{s: testPortainer(nil)}).clash(dockerTarget, []v1alpha1.HostService{*c.older})
			if got := reconcile.ReasonOf(err) == AlreadyServedReason; got != c.want {
				t.Errorf("%s: %v", c.reason, err)
			}
		})
	}
	if err := (agentParts{s: testAgent(nil)}).clash(dockerTarget, []v1alpha1.HostService{*testAgent(nil)}); reconcile.ReasonOf(err) != AlreadyServedReason {
		t.Errorf("a second agent with the same port comes to %v", err)
	}
}

func TestContainerServiceRefs(t *testing.T) {
	server := testPortainer(func(p *v1alpha1.Portainer) {
		p.SecretRef, p.CertificateRef, p.DockerRef = nil, &v1alpha1.LocalReference{Name: "portainer"}, &v1alpha1.LocalReference{Name: "docker"}
	})
	agent := testAgent(func(s *v1alpha1.HostService) {
		s.Spec.PortainerAgent.DockerRef = &v1alpha1.LocalReference{Name: "docker"}
	})
	guest := func(name string, r reconcile.Ref) reconcile.Ref {
		r.Kind, r.Name, r.Condition, r.Keeps = "Guest", name, "Reachable", true
		return r
	}
	for name, c := range map[string]struct {
		s    *v1alpha1.HostService
		want []reconcile.Ref
	}{
		"portainer": {server, []reconcile.Ref{
			reconcile.Every("HostService"), guest("portainer", reconcile.Ref{Needed: true, Vanishes: true}), reconcile.Hard("HostService", "docker", "Serving"),
			reconcile.Hard("Certificate", "portainer", "Issued"), reconcile.Soft("Secret", "main-admin"), reconcile.Soft("Secret", "main-api-key"), reconcile.Soft("Secret", "main-agent"),
		}},
		"agent": {agent, []reconcile.Ref{
			reconcile.Every("HostService"), guest("drphoenix", reconcile.Ref{Blinds: true}), reconcile.Hard("HostService", "docker", "Serving"),
			reconcile.Hard("HostService", "main", "Serving"), reconcile.Soft("Secret", "main-agent"), reconcile.Soft("Secret", "main-api-key"),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, New(Config{}).Refs(c.s)); diff != "" {
				t.Errorf("references (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPortainerFlows(t *testing.T) {
	d := declared{host: testHost("phoenix"), guests: []v1alpha1.Guest{*testGuest("drphoenix", "10.0.0.102"), *testGuest("portainer", "10.0.0.111")}}
	d.services = []v1alpha1.HostService{*testPortainer(nil), *testAgent(nil)}
	got := flowsOf(d)
	to := func(guest string, port int, why string, from ...flowEnd) []flow {
		var flows []flow
		for _, f := range from {
			flows = append(flows, flow{From: f, To: flowEnd{Guest: guest}, Protocol: "tcp", Port: port, Why: why})
		}
		return flows
	}
	want := slices.Concat(
		to("drphoenix", 9001, "agent of HostService/drphoenix", flowEnd{Guest: "portainer"}),
		to("portainer", 9443, "Portainer of HostService/main", flowEnd{CIDR: "10.0.0.13"}, flowEnd{Guest: "drphoenix"}),
	)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
	d.guests, d.farGuests = d.guests[:1], d.guests[1:]
	d.services, d.farServices = d.services[1:], d.services[:1]
	want = to("drphoenix", 9001, "agent of HostService/drphoenix", flowEnd{CIDR: "10.0.0.111"})
	if diff := cmp.Diff(want, flowsOf(d)); diff != "" {
		t.Errorf("flows from another Host (-want +got):\n%s", diff)
	}
	d.farServices = nil
	if got := flowsOf(d); len(got) > 0 {
		t.Errorf("an agent without its Portainer is for nobody, but there is %v", got)
	}
}
