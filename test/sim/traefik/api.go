// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// internalService is what Traefik answers itself, or nil.
func (s *Server) internalService(name string) http.Handler {
	switch name {
	case "api@internal":
		if s.static.API != nil {
			return http.HandlerFunc(s.serveAPI)
		}
	case "dashboard@internal":
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, "<!DOCTYPE html><title>Traefik</title>\n")
		})
	case "ping@internal":
		if s.static.Ping != nil {
			return http.HandlerFunc(s.servePing)
		}
	case "prometheus@internal":
		if s.static.prometheus() != nil {
			return http.HandlerFunc(s.serveMetrics)
		}
	case "noop@internal":
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	}
	return nil
}

func (s *Server) servePing(w http.ResponseWriter, _ *http.Request) {
	status := http.StatusOK
	if s.ending.Load() {
		status = s.static.Ping.TerminatingStatusCode
	}
	w.WriteHeader(status)
	fmt.Fprint(w, http.StatusText(status))
}

// serveAPI answers at /api.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	if s.o.Faults.strike(w, r) {
		return
	}
	if r.Method != http.MethodGet {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	now := s.now.Load()
	path := "/" + strings.TrimPrefix(r.URL.EscapedPath(), s.static.API.BasePath)
	switch path {
	case "/api/version":
		s.answer(w, map[string]any{"Version": s.o.Version, "Codename": "ramequin", "startDate": s.began.UTC().Format(time.RFC3339Nano)})
	case "/api/rawdata":
		s.answer(w, now.raw())
	case "/api/overview":
		s.answer(w, now.overview(s.static))
	case "/api/entrypoints":
		s.answer(w, s.entryPoints())
	default:
		parts := strings.SplitN(strings.TrimPrefix(path, "/api/"), "/", 3)
		if len(parts) < 2 {
			http.NotFound(w, r)
			return
		}
		s.things(w, r, now.things(parts[0]+"/"+parts[1]), parts)
	}
}

func (s *Server) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may have left
}

func apiError(w http.ResponseWriter, text string, status int) {
	body, _ := json.Marshal(map[string]string{"message": text}) // it is text
	http.Error(w, string(body), status)
}

// things answers for a kind: all of them, or one.
func (s *Server) things(w http.ResponseWriter, r *http.Request, all map[string]any, parts []string) {
	if all == nil {
		http.NotFound(w, r)
		return
	}
	if len(parts) == 2 {
		s.list(w, r, all)
		return
	}
	name, err := url.PathUnescape(parts[2])
	if err != nil || strings.Contains(parts[2], "/") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	one, there := all[name]
	if !there {
		apiError(w, strings.TrimSuffix(parts[1], "s")+" not found: "+name, http.StatusNotFound)
		return
	}
	s.answer(w, one)
}

// list answers with a page of things.
func (s *Server) list(w http.ResponseWriter, r *http.Request, all map[string]any) {
	query := r.URL.Query()
	names := slices.DeleteFunc(sorted(keys(all)), func(name string) bool { return !asked(query, name, all[name]) })
	page, perPage, err := paging(query)
	start := (page - 1) * perPage
	if err == nil && start != 0 && start >= len(names) {
		err = fmt.Errorf("invalid request: page: %d, per_page: %d", page, perPage)
	}
	if err != nil {
		apiError(w, err.Error(), http.StatusBadRequest)
		return
	}
	end, next := min(start+perPage, len(names)), 1
	if end < len(names) {
		next = page + 1
	}
	w.Header().Set("X-Next-Page", strconv.Itoa(next))
	out := make([]any, 0, end-start)
	for _, name := range names[start:end] {
		out = append(out, all[name])
	}
	s.answer(w, out)
}

// asked tells whether a query asks for a thing.
func asked(query url.Values, name string, thing any) bool {
	texts, status := []string{name}, ""
	switch one := thing.(type) {
	case shownRouter:
		texts, status = append(texts, one.Rule), one.Status
		service, _, _ := strings.Cut(query.Get("serviceName"), "@")
		if query.Get("serviceName") != "" && one.Service != service && one.Service != query.Get("serviceName") {
			return false
		}
		if m := query.Get("middlewareName"); m != "" && !slices.Contains(one.Middlewares, m) {
			return false
		}
	case shownService:
		status = one.Status
	case shownMiddleware:
		status = one.Status
	case shownTCPRouter:
		texts, status = append(texts, one.Rule), one.Status
	case shownTCPService:
		status = one.Status
	case shownTCPMiddleware:
		status = one.Status
	}
	search := strings.ToLower(query.Get("search"))
	found := slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(strings.ToLower(text), search) })
	return found && (query.Get("status") == "" || strings.EqualFold(status, query.Get("status")))
}

func paging(query url.Values) (page, perPage int, err error) {
	page, perPage = 1, 100
	for name, into := range map[string]*int{"page": &page, "per_page": &perPage} {
		if text := query.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n <= 0 {
				return 0, 0, fmt.Errorf("invalid request: %s: %d", name, n)
			}
			*into = n
		}
	}
	return page, perPage, nil
}

// The things as the API shows them one by one.
type (
	named struct {
		Name     string `json:"name,omitempty"`
		Provider string `json:"provider,omitempty"`
	}
	shownRouter struct {
		*RouterInfo
		named
		PriorityText string `json:"priorityStr,omitempty"`
	}
	shownService struct {
		*ServiceInfo
		named
		Type         string            `json:"type,omitempty"`
		ServerStatus map[string]string `json:"serverStatus,omitempty"`
	}
	shownMiddleware struct {
		*MiddlewareInfo
		named
		Type string `json:"type,omitempty"`
	}
	shownTCPRouter struct {
		*TCPRouterInfo
		named
		PriorityText string `json:"priorityStr,omitempty"`
	}
	shownTCPService struct {
		*TCPServiceInfo
		named
		Type         string            `json:"type,omitempty"`
		ServerStatus map[string]string `json:"serverStatus,omitempty"`
	}
	shownTCPMiddleware struct {
		*TCPMiddlewareInfo
		named
	}
)

// things are those of a kind, by name; nil: there is no such kind.
func (r *runtime) things(kind string) map[string]any {
	switch kind {
	case "http/routers":
		return show(r.routers, func(n named, i *RouterInfo) any { return shownRouter{i, n, strconv.Itoa(i.Priority)} })
	case "http/services":
		return show(r.services, func(n named, i *ServiceInfo) any {
			return shownService{i, n, strings.Join(i.kinds(), ""), i.all()}
		})
	case "http/middlewares":
		return show(r.middlewares, func(n named, i *MiddlewareInfo) any {
			return shownMiddleware{i, n, strings.ToLower(strings.Join(i.kinds(), ""))}
		})
	case "tcp/routers":
		return show(r.tcpRouters, func(n named, i *TCPRouterInfo) any { return shownTCPRouter{i, n, strconv.Itoa(i.Priority)} })
	case "tcp/services":
		return show(r.tcpServices, func(n named, i *TCPServiceInfo) any {
			kind := "loadbalancer"
			if i.Weighted != nil {
				kind = "weighted"
			}
			return shownTCPService{i, n, kind, i.all()}
		})
	case "tcp/middlewares":
		return show(r.tcpMiddlewares, func(n named, i *TCPMiddlewareInfo) any { return shownTCPMiddleware{i, n} })
	case "udp/routers", "udp/services":
		return map[string]any{}
	}
	return nil
}

func show[V any](all map[string]V, as func(named, V) any) map[string]any {
	out := map[string]any{}
	for name, one := range all {
		_, provider, _ := strings.Cut(name, "@")
		out[name] = as(named{name, provider}, one)
	}
	return out
}

// raw is everything.
func (r *runtime) raw() any {
	type service struct {
		*ServiceInfo
		ServerStatus map[string]string `json:"serverStatus,omitempty"`
	}
	type tcpService struct {
		*TCPServiceInfo
		ServerStatus map[string]string `json:"serverStatus,omitempty"`
	}
	out := struct {
		Routers        map[string]*RouterInfo        `json:"routers,omitempty"`
		Middlewares    map[string]*MiddlewareInfo    `json:"middlewares,omitempty"`
		Services       map[string]service            `json:"services,omitempty"`
		TCPRouters     map[string]*TCPRouterInfo     `json:"tcpRouters,omitempty"`
		TCPMiddlewares map[string]*TCPMiddlewareInfo `json:"tcpMiddlewares,omitempty"`
		TCPServices    map[string]tcpService         `json:"tcpServices,omitempty"`
	}{r.routers, r.middlewares, map[string]service{}, r.tcpRouters, r.tcpMiddlewares, map[string]tcpService{}}
	for name, one := range r.services {
		out.Services[name] = service{one, one.all()}
	}
	for name, one := range r.tcpServices {
		out.TCPServices[name] = tcpService{one, one.all()}
	}
	return out
}

// entryPoints are those of the static file.
func (s *Server) entryPoints() []any {
	out := []any{}
	for _, name := range sorted(keys(s.static.EntryPoints)) {
		out = append(out, map[string]any{"name": name, "address": s.static.EntryPoints[name].Address})
	}
	return out
}

// overview counts what there is, and what is wrong.
func (r *runtime) overview(s *Static) any {
	count := func(kind string) map[string]int {
		out := map[string]int{"total": 0, "warnings": 0, "errors": 0}
		for _, one := range r.things(kind) {
			text, _ := json.Marshal(one) // it is plain
			out["total"]++
			switch {
			case strings.Contains(string(text), `"status":"disabled"`):
				out["errors"]++
			case strings.Contains(string(text), `"status":"warning"`):
				out["warnings"]++
			}
		}
		return out
	}
	section := func(protocol string) map[string]any {
		return map[string]any{"routers": count(protocol + "/routers"), "services": count(protocol + "/services"), "middlewares": count(protocol + "/middlewares")}
	}
	var providers []string
	if s.Providers.File != nil {
		providers = append(providers, "File")
	}
	metrics := ""
	if s.prometheus() != nil {
		metrics = "Prometheus"
	}
	return map[string]any{
		"http": section("http"), "tcp": section("tcp"), "udp": map[string]any{"routers": count("udp/routers"), "services": count("udp/services")},
		"features": map[string]any{"tracing": "", "metrics": metrics, "accessLog": s.AccessLog != nil}, "providers": providers,
	}
}
