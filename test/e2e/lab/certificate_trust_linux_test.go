// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/test/world"
)

// trusting proves that every machine says that it trusts the root, and does.
func trusting(r *reference) {
	t := r.T
	roots := r.service("step-ca").Status.StepCA.Roots
	if len(roots) != 1 {
		t.Fatalf("the roots are %+v, want one", roots)
	}
	var all []v1alpha1.Object
	host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Name: "phoenix", Namespace: world.Namespace}}
	if err := r.Client.Get(test, client.ObjectKeyFromObject(host), host); err != nil {
		t.Fatal(err)
	}
	all = append(all, host)
	var guests v1alpha1.GuestList
	if err := r.Client.List(test, &guests); err != nil {
		t.Fatal(err)
	}
	for i := range guests.Items {
		if len(guests.Items[i].Spec.TrustAuthorities) > 0 {
			all = append(all, &guests.Items[i])
		}
	}
	for _, o := range all {
		if status, said := condition(o, v1alpha1.TrustedCondition); status != metav1.ConditionTrue || !strings.Contains(said, roots[0].Fingerprint) {
			t.Errorf("a machine says %s, want the root %s", said, roots[0].Fingerprint)
		}
	}
	if len(all) != len(addresses) {
		t.Errorf("%d machines trust the authority, want %d", len(all), len(addresses))
	}
	file := "/usr/local/share/ca-certificates/phoenix-" + roots[0].Fingerprint[:8] + ".crt"
	for vmid := range addresses {
		inside(t, vmid, "openssl", "verify", file)
	}
	inside(t, traefik, "rm", file)
	inside(t, traefik, "update-ca-certificates")
	verifies := func() error {
		got, err := site.Exec(test, traefik, "sh", "-c", `openssl s_client -connect "$0" -servername nginx.phoenix.lan -verify_return_error </dev/null 2>&1`, gateway)
		if err == nil && got.Exit != 0 {
			err = errors.New(got.Stdout)
		}
		return err
	}
	if verifies() == nil {
		t.Error("without the root the guest verifies all the same")
	}
	guest := &v1alpha1.Guest{ObjectMeta: metav1.ObjectMeta{Name: "traefik", Namespace: world.Namespace}}
	r.patch(guest, fmt.Sprintf(`{"metadata":{"annotations":{%q:"%d"}}}`, lookAnnotation, time.Now().UnixNano()))
	until(t, "the guest trusts again", verifies)
}
