// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

// addresses of the machines of the reference site.
var addresses = map[int]string{
	lab.Host: lab.HostAddress, nginx: "10.0.0.153", traefik: "10.0.0.12", stepCA: "10.0.0.10", portainer: "10.0.0.111", drphoenix: "10.0.0.102",
}

// installed installs packages in a machine by hand. Somebody else may do so at the same time.
func installed(vmid int, packages ...string) error {
	const script = `export DEBIAN_FRONTEND=noninteractive; apt() { apt-get -o DPkg::Lock::Timeout=60 -qq "$@" 2>&1; }; apt update && apt install -y "$@"`
	r, err := site.Exec(test, vmid, append([]string{"sh", "-c", script, "sh"}, packages...)...)
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("install %v in machine %d: %s%s", packages, vmid, r.Stdout, r.Stderr)
	}
	return err
}

// dig asks a resolver from inside a machine: what it answers, in one line.
func dig(t *testing.T, vmid int, server string, query ...string) string {
	t.Helper()
	argv := append([]string{"dig", "+short", "+time=2", "+tries=2", "@" + server}, query...)
	r, err := site.Exec(t.Context(), vmid, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(r.Stdout), " ")
}

// names asks the real dnsmasq.
func names(r *reference) {
	t := r.T
	for _, tc := range []struct {
		reason, query, kind, want string
	}{
		{"a Guest", "step-ca.phoenix.lan", "A", "10.0.0.10"},
		{"a Guest without the domain", "nginx", "A", "10.0.0.153"},
		{"a VM", "drphoenix.phoenix.lan", "A", "10.0.0.102"},
		{"a record", "phoenix.phoenix.lan", "A", "10.0.0.13"},
		{"the address of a Guest", "10.0.0.10.in-addr.arpa", "PTR", "step-ca.phoenix.lan."},
		{"the address of a record", "13.0.0.10.in-addr.arpa", "PTR", "phoenix.phoenix.lan."},
		{"a Route", "a.phoenix.lan", "A", "10.0.0.153"},
		{"a Route to what is on a machine of another name", "docker.phoenix.lan", "A", "10.0.0.153"},
		{"the gateway's address, which is its Guest's name still", "153.0.0.10.in-addr.arpa", "PTR", "nginx.phoenix.lan."},
		{"an exact name, and no sub-domains", "below.step-ca.phoenix.lan", "A", ""},
		{"a name of the world, which the upstream knows", lab.UpstreamName, "A", lab.UpstreamAddress},
	} {
		if got := dig(t, nginx, lab.HostAddress, tc.query, tc.kind); got != tc.want {
			t.Errorf("%s: dig %s %s answers %q, want %q", tc.reason, tc.query, tc.kind, got, tc.want)
		}
	}
	for _, name := range []string{"nothing.phoenix.lan", "below.step-ca.phoenix.lan"} {
		if got := inside(t, nginx, "dig", "+time=2", "@"+lab.HostAddress, name); !strings.Contains(got, "status: NXDOMAIN") {
			t.Errorf("%s is not declared, and dig says %s", name, got)
		}
	}
	for _, vmid := range []int{nginx, traefik, stepCA, portainer, drphoenix} {
		if got := strings.Fields(inside(t, vmid, "getent", "hosts", "traefik.phoenix.lan")); len(got) == 0 || got[0] != "10.0.0.12" {
			t.Errorf("guest %d finds traefik at %v, by its own configuration", vmid, got)
		}
	}
	if got, err := site.Client(t.Context(), "dig", "+short", "+time=1", "+tries=1", "@"+lab.HostAddress, "step-ca.phoenix.lan"); err != nil || got.Exit == 0 {
		t.Errorf("somebody outside is answered: %v, %+v", err, got)
	}
}

// exports reads and writes what the real NFS server exports.
func exports(r *reference) {
	t := r.T
	inside(t, lab.Host, "sh", "-c", "echo volume >/srv/volumes/file; echo page >/srv/www/index.html")
	t.Cleanup(func() { _, _ = site.Exec(test, lab.Host, "rm", "-f", "/srv/volumes/file", "/srv/www/index.html") })
	for _, tc := range []struct {
		reason string
		vmid   int
		path   string
		want   string
	}{
		{"a client of the export", drphoenix, "volumes/file", "volume"},
		{"a client of the other export", drphoenix, "www/index.html", "page"},
		{"the host itself is no client: the server refuses it, no firewall does", lab.Host, "volumes/file", ""},
		{"nor of the other", lab.Host, "www/index.html", ""},
	} {
		got, err := site.Exec(t.Context(), tc.vmid, "nfs-cat", "nfs://"+lab.HostAddress+"/srv/"+tc.path+"?version=4")
		if err != nil || strings.TrimSpace(got.Stdout) != tc.want || (got.Exit == 0) != (tc.want != "") {
			t.Errorf("%s: it reads %+v (%v), want %q", tc.reason, got, err, tc.want)
		}
	}
	inside(t, lab.Host, "chmod", "777", "/srv/www")
	got, err := site.Exec(t.Context(), drphoenix, "nfs-cp", "/etc/hostname", "nfs://"+lab.HostAddress+"/srv/www/written?version=4")
	if err != nil || got.Exit == 0 {
		t.Errorf("an export that is only for reading was written to: %+v, %v", got, err)
	}
	inside(t, lab.Host, "chmod", "755", "/srv/www")

	if got := inside(t, traefik, "cat", "/srv/www/index.html"); got != "page" {
		t.Errorf("the container reads %q from the directory that it has by a mount point", got)
	}
	if got, err := site.Exec(t.Context(), traefik, "touch", "/srv/www/written"); err != nil || got.Exit == 0 || !strings.Contains(got.Stderr, "Read-only") {
		t.Errorf("the container writes to a mount point that is only for reading: %+v, %v", got, err)
	}
	want := []v1alpha1.ExportStatus{{Name: "volumes", Source: "10.0.0.13:/srv/volumes"}, {Name: "www", Source: "10.0.0.13:/srv/www"}}
	if diff := cmp.Diff(want, r.service("nfs").Status.Exports); diff != "" {
		t.Errorf("exports in the status (-want +got):\n%s", diff)
	}
}

// ports on which something listens, by machine. Of these, every guest's sshd may be reached by nobody.
var ports = map[int][]int{
	lab.Host: {53, 2049}, nginx: {22, 80, 443}, traefik: {22, 80, 443}, stepCA: {22, 443}, portainer: {22, 9443}, drphoenix: {22, 8081, 8082, 9001},
}

// outsider stands for the client outside of the site.
const outsider = -1

// flows are the connections that are declared, and there are no others: what each machine reaches.
var flows = map[int][]string{
	outsider:  {"10.0.0.153:443", "10.0.0.153:80"},
	nginx:     {"10.0.0.10:443", "10.0.0.111:9443", "10.0.0.12:443", "10.0.0.12:80", "10.0.0.13:53"},
	traefik:   {"10.0.0.10:443", "10.0.0.102:8081", "10.0.0.102:8082", "10.0.0.111:9443", "10.0.0.13:53", "10.0.0.153:443", "10.0.0.153:80"},
	stepCA:    {"10.0.0.111:9443", "10.0.0.13:53", "10.0.0.153:443", "10.0.0.153:80"},
	portainer: {"10.0.0.10:443", "10.0.0.102:9001", "10.0.0.13:2049", "10.0.0.13:53", "10.0.0.153:443", "10.0.0.153:80"},
	drphoenix: {"10.0.0.10:443", "10.0.0.111:9443", "10.0.0.13:2049", "10.0.0.13:53", "10.0.0.153:443", "10.0.0.153:80"},
}

// connections tries every connection between the machines.
func connections(r *reference) {
	t := r.T
	for vmid, open := range ports {
		for _, port := range open {
			here := fmt.Sprintf("%s:%d", addresses[vmid], port)
			until(t, "somebody listens at "+here, func() error {
				if got := reached(t, vmid, []string{here}); len(got) != 1 {
					return errors.New("nobody does")
				}
				return nil
			})
		}
	}
	for from, want := range flows {
		var targets []string
		for vmid, open := range ports {
			for _, port := range open {
				if vmid != from {
					targets = append(targets, fmt.Sprintf("%s:%d", addresses[vmid], port))
				}
			}
		}
		until(t, fmt.Sprintf("machine %d reaches what is declared, and nothing else", from), func() error {
			if diff := cmp.Diff(slices.Sorted(slices.Values(want)), reached(t, from, targets)); diff != "" {
				return errors.New("(-declared +reached)\n" + diff)
			}
			return nil
		})
	}
	rules(t, slices.Collect(maps.Keys(addresses))...)
	if s := r.service("firewall"); s.Status.Firewall == nil || s.Status.Firewall.Enabled == nil || !*s.Status.Firewall.Enabled || len(s.Status.Firewall.Shadowed) > 0 {
		t.Errorf("the status says %+v", s.Status.Firewall)
	}
}

// reached tries connections from a machine, all at once: those that came about, in order.
func reached(t *testing.T, from int, targets []string) []string {
	t.Helper()
	const script = `for target; do
	timeout 1 bash -c 'exec 3<>"/dev/tcp/${0%:*}/${0#*:}" && echo "$0"' "$target" 2>/dev/null &
done
wait`
	argv := append([]string{"bash", "-c", script, "bash"}, targets...)
	run := func() (lab.Result, error) { return site.Exec(t.Context(), from, argv...) }
	if from == outsider {
		run = func() (lab.Result, error) { return site.Client(t.Context(), argv...) }
	}
	got, err := run()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(strings.FieldsSeq(got.Stdout))
}

// idle proves that a look at what is in order writes nothing, neither on the machines nor to the objects.
func idle(r *reference) {
	names := slices.Concat(entries, services, under)
	r.rest(names...)
	r.restRoutes()
	const script = `find /etc /var/lib/phoenix /srv /usr/local -xdev ! -path '/etc/pve/*' -printf '%p %y %m %u:%g %s %T@ %C@\n' | sort; find /etc /var/lib/phoenix -xdev -type f ! -path '/etc/pve/*' -exec sha256sum {} + | sort`
	before, pve := map[int]string{}, len(site.Site.Writes())
	for _, vmid := range []int{lab.Host, nginx, traefik, stepCA, portainer, drphoenix} {
		before[vmid] = inside(r.T, vmid, "sh", "-c", script)
	}
	for round := range 3 {
		passes, versions := map[string]int{}, map[string]string{}
		for _, name := range names {
			passes[name] = r.passes(name)
			r.look(name)
		}
		for _, name := range names {
			versions[name] = r.service(name).ResourceVersion
		}
		for _, name := range names {
			until(r.T, "Phoenix looks at "+name, func() error {
				if n := r.passes(name); n <= passes[name] {
					return fmt.Errorf("%d passes", n)
				}
				return nil
			})
			if got := r.service(name).ResourceVersion; got != versions[name] {
				r.Errorf("round %d: the look at %s wrote to the object", round, name)
			}
		}
		r.idleRoutes()
	}
	for vmid, text := range before {
		same(r.T, fmt.Sprintf("machine %d", vmid), text, inside(r.T, vmid, "sh", "-c", script))
	}
	if n := len(site.Site.Writes()) - pve; n > 0 {
		r.Errorf("%d writes to the Proxmox API", n)
	}
	r.ready(names...)
}

// same compares texts by line.
func same(t *testing.T, what, before, after string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n")); diff != "" {
		t.Errorf("%s is not what it was (-before +after):\n%s", what, diff)
	}
}

// asking is a program in a guest that asks for a name without a pause.
type asking struct {
	vmid int
	end  string // the file that ends it
	done chan lab.Result
}

// ask begins to ask, as a resolver does: again, when it is refused or not answered, for three seconds at most.
func ask(t *testing.T, vmid int, server, name string) *asking {
	t.Helper()
	const script = `rm -f "$2"; while [ ! -e "$2" ]; do
	end=$(($(date +%s%N) + 3000000000)) got=
	while [ -z "$got" ] && [ "$(date +%s%N)" -lt "$end" ]; do
		got=$(dig +short +time=1 +tries=1 "@$0" "$1" A 2>/dev/null | grep -v '^;' | tr '\n' ',')
	done
	echo "answer $got"
done`
	a := &asking{vmid: vmid, end: "/run/asked-enough-" + name, done: make(chan lab.Result, 1)}
	go func() {
		r, err := site.Exec(test, vmid, "sh", "-c", script, server, name, a.end)
		if err != nil {
			r.Stderr += err.Error()
		}
		a.done <- r
	}()
	return a
}

// stop ends the asking, and proves that every answer was one of the given ones.
func (a *asking) stop(t *testing.T, allowed ...string) {
	t.Helper()
	inside(t, a.vmid, "touch", a.end)
	r := <-a.done
	counts := map[string]int{}
	for line := range strings.Lines(r.Stdout) {
		counts[strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(line, "answer")), ",")]++
	}
	total := 0
	for answer, n := range counts {
		total += n
		if !slices.Contains(allowed, answer) {
			t.Errorf("%d answers are %q, want %q: %s", n, answer, allowed, r.Stderr)
		}
	}
	if t.Logf("asked %d times: %v", total, counts); total < 10 {
		t.Errorf("it was asked %d times only: %+v", total, r)
	}
}

// hostState is what a service may change on the host for good. The folder of the records may stay, as long as it is empty.
func hostState(t *testing.T) string {
	t.Helper()
	const script = `find / -xdev \( -path '*phoenix*' -o -path '/srv/*' \) ! -path '/proc/*' ! -path '/etc/pve/*' ! -path /var/lib/phoenix | sort
dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' dnsmasq nfs-ganesha nfs-ganesha-vfs bind9-dnsutils 2>/dev/null | grep ^i
systemctl list-units --state=active,failed --plain --no-legend 'phoenix*' dnsmasq.service nfs-ganesha.service
systemctl list-timers --plain --no-legend 'phoenix*'
sha256sum /etc/ssl/certs/ca-certificates.crt; find /etc/ssl /usr/local/share | sort
ss -lntuH | grep -E ':(53|2049) '; nft list ruleset; true`
	return inside(t, lab.Host, "sh", "-c", script)
}
