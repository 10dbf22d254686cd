// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// agent starts an agent, and says where it is.
func (w *world) agent(secret string, engine portainer.Engine) (url string, a *portainer.Agent) {
	w.Helper()
	a, err := portainer.NewAgent(portainer.AgentOptions{Engine: engine, Secret: secret})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = a.Close() })
	return "tcp://" + w.listen(func(l net.Listener) { _ = a.Serve(l) }), a
}

// form is what makes an agent's environment.
func form(name, url string) map[string]string {
	return map[string]string{"Name": name, "EndpointCreationType": "2", "URL": url, "TLS": "true", "TLSSkipVerify": "true", "TLSSkipClientVerify": "true"}
}

func without(m map[string]string, key string) map[string]string {
	delete(m, key)
	return m
}

func TestEndpoints(t *testing.T) {
	w := start(t, nil)
	w.admin()
	url, agent := w.agent("s3cret", w.engine)
	other, _ := w.agent("another", w.engine)
	w.want("a tag", 200, `"ID":1`, "POST", "/tags", object{"Name": "phoenix-1"})
	w.want("another", 200, `"ID":2`, "POST", "/tags", object{"Name": "phoenix-2"})
	w.want("a tag twice", 409, "already associated", "POST", "/tags", object{"Name": "phoenix-1"})

	w.want("JSON is not understood", 400, "Invalid environment name", "POST", "/endpoints", object{"Name": "a", "EndpointCreationType": 2, "URL": url})
	w.want("no kind", 400, "Invalid environment type value", "POST", "/endpoints", without(form("a", url), "EndpointCreationType"))
	w.want("no TLS", 500, "Unable to get environment type", "POST", "/endpoints", without(form("a", url), "TLS"))
	w.want("no skip", 400, "Invalid CA certificate file", "POST", "/endpoints", without(form("a", url), "TLSSkipVerify"))
	w.want("no client skip", 400, "Invalid certificate file", "POST", "/endpoints", without(form("a", url), "TLSSkipClientVerify"))
	w.want("another secret", 500, "already paired with another Portainer instance", "POST", "/endpoints", form("a", other))
	w.want("nobody there", 500, "connection refused", "POST", "/endpoints", form("a", "tcp://127.0.0.1:1"))
	w.want("none of them is kept", 200, "[]", "GET", "/endpoints", nil)

	tagged := form("drphoenix", url)
	tagged["TagIds"] = "[1]"
	made := read[struct{ ID, Type, Status int }](t, w.want("an agent", 200, `"TagIds":[1]`, "POST", "/endpoints", tagged))
	if made.Type != 2 || made.Status != 1 {
		t.Errorf("made %+v", made)
	}
	path := "/endpoints/" + strconv.Itoa(made.ID)
	w.want("a name twice", 409, "Name is not unique", "POST", "/endpoints", form("drphoenix", url))
	w.want("by name", 200, url, "GET", "/endpoints?name=drphoenix", nil)
	w.want("by another name", 200, "[]", "GET", "/endpoints?name=dr", nil)
	w.want("its tag knows it", 200, `"Endpoints":{"1":true}`, "GET", "/tags", nil)
	w.want("changed", 200, `"TagIds":[2]`, "PUT", path, object{"TagIDs": []int{2}, "Name": "dr"})
	w.want("no such tag", 500, "Unable to update environment tags", "PUT", path, object{"TagIDs": []int{7}})
	w.want("a tag is deleted", 204, "", "DELETE", "/tags/2", nil)
	w.want("also from there", 200, `"TagIds":[]`, "GET", path, nil)
	w.want("it is up", 200, `"Status":1`, "GET", path, nil)

	if err := agent.Close(); err != nil {
		t.Fatal(err)
	}
	w.want("the server does not know yet", 200, `"Status":1`, "GET", "/endpoints", nil)
	w.want("its proxy does", 502, "", "GET", path+"/docker/info", nil)
	w.clock.Add(6 * time.Minute)
	w.want("it knows after five minutes", 200, `"Status":2`, "GET", "/endpoints", nil)
	moved, _ := w.agent("s3cret", w.engine)
	w.want("another address", 200, moved, "PUT", path, object{"URL": moved})
	w.want("not looked at yet", 200, `"Status":2`, "GET", path, nil)
	w.want("looked at", 204, "", "POST", path+"/snapshot", nil)
	w.want("up", 200, `"Status":1`, "GET", path, nil)
	w.want("deleted", 204, "", "DELETE", path, nil)
	w.want("deleted twice", 404, "", "DELETE", path, nil)
}

func TestAnAgentWithoutASecretTrustsTheFirst(t *testing.T) {
	first, second := start(t, func(o *portainer.Options) { o.AgentSecret = "" }), start(t, func(o *portainer.Options) { o.AgentSecret = "" })
	first.admin()
	second.admin()
	url, _ := first.agent("", first.engine)
	first.want("the first", 200, "", "POST", "/endpoints", form("a", url))
	second.want("the second", 500, "already paired", "POST", "/endpoints", form("a", url))
	if err := first.server.Restore(nil); err != nil {
		t.Fatal(err)
	}
	first.header.Del("Authorization")
	first.admin()
	first.want("made anew, it is another", 500, "already paired", "POST", "/endpoints", form("a", url))
	again, _ := first.agent("", first.engine)
	first.want("an agent that was started again", 200, "", "POST", "/endpoints", form("a", again))
}

const (
	oneText  = "services: {web: {image: 'web:1', ports: ['8080:80']}}"
	twoText  = "services: {web: {image: 'web:2', ports: ['8080:80']}, job: {image: 'web:1'}}"
	badText  = "services: {web: {image: 'lab/broken:1'}, job: {image: 'web:1'}}"
	goneText = "services: {web: {image: 'nobody/has:1'}}"
)

func (w *world) stack(name, text string, env ...object) int {
	w.Helper()
	answer := w.want("create "+name, 200, "", "POST", "/stacks/create/standalone/string?endpointId=1", object{"name": name, "stackFileContent": text, "env": env})
	return read[struct{ ID int }](w.T, answer).ID
}

// running are the containers of all projects: name, image, state.
func (w *world) running() []string {
	out := []string{}
	for _, c := range w.engine.Containers() {
		out = append([]string{c.Name + " " + c.Image + " " + c.State}, out...)
	}
	return out
}

func (w *world) runs(reason string, want ...string) {
	w.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, w.running()); diff != "" {
		w.Errorf("%s (-want +got):\n%s", reason, diff)
	}
}

func TestStacks(t *testing.T) {
	w := start(t, nil)
	w.admin()
	w.local()
	const create = "/stacks/create/standalone/string?endpointId=1"
	w.want("no environment", 400, "endpointId", "POST", "/stacks/create/standalone/string", object{"name": "a", "stackFileContent": oneText})
	w.want("no such environment", 404, "", "POST", "/stacks/create/standalone/string?endpointId=9", object{"name": "a", "stackFileContent": oneText})
	w.want("no name", 400, "Invalid stack name", "POST", create, object{"stackFileContent": oneText})
	w.want("no text", 400, "Invalid stack file content", "POST", create, object{"name": "a"})
	w.want("cannot be started", 500, "failed to deploy a stack: ", "POST", create, object{"name": "a", "stackFileContent": badText})
	w.want("no image", 500, "pull access denied for nobody/has", "POST", create, object{"name": "a", "stackFileContent": goneText})
	w.want("none of them is kept", 200, "[]", "GET", "/stacks", nil)
	w.runs("nor runs anything")

	id := w.stack("My-App!", oneText, object{"name": "A", "value": "b"})
	path := "/stacks/" + strconv.Itoa(id)
	w.want("the name is normalised", 200, `"Name":"my-app"`, "GET", path, nil)
	w.want("the same name", 409, "A stack with the normalized name 'my-app' already exists", "POST", create, object{"name": "MY-app", "stackFileContent": oneText})
	w.want("text", 200, `{"StackFileContent":"services: {web: {image: 'web:1', ports: ['8080:80']}}"}`, "GET", path+"/file", nil)
	w.want("of the environment", 200, `"Env":[{"name":"A","value":"b"}]`, "GET", `/stacks?filters=%7B%22EndpointID%22:1%7D`, nil)
	w.want("of another", 200, "[]", "GET", `/stacks?filters=%7B%22EndpointID%22:2%7D`, nil)
	w.want("no environment", 400, "endpointId", "PUT", path, object{"stackFileContent": twoText})
	w.clock.Add(time.Minute)
	w.want("what is left out is cleared", 200, `"Env":null`, "PUT", path+"?endpointId=1", object{"stackFileContent": twoText})
	w.want("the time is kept", 200, `"UpdateDate":1800000060`, "GET", path, nil)
	w.runs("updated", "my-app-job-1 web:1 running", "my-app-web-1 web:2 running")
	w.want("prune is ignored", 200, "", "PUT", path+"?endpointId=1", object{"stackFileContent": oneText, "prune": true})
	w.runs("the other service runs on", "my-app-job-1 web:1 running", "my-app-web-1 web:1 running")

	w.want("running", 409, "already running", "POST", path+"/start?endpointId=1", nil)
	w.want("stop", 200, `"Status":2`, "POST", path+"/stop?endpointId=1", nil)
	w.runs("stopping removes")
	w.want("stop again", 400, "Stack is already inactive", "POST", path+"/stop?endpointId=1", nil)
	w.want("start", 200, `"Status":1`, "POST", path+"/start?endpointId=1", nil)
	w.want("start again", 409, "", "POST", path+"/start?endpointId=1", nil)
	w.runs("started", "my-app-web-1 web:1 running")

	w.want("without an environment", 404, "", "DELETE", path, nil)
	w.want("deleted", 204, "", "DELETE", path+"?endpointId=1", nil)
	w.want("deleted again", 404, "", "DELETE", path+"?endpointId=1", nil)
	w.runs("nothing runs")
}

func TestAFailedUpdateRemovesWhatRan(t *testing.T) {
	w := start(t, nil)
	w.admin()
	w.local()
	id := w.stack("shop", oneText, object{"name": "A", "value": "b"})
	path := "/stacks/" + strconv.Itoa(id)
	w.want("a pull that fails", 500, "failed to pull images of the stack: ", "PUT", path+"?endpointId=1", object{"stackFileContent": goneText, "pullImage": true})
	w.runs("removes nothing", "shop-web-1 web:1 running")
	w.want("a deployment that fails", 500, "OCI runtime create failed", "PUT", path+"?endpointId=1", object{"stackFileContent": badText})
	w.runs("removes all: Portainer's issue 8008")
	w.want("the old text is kept", 200, "web:1", "GET", path+"/file", nil)
	w.want("and the old values", 200, `"value":"b"`, "GET", path, nil)
	w.want("as if it ran", 200, `"Status":1`, "GET", path, nil)
}

func TestAProjectFromOutsideIsTakenOver(t *testing.T) {
	w := start(t, nil)
	w.admin()
	w.local()
	if _, err := w.engine.Deploy(t.Context(), portainer.Deployment{Project: "shop", Text: oneText}); err != nil {
		t.Fatal(err)
	}
	w.stack("shop", "services: {web: {image: 'web:2'}}")
	w.runs("without a word", "shop-web-1 web:2 running")
}

func TestTheDockerAPIBehindAnAgent(t *testing.T) {
	w := start(t, nil)
	w.admin()
	far := portainer.NewMemory(portainer.MemoryOptions{Images: map[string]string{"web:1": "web"}, Name: "drphoenix"})
	url, _ := w.agent("s3cret", far)
	w.want("an agent", 200, "", "POST", "/endpoints", form("drphoenix", url))
	w.stack("shop", oneText)
	docker, err := client.NewClientWithOpts(
		client.WithHTTPClient(w.client), client.WithHost("tcp://"+strings.TrimPrefix(w.url, "https://")+"/endpoints/1/docker"), client.WithScheme("https"),
		client.WithHTTPHeaders(map[string]string{"Authorization": w.header.Get("Authorization")}), client.WithAPIVersionNegotiation(),
	)
	if err != nil {
		t.Fatal(err)
	}
	list, err := docker.ContainerList(t.Context(), container.ListOptions{All: true})
	if err != nil || len(list) != 1 || list[0].Names[0] != "/shop-web-1" {
		t.Fatalf("list: %+v, %v", list, err)
	}
	if info, err := docker.Info(t.Context()); err != nil || info.Name != "drphoenix" {
		t.Errorf("info: %+v, %v", info, err)
	}
	if err := docker.ContainerRemove(t.Context(), list[0].ID, container.RemoveOptions{Force: true}); err != nil {
		t.Error(err)
	}
	if len(far.Containers()) > 0 {
		t.Error("it was not removed")
	}
	far.Halt(false)
	if _, err := docker.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "Unable to proxy the request via the Docker socket") {
		t.Errorf("an engine that does not run: %v", err)
	}
	w.want("a stack where no engine runs", 500, "Unable to check for name collision", "POST", "/stacks/create/standalone/string?endpointId=1", object{"name": "b", "stackFileContent": oneText})
}

func TestFaultsAndRequests(t *testing.T) {
	w := start(t, nil)
	w.admin()
	w.local()
	w.server.ForgetRequests()
	w.server.Fail("GET", "/stacks", 2, portainer.Fault{Status: 503})
	w.want("once", 503, "told to", "GET", "/stacks", nil)
	w.want("twice", 503, "told to", "GET", "/stacks", nil)
	w.want("then not", 200, "[]", "GET", "/stacks", nil)
	heal := w.server.Fail("*", "/endpoints/*/docker/*", 0, portainer.Fault{Cut: true})
	if _, _, err := w.try(t.Context(), "GET", "/endpoints/1/docker/v1.41/containers/json", nil); err == nil {
		t.Error("the connection was not cut")
	}
	heal()
	w.want("healed", 200, "[]", "GET", "/endpoints/1/docker/v1.41/containers/json", nil)
	w.server.Fail("POST", "/stacks/create/*", 1, portainer.Fault{After: true, Cut: true})
	if _, _, err := w.try(t.Context(), "POST", "/stacks/create/standalone/string?endpointId=1", object{"name": "shop", "stackFileContent": oneText}); err == nil {
		t.Error("the answer was not lost")
	}
	w.want("the effect took place", 200, `"Name":"shop"`, "GET", "/stacks", nil)
	heal = w.server.Fail("", "/tags", 0, portainer.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := w.try(ctx, "GET", "/tags", nil); err == nil {
		t.Error("it did not hang")
	}
	heal()
	var seen []string
	for _, r := range w.server.Requests() {
		if r.Writes() || r.Status >= 500 {
			seen = append(seen, r.Method+" "+r.Path+" "+strconv.Itoa(r.Status))
		}
	}
	if diff := cmp.Diff([]string{"GET /api/stacks 503", "GET /api/stacks 503", "POST /api/stacks/create/standalone/string 0"}, seen); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestADeploymentGoesOnWithoutItsClient(t *testing.T) {
	w := start(t, nil)
	w.admin()
	w.local()
	release := w.engine.Hold("shop")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := w.try(ctx, "POST", "/stacks/create/standalone/string?endpointId=1", object{"name": "shop", "stackFileContent": oneText}); err == nil {
		t.Fatal("it did not wait")
	}
	w.runs("it waits")
	release()
	for text := ""; !strings.Contains(text, `"Name":"shop"`) && t.Context().Err() == nil; {
		_, text = w.call("GET", "/stacks", nil)
	}
	w.runs("it went on", "shop-web-1 web:1 running")
}

func TestFilesOfTheDatabaseAreSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	w := start(t, func(o *portainer.Options) { o.Data = dir })
	w.admin()
	seen, err := os.Stat(filepath.Join(dir, "portainer.json"))
	if err != nil || seen.Mode().Perm() != 0o600 {
		t.Errorf("the database: %v, %v", seen.Mode(), err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "portainer.json")); err != nil || strings.Contains(string(text), password) {
		t.Errorf("the database has the password, or cannot be read: %v", err)
	}
}
