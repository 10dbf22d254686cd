// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
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
	nginxKeys    = "/etc/nginx/phoenix/"
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
}

// servedCertificate is a certificate of an nginx service.
type servedCertificate struct {
	server, path string
	ends         time.Time
}

// designNginx turns an nginx service, and what the Secrets of its servers hold, into the state of its machine.
func designNginx(s *v1alpha1.HostService, t target, pairs []tlsPair, older []v1alpha1.HostService) (design, error) {
	if i := slices.IndexFunc(older, func(o v1alpha1.HostService) bool { return o.Spec.Nginx != nil }); i >= 0 {
		return design{}, reconcile.Stall(AlreadyServedReason, fmt.Errorf(
			"run nginx on %s: HostService/%s does so already, and is older: declare the servers there, or delete it", t, older[i].Name))
	}
	g := gateway{s: s, address: "127.0.0.1"}
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

// files are the paths of a server's certificate and of its key.
func (g gateway) files(e entry) (certificate, key string) {
	folder := nginxKeys + fileName(g.s) + "/" + e.Name
	return folder + ".crt", folder + ".key"
}

// design is the state of the machine. A server whose Secret cannot be used is left out, unless the machine has what it was
// served with before.
func (g gateway) design() (design, error) {
	reload := []machine.Trigger{{Unit: nginxUnit, Action: machine.Reload}}
	d := design{triggers: reload, fields: func(_, line string) string { return nginx.Field(line) }}
	http, https := nginxPorts(g.s.Spec.Nginx)
	config := nginx.Config{About: about(g.s), HTTPPort: http, HTTPSPort: https}
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
		d.want.Probes = append(d.want.Probes, g.secureProbe(e, names[i][0], https))
		d.served = append(d.served, servedCertificate{e.Name, certificate, e.pair.ends()})
	}
	if len(config.Servers) > 0 {
		d.want.Probes = append(d.want.Probes, g.plainProbe(config.Servers[0].Names[0], http))
	}
	content, err := config.Render()
	if err != nil {
		return design{}, reconcile.Stall(InvalidReason, err)
	}
	d.want.Files = append(d.want.Files, machine.File{Path: g.conf(), Content: content, Triggers: reload})
	d.want.Packages = []string{cmp.Or(g.s.Spec.Nginx.PackageName, nginxPackage), "curl"}
	d.want.Units = []machine.Unit{{Name: nginxUnit, Enabled: true, Running: true}}
	d.want.Verify = []machine.Command{{Name: "all files of nginx", Argv: []string{"nginx", "-t"}}}
	d.want.Reads = slices.Concat(nginxReads, g.lost())
	d.judge = func(contents map[string]string) ([]handLine, []string) { return judgeServers(config, contents) }
	d.complete = g.complete()
	return d, nil
}

// askFor is a call of curl that asks this machine for a name. Whose certificate it is matters not: clients judge that.
func (g gateway) askFor(scheme, name string, port int) []string {
	name = strings.Replace(name, "*", "phoenix-probe", 1)
	whole := name + ":" + strconv.Itoa(port)
	at := g.address
	if strings.Contains(at, ":") {
		at = "[" + at + "]"
	}
	return []string{
		"curl", "--silent", "--output", "/dev/null", "--noproxy", "*", "--max-time", "4", "--resolve", whole + ":" + at,
		"--write-out", "%{http_code}", scheme + "://" + whole + "/",
	}
}

// plainProbe asks whether a name is sent from HTTP to HTTPS.
func (g gateway) plainProbe(name string, port int) machine.Probe {
	return machine.Probe{Name: "nginx on port " + strconv.Itoa(port), Argv: g.askFor("http", name, port), Want: "308"}
}

// secureProbe asks whether a server is served with its key, and no other.
func (g gateway) secureProbe(e entry, name string, port int) machine.Probe {
	sum := sha256.Sum256(e.pair.leaf.RawSubjectPublicKeyInfo)
	argv := g.askFor("https", name, port)
	last := len(argv) - 1
	argv = append(argv[:last:last], "--insecure", "--pinnedpubkey", "sha256//"+base64.StdEncoding.EncodeToString(sum[:]), argv[last])
	return machine.Probe{Name: "server " + e.Name + " on " + net.JoinHostPort(g.address, strconv.Itoa(port)), Argv: argv, Match: "^[2-5][0-9][0-9]$"}
}
