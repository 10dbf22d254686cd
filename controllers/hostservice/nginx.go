// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/nginx"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	nginxUnit    = "nginx.service"
	nginxPackage = "nginx-light"
	nginxConfD   = "/etc/nginx/conf.d/"
	nginxModules = "/etc/nginx/modules-enabled/"
	streamModule = "libnginx-mod-stream"
	defaultHTTP  = 80
	defaultHTTPS = 443
	// otherKey is what curl ends with when a server has another key than the one that it was told.
	otherKey = 90
)

// nginxRefs: a server waits until its Certificate is Issued, and follows a Secret of somebody else.
func nginxRefs(s *v1alpha1.HostService) []reconcile.Ref {
	var refs []reconcile.Ref
	for _, server := range s.Spec.Nginx.Servers {
		if server.CertificateRef != nil {
			refs = append(refs, reconcile.Hard("Certificate", server.CertificateRef.Name, v1alpha1.IssuedCondition))
		}
		if server.SecretRef != nil {
			refs = append(refs, reconcile.Soft("Secret", server.SecretRef.Name))
		}
	}
	return refs
}

// entry is a server with what it is served with.
type entry struct {
	v1alpha1.NginxServer
	pair tlsPair
	// kept says that the pair is the one that the machine has already, as the Secret's cannot be used.
	kept bool
}

func (e entry) source() string { return "servers[" + e.Name + "]" }

// gateway is an nginx service in the making.
type gateway struct {
	s       *v1alpha1.HostService
	address string // of the machine
	entries []entry
	to      routers
}

// servedCertificate is a certificate of an nginx service.
type servedCertificate struct {
	server, path string
	ends         time.Time
}

// designNginx turns an nginx service, what the Secrets of its servers hold, and its routers, into the state of its machine.
func designNginx(s *v1alpha1.HostService, t target, pairs []tlsPair, to routers, older []v1alpha1.HostService) (design, error) {
	if i := slices.IndexFunc(older, func(o v1alpha1.HostService) bool { return o.Spec.Nginx != nil }); i >= 0 {
		return design{}, reconcile.Stall(AlreadyServedReason, fmt.Errorf(
			"run nginx on %s: HostService/%s does so already, and is older: declare the servers there, or delete it", t, older[i].Name))
	}
	g := gateway{s: s, address: "127.0.0.1", to: to}
	if own := ipsOf(t.addresses()); len(own) > 0 {
		g.address = own[0]
	}
	for i, server := range s.Spec.Nginx.Servers {
		g.entries = append(g.entries, entry{NginxServer: server, pair: pairs[i]})
	}
	return g.design()
}

// ports are where HTTP and HTTPS are spoken.
func nginxPorts(spec *v1alpha1.Nginx) (http, https int) {
	return int(cmp.Or(spec.HTTPPort, defaultHTTP)), int(cmp.Or(spec.HTTPSPort, defaultHTTPS))
}

func (g gateway) conf() string { return nginxConfD + "phoenix-" + fileName(g.s) + ".conf" }

// streams is the path of what is read outside of http: nginx.conf of Debian includes this folder there, and the packages of
// modules put what loads them in with a lower number.
func (g gateway) streams() string { return nginxModules + "90-phoenix-" + fileName(g.s) + ".conf" }

// files are the paths of a server's certificate and of its key.
func (g gateway) files(e entry) (certificate, key string) {
	at := nginx.Folder(g.s.Name) + "/" + e.Name
	return at + ".crt", at + ".key"
}

// design is the state of the machine. A server whose Secret cannot be used is left out, unless the machine has what it was
// served with before.
func (g gateway) design() (design, error) {
	reload := []machine.Trigger{{Unit: nginxUnit, Action: machine.Reload}}
	d := design{triggers: reload, fields: func(_, line string) string { return nginx.Field(line) }, notes: g.to.notes}
	config := nginxConfig(g.s, g.to)
	config.Self = g.address
	names := g.names(&d)
	for i, e := range g.entries {
		if len(names[i]) == 0 {
			continue
		}
		certificate, key := g.files(e)
		config.Servers = append(config.Servers, nginx.Server{Source: e.source(), Names: names[i], Certificate: certificate, Key: key})
		d.want.Files = append(
			d.want.Files, machine.File{Path: certificate, Content: e.pair.chain, Triggers: reload},
			machine.File{Path: key, Content: e.pair.key, Mode: 0o600, Secret: true, Triggers: reload},
		)
		d.want.Probes = append(d.want.Probes, g.secureProbe(e, names[i][0], config.HTTPSPort))
		d.served = append(d.served, servedCertificate{e.Name, certificate, e.pair.ends()})
	}
	if len(config.Servers) > 0 {
		d.want.Probes = append(d.want.Probes, g.plainProbe(config.Servers[0].Names[0], config.HTTPPort))
	}
	if err := g.render(config, &d); err != nil {
		return design{}, err
	}
	d.want.Units = []machine.Unit{{Name: nginxUnit, Enabled: true, Running: true}}
	d.want.Verify = []machine.Command{{Name: "all files of nginx", Argv: []string{"nginx", "-t"}}}
	d.want.Reads = slices.Concat(nginxReads, g.lost())
	d.judge = func(contents map[string]string) ([]handLine, []string) {
		others := maps.Clone(contents)
		delete(others, g.streams()) // what is left of passThrough is ours
		return judgeServers(config, others)
	}
	d.complete = g.complete()
	return d, nil
}

// render adds the files of a configuration, the packages that they need, and the folder for those of Routes. Keys are among
// them.
func (g gateway) render(config nginx.Config, d *design) error {
	files, err := config.Render()
	if err != nil {
		return reconcile.Stall(InvalidReason, err)
	}
	add := func(path string, content []byte) {
		d.want.Files = append(d.want.Files, machine.File{Path: path, Content: content, Triggers: d.triggers})
	}
	add(g.conf(), files.Main)
	add(config.ServerFile(), files.Server)
	d.want.Dirs = []machine.Dir{{Path: nginx.RoutesFolder(g.s.Name), Owner: "root", Group: "root", Mode: 0o700}}
	d.want.Packages = []string{cmp.Or(g.s.Spec.Nginx.PackageName, nginxPackage), "curl"}
	if files.Stream != nil {
		add(g.streams(), files.Stream)
		d.want.Packages = append(d.want.Packages, streamModule)
	}
	return nil
}

// askFor is a call of curl by which the machine asks itself for a name, at a path that it answers itself alone. Whose
// certificate it is matters not: clients judge that.
func (g gateway) askFor(scheme, name string, port int) []string {
	name = strings.Replace(name, "*", "phoenix-probe", 1)
	whole := name + ":" + strconv.Itoa(port)
	at := g.address
	if strings.Contains(at, ":") {
		at = "[" + at + "]"
	}
	return []string{
		"curl", "--silent", "--output", "/dev/null", "--noproxy", "*", "--max-time", "4", "--resolve", whole + ":" + at,
		"--write-out", "%{http_code}", scheme + "://" + whole + nginx.ProbePath,
	}
}

// plainProbe asks whether HTTP is answered by this service.
func (g gateway) plainProbe(name string, port int) machine.Probe {
	return machine.Probe{Name: "nginx on port " + strconv.Itoa(port), Argv: g.askFor("http", name, port), Want: "204"}
}

// secureProbe asks whether a server is served with its key, and no other.
func (g gateway) secureProbe(e entry, name string, port int) machine.Probe {
	sum := sha256.Sum256(e.pair.leaf.RawSubjectPublicKeyInfo)
	argv := g.askFor("https", name, port)
	last := len(argv) - 1
	argv = append(argv[:last:last], "--insecure", "--pinnedpubkey", "sha256//"+base64.StdEncoding.EncodeToString(sum[:]), argv[last])
	return machine.Probe{Name: "server " + e.Name + " on " + net.JoinHostPort(g.address, strconv.Itoa(port)), Argv: argv, Want: "204"}
}
