// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/stepca"
)

const (
	caUnit     = "step-ca.service"
	caUnitFile = "/etc/systemd/system/step-ca.service"
	caUser     = "step-ca"
	caDir      = "/etc/step-ca"
	caConf     = caDir + "/ca.json"
	// caRoots holds all roots that are trusted, the present one first.
	caRoots       = caDir + "/root.crt"
	caCertificate = caDir + "/intermediate.crt"
	caKey         = caDir + "/intermediate.key"
	// handmadeRoot is where "step ca init" puts the root of an authority of somebody else.
	handmadeRoot = caDir + "/certs/root_ca.crt"
	caData       = "/var/lib/step-ca"
	caDatabase   = caData + "/db"
	// caPatience is how long step-ca may take from a restart to its first answer.
	caPatience = 30 * time.Second
)

// designStepCA turns a stepCA service, and the keys that there are, into the state of its machine. Without all keys, it is
// what can be told beforehand.
func designStepCA(s *v1alpha1.HostService, t target, older []v1alpha1.HostService, v *vault) (design, error) {
	spec := s.Spec.StepCA
	if i := slices.IndexFunc(older, func(o v1alpha1.HostService) bool { return o.Spec.StepCA != nil }); i >= 0 {
		return design{}, reconcile.Stall(AlreadyServedReason, fmt.Errorf(
			"raise an authority on %s: HostService/%s is one already, and is older: delete one of them", t, older[i].Name))
	}
	addresses := ipsOf(ownAddresses(t.guest))
	if len(addresses) == 0 {
		return design{}, reconcile.Wait(NoAddressReason, machineAwayFor, fmt.Errorf("waiting for Guest/%s: it has no address yet", t.guest.Name))
	}
	names := caNames(s, t.guest)
	d := design{want: caProgram(s), fields: func(path, line string) string { return caField(path, line, names) }}
	d.want.Reads = []string{caRoots, caConf, handmadeRoot}
	if !v.has(intermediatePart) {
		d.want.Reads = append(d.want.Reads, caCertificate, caKey)
	}
	if !v.whole() {
		return d, nil
	}
	conf, err := caConfig(spec, names, v)
	if err != nil {
		return design{}, reconcile.Stall(InvalidReason, err)
	}
	restart := []machine.Trigger{{Unit: caUnit, Action: machine.Restart}}
	d.want.Dirs = []machine.Dir{{Path: caDir, Owner: "root", Group: "root", Mode: 0o755}, {Path: caData, Owner: caUser, Group: caUser, Mode: 0o700}}
	d.want.Files = append(
		d.want.Files,
		machine.File{Path: caRoots, Content: stepca.EncodeChain(v.roots), Triggers: restart},
		machine.File{Path: caCertificate, Content: v.pair.certPEM, Triggers: restart},
		machine.File{Path: caKey, Content: v.pair.keyPEM, Owner: caUser, Group: caUser, Mode: 0o600, Secret: true, Triggers: restart},
		machine.File{Path: caConf, Content: conf, Triggers: restart},
	)
	d.want.Units = []machine.Unit{{Name: caUnit, Enabled: true, Running: true}}
	d.want.Probes = []machine.Probe{{
		Name: "step-ca", Match: `"status":"ok"`, Patience: caPatience,
		// What curl complains of is what people need to read.
		Argv: []string{"sh", "-c", fmt.Sprintf("exec curl --silent --show-error --noproxy '*' --max-time 4 --cacert %s '%s/health' 2>&1", caRoots, caURL(spec, addresses[0]))},
	}}
	return d, nil
}

// caProgram is the program, its account and its unit: what needs no keys.
func caProgram(s *v1alpha1.HostService) machine.State {
	spec := s.Spec.StepCA
	restart := []machine.Trigger{{Unit: caUnit, Action: machine.Restart}}
	state := machine.State{Users: []machine.User{{Name: caUser}}, Packages: []string{"curl"}}
	path := "/usr/bin/step-ca"
	if a := spec.Artifact; a != nil {
		path = "/usr/local/bin/step-ca"
		state.Artifacts = []machine.Artifact{{URL: a.URL, SHA256: a.SHA256, Member: a.Member, Path: path, Triggers: restart}}
	} else {
		state.Packages = append(state.Packages, spec.PackageName)
	}
	state.Files = []machine.File{{Path: caUnitFile, Content: []byte(caUnitText(s, path)), Triggers: restart}}
	return state
}

// caConfig renders the daemon's configuration.
func caConfig(spec *v1alpha1.StepCA, names []string, v *vault) ([]byte, error) {
	least, most, usual := caLives(spec)
	c := stepca.Config{
		Address: fmt.Sprintf(":%d", caPort(spec)), DNSNames: names, Roots: []string{caRoots}, Certificate: caCertificate, Key: caKey,
		Provisioner: provisionerName, ProvisionerKey: v.public, Claims: stepca.Claims{Min: least, Max: most, Default: usual},
	}
	if spec.ACME != nil {
		c.ACME = spec.ACME.Name
	}
	if cmp.Or(spec.Database, v1alpha1.StepCABadger) == v1alpha1.StepCABadger {
		c.Database = caDatabase
	}
	return c.JSON()
}

// caUnitText is the unit. It has no more rights than to sign: it writes its database alone, and binds a low port.
func caUnitText(s *v1alpha1.HostService, program string) string {
	capability := "CAP_NET_BIND_SERVICE"
	if caPort(s.Spec.StepCA) >= 1024 {
		capability = ""
	}
	return `# Made by Phoenix for ` + about(s) + `: changes are put back.
[Unit]
Description=Certificate authority of ` + about(s) + `
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
User=` + caUser + `
Group=` + caUser + `
Environment=STEPPATH=` + caDir + `
ExecStart=` + program + ` ` + caConf + `
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
UMask=0077
AmbientCapabilities=` + capability + `
CapabilityBoundingSet=` + capability + `
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=` + caData + `
ProtectHome=yes
PrivateTmp=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictSUIDSGID=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
`
}

// caField tells by which field of the spec a line of ca.json is declared.
func caField(path, line string, names []string) string {
	if path != caConf {
		return ""
	}
	for mark, field := range map[string]string{
		`"address":`: "port", `"minTLSCertDuration":`: "claims.minDuration", `"maxTLSCertDuration":`: "claims.maxDuration",
		`"defaultTLSCertDuration":`: "claims.defaultDuration", `"dataSource":`: "database", `"type": "ACME"`: "acme",
	} {
		if strings.HasPrefix(strings.TrimSpace(line), mark) {
			return "stepCA." + field
		}
	}
	if slices.Contains(names, strings.Trim(strings.TrimSpace(line), `",`)) {
		return "stepCA.dnsNames"
	}
	return ""
}

// caFound is what a machine has of an authority.
type caFound struct {
	// roots that stand where ours do, and where those of an authority made by hand do.
	roots, handmade []*x509.Certificate
	// pair is the intermediate with its key; nil: there is none, or it was not read, as the Secret has one.
	pair *caPair
	// ours says that Phoenix put it there in the name of this HostService.
	ours bool
}

// findAuthority reads what the machine has. What cannot be read is nothing: it is written anew.
func findAuthority(seen *machineSeen) caFound {
	var f caFound
	contents := seen.seen.Contents
	if roots, err := parseRoots(contents[caRoots]); err == nil {
		f.roots = roots
	}
	if roots, err := parseRoots(contents[handmadeRoot]); err == nil {
		f.handmade = roots
	}
	// What is not in our record is refused, whatever its content.
	_, err := machine.Plan(seen.owner, machine.State{Files: []machine.File{{Path: caRoots}}}, seen.seen, machine.PlanOptions{})
	f.ours = err == nil
	if pair, err := parsePair(contents[caCertificate], contents[caKey]); err == nil && pair.leadTo(f.roots) == nil {
		f.pair = pair
	}
	return f
}
