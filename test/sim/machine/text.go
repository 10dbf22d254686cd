// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"crypto/sha1" // what sha1sum prints
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// eachInput calls do with every file that is named, standard input for none,
// and complains about those that are not there.
func (p *Process) eachInput(names []string, do func(name, text string)) int {
	exit := 0
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		text, err := p.ReadFile(name)
		if err != nil {
			exit = p.Errorf("%s: %s", name, reason(err))
			continue
		}
		do(name, text)
	}
	return exit
}

func runCat(_ context.Context, p *Process) int {
	f, ok := p.parse("n u A v e")
	if !ok {
		return 1
	}
	return p.eachInput(f.args, func(_, text string) { _, _ = io.WriteString(p.Stdout, text) }) // a reader that left is not cat's fault
}

func sum(digest func([]byte) []byte) Program {
	return func(_ context.Context, p *Process) int {
		f, ok := p.parse("c check=c status quiet b binary=b t text=t")
		if !ok {
			return 1
		}
		if f.has("c") {
			return p.checkSums(f, digest)
		}
		return p.eachInput(f.args, func(name, text string) { p.Printf("%s  %s\n", hex.EncodeToString(digest([]byte(text))), name) })
	}
}

func (p *Process) checkSums(f flags, digest func([]byte) []byte) int {
	exit := 0
	bad := p.eachInput(f.args, func(_, list string) {
		for line := range strings.Lines(list) {
			want, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
			if !ok {
				continue
			}
			verdict := p.verdict(name, want, digest)
			if verdict != "OK" {
				exit = 1
			}
			if !f.has("status") && (verdict != "OK" || !f.has("quiet")) {
				p.Printf("%s: %s\n", name, verdict)
			}
		}
	})
	return max(exit, bad)
}

func (p *Process) verdict(name, want string, digest func([]byte) []byte) string {
	text, err := p.ReadFile(name)
	switch {
	case err != nil:
		return "FAILED open or read"
	case hex.EncodeToString(digest([]byte(text))) != want:
		return "FAILED"
	}
	return "OK"
}

func sha1Of(b []byte) []byte   { s := sha1.Sum(b); return s[:] }
func sha256Of(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

func runBase64(_ context.Context, p *Process) int {
	f, ok := p.parse("d decode=d w: wrap:=w i ignore-garbage=i")
	if !ok {
		return 1
	}
	bad := false
	exit := p.eachInput(f.args, func(_, text string) {
		if f.has("d") {
			plain, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
			bad = err != nil
			_, _ = p.Stdout.Write(plain) // a reader that left is not base64's fault
			return
		}
		p.Printf("%s", wrap(base64.StdEncoding.EncodeToString([]byte(text)), atoi(f.last("w", "76"))))
	})
	if bad {
		return p.Errorf("invalid input")
	}
	return exit
}

func wrap(text string, width int) string {
	if width <= 0 {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		n := min(width, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.String()
}

// lines splits a text into lines without their ends.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func runHead(_ context.Context, p *Process) int { return p.headTail(true) }

func runTail(_ context.Context, p *Process) int { return p.headTail(false) }

func (p *Process) headTail(head bool) int {
	for i, arg := range p.Args[1:] { // head -5
		if len(arg) > 1 && arg[0] == '-' && arg[1] >= '0' && arg[1] <= '9' {
			p.Args = slices.Clone(p.Args)
			p.Args[i+1] = "-n" + arg[1:]
		}
	}
	f, ok := p.parse("n: lines:=n c: bytes:=c q quiet=q")
	if !ok {
		return 1
	}
	return p.eachInput(f.args, func(_, text string) {
		if f.has("c") {
			n := min(atoi(f.last("c", "0")), len(text))
			if head {
				p.Printf("%s", text[:n])
			} else {
				p.Printf("%s", text[len(text)-n:])
			}
			return
		}
		p.Printf("%s", strings.Join(window(strings.SplitAfter(text, "\n"), f.last("n", "10"), head), ""))
	})
}

func window(rows []string, count string, head bool) []string {
	if len(rows) > 0 && rows[len(rows)-1] == "" {
		rows = rows[:len(rows)-1]
	}
	n := min(max(atoi(strings.TrimLeft(count, "+-")), 0), len(rows))
	switch {
	case head && strings.HasPrefix(count, "-"):
		return rows[:len(rows)-n]
	case head:
		return rows[:n]
	case strings.HasPrefix(count, "+"):
		return rows[max(n-1, 0):]
	}
	return rows[len(rows)-n:]
}

func runCut(_ context.Context, p *Process) int {
	f, ok := p.parse("d: delimiter:=d f: fields:=f c: characters:=c b:=c s only-delimited=s")
	if !ok {
		return 1
	}
	delimiter := f.last("d", "\t")
	return p.eachInput(f.args, func(_, text string) {
		for _, line := range lines(text) {
			if f.has("c") {
				p.Printf("%s\n", strings.Join(pick(strings.Split(line, ""), f.last("c", "")), ""))
				continue
			}
			if !strings.Contains(line, delimiter) {
				if !f.has("s") {
					p.Printf("%s\n", line)
				}
				continue
			}
			p.Printf("%s\n", strings.Join(pick(strings.Split(line, delimiter), f.last("f", "")), delimiter))
		}
	})
}

// pick chooses the parts that a list such as 1,3-5,7- names.
func pick(parts []string, list string) []string {
	var out []string
	for i, part := range parts {
		for _, one := range strings.Split(list, ",") {
			from, to, span := strings.Cut(one, "-")
			low, high := max(atoi(from), 1), atoi(to)
			if !span {
				high = low
			}
			if to == "" && span {
				high = len(parts)
			}
			if i+1 >= low && i+1 <= high {
				out = append(out, part)
				break
			}
		}
	}
	return out
}

func runTr(_ context.Context, p *Process) int {
	f, ok := p.parseLeading("d delete=d s squeeze-repeats=s c complement=c")
	if !ok || len(f.args) == 0 {
		return 1
	}
	text, err := p.input()
	if err != nil {
		return 1
	}
	from, to := trSet(f.args[0]), ""
	if len(f.args) > 1 {
		to = trSet(f.args[1])
	}
	var b strings.Builder
	var before byte
	for i := range len(text) {
		c := text[i]
		at := strings.IndexByte(from, c)
		in := (at >= 0) != f.has("c")
		switch {
		case in && f.has("d"):
			continue
		case in && to != "":
			c = to[min(max(at, 0), len(to)-1)]
			if f.has("c") {
				c = to[len(to)-1]
			}
		}
		if f.has("s") && in && c == before {
			continue
		}
		before = c
		b.WriteByte(c)
	}
	p.Printf("%s", b.String())
	return 0
}

// trSet expands ranges, classes and escapes.
func trSet(text string) string {
	text = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\r`, "\r", `\0`, "\x00", `\\`, `\`,
		"[:lower:]", "a-z", "[:upper:]", "A-Z", "[:digit:]", "0-9", "[:alnum:]", "a-zA-Z0-9", "[:space:]", " \t\n\r\v\f").Replace(text)
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if i+2 < len(text) && text[i+1] == '-' && text[i] <= text[i+2] {
			for c := int(text[i]); c <= int(text[i+2]); c++ {
				b.WriteByte(byte(c)) // both ends are bytes
			}
			i += 2
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func runSort(_ context.Context, p *Process) int {
	f, ok := p.parse("u unique=u r reverse=r n numeric-sort=n k: key:=k t: V version-sort=V b f")
	if !ok {
		return 2
	}
	var rows []string
	exit := p.eachInput(f.args, func(_, text string) { rows = append(rows, lines(text)...) })
	key := func(row string) string {
		if !f.has("k") {
			return row
		}
		fields := strings.Fields(row)
		if f.has("t") {
			fields = strings.Split(row, f.last("t", ""))
		}
		n := atoi(strings.Split(f.last("k", "1"), ",")[0])
		if n < 1 || n > len(fields) {
			return ""
		}
		return fields[n-1]
	}
	sort.SliceStable(rows, func(i, j int) bool {
		a, b := key(rows[i]), key(rows[j])
		if f.has("r") {
			a, b = b, a
		}
		if f.has("n") {
			return atoi(a) < atoi(b)
		}
		return a < b
	})
	if f.has("u") {
		rows = slices.Compact(rows)
	}
	for _, row := range rows {
		p.Printf("%s\n", row)
	}
	return exit
}

func runUniq(_ context.Context, p *Process) int {
	f, ok := p.parse("c count=c d repeated=d u unique=u")
	if !ok {
		return 1
	}
	return p.eachInput(f.args, func(_, text string) {
		rows := lines(text)
		for i := 0; i < len(rows); {
			n := 1
			for i+n < len(rows) && rows[i+n] == rows[i] {
				n++
			}
			switch {
			case f.has("d") && n == 1, f.has("u") && n > 1:
			case f.has("c"):
				p.Printf("%7d %s\n", n, rows[i])
			default:
				p.Printf("%s\n", rows[i])
			}
			i += n
		}
	})
}

func runWc(_ context.Context, p *Process) int {
	f, ok := p.parse("l lines=l c bytes=c w words=w m")
	if !ok {
		return 1
	}
	return p.eachInput(f.args, func(name, text string) {
		counts := []struct {
			flag string
			n    int
		}{{"l", strings.Count(text, "\n")}, {"w", len(strings.Fields(text))}, {"c", len(text)}}
		var out []string
		for _, c := range counts {
			if len(f.set) == 0 || f.has(c.flag) {
				out = append(out, strconv.Itoa(c.n))
			}
		}
		if name != "-" {
			out = append(out, name)
		}
		p.Printf("%s\n", strings.Join(out, " "))
	})
}

func runTee(_ context.Context, p *Process) int {
	f, ok := p.parse("a append=a i")
	if !ok {
		return 1
	}
	text, err := p.input()
	if err != nil {
		return 1
	}
	exit := 0
	for _, name := range f.args {
		before := ""
		if f.has("a") {
			before, _ = p.M.readFile(p.abs(name)) // it need not be there
		}
		if err := p.put(name, before+text); err != nil {
			exit = p.Errorf("%s: %s", name, reason(err))
		}
	}
	p.Printf("%s", text)
	return exit
}

// put writes a file with the process's mask; a device takes it and forgets it.
func (p *Process) put(name, text string) error {
	if info, err := p.M.stat(p.abs(name)); err == nil && info.Perm&0o777 == 0o666 && strings.HasPrefix(p.abs(name), "/dev/") {
		return nil
	}
	return p.M.writeFile(p.abs(name), text, 0o666&^p.Umask)
}

func runCmp(_ context.Context, p *Process) int {
	f, ok := p.parse("s quiet=s silent=s")
	if !ok || len(f.args) < 2 {
		return 2
	}
	a, err := p.ReadFile(f.args[0])
	if err != nil {
		p.Errorf("%s: %s", f.args[0], reason(err))
		return 2
	}
	b, err := p.ReadFile(f.args[1])
	if err != nil {
		p.Errorf("%s: %s", f.args[1], reason(err))
		return 2
	}
	if a == b {
		return 0
	}
	if !f.has("s") {
		n := 0
		for n < min(len(a), len(b)) && a[n] == b[n] {
			n++
		}
		if n == min(len(a), len(b)) {
			fmt.Fprintf(p.Stderr, "cmp: EOF on %s after byte %d\n", f.args[bitOf(len(b) < len(a))], n)
		} else {
			p.Printf("%s %s differ: byte %d, line %d\n", f.args[0], f.args[1], n+1, strings.Count(a[:n], "\n")+1)
		}
	}
	return 1
}

func bitOf(b bool) int {
	if b {
		return 1
	}
	return 0
}
