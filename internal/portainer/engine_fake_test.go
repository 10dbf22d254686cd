// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"encoding/json"

	"github.com/docker/docker/api/types/versions"
)

// engine is a Docker engine with memory.
type engine struct {
	min, max   string // of the versions that it speaks
	containers []map[string]any
	images     []map[string]any
	volumes    []map[string]any
	registry   map[string]string // ID of what can be pulled, by name:tag
	uses       map[string]bool   // volumes in use
	stopped    []string          // in their order
	requests   []string          // method and path as they came
}

// newEngine is what Debian 12 has.
func newEngine() *engine {
	return &engine{min: "1.12", max: "1.41", registry: map[string]string{}, uses: map[string]bool{}}
}

var versioned = regexp.MustCompile(`^/v([0-9]+\.[0-9]+)(/.*)$`)

func say(w http.ResponseWriter, status int, message string) {
	give(w, status, map[string]string{"message": message})
}

func (e *engine) serve(w http.ResponseWriter, r *http.Request, path string) {
	e.requests = append(e.requests, r.Method+" "+path)
	w.Header().Set("Api-Version", e.max)
	if m := versioned.FindStringSubmatch(path); m != nil {
		path = m[2]
		switch {
		case versions.LessThan(m[1], e.min):
			say(w, 400, fmt.Sprintf("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", m[1], e.min))
			return
		case versions.GreaterThan(m[1], e.max):
			say(w, 400, fmt.Sprintf("client version %s is too new. Maximum supported API version is %s", m[1], e.max))
			return
		}
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case path == "/_ping":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, "OK")
	case path == "/containers/json":
		give(w, 200, e.list(e.containers, r.URL.Query()))
	case parts[0] == "containers" && len(parts) > 1:
		e.container(w, r, parts)
	case path == "/images/json":
		give(w, 200, e.images)
	case path == "/images/create":
		e.pull(w, r.URL.Query())
	case parts[0] == "images":
		e.inspect(w, strings.TrimSuffix(strings.TrimPrefix(path, "/images/"), "/json"))
	case path == "/volumes":
		give(w, 200, map[string]any{"Volumes": e.list(e.volumes, r.URL.Query())})
	case parts[0] == "volumes" && r.Method == http.MethodDelete:
		e.removeVolume(w, parts[1])
	default:
		say(w, 404, "page not found")
	}
}

// list filters by labels, NAME or NAME=VALUE.
func (e *engine) list(all []map[string]any, query url.Values) []map[string]any {
	var filters map[string]map[string]bool
	_ = json.Unmarshal([]byte(query.Get("filters")), &filters)
	out := []map[string]any{}
	for _, one := range all {
		if query.Get("all") != "1" && one["State"] != nil && one["State"] != "running" {
			continue
		}
		labels, _ := one["Labels"].(map[string]string)
		fits := true
		for label := range filters["label"] {
			name, want, exact := strings.Cut(label, "=")
			got, has := labels[name]
			fits = fits && has && (!exact || got == want)
		}
		if fits {
			out = append(out, one)
		}
	}
	return out
}

func (e *engine) container(w http.ResponseWriter, r *http.Request, parts []string) {
	at := slices.IndexFunc(e.containers, func(c map[string]any) bool { return c["Id"] == parts[1] })
	switch {
	case at < 0:
		say(w, 404, "No such container: "+parts[1])
	case len(parts) == 3 && parts[2] == "stop" && e.containers[at]["State"] != "running":
		w.WriteHeader(304)
	case len(parts) == 3 && parts[2] == "stop":
		e.containers[at]["State"] = "exited"
		e.stopped = append(e.stopped, parts[1])
		w.WriteHeader(204)
	case r.Method == http.MethodDelete && r.URL.Query().Get("v") == "1":
		say(w, 500, "volumes were to stay")
	case r.Method == http.MethodDelete:
		e.containers = slices.Delete(e.containers, at, at+1)
		w.WriteHeader(204)
	default:
		say(w, 404, "page not found")
	}
}

func (e *engine) inspect(w http.ResponseWriter, name string) {
	for _, i := range e.images {
		if i["Id"] == name || slices.Contains(i["RepoTags"].([]string), name) || slices.Contains(i["RepoDigests"].([]string), name) {
			give(w, 200, i)
			return
		}
	}
	say(w, 404, "No such image: "+name)
}

func (e *engine) pull(w http.ResponseWriter, query url.Values) {
	name := strings.TrimPrefix(strings.TrimPrefix(query.Get("fromImage"), "docker.io/"), "library/") + ":" + query.Get("tag")
	id, ok := e.registry[name]
	switch {
	case !ok && strings.HasPrefix(name, "private"):
		say(w, 404, "pull access denied for "+name+", repository does not exist or may require 'docker login'")
		return
	case !ok && strings.HasPrefix(name, "offline"):
		say(w, 500, `Get "https://registry-1.docker.io/v2/": dial tcp 127.0.0.1:443: connect: connection refused`)
		return
	}
	w.WriteHeader(200)
	fmt.Fprintln(w, `{"status":"Pulling from library","id":"latest"}`)
	if !ok {
		fmt.Fprintln(w, `{"errorDetail":{"message":"manifest for `+name+` not found: manifest unknown"},"error":"manifest for `+name+` not found: manifest unknown"}`)
		return
	}
	fmt.Fprintln(w, `{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"abc"}`)
	fmt.Fprintln(w, `{"status":"Status: Downloaded newer image for `+name+`"}`)
	e.images = append(e.images, map[string]any{"Id": id, "RepoTags": []string{name}, "RepoDigests": []string{name + "@" + id}})
}

func (e *engine) removeVolume(w http.ResponseWriter, name string) {
	at := slices.IndexFunc(e.volumes, func(v map[string]any) bool { return v["Name"] == name })
	switch {
	case at < 0:
		say(w, 404, "get "+name+": no such volume")
	case e.uses[name]:
		say(w, 409, "remove "+name+": volume is in use - [0123]")
	default:
		e.volumes = slices.Delete(e.volumes, at, at+1)
		w.WriteHeader(204)
	}
}
