// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Version of step-ca that is simulated.
const Version = "0.30.2"

// Program is what the file of the program holds.
const Program = "\x7fELF step-ca " + Version + " (simulated)\n"

// IsProgram tells whether a file's content is the program.
func IsProgram(text string) bool { return strings.HasPrefix(text, "\x7fELF step-ca ") }

// Release is the program as it is published: the address of the archive, the
// archive, its SHA-256 in lower-case hex, and the program's name in it.
func Release() (address string, archive []byte, sum, member string) {
	member = "step-ca_" + Version + "/step-ca"
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, file := range []struct{ name, text string }{{"step-ca_" + Version + "/README.md", "step-ca\n"}, {member, Program}} {
		// Nothing that is written to memory fails.
		_ = w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o755, Size: int64(len(file.text))})
		_, _ = w.Write([]byte(file.text))
	}
	_ = w.Close()
	_ = z.Close()
	digest := sha256.Sum256(out.Bytes())
	return "https://mirror.phoenix.lan/step-ca_linux_" + Version + "_amd64.tar.gz", out.Bytes(), hex.EncodeToString(digest[:]), member
}
