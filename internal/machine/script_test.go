// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mvdan.cc/sh/v3/syntax"
)

// everything is a State that uses all there is, with one text in every place
// that takes any text.
func everything(text string) State {
	return State{
		Users:    []User{{Name: "app", Home: home(text)}},
		Packages: []string{"dnsmasq"},
		Artifacts: []Artifact{
			{URL: "https://mirror.lan/" + inURL(text) + "?" + inURL(text), SHA256: strings.Repeat("0a", 32), Member: "x" + strings.ReplaceAll(text, "\n", ""), Path: "/usr/bin/" + text},
			{URL: "https://mirror.lan/", SHA256: strings.Repeat("0b", 32), Path: "/usr/sbin/plain"},
		},
		Images: []Image{
			{Name: "lab/app", Archive: &Archive{URL: "https://mirror.lan/" + inURL(text), SHA256: strings.Repeat("0c", 32)}, Triggers: []Trigger{{"app.service", Restart}}}, {Name: "lab/agent:1"},
		},
		Dirs: []Dir{{Path: "/srv/" + text, Owner: "100000", Group: "www-data", Mode: 0o2770}},
		Files: []File{
			{Path: "/etc/app/" + text, Content: []byte(text), Validate: []string{"check", text, "--file={}"}, Triggers: []Trigger{{"app.service", Reload}}, Refresh: []string{"make-it", text}},
			{Path: "/etc/app/secret", Content: []byte(text), Secret: true, Replaces: true},
		},
		Units:  []Unit{{Name: `mnt-my\x2ddata.mount`, Enabled: true, Running: true}},
		Verify: []Command{{Name: text, Argv: []string{"verify", text}}},
		Probes: []Probe{{Name: text, Argv: []string{"probe", text}, Want: text, Match: strings.ReplaceAll(text, "\n", ""), Patience: time.Second}},
		Reads:  []string{"/etc/app/" + text + "*"},
	}
}

// home is a text as a home directory may be.
func home(text string) string { return "/" + strings.NewReplacer(":", "", "\n", "").Replace(text) }

// inURL is a text as a part of a URL, if it can be one.
func inURL(text string) string {
	if badURL("https://mirror.lan/"+text) != "" {
		return url.PathEscape(text)
	}
	return text
}

// scripts renders all that a State can become.
func scripts(t *testing.T, want State) []string {
	t.Helper()
	if err := want.validate(); err != nil {
		t.Fatal(err)
	}
	owner := Owner("home/HostService/default/app")
	out := []string{observeScript(owner, want)}
	seen := Seen{Paths: map[string]Path{}, Packages: map[string]string{}, Units: map[string]UnitStatus{}, curl: true}
	for i := range want.Artifacts {
		seen.Paths[want.Artifacts[i].staged(owner)] = Path{Kind: "file", Hash: want.Artifacts[i].SHA256}
	}
	p := newPlanner(owner, want, seen)
	var jobs []string
	for _, g := range p.images {
		jobs = append(jobs, p.imageJob(g).text)
	}
	seen.Images = map[string]string{"lab/app": imageID("app"), "lab/agent:1": imageID("agent")}
	seen.made = seen.Images
	seen.record = &record{Images: []ownedImage{{Name: "lab/app", ID: imageID("old"), Before: imageID("mine"), Making: true}, {Name: "lab/old:1", ID: imageID("old")}}}
	p = newPlanner(owner, want, seen)
	c := p.change()
	out = append(out, c.script(time.Minute), want.Artifacts[0].script(owner))
	j := job{p: p, key: "x", what: "x", text: installJob, args: []string{"dnsmasq"}}
	out = append(out, j.start())
	seen.record, seen.recordBytes = c.first(), c.first().render()
	for _, d := range seen.record.Dirs {
		seen.Paths[d.Path] = Path{Kind: "directory", Mode: "0755", Owner: "root", Group: "root", UID: "0", GID: "0"}
	}
	return append(append(out, newPlanner(owner, State{}, seen).change().script(time.Minute)), jobs...)
}

// commands are the command lines of a script, each word with its quotes off.
func commands(t *testing.T, script string) [][]string {
	t.Helper()
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(script), "")
	if err != nil {
		t.Fatalf("the script does not parse: %v\n%s", err, script)
	}
	var list [][]string
	syntax.Walk(file, func(n syntax.Node) bool {
		if call, ok := n.(*syntax.CallExpr); ok {
			var words []string
			for _, w := range call.Args {
				words = append(words, literal(w))
			}
			list = append(list, words)
		}
		return true
	})
	return list
}

// literal is a word of plain and single-quoted parts; others are left out.
func literal(w *syntax.Word) string {
	var b strings.Builder
	for _, part := range w.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			b.WriteString(strings.ReplaceAll(p.Value, `\'`, `'`))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		}
	}
	return b.String()
}

// shape is what a script is made of, whatever its values are.
func shape(list [][]string) []string {
	var names []string
	for _, words := range list {
		name := ""
		if len(words) > 0 {
			name = words[0]
		}
		names = append(names, name+" "+strings.Repeat("x", len(words)))
	}
	return names
}

var hostile = []string{
	"plain", "a b", "it's", "''", `\`, `\'`, "$(reboot)", "`reboot`", "${HOME}", "a;reboot", "a&b|c>d<e", "*?[a-z]{a,b}", "~root", "#x", "!x", "-rf", "--", "=x",
	"Grüße", "世界", "END_OF_DATA", "END_OF_DATA_", "{}", "%s%d", "@end",
}

// TestHostileValuesStayWords holds every script to the same commands with the
// same number of words, whatever the values are.
func TestHostileValuesStayWords(t *testing.T) {
	plain := scripts(t, everything("plain"))
	for _, text := range hostile {
		t.Run(text, func(t *testing.T) { checkWords(t, plain, text) })
	}
}

func checkWords(t *testing.T, plain []string, text string) {
	t.Helper()
	for i, script := range scripts(t, everything(text)) {
		got := commands(t, script)
		if want := shape(commands(t, plain[i])); !slices.Equal(want, shape(got)) {
			t.Fatalf("script %d is made of other commands with %q:\n%v\ninstead of\n%v", i, text, shape(got), want)
		}
		if i == 1 && !slices.ContainsFunc(got, func(words []string) bool { return slices.Contains(words, "/etc/app/"+text) }) {
			t.Errorf("the path with %q is no word of the change", text)
		}
		if i == 2 && !slices.ContainsFunc(got, func(words []string) bool {
			return len(words) == 7 && words[0] == "set" && strings.HasSuffix(words[2], "/"+inURL(text)+"?"+inURL(text))
		}) {
			t.Errorf("the URL with %q is not what it was", text)
		}
		if i == 0 && !slices.ContainsFunc(got, func(words []string) bool {
			return len(words) > 2 && words[len(words)-1] == text && words[1] == strings.TrimSpace(text)
		}) {
			t.Errorf("the probe with %q is not what it was", text)
		}
	}
}

// FuzzHostileValues looks for a value that does more than stand there.
func FuzzHostileValues(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := everything(text)
		if want.validate() != nil || strings.Contains(text, "/") { // more folders are more commands
			return // refused is fine: nothing is rendered
		}
		plain := scripts(t, everything("plain"))
		checkWords(t, plain, text)
		for i, script := range scripts(t, want)[1:2] {
			if !bytes.Contains(decodeAll(script), []byte(text)) {
				t.Errorf("script %d does not carry the content %q", i, text)
			}
		}
	})
}

// decodeAll is what the here-documents of a script hold.
func decodeAll(script string) []byte {
	var out []byte
	inside := false
	var text strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasSuffix(line, "<<'"+endOfData+"' || return 1"):
			inside = true
		case line == endOfData:
			raw, _ := base64.StdEncoding.DecodeString(text.String())
			out, inside = append(out, raw...), false
			text.Reset()
		case inside:
			text.WriteString(line)
		}
	}
	return out
}

// TestScriptsParse has the computer's own POSIX shell read every script,
// without running any.
func TestScriptsParse(t *testing.T) {
	for _, text := range []string{"plain", "it's; $(reboot)"} {
		for i, script := range scripts(t, everything(text)) {
			cmd := exec.CommandContext(t.Context(), "sh", "-n")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("script %d: %v: %s", i, err, out)
			}
		}
	}
}

// TestDataRoundTrip lets the real shell and base64 write what data renders.
func TestDataRoundTrip(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for name, content := range map[string][]byte{
		"empty": nil, "one": {0}, "every byte": every, "long": bytes.Repeat(every, 2000), "no end": []byte("a\nb"), "marks": []byte(endOfData + "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var s script
			s.line("%s", changeFunctions)
			s.data(content, "try write x stage2 <<'%s' || exit 1", endOfData)
			text := strings.Replace(s.String(), "try write x stage2", "stage2() { base64 -d >f; }\ntry write x stage2", 1)
			runner := &local{dir: dir}
			result, err := New(runner, Options{}).Script(t.Context(), text)
			if err != nil || result.ExitCode != 0 {
				t.Fatalf("%v, exit code %d: %s", err, result.ExitCode, result.Stderr)
			}
			got, err := os.ReadFile(filepath.Join(dir, "f"))
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes became %d: %v", len(content), len(got), err)
			}
		})
	}
}

func TestTail(t *testing.T) {
	for name, c := range map[string]struct{ reason, text, want string }{
		"short":   {"as it is", " a\nb \n", "a\nb"},
		"long":    {"its end", strings.Repeat("x", 20) + "end", "...xxxxxxxend"},
		"letters": {"never a part of one", strings.Repeat("ü", 10), "..." + strings.Repeat("ü", 5)},
		"escape":  {"a terminal obeys nothing", "a\x1b[2J\x7fb", "a [2J b"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tail(c.text, 10); got != c.want {
				t.Errorf("%s: %q", c.reason, got)
			}
		})
	}
}
