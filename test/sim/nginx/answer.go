// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// answer serves one request by the server that its Host names.
func (c *Config) answer(w http.ResponseWriter, r *http.Request, dial Dialer) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	place := addressOf(local)
	g := c.on(int(place.Port()))
	s := g.find(hostOf(r))
	q := request{r: r, s: s, local: place, host: hostOf(r), from: addressOf(addr(r.RemoteAddr))}
	if header, ok := r.Context().Value(headerKey{}).(*proxied); ok {
		q.header = header
		if s.realFrom && q.from.Addr().Unmap().IsLoopback() {
			q.from = header.client()
		}
	}
	if q.host == "" {
		q.host = s.names[0]
	}
	v := c.web.variables(q.value)
	here := s.scope
	answer := run(s.rules, v)
	if answer == nil {
		if l := s.choose(r.URL.Path); l != nil {
			here = l.scope
			answer = run(l.rules, v)
		}
	}
	w.Header().Set("Server", here.token())
	switch {
	case answer != nil:
		here.reply(w, v, answer)
	case here.maxBody > 0 && r.ContentLength > here.maxBody:
		page(w, here, v, http.StatusRequestEntityTooLarge)
	case here.pass != "":
		c.proxy(w, r, here, v, dial)
	default:
		c.file(w, r, here, v)
	}
}

// token is what nginx calls itself.
func (s scope) token() string {
	if s.hideVersion {
		return "nginx"
	}
	return "nginx/" + Version
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

// reply answers what a return directive says; 444 hangs up, and so does 499.
func (s scope) reply(w http.ResponseWriter, v *vars, answer *reply) {
	code, text := answer.code, v.expand(answer.text)
	switch {
	case code == 444, code == 499:
		panic(http.ErrAbortHandler)
	case slices.Contains([]int{301, 302, 303, 307, 308}, code):
		if strings.HasPrefix(text, "/") {
			text = v.value("scheme") + "://" + v.value("host") + text
		}
		w.Header().Set("Location", text)
		page(w, s, v, code)
	case answer.text == "":
		page(w, s, v, code)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		s.head(w, v, code)
		_, _ = w.Write([]byte(text)) // a client that left misses it
	}
}

// head writes the status with the headers that are to be added.
func (s scope) head(w http.ResponseWriter, v *vars, code int) {
	s.add(w.Header(), v, code)
	w.WriteHeader(code)
}

// add adds the headers of a level that are not empty.
func (s scope) add(to http.Header, v *vars, code int) {
	for _, h := range s.headers {
		value := v.expand(h.value)
		if value != "" && (h.always || slices.Contains([]int{200, 201, 204, 206, 301, 302, 303, 304, 307, 308}, code)) {
			to.Add(h.name, value)
		}
	}
}

// page is the page that nginx makes for a status.
func page(w http.ResponseWriter, s scope, v *vars, code int) {
	title := fmt.Sprintf("%d %s", code, http.StatusText(code))
	if code >= 300 {
		w.Header().Set("Content-Type", "text/html")
	}
	s.head(w, v, code)
	if code >= 300 {
		fmt.Fprintf(w, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n<hr><center>%s</center>\r\n</body>\r\n</html>\r\n", title, title, w.Header().Get("Server"))
	}
}

// file serves a file below root.
func (c *Config) file(w http.ResponseWriter, r *http.Request, s scope, v *vars) {
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

// request is a request with where it came.
type request struct {
	r           *http.Request
	s           *server
	host        string
	from, local netip.AddrPort
	header      *proxied // of the PROXY protocol
}

// value is a variable that comes with a request.
func (q request) value(name string) string {
	for prefix, of := range map[string]func(string) string{"http_": q.sent, "arg_": q.r.URL.Query().Get, "cookie_": q.cookie} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return of(rest)
		}
	}
	switch name {
	case "remote_addr":
		return textOf(q.from)
	case "server_addr":
		return textOf(q.local)
	case "server_port":
		return strconv.Itoa(int(q.local.Port()))
	case "proxy_protocol_addr":
		return textOf(q.header.client())
	case "proxy_protocol_server_addr":
		return textOf(q.header.asked())
	case "host":
		return q.host
	case "server_name":
		return q.s.names[0]
	case "nginx_version":
		return Version
	}
	return q.said(name)
}

// said is a variable of the request itself.
func (q request) said(name string) string {
	yes := func(is bool, word, other string) string {
		return map[bool]string{true: word, false: other}[is]
	}
	switch name {
	case "request_uri":
		return q.r.RequestURI
	case "uri", "document_uri":
		return q.r.URL.Path
	case "scheme":
		return yes(q.r.TLS != nil, "https", "http")
	case "https":
		return yes(q.r.TLS != nil, "on", "")
	case "args", "query_string":
		return q.r.URL.RawQuery
	case "is_args":
		return yes(q.r.URL.RawQuery != "", "?", "")
	case "request_method":
		return q.r.Method
	case "server_protocol":
		return q.r.Proto
	}
	return ""
}

func (q request) sent(name string) string {
	if name == "host" {
		return q.r.Host
	}
	return strings.Join(q.r.Header.Values(strings.ReplaceAll(name, "_", "-")), ", ")
}

func (q request) cookie(name string) string {
	if c, err := q.r.Cookie(name); err == nil {
		return c.Value
	}
	return ""
}
