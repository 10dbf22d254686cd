// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"math/rand/v2"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

const (
	fresh        = 105
	freshAddress = "10.0.0.151"
	// result is what two services leave on a machine: files, packages, units, and what they answer.
	result = `cd / && find etc/phoenix etc/dnsmasq.d etc/ganesha etc/systemd/system srv/data var/lib/phoenix -printf '%p %y %m %u:%g %l\n' | sort
find etc/phoenix etc/dnsmasq.d etc/ganesha etc/systemd/system -type f -exec sha256sum {} + | sort -k 2
dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n'
systemctl is-active dnsmasq nfs-ganesha; systemctl is-enabled dnsmasq nfs-ganesha; systemctl list-units --failed --plain --no-legend; systemctl list-units --all --plain --no-legend 'phoenix*'
dig +short @10.0.0.151 nas.lan A; dig +short @10.0.0.151 -x 10.0.0.20; nfs-ls 'nfs://10.0.0.151/srv/data?version=4' | wc -l`
)

// killed kills Phoenix at five moments while it installs and configures two services on a bare machine. The end is that of
// an undisturbed run.
func killed(r *reference) {
	t := r.T
	declared := func() []client.Object {
		dns, nfs := serviceKey("fresh-dns"), serviceKey("fresh-nfs")
		dns.Spec.GuestRef, nfs.Spec.GuestRef = &v1alpha1.LocalReference{Name: "fresh"}, &v1alpha1.LocalReference{Name: "fresh"}
		dns.Spec.Dnsmasq = &v1alpha1.Dnsmasq{
			ListenAddresses: []string{freshAddress}, Domain: "lan", Records: []v1alpha1.DNSRecord{{Name: "nas", Addresses: []string{"10.0.0.20"}}},
		}
		nfs.Spec.NFS = &v1alpha1.NFS{Server: v1alpha1.NFSGanesha, Exports: []v1alpha1.NFSExport{
			{Name: "data", Path: "/srv/data", Mode: "0775", Clients: []v1alpha1.NFSClient{{CIDR: "10.0.0.0/24"}}},
		}}
		return []client.Object{dns, nfs}
	}
	first := declared()
	r.declare(first...)
	for range 5 {
		pause := time.Duration(rand.Int64N(int64(2500 * time.Millisecond)))
		time.Sleep(pause)
		if err := r.KillManager(); err != nil {
			t.Fatal(err)
		}
		t.Logf("killed %s after it began", pause)
		began := r.begun("fresh-dns")
		r.startManager()
		until(t, "Phoenix looks at the services", func() error {
			if r.begun("fresh-dns") == began {
				return errors.New("it does not yet")
			}
			return nil
		})
	}
	r.ready("fresh-dns", "fresh-nfs")
	disturbed := inside(t, fresh, "sh", "-c", result)
	r.remove(first...)
	r.declare(declared()...)
	r.ready("fresh-dns", "fresh-nfs")
	same(t, "what is left after being killed", inside(t, fresh, "sh", "-c", result), disturbed)
	r.ready(services...)
}
