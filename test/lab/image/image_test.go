// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRelease(t *testing.T) {
	for _, tc := range []struct {
		reason, text string
		want         release
	}{
		{"Debian quotes some values", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n", release{"debian", "bookworm"}},
		{"quotes of either kind", "ID='debian'\nVERSION_CODENAME=\"trixie\"", release{"debian", "trixie"}},
		{"a key that only ends alike is another", "XID=debian\nID_LIKE=debian\n", release{}},
	} {
		if got := parseRelease(tc.text); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.reason, got, tc.want)
		}
	}
}

func TestReadRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "os-release")
	if err := os.WriteFile(path, []byte("ID=ubuntu\nVERSION_CODENAME=noble\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRelease(path); err == nil {
		t.Error("a machine that is not Debian was taken for one")
	}
}

func TestFindMirror(t *testing.T) {
	targets := `Packages|Docker|bookworm|stable|https://elsewhere.example/linux/debian/
Packages|Debian|bookworm-updates|main|http://mirror.example/debian/
DEP-11|Debian|bookworm|main|http://wrong.example/debian/
Packages|Debian|bookworm|contrib|http://wrong.example/debian/
Packages|Debian|bookworm|main|http://mirror.example/debian/
`
	if got, want := findMirror(targets, "bookworm"), "http://mirror.example/debian/"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := findMirror(targets, "trixie"); got != "" {
		t.Errorf("a mirror of another release was taken: %q", got)
	}
}

func TestVersion(t *testing.T) {
	a, b := version(release{"debian", "bookworm"}), version(release{"debian", "trixie"})
	if a == b || len(a) != 12 {
		t.Errorf("releases are not told apart: %s, %s", a, b)
	}
}

func TestPlainName(t *testing.T) {
	if got, want := plainName("libx_1%3a2.6+deb12~u1_amd64.deb"), "libx_1_3a2.6_deb12_u1_amd64.deb"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStanza(t *testing.T) {
	got := stanza("Package: x\nVersion: 1\n\n", "x_1_all.deb", []byte("content"))
	want := "Package: x\nVersion: 1\nFilename: ./x_1_all.deb\nSize: 7\n" +
		"SHA256: ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73\n\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestFurnish proves that every machine gets keys and an ID of its own, and that furnishing twice does no harm.
func TestFurnish(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"etc/ssh", "etc/systemd/system", "usr/share/doc/x"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	key := filepath.Join(root, "etc/ssh/ssh_host_ed25519_key")
	if err := os.WriteFile(key, []byte("shared"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := furnish(root); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("the host key is still there")
	}
	if id, err := os.ReadFile(filepath.Join(root, "etc/machine-id")); err != nil || len(id) > 0 {
		t.Errorf("machine ID: %q, %v", id, err)
	}
	if to, err := os.Readlink(filepath.Join(root, "etc/systemd/system/apt-daily.timer")); to != "/dev/null" {
		t.Errorf("a timer is not masked: %q, %v", to, err)
	}
}
