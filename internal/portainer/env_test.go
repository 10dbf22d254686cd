// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

// awkward are values that stack.env would spoil if they stood there bare.
var awkward = []string{
	"", "plain", "lab/host/default/web", "8080", "a b", " lead", "trail ", "\ttab\t", "#x", "a #b", "a#b", "$HOME", "${HOME}", "$$", "a$", `\`, `a\`,
	`\n`, `\\`, `"`, `'`, `"q"`, `'q'`, `it's`, `say "hi"`, `it's "$x" \ #`, "two\nlines", "dos\r\nlines", "\n", "-----BEGIN KEY-----\nMII/+=\n-----END KEY-----\n",
	"=", "a=b", "x: y", "export A=b", "ä€𝄞", "\u00a0nbsp\u00a0", "\u0085", "\u2028", "\ufeff", "\a\b\f\v\x01\x1f\x7f", `\0123`, `\t`, `\$x`, `\"`, `\\"`, `'\`, `"\`, `${A:-b}`, `${`, "{{.X}}", "`id`",
}

// read is how compose sees a variable.
func seen(t *testing.T, value string) string {
	t.Helper()
	file := "BEFORE=1\nV=" + quote(value) + "\nAFTER=2\n"
	got, err := dotenv.ParseWithLookup(strings.NewReader(file), func(string) (string, bool) { return "of the server", true })
	if err != nil {
		t.Fatalf("%q: compose does not read %q: %v", value, file, err)
	}
	if got["BEFORE"] != "1" || got["AFTER"] != "2" || len(got) != 3 {
		t.Fatalf("%q: its neighbours suffer in %q: %v", value, file, got)
	}
	return got["V"]
}

func TestQuote(t *testing.T) {
	for _, value := range awkward {
		succeeds(t, value, CheckValue(value))
		if got := seen(t, value); got != value {
			t.Errorf("compose sees %q, not %q, in %s", got, value, quote(value))
		}
		if got := unquote(quote(value)); got != value {
			t.Errorf("unquote(%s) = %q, not %q", quote(value), got, value)
		}
	}
	for value, want := range map[string]string{
		"lab/host/default/web": "lab/host/default/web", "a b": "a b", "a$b": "'a$b'", "it's $5": `"it's \$5"`, "": "", `C:\x`: `C:\x`,
	} {
		wants(t, "as people read it in Portainer's pages", quote(value), want)
	}
}

func TestUnquoteOfOthers(t *testing.T) {
	for _, raw := range []string{`"plain"`, `'plain'`, `"`, `'`, `""`, `''`, `"a`, `a"`, `"$x"`, `"\t"`, `'it\'s'`, ` x`, `$x`} {
		if got := unquote(raw); got != raw {
			t.Errorf("%s was not written by us, yet unquote gives %s", raw, got)
		}
	}
}

func FuzzQuote(f *testing.F) {
	for _, value := range awkward {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if CheckValue(value) != nil {
			if utf8.ValidString(value) && !strings.Contains(value, "\x00") {
				t.Fatalf("%q is refused", value)
			}
			return
		}
		if got := seen(t, value); got != value {
			t.Fatalf("compose sees %q, not %q, in %s", got, value, quote(value))
		}
		if got := unquote(quote(value)); got != value {
			t.Fatalf("unquote(%s) = %q, not %q", quote(value), got, value)
		}
	})
}
