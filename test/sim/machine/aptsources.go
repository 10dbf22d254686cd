// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// aptSource is a repository that apt was told of, beside Debian's own.
type aptSource struct{ uri, suite, key string }

// aptSources reads the files of /etc/apt/sources.list.d. The error is apt's.
func (m *Machine) aptSources() ([]aptSource, error) {
	const folder = "/etc/apt/sources.list.d"
	entries, err := m.readDir(folder)
	if err != nil {
		return nil, nil //nolint:nilerr // without the folder there are none
	}
	var out []aptSource
	for _, entry := range entries {
		name := path.Join(folder, entry.Base)
		text, err := m.readFile(name)
		if err != nil {
			return nil, err
		}
		var more []aptSource
		switch path.Ext(name) {
		case ".sources":
			more, err = parseSources(name, text)
		case ".list":
			more, err = parseList(name, text)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// parseSources reads stanzas in the style of deb822.
func parseSources(name, text string) ([]aptSource, error) {
	var out []aptSource
	for number, stanza := range strings.Split(strings.TrimSpace(text), "\n\n") {
		fields, ok := parseStanza(stanza)
		if !ok {
			return nil, fmt.Errorf("Malformed stanza %d in source list %s (type)", number+1, name) //nolint:staticcheck // apt begins so
		}
		if len(fields) == 0 || fields["enabled"] == "no" {
			continue
		}
		if missing := missingField(fields); missing != "" {
			return nil, fmt.Errorf("Malformed entry %d in sources file %s (%s)", number+1, name, missing) //nolint:staticcheck // apt begins so
		}
		for _, uri := range strings.Fields(fields["uris"]) {
			out = append(out, aptSource{uri, fields["suites"], fields["signed-by"]})
		}
	}
	return out, nil
}

// parseStanza reads fields; lines that begin with a blank go on with the one before.
func parseStanza(text string) (fields map[string]string, ok bool) {
	fields = map[string]string{}
	last := ""
	for _, line := range lines(text) {
		key, value, given := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += "\n" + strings.TrimSpace(line)
		case given:
			last = strings.ToLower(key)
			fields[last] = strings.TrimSpace(value)
		default:
			return nil, false
		}
	}
	return fields, true
}

// missingField is what apt misses in a stanza, as it calls it.
func missingField(fields map[string]string) string {
	for _, needed := range [][2]string{{"types", "type"}, {"uris", "URI"}, {"suites", "Suite"}} {
		if fields[needed[0]] == "" {
			return needed[1]
		}
	}
	if flat := strings.HasSuffix(fields["suites"], "/"); flat != (fields["components"] == "") {
		return "Component"
	}
	return ""
}

// parseList reads lines such as deb [signed-by=KEY] URI SUITE COMPONENTS.
func parseList(name, text string) ([]aptSource, error) {
	var out []aptSource
	for number, line := range lines(text) {
		line, _, _ = strings.Cut(line, "#")
		options := ""
		if before, rest, found := strings.Cut(line, "["); found {
			var after string
			options, after, _ = strings.Cut(rest, "]")
			line = before + after
		}
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case len(words) < 3 || words[0] != "deb" && words[0] != "deb-src":
			return nil, fmt.Errorf("Malformed entry %d in list file %s (URI)", number+1, name) //nolint:staticcheck // apt begins so
		default:
			_, key, _ := strings.Cut(options, "signed-by=")
			out = append(out, aptSource{words[1], words[2], key})
		}
	}
	return out, nil
}

// signed tells whether apt has the key of a source: within its file, or in a file of its own.
func (m *Machine) signed(s aptSource) bool {
	if path.IsAbs(s.key) {
		_, err := m.readFile(strings.Fields(s.key)[0])
		return err == nil
	}
	return strings.Contains(s.key, "BEGIN PGP PUBLIC KEY BLOCK") && strings.Contains(s.key, "END PGP PUBLIC KEY BLOCK")
}

// aptUpdate asks every source what it has.
func (p *Process) aptUpdate() int {
	sources, err := p.M.aptSources()
	if err != nil {
		p.aptError("%v", err)
		return p.aptError("The list of sources could not be read.")
	}
	p.Printf("Hit:1 http://deb.debian.org/debian bookworm InRelease\n")
	var uris []string
	exit := 0
	for i, s := range sources {
		place := strings.TrimSuffix(s.uri, "/") + " " + s.suite
		switch {
		case !p.M.serves(s.uri):
			p.Printf("Err:%d %s InRelease\n", i+2, place)
			fmt.Fprintf(p.Stderr, "W: Failed to fetch %s/dists/%s/InRelease  Could not resolve host\nW: Some index files failed to download. They have been ignored, or old ones used instead.\n",
				strings.TrimSuffix(s.uri, "/"), s.suite)
		case !p.M.signed(s):
			exit = p.aptError("The repository '%s InRelease' is not signed.", place)
		default:
			p.Printf("Get:%d %s InRelease\n", i+2, place)
			uris = append(uris, s.uri)
		}
	}
	p.M.mu.Lock()
	p.M.lists, p.M.origins = true, uris
	p.M.mu.Unlock()
	p.Printf("Reading package lists...\n")
	return exit
}

// serves tells whether any package comes from a source.
func (m *Machine) serves(uri string) bool {
	for _, one := range m.opts.Repository {
		if one.Origin != "" && strings.Contains(uri, one.Origin) {
			return true
		}
	}
	return false
}

// offers tells whether apt knows a package: it is Debian's, or a source has it
// that was asked.
func (m *Machine) offers(name string) bool {
	one, known := m.opts.Repository[name]
	if !known || one.Origin == "" {
		return known
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.origins, func(uri string) bool { return strings.Contains(uri, one.Origin) })
}
