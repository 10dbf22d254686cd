// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

const (
	services  = "testdata/services"
	dropIn    = "/etc/dnsmasq.d/phoenix-dns.conf"
	exported  = "/etc/exports.d/phoenix-exports.exports"
	firewalls = "/etc/pve/firewall/cluster.fw"
)

// TestServices brings dnsmasq, NFS and the firewall up while the manager is killed at its first write, whenever it writes;
// then kills it in the middle of changes; then loses the whole control plane: a new one with the same YAML changes nothing.
func TestServices(t *testing.T) {
	w := open(t, pve.Options{})
	if err := w.ApplySamples(context.Background(), services); err != nil {
		t.Fatal(err)
	}
	node := w.Site.Machine("phoenix")
	kills := 0
	for w.touches(node) {
		w.kill()
		kills++
	}
	if w.Logf("killed %d times", kills); kills < 8 {
		t.Errorf("the manager was killed %d times only", kills)
	}
	w.serves(node, "10.0.0.20")

	for i, c := range midway {
		t.Run(c.reason, func(t *testing.T) { c.strike(&theatre{t, w.World}, node, i+1) })
	}
	t.Run("calls", func(t *testing.T) { killCalls(&theatre{t, w.World}) })
	w.allReady()
	w.noSecrets()
	w.restored(node)
}

// touches starts the manager and says whether something was written, on the node or to the site, before all was Ready.
func (w *theatre) touches(node *sim.Machine) bool {
	w.Helper()
	written := func() int { return node.Writes() + len(w.Site.Writes()) }
	before := written()
	w.start()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		for range 50 { // the site is looked at more often than the API server
			if written() > before {
				return true
			}
			time.Sleep(time.Millisecond)
		}
		states, err := w.States(context.Background())
		if err != nil {
			w.Fatal(err)
		}
		if world.AllReady(states) {
			return written() > before
		}
	}
	w.Fatalf("the manager neither writes nor is all Ready within %s", patience)
	return false
}

// serves proves that all services come to be as declared, and that nothing is there twice.
func (w *theatre) serves(node *sim.Machine, nas string) {
	w.Helper()
	w.until("all services are as declared", func() error {
		return errors.Join(w.answers(node, "nas.phoenix.lan", nas), w.answers(node, "app.phoenix.lan", "10.0.0.30"), w.exports(node), w.filters())
	})
	if left := w.on(node, "find /etc /var/lib/phoenix -name '.*phoenix*'; find /var/lib/phoenix -name '*.new'"); left != "" {
		w.Errorf("staged files are left: %s", left)
	}
	w.nothingTwice(110, 1)
}

func (w *theatre) answers(node *sim.Machine, name, want string) error {
	if got := strings.Fields(w.on(node, "dig +short +time=1 +tries=2 @10.0.0.13 "+name+" A")); !slices.Equal(got, []string{want}) {
		return fmt.Errorf("dig %s: %q, want %s", name, got, want)
	}
	return nil
}

func (w *theatre) exports(node *sim.Machine) error {
	if out := w.on(node, "exportfs -s"); strings.Count(out, "/srv/data") != 1 || !strings.Contains(out, "10.0.0.30/32(") {
		return fmt.Errorf("exportfs says %q", out)
	}
	return nil
}

// filters says what is wrong with the firewall: each level has one group of its own, with rules.
func (w *theatre) filters() error {
	state := w.Site.Firewall()
	for level, rules := range map[string][]pve.FirewallRule{
		"datacenter": state.Cluster.Rules, "node": state.Nodes["phoenix"].Rules, "guest": state.Guests[110].Rules,
	} {
		if len(rules) != 1 || rules[0].Type != "group" || len(state.Groups[rules[0].Action].Rules) == 0 {
			return fmt.Errorf("the rules of the %s are %+v", level, rules)
		}
	}
	if len(state.Groups) != 3 || state.Cluster.Options["enable"] != "1" || state.Guests[110].Options["policy_in"] != "DROP" {
		return fmt.Errorf("the firewall is %+v", state)
	}
	return nil
}

// on runs a line on a machine.
func (w *theatre) on(m *sim.Machine, line string) string {
	w.Helper()
	var out strings.Builder
	if exit := m.Shell(context.Background(), line, strings.NewReader(""), &out, &out); exit != 0 {
		w.Fatalf("%s: exit %d: %s", line, exit, out.String())
	}
	return out.String()
}

// held is a program in the middle of a change, during which the manager is killed.
type held struct{ reason, program string }

var midway = []held{
	{"killed before a file is staged", "base64 *"},
	{"killed while a file is checked", "dnsmasq --test*"},
	{"killed while files are swapped", "mv *"},
	{"killed while the service is asked", "dig *"},
}

// strike changes dnsmasq, kills the manager while the node is about to run the program, and starts it again.
func (h held) strike(w *theatre, node *sim.Machine, n int) {
	w.allReady()
	release := node.Hold(h.program)
	defer release()
	address := fmt.Sprintf("10.0.1.%d", n)
	// A text has dnsmasq restarted, which an address alone does not.
	w.edit("dns", fmt.Sprintf(`{"spec":{"dnsmasq":{"records":[{"name":"nas","addresses":["%s"]},{"name":"note","text":["%d"]}]}}}`, address, n))
	w.until("the node is to run "+h.program, func() error {
		if node.Held() == 0 {
			return errors.New("no such program waits")
		}
		return nil
	})
	w.kill()
	release()
	w.start()
	w.agreed("dns")
	w.serves(node, address)
	if got := strings.Fields(w.on(node, "dig +short @10.0.0.13 note.phoenix.lan TXT")); !slices.Equal(got, []string{fmt.Sprintf("%q", fmt.Sprint(n))}) {
		w.Errorf("the text is %q, want %d alone", got, n)
	}
}

// file reads a file of a machine.
func (w *theatre) file(m *sim.Machine, name string) string {
	w.Helper()
	text, err := m.ReadFile(name)
	if err != nil {
		w.Error(err)
	}
	return text
}

// edit patches a HostService.
func (w *theatre) edit(name, patch string) {
	w.Helper()
	o := &v1alpha1.HostService{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: world.Namespace}}
	if err := w.Client.Patch(context.Background(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		w.Fatal(err)
	}
}

// agreed waits until the present spec of a HostService is Ready, and then all is.
func (w *theatre) agreed(name string) {
	w.Helper()
	w.until(name+" is looked at", func() error {
		var o v1alpha1.HostService
		if err := w.Client.Get(context.Background(), client.ObjectKey{Namespace: world.Namespace, Name: name}, &o); err != nil {
			return err
		}
		if o.Status.ObservedGeneration != o.Generation {
			return fmt.Errorf("generation %d, observed %d", o.Generation, o.Status.ObservedGeneration)
		}
		return nil
	})
	w.allReady()
}

// killCalls changes the firewall and kills the manager at every kind of call that this takes, in every moment.
func killCalls(w *theatre) {
	n := 0
	for _, x := range []write{
		{"POST", "/cluster/firewall/groups"}, {"POST", "/cluster/firewall/groups/*"}, {"PUT", "/cluster/firewall/rules/*"}, {"DELETE", "/cluster/firewall/groups/*"},
	} {
		for _, m := range moments {
			n++
			if n%2 == 0 { // every kind of call, and every moment
				continue
			}
			w.allReady()
			w.Logf("%s %s, %s", x.method, x.path, m.name)
			killCall(w, x, m, 9000+n)
			w.serves(w.Site.Machine("phoenix"), fmt.Sprintf("10.0.1.%d", len(midway)))
			if rules := w.Site.Firewall(); !strings.Contains(fmt.Sprint(rules.Groups), fmt.Sprint(9000+n)) {
				w.Errorf("the rule is not there: %+v", rules.Groups)
			}
		}
	}
}

// killCall changes a rule, kills the manager at a call, and starts it again.
func killCall(w *theatre, x write, m moment, port int) {
	w.Helper()
	before := w.Site.CountRequests(x.method, x.path)
	f := m.fault
	f.Method, f.Path, f.From, f.To = x.method, x.path, 1, 1
	defer w.Site.Inject(f)()
	w.edit("firewall", fmt.Sprintf(`{"spec":{"firewall":{"datacenter":{"rules":[
		{"action":"Accept","macro":"SSH","source":{"alias":"lan"}},
		{"action":"Accept","protocol":"tcp","ports":"8006,%d","source":{"alias":"lan"}}]}}}}`, port))
	w.until("the manager writes "+x.method+" "+x.path, func() error {
		if w.Site.CountRequests(x.method, x.path) == before {
			return errors.New("it has not")
		}
		if requests := w.Site.Writes(); m.done && requests[len(requests)-1].Status == 0 {
			return errors.New("it is not done")
		}
		return nil
	})
	w.kill()
	w.start()
	w.agreed("firewall")
}

// restored proves that a new control plane with the same YAML writes nothing, to no machine and not to Proxmox.
func (w *theatre) restored(node *sim.Machine) {
	w.Helper()
	w.edit("dns", `{"spec":{"dnsmasq":{"records":[{"name":"nas","addresses":["10.0.0.20"]}]}}}`)
	w.edit("firewall", `{"spec":{"firewall":{"datacenter":{"rules":[{"action":"Accept","macro":"SSH","source":{"alias":"lan"}},{"action":"Accept","protocol":"tcp","ports":"8006","source":{"alias":"lan"}}]}}}}`)
	w.agreed("dns")
	w.agreed("firewall")
	w.serves(node, "10.0.0.20")
	w.kill()
	outside := func() []string {
		return []string{w.file(node, dropIn), w.file(node, exported), w.file(node, firewalls), node.Unit("dnsmasq.service").Invocation, w.on(node, "ls /var/lib/phoenix")}
	}
	before, writes := outside(), node.Writes()

	fresh := open(w.T, pve.Options{})
	fresh.Site, w.Site = w.Site, fresh.Site
	fresh.Site.ForgetRequests()
	if err := fresh.ApplySamples(context.Background(), services); err != nil {
		w.Fatal(err)
	}
	fresh.start()
	fresh.allReady()
	if calls := fresh.Site.Writes(); len(calls) > 0 || node.Writes() != writes {
		w.Errorf("a new control plane made %d writes to the node, and to the site %v", node.Writes()-writes, calls)
	}
	if diff := cmp.Diff(before, outside()); diff != "" {
		w.Errorf("a new control plane changed something (-before +after):\n%s", diff)
	}
	fresh.serves(node, "10.0.0.20")
}
