// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a download needs beside the shell, tar and coreutils: curl for files of
// a folder, systemd as far as transient units go, and accounts.
var programTools = map[string]string{
	"curl": `#!/bin/sh
echo "$*" >>DIR/curls
[ "$1 $2 $3 $4 $5 $6 $7 $8" = "-fsSL --proto =http,https --connect-timeout 10 --max-time 1800 -o" ] && [ "${10}" = -- ] || exit 2
case ${11} in
http://mirror/*) ;;
*) echo "curl: (6) Could not resolve host: nosuch" >&2; exit 6 ;;
esac
[ -f "DIR/web/${11##*/}" ] || { echo "curl: (22) The requested URL returned error: 404" >&2; exit 22; }
cat "DIR/web/${11##*/}" >"$9"
`,
	"systemd-run": `#!/bin/sh
unit=${2#--unit=}
shift 4
sed -e "s|/var/lib/phoenix|DIR/store|g" -e "s|PATH=` + searchPath + `|PATH=$PATH|" "$2" >DIR/job
shift 2
echo "Started $unit - sh." >>DIR/log-$unit
sh DIR/job "$@" >>DIR/log-$unit 2>&1 || { echo "$unit: Failed with result 'exit-code'." >>DIR/log-$unit; true >DIR/failed-$unit; }
`,
	"systemctl": `#!/bin/sh
case $1 in
is-system-running) echo running ;;
is-active) if [ -f "DIR/failed-$2" ]; then echo failed; else echo inactive; fi; false ;;
reset-failed) rm -f "DIR/failed-$2" ;;
show)
	shift 3
	for unit; do
		state=inactive
		[ ! -f "DIR/failed-$unit" ] || state=failed
		[ "$unit" != docker.service ] || state=active
		printf 'Id=%s\nLoadState=loaded\nActiveState=%s\nSubState=x\nUnitFileState=\n\n' "$unit" "$state"
	done
	;;
esac
`,
	"journalctl":  "#!/bin/sh\ntail -n 25 \"DIR/log-$2\"\n",
	"getent":      "#!/bin/sh\nfile=$1 found=0\nshift\nfor name; do grep \"^$name:\" \"DIR/$file\" || found=2; done\nexit $found\n",
	"useradd":     "#!/bin/sh\necho \"$*\" >>DIR/useradds\nfor name; do :; done\necho \"$name:x:1\" >>DIR/passwd\n",
	"app-refresh": "#!/bin/sh\ncat DIR/app/trust/* >DIR/made 2>/dev/null\ntrue\n",
}

// programFolder is a folder in which programTools are, and everything belongs to root.
func programFolder(t *testing.T) (dir string, m *Machine) {
	t.Helper()
	dir, m = newFolder(t, "root:root", "ME", "form='%a|%u|%g|%U|%G|%F|%n'", "form='%a|0|0|root|root|%F|%n'")
	for name, text := range programTools {
		if err := os.WriteFile(dir+"/bin/"+name, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"passwd", "group"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("theirs:x:1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/web", 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, m
}

// TestRealPrograms has the computer's own sh, tar and coreutils bring a program
// into its place, mend it and take it away.
func TestRealPrograms(t *testing.T) {
	dir, m := programFolder(t)
	archive, plain := archiveOf(t, "1"), []byte("#!/bin/sh\necho plain\n")
	if err := errors.Join(os.WriteFile(dir+"/web/tool;$(odd)%20'x'.tgz", archive, 0o644), os.WriteFile(dir+"/web/plain", plain, 0o644)); err != nil {
		t.Fatal(err)
	}
	want := State{
		Users: []User{{Name: "tool", Home: "/srv/it's $(odd)"}, {Name: "theirs"}},
		Artifacts: []Artifact{
			{URL: "http://mirror/tool;$(odd)%20'x'.tgz", SHA256: fullHash(archive), Member: "tool/bin/tool", Path: dir + "/app/it's $(tool)"},
			{URL: "http://mirror/plain", SHA256: fullHash(plain), Path: dir + "/app/bin/plain", Mode: 0o700},
		},
		Files: []File{{Path: dir + "/app/trust/a", Content: []byte("a\n"), Refresh: []string{"app-refresh", "it's $(odd)"}}},
	}
	apply := func() error {
		for range 10 {
			err := settled(t, m, func(seen Seen) ([]Step, error) { return Plan(planOwner, want, seen, PlanOptions{}) }, want)
			if pending := new(PendingError); !errors.As(err, &pending) {
				return err
			}
		}
		return errors.New("it does not come to an end")
	}
	read := func(name string) string {
		raw, _ := os.ReadFile(dir + name) // nothing is there, or nothing can be read: the same here
		return string(raw)
	}
	empty := contents(t, dir+"/app")
	if err := apply(); err != nil {
		t.Fatal(err)
	}
	one := contents(t, dir+"/app")
	if got := []string{read("/app/it's $(tool)"), read("/app/bin/plain"), read("/made"), read("/useradds")}; !cmp.Equal(got, []string{
		"tool 1\n", string(plain), "a\n", "--system --user-group --no-create-home --home-dir /srv/it's $(odd) --shell /usr/sbin/nologin tool\n",
	}) || !strings.Contains(one, "/bin/plain -rwx------") || !strings.Contains(one, "$(tool) -rwxr-xr-x") {
		t.Errorf("%q in\n%s", got, one)
	}
	asked := read("/curls")
	for reason, spoil := range map[string]error{
		"mode":   os.Chmod(dir+"/app/it's $(tool)", 0o666),
		"edited": os.WriteFile(dir+"/app/bin/plain", []byte("evil"), 0o700),
	} {
		if err := errors.Join(spoil, apply()); err != nil {
			t.Errorf("%s: %v", reason, err)
		}
	}
	if diff := changed(one, contents(t, dir+"/app")); diff != "" || strings.Count(read("/curls"), "\n") != strings.Count(asked, "\n")+1 {
		t.Errorf("after an edit (-before +after):\n%s\n%s", diff, read("/curls"))
	}
	for _, c := range []struct{ url, says string }{
		{"http://mirror/plain", "download http://mirror/plain (UNIT): the SHA-256 of what it gives is " + fullHash(plain) + ", want " + fullHash([]byte("x"))},
		{"http://mirror/none", "download http://mirror/none (UNIT): curl: (22) The requested URL returned error: 404"},
		{"http://nosuch/", "download http://nosuch/ (UNIT): curl: (6) Could not resolve host: nosuch"},
	} {
		want.Artifacts[1].URL, want.Artifacts[1].SHA256 = c.url, fullHash([]byte("x"))
		var failed *JobError
		if err := apply(); !errors.As(err, &failed) || strings.ReplaceAll(err.Error(), failed.Unit, "UNIT") != c.says {
			t.Errorf("%v\nwant\n%s", err, c.says)
		}
	}
	want.Artifacts[0].Member = "tool/none"
	want.Artifacts = want.Artifacts[:1]
	if err := apply(); err == nil || !strings.Contains(err.Error(), "tar: tool/none: Not found in archive; ") {
		t.Errorf("%v", err)
	}
	if got := contents(t, dir+"/store"); strings.Contains(got, ".download -") || strings.Contains(got, ".part -") || strings.Contains(got, ".member -") {
		t.Errorf("left behind:\n%s", got)
	}
	if err := settled(t, m, func(seen Seen) ([]Step, error) { return Clear(planOwner, seen), nil }, State{}); err != nil {
		t.Fatal(err)
	}
	if diff := changed(empty, contents(t, dir+"/app")); diff != "" || read("/made") != "" {
		t.Errorf("after the way back (-before +after), and made of nothing %q:\n%s", read("/made"), diff)
	}
	if left, err := os.ReadDir(dir + "/store"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the store is left, with %v: %v", left, err)
	}
}
