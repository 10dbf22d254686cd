// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/traefik/genconf/dynamic"
)

// versionHeader is what the unused middleware sets by which a loaded version is told.
const versionHeader = "X-Phoenix-Version"

// Render returns the file, which is JSON and so YAML: its name must end in .yml. version is a hash of what it says: Traefik
// has loaded it when Runtime.Look says so. Its errors are *FieldError, one for each value that cannot be written.
func (r Route) Render() (content []byte, version string, err error) {
	if err := r.check(); err != nil {
		return nil, "", err
	}
	config := r.config()
	plain, err := r.encode(config)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(plain)
	version = hex.EncodeToString(sum[:8])
	if config.HTTP.Middlewares == nil {
		config.HTTP.Middlewares = map[string]*dynamic.Middleware{}
	}
	config.HTTP.Middlewares[r.Name+"-"+version] = &dynamic.Middleware{
		Headers: &dynamic.Headers{CustomRequestHeaders: map[string]string{versionHeader: version}},
	}
	body, err := r.encode(config)
	if err != nil {
		return nil, "", err
	}
	about := ""
	if r.About != "" {
		about = "# " + r.About + "\n"
	}
	return append([]byte(about+"# Made by Phoenix: what is changed here by hand is put back.\n"), body...), version, nil
}

// config is what the file says, but for what the types do not know: see complete.
func (r Route) config() *dynamic.Configuration {
	if r.TCP != nil {
		return &dynamic.Configuration{HTTP: &dynamic.HTTPConfiguration{}, TCP: r.tcpConfig()}
	}
	http := &dynamic.HTTPConfiguration{
		Routers:  map[string]*dynamic.Router{},
		Services: map[string]*dynamic.Service{r.Name: {LoadBalancer: r.balancer()}},
	}
	var names []string
	if len(r.Middlewares) > 0 {
		http.Middlewares = map[string]*dynamic.Middleware{}
	}
	for i, m := range r.Middlewares {
		name := fmt.Sprintf("%s-m%d", r.Name, i)
		names = append(names, name)
		http.Middlewares[name] = r.middleware(m)
	}
	for i, group := range r.groups() {
		http.Routers[numbered(r.Name, i)] = &dynamic.Router{
			EntryPoints: []string{cmp.Or(r.EntryPoint, Web)}, Middlewares: names, Service: r.Name,
			Rule: group.rule(), Priority: group.priority,
		}
	}
	if r.TLS != nil {
		http.ServersTransports = map[string]*dynamic.ServersTransport{r.Name: {
			ServerName: r.TLS.ServerName, RootCAs: r.TLS.RootCAs,
			ForwardingTimeouts: &dynamic.ForwardingTimeouts{DialTimeout: dialTimeout},
		}}
	}
	return &dynamic.Configuration{HTTP: http}
}

// numbered is the name of the i-th thing: the first one has no number.
func numbered(name string, i int) string {
	if i == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, i+1)
}

// balancer leaves servers without a weight out.
func (r Route) balancer() *dynamic.ServersLoadBalancer {
	pass := r.PassHostHeader == nil || *r.PassHostHeader
	b := &dynamic.ServersLoadBalancer{PassHostHeader: &pass}
	for _, s := range r.weighted() {
		b.Servers = append(b.Servers, dynamic.Server{URL: s.URL})
	}
	if r.TLS != nil {
		b.ServersTransport = r.Name
	}
	if s := r.Sticky; s != nil {
		b.Sticky = &dynamic.Sticky{Cookie: &dynamic.Cookie{
			Name: cmp.Or(s.Cookie, "phoenix_backend"), Secure: true, HTTPOnly: true, SameSite: strings.ToLower(cmp.Or(s.SameSite, "Lax")),
		}}
	}
	if h := r.HealthCheck; h != nil {
		follow := false
		b.HealthCheck = &dynamic.ServerHealthCheck{
			Path: h.Path, Interval: lasting(h.Interval, "30s"), Timeout: lasting(h.Timeout, "5s"), FollowRedirects: &follow,
		}
	}
	return b
}

// weighted are the servers that get something.
func (r Route) weighted() []Server {
	var servers []Server
	for _, s := range r.Servers {
		if s.Weight > 0 {
			servers = append(servers, s)
		}
	}
	return servers
}

// tcpConfig has a service for each server where their weights differ, as a server of TCP has none.
func (r Route) tcpConfig() *dynamic.TCPConfiguration {
	tcp := &dynamic.TCPConfiguration{Routers: map[string]*dynamic.TCPRouter{}, Services: map[string]*dynamic.TCPService{}}
	for i, group := range r.groups() {
		tcp.Routers[numbered(r.Name, i)] = &dynamic.TCPRouter{
			EntryPoints: []string{cmp.Or(r.EntryPoint, WebSecure)}, Service: r.Name, Rule: group.sniRule(), Priority: group.priority,
			TLS: &dynamic.RouterTCPTLSConfig{Passthrough: true},
		}
	}
	servers := r.weighted()
	balance := func(servers ...Server) *dynamic.TCPService {
		b := &dynamic.TCPServersLoadBalancer{}
		for _, s := range servers {
			b.Servers = append(b.Servers, dynamic.TCPServer{Address: s.URL})
		}
		if r.TCP.ProxyProtocol != 0 {
			b.ProxyProtocol = &dynamic.ProxyProtocol{Version: r.TCP.ProxyProtocol}
		}
		return &dynamic.TCPService{LoadBalancer: b}
	}
	if even(servers) {
		tcp.Services[r.Name] = balance(servers...)
		return tcp
	}
	all := &dynamic.TCPWeightedRoundRobin{}
	for i, s := range servers {
		name := fmt.Sprintf("%s-s%d", r.Name, i)
		tcp.Services[name] = balance(s)
		all.Services = append(all.Services, dynamic.TCPWRRService{Name: name, Weight: &servers[i].Weight})
	}
	tcp.Services[r.Name] = &dynamic.TCPService{Weighted: all}
	return tcp
}

// even says whether all servers have one weight.
func even(servers []Server) bool {
	for _, s := range servers {
		if s.Weight != servers[0].Weight {
			return false
		}
	}
	return true
}

// encode writes the configuration so that no value of it is more than a value: neither to YAML nor to the template that
// Traefik takes the file for.
func (r Route) encode(config *dynamic.Configuration) ([]byte, error) {
	plain, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("write route %s: %w", r.Name, err)
	}
	var tree map[string]any
	if err := json.Unmarshal(plain, &tree); err != nil {
		return nil, fmt.Errorf("write route %s: %w", r.Name, err)
	}
	r.complete(tree)
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(tree); err != nil {
		return nil, fmt.Errorf("write route %s: %w", r.Name, err)
	}
	return bytes.ReplaceAll(text.Bytes(), []byte("{{"), []byte(`{\u007b`)), nil
}

// complete adds what Traefik has and the library's types lack: weights, the status of a health check, the age of a cookie.
func (r Route) complete(tree map[string]any) {
	if r.TCP != nil {
		return
	}
	balancer := below(tree, "http", "services", r.Name, "loadBalancer")
	servers, _ := balancer["servers"].([]any)
	for i, s := range r.weighted() {
		if one, ok := servers[i].(map[string]any); ok && s.Weight != 1 {
			one["weight"] = s.Weight
		}
	}
	if r.HealthCheck != nil && r.HealthCheck.Status != 0 {
		below(balancer, "healthCheck")["status"] = r.HealthCheck.Status
	}
	if r.Sticky != nil && r.Sticky.MaxAge > 0 {
		below(balancer, "sticky", "cookie")["maxAge"] = int(r.Sticky.MaxAge.Seconds())
	}
}

// below goes down a tree by names that are there.
func below(tree map[string]any, names ...string) map[string]any {
	for _, name := range names {
		tree, _ = tree[name].(map[string]any)
	}
	return tree
}
