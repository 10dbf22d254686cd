// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// unitFile is a unit's text, taken apart: "Service.ExecStart" -> values.
type unitFile map[string][]string

func parseUnit(text string) unitFile {
	out := unitFile{}
	section, joined := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if joined == "" && (line == "" || line[0] == '#' || line[0] == ';') {
			continue
		}
		if before, more := strings.CutSuffix(line, `\`); more {
			joined += before + " "
			continue
		}
		line, joined = joined+line, ""
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		key, value = section+"."+strings.TrimSpace(key), strings.TrimSpace(value)
		if value == "" {
			out[key] = nil // an empty value takes back what was set
			continue
		}
		out[key] = append(out[key], value)
	}
	return out
}

func (f unitFile) get(key, fallback string) string {
	if values := f[key]; len(values) > 0 {
		return values[len(values)-1]
	}
	return fallback
}

func (f unitFile) words(key string) []string {
	return strings.Fields(strings.Join(f[key], " "))
}

// remains tells whether a service stays active when its process has ended.
func (f unitFile) remains() bool {
	switch strings.ToLower(f.get("Service.RemainAfterExit", "no")) {
	case "yes", "true", "1", "on":
		return true
	}
	return false
}

// unitFolders are where unit files lie, the first one wins.
var unitFolders = []string{"/etc/systemd/system", "/run/systemd/transient", "/run/systemd/system", "/usr/lib/systemd/system"}

// unitText reads a unit's file with its drop-ins.
func (m *Machine) unitText(name string) (fragment, text string, dropins []string) {
	for _, folder := range unitFolders {
		content, err := m.readFile(folder + "/" + name)
		if err != nil {
			continue
		}
		fragment, text = folder+"/"+name, content
		if at, err := m.resolve(fragment, true); err == nil && at == "/dev/null" {
			return at, "", nil
		} else if err == nil && folder == unitFolders[0] {
			fragment = at
		}
		break
	}
	if fragment == "" {
		return "", "", nil
	}
	for _, name := range m.dropins(name) {
		if content, err := m.readFile(name); err == nil {
			dropins = append(dropins, name)
			text += "\n" + content
		}
	}
	return fragment, text, dropins
}

// dropins are the files that change a unit.
func (m *Machine) dropins(name string) []string {
	var out []string
	for _, folder := range slices.Backward(unitFolders) {
		entries, err := m.readDir(folder + "/" + name + ".d")
		if err != nil {
			continue
		}
		for _, entry := range entries {
			if strings.HasSuffix(entry.Base, ".conf") {
				out = append(out, folder+"/"+name+".d/"+entry.Base)
			}
		}
	}
	return out
}

// unitEscape turns a path into the name of a mount unit.
func unitEscape(text string) string {
	if strings.HasPrefix(text, "/") {
		text = strings.Trim(path.Clean(text), "/")
		if text == "" {
			return "-"
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '/':
			b.WriteByte('-')
		case c == '.' && i == 0, !validUnitByte(c):
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func validUnitByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == ':' || c == '_' || c == '.'
}

// span reads a time span of systemd: 90, 2min, 1h 30s, 500ms, infinity.
func span(text string) (time.Duration, bool) {
	total := time.Duration(0)
	if text == "infinity" {
		return 1<<63 - 1, true
	}
	text = strings.ReplaceAll(text, " ", "")
	for text != "" {
		n := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if n < 0 {
			n = len(text)
		}
		number, err := strconv.ParseFloat(text[:n], 64)
		if err != nil {
			return 0, false
		}
		text = text[n:]
		u := strings.IndexFunc(text, func(r rune) bool { return r >= '0' && r <= '9' })
		if u < 0 {
			u = len(text)
		}
		unit, known := timeUnits[text[:u]]
		if !known {
			return 0, false
		}
		total += time.Duration(number * float64(unit))
		text = text[u:]
	}
	return total, true
}

var timeUnits = map[string]time.Duration{
	"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour, "d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"ms": time.Millisecond, "msec": time.Millisecond, "us": time.Microsecond, "w": 7 * 24 * time.Hour,
}

// splitCommand splits a command line of a unit file into words.
func splitCommand(line string) []string {
	var out []string
	var word strings.Builder
	quote, inside := byte(0), false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && i+1 < len(line) && quote != '\'':
			i++
			word.WriteByte(line[i])
			inside = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, inside = c, true
		case c == ' ' || c == '\t':
			if inside {
				out = append(out, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	if inside {
		out = append(out, word.String())
	}
	return out
}
