// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

const (
	hand        = 104
	handAddress = "10.0.0.150"
	// configure sets dnsmasq up as somebody did by hand: a name that will be declared, one that will not, a file of hosts.
	configure = `set -e
printf '%s\n' '# the site' domain=home listen-address=10.0.0.150 address=/nas.lan/10.9.9.9 address=/other.lan/10.0.0.5 addn-hosts=/etc/hosts.home >/etc/dnsmasq.d/hand.conf
printf '%s\n' '10.9.9.8 printer' '10.9.9.9 disk.lan disk' >/etc/hosts.home
chmod 640 /etc/dnsmasq.d/hand.conf
chgrp dnsmasq /etc/dnsmasq.d/hand.conf 2>/dev/null || chgrp nogroup /etc/dnsmasq.d/hand.conf
systemctl restart dnsmasq`
	// picture is everything that a service could change.
	picture = `find /etc /var/lib -xdev \( -path /var/lib/systemd -o -path /var/lib/private \) -prune -o -printf '%p %y %m %u:%g %l\n' | sort
find /etc /var/lib -xdev \( -path /var/lib/systemd -o -path /var/lib/private -o -path /var/lib/misc \) -prune -o -type f -exec sha256sum {} + | sort -k 2
systemctl is-active dnsmasq; systemctl is-enabled dnsmasq; dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n'`
)

func handAnswers(t *testing.T, reason string, want map[string]string) {
	t.Helper()
	for name, want := range want {
		if got := dig(t, nginx, handAddress, name, "A"); got != want {
			t.Errorf("%s: %s is answered %q, want %q", reason, name, got, want)
		}
	}
}

// byHand finds a container whose dnsmasq somebody configured: it is observed, taken over while people ask, and given back.
func byHand(r *reference) {
	t := r.T
	inside(t, hand, "sh", "-c", configure)
	byHand := map[string]string{"nas.lan": "10.9.9.9", "other.lan": "10.0.0.5", "printer": "10.9.9.8", "disk.lan": "10.9.9.9"}
	handAnswers(t, "as it was by hand", byHand)
	before := inside(t, hand, "sh", "-c", picture)

	s := serviceKey("hand")
	s.Namespace = world.Namespace
	s.Spec.Management, s.Spec.GuestRef = v1alpha1.ManagementObserve, &v1alpha1.LocalReference{Name: "hand"}
	no := false
	s.Spec.Dnsmasq = &v1alpha1.Dnsmasq{
		ListenAddresses: []string{handAddress}, Domain: "lan", PublishGuests: &no,
		Records: []v1alpha1.DNSRecord{{Name: "nas", Addresses: []string{"10.0.0.20"}}, {Name: "disk", Addresses: []string{"10.0.0.21"}}},
	}
	r.declare(s)
	r.says("hand", v1alpha1.DriftedCondition, "True ")
	shown := fmt.Sprint(r.says("hand", v1alpha1.ReadyCondition, "True ").Status.Plan)
	for _, want := range []string{"/etc/dnsmasq.d/hand.conf line 2", "domain=home", "/etc/dnsmasq.d/hand.conf line 4", "/etc/hosts.home line 2"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the plan does not show %q: %s", want, shown)
		}
	}
	same(t, "the container that is observed", before, inside(t, hand, "sh", "-c", picture))
	handAnswers(t, "observed", byHand)

	r.patch(s, `{"spec":{"management":"Enforce"}}`)
	r.says("hand", v1alpha1.ReadyCondition, "False NotOwned: /etc/dnsmasq.d/hand.conf line 2 (domain=home)")
	same(t, "the container that is not to be taken over", before, inside(t, hand, "sh", "-c", picture))

	kept, changed := ask(t, nginx, handAddress, "other.lan"), ask(t, nginx, handAddress, "nas.lan")
	r.patch(s, `{"spec":{"adoptionPolicy":"IfUnowned"}}`)
	r.ready("hand")
	handAnswers(t, "taken over", map[string]string{"nas.lan": "10.0.0.20", "disk.lan": "10.0.0.21", "other.lan": "10.0.0.5", "printer": "10.9.9.8"})
	r.remove(s)
	kept.stop(t, "10.0.0.5")
	changed.stop(t, "10.9.9.9", "10.0.0.20")
	handAnswers(t, "given back", byHand)
	same(t, "the container that was given back", before, inside(t, hand, "sh", "-c", picture))
}
