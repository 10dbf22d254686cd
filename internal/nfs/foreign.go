// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nfs

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Conflict is an export made by hand of a directory that is declared.
type Conflict struct {
	Path string
	// Line and Last are its first and its last line; they count from 1.
	Line, Last int
	Text       string
	// Why says what is in the way.
	Why string
}

// String names file, line and reason.
func (f Conflict) String() string {
	return fmt.Sprintf("%s line %d (%s) %s", f.Path, f.Line, f.Text, f.Why)
}

func (c Config) exporter(path string) string {
	for _, e := range c.Exports {
		if e.Path == path {
			return e.Source
		}
	}
	return ""
}

// KernelConflicts finds lines of exports(5) files, given by path, that export a declared directory.
func (c Config) KernelConflicts(files map[string]string) []Conflict {
	var found []Conflict
	for _, file := range slices.Sorted(maps.Keys(files)) {
		lines := strings.Split(files[file], "\n")
		for i := 0; i < len(lines); i++ {
			first := i
			entry := lines[i]
			for strings.HasSuffix(entry, `\`) && i+1 < len(lines) {
				i++
				entry = strings.TrimSuffix(entry, `\`) + lines[i]
			}
			if source := c.exporter(exported(entry)); source != "" {
				found = append(found, Conflict{file, first + 1, i + 1, strings.TrimSpace(lines[first]), "exports the directory of " + source})
			}
		}
	}
	return found
}

var octal = regexp.MustCompile(`\\[0-7]{3}`)

// exported is the path of a line of exports(5); empty when it has none.
func exported(line string) string {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return ""
	}
	var word string
	if line[0] == '"' {
		word, _, _ = strings.Cut(line[1:], `"`)
	} else {
		word = strings.Fields(line)[0]
	}
	word = octal.ReplaceAllStringFunc(word, func(code string) string {
		n, _ := strconv.ParseUint(code[1:], 8, 16)
		return string(rune(n))
	})
	return trimSlashes(word)
}

func trimSlashes(path string) string {
	if trimmed := strings.TrimRight(path, "/"); trimmed != "" {
		return trimmed
	}
	return path
}

var (
	exportStart = regexp.MustCompile(`(?i)^\s*EXPORT\s*(\{|$)`)
	exportPath  = regexp.MustCompile(`(?i)(?:^|[\s{;])(?:Path|Pseudo)\s*=\s*"?([^";\s]+)"?\s*;`)
)

// GaneshaConflicts finds EXPORT blocks of Ganesha's files, given by path, with a declared directory or at its place.
func (c Config) GaneshaConflicts(files map[string]string) []Conflict {
	var found []Conflict
	for _, file := range slices.Sorted(maps.Keys(files)) {
		lines := strings.Split(files[file], "\n")
		for i := 0; i < len(lines); i++ {
			if !exportStart.MatchString(uncommented(lines[i])) {
				continue
			}
			last, source := c.block(lines, i)
			if source != "" {
				found = append(found, Conflict{file, i + 1, last + 1, strings.TrimSpace(lines[i]), "exports the directory of " + source})
			}
			i = last
		}
	}
	return found
}

// block reads the EXPORT block that begins in a line: where it ends, and who declares its directory.
func (c Config) block(lines []string, first int) (last int, source string) {
	depth, opened := 0, false
	for last = first; last < len(lines); last++ {
		line := uncommented(lines[last])
		for _, m := range exportPath.FindAllStringSubmatch(line, -1) {
			if s := c.exporter(trimSlashes(m[1])); s != "" {
				source = s
			}
		}
		depth += strings.Count(line, "{") - strings.Count(line, "}")
		opened = opened || strings.Contains(line, "{")
		if opened && depth <= 0 {
			return last, source
		}
	}
	return len(lines) - 1, source
}

func uncommented(line string) string {
	line, _, _ = strings.Cut(line, "#")
	return line
}
