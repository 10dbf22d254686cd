// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/dnsmasq"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	dnsmasqUnit = "dnsmasq.service"
	// dnsmasqSkips are the suffixes of files in /etc/dnsmasq.d that Debian's dnsmasq does not read.
	dnsmasqSkips = ".dpkg-dist,.dpkg-old,.dpkg-new"
	mainConf     = "/etc/dnsmasq.conf"
	confDir      = "/etc/dnsmasq.d/"
	systemHosts  = "/etc/hosts"
	// guestRank comes after every record.
	guestRank    = 1000
	defaultLease = time.Hour
	// answerPatience is how long dnsmasq may take from a restart to its first answer.
	answerPatience = 10 * time.Second
)

// hostLabel is what a Guest's hostname must be to be answered.
var hostLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)

// designDnsmasq turns a dnsmasq service into the state of its machine. What is answered for Routes that are not enforced depends
// on what is answered now.
func designDnsmasq(s *v1alpha1.HostService, t target, guests []v1alpha1.Guest, routes []routed, older []v1alpha1.HostService) (design, error) {
	if i := slices.IndexFunc(older, func(o v1alpha1.HostService) bool { return o.Spec.Dnsmasq != nil }); i >= 0 {
		return design{}, reconcile.Stall(AlreadyServedReason, fmt.Errorf(
			"answer names on %s: HostService/%s does so already, and is older: declare the names there, or delete it", t, older[i].Name))
	}
	var still, moving []routed
	for _, r := range routes {
		if r.still() {
			still = append(still, r)
		} else {
			moving = append(moving, r)
		}
	}
	d, err := designAnswers(s, t, guests, moving)
	if err != nil || len(still) == 0 {
		return d, err
	}
	d.complete = func(contents map[string][]byte) (*design, error) {
		kept := stillAnswered(still, placesOf(s), contents)
		if len(kept) == 0 {
			return nil, nil
		}
		whole, err := designAnswers(s, t, guests, slices.Concat(moving, kept))
		return &whole, err
	}
	return d, nil
}

// designAnswers is the design for these Routes and no others.
func designAnswers(s *v1alpha1.HostService, t target, guests []v1alpha1.Guest, routes []routed) (design, error) {
	d := design{triggers: []machine.Trigger{{Unit: dnsmasqUnit, Action: machine.Restart}}}
	config, places := nameConfig(s, t, guests, routes, &d)
	var twice []dnsmasq.Duplicate
	config, twice = config.Distinct()
	for _, one := range twice {
		d.left = append(d.left, leftOut{DuplicateNameReason, one.String()})
	}
	for _, one := range config.Dangling() {
		if config.DHCP == nil { // else it may be the name of a client
			d.left = append(d.left, leftOut{TargetMissingReason, fmt.Sprintf("%s.cname: %s is not answered here: declare it, or correct the name", one.Source, one.Target)})
		}
	}
	files, err := config.Render()
	if err != nil {
		return design{}, reconcile.Stall(InvalidReason, err)
	}
	d.want = dnsmasqState(config, files, places)
	d.judge = func(contents map[string]string) ([]handLine, []string) { return judgeNames(config, contents) }
	d.fields = func(path, line string) string { return dnsmasqField(config, places, path, line) }
	d.config = config
	return d, nil
}

// dnsmasqPlaces are the paths of one service.
type dnsmasqPlaces struct{ dropIn, hosts, reservations string }

func placesOf(s *v1alpha1.HostService) dnsmasqPlaces {
	folder := "/etc/phoenix/dnsmasq/" + fileName(s)
	return dnsmasqPlaces{confDir + "phoenix-" + fileName(s) + ".conf", folder + "/hosts/names", folder + "/dhcp-hosts"}
}

func dnsmasqState(config dnsmasq.Config, files dnsmasq.Files, at dnsmasqPlaces) machine.State {
	reload := []machine.Trigger{{Unit: dnsmasqUnit, Action: machine.Reload}}
	state := machine.State{
		Packages: []string{"dnsmasq", "bind9-dnsutils"},
		Files: []machine.File{
			{Path: at.hosts, Content: files.Hosts, Triggers: reload},
			{
				Path: at.dropIn, Content: files.DropIn, Validate: []string{"dnsmasq", "--test", "--conf-file={}"},
				Triggers: []machine.Trigger{{Unit: dnsmasqUnit, Action: machine.Restart}},
			},
		},
		Units:  []machine.Unit{{Name: dnsmasqUnit, Enabled: true, Running: true}},
		Verify: []machine.Command{{Name: "all files of dnsmasq", Argv: []string{"dnsmasq", "--test", "--conf-dir=/etc/dnsmasq.d," + dnsmasqSkips}}},
		Probes: nameProbes(config),
		Reads:  []string{mainConf, confDir + "*", systemHosts, at.hosts},
	}
	if files.Reservations != nil {
		state.Files = append(state.Files, machine.File{Path: at.reservations, Content: files.Reservations, Triggers: reload})
		state.Reads = append(state.Reads, at.reservations)
	}
	return state
}

// nameProbes ask on each address for one name that is declared; with none, for an answer of any kind.
func nameProbes(config dnsmasq.Config) []machine.Probe {
	var probes []machine.Probe
	for _, listen := range config.Listen {
		p := machine.Probe{Name: "dnsmasq on " + listen, Argv: []string{"dig", "+short", "+time=1", "+tries=2", "@" + listen}, Patience: answerPatience}
		if len(config.Hosts) == 0 {
			p.Argv = append(p.Argv, cmp.Or(config.Domain, "localhost"), "A")
		} else {
			h := config.Hosts[0]
			kind := "AAAA"
			address, err := netip.ParseAddr(h.Addresses[0])
			if err == nil && address.Is4() {
				kind = "A"
			}
			p.Argv = append(p.Argv, config.Full(h.Name), kind)
			p.Match = "^" + regexp.QuoteMeta(address.String()) + "$"
		}
		probes = append(probes, p)
	}
	return probes
}

// nameConfig gathers what is answered. What is left out for now goes to the design's notes.
func nameConfig(s *v1alpha1.HostService, t target, guests []v1alpha1.Guest, routes []routed, d *design) (dnsmasq.Config, dnsmasqPlaces) {
	spec := s.Spec.Dnsmasq
	at := placesOf(s)
	config := dnsmasq.Config{
		About: about(s), Listen: spec.ListenAddresses, Upstreams: spec.Upstreams, Own: ipsOf(t.addresses()), Domain: spec.Domain, HostsDir: path.Dir(at.hosts),
	}
	declareRecords(&config, spec.Records)
	published := isTrue(spec.PublishGuests, true)
	if published {
		publish(&config, t, guests, d)
	}
	publishRoutes(&config, routes, d)
	for _, z := range spec.Zones {
		config.Zones = append(config.Zones, dnsmasq.Zone{Source: "zones[" + z.Domain + "]", Domain: z.Domain, Servers: z.Servers})
	}
	if spec.DHCP != nil {
		config.DHCP = leases(spec.DHCP, at.reservations, config, guests, published, d)
	}
	return config, at
}

func declareRecords(config *dnsmasq.Config, records []v1alpha1.DNSRecord) {
	for i, r := range records {
		source := fmt.Sprintf("records[%d]", i)
		switch {
		case r.CNAME != "":
			config.CNAMEs = append(config.CNAMEs, dnsmasq.CNAME{Source: source, Rank: i, Name: r.Name, Target: r.CNAME})
		case len(r.Text) > 0:
			config.Texts = append(config.Texts, dnsmasq.Text{Source: source, Rank: i, Name: r.Name, Strings: r.Text})
		case r.SRV != nil:
			config.Services = append(config.Services, dnsmasq.Service{
				Source: source, Rank: i, Name: r.Name, Target: r.SRV.Target, Port: int(r.SRV.Port), Priority: number(r.SRV.Priority), Weight: number(r.SRV.Weight),
			})
		default:
			config.Hosts = append(config.Hosts, dnsmasq.Host{
				Source: source, Rank: i, Name: r.Name, Addresses: r.Addresses, Subdomains: isTrue(r.Subdomains, false),
			})
		}
	}
}

// publish answers the names of the Guests of the same Host that have an address. The older one has a name that two want,
// but the lines are in the order of names: by age they would be in another one for every control plane, as objects that are
// applied together are of one second or of two, and a site that moves to a new one would be written to for that alone.
func publish(config *dnsmasq.Config, t target, guests []v1alpha1.Guest, d *design) {
	records := len(config.Hosts)
	defer func() {
		slices.SortFunc(config.Hosts[records:], func(a, b dnsmasq.Host) int { return cmp.Compare(a.Source, b.Source) })
	}()
	for i := range guests {
		g := &guests[i]
		if g.Spec.HostRef.Name != t.host.Name {
			continue
		}
		addresses := ipsOf(ownAddresses(g))
		name := guestName(g)
		switch {
		case len(addresses) == 0:
		case !answerable(config, name):
			d.notes = append(d.notes, fmt.Sprintf("Guest/%s: its hostname %q is no name that can be answered", g.Name, name))
		default:
			config.Hosts = append(config.Hosts, dnsmasq.Host{Source: "Guest/" + g.Name, Rank: rankOf(g), Name: name, Addresses: addresses})
		}
	}
}

// guestName is the name that a Guest is answered by.
func guestName(g *v1alpha1.Guest) string { return strings.ToLower(cmp.Or(g.Spec.Hostname, g.Name)) }

// ipsOf are the addresses among texts that a file can hold.
func ipsOf(texts []string) []string {
	return slices.DeleteFunc(slices.Clone(texts), func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err != nil || a.Zone() != "" || a.Is4In6()
	})
}

// leases gathers what is handed out. published says that Guests are answered by their names in any case.
func leases(spec *v1alpha1.DHCP, file string, config dnsmasq.Config, guests []v1alpha1.Guest, published bool, d *design) *dnsmasq.DHCP {
	dhcp := &dnsmasq.DHCP{Gateway: spec.Gateway, HostsFile: file}
	named := map[string]bool{}
	for _, r := range spec.Ranges {
		lease := defaultLease
		if r.Lease != nil {
			lease = r.Lease.Duration
		}
		dhcp.Ranges = append(dhcp.Ranges, dnsmasq.Range{Source: "dhcp.ranges[" + r.First + "]", First: r.First, Last: r.Last, Lease: lease})
	}
	for _, r := range spec.Reservations {
		source := "dhcp.reservations[" + r.Address + "]"
		mac := macOf(guestNamed(guests, r.GuestRef.Name), cmp.Or(r.Device, "net0"))
		if mac == "" {
			d.notes = append(d.notes, fmt.Sprintf("%s: Guest/%s has no %s with a MAC address yet", source, r.GuestRef.Name, cmp.Or(r.Device, "net0")))
			continue
		}
		name := guestName(guestNamed(guests, r.GuestRef.Name))
		other := holderOf(config, name, "Guest/"+r.GuestRef.Name)
		switch {
		case !hostLabel.MatchString(name) || strings.Contains(name, ".") || named[name]:
			name = ""
		case other != "":
			if !published { // else the Guest's own name says so
				d.left = append(d.left, leftOut{DuplicateNameReason, dnsmasq.Duplicate{Name: config.Full(name), First: other, Second: source}.String()})
			}
			name = ""
		}
		named[name] = true
		dhcp.Reservations = append(dhcp.Reservations, dnsmasq.Reservation{Source: source, MAC: mac, Address: r.Address, Name: name})
	}
	return dhcp
}

// holderOf names who else than a Guest has a name: then its lease gets none.
func holderOf(config dnsmasq.Config, name, guest string) string {
	full := config.Full(name)
	for _, h := range config.Hosts {
		if config.Full(h.Name) == full && h.Source != guest {
			return h.Source
		}
	}
	for _, r := range config.CNAMEs {
		if config.Full(r.Name) == full {
			return r.Source
		}
	}
	return ""
}

func macOf(g *v1alpha1.Guest, device string) string {
	if g == nil {
		return ""
	}
	for _, n := range g.Status.Networks {
		if n.Device == device {
			return n.MAC
		}
	}
	return ""
}

func number(n *int32) int {
	if n == nil {
		return 0
	}
	return int(*n)
}
