// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"strings"
)

// Quote renders arguments as one line for a POSIX shell, each of them exactly
// one word with no meaning of its own. It returns an error for no arguments
// and for one with a NUL byte, which no process can be given.
func Quote(argv []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("quote command: there is none")
	}
	words := make([]string, 0, len(argv))
	for i, word := range argv {
		if strings.ContainsRune(word, 0) {
			return "", fmt.Errorf("quote command %s: argument %d holds a NUL byte", argv[0], i)
		}
		words = append(words, quoteWord(word))
	}
	return strings.Join(words, " "), nil
}

func quoteWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
