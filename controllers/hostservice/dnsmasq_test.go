// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// born is when the first of the objects was made.
var born = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))

func about1(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "home", Name: name, CreationTimestamp: born}
}

// aged makes an object younger by so many seconds.
func aged[T client.Object](o T, seconds int) T {
	o.SetCreationTimestamp(metav1.NewTime(born.Add(time.Duration(seconds) * time.Second)))
	return o
}

func testHost(nodes ...string) *v1alpha1.Host {
	h := &v1alpha1.Host{ObjectMeta: about1("phoenix")}
	h.Spec.Allow = &v1alpha1.HostAllow{ExportPaths: []string{"/srv", "/tank/media"}}
	h.Spec.SSH = &v1alpha1.HostSSH{}
	for _, n := range nodes {
		h.Spec.SSH.Nodes = append(h.Spec.SSH.Nodes, v1alpha1.HostSSHNode{Name: n, Address: "10.0.0.13:22"})
	}
	return h
}

func testGuest(name string, addresses ...string) *v1alpha1.Guest {
	g := &v1alpha1.Guest{ObjectMeta: about1(name)}
	g.Spec.HostRef.Name, g.Spec.Type = "phoenix", v1alpha1.GuestContainer
	g.Status.Addresses = addresses
	return g
}

func testDNS(change func(*v1alpha1.Dnsmasq)) *v1alpha1.HostService {
	s := &v1alpha1.HostService{ObjectMeta: about1("dns")}
	s.Spec.HostRef = &v1alpha1.LocalReference{Name: "phoenix"}
	s.Spec.Dnsmasq = &v1alpha1.Dnsmasq{ListenAddresses: []string{"10.0.0.13"}, Upstreams: []string{"9.9.9.9"}, Domain: "lan"}
	if change != nil {
		change(s.Spec.Dnsmasq)
	}
	return s
}

// hostsOf are the lines of a design's hosts file, without the comments.
func hostsOf(t *testing.T, d design) []string {
	t.Helper()
	for _, f := range d.want.Files {
		if strings.HasSuffix(f.Path, "/names") {
			return linesOf(string(f.Content))
		}
	}
	t.Fatal("there is no hosts file")
	return nil
}

func linesOf(content string) []string {
	var lines []string
	for line := range strings.SplitSeq(content, "\n") {
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestPublishedNames(t *testing.T) {
	static := testGuest("step-ca")
	static.Spec.Networks = []v1alpha1.Network{{Device: "net0", IPv4: &v1alpha1.IPv4{Method: v1alpha1.IPStatic, Address: "10.0.0.10/24"}}}
	dual := testGuest("dual", "10.0.0.30", "172.17.0.1", "fd00::30")
	dual.Spec.Networks = []v1alpha1.Network{{Device: "net0", IPv6: &v1alpha1.IPv6{Method: v1alpha1.IPStatic, Address: "fd00::30/64"}}}
	named := testGuest("app", "10.0.0.40")
	named.Spec.Hostname = "Web.Example.org"
	elsewhere := testGuest("elsewhere", "10.0.0.50")
	elsewhere.Spec.HostRef.Name = "other"
	hide := false
	for name, c := range map[string]struct {
		reason string
		spec   func(*v1alpha1.Dnsmasq)
		guests []v1alpha1.Guest
		want   []string
		notes  int
	}{
		"an address":  {reason: "short and full name answer", guests: []v1alpha1.Guest{*testGuest("nas", "10.0.0.20")}, want: []string{"10.0.0.20 nas.lan nas"}},
		"none yet":    {reason: "nothing can be answered", guests: []v1alpha1.Guest{*testGuest("nas")}},
		"it restarts": {reason: "a declared address stays answered while none is known", guests: []v1alpha1.Guest{*static}, want: []string{"10.0.0.10 step-ca.lan step-ca"}},
		"several": {
			reason: "the first and the declared ones; a bridge in the guest is not for others", guests: []v1alpha1.Guest{*dual},
			want: []string{"10.0.0.30 dual.lan dual", "fd00::30 dual.lan dual"},
		},
		"hostname":          {reason: "the hostname is answered, in lower case, and as it is with a dot", guests: []v1alpha1.Guest{*named}, want: []string{"10.0.0.40 web.example.org"}},
		"of another Host":   {reason: "it is not of this site", guests: []v1alpha1.Guest{*elsewhere}},
		"not published":     {reason: "it was not asked for", spec: func(d *v1alpha1.Dnsmasq) { d.PublishGuests = &hide }, guests: []v1alpha1.Guest{*testGuest("nas", "10.0.0.20")}},
		"not to be written": {reason: "such an address is of one machine alone", guests: []v1alpha1.Guest{*testGuest("nas", "fe80::1%eth0")}},
		"no name": {
			reason: "the others are answered", guests: []v1alpha1.Guest{*testGuest("a..b", "10.0.0.1"), *testGuest("nas", "10.0.0.20")},
			want: []string{"10.0.0.20 nas.lan nas"}, notes: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := designDnsmasq(testDNS(c.spec), target{host: testHost("phoenix"), node: "phoenix"}, c.guests, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, hostsOf(t, d)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if len(d.notes) != c.notes {
				t.Errorf("notes are %q, want %d", d.notes, c.notes)
			}
		})
	}
}

// TestNamesOfAnyAge: objects that are applied together are of one second or of two, in this order or that.
func TestNamesOfAnyAge(t *testing.T) {
	records := func(d *v1alpha1.Dnsmasq) {
		d.Records = []v1alpha1.DNSRecord{{Name: "z", Addresses: []string{"10.0.0.1"}}}
	}
	want := []string{"10.0.0.1 z.lan z", "10.0.0.102 app.lan app", "10.0.0.10 db.lan db", "10.0.0.12 web.lan web"}
	for _, ages := range [][3]int{{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {1, 0, 1}, {2, 1, 0}} {
		guests := []v1alpha1.Guest{
			*aged(testGuest("app", "10.0.0.102"), ages[0]), *aged(testGuest("db", "10.0.0.10"), ages[1]), *aged(testGuest("web", "10.0.0.12"), ages[2]),
		}
		slices.SortFunc(guests, func(a, b v1alpha1.Guest) int { return byAge(&a, &b) })
		d, err := designDnsmasq(testDNS(records), target{host: testHost("phoenix"), node: "phoenix"}, guests, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, hostsOf(t, d)); diff != "" {
			t.Errorf("ages %v: a new control plane would write (-want +got):\n%s", ages, diff)
		}
	}
}

func TestNamesDeclaredTwice(t *testing.T) {
	s := testDNS(func(d *v1alpha1.Dnsmasq) {
		d.Records = []v1alpha1.DNSRecord{
			{Name: "a", Addresses: []string{"10.0.0.1"}}, {Name: "www", CNAME: "nowhere"}, {Name: "step-ca", Addresses: []string{"10.0.0.2"}},
		}
	})
	guests := []v1alpha1.Guest{*testGuest("step-ca", "10.0.0.10"), *testGuest("app", "10.0.0.11"), *aged(testGuest("other", "10.0.0.12"), 1)}
	guests[2].Spec.Hostname = "app"
	d, err := designDnsmasq(s, target{host: testHost("phoenix"), node: "phoenix"}, guests, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []leftOut{
		{DuplicateNameReason, "records[2] and Guest/step-ca both declare step-ca.lan"},
		{DuplicateNameReason, "Guest/app and Guest/other both declare app.lan"},
		{TargetMissingReason, "records[1].cname: nowhere is not answered here: declare it, or correct the name"},
	}
	if diff := cmp.Diff(want, d.left, cmp.AllowUnexported(leftOut{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"10.0.0.1 a.lan a", "10.0.0.2 step-ca.lan step-ca", "10.0.0.11 app.lan app"}, hostsOf(t, d)); diff != "" {
		t.Errorf("never two answers (-want +got):\n%s", diff)
	}
}

func TestReservations(t *testing.T) {
	with := func(name, mac string) v1alpha1.Guest {
		g := testGuest(name, "10.0.0.30")
		g.Status.Networks = []v1alpha1.GuestNetwork{{Device: "net0", MAC: mac}, {Device: "net1", MAC: "BC:24:11:00:00:09"}}
		return *g
	}
	guests := []v1alpha1.Guest{with("app", "BC:24:11:00:00:01"), with("taken", "BC:24:11:00:00:02"), *testGuest("new")}
	s := testDNS(func(d *v1alpha1.Dnsmasq) {
		d.Records = []v1alpha1.DNSRecord{{Name: "taken", Addresses: []string{"10.0.0.99"}}}
		d.DHCP = &v1alpha1.DHCP{
			Ranges: []v1alpha1.DHCPRange{{First: "10.0.0.200", Last: "10.0.0.250"}},
			Reservations: []v1alpha1.DHCPReservation{
				{GuestRef: v1alpha1.LocalReference{Name: "app"}, Address: "10.0.0.30"},
				{GuestRef: v1alpha1.LocalReference{Name: "app"}, Address: "10.0.1.30", Device: "net1"},
				{GuestRef: v1alpha1.LocalReference{Name: "taken"}, Address: "10.0.0.31"},
				{GuestRef: v1alpha1.LocalReference{Name: "new"}, Address: "10.0.0.32"},
				{GuestRef: v1alpha1.LocalReference{Name: "missing"}, Address: "10.0.0.33"},
			},
		}
	})
	d, err := designDnsmasq(s, target{host: testHost("phoenix"), node: "phoenix"}, guests, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"bc:24:11:00:00:01,10.0.0.30,app", "bc:24:11:00:00:09,10.0.1.30", "bc:24:11:00:00:02,10.0.0.31"}
	if diff := cmp.Diff(want, linesOf(string(d.want.Files[2].Content))); diff != "" {
		t.Errorf("a name is given to one lease, and to none when a record has it (-want +got):\n%s", diff)
	}
	if len(d.notes) != 2 || !strings.Contains(strings.Join(d.notes, " "), "dhcp.reservations[10.0.0.32]: Guest/new has no net0 with a MAC address yet") {
		t.Errorf("notes are %q, want one for each Guest without the interface", d.notes)
	}
}

func TestReservationsTakeNoOthersName(t *testing.T) {
	taken := testGuest("taken", "10.0.0.31")
	taken.Status.Networks = []v1alpha1.GuestNetwork{{Device: "net0", MAC: "BC:24:11:00:00:02"}}
	for published, want := range map[bool]string{
		true: "records[0] and Guest/taken both declare taken.lan", false: "records[0] and dhcp.reservations[10.0.0.31] both declare taken.lan",
	} {
		s := testDNS(func(d *v1alpha1.Dnsmasq) {
			d.PublishGuests = &published
			d.Records = []v1alpha1.DNSRecord{{Name: "taken", Addresses: []string{"10.0.0.99"}}}
			d.DHCP = &v1alpha1.DHCP{
				Ranges:       []v1alpha1.DHCPRange{{First: "10.0.0.200", Last: "10.0.0.250"}},
				Reservations: []v1alpha1.DHCPReservation{{GuestRef: v1alpha1.LocalReference{Name: "taken"}, Address: "10.0.0.31"}},
			}
		})
		d, err := designDnsmasq(s, target{host: testHost("phoenix"), node: "phoenix"}, []v1alpha1.Guest{*taken}, nil, nil)
		if err != nil || len(d.left) != 1 || d.left[0].text != want {
			t.Errorf("published %t: left out are %+v (%v), want %q", published, d.left, err, want)
		}
	}
}

func TestDnsmasqRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		spec   func(*v1alpha1.Dnsmasq)
		older  []v1alpha1.HostService
		says   string
	}{
		"another one": {
			reason: "two would answer differently", older: []v1alpha1.HostService{*testDNS(nil)},
			says: "AlreadyServed answer names on Host/phoenix: HostService/dns does so already, and is older",
		},
		"the machine upstream": {
			reason: "it would ask itself", spec: func(d *v1alpha1.Dnsmasq) {
				d.ListenAddresses, d.Upstreams = []string{"10.1.0.1"}, []string{"10.0.0.13"}
			},
			says: `Invalid upstreams[0] "10.0.0.13" is an address of the machine itself`,
		},
		"hostile": {
			reason: "it would answer everything", spec: func(d *v1alpha1.Dnsmasq) {
				d.Records = []v1alpha1.DNSRecord{{Name: "x\naddress=/#/1.2.3.4", Addresses: []string{"10.0.0.1"}}}
			},
			says: `Invalid records[0].name "x\naddress=/#/1.2.3.4" must be a DNS name`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := designDnsmasq(testDNS(c.spec), target{host: testHost("phoenix"), node: "phoenix"}, nil, nil, c.older)
			if got := outcome(err); !strings.HasPrefix(got, c.says) {
				t.Errorf("%s: %q, want %q", c.reason, got, c.says)
			}
		})
	}
}

func TestNameProbes(t *testing.T) {
	s := testDNS(func(d *v1alpha1.Dnsmasq) {
		d.ListenAddresses = []string{"10.0.0.13", "fd00::13"}
		d.Records = []v1alpha1.DNSRecord{{Name: "nas", Addresses: []string{"FD00::20", "10.0.0.20"}}}
	})
	d, err := designDnsmasq(s, target{host: testHost("phoenix"), node: "phoenix"}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range d.want.Probes {
		got = append(got, strings.Join(p.Argv, " ")+" -> "+p.Match)
	}
	want := []string{
		"dig +short +time=1 +tries=2 @10.0.0.13 nas.lan AAAA -> ^fd00::20$", "dig +short +time=1 +tries=2 @fd00::13 nas.lan AAAA -> ^fd00::20$",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("each address is asked for one of the names (-want +got):\n%s", diff)
	}
	d, err = designDnsmasq(testDNS(nil), target{host: testHost("phoenix"), node: "phoenix"}, nil, nil, nil)
	if err != nil || d.want.Probes[0].Match != "" || d.want.Probes[0].Argv[5] != "lan" {
		t.Errorf("without a name any answer will do: %+v (%v)", d.want.Probes, err)
	}
}

func TestLongNamesMakeFiles(t *testing.T) {
	a, b := testDNS(nil), testDNS(nil)
	a.Name, b.Name = strings.Repeat("a", 253), strings.Repeat("a", 252)+"b"
	if fileName(a) == fileName(b) || len(fileName(a)) > 120 {
		t.Errorf("the names of files are %q and %q: want two short ones", fileName(a), fileName(b))
	}
}
