// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompile proves that a program is the same wherever its sources are, and that the compiler's words reach the reader.
func TestCompile(t *testing.T) {
	checkout := func(text string) string {
		dir := t.TempDir()
		for name, text := range map[string]string{"go.mod": "module example.test/m\n\ngo 1.26.0\n", "main.go": text} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	var sums [][32]byte
	for range 2 {
		dir := checkout("package main\n\nfunc main() {}\n")
		path := filepath.Join(t.TempDir(), "program")
		if err := Compile(t.Context(), dir, ".", path); err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sha256.Sum256(program))
	}
	if sums[0] != sums[1] {
		t.Error("the same sources give two programs")
	}
	err := Compile(t.Context(), checkout("package main\n\nfunc main() { broken() }\n"), ".", filepath.Join(t.TempDir(), "program"))
	if err == nil || !strings.Contains(err.Error(), "undefined: broken") {
		t.Errorf("the compiler says %v", err)
	}
}
