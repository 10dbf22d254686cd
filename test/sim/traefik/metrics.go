// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"fmt"
	"net/http"
	"slices"
)

// serveMetrics writes some of Traefik's counters for Prometheus.
func (s *Server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprintf(w, "# HELP traefik_config_reloads_total Config reloads\n# TYPE traefik_config_reloads_total counter\ntraefik_config_reloads_total %d\n", s.loads.Load())
	fmt.Fprint(w, "# HELP traefik_open_connections How many open connections exist, by entryPoint and protocol\n# TYPE traefik_open_connections gauge\n")
	for _, name := range sorted(keys(s.points)) {
		fmt.Fprintf(w, "traefik_open_connections{entrypoint=%q,protocol=\"TCP\"} %d\n", name, s.points[name].open())
	}
	points, services := s.counters.lines()
	fmt.Fprint(w, "# HELP traefik_entrypoint_requests_total How many HTTP requests processed on an entrypoint, partitioned by status code, protocol, and method.\n# TYPE traefik_entrypoint_requests_total counter\n")
	for _, line := range points {
		fmt.Fprintln(w, line)
	}
	fmt.Fprint(w, "# HELP traefik_service_requests_total How many HTTP requests processed on a service, partitioned by status code, protocol, and method.\n# TYPE traefik_service_requests_total counter\n")
	for _, line := range services {
		fmt.Fprintln(w, line)
	}
}

// lines are the counters as Prometheus reads them.
func (c *counters) lines() (points, services []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byPoint, byService := map[string]int{}, map[string]int{}
	for key, n := range c.requests {
		labels := fmt.Sprintf("code=%q,method=%q,protocol=\"http\"", key[3], key[2])
		byPoint[fmt.Sprintf("traefik_entrypoint_requests_total{%s,entrypoint=%q}", labels, key[0])] += n
		if key[1] != "" {
			byService[fmt.Sprintf("traefik_service_requests_total{%s,service=%q}", labels, key[1])] += n
		}
	}
	return counted(byPoint), counted(byService)
}

func counted(all map[string]int) []string {
	var out []string
	for name, n := range all {
		out = append(out, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(out)
	return out
}
