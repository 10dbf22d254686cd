// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// basicExpression turns a basic regular expression into an extended one: there
// the backslash gives ( ) { } + ? | their meaning, here it takes it.
func basicExpression(text string) string {
	var b strings.Builder
	class := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case class:
			class = c != ']' || i > 0 && (text[i-1] == '[' || strings.HasSuffix(text[:i], "[^"))
			b.WriteByte(c)
		case c == '[':
			class = true
			b.WriteByte(c)
		case c == '\\' && i+1 < len(text) && strings.IndexByte("(){}+?|", text[i+1]) >= 0:
			i++
			b.WriteByte(text[i])
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteString(`\` + string(text[i]))
		case strings.IndexByte("(){}+?|", c) >= 0:
			b.WriteString(`\` + string(c))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

type grep struct {
	f        flags
	patterns []*regexp.Regexp
	matched  bool
}

const grepSpec = "q quiet=q silent=q x line-regexp=x F fixed-strings=F E extended-regexp=E G v invert-match=v c count=c s no-messages=s " +
	"i ignore-case=i n line-number=n o only-matching=o l files-with-matches=l L h no-filename=h H w word-regexp=w e: regexp:=e f: file:=f m: max-count:=m a text=a z"

func runGrep(_ context.Context, p *Process) int {
	f, ok := p.parse(grepSpec)
	if !ok {
		return 2
	}
	switch path.Base(p.Args[0]) {
	case "egrep":
		f.set["E"] = []string{""}
	case "fgrep":
		f.set["F"] = []string{""}
	}
	g := &grep{f: f}
	expressions := strings.Join(f.set["e"], "\n")
	files := f.args
	if !f.has("e") && !f.has("f") {
		if len(files) == 0 {
			p.Errorf("missing pattern")
			return 2
		}
		expressions, files = files[0], files[1:]
	}
	if f.has("f") {
		text, err := p.ReadFile(f.last("f", ""))
		if err != nil {
			p.Errorf("%s: %s", f.last("f", ""), reason(err))
			return 2
		}
		expressions = strings.Join(append(f.set["e"], lines(text)...), "\n")
		if text == "" && !f.has("e") {
			return p.grepFiles(g, files)
		}
	}
	for _, one := range strings.Split(expressions, "\n") {
		re, err := regexp.Compile(g.expression(one))
		if err != nil {
			p.Errorf("Invalid regular expression")
			return 2
		}
		g.patterns = append(g.patterns, re)
	}
	return p.grepFiles(g, files)
}

func (g *grep) expression(text string) string {
	switch {
	case g.f.has("F"):
		text = regexp.QuoteMeta(text)
	case !g.f.has("E"):
		text = basicExpression(text)
	}
	if g.f.has("w") {
		text = `\b(?:` + text + `)\b`
	}
	if g.f.has("x") {
		text = `^(?:` + text + `)$`
	}
	if g.f.has("i") {
		text = "(?i)" + text
	}
	return text
}

func (p *Process) grepFiles(g *grep, files []string) int {
	exit := 1
	if len(files) == 0 {
		files = []string{"-"}
	}
	named := len(files) > 1 && !g.f.has("h") || g.f.has("H")
	failed := false
	for _, name := range files {
		text, err := p.ReadFile(name)
		if err != nil {
			failed = true
			if !g.f.has("s") {
				p.Errorf("%s: %s", name, reason(err))
			}
			continue
		}
		prefix := ""
		if named {
			prefix = name + ":"
		}
		g.one(p, name, prefix, text)
	}
	if g.matched {
		exit = 0
	}
	if failed && (!g.matched || !g.f.has("q")) {
		exit = 2
	}
	return exit
}

func (g *grep) one(p *Process, name, prefix, text string) {
	count, limit := 0, atoi(g.f.last("m", "0"))
	quiet := g.f.has("q") || g.f.has("c") || g.f.has("l") || g.f.has("L")
	for n, line := range lines(text) {
		found := g.match(line)
		if (found != nil) == g.f.has("v") {
			continue
		}
		count++
		if !quiet {
			g.print(p, prefix, n+1, line, found)
		}
		if limit > 0 && count >= limit {
			break
		}
	}
	g.matched = g.matched || count > 0
	switch {
	case g.f.has("q"):
	case g.f.has("c"):
		p.Printf("%s%d\n", prefix, count)
	case g.f.has("l") && count > 0, g.f.has("L") && count == 0:
		p.Printf("%s\n", name)
	}
}

// print prints a line, or the parts of it that match.
func (g *grep) print(p *Process, prefix string, number int, line string, found []string) {
	if g.f.has("n") {
		prefix += fmt.Sprintf("%d:", number)
	}
	if !g.f.has("o") {
		found = []string{line}
	}
	for _, part := range found {
		p.Printf("%s%s\n", prefix, part)
	}
}

// match are the parts of a line that match; nil is none.
func (g *grep) match(line string) []string {
	for _, re := range g.patterns {
		if re.MatchString(line) {
			return append([]string{}, re.FindAllString(line, -1)...)
		}
	}
	return nil
}

// sedCommand is one command of a sed script: s, d, p or q at an address.
type sedCommand struct {
	first, last string // "", a number, $ or /expression/
	negated     bool
	name        byte
	re          *regexp.Regexp
	with        string
	global      bool
	print       bool
	inside      bool
}

func runSed(_ context.Context, p *Process) int {
	f, ok := p.parse("n quiet=n silent=n e: expression:=e E r=E regexp-extended=E i in-place=i s u")
	if !ok {
		return 1
	}
	scripts, files := f.set["e"], f.args
	if len(scripts) == 0 {
		if len(files) == 0 {
			return p.Errorf("no script")
		}
		scripts, files = files[:1], files[1:]
	}
	commands, bad := parseSed(strings.Join(scripts, "\n"), f.has("E"))
	if bad != "" {
		return p.Errorf("-e expression #1, char 1: %s", bad)
	}
	return p.eachInput(files, func(name, text string) {
		out := sed(commands, text, f.has("n"))
		if !f.has("i") {
			p.Printf("%s", out)
			return
		}
		if err := p.M.writeFile(p.abs(name), out, 0o644); err != nil {
			p.Errorf("couldn't edit %s: %s", name, reason(err))
		}
	})
}

var sedAddress = regexp.MustCompile(`^(?:(\d+|\$|/(?:[^/\\]|\\.)*/)(?:,(\d+|\$|/(?:[^/\\]|\\.)*/))?)?\s*(!?)\s*`)

func parseSed(script string, extended bool) (commands []*sedCommand, bad string) {
	for _, line := range strings.FieldsFunc(script, func(r rune) bool { return r == '\n' }) {
		for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, "; ") {
			var c *sedCommand
			if c, line, bad = parseSedCommand(line, extended); bad != "" {
				return nil, bad
			}
			commands = append(commands, c)
		}
	}
	return commands, ""
}

func parseSedCommand(line string, extended bool) (*sedCommand, string, string) {
	m := sedAddress.FindStringSubmatch(line)
	c := &sedCommand{first: m[1], last: m[2], negated: m[3] == "!"}
	line = line[len(m[0]):]
	if line == "" {
		return nil, "", "missing command"
	}
	c.name, line = line[0], line[1:]
	switch c.name {
	case 'p', 'd', 'q':
		return c, line, ""
	case 's':
		return c.substitution(line, extended)
	}
	return nil, "", "unknown command: `" + string(c.name) + "' is not simulated"
}

func (c *sedCommand) substitution(line string, extended bool) (*sedCommand, string, string) {
	if line == "" {
		return nil, "", "unterminated `s' command"
	}
	parts, rest, ok := sedParts(line[1:], line[0])
	if !ok {
		return nil, "", "unterminated `s' command"
	}
	expression := parts[0]
	if !extended {
		expression = basicExpression(expression)
	}
	for rest != "" && strings.IndexByte("gpiI", rest[0]) >= 0 {
		switch rest[0] {
		case 'g':
			c.global = true
		case 'p':
			c.print = true
		default:
			expression = "(?i)" + expression
		}
		rest = rest[1:]
	}
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, "", "invalid regular expression"
	}
	c.re, c.with = re, parts[1]
	return c, rest, ""
}

// sedParts splits expression and replacement at a delimiter.
func sedParts(text string, delimiter byte) (parts [2]string, rest string, ok bool) {
	for n := range parts {
		var b strings.Builder
		i := 0
		for ; i < len(text) && text[i] != delimiter; i++ {
			if text[i] == '\\' && i+1 < len(text) {
				if i++; text[i] != delimiter {
					b.WriteByte('\\')
				}
			}
			b.WriteByte(text[i])
		}
		if i == len(text) {
			return parts, "", false
		}
		parts[n], text = b.String(), text[i+1:]
	}
	return parts, text, true
}

func (c *sedCommand) chosen(line string, n, total int) bool {
	hit := true
	switch {
	case c.first == "":
	case c.last == "":
		hit = sedAt(c.first, line, n, total)
	case c.inside:
		c.inside = !sedAt(c.last, line, n, total)
	default:
		if hit = sedAt(c.first, line, n, total); hit {
			c.inside = atoi(c.last) == 0 || atoi(c.last) > n
		}
	}
	return hit != c.negated
}

func sedAt(address, line string, n, total int) bool {
	switch {
	case address == "$":
		return n == total
	case strings.HasPrefix(address, "/"):
		re, err := regexp.Compile(basicExpression(strings.ReplaceAll(address[1:len(address)-1], `\/`, "/")))
		return err == nil && re.MatchString(line)
	}
	return atoi(address) == n
}

func sed(commands []*sedCommand, text string, silent bool) string {
	var b strings.Builder
	rows := lines(text)
	for i, line := range rows {
		deleted, quit := false, false
		for _, c := range commands {
			if deleted || !c.chosen(line, i+1, len(rows)) {
				continue
			}
			switch c.name {
			case 'd':
				deleted = true
			case 'q':
				quit = true
			case 'p':
				b.WriteString(line + "\n")
			case 's':
				line = c.substitute(&b, line)
			}
		}
		if !deleted && !silent {
			b.WriteString(line + "\n")
		}
		if quit {
			break
		}
	}
	return b.String()
}

func (c *sedCommand) substitute(b *strings.Builder, line string) string {
	if !c.re.MatchString(line) {
		return line
	}
	done := false
	line = replaceAll(c.re, line, func(groups []string) string {
		if done && !c.global {
			return groups[0]
		}
		done = true
		return sedReplacement(c.with, groups)
	})
	if c.print {
		b.WriteString(line + "\n")
	}
	return line
}

func replaceAll(re *regexp.Regexp, text string, with func([]string) string) string {
	var b strings.Builder
	at := 0
	for _, m := range re.FindAllStringSubmatchIndex(text, -1) {
		groups := make([]string, len(m)/2)
		for i := range groups {
			if m[2*i] >= 0 {
				groups[i] = text[m[2*i]:m[2*i+1]]
			}
		}
		b.WriteString(text[at:m[0]] + with(groups))
		at = m[1]
	}
	return b.String() + text[at:]
}

func sedReplacement(with string, groups []string) string {
	var b strings.Builder
	for i := 0; i < len(with); i++ {
		switch c := with[i]; {
		case c == '&':
			b.WriteString(groups[0])
		case c == '\\' && i+1 < len(with):
			i++
			switch n := int(with[i] - '0'); {
			case n >= 0 && n < len(groups):
				b.WriteString(groups[n])
			case with[i] == 'n':
				b.WriteByte('\n')
			default:
				b.WriteByte(with[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
