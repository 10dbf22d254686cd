// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"sync"
	"syscall"
)

// ganeshaDaemon is a running NFS-Ganesha with the exports that it has read.
type ganeshaDaemon struct {
	m    *Machine
	file string

	mu    sync.Mutex
	list  []ganeshaBlock
	ended bool
}

// ganeshaBlock is a block of its configuration: NAME { key = value; BLOCK {...} }.
type ganeshaBlock struct {
	name   string
	values map[string][]string
	inner  []ganeshaBlock
}

func (b ganeshaBlock) get(key, fallback string) string {
	if values := b.values[strings.ToLower(key)]; len(values) > 0 {
		return values[len(values)-1]
	}
	return fallback
}

// startGanesha is ganesha.nfsd -f FILE.
func startGanesha(p *Process) (daemon, int) {
	g := &ganeshaDaemon{m: p.M, file: "/etc/ganesha/ganesha.conf"}
	for i, arg := range p.Args {
		if arg == "-f" && i+1 < len(p.Args) {
			g.file = p.Args[i+1]
		}
	}
	list, err := g.read()
	if err != nil {
		fmt.Fprintf(p.Stderr, "config_errs_to_log :CONFIG :CRIT :%v\nmain :NFS STARTUP :FATAL :Fatal errors.  Server exiting...\n", err)
		return nil, 2
	}
	g.list = list
	return g, 0
}

// read reads the exports; one whose folder is not there is left out.
func (g *ganeshaDaemon) read() ([]ganeshaBlock, error) {
	words, err := g.m.ganeshaWords(g.file, 0)
	if err != nil {
		return nil, err
	}
	blocks, err := ganeshaBlocks(words)
	if err != nil {
		return nil, fmt.Errorf("Config File (%s): %w", g.file, err) //nolint:staticcheck // Ganesha writes it so
	}
	var list []ganeshaBlock
	seen := map[string]bool{}
	for _, b := range blocks {
		if !strings.EqualFold(b.name, "EXPORT") {
			continue
		}
		id := b.get("Export_Id", "")
		info, err := g.m.stat(b.get("Path", ""))
		switch {
		case id == "" || seen[id] || !path.IsAbs(b.get("Path", "")) || !path.IsAbs(b.get("Pseudo", b.get("Path", ""))):
			g.m.sys.write("nfs-ganesha.service", "ganesha.nfsd", 0, "Export id "+id+" can not be loaded")
		case err != nil || !info.IsDir():
			g.m.sys.write("nfs-ganesha.service", "ganesha.nfsd", 0, "Lookup failed on path, ExportId="+id+" Path="+b.get("Path", "")+" FSAL_ERROR=(No such file or directory,2)")
		case !g.m.hasPackage("nfs-ganesha-vfs"):
			g.m.sys.write("nfs-ganesha.service", "ganesha.nfsd", 0, "Failed to load FSAL (VFS) because: No such file or directory")
		default:
			seen[id] = true
			list = append(list, b)
		}
	}
	return list, nil
}

// reload is SIGHUP: exports come and go; a file that cannot be read costs all.
func (g *ganeshaDaemon) reload() error {
	list, err := g.read()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list = list
	return err
}

func (g *ganeshaDaemon) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
}

// ganesha is the running Ganesha of the machine, or nil.
func (m *Machine) ganesha() *ganeshaDaemon {
	u := m.sys.get("nfs-ganesha.service")
	m.sys.mu.Lock()
	defer m.sys.mu.Unlock()
	g, _ := u.daemon.(*ganeshaDaemon)
	return g
}

// grant looks a folder up by its pseudo path: a client that is not listed does
// not see it at all.
func (g *ganeshaDaemon) grant(client netip.Addr, folder string) (grant, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range g.list {
		pseudo := path.Clean(b.get("Pseudo", b.get("Path", "")))
		rest, below := strings.CutPrefix(folder, pseudo)
		if !below || rest != "" && rest[0] != '/' {
			continue
		}
		access, squash := b.get("Access_Type", "NONE"), b.get("Squash", "Root_Squash")
		for _, c := range b.inner {
			if strings.EqualFold(c.name, "CLIENT") && g.lists(c, client) {
				access, squash = c.get("Access_Type", access), c.get("Squash", squash)
				break
			}
		}
		if access = strings.ToUpper(access); access == "NONE" || access == "" {
			return grant{}, syscall.ENOENT
		}
		free := strings.EqualFold(squash, "No_Root_Squash") || strings.EqualFold(squash, "None")
		return grant{folder: path.Join(b.get("Path", ""), rest), ro: access == "RO", squashed: !free}, nil
	}
	return grant{}, syscall.ENOENT
}

func (g *ganeshaDaemon) lists(c ganeshaBlock, client netip.Addr) bool {
	for _, spec := range c.values["clients"] {
		if g.m.clientMatches(spec, client) {
			return true
		}
	}
	return false
}

// ganeshaWords splits a configuration into words; %include takes other files in.
func (m *Machine) ganeshaWords(file string, depth int) ([]string, error) {
	text, err := m.readFile(file)
	if err != nil {
		return nil, fmt.Errorf("Config File (%s): %s", file, reason(err)) //nolint:staticcheck // Ganesha writes it so
	}
	var out []string
	for _, line := range lines(text) {
		words, err := ganeshaLine(line)
		if err != nil {
			return nil, fmt.Errorf("Config File (%s): %w", file, err) //nolint:staticcheck // Ganesha writes it so
		}
		if len(words) > 1 && words[0] == "%include" {
			if words, err = m.ganeshaInclude(file, strings.TrimPrefix(words[1], "\x00"), depth); err != nil {
				return nil, err
			}
		}
		out = append(out, words...)
	}
	return out, nil
}

func (m *Machine) ganeshaInclude(file, name string, depth int) ([]string, error) {
	if depth > 10 {
		return nil, errors.New("files include each other")
	}
	if !path.IsAbs(name) {
		name = path.Join(path.Dir(file), name)
	}
	return m.ganeshaWords(name, depth+1)
}

func ganeshaLine(line string) ([]string, error) {
	var out []string
	for line != "" {
		switch c := line[0]; {
		case c == '#':
			return out, nil
		case c == ' ' || c == '\t':
			line = line[1:]
		case strings.IndexByte("{}=;,", c) >= 0:
			out, line = append(out, line[:1]), line[1:]
		case c == '"' || c == '\'':
			end := strings.IndexByte(line[1:], c)
			if end < 0 {
				return nil, errors.New("unterminated string")
			}
			out, line = append(out, "\x00"+line[1:1+end]), line[end+2:]
		default:
			end := strings.IndexAny(line, "{}=;,# \t\"'")
			if end < 0 {
				end = len(line)
			}
			out, line = append(out, line[:end]), line[end:]
		}
	}
	return out, nil
}

// ganeshaBlocks reads blocks up to the end.
func ganeshaBlocks(words []string) ([]ganeshaBlock, error) {
	outer := ganeshaBlock{values: map[string][]string{}}
	rest, err := outer.fill(words)
	switch {
	case err != nil:
		return nil, err
	case len(rest) > 0 || len(outer.values) > 0:
		return nil, errors.New("syntax error, unexpected word outside of a block")
	}
	return outer.inner, nil
}

// fill reads a block up to its closing brace, and returns what follows.
func (b *ganeshaBlock) fill(words []string) ([]string, error) {
	for len(words) > 0 {
		switch {
		case words[0] == "}":
			return words, nil
		case words[0] == ";":
			words = words[1:]
		case len(words) > 1 && words[1] == "{":
			inner := ganeshaBlock{name: words[0], values: map[string][]string{}}
			rest, err := inner.fill(words[2:])
			if err != nil {
				return nil, err
			}
			if len(rest) == 0 {
				return nil, errors.New("syntax error, unexpected end of file")
			}
			b.inner, words = append(b.inner, inner), rest[1:]
		case len(words) > 2 && words[1] == "=":
			rest, err := b.assign(words)
			if err != nil {
				return nil, err
			}
			words = rest
		default:
			return nil, fmt.Errorf("syntax error, unexpected %q", strings.TrimPrefix(words[0], "\x00"))
		}
	}
	return nil, nil
}

// assign reads key = value, value;
func (b *ganeshaBlock) assign(words []string) ([]string, error) {
	key := strings.ToLower(words[0])
	for words = words[2:]; len(words) > 0; words = words[1:] {
		switch word := words[0]; word {
		case ";":
			return words[1:], nil
		case ",":
		case "{", "}", "=":
			return nil, fmt.Errorf("syntax error, unexpected '%s'", word)
		default:
			b.values[key] = append(b.values[key], strings.TrimPrefix(word, "\x00"))
		}
	}
	return nil, errors.New("syntax error, unexpected end of file")
}
