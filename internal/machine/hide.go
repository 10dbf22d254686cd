// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"strings"
)

// hide takes the lines of secret files, and the values in them, out of what a
// program said.
func (s *State) hide(text string) string {
	for _, f := range s.Files {
		if !f.Secret {
			continue
		}
		for line := range bytes.Lines(f.Content) {
			for _, part := range [][]byte{line, afterSign(line)} {
				if part = bytes.TrimSpace(part); len(part) >= 4 {
					text = strings.ReplaceAll(text, string(part), "[secret]")
				}
			}
		}
	}
	return text
}

// afterSign is the value of a line such as "password = value".
func afterSign(line []byte) []byte {
	if at := bytes.IndexAny(line, "=: \t"); at >= 0 {
		return line[at+1:]
	}
	return nil
}
