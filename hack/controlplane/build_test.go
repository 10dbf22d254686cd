// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// module writes a Go module whose command prints what the linker stamped into it.
func module(t *testing.T, body string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.test/m\n\ngo 1.26.0\n", 0o644)
	write(t, filepath.Join(dir, "server", "main.go"), "package main\n\n"+body, 0o644)
	return dir
}

func TestBuild(t *testing.T) {
	program := binary{name: "etcd", pkg: "example.test/m/server", built: "server", version: []string{"--version"}}
	t.Run("a command is compiled and put under its store name", func(t *testing.T) {
		var out bytes.Buffer
		b := builder{module: module(t, "func main() { println(\"started\") }\n"), version: "v1.2.3", out: &out}
		dir := t.TempDir()
		if err := b.build(t.Context(), []binary{program}, dir); err != nil {
			t.Fatal(err)
		}
		said, err := exec.Command(filepath.Join(dir, "etcd")).CombinedOutput()
		if err != nil || string(said) != "started\n" {
			t.Errorf("ran: %v, %q", err, said)
		}
		for _, word := range []string{"etcd", "v1.2.3", "6 minutes", "once"} {
			if !strings.Contains(out.String(), word) {
				t.Errorf("said %q, want %q", out.String(), word)
			}
		}
	})
	t.Run("a compiler's message is in the error", func(t *testing.T) {
		var out bytes.Buffer
		b := builder{module: module(t, "func main() { nowhere() }\n"), version: "v1.2.3", out: &out}
		err := b.build(t.Context(), []binary{program}, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), "undefined: nowhere") {
			t.Errorf("error %v, want the compiler's", err)
		}
	})
	t.Run("a module that is not there is told", func(t *testing.T) {
		var out bytes.Buffer
		b := builder{module: t.TempDir(), version: "v1.2.3", out: &out}
		if err := b.build(t.Context(), []binary{program}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "go.mod") {
			t.Errorf("error %v, want one that names go.mod", err)
		}
	})
}

func TestStaleCountsOnlyWhatIsCompiled(t *testing.T) {
	dir := module(t, "func main() {}\n")
	t.Setenv("GOCACHE", t.TempDir())
	var out bytes.Buffer
	b := builder{module: dir, version: "v1.2.3", out: &out}
	flags := []string{"-trimpath"}
	before, err := b.stale(t.Context(), flags, []string{"./server"})
	if err != nil || !before["example.test/m/server"] || !before["runtime"] {
		t.Fatalf("error %v; stale in an empty cache: %v", err, before)
	}
	if _, err := b.goTool(t.Context(), []string{"build", "-trimpath", "-o", os.DevNull, "runtime"}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	after, err := b.stale(t.Context(), flags, []string{"./server"})
	if err != nil || !after["example.test/m/server"] || after["runtime"] {
		t.Errorf("error %v; stale with a compiled runtime: %v", err, after)
	}
}

// TestPins holds the pinned module together: a staging module of another release compiles and misbehaves.
func TestPins(t *testing.T) {
	version, err := pinned("build/go.mod", "k8s.io/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("build/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	staging := strings.Replace(version, "v1.", "v0.", 1)
	replaced := 0
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) != 4 || words[1] != "=>" {
			continue
		}
		replaced++
		if words[0] != words[2] || words[3] != staging {
			t.Errorf("%s: want %s => %s %s", strings.TrimSpace(line), words[0], words[0], staging)
		}
	}
	if replaced != 33 {
		t.Errorf("%d staging modules are replaced, want 33", replaced)
	}
	for _, b := range []binary{etcd, kubeAPIServer, kubectlBinary} {
		if !strings.Contains(string(text), "\t"+b.pkg+"\n") {
			t.Errorf("go.mod does not list the tool %s", b.pkg)
		}
	}
}

func TestPinned(t *testing.T) {
	cases := []struct{ reason, text, want, err string }{
		{"in a block", "require (\n\ta/b v1.2.3\n)\n", "v1.2.3", ""},
		{"on a line of its own", "require a/b v1.2.3 // indirect\n", "v1.2.3", ""},
		{"a tool line is no requirement", "tool (\n\ta/b\n)\n", "", "does not require a/b"},
		{"a replacement is no requirement", "replace a/b => ./c\n", "", "does not require a/b"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "go.mod")
			write(t, path, c.text, 0o644)
			got, err := pinned(path, "a/b")
			if got != c.want || (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %q, %v; want %q, %q", got, err, c.want, c.err)
			}
		})
	}
}

func TestStamps(t *testing.T) {
	got := stamps("v1.36.3")
	for _, want := range []string{"-X k8s.io/component-base/version.gitVersion=v1.36.3 ", "gitMajor=1 ", "gitMinor=36 "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

func TestMinorSelector(t *testing.T) {
	if got := minorSelector("v1.36.3"); got != "1.36.x" {
		t.Errorf("got %q, want 1.36.x", got)
	}
}

func TestRun(t *testing.T) {
	full := t.TempDir()
	for _, b := range []binary{etcd, kubeAPIServer} {
		write(t, filepath.Join(full, b.name), "x", 0o755)
	}
	empty := t.TempDir()
	broken := module(t, "func main() {}\n")
	cases := []struct {
		reason, assets string
		args           []string
		dir, err, says string
	}{
		{reason: "KUBEBUILDER_ASSETS with both binaries is used as it is, silently", assets: full, dir: full},
		{reason: "KUBEBUILDER_ASSETS without them is told, and the search goes on", assets: empty,
			args: []string{"-module", broken}, says: "lacks etcd, kube-apiserver", err: "does not require k8s.io/kubernetes"},
		{reason: "kubectl counts when it is asked for", assets: full,
			args: []string{"-kubectl", "-module", broken}, says: "lacks kubectl", err: "does not require k8s.io/kubernetes"},
		{reason: "an unknown source is refused by name", args: []string{"-source", "luck"}, err: `"luck"`},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			var out bytes.Buffer
			args := append([]string{"-cache", t.TempDir()}, c.args...)
			dir, err := run(t.Context(), args, c.assets, &out)
			if c.err == "" && (err != nil || dir != c.dir || out.Len() > 0) {
				t.Errorf("got %q, %v, said %q; want %q in silence", dir, err, out.String(), c.dir)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("said %q, want %q", out.String(), c.says)
			}
		})
	}
}
