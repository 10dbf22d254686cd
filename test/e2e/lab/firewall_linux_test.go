// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

// rules proves that what is loaded in the machines is what the site declares.
func rules(t *testing.T, vmids ...int) {
	t.Helper()
	if err := site.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, vmid := range vmids {
		loaded, declared, err := site.Rules(t.Context(), vmid)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(declared, loaded); diff != "" {
			t.Errorf("machine %d does not filter as the site declares (-declared +loaded)\n%s", vmid, diff)
		}
	}
}

func firewall(t *testing.T, method, path string, params url.Values) {
	t.Helper()
	if err := api.call(method, path, params, nil); err != nil {
		t.Fatal(err)
	}
	if err := site.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// filtered switches the datacenter's firewall on for a test.
func filtered(t *testing.T) {
	t.Helper()
	firewall(t, "PUT", "/cluster/firewall/options", url.Values{"enable": {"1"}, "policy_in": {"ACCEPT"}})
	t.Cleanup(func() {
		if err := api.call("PUT", "/cluster/firewall/options", url.Values{"delete": {"enable,policy_in"}}, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestGuestFirewall filters a guest step by step: nothing counts until all three switches are on.
func TestGuestFirewall(t *testing.T) {
	const path = "/nodes/phoenix/lxc/153"
	create(t, container(153, ",firewall=0"))
	if err := site.Booted(t.Context(), 153); err != nil {
		t.Fatal(err)
	}
	expect := func(reason, want string) {
		t.Helper()
		rules(t, 153, lab.Host)
		if got := dial(t, address(153), 22); !strings.HasPrefix(got, want) {
			t.Errorf("%s: a connection ends with %q, want %q", reason, got, want)
		}
	}
	expect("no firewall at all", "SSH-")
	firewall(t, "PUT", path+"/firewall/options", url.Values{"enable": {"1"}})
	expect("the guest's is on, the datacenter's is not", "SSH-")
	filtered(t)
	expect("both are on, the card's is not", "SSH-")
	var config struct{ Net0 string }
	if err := api.call("GET", path+"/config", nil, &config); err != nil {
		t.Fatal(err)
	}
	firewall(t, "PUT", path+"/config", url.Values{"net0": {strings.ReplaceAll(config.Net0, "firewall=0", "firewall=1")}})
	expect("all are on: what no rule allows is dropped", "timeout")
	firewall(t, "POST", path+"/firewall/rules", url.Values{"type": {"in"}, "action": {"REJECT"}, "proto": {"tcp"}, "dport": {"22"}, "enable": {"1"}})
	expect("a rule refuses it", "refused")
	firewall(t, "POST", "/cluster/firewall/groups", url.Values{"group": {"ssh"}})
	firewall(t, "POST", "/cluster/firewall/ipset", url.Values{"name": {"clients"}})
	firewall(t, "POST", "/cluster/firewall/groups/ssh", url.Values{"type": {"in"}, "action": {"ACCEPT"}, "macro": {"SSH"}, "enable": {"1"}, "source": {"+clients"}})
	firewall(t, "POST", path+"/firewall/rules", url.Values{"type": {"group"}, "action": {"ssh"}, "enable": {"1"}, "pos": {"0"}})
	expect("a group allows it to nobody yet", "refused")
	firewall(t, "POST", "/cluster/firewall/ipset/clients", url.Values{"cidr": {"198.51.100.0/24"}})
	expect("the client is in the set", "SSH-")
	if err := api.task("POST", path+"/status/stop", nil); err != nil {
		t.Fatal(err)
	}
	firewall(t, "DELETE", "/cluster/firewall/ipset/clients/198.51.100.0%2F24", nil)
	if err := api.task("POST", path+"/status/start", nil); err != nil {
		t.Fatal(err)
	}
	if err := site.Booted(t.Context(), 153); err != nil {
		t.Fatal(err)
	}
	expect("a guest that starts is filtered by what changed meanwhile", "refused")
	for _, call := range [][2]string{{"DELETE", path + "/firewall/rules/0"}, {"DELETE", "/cluster/firewall/groups/ssh/0"},
		{"DELETE", "/cluster/firewall/groups/ssh"}, {"DELETE", "/cluster/firewall/ipset/clients"}} {
		firewall(t, call[0], call[1], nil)
	}
}

// TestHostFirewall cuts off the API, and gets back in as an administrator would: with the file, over the way that is left.
func TestHostFirewall(t *testing.T) {
	filtered(t)
	if err := api.call("GET", "/version", nil, nil); err != nil {
		t.Fatal(err)
	}
	rules(t, lab.Host)
	inside(t, lab.Host, "cp", "/etc/pve/firewall/cluster.fw", "/var/tmp/cluster.fw")
	v := url.Values{"type": {"in"}, "action": {"REJECT"}, "proto": {"tcp"}, "dport": {"8006"}, "enable": {"1"}}
	if err := api.call("POST", "/cluster/firewall/rules", v, nil); err != nil {
		t.Fatal(err)
	}
	rules(t, lab.Host)
	if err := api.call("GET", "/version", nil, nil); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the API is not cut off: %v", err)
	}
	if got := dial(t, lab.HostAddress, 22); !strings.HasPrefix(got, "SSH-") {
		t.Errorf("SSH is cut off as well: %q", got)
	}
	inside(t, lab.Host, "cp", "/var/tmp/cluster.fw", "/etc/pve/firewall/cluster.fw")
	until(t, "the file opens the API again", func() error { return api.call("GET", "/version", nil, nil) })
	rules(t, lab.Host)
	var rows []map[string]any
	if err := api.call("GET", "/cluster/firewall/rules", nil, &rows); err != nil || len(rows) > 0 {
		t.Errorf("the API still has the rule: %v, %v", rows, err)
	}
}
