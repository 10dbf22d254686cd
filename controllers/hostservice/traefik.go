// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
)

// A router holds the program, its unit and its own configuration. The files of Routes, in its folder, are theirs alone.

const (
	traefikDir      = "/etc/traefik"
	traefikConf     = traefikDir + "/traefik.yml"
	traefikDynamic  = traefikDir + "/dynamic" // which Traefik watches
	traefikRoutes   = traefikDynamic + "/routes"
	traefikPrevious = traefikDir + "/previous" // where files of Routes are kept that others took the place of
	traefikProgram  = "/usr/local/bin/traefik"
	traefikUser     = "traefik"
	traefikUnit     = "traefik.service"
	traefikUnitFile = "/etc/systemd/system/" + traefikUnit
	// traefikHold lets new connections wait while Traefik restarts, in a table of nftables of this name.
	traefikHold = traefikDir + "/hold.nft"
	holdTable   = "phoenix_traefik"
	// traefikPatience is how long Traefik may take to its first answer once it told systemd that it is ready.
	traefikPatience = 10 * time.Second

	defaultWeb       = 80
	defaultWebSecure = 443
	defaultAPI       = 8080
)

// traefikRefs: a gateway that changes re-queues; nothing waits for it.
func traefikRefs(s *v1alpha1.HostService) []reconcile.Ref {
	var refs []reconcile.Ref
	for _, g := range s.Spec.Traefik.GatewayRefs {
		refs = append(refs, reconcile.Soft("HostService", g.Name))
	}
	return refs
}

// router is a traefik service in the making.
type router struct {
	s *v1alpha1.HostService
	// address at which gateways reach it.
	address string
	// trusted are the addresses of its gateways, and those that it keeps while one has none.
	trusted []string
	left    []leftOut
	notes   []string
}

// designRouter reads the services among which a traefik service's gateways are, and makes its design.
func (k *Kind) designRouter(ctx context.Context, s *v1alpha1.HostService, t target, guests []v1alpha1.Guest, older []v1alpha1.HostService) (design, error) {
	var all v1alpha1.HostServiceList
	if err := k.Reader.List(ctx, &all, client.InNamespace(s.Namespace)); err != nil {
		return design{}, fmt.Errorf("list HostServices: %w", err)
	}
	return designTraefik(s, t, guests, all.Items, older)
}

// designTraefik turns a traefik service, and the gateways that it names, into the state of its machine.
func designTraefik(s *v1alpha1.HostService, t target, guests []v1alpha1.Guest, services, older []v1alpha1.HostService) (design, error) {
	if err := takenBefore(s, t, older); err != nil {
		return design{}, err
	}
	r := router{s: s, address: trafficAddress(t.guest)}
	if r.address == "" {
		return design{}, reconcile.Wait(NoAddressReason, machineAwayFor, fmt.Errorf("waiting for Guest/%s: it has no address yet", t.guest.Name))
	}
	unknown, err := r.trust(guests, services)
	if err != nil {
		return design{}, err
	}
	d, err := r.design()
	if err != nil || !unknown {
		return d, err
	}
	d.complete = func(contents map[string][]byte) (*design, error) {
		return r.keep(traefik.Trusted(contents[traefikConf]))
	}
	return d, nil
}

// takenBefore refuses a second Traefik of a machine, and a port that an older service has there.
func takenBefore(s *v1alpha1.HostService, t target, older []v1alpha1.HostService) error {
	for i := range older {
		o := &older[i]
		if o.Spec.Traefik != nil {
			return reconcile.Stall(AlreadyServedReason, fmt.Errorf("run Traefik on %s: HostService/%s does so already, and is older: delete one of them", t, o.Name))
		}
		for _, port := range portsTaken(o) {
			if slices.Contains(portsTaken(s), port) {
				return reconcile.Stall(AlreadyServedReason, fmt.Errorf(
					"run Traefik on %s: HostService/%s has port %d there already, and is older: set another port", t, o.Name, port))
			}
		}
	}
	return nil
}

// portsTaken are the ports of a machine that a service takes to itself.
func portsTaken(s *v1alpha1.HostService) []int {
	switch {
	case s.Spec.Nginx != nil:
		http, https := nginxPorts(s.Spec.Nginx)
		return []int{http, https}
	case s.Spec.StepCA != nil:
		return []int{caPort(s.Spec.StepCA)}
	case s.Spec.Portainer != nil:
		return []int{portainerPort(s.Spec.Portainer)}
	case s.Spec.PortainerAgent != nil:
		return []int{agentPort(s.Spec.PortainerAgent)}
	case s.Spec.Traefik != nil:
		web, secure := traefikPorts(s.Spec.Traefik)
		ports := []int{web, secure, int(cmp.Or(s.Spec.Traefik.APIPort, defaultAPI))}
		if s.Spec.Traefik.MetricsPort != 0 {
			ports = append(ports, int(s.Spec.Traefik.MetricsPort))
		}
		return ports
	}
	return nil
}

// traefikPorts are where gateways send HTTP, and TLS that they pass through.
func traefikPorts(spec *v1alpha1.Traefik) (web, secure int) {
	return int(cmp.Or(spec.WebPort, defaultWeb)), int(cmp.Or(spec.WebSecurePort, defaultWebSecure))
}

// trafficAddress is where a Guest receives: the address that it is declared to have, else the one that it has. Empty: it
// has none yet.
func trafficAddress(g *v1alpha1.Guest) string {
	for _, a := range slices.Concat(declaredAddresses(g), g.Status.Addresses) {
		return a
	}
	return ""
}

// trust finds the addresses of the gateways. unknown says that one has none now.
func (r *router) trust(guests []v1alpha1.Guest, services []v1alpha1.HostService) (unknown bool, err error) {
	for i, ref := range r.s.Spec.Traefik.GatewayRefs {
		field := fmt.Sprintf("gatewayRefs[%d]", i)
		at := slices.IndexFunc(services, func(o v1alpha1.HostService) bool { return o.Name == ref.Name })
		switch {
		case at < 0:
			r.left = append(r.left, leftOut{TargetMissingReason, fmt.Sprintf("%s: HostService/%s is not there: declare it, or take it out", field, ref.Name)})
			continue
		case services[at].Spec.Nginx == nil:
			return false, reconcile.Stall(InvalidReason, fmt.Errorf("%s: HostService/%s is no nginx: name one that is", field, ref.Name))
		}
		var addresses []string
		guest := guestNamed(guests, guestOf(&services[at]))
		if guest != nil {
			addresses = addressesOf(guest)
		}
		if len(addresses) == 0 {
			unknown = true
			r.notes = append(r.notes, fmt.Sprintf("HostService/%s, whose Guest has no address yet", ref.Name))
		}
		r.trusted = append(r.trusted, addresses...)
	}
	slices.Sort(r.trusted)
	r.trusted = slices.Compact(r.trusted)
	return unknown, nil
}

// keep returns the design with what the machine trusts already: a gateway whose Guest restarts is believed when it comes
// back, and Traefik is not restarted for it. Nil: that is nothing more.
func (r router) keep(trusted []string) (*design, error) {
	all := slices.Concat(r.trusted, trusted)
	slices.Sort(all)
	if all = slices.Compact(all); slices.Equal(all, r.trusted) {
		return nil, nil
	}
	r.trusted = all
	d, err := r.design()
	return &d, err
}

// design is the state of the machine.
func (r router) design() (design, error) {
	spec := r.s.Spec.Traefik
	web, secure := traefikPorts(spec)
	static := traefik.Static{
		About: about(r.s), WebPort: web, WebSecurePort: secure, APIPort: int(cmp.Or(spec.APIPort, defaultAPI)), MetricsPort: int(spec.MetricsPort),
		Trusted: r.trusted, AccessLog: isTrue(spec.AccessLog, false), LogLevel: spec.LogLevel, Folder: traefikDynamic,
	}
	conf, err := static.YAML()
	if err != nil {
		return design{}, reconcile.Stall(InvalidReason, err)
	}
	restart := []machine.Trigger{{Unit: traefikUnit, Action: machine.Restart}}
	d := design{left: r.left, notes: r.notes, fields: r.field}
	d.want = machine.State{
		Users: []machine.User{{Name: traefikUser}}, Packages: []string{"curl", "nftables"},
		Artifacts: []machine.Artifact{{URL: spec.Artifact.URL, SHA256: spec.Artifact.SHA256, Member: spec.Artifact.Member, Path: traefikProgram, Triggers: restart}},
		Dirs: []machine.Dir{
			{Path: traefikDir, Owner: "root", Group: "root", Mode: 0o755}, {Path: traefikDynamic, Owner: "root", Group: traefikUser, Mode: 0o750},
			{Path: traefikRoutes, Owner: "root", Group: traefikUser, Mode: 0o750},
			{Path: traefikPrevious, Owner: "root", Group: "root", Mode: 0o700},
		},
		Files: []machine.File{
			{Path: traefikHold, Content: r.hold()}, {Path: traefikUnitFile, Content: []byte(r.unitText()), Triggers: restart},
			{Path: traefikConf, Content: conf, Triggers: restart},
		},
		Units:  []machine.Unit{{Name: traefikUnit, Enabled: true, Running: true}},
		Probes: []machine.Probe{r.apiProbe(static.APIPort), r.webProbe(web)},
		Reads:  []string{traefikConf},
	}
	return d, nil
}

// field tells by which field of the spec a line of the configuration is declared.
func (r router) field(path, line string) string {
	if field := traefik.Field(line); path == traefikConf && field != "" {
		return "traefik." + field
	}
	return ""
}

// apiProbe asks Traefik for its version, and sees that the program that runs is the one in its place.
func (r router) apiProbe(port int) machine.Probe {
	script := fmt.Sprintf(`said=$(curl --silent --show-error --fail --noproxy '*' --max-time 4 http://127.0.0.1:%d/api/version 2>&1) || { printf '%%s\n' "$said"; exit 1; }
case $(readlink "/proc/$(systemctl show --property=MainPID --value %s)/exe") in
*' (deleted)') echo 'the program that runs is not the one in its place any more: restart %s'; exit 1 ;;
esac
printf '%%s\n' "$said"`, port, traefikUnit, traefikUnit)
	return machine.Probe{Name: "traefik", Argv: []string{"sh", "-c", script}, Match: `"Version":"[^"]+"`, Patience: traefikPatience}
}

// webProbe asks for a name that nobody declares: any answer is Traefik's.
func (r router) webProbe(port int) machine.Probe {
	at := net.JoinHostPort(r.address, strconv.Itoa(port))
	return machine.Probe{
		Name: "entry point web on " + at, Match: "^[2-5][0-9][0-9]$", Patience: traefikPatience,
		Argv: []string{"curl", "--silent", "--output", "/dev/null", "--noproxy", "*", "--max-time", "4", "--write-out", "%{http_code}", "http://" + at + "/"},
	}
}
