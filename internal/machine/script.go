// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"
)

// endOfData ends a here-document of base64, which has no underscore.
const endOfData = "END_OF_DATA"

// script is shell text in the making. Every value that is not the author's own
// text goes through word, words or data, so that it stays what it is; what it
// holds runs in dash and in every other POSIX shell.
type script struct{ strings.Builder }

// line adds a line of the author's own text, with values that are rendered.
func (s *script) line(format string, values ...any) {
	fmt.Fprintf(s, format+"\n", values...)
}

// data gives a command bytes as its standard input, in base64: they stand in
// no argument. The command is the author's text and must end in a base64 -d.
func (s *script) data(content []byte, format string, values ...any) {
	s.line(format, values...)
	encoded := base64.StdEncoding.EncodeToString(content)
	for len(encoded) > 0 {
		n := min(76, len(encoded))
		s.line("%s", encoded[:n])
		encoded = encoded[n:]
	}
	s.line(endOfData)
}

// word renders a value as one word without a meaning of its own.
func word(value string) string { return quoteWord(value) }

// words renders values as so many words.
func words(values []string) string {
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = quoteWord(value)
	}
	return strings.Join(quoted, " ")
}

// pattern renders a path in which * and ? stand for what they do in a shell,
// and everything else for itself.
func pattern(glob string) string {
	var out strings.Builder
	for glob != "" {
		plain := strings.IndexAny(glob, "*?")
		switch plain {
		case 0:
			out.WriteByte(glob[0])
			glob = glob[1:]
			continue
		case -1:
			plain = len(glob)
		}
		out.WriteString(quoteWord(glob[:plain]))
		glob = glob[plain:]
	}
	return out.String()
}

// tail is the end of a program's words, for an error: at most n bytes, without
// what a terminal would obey.
func tail(text string, n int) string {
	text = strings.TrimSpace(strings.ToValidUTF8(text, "?"))
	if len(text) > n {
		text = text[len(text)-n:]
		for text != "" && !utf8.RuneStart(text[0]) {
			text = text[1:]
		}
		text = "..." + text
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
