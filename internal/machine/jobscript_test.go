// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// apt and dpkg are the real ones' answers where a package manager was killed in
// the middle: apt-get refuses until dpkg has come to an end, and dpkg asks about
// files that somebody changed unless it is told to keep them. "rival" conflicts
// with "app". One of the sources wants a subscription.
const (
	aptGet = `#!/bin/sh
remove=yes simulate=
while [ $# -gt 0 ]; do
	case $1 in
	-o) [ "$2" != APT::Get::Remove=false ] || remove=; shift 2 ;;
	-s) simulate=yes; shift ;;
	-*) shift ;;
	*) break ;;
	esac
done
command=$1
shift
if [ "$command" = update ]; then
	rm -f DIR/stale
	echo read >>DIR/updates
	echo "E: Failed to fetch https://enterprise.proxmox.com/debian/pve/dists/bookworm/InRelease  401  Unauthorized"
	exit 100
fi
if [ -n "$simulate" ]; then for p; do echo "Remv $p [1]"; done; exit 0; fi
if [ -f DIR/interrupted ]; then
	echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem."
	exit 100
fi
if [ "$command" = install ] && [ -f DIR/stale ]; then
	echo "E: Failed to fetch app_1.deb  404  Not Found"
	exit 100
fi
for p; do
	case $command in
	install)
		if [ "$p" = app ] && [ -f DIR/installed/rival ]; then
			[ -n "$remove" ] || { echo "E: Packages need to be removed but remove is disabled."; exit 100; }
			rm DIR/installed/rival
		fi
		true >"DIR/installed/$p"
		;;
	remove) rm -f "DIR/installed/$p" ;;
	esac
done
`
	dpkgTool = `#!/bin/sh
case " $* " in
*" --configure -a "*) ;;
*) exit 2 ;;
esac
case " $* " in
*" --force-confold "*) rm -f DIR/interrupted ;;
*) echo "dpkg: error processing package app (--configure): end of file on stdin at conffile prompt"; exit 1 ;;
esac
`
)

// TestJobScripts has the computer's own sh run what a transient unit runs.
func TestJobScripts(t *testing.T) {
	for _, c := range []struct {
		reason, script string
		args           []string
		there          []string // before
		interrupted    bool
		stale          bool   // the lists name files that are gone
		updates        int    // of the lists
		want           string // is installed afterwards
		fails          bool
	}{
		{reason: "installed", script: installJob, args: []string{"app"}, want: "app"},
		{reason: "an installation was killed while dpkg asked about a file", script: installJob, args: []string{"app"}, interrupted: true, updates: 1, want: "app"},
		{reason: "a package that nobody declared stays", script: installJob, args: []string{"app"}, there: []string{"rival"}, updates: 1, want: "rival", fails: true},
		{reason: "the lists are old, and one source is refused", script: installJob, args: []string{"app"}, stale: true, updates: 1, want: "app"},
		{reason: "a source is new", script: freshInstallJob, args: []string{"app"}, updates: 1, want: "app"},
		{reason: "removed", script: removeJob, args: []string{"/nowhere/needed", "app"}, there: []string{"app", "rival"}, want: "rival"},
		{reason: "an installation was killed, and is not wanted any more", script: removeJob, args: []string{"/nowhere/needed", "app"}, there: []string{"app"}, interrupted: true},
	} {
		t.Run(c.reason, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			write("bin/apt-get", aptGet)
			write("bin/dpkg", dpkgTool)
			write("bin/apt-cache", "#!/bin/sh\necho '  Candidate: 1'\n")
			write("bin/dpkg-query", "#!/bin/sh\nfor p; do :; done\n[ -f \"DIR/installed/$p\" ] && echo 'ii '\n")
			write("installed/base", "")
			for _, name := range c.there {
				write("installed/"+name, "")
			}
			for name, on := range map[string]bool{"interrupted": c.interrupted, "stale": c.stale} {
				if on {
					write(name, "")
				}
			}
			write("job", strings.ReplaceAll(c.script, "PATH="+searchPath, "PATH=DIR/bin:"+os.Getenv("PATH")))
			out, err := exec.CommandContext(t.Context(), "sh", append([]string{dir + "/job"}, c.args...)...).CombinedOutput()
			if failed := err != nil; failed != c.fails {
				t.Errorf("it failed: %t, want %t:\n%s", failed, c.fails, out)
			}
			updates, _ := os.ReadFile(dir + "/updates") // none are none
			if got := strings.Count(string(updates), "\n"); got != c.updates {
				t.Errorf("%d updates, want %d:\n%s", got, c.updates, out)
			}
			entries, err := os.ReadDir(dir + "/installed")
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, e := range entries {
				if e.Name() != "base" {
					left = append(left, e.Name())
				}
			}
			if got := strings.Join(left, " "); got != c.want {
				t.Errorf("installed are %q, want %q:\n%s", got, c.want, out)
			}
		})
	}
}
