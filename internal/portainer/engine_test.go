// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// docked is a site with the engine behind its environment.
func docked(t *testing.T) (*fake, *engine, *Engine) {
	t.Helper()
	f, c, env := site(t)
	e, err := c.Engine(env)
	succeeds(t, "engine", err)
	return f, f.engines["tcp://10.0.0.102:9001"], e
}

func labels(project, service, number string) map[string]string {
	return map[string]string{labelProject: project, labelService: service, labelNumber: number, labelOneOff: "False", labelHash: "c0ffee"}
}

func TestContainers(t *testing.T) {
	f, docker, e := docked(t)
	once := labels("web", "job", "1")
	once[labelOneOff] = "True"
	odd := labels("web", "app", "many")
	docker.containers = []map[string]any{
		{"Id": "c3", "Image": "lab/app:1", "ImageID": "sha256:a", "State": "exited", "Status": "Exited (137) 3 days ago", "Labels": labels("web", "db", "1"), "Created": 1700000000},
		{"Id": "c2", "Image": "lab/app:1", "ImageID": "sha256:a", "State": "running", "Status": "Up 2 seconds (health: starting)", "Labels": labels("web", "app", "2"), "Ports": []map[string]any{
			{"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}, {"PrivatePort": 53, "Type": "udp"}, {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
		}},
		{"Id": "c1", "Image": "sha256:b", "ImageID": "sha256:b", "State": "running", "Status": "Up 5 minutes (healthy)", "Labels": labels("web", "app", "1")},
		{"Id": "c4", "State": "running", "Status": "Up 5 minutes (unhealthy)", "Labels": labels("api", "app", "1")},
		{"Id": "c5", "State": "running", "Status": "Up 2 hours (Paused)", "Labels": odd},
		{"Id": "c6", "State": "restarting", "Status": "Restarting (1) 4 seconds ago", "Labels": once},
		{"Id": "c7", "State": "running", "Status": "Up 2 hours", "Labels": map[string]string{"other": "x"}},
		{"Id": "c8", "State": "running", "Status": "Up 2 hours", "Labels": labels("", "x", "1")},
	}
	got, err := e.Containers(t.Context())
	succeeds(t, "list", err)
	want := []Container{
		{ID: "c4", Project: "api", Service: "app", Number: 1, State: "running", Health: "unhealthy"},
		{ID: "c5", Project: "web", Service: "app", State: "running"},
		{ID: "c1", Project: "web", Service: "app", Number: 1, Image: "sha256:b", ImageID: "sha256:b", State: "running", Health: "healthy"},
		{ID: "c2", Project: "web", Service: "app", Number: 2, Image: "lab/app:1", ImageID: "sha256:a", State: "running", Health: "starting", Ports: []Port{
			{Target: 53, Protocol: "udp"}, {Address: "0.0.0.0", Target: 80, Published: 8080, Protocol: "tcp"}, {Address: "::", Target: 80, Published: 8080, Protocol: "tcp"},
		}},
		{ID: "c3", Project: "web", Service: "db", Number: 1, Image: "lab/app:1", ImageID: "sha256:a", State: "exited", ExitCode: 137, Created: time.Unix(1700000000, 0)},
		{ID: "c6", Project: "web", Service: "job", Number: 1, State: "restarting", ExitCode: 1, OneOff: true},
	}
	for i := range got {
		if got[i].ConfigHash != "c0ffee" || got[i].Labels[labelProject] != got[i].Project {
			t.Errorf("labels of %s: %v", got[i].ID, got[i].Labels)
		}
		got[i].Labels, got[i].ConfigHash = nil, ""
		if got[i].Created.Unix() == 0 {
			got[i].Created = time.Time{}
		}
	}
	wants(t, "all of compose, stopped ones too, sorted", got, want)

	f.said()
	_, err = e.Containers(t.Context())
	succeeds(t, "again", err)
	wants(t, "one request, as the version is known", len(f.said()), 1)
}

func TestWordsOfStatus(t *testing.T) {
	for _, tc := range []struct {
		status, health string
		code           int
	}{
		{"Created", "", 0}, {"Dead", "", 0}, {"", "", 0}, {"Removal In Progress", "", 0}, {"Exited (0) 1 second ago", "", 0},
		{"Exited (-1) 1 second ago", "", -1}, {"Exited (99999999999999999999) now", "", 0}, {"Up About a minute (healthy)", "healthy", 0},
		{"Up 3 days (health: unhealthy)", "unhealthy", 0}, {"Exited (1) 2 hours ago (healthy)", "", 1},
	} {
		wants(t, tc.status, health(tc.status), tc.health)
		wants(t, tc.status, exitCode(tc.status), tc.code)
	}
}

func TestVersionOfTheEngine(t *testing.T) {
	for _, tc := range []struct{ reason, min, max, want string }{
		{"Debian 12 has 20.10", "1.12", "1.41", "1.41"},
		{"an engine that is newer than the library", "1.44", "1.99", "1.51"},
		{"one that has dropped 1.41", "1.44", "1.48", "1.48"},
	} {
		f, docker, e := docked(t)
		docker.min, docker.max = tc.min, tc.max
		_, err := e.Containers(t.Context())
		succeeds(t, tc.reason, err)
		wants(t, tc.reason, docker.requests, []string{"GET /_ping", "GET /v" + tc.want + "/containers/json"})
		other, err := f.connect().With("ptr_firstkey").Engine(e.environment)
		succeeds(t, "another server", err)
		succeeds(t, "another server asks for itself", other.Ping(t.Context()))
	}
}

func TestEngineIsReplaced(t *testing.T) {
	_, docker, e := docked(t)
	_, err := e.Containers(t.Context())
	succeeds(t, "20.10", err)
	docker.min, docker.max = "1.44", "1.51"
	_, err = e.Containers(t.Context())
	succeeds(t, "an upgrade under our feet", err)
	docker.min, docker.max = "1.12", "1.41"
	succeeds(t, "and back", func() error { _, err := e.Images(t.Context()); return err }())
	docker.min, docker.max = "1.42", "1.41" // nobody can speak to it
	_, err = e.Containers(t.Context())
	fails(t, "it ends", err, Invalid, "client version")
}

func TestRemove(t *testing.T) {
	_, docker, e := docked(t)
	ctx := t.Context()
	docker.containers = []map[string]any{{"Id": "c1", "State": "running"}, {"Id": "c2", "State": "exited"}}
	succeeds(t, "one that runs", e.Remove(ctx, "c1"))
	wants(t, "it was stopped first", docker.stopped, []string{"c1"})
	succeeds(t, "304 for one that is stopped", e.Remove(ctx, "c2"))
	wants(t, "both are gone", len(docker.containers), 0)
	fails(t, "gone", e.Remove(ctx, "c1"), NotFound, "No such container")
	docker.requests = nil
	for _, id := range []string{"", "../c1", "a/b", "c1?v=1", "..", "c1%2f"} {
		fails(t, "no ID: "+id, e.Remove(ctx, id), Invalid)
		fails(t, "no name: "+id, e.RemoveVolume(ctx, id), Invalid)
	}
	wants(t, "nothing is sent", len(docker.requests), 0)
}

func TestStop(t *testing.T) {
	_, docker, e := docked(t)
	ctx := t.Context()
	docker.containers = []map[string]any{{"Id": "c1", "State": "running"}, {"Id": "c2", "State": "exited"}}
	succeeds(t, "one that runs", e.Stop(ctx, "c1"))
	succeeds(t, "304 for one that is stopped", e.Stop(ctx, "c2"))
	wants(t, "they were stopped", docker.stopped, []string{"c1"})
	wants(t, "both are there", len(docker.containers), 2)
	fails(t, "gone", e.Stop(ctx, "c3"), NotFound, "No such container")
	docker.requests = nil
	fails(t, "no ID", e.Stop(ctx, "../c1"), Invalid)
	wants(t, "nothing is sent", len(docker.requests), 0)
}

func TestImages(t *testing.T) {
	_, docker, e := docked(t)
	ctx := t.Context()
	docker.images = []map[string]any{
		{"Id": "sha256:b", "RepoTags": []string{"<none>:<none>"}, "RepoDigests": []string{"<none>@<none>"}},
		{"Id": "sha256:a", "RepoTags": []string{"lab/hello:1"}, "RepoDigests": []string{"lab/hello@sha256:d"}},
	}
	info, found, err := e.Image(ctx, "lab/hello:1")
	succeeds(t, "there", err)
	wants(t, "there", found, true)
	wants(t, "there", info, ImageInfo{ID: "sha256:a", Names: []string{"lab/hello:1"}, Digests: []string{"lab/hello@sha256:d"}})
	_, found, err = e.Image(ctx, "lab/hello:2")
	succeeds(t, "404 of the engine", err)
	wants(t, "404 of the engine", found, false)
	all, err := e.Images(ctx)
	succeeds(t, "list", err)
	wants(t, "sorted, without what 20.10 says of no name", all, []ImageInfo{
		{ID: "sha256:a", Names: []string{"lab/hello:1"}, Digests: []string{"lab/hello@sha256:d"}}, {ID: "sha256:b", Names: []string{}, Digests: []string{}},
	})
	docker.requests = nil
	for _, ref := range []string{"", "../x", "a b", "x:tag:tag"} {
		_, _, err := e.Image(ctx, ref)
		fails(t, "no reference: "+ref, err, Invalid)
		fails(t, "no reference: "+ref, e.Pull(ctx, ref), Invalid)
	}
	wants(t, "nothing is sent", len(docker.requests), 0)
}

func TestPull(t *testing.T) {
	_, docker, e := docked(t)
	ctx := t.Context()
	docker.registry["hello:1"] = "sha256:1"
	succeeds(t, "there", e.Pull(ctx, "hello:1"))
	_, found, err := e.Image(ctx, "hello:1")
	succeeds(t, "look", err)
	wants(t, "pulled", found, true)
	fails(t, "an error within a 200", e.Pull(ctx, "missing:1"), Failed, "manifest unknown")
	fails(t, "refused by the registry", e.Pull(ctx, "private/x:1"), NotFound, "pull access denied")
	fails(t, "a registry that is away is not Portainer being away", e.Pull(ctx, "offline/x:1"), Failed, "connection refused")
}

func TestVolumes(t *testing.T) {
	_, docker, e := docked(t)
	ctx := t.Context()
	docker.volumes = []map[string]any{
		{"Name": "web_log", "Labels": map[string]string{labelProject: "web", labelVolume: "log"}},
		{"Name": "web_data", "Labels": map[string]string{labelProject: "web", labelVolume: "data"}},
		{"Name": "api_data", "Labels": map[string]string{labelProject: "api", labelVolume: "data"}},
		{"Name": "hand", "Labels": nil},
	}
	docker.uses["web_data"] = true
	got, err := e.Volumes(ctx, "web")
	succeeds(t, "list", err)
	wants(t, "the project's", got, []Volume{{"web_data", "data"}, {"web_log", "log"}})
	_, err = e.Volumes(ctx, "")
	fails(t, "no project would be all projects", err, Invalid)
	fails(t, "in use", e.RemoveVolume(ctx, "web_data"), Conflict, "in use")
	succeeds(t, "not in use", e.RemoveVolume(ctx, "web_log"))
	fails(t, "gone", e.RemoveVolume(ctx, "web_log"), NotFound)
}

func TestEngineOfNoEnvironment(t *testing.T) {
	f, c, env := site(t)
	_, err := c.Engine(0)
	fails(t, "no ID", err, Invalid)
	e, err := c.Engine(env + 1)
	succeeds(t, "nothing is asked yet", err)
	fails(t, "ping", e.Ping(t.Context()), NotFound)
	_, err = e.Containers(t.Context())
	fails(t, "an environment that is gone has no empty list", err, NotFound)
	_, found, err := e.Image(t.Context(), "lab/hello:1")
	fails(t, "nor does it lack an image", err, NotFound)
	wants(t, "not found is an answer only of an engine", found, false)

	there, err := c.Engine(env)
	succeeds(t, "engine", err)
	delete(f.engines, "tcp://10.0.0.102:9001")
	fails(t, "its agent is away: 502 without a word", there.Ping(t.Context()), Away)
	_, err = there.Containers(t.Context())
	fails(t, "its agent is away", err, Away)
	f.envs[env] = fakeEnv{Name: "local", URL: "unix:///x", Type: 1}
	fails(t, "its socket is away", there.Ping(t.Context()), Away, "Docker socket")
	requests := f.said()
	if n := len(slices.DeleteFunc(requests, func(r string) bool { return !strings.HasSuffix(r, "/_ping") })); n == 0 {
		t.Error("no ping was sent")
	}
}
