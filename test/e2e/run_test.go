// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRun is "make run" as a script uses it: what it prints, and how it ends.
func TestRun(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	run := filepath.Join(t.TempDir(), "run")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", run, "../../hack/run").CombinedOutput(); err != nil {
		t.Fatalf("build run: %v\n%s", err, out)
	}
	for _, tc := range []struct {
		reason, timeout string
		fails           bool
		says            []string
	}{
		{"there is not time enough: every blocker is named", "1s", true, []string{"not every object is Ready after 1s:", "guest/step-ca  ", "guest/drphoenix  "}},
		{"all is well", "5m", false, []string{"all 26 objects are Ready", "NAME      READY   STATUS   VERSION", "step-ca     True    InSync   Container   103    phoenix   10.0.0.10 ", "firewall           True    InSync   firewall         Host/phoenix ", "nginx       True    InSync   nginx-tls ", "stack-b   True    InSync   drphoenix     2/2 ", "portainer   True    InSync   docker.phoenix.lan   HostService/portainer     https://docker.phoenix.lan/ "}},
	} {
		t.Run(tc.timeout, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Symlink(filepath.Join(root, "config"), filepath.Join(dir, "config")); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), run, "--until=ready", "--timeout="+tc.timeout, "--manager="+os.Getenv("MANAGER"))
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if (err != nil) != tc.fails {
				t.Errorf("%s: it ended with %v", tc.reason, err)
			}
			for _, want := range tc.says {
				if !strings.Contains(string(out), want) {
					t.Errorf("%s: it does not say %q:\n%s", tc.reason, want, out)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".phoenix", "*kubeconfig")); len(left) > 0 {
				t.Errorf("credentials are left behind: %v", left)
			}
		})
	}
}
