// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

const (
	admin    = "admin"
	password = "correct horse battery staple"
)

// fake is a Portainer server with memory that answers as 2.23 does.
type fake struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	clock    int64 // Unix seconds; a deployment moves it
	locked   bool
	password string            // of admin; empty: there is none
	signIns  int               // more than 10: refused
	tokens   map[string]bool   // JWTs
	keys     map[int]fakeKey   // by ID
	settings map[string]any    // as JSON
	tags     map[int]string    // by ID
	envs     map[int]fakeEnv   // by ID
	stacks   map[int]fakeStack // by ID
	engines  map[string]*engine
	next     int
	log      []string // method and path of each request
	bodies   map[string]string
	fault    func(w http.ResponseWriter, r *http.Request) bool // true: it answered
	deploy   func(text string, env map[string]string) string   // compose's standard error; empty: it went well
	deployed map[string]map[string]string                      // what the containers of a project see
}

type (
	fakeKey struct{ description, raw string }
	fakeEnv struct {
		Name, URL    string
		Type, Status int
		TagIDs       []int
	}
	fakeStack struct {
		Name, text        string
		Environment       int
		Env               []pair
		Status            int
		CreationDate      int64
		UpdateDate        int64
		Type              int
		containersPresent bool
	}
)

func start(t *testing.T) *fake {
	t.Helper()
	f := &fake{
		t: t, clock: 1_700_000_000, tokens: map[string]bool{}, keys: map[int]fakeKey{}, tags: map[int]string{}, envs: map[int]fakeEnv{},
		stacks: map[int]fakeStack{}, engines: map[string]*engine{}, bodies: map[string]string{}, deployed: map[string]map[string]string{},
		settings: map[string]any{"UserSessionTimeout": "8h", "SnapshotInterval": "5m", "EnableTelemetry": true, "LogoURL": "x"},
	}
	f.server = httptest.NewUnstartedServer(f.routes())
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail are the tests' affair
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	return f
}

// ready is a fake with an administrator, and a client with a key of it.
func ready(t *testing.T) (*fake, *Client) {
	t.Helper()
	f := start(t)
	f.password, f.keys[1], f.next = password, fakeKey{"first", "ptr_firstkey"}, 1
	return f, f.connect().With("ptr_firstkey")
}

func (f *fake) connect() *Server {
	f.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(f.server.Certificate())
	s, err := New(Options{URL: f.server.URL, Roots: roots})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Close)
	return s
}

func (f *fake) id() int { f.next++; return f.next }

// said forgets and returns the requests so far.
func (f *fake) said() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	log := f.log
	f.log = nil
	return log
}

func (f *fake) body(request string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bodies[request]
}

func (f *fake) routes() http.Handler {
	mux := http.NewServeMux()
	open := func(pattern string, handle http.HandlerFunc) { mux.HandleFunc(pattern, handle) }
	own := func(pattern string, handle http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !f.authorized(r) {
				refuse(w, 401, "A valid authorization token is missing", "Unauthorized")
				return
			}
			handle(w, r)
		})
	}
	open("GET /api/system/status", func(w http.ResponseWriter, _ *http.Request) {
		give(w, 200, map[string]string{"Version": "2.23.0", "InstanceID": "299ab403"})
	})
	open("GET /api/users/admin/check", f.adminCheck)
	open("POST /api/users/admin/init", f.adminInit)
	open("POST /api/auth", f.auth)
	own("GET /api/users/me", func(w http.ResponseWriter, _ *http.Request) {
		give(w, 200, map[string]any{"Id": 1, "Username": admin, "Role": 1})
	})
	own("GET /api/users/1/tokens", f.listKeys)
	own("POST /api/users/1/tokens", f.makeKey)
	own("DELETE /api/users/1/tokens/{id}", f.deleteKey)
	own("GET /api/settings", func(w http.ResponseWriter, _ *http.Request) { give(w, 200, f.settings) })
	own("PUT /api/settings", func(w http.ResponseWriter, r *http.Request) {
		if json.NewDecoder(r.Body).Decode(&f.settings) != nil {
			refuse(w, 400, "Invalid request payload", "EOF")
			return
		}
		give(w, 200, f.settings)
	})
	own("GET /api/tags", f.listTags)
	own("POST /api/tags", f.makeTag)
	own("DELETE /api/tags/{id}", f.deleteTag)
	own("GET /api/endpoints", f.listEnvs)
	own("POST /api/endpoints", f.makeEnv)
	own("PUT /api/endpoints/{id}", f.updateEnv)
	own("DELETE /api/endpoints/{id}", f.deleteEnv)
	own("/api/endpoints/{id}/docker/{rest...}", f.proxy)
	own("GET /api/stacks", f.listStacks)
	own("GET /api/stacks/{id}/file", f.stackFile)
	own("POST /api/stacks/create/standalone/string", f.createStack)
	own("PUT /api/stacks/{id}", f.updateStack)
	own("POST /api/stacks/{id}/start", f.startStack)
	own("POST /api/stacks/{id}/stop", f.stopStack)
	own("DELETE /api/stacks/{id}", f.deleteStack)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		request := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api")
		f.log = append(f.log, request)
		f.bodies[request] = string(body)
		switch {
		case f.fault != nil && f.fault(w, r):
		case f.locked:
			w.Header().Set("redirect-reason", "AdminInitTimeout")
			refuse(w, 303, "Administrator initialization timeout", "Administrator initialization timeout")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func give(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, message, details string) {
	give(w, status, map[string]string{"message": message, "details": details})
}

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.PathValue(name))
	return n
}

func (f *fake) authorized(r *http.Request) bool {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if key := r.Header.Get("X-API-Key"); key != "" {
		for _, k := range f.keys {
			if k.raw == key {
				return token == ""
			}
		}
		return false
	}
	return f.tokens[token]
}

func (f *fake) adminCheck(w http.ResponseWriter, _ *http.Request) {
	if f.password == "" {
		refuse(w, 404, "No administrator account found inside the database", "Object not found inside the database")
		return
	}
	w.WriteHeader(204)
}

func (f *fake) adminInit(w http.ResponseWriter, r *http.Request) {
	var in struct{ Username, Password string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	switch {
	case in.Username == "" || in.Password == "":
		refuse(w, 400, "Invalid request payload", "Invalid password")
	case f.password != "":
		refuse(w, 409, "Unable to create administrator user", "An administrator user already exists")
	case len(in.Password) < 12:
		refuse(w, 400, "Password does not meet the requirements", "Password does not meet the requirements")
	default:
		f.password = in.Password
		give(w, 200, map[string]any{"Id": 1, "Username": in.Username, "Role": 1})
	}
}

func (f *fake) auth(w http.ResponseWriter, r *http.Request) {
	var in struct{ Username, Password string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	f.signIns++
	switch {
	case f.signIns > 10:
		refuse(w, 403, "Access denied", "Access denied to resource")
	case in.Username != admin || in.Password != f.password:
		refuse(w, 422, "Invalid credentials", "Unauthorized")
	default:
		token := fmt.Sprintf("eyJ.token.%d", f.id())
		f.tokens[token] = true
		http.SetCookie(w, &http.Cookie{Name: "portainer_api_key", Value: token})
		give(w, 200, map[string]string{"jwt": token})
	}
}

func (f *fake) listKeys(w http.ResponseWriter, _ *http.Request) {
	out := []map[string]any{}
	for id, k := range f.keys {
		out = append(out, map[string]any{"id": id, "userId": 1, "description": k.description, "prefix": k.raw[:7]})
	}
	slices.SortFunc(out, func(a, b map[string]any) int { return a["id"].(int) - b["id"].(int) })
	give(w, 200, out)
}

func (f *fake) makeKey(w http.ResponseWriter, r *http.Request) {
	var in struct{ Password, Description string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	f.signIns++
	switch {
	case r.Header.Get("Authorization") == "":
		refuse(w, 401, "Auth not supported", "Authentication required")
	case f.signIns > 10:
		refuse(w, 403, "Access denied", "Access denied to resource")
	case in.Description == "" || len(in.Description) >= 128:
		refuse(w, 400, "Invalid request payload", "Invalid description: cannot be empty")
	case in.Password == "":
		refuse(w, 400, "Invalid request payload", "Invalid password: cannot be empty")
	case in.Password != f.password:
		refuse(w, 403, "Current password doesn't match", "Current password does not match the password provided. Please try again")
	default:
		id := f.id()
		f.keys[id] = fakeKey{in.Description, fmt.Sprintf("ptr_key%d", id)}
		give(w, 201, map[string]any{"rawAPIKey": f.keys[id].raw, "apiKey": map[string]any{"id": id}})
	}
}

func (f *fake) deleteKey(w http.ResponseWriter, r *http.Request) {
	id := number(r, "id")
	if _, ok := f.keys[id]; !ok {
		refuse(w, 500, "API Key not found", "Object not found inside the database")
		return
	}
	delete(f.keys, id)
	w.WriteHeader(204)
}

func (f *fake) listTags(w http.ResponseWriter, _ *http.Request) {
	out := []map[string]any{}
	for id, name := range f.tags {
		out = append(out, map[string]any{"ID": id, "Name": name, "Endpoints": map[string]bool{}})
	}
	slices.SortFunc(out, func(a, b map[string]any) int { return a["ID"].(int) - b["ID"].(int) })
	give(w, 200, out)
}

func (f *fake) makeTag(w http.ResponseWriter, r *http.Request) {
	var in struct{ Name string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	for _, name := range f.tags {
		if name == in.Name {
			refuse(w, 409, "This name is already associated to a tag", "A tag already exists with this name")
			return
		}
	}
	id := f.id()
	f.tags[id] = in.Name
	give(w, 200, map[string]any{"ID": id, "Name": in.Name})
}

func (f *fake) deleteTag(w http.ResponseWriter, r *http.Request) {
	id := number(r, "id")
	if _, ok := f.tags[id]; !ok {
		refuse(w, 404, "Unable to find a tag with the specified identifier inside the database", "Object not found inside the database")
		return
	}
	delete(f.tags, id)
	for n, env := range f.envs {
		env.TagIDs = slices.DeleteFunc(slices.Clone(env.TagIDs), func(tag int) bool { return tag == id })
		f.envs[n] = env
	}
	w.WriteHeader(204)
}

func (e fakeEnv) json(id int) map[string]any {
	return map[string]any{"Id": id, "Name": e.Name, "URL": e.URL, "Type": e.Type, "Status": e.Status, "TagIds": e.TagIDs, "GroupId": 1}
}

func (f *fake) listEnvs(w http.ResponseWriter, r *http.Request) {
	out := []map[string]any{}
	for id, env := range f.envs {
		shown := env.json(id)
		if r.URL.Query().Get("excludeSnapshots") != "true" {
			shown["Snapshots"] = strings.Repeat("x", maxAnswer)
		}
		out = append(out, shown)
	}
	slices.SortFunc(out, func(a, b map[string]any) int { return a["Id"].(int) - b["Id"].(int) })
	give(w, 200, out)
}

func (f *fake) makeEnv(w http.ResponseWriter, r *http.Request) {
	env := fakeEnv{Name: r.FormValue("Name"), URL: r.FormValue("URL"), Type: 1, Status: 1, TagIDs: []int{}}
	agent := r.FormValue("EndpointCreationType") == "2"
	if tags := r.FormValue("TagIds"); tags != "" && json.Unmarshal([]byte(tags), &env.TagIDs) != nil {
		refuse(w, 400, "Invalid request payload", "Invalid TagIds parameter")
		return
	}
	switch {
	case env.Name == "":
		refuse(w, 400, "Invalid request payload", "Invalid environment name")
	case f.taken(env.Name, 0):
		refuse(w, 409, "Name is not unique", "Name is not unique")
	case agent && (r.FormValue("TLS") != "true" || r.FormValue("TLSSkipVerify") != "true" || r.FormValue("TLSSkipClientVerify") != "true"):
		refuse(w, 400, "Invalid request payload", "Invalid certificate file. Ensure that the file is uploaded correctly")
	case f.engines[env.URL] == nil:
		refuse(w, 500, "Unable to get environment type", "Get \"https://10.0.0.102:9001/ping\": dial tcp: connection refused")
	default:
		if agent {
			env.Type = 2
		}
		id := f.id()
		f.envs[id] = env
		give(w, 200, env.json(id))
	}
}

func (f *fake) taken(name string, but int) bool {
	for id, env := range f.envs {
		if env.Name == name && id != but {
			return true
		}
	}
	return false
}

func (f *fake) updateEnv(w http.ResponseWriter, r *http.Request) {
	id := number(r, "id")
	env, ok := f.envs[id]
	var in struct {
		Name, URL *string
		TagIDs    []int
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	switch {
	case !ok:
		refuse(w, 404, "Unable to find an environment with the specified identifier inside the database", "Object not found inside the database")
		return
	case in.Name != nil && f.taken(*in.Name, id):
		refuse(w, 409, "Name is not unique", "Name is not unique")
		return
	case in.Name != nil:
		env.Name = *in.Name
	}
	if in.URL != nil {
		env.URL = *in.URL
	}
	if in.TagIDs != nil {
		env.TagIDs = in.TagIDs
	}
	f.envs[id] = env
	give(w, 200, env.json(id))
}

func (f *fake) deleteEnv(w http.ResponseWriter, r *http.Request) {
	id := number(r, "id")
	if _, ok := f.envs[id]; !ok {
		refuse(w, 404, "Unable to find an environment with the specified identifier inside the database", "Object not found inside the database")
		return
	}
	delete(f.envs, id)
	w.WriteHeader(204)
}

// proxy hands a request on to the engine, as Portainer does.
func (f *fake) proxy(w http.ResponseWriter, r *http.Request) {
	env, ok := f.envs[number(r, "id")]
	switch {
	case !ok:
		refuse(w, 404, "Unable to find an environment with the specified identifier inside the database", "Object not found inside the database")
	case f.engines[env.URL] == nil && env.Type == 2:
		w.WriteHeader(502)
	case f.engines[env.URL] == nil:
		refuse(w, 500, "Unable to proxy the request via the Docker socket", "dial unix /var/run/docker.sock: connect: no such file or directory")
	default:
		f.engines[env.URL].serve(w, r, "/"+r.PathValue("rest"))
	}
}

func (s fakeStack) json(id int) map[string]any {
	return map[string]any{
		"Id": id, "Name": s.Name, "Type": s.Type, "EndpointId": s.Environment, "Env": s.Env, "Status": s.Status,
		"CreationDate": s.CreationDate, "UpdateDate": s.UpdateDate,
	}
}

func (f *fake) listStacks(w http.ResponseWriter, r *http.Request) {
	var filter struct{ EndpointID int }
	if text := r.URL.Query().Get("filters"); text != "" && json.Unmarshal([]byte(text), &filter) != nil {
		refuse(w, 400, "Invalid query parameter: filters", "Invalid character")
		return
	}
	out := []map[string]any{}
	for id, s := range f.stacks {
		// A swarm stack without a swarm's ID comes in every list.
		if filter.EndpointID == 0 || s.Environment == filter.EndpointID || s.Type == 1 {
			out = append(out, s.json(id))
		}
	}
	slices.SortFunc(out, func(a, b map[string]any) int { return a["Id"].(int) - b["Id"].(int) })
	give(w, 200, out)
}

func (f *fake) stackFile(w http.ResponseWriter, r *http.Request) {
	s, ok := f.stacks[number(r, "id")]
	if !ok {
		refuse(w, 404, "Unable to find a stack with the specified identifier inside the database", "Object not found inside the database")
		return
	}
	give(w, 200, map[string]string{"StackFileContent": s.text})
}

var unfit = regexp.MustCompile(`[^-_a-z0-9]+`)

// up writes stack.env as Portainer does and reads it as compose does.
func (f *fake) up(project, text string, env []pair) (stderr string) {
	var file strings.Builder
	for _, p := range env {
		fmt.Fprintf(&file, "%s=%s\n", p.Name, p.Value)
	}
	values, err := dotenv.Parse(strings.NewReader(file.String()))
	if err != nil {
		return "failed to read stack.env: " + err.Error()
	}
	if f.deploy != nil {
		if stderr := f.deploy(text, values); stderr != "" {
			delete(f.deployed, project)
			return stderr
		}
	}
	f.deployed[project] = values
	f.clock++
	return ""
}

// inEnv finds the environment of the query; it answers itself when there is none.
func (f *fake) inEnv(w http.ResponseWriter, r *http.Request, missing int) (int, bool) {
	id, err := strconv.Atoi(r.URL.Query().Get("endpointId"))
	if err != nil {
		refuse(w, missing, "Invalid query parameter: endpointId", "Missing query parameter")
		return 0, false
	}
	if _, ok := f.envs[id]; !ok {
		refuse(w, 404, "Unable to find an environment with the specified identifier inside the database", "Object not found inside the database")
		return 0, false
	}
	return id, true
}

func (f *fake) createStack(w http.ResponseWriter, r *http.Request) {
	env, ok := f.inEnv(w, r, 400)
	if !ok {
		return
	}
	var in struct {
		Name, StackFileContent string
		Env                    []pair
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	name := unfit.ReplaceAllString(strings.ToLower(in.Name), "")
	for _, s := range f.stacks {
		if s.Name == name && s.Environment == env {
			text := fmt.Sprintf("A stack with the normalized name '%s' already exists", name)
			refuse(w, 409, text, text)
			return
		}
	}
	if stderr := f.up(name, in.StackFileContent, in.Env); stderr != "" {
		refuse(w, 500, "failed to deploy a stack: "+stderr, "Failed to deploy a stack: "+stderr)
		return
	}
	id := f.id()
	f.stacks[id] = fakeStack{Name: name, text: in.StackFileContent, Environment: env, Env: in.Env, Status: 1, CreationDate: f.clock, Type: 2, containersPresent: true}
	give(w, 200, f.stacks[id].json(id))
}

// stack finds the stack of the path; it answers itself when there is none.
func (f *fake) stack(w http.ResponseWriter, r *http.Request) (int, fakeStack, bool) {
	id := number(r, "id")
	s, ok := f.stacks[id]
	if !ok {
		refuse(w, 404, "Unable to find a stack with the specified identifier inside the database", "Object not found inside the database")
	}
	return id, s, ok
}

func (f *fake) updateStack(w http.ResponseWriter, r *http.Request) {
	id, s, ok := f.stack(w, r)
	if !ok {
		return
	}
	env, ok := f.inEnv(w, r, 400)
	if !ok {
		return
	}
	var in struct {
		StackFileContent string
		Env              []pair
		PullImage        bool
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	if stderr := f.up(s.Name, in.StackFileContent, in.Env); stderr != "" {
		s.containersPresent = false
		f.stacks[id] = s
		refuse(w, 500, "failed to deploy a stack: "+stderr, "Failed to deploy a stack: "+stderr)
		return
	}
	s.text, s.Env, s.Environment, s.Status, s.UpdateDate, s.containersPresent = in.StackFileContent, in.Env, env, 1, f.clock, true
	f.stacks[id] = s
	give(w, 200, s.json(id))
}

func (f *fake) startStack(w http.ResponseWriter, r *http.Request) {
	id, s, ok := f.stack(w, r)
	if !ok {
		return
	}
	if _, ok := f.inEnv(w, r, 400); !ok {
		return
	}
	switch {
	case s.containersPresent:
		text := fmt.Sprintf("A stack with the name '%s' is already running", s.Name)
		refuse(w, 409, text, text)
	case s.Status == 1:
		refuse(w, 400, "Stack is already active", "Stack is already active")
	default:
		s.Status, s.containersPresent = 1, true
		f.stacks[id] = s
		f.up(s.Name, s.text, s.Env)
		give(w, 200, s.json(id))
	}
}

func (f *fake) stopStack(w http.ResponseWriter, r *http.Request) {
	id, s, ok := f.stack(w, r)
	if !ok {
		return
	}
	if _, ok := f.inEnv(w, r, 400); !ok {
		return
	}
	if s.Status == 2 {
		refuse(w, 400, "Stack is already inactive", "Stack is already inactive")
		return
	}
	s.Status, s.containersPresent = 2, false
	f.stacks[id] = s
	delete(f.deployed, s.Name)
	give(w, 200, s.json(id))
}

func (f *fake) deleteStack(w http.ResponseWriter, r *http.Request) {
	id, s, ok := f.stack(w, r)
	if !ok {
		return
	}
	if _, ok := f.inEnv(w, r, 404); !ok {
		return
	}
	delete(f.stacks, id)
	delete(f.deployed, s.Name)
	w.WriteHeader(204)
}
