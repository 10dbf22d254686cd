// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"net"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/test/sim/nginx"
)

const (
	nginxConf = "/etc/nginx/nginx.conf"
	nginxPID  = "/run/nginx.pid"
	nginxLog  = "/var/log/nginx/error.log"
)

// nginxDaemon is a running nginx.
type nginxDaemon struct {
	m    *Machine
	conf string
	*nginx.Server
}

func (d nginxDaemon) reload() error {
	conf, err := nginx.Load(d.conf, d.m.nginxFiles())
	if err == nil {
		err = d.Reload(conf)
	}
	if err != nil {
		d.m.nginxLogs("[emerg] " + err.Error())
	}
	return err
}

func (d nginxDaemon) stop() {
	d.Stop()
	_ = d.m.disk.Remove(nginxPID) // it was written at the start
}

// nginxLogs adds a line to nginx's error log, if there is one.
func (m *Machine) nginxLogs(text string) {
	old, err := m.disk.ReadFile(nginxLog)
	if err == nil {
		_ = m.disk.WriteFile(nginxLog, append(old, m.now().UTC().Format("2006/01/02 15:04:05 ")+text+"\n"...), 0o640) // it was there
	}
}

// nginxFiles are what nginx's master reads, as root.
func (m *Machine) nginxFiles() nginx.Files {
	return nginx.Files{
		Read: func(name string) ([]byte, error) {
			text, err := m.readFile(name)
			return []byte(text), err
		},
		Glob: func(pattern string) ([]string, error) {
			if !strings.ContainsAny(pattern, "*?[") {
				return []string{pattern}, nil
			}
			return m.glob(pattern)
		},
	}
}

// glob finds files by a pattern in the last part of a path.
func (m *Machine) glob(pattern string) ([]string, error) {
	entries, err := m.readDir(path.Dir(pattern))
	if err != nil {
		return nil, nil //nolint:nilerr // a folder that is not there has no files
	}
	var out []string
	for _, entry := range entries {
		hit, err := path.Match(path.Base(pattern), entry.Base)
		if err != nil {
			return nil, err
		}
		if hit && !strings.HasPrefix(entry.Base, ".") {
			out = append(out, path.Join(path.Dir(pattern), entry.Base))
		}
	}
	sort.Strings(out)
	return out, nil
}

// nginxSays prints what nginx of Debian 12 writes to standard error before it
// has opened its log.
func (p *Process) nginxSays(level, text string) {
	fmt.Fprintf(p.Stderr, "%s [%s] %d#%d: %s\n", p.M.now().UTC().Format("2006/01/02 15:04:05"), level, p.pid, p.pid, text)
}

// loadNginx reads the configuration and says what nginx says about it.
func (p *Process) loadNginx(name string) (*nginx.Config, bool) {
	conf, err := nginx.Load(name, p.M.nginxFiles())
	if err != nil {
		p.nginxSays("emerg", err.Error())
		return nil, false
	}
	for _, warning := range conf.Warnings {
		p.nginxSays("warn", warning)
	}
	return conf, true
}

// runNginx is nginx -t, -s reload and -v; nobody else starts it but its unit.
func runNginx(_ context.Context, p *Process) int {
	f, bad := parseFlags(p.Args[1:], parseSpec("t T q v V c: g: s: p: e:"), true)
	if bad != "" || len(f.args) > 0 {
		fmt.Fprintf(p.Stderr, "nginx: invalid option: %q\n", strings.TrimSuffix(strings.TrimPrefix(strings.Join(append(f.args, bad), ""), "invalid option -- '"), "'"))
		return 1
	}
	name := p.abs(f.last("c", nginxConf))
	switch {
	case f.has("v"), f.has("V"):
		fmt.Fprintf(p.Stderr, "nginx version: nginx/%s\n", nginx.Version)
		return 0
	case f.has("t"):
		return p.testNginx(name, f.has("q"))
	case f.has("s"):
		return p.signalNginx(name, f.last("s", ""))
	}
	return p.Errorf("only its unit can start it here")
}

func (p *Process) testNginx(name string, quiet bool) int {
	if _, ok := p.loadNginx(name); !ok {
		fmt.Fprintf(p.Stderr, "nginx: configuration file %s test failed\n", name)
		return 1
	}
	if !quiet {
		fmt.Fprintf(p.Stderr, "nginx: the configuration file %s syntax is ok\nnginx: configuration file %s test is successful\n", name, name)
	}
	return 0
}

// signalNginx reads the configuration before it signals, and so fails when that
// is bad; what the running one says stands in its log alone.
func (p *Process) signalNginx(name, signal string) int {
	if _, ok := p.loadNginx(name); !ok {
		return 1
	}
	d, unit := p.M.nginx()
	if _, err := p.M.stat(nginxPID); err != nil || d == nil {
		p.nginxSays("error", fmt.Sprintf("open() %q failed (2: No such file or directory)", nginxPID))
		return 1
	}
	p.nginxSays("notice", "signal process started")
	switch signal {
	case "reload":
		_ = d.reload() // it is in the log
	case "stop", "quit":
		go func() { _ = p.M.sys.stop(unit) }() // as soon as this process lets it
	case "reopen":
	default:
		return p.Errorf("invalid option: \"-s %s\"", signal)
	}
	return 0
}

// nginx is the running one, with its unit.
func (m *Machine) nginx() (*nginxDaemon, string) {
	m.sys.mu.Lock()
	defer m.sys.mu.Unlock()
	for _, u := range m.sys.units {
		if d, ok := u.daemon.(nginxDaemon); ok {
			return &d, u.name
		}
	}
	return nil, ""
}

// startNginx starts the daemon.
func startNginx(p *Process) (daemon, int) {
	f, bad := parseFlags(p.Args[1:], parseSpec("c: g: p: e:"), true)
	if bad != "" {
		return nil, p.Errorf("%s", bad)
	}
	name := p.abs(f.last("c", nginxConf))
	conf, ok := p.loadNginx(name)
	if !ok {
		return nil, 1
	}
	server, err := nginx.Start(conf, p.M.nginxNet(), p.M.nginxLogs)
	if err != nil {
		p.nginxSays("emerg", err.Error())
		p.nginxSays("emerg", "still could not bind()")
		return nil, 1
	}
	_ = p.M.disk.WriteFile(nginxPID, fmt.Appendf(nil, "%d\n", p.pid), 0o644) // /run is there
	return nginxDaemon{m: p.M, conf: name, Server: server}, 0
}

// nginxNet is the network as nginx's workers see it.
func (m *Machine) nginxNet() nginx.Net {
	return nginx.Net{
		Listen: func(port int, loopback bool) (net.Listener, error) {
			address := ""
			if loopback {
				address = "127.0.0.1"
			}
			return m.listenFor(address, port)
		},
		Dial: func(ctx context.Context, host, port string) (net.Conn, error) {
			number, err := strconv.Atoi(port)
			if err != nil {
				return nil, err
			}
			return m.dialHost(ctx, host, number)
		},
	}
}

// nginxPackages are nginx with the flavours of Debian 12.
func nginxPackages() map[string]Package {
	const version = "1.22.1-9+deb12u3"
	out := map[string]Package{
		"nginx-common": {Version: version, Files: nginxCommon()},
		"nginx": {
			Version: version, Depends: []string{"nginx-common"}, Programs: []string{"nginx"}, Starts: []string{"nginx.service"},
			Files: []PackageFile{binary("/usr/sbin/nginx"), {Path: "/var/lib/nginx/"}},
		},
	}
	const module = "/usr/share/nginx/modules-available/mod-stream.conf"
	out["libnginx-mod-stream"] = Package{Version: version, Depends: []string{"nginx-common"}, Files: []PackageFile{
		binary("/usr/lib/nginx/modules/ngx_stream_module.so"), {Path: module, Text: "load_module modules/ngx_stream_module.so;\n"},
		{Path: "/etc/nginx/modules-enabled/50-mod-stream.conf", Target: module},
	}}
	for _, flavour := range []string{"nginx-light", "nginx-core", "nginx-full", "nginx-extras"} {
		out[flavour] = Package{Version: version, Depends: []string{"nginx"}}
	}
	return out
}

const nginxMain = `user www-data;
worker_processes auto;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
include /etc/nginx/modules-enabled/*.conf;

events {
	worker_connections 768;
	# multi_accept on;
}

http {
	sendfile on;
	tcp_nopush on;
	types_hash_max_size 2048;

	include /etc/nginx/mime.types;
	default_type application/octet-stream;

	ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
	ssl_prefer_server_ciphers on;

	access_log /var/log/nginx/access.log;

	gzip on;

	include /etc/nginx/conf.d/*.conf;
	include /etc/nginx/sites-enabled/*;
}
`

const nginxSite = `server {
	listen 80 default_server;
	listen [::]:80 default_server;

	root /var/www/html;
	index index.html index.htm index.nginx-debian.html;

	server_name _;

	location / {
		try_files $uri $uri/ =404;
	}
}
`

func nginxCommon() []PackageFile {
	const welcome = "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n</head>\n<body>\n<h1>Welcome to nginx!</h1>\n</body>\n</html>\n"
	return []PackageFile{
		{Path: nginxConf, Conf: true, Text: nginxMain},
		{Path: "/etc/nginx/mime.types", Conf: true, Text: "types {\n    text/html    html htm shtml;\n    text/css     css;\n    text/plain   txt;\n}\n"},
		{Path: "/etc/nginx/conf.d/"}, {Path: "/etc/nginx/modules-enabled/"}, {Path: "/etc/nginx/modules-available/"}, {Path: "/etc/nginx/snippets/"},
		{Path: "/etc/nginx/sites-available/default", Conf: true, Text: nginxSite},
		{Path: "/etc/nginx/sites-enabled/default", Target: "/etc/nginx/sites-available/default"},
		{Path: "/usr/share/nginx/html/index.html", Text: welcome}, {Path: "/var/www/html/index.nginx-debian.html", Text: welcome},
		{Path: "/var/log/nginx/access.log", Mode: 0o640}, {Path: nginxLog, Mode: 0o640},
		{
			Path: "/usr/lib/systemd/system/nginx.service",
			Text: "[Unit]\nDescription=A high performance web server and a reverse proxy server\nDocumentation=man:nginx(8)\nAfter=network-online.target remote-fs.target nss-lookup.target\nWants=network-online.target\n\n" +
				"[Service]\nType=forking\nPIDFile=/run/nginx.pid\nExecStartPre=/usr/sbin/nginx -t -q -g 'daemon on; master_process on;'\nExecStart=/usr/sbin/nginx -g 'daemon on; master_process on;'\n" +
				"ExecReload=/usr/sbin/nginx -g 'daemon on; master_process on;' -s reload\nExecStop=-/sbin/start-stop-daemon --quiet --stop --retry QUIT/5 --pidfile /run/nginx.pid\nTimeoutStopSec=5\nKillMode=mixed\n\n" +
				"[Install]\nWantedBy=multi-user.target\n",
		},
	}
}
