// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Conflict is a directive of a file made by hand that answers what is declared, or in its place.
type Conflict struct {
	Path string
	// Line of the directive, from 1.
	Line int
	Text string
	// Why says what is in the way.
	Why string
	// First and Last are the lines to take out, so that nothing is in the way: the directive's, or those of the whole
	// server, when it does nothing else.
	First, Last int
	// Instead is a line to put in the place of First, which is Last then; empty: none.
	Instead string
	// Stock says that it is the site that the distribution comes with, as it comes.
	Stock bool
}

// String names file, line and reason.
func (f Conflict) String() string {
	return fmt.Sprintf("%s line %d (%s) %s", f.Path, f.Line, f.Text, f.Why)
}

// Conflicts finds what is in the way of the configuration in the files of an nginx, given by path, from MainFile on.
func (c Config) Conflicts(files map[string]string) []Conflict {
	own := map[string]bool{}
	for _, s := range c.Servers {
		for _, name := range s.Names {
			own[name] = true
		}
	}
	var found []Conflict
	w := &walker{files: files, left: maxFiles, see: func(d *directive) {
		if d.name() == bucketSize && !d.isBlock {
			found = append(found, inTheWay(d, "is set by the service too, and may be set once"))
		}
	}}
	for _, server := range w.servers() {
		found = append(found, c.against(server, own, files)...)
	}
	return distinct(append(found, c.streams(files)...))
}

// inTheWay is a directive that is taken out whole.
func inTheWay(d *directive, why string) Conflict {
	return Conflict{Path: d.file, Line: d.first, Text: d.String(), Why: why, First: d.first, Last: d.last}
}

// streams finds what is passed on without HTTP, and is in the way: nginx takes one block of it alone, and one receiver of a
// port.
func (c Config) streams(files map[string]string) []Conflict {
	var found []Conflict
	w := &walker{files: files, left: maxFiles, see: func(*directive) {}}
	for _, block := range w.blocks("stream") {
		if c.PassThrough != nil {
			found = append(found, inTheWay(block, "is there already: nginx takes one, and passThrough is it"))
			continue
		}
		for _, server := range w.within(block, "server") {
			for _, l := range listens(server) {
				if port := c.port(l); port != 0 && l.at != server && !loopback(l.host) {
					found = append(found, inTheWay(server, fmt.Sprintf("receives on port %d in the place of the service", port)))
				}
			}
		}
	}
	return found
}

// distinct drops what is found twice, as in a file that several servers include.
func distinct(list []Conflict) []Conflict {
	var once []Conflict
	for _, f := range list {
		if !slices.Contains(once, f) {
			once = append(once, f)
		}
	}
	return once
}

// listen is where a server receives.
type listen struct {
	at       *directive
	host     string
	first    int // port
	last     int
	standard bool // default_server
}

// listens are the places of a server; one without any receives on port 80.
func listens(server *directive) []listen {
	var list []listen
	for _, d := range server.block {
		if d.name() != "listen" || len(d.words) < 2 || slices.Contains(d.words, "quic") || slices.Contains(d.words, "udp") {
			continue
		}
		l := listen{at: d, standard: slices.Contains(d.words, "default_server") || slices.Contains(d.words, "default")}
		var ok bool
		if l.host, l.first, l.last, ok = splitAddress(d.words[1]); ok {
			list = append(list, l)
		}
	}
	if len(list) == 0 && !slices.ContainsFunc(server.block, func(d *directive) bool { return d.name() == "listen" }) {
		list = append(list, listen{at: server, first: 80, last: 80})
	}
	return list
}

// splitAddress reads the address of a listen: a port, or a host with one; without one it is 80.
func splitAddress(text string) (host string, first, last int, ok bool) {
	if strings.HasPrefix(text, "unix:") {
		return text, 0, 0, true
	}
	port := "80"
	switch i := strings.LastIndex(text, ":"); {
	case strings.HasSuffix(text, "]"):
		host = text
	case i >= 0:
		host, port = text[:i], text[i+1:]
	case strings.Trim(text, "0123456789-") == "":
		port = text
	default:
		host = text
	}
	from, to, ranged := strings.Cut(port, "-")
	if !ranged {
		to = from
	}
	first, err := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	return host, first, last, err == nil && err2 == nil
}

// everywhere says whether a host stands for all addresses of its family.
func everywhere(host string) bool {
	return host == "" || host == "*" || host == "0.0.0.0" || host == "[::]"
}

// loopback says whether only the machine itself comes there: that is in nobody's way.
func loopback(host string) bool {
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && address.IsLoopback()
}

// port is the port of ours that a listen receives on; 0: none.
func (c Config) port(l listen) int {
	for _, port := range []int{c.HTTPPort, c.HTTPSPort} {
		if l.first <= port && port <= l.last {
			return port
		}
	}
	return 0
}

// serverNames are the names of a server by the directive that they stand in, those that stand for two written out.
func serverNames(server *directive) map[string]*directive {
	names := map[string]*directive{}
	for _, d := range server.block {
		if d.name() != "server_name" {
			continue
		}
		for _, name := range d.words[1:] {
			name = strings.ToLower(name)
			if rest, ok := strings.CutPrefix(name, "."); ok {
				names["*."+rest], name = d, rest
			}
			names[name] = d
		}
	}
	return names
}

// against finds what one server has in the way.
func (c Config) against(server *directive, own map[string]bool, files map[string]string) []Conflict {
	t := taking{server: server, files: files, own: own}
	for _, l := range listens(server) {
		port := c.port(l)
		if port == 0 || loopback(l.host) {
			t.elsewhere = true
			continue
		}
		t.here = append(t.here, l.at)
		switch {
		case !everywhere(l.host):
			t.note(l.at, fmt.Sprintf("answers port %d of %s in the place of the service", port, strings.Trim(l.host, "[]")))
		case l.standard:
			t.note(l.at, fmt.Sprintf("is the default server of port %d, which the service is", port))
		}
	}
	if len(t.here) == 0 {
		return nil
	}
	t.noteNames()
	return t.conflicts(stock(server))
}

// stock says whether a server is the one that Debian and Ubuntu come with.
func stock(server *directive) bool {
	if path.Base(server.file) != "default" || path.Base(path.Dir(server.file)) != "sites-enabled" {
		return false
	}
	known := map[string]func(d *directive) bool{
		"listen":      func(*directive) bool { return true },
		"index":       func(*directive) bool { return true },
		"server_name": func(d *directive) bool { return slices.Equal(d.words[1:], []string{"_"}) },
		"root":        func(d *directive) bool { return slices.Equal(d.words[1:], []string{"/var/www/html"}) },
		"location": func(d *directive) bool {
			return slices.Equal(d.words[1:], []string{"/"}) && len(d.block) == 1 && d.block[0].name() == "try_files"
		},
	}
	return !slices.ContainsFunc(server.block, func(d *directive) bool {
		is, ok := known[d.name()]
		return !ok || !is(d) || d.file != server.file
	})
}
