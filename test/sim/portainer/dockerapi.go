// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/system"
)

// apiVersion is the newest version of the Docker API that the engine speaks, and
// minAPIVersion the oldest: those of 20.10.
const (
	apiVersion    = "1.41"
	minAPIVersion = "1.12"
)

var versioned = regexp.MustCompile(`^/v(\d+)\.(\d+)(/.*)$`)

// routes are the paths of the Docker API.
func (m *Memory) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(*Memory, *http.Request) (any, error){
		"GET /_ping":                   (*Memory).apiPing,
		"GET /info":                    (*Memory).apiInfo,
		"GET /version":                 (*Memory).apiVersion,
		"GET /containers/json":         (*Memory).apiContainers,
		"GET /containers/{id}/json":    (*Memory).apiContainer,
		"POST /containers/{id}/{what}": (*Memory).apiContainerDo,
		"DELETE /containers/{id}":      (*Memory).apiContainerRemove,
		"GET /images/json":             (*Memory).apiImages,
		"POST /images/create":          (*Memory).apiImagePull,
		"POST /images/load":            (*Memory).apiImageLoad,
		"GET /images/{name...}":        (*Memory).apiImage,
		"POST /images/{name...}":       (*Memory).apiImageTag,
		"DELETE /images/{name...}":     (*Memory).apiImageRemove,
		"GET /distribution/{name...}":  (*Memory).apiDistribution,
		"GET /volumes":                 (*Memory).apiVolumes,
		"POST /volumes/create":         (*Memory).apiVolumeCreate,
		"GET /volumes/{name}":          (*Memory).apiVolume,
		"DELETE /volumes/{name}":       (*Memory).apiVolumeRemove,
		"GET /networks":                (*Memory).apiNetworks,
		"DELETE /networks/{name}":      (*Memory).apiNetworkRemove,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			out, err := handle(m, r)
			if err != nil {
				writeEngineError(w, err)
				return
			}
			answer(w, r, out)
		})
	}
	return mux
}

// status is an answer without a body.
type status int

// stream is an answer of one JSON object after another.
type stream []any

// created is an answer of a new thing.
type created struct{ of any }

func answer(w http.ResponseWriter, r *http.Request, out any) {
	code := http.StatusOK
	switch o := out.(type) {
	case status:
		w.WriteHeader(int(o))
		return
	case string:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(o)) // the client is gone
		return
	case stream:
		w.Header().Set("Content-Type", "application/json")
		for _, one := range o {
			_ = json.NewEncoder(w).Encode(one) // the client is gone
		}
		return
	case created:
		code, out = http.StatusCreated, o.of
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(out) // the client is gone
}

func writeEngineError(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var engine *EngineError
	if errors.As(err, &engine) {
		code = engine.Status
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": err.Error()}) // the client is gone
}

// ServeHTTP implements http.Handler: the Docker API.
func (m *Memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !m.Running() {
		notReached(w, "dial unix /var/run/docker.sock: connect: connection refused")
		return
	}
	w.Header().Set("Api-Version", apiVersion)
	w.Header().Set("Docker-Experimental", "false")
	w.Header().Set("Ostype", "linux")
	w.Header().Set("Server", "Docker/"+m.opts.Version+" (linux)")
	parts := versioned.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		m.mux.ServeHTTP(w, r)
		return
	}
	major, _ := strconv.Atoi(parts[1])
	minor, _ := strconv.Atoi(parts[2])
	if asked := parts[1] + "." + parts[2]; major > 1 || minor > 41 {
		writeEngineError(w, badRequest("client version %s is too new. Maximum supported API version is %s", asked, apiVersion))
		return
	}
	inner := r.Clone(r.Context())
	inner.URL.Path, inner.URL.RawPath = parts[3], ""
	m.mux.ServeHTTP(w, inner)
}

func (m *Memory) apiPing(*http.Request) (any, error) { return "OK", nil }

func (m *Memory) apiVersion(*http.Request) (any, error) {
	return types.Version{
		Version: m.opts.Version, APIVersion: apiVersion, MinAPIVersion: minAPIVersion, Os: "linux", Arch: "amd64", KernelVersion: "6.1.0",
		Components: []types.ComponentVersion{{Name: "Engine", Version: m.opts.Version}},
	}, nil
}

func (m *Memory) apiInfo(*http.Request) (any, error) {
	info := system.Info{
		ID: "PHNX:" + strings.ToUpper(m.opts.Name), Name: m.opts.Name, DockerRootDir: m.opts.RootDir, ServerVersion: m.opts.Version, Driver: "overlay2",
		OSType: "linux", Architecture: "x86_64", OperatingSystem: "Debian GNU/Linux 12 (bookworm)", NCPU: 2, MemTotal: 4 << 30,
		SystemTime: m.opts.Clock().UTC().Format(time.RFC3339Nano), LoggingDriver: "json-file", CgroupDriver: "systemd", Images: len(m.Images()),
	}
	for _, c := range m.Containers() {
		info.Containers++
		if c.State == stateRunning {
			info.ContainersRunning++
		} else {
			info.ContainersStopped++
		}
	}
	return info, nil
}

// filtersOf are the filters of a list.
func filtersOf(r *http.Request) (filters.Args, error) {
	out, err := filters.FromJSON(r.URL.Query().Get("filters"))
	if err != nil {
		return out, badRequest("invalid filter: %v", err)
	}
	return out, nil
}

// flag is a query parameter that is set.
func flag(r *http.Request, name string) bool {
	switch strings.ToLower(r.URL.Query().Get(name)) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}
