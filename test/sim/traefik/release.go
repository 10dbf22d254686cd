// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Version of Traefik that is simulated.
const Version = "3.6.12"

const magic = "\x7fELF traefik "

// Program is what the file of a version's program holds.
func Program(version string) string { return magic + version + " (simulated)\n" }

// ProgramVersion is the version of a file's content, if it is the program.
func ProgramVersion(text string) (version string, ok bool) {
	rest, ok := strings.CutPrefix(text, magic)
	version, _, _ = strings.Cut(rest, " ")
	return version, ok
}

// Release is a version of the program as it is published: the address of the archive, the archive, its SHA-256 in
// lower-case hex, and the program's name in it. All versions behave alike.
func Release(version string) (address string, archive []byte, sum, member string) {
	member = "traefik"
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, file := range []struct{ name, text string }{{"CHANGELOG.md", "# Traefik\n"}, {"LICENSE.md", "The MIT License (MIT)\n"}, {member, Program(version)}} {
		// Nothing that is written to memory fails.
		_ = w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o755, Size: int64(len(file.text))})
		_, _ = w.Write([]byte(file.text))
	}
	_ = w.Close()
	_ = z.Close()
	digest := sha256.Sum256(out.Bytes())
	return "https://mirror.phoenix.lan/traefik_v" + version + "_linux_amd64.tar.gz", out.Bytes(), hex.EncodeToString(digest[:]), member
}
