// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

const (
	dropIn       = "/etc/dnsmasq.d/phoenix-dnsmasq.conf"
	ganeshaFiles = "/etc/phoenix/nfs-ganesha/nfs"
)

// works waits until names are answered and files served again, and all is Ready.
func works(r *reference, reason string) {
	r.Helper()
	until(r.T, reason+": names are answered", func() error {
		if got := dig(r.T, nginx, lab.HostAddress, "step-ca.phoenix.lan", "A"); got != "10.0.0.10" {
			return fmt.Errorf("dig says %q", got)
		}
		return nil
	})
	until(r.T, reason+": files are served", func() error {
		got, err := site.Exec(test, drphoenix, "nfs-ls", "nfs://"+lab.HostAddress+"/srv/volumes?version=4")
		if err == nil && got.Exit != 0 {
			err = errors.New(got.Stderr)
		}
		return err
	})
	r.ready("dnsmasq", "nfs")
}

// drift changes the machine by hand, in every way: it is put back.
func drift(r *reference) {
	t := r.T
	inside(t, lab.Host, "mkdir", "-p", "/var/tmp/before")
	inside(t, lab.Host, "cp", "-p", dropIn, ganeshaFiles+"/exports.conf", "/var/tmp/before/")
	for _, tc := range []struct{ reason, script, broken string }{
		{
			"files are edited, and the programs told",
			"echo address=/evil.phoenix.lan/192.0.2.66 >>" + dropIn + "; chmod 666 " + dropIn + "; sed -i '/CLIENT/,/}/d' " + ganeshaFiles + "/exports.conf; " +
				"systemctl restart dnsmasq; systemctl restart nfs-ganesha; dig +short @10.0.0.13 evil.phoenix.lan",
			"192.0.2.66",
		},
		{"files are removed", "rm -r /etc/phoenix/dnsmasq " + dropIn + " " + ganeshaFiles + "; systemctl restart dnsmasq; ! systemctl restart nfs-ganesha 2>&1 | grep -q x; echo broken", "broken"},
		{"units are stopped and disabled", "systemctl disable -q --now dnsmasq nfs-ganesha 2>/dev/null; systemctl is-active dnsmasq nfs-ganesha | sort -u", "inactive"},
		{"packages are removed", "apt-get remove -y -qq dnsmasq dnsmasq-base nfs-ganesha-vfs >/dev/null 2>&1; ls /usr/sbin/dnsmasq 2>/dev/null; echo gone", "gone"},
	} {
		if got := inside(t, lab.Host, "sh", "-c", tc.script); got != tc.broken {
			t.Fatalf("%s: the host says %q, want %q", tc.reason, got, tc.broken)
		}
		r.look("dnsmasq", "nfs")
		until(t, tc.reason+": everything is as declared", func() error { return restored(t) })
		works(r, tc.reason)
	}
	if got := inside(t, nginx, "dig", "@"+lab.HostAddress, "evil.phoenix.lan"); !strings.Contains(got, "status: NXDOMAIN") {
		t.Errorf("the name that was written in by hand is still answered: %s", got)
	}
	inside(t, lab.Host, "rm", "-r", "/var/tmp/before")
}

// restored says what of the services is not as declared.
func restored(t *testing.T) error {
	t.Helper()
	const script = `cmp "$0" /var/tmp/before/phoenix-dnsmasq.conf && cmp "$1" /var/tmp/before/exports.conf && stat -c %a "$0" &&
systemctl is-active dnsmasq nfs-ganesha && systemctl is-enabled dnsmasq nfs-ganesha`
	r, err := site.Exec(test, lab.Host, "sh", "-c", script, dropIn, ganeshaFiles+"/exports.conf")
	if got, want := strings.Join(strings.Fields(r.Stdout), " "), "644 active active enabled enabled"; err == nil && got != want {
		err = fmt.Errorf("%q, want %q: %s", got, want, r.Stderr)
	}
	return err
}

// exclusive puts a foreign rule above ours: it is shown and stays, until the service is told to be the first.
func exclusive(r *reference) {
	t := r.T
	const path = "/nodes/phoenix/lxc/101/firewall/rules"
	target := []string{addresses[nginx] + ":80"}
	passes := func(reason string, want int) {
		t.Helper()
		until(t, reason, func() error {
			if got := reached(t, outsider, target); len(got) != want {
				return fmt.Errorf("reached %v", got)
			}
			return nil
		})
	}
	passes("the gateway is reached from outside", 1)
	firewall(t, "POST", path, url.Values{"type": {"in"}, "action": {"DROP"}, "proto": {"tcp"}, "dport": {"80"}, "enable": {"1"}, "pos": {"0"}, "comment": {"by hand"}})
	r.look("firewall")
	r.says("firewall", v1alpha1.ShadowedCondition, "True ForeignRules: ")
	r.ready("firewall")
	if got := r.service("firewall").Status.Firewall.Shadowed; len(got) != 1 || got[0] != "guest/nginx" {
		t.Errorf("shadowed is %v", got)
	}
	passes("the foreign rule counts", 0)
	r.patch(serviceKey("firewall"), `{"spec":{"firewall":{"exclusive":true}}}`)
	until(t, "nothing is shadowed", func() error {
		if s := r.service("firewall"); s.Status.ObservedGeneration != s.Generation || meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ShadowedCondition) != nil {
			return fmt.Errorf("%+v", s.Status.Conditions)
		}
		return nil
	})
	passes("our rules come first", 1)
	r.ready("firewall")
	var rows []struct{ Type, Comment string }
	if err := api.call("GET", path, nil, &rows); err != nil || len(rows) != 2 || rows[0].Type != "group" || rows[1].Comment != "by hand" {
		t.Errorf("the rules are %+v (%v), want ours and then the foreign one", rows, err)
	}
	rules(t, nginx)
	firewall(t, "DELETE", path+"/1", nil)
	r.patch(serviceKey("firewall"), `{"spec":{"firewall":{"exclusive":null}}}`)
	r.ready("firewall")
}

// rollback declares what the real dnsmasq cannot do. It answers what it did before, all the time.
func rollback(r *reference) {
	t := r.T
	const more = `{"spec":{"dnsmasq":{"listenAddresses":[%s],"records":[{"name":"phoenix","addresses":["10.0.0.13"]},{"name":"late","addresses":["10.0.0.77"]},{"name":"note","text":["new"]}]}}}`
	const before = `{"spec":{"dnsmasq":{"listenAddresses":["10.0.0.13"],"records":[{"name":"phoenix","addresses":["10.0.0.13"]}]}}}`
	old := func(reason string) {
		t.Helper()
		for name, want := range map[string]string{"step-ca": "10.0.0.10", "late": ""} {
			if got := dig(t, nginx, lab.HostAddress, name+".phoenix.lan", "A"); got != want {
				t.Errorf("%s: %s is answered %q, want %q", reason, name, got, want)
			}
		}
		if got := inside(t, lab.Host, "sh", "-c", "grep -c -e txt-record -e late "+dropIn+" /etc/phoenix/dnsmasq/dnsmasq/hosts/names; systemctl is-active dnsmasq; true"); got !=
			dropIn+":0\n/etc/phoenix/dnsmasq/dnsmasq/hosts/names:0\nactive" {
			t.Errorf("%s: the files are not those of before: %q", reason, got)
		}
	}
	inside(t, lab.Host, "sh", "-c", "echo no-such-option=1 >/etc/dnsmasq.d/zz-foreign.conf")
	asked := ask(t, nginx, lab.HostAddress, "step-ca.phoenix.lan")
	invocation := inside(t, lab.Host, "systemctl", "show", "-P", "InvocationID", "dnsmasq")
	r.patch(serviceKey("dnsmasq"), fmt.Sprintf(more, `"10.0.0.13"`))
	s := r.says("dnsmasq", v1alpha1.ReadyCondition, "False ValidationFailed: ")
	if said := fmt.Sprint(s.Status.Conditions); !strings.Contains(said, "zz-foreign.conf") {
		t.Errorf("the message does not name the file: %s", said)
	}
	old("dnsmasq --test refuses the whole")
	if got := inside(t, lab.Host, "systemctl", "show", "-P", "InvocationID", "dnsmasq"); got != invocation {
		t.Error("dnsmasq was restarted, with a file that it refuses")
	}
	inside(t, lab.Host, "rm", "/etc/dnsmasq.d/zz-foreign.conf")
	r.patch(serviceKey("dnsmasq"), before)
	r.ready("dnsmasq")

	r.patch(serviceKey("dnsmasq"), fmt.Sprintf(more, `"10.0.0.13","10.0.0.77"`)) // the machine has no such address
	r.says("dnsmasq", v1alpha1.ReadyCondition, "False ProbeFailed: ")
	old("it does not answer on every address")
	r.patch(serviceKey("dnsmasq"), fmt.Sprintf(more, `"10.0.0.13"`))
	r.ready("dnsmasq")
	for query, want := range map[string]string{"late.phoenix.lan A": "10.0.0.77", "note.phoenix.lan TXT": `"new"`} {
		if got := dig(t, nginx, lab.HostAddress, strings.Fields(query)...); got != want {
			t.Errorf("%s is answered %q, want %q", query, got, want)
		}
	}
	r.patch(serviceKey("dnsmasq"), before)
	r.ready("dnsmasq")
	old("all is taken back")
	asked.stop(t, "10.0.0.10")
}
