// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/traefik"
)

// disk is files in memory.
type disk struct {
	mu      sync.Mutex
	files   map[string]string
	watched map[string]func()
}

func (d *disk) ReadFile(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, there := d.files[name]
	if !there {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (d *disk) ReadDir(name string) ([]traefik.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []traefik.Entry
	for file := range d.files {
		rest, inside := strings.CutPrefix(file, name+"/")
		first, _, deeper := strings.Cut(rest, "/")
		one := traefik.Entry{Name: first, Dir: deeper}
		if inside && !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	if len(out) == 0 {
		return nil, fs.ErrNotExist
	}
	slices.SortFunc(out, func(a, b traefik.Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (d *disk) Watch(name string, changed func()) (func(), error) {
	if _, err := d.ReadDir(name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watched[name] = changed
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watched, name)
	}, nil
}

// put writes a file; "" removes it.
func (d *disk) put(name, text string) {
	d.mu.Lock()
	if d.files[name] = text; text == "" {
		delete(d.files, name)
	}
	tell := d.watched[path.Dir(name)]
	d.mu.Unlock()
	if tell != nil {
		tell()
	}
}

// site is a Traefik with its files, the ports that it took, and servers that it can reach.
type site struct {
	t       *testing.T
	disk    *disk
	faults  traefik.Faults
	options traefik.Options
	server  *traefik.Server

	mu       sync.Mutex
	ports    map[string]net.Listener
	backends map[string]string // address: that on loopback
	lines    []string
}

const static = `
entryPoints:
  web: {address: ":80"}
  websecure: {address: ":443"}
  traefik: {address: "127.0.0.1:8080"}
api: {insecure: true, dashboard: false}
ping: {}
log: {level: INFO, noColor: true}
accessLog: {}
providers:
  providersThrottleDuration: 10ms
  file: {directory: /etc/traefik/routes}
`

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, disk: &disk{files: map[string]string{"/etc/traefik/traefik.yml": static, "/etc/traefik/routes/.keep": " "}, watched: map[string]func(){}}, ports: map[string]net.Listener{}, backends: map[string]string{}}
	s.options = traefik.Options{
		Config: "/etc/traefik/traefik.yml", Files: s.disk, Now: time.Now, Hostname: "traefik", Faults: &s.faults, Listen: s.listen, Dial: s.dial,
		Log: func(line string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lines = append(s.lines, line)
		},
	}
	return s
}

func (s *site) listen(address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[address] = l
	return l, err
}

func (s *site) dial(ctx context.Context, network, address string) (net.Conn, error) {
	s.mu.Lock()
	real := s.backends[address]
	s.mu.Unlock()
	if real == "" {
		real = "127.0.0.1:1" // nobody listens there
	}
	var d net.Dialer
	return d.DialContext(ctx, network, real)
}

// at lets a server be reached at an address.
func (s *site) at(address, real string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backends[address] = real
}

func (s *site) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// start starts it, with these dynamic files.
func (s *site) start(files ...string) *site {
	s.t.Helper()
	for i, text := range files {
		s.disk.put(fmt.Sprintf("/etc/traefik/routes/%d.yml", i), text)
	}
	server, err := traefik.Start(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(server.Close)
	s.server = server
	s.await("the first configuration", func() bool {
		return server.Loads() > 0 || len(files) == 0 || strings.Contains(s.log(), "for the first time")
	})
	return s
}

// await waits until something is so.
func (s *site) await(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); {
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain for %s\n%s", what, s.log())
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (s *site) port(address string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports[address].Addr().String()
}

// connect connects to an entry point.
func (s *site) connect(address string) net.Conn {
	s.t.Helper()
	var d net.Dialer
	c, err := d.DialContext(s.t.Context(), "tcp", s.port(address))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() }) // it may be closed
	return c
}

// answer is what a client gets.
type answer struct {
	status int
	body   string
	header http.Header
}

// ask asks at an entry point. The request is METHOD URL, and lines of headers.
func (s *site) ask(address, request string) answer {
	s.t.Helper()
	lines := strings.Split(request, "\n")
	method, url, _ := strings.Cut(lines[0], " ")
	r, err := http.NewRequestWithContext(s.t.Context(), method, url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
		if user, password, ok := strings.Cut(value, ":"); name == "User" && ok {
			r.Header.Del("User")
			r.SetBasicAuth(user, password)
		}
	}
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, s.port(address))
		}},
	}
	got, err := client.Do(r)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer func() { _ = got.Body.Close() }() // it was read
	body, err := io.ReadAll(got.Body)
	if err != nil {
		return answer{got.StatusCode, err.Error(), got.Header}
	}
	return answer{got.StatusCode, string(body), got.Header}
}

// get asks for a URL at the entry point web.
func (s *site) get(url string) answer { return s.ask(":80", "GET "+url) }

// api asks the API.
func (s *site) api(path string) answer {
	return s.ask("127.0.0.1:8080", "GET http://127.0.0.1:8080/api/"+path)
}

// raw is what the API says of everything.
type raw struct {
	Routers, Services, Middlewares, TCPRouters, TCPServices map[string]struct {
		Status       string
		Error        []string
		Using        []string
		UsedBy       []string
		Priority     int
		ServerStatus map[string]string
	}
}

func (s *site) raw() raw {
	s.t.Helper()
	var out raw
	if err := json.Unmarshal([]byte(s.api("rawdata").body), &out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// echo answers with what it got: the first line, the host, and the headers by name.
func echo(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Backend", name)
		fmt.Fprintf(w, "%s: %s %s %s\nHost: %s\n", name, r.Method, r.RequestURI, r.Proto, r.Host)
		var names []string
		for key := range r.Header {
			names = append(names, key)
		}
		slices.Sort(names)
		for _, key := range names {
			fmt.Fprintf(w, "%s: %s\n", key, strings.Join(r.Header[key], "|"))
		}
	}
}

// serve lets a handler be reached at an address of the site.
func (s *site) serve(address string, h http.Handler) *http.Server {
	s.t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, Protocols: protocols}
	go func() { _ = server.Serve(l) }()        // until it is closed
	s.t.Cleanup(func() { _ = server.Close() }) // nobody uses it any more
	s.at(address, l.Addr().String())
	return server
}

// route is a file with one router.
func route(name, rule, server, more string) string {
	return fmt.Sprintf("http:\n  routers:\n    %[1]s: {entryPoints: [web], rule: %[2]q, service: %[1]s%[4]s}\n  services:\n    %[1]s: {loadBalancer: {servers: [{url: %[3]q}]}}\n", name, rule, server, more)
}

// lineOf reads a line.
func lineOf(t *testing.T, c net.Conn) string {
	t.Helper()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}
