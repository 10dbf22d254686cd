// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Runtime is what a Traefik has loaded, of all files of its folder.
type Runtime struct {
	// things are routers, services and middlewares, by name.
	things []thing
}

type thing struct {
	name, kind string
	errors     []string
	down       []string
	version    string
}

// State is what a Traefik has loaded of one Route.
type State struct {
	// Version that is loaded; empty: nothing is.
	Version string
	// Loaded says that it is the one that was asked for.
	Loaded bool
	// Errors in Traefik's words, each once: of routers first, then services, then middlewares. They are of Version.
	Errors []string
	// Down are the servers that a health check took out.
	Down []string
}

// ending is what Render puts behind a Route's name.
var ending = regexp.MustCompile(`^(-[ms]?[0-9]+|-[0-9a-f]{16})?$`)

// rawThing is a router, a service or a middleware, without what secrets it holds.
type rawThing struct {
	Error        []string          `json:"error"`
	Status       string            `json:"status"`
	ServerStatus map[string]string `json:"serverStatus"`
	Headers      struct {
		Request map[string]string `json:"customRequestHeaders"`
	} `json:"headers"`
}

// rawData is the answer of /api/rawdata.
type rawData struct {
	Routers        map[string]rawThing `json:"routers"`
	TCPRouters     map[string]rawThing `json:"tcpRouters"`
	Services       map[string]rawThing `json:"services"`
	TCPServices    map[string]rawThing `json:"tcpServices"`
	Middlewares    map[string]rawThing `json:"middlewares"`
	TCPMiddlewares map[string]rawThing `json:"tcpMiddlewares"`
}

// ParseRuntime reads the answer of /api/rawdata.
func ParseRuntime(rawdata []byte) (Runtime, error) {
	var raw rawData
	if err := json.Unmarshal(rawdata, &raw); err != nil {
		return Runtime{}, fmt.Errorf("read what traefik has loaded: %w", err)
	}
	var r Runtime
	for _, one := range []struct {
		kind   string
		things map[string]rawThing
	}{
		{"router", raw.Routers}, {"router", raw.TCPRouters}, {"service", raw.Services}, {"service", raw.TCPServices},
		{"middleware", raw.Middlewares}, {"middleware", raw.TCPMiddlewares},
	} {
		for name, t := range one.things {
			if local, ours := strings.CutSuffix(name, "@file"); ours {
				r.things = append(r.things, t.read(one.kind, local))
			}
		}
	}
	slices.SortFunc(r.things, func(a, b thing) int {
		return cmp.Or(strings.Compare(a.name, b.name), a.rank()-b.rank())
	})
	return r, nil
}

// rank sorts routers before services before middlewares.
func (t thing) rank() int { return slices.Index([]string{"router", "service", "middleware"}, t.kind) }

func (t rawThing) read(kind, name string) thing {
	out := thing{name: name, kind: kind, errors: t.Error}
	if t.Status == "disabled" && len(t.Error) == 0 {
		out.errors = []string{kind + " " + name + " is disabled"}
	}
	for server, status := range t.ServerStatus {
		if status == "DOWN" {
			out.down = append(out.down, server)
		}
	}
	sort.Strings(out.down)
	out.version = t.Headers.Request[versionHeader]
	return out
}

// Look returns what is loaded of the Route of this name (Route.Name), beside the version that is asked for.
func (r Runtime) Look(name, version string) State {
	var s State
	at, _ := slices.BinarySearchFunc(r.things, name, func(t thing, name string) int { return strings.Compare(t.name, name) })
	var found []thing
	for ; at < len(r.things) && strings.HasPrefix(r.things[at].name, name); at++ {
		if t := r.things[at]; ending.MatchString(t.name[len(name):]) {
			found = append(found, t)
		}
	}
	slices.SortStableFunc(found, func(a, b thing) int { return a.rank() - b.rank() })
	for _, t := range found {
		for _, text := range t.errors {
			if !slices.Contains(s.Errors, text) {
				s.Errors = append(s.Errors, text)
			}
		}
		s.Down = append(s.Down, t.down...)
		if t.version != "" && t.name == name+"-"+t.version {
			s.Version = t.version
		}
	}
	s.Loaded = version != "" && s.Version == version
	return s
}
