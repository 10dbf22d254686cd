// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// answer serves one request by the server that its Host names.
func (c *Config) answer(w http.ResponseWriter, r *http.Request) {
	port := 80
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, text, err := net.SplitHostPort(local.String()); err == nil {
			port, _ = strconv.Atoi(text) // it is one
		}
	}
	g := c.on(port)
	s := g.find(hostOf(r))
	here := s.scope
	if here.returns == nil {
		if l := s.choose(r.URL.Path); l != nil {
			here = l.scope
		}
	}
	v := vars{r: r, s: s, port: port, host: hostOf(r)}
	if v.host == "" {
		v.host = s.names[0]
	}
	tokens := "nginx/" + Version
	if here.hideVersion {
		tokens = "nginx"
	}
	w.Header().Set("Server", tokens)
	switch {
	case here.returns != nil:
		here.reply(w, v)
	case here.proxied:
		page(w, here, v, http.StatusBadGateway)
	default:
		c.file(w, r, here, v)
	}
}

func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// choose is the location of a path: an exact one, the longest beginning, unless
// a pattern matches.
func (s *server) choose(name string) *location {
	best := s.longest(name)
	if best != nil && best.modifier != "" {
		return best
	}
	for i, l := range s.locations {
		if l.modifier == "~" && matches(l.pattern, name) || l.modifier == "~*" && matches("(?i)"+l.pattern, name) {
			return &s.locations[i]
		}
	}
	return best
}

// longest is the location of a path without patterns.
func (s *server) longest(name string) *location {
	var best *location
	for i, l := range s.locations {
		switch {
		case l.modifier == "=" && l.pattern == name:
			return &s.locations[i]
		case l.modifier != "" && l.modifier != "^~", !strings.HasPrefix(name, l.pattern):
		case best == nil || len(l.pattern) > len(best.pattern):
			best = &s.locations[i]
		}
	}
	return best
}

func matches(pattern, text string) bool {
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(text)
}

// matching is the server whose name is a pattern that matches, or the default one.
func (g *group) matching(name string) *server {
	for _, s := range g.servers {
		if slices.ContainsFunc(s.names, func(one string) bool { return strings.HasPrefix(one, "~") && matches(one[1:], name) }) {
			return s
		}
	}
	return g.primary
}

// reply answers what a return directive says; 444 hangs up.
func (s scope) reply(w http.ResponseWriter, v vars) {
	code, text := s.returns.code, v.expand(s.returns.text)
	switch {
	case code == 444:
		panic(http.ErrAbortHandler)
	case slices.Contains([]int{301, 302, 303, 307, 308}, code):
		if strings.HasPrefix(text, "/") {
			text = v.value("scheme") + "://" + v.host + text
		}
		w.Header().Set("Location", text)
		page(w, s, v, code)
	case s.returns.text == "":
		page(w, s, v, code)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		s.head(w, v, code)
		_, _ = w.Write([]byte(text)) // a client that left misses it
	}
}

// head writes the status with the headers that are to be added.
func (s scope) head(w http.ResponseWriter, v vars, code int) {
	for _, h := range s.headers {
		if h.always || slices.Contains([]int{200, 201, 204, 206, 301, 302, 303, 304, 307, 308}, code) {
			w.Header().Add(h.name, v.expand(h.value))
		}
	}
	w.WriteHeader(code)
}

// page is the page that nginx makes for a status.
func page(w http.ResponseWriter, s scope, v vars, code int) {
	title := fmt.Sprintf("%d %s", code, http.StatusText(code))
	w.Header().Set("Content-Type", "text/html")
	s.head(w, v, code)
	if code >= 300 {
		fmt.Fprintf(w, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n<hr><center>%s</center>\r\n</body>\r\n</html>\r\n", title, title, w.Header().Get("Server"))
	}
}

// file serves a file below root.
func (c *Config) file(w http.ResponseWriter, r *http.Request, s scope, v vars) {
	names := []string{r.URL.Path}
	if strings.HasSuffix(r.URL.Path, "/") {
		names = nil
		for _, index := range s.index {
			names = append(names, r.URL.Path+index)
		}
	}
	for _, name := range names {
		text, err := c.files.Read(path.Join(absolute(s.root), path.Clean("/"+name)))
		if err != nil {
			continue
		}
		kind := mime.TypeByExtension(path.Ext(name))
		if kind == "" {
			kind = "application/octet-stream"
		}
		w.Header().Set("Content-Type", kind)
		s.head(w, v, http.StatusOK)
		_, _ = w.Write(text) // a client that left misses it
		return
	}
	page(w, s, v, http.StatusNotFound)
}

// vars are the variables of a request.
type vars struct {
	r    *http.Request
	s    *server
	port int
	host string
}

var (
	variable = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)
	plain    = []string{"host", "request_uri", "uri", "document_uri", "scheme", "args", "query_string", "is_args", "server_name", "server_port", "request_method", "remote_addr", "https", "nginx_version", "server_protocol"}
	prefixed = []string{"http_", "arg_", "cookie_", "ssl_", "upstream_", "sent_http_"}
)

// unknownVariable is a variable of a text that nginx does not know, or "".
func unknownVariable(text string) string {
	for _, m := range variable.FindAllStringSubmatch(text, -1) {
		name := m[1] + m[2]
		if !slices.Contains(plain, name) && !slices.ContainsFunc(prefixed, func(one string) bool { return strings.HasPrefix(name, one) }) && strings.Trim(name, "0123456789") != "" {
			return name
		}
	}
	return ""
}

func (v vars) expand(text string) string {
	return variable.ReplaceAllStringFunc(text, func(one string) string { return v.value(strings.Trim(one, "${}")) })
}

func (v vars) value(name string) string {
	secure := v.r.TLS != nil
	switch name {
	case "host":
		return v.host
	case "request_uri":
		return v.r.RequestURI
	case "uri", "document_uri":
		return v.r.URL.Path
	case "scheme":
		return map[bool]string{true: "https", false: "http"}[secure]
	case "https":
		return map[bool]string{true: "on", false: ""}[secure]
	case "args", "query_string":
		return v.r.URL.RawQuery
	case "is_args":
		return map[bool]string{true: "?", false: ""}[v.r.URL.RawQuery != ""]
	case "server_name":
		return v.s.names[0]
	case "server_port":
		return strconv.Itoa(v.port)
	case "request_method":
		return v.r.Method
	case "server_protocol":
		return v.r.Proto
	case "nginx_version":
		return Version
	}
	if h, ok := strings.CutPrefix(name, "http_"); ok {
		if h == "host" {
			return v.r.Host
		}
		return v.r.Header.Get(strings.ReplaceAll(h, "_", "-"))
	}
	if a, ok := strings.CutPrefix(name, "arg_"); ok {
		return v.r.URL.Query().Get(a)
	}
	return ""
}
