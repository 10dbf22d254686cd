// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// engine is an engine with a registry, and a client of Docker's for it.
func engine(t *testing.T, images, registry map[string]string) (*portainer.Memory, *portainer.Registry, *client.Client) {
	t.Helper()
	r := portainer.NewRegistry(registry)
	m := portainer.NewMemory(portainer.MemoryOptions{Images: images, Registry: r})
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	c, err := client.NewClientWithOpts(client.WithHost("tcp://"+s.Listener.Addr().String()), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	return m, r, c
}

func deploy(t *testing.T, m *portainer.Memory, text string, env ...string) {
	t.Helper()
	if out, err := m.Deploy(t.Context(), portainer.Deployment{Project: "shop", Text: text, Env: env}); err != nil {
		t.Fatalf("deploy: %v\n%s", err, out)
	}
}

// services are the containers of a project: name, image, state.
func services(m *portainer.Memory) []string {
	var out []string
	for _, c := range m.Containers() {
		if c.Labels["com.docker.compose.project"] == "shop" {
			out = append(out, c.Name+" "+c.Image+" "+c.State)
		}
	}
	slices.Sort(out)
	return out
}

func TestAStrangersClientUsesTheEngine(t *testing.T) {
	m, registry, docker := engine(t, nil, map[string]string{"nginx:1.27": "one"})
	ctx := t.Context()
	body, err := docker.ImagePull(ctx, "nginx:1.27", image.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(body); !strings.Contains(string(text), "Downloaded newer image for nginx:1.27") {
		t.Errorf("pull said %s", text)
	}
	deploy(t, m, "services: {web: {image: 'nginx:1.27', ports: ['8080:80'], volumes: ['data:/data'], healthcheck: {test: [CMD, 'true']}}}\nvolumes: {data: {}}")

	list, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "com.docker.compose.project=shop"))})
	if err != nil || len(list) != 1 {
		t.Fatalf("list: %v, %v", list, err)
	}
	want := []container.Port{{IP: "0.0.0.0", PrivatePort: 80, PublicPort: 8080, Type: "tcp"}, {IP: "::", PrivatePort: 80, PublicPort: 8080, Type: "tcp"}}
	if diff := cmp.Diff(want, list[0].Ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	seen, err := docker.ContainerInspect(ctx, list[0].ID)
	if err != nil || seen.State.Health.Status != "healthy" || seen.Config.Image != "nginx:1.27" || seen.Config.Labels["com.docker.compose.service"] != "web" {
		t.Errorf("inspect: %+v, %v", seen, err)
	}
	inspected, err := docker.ImageInspect(ctx, "nginx:1.27")
	if err != nil || inspected.ID != list[0].ImageID {
		t.Errorf("image: %+v, %v", inspected, err)
	}
	digest := registry.Push("nginx:1.27", portainer.NewImage("two"))
	there, err := docker.DistributionInspect(ctx, "nginx:1.27", "")
	if err != nil || there.Descriptor.Digest.String() != digest || slices.Contains(inspected.RepoDigests, "nginx@"+digest) {
		t.Errorf("distribution: %+v, %v; the image has %v", there, err, inspected.RepoDigests)
	}
	volumes, err := docker.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "com.docker.compose.project=shop"))})
	if err != nil || len(volumes.Volumes) != 1 || volumes.Volumes[0].Name != "shop_data" {
		t.Errorf("volumes: %+v, %v", volumes, err)
	}
	if err := docker.VolumeRemove(ctx, "shop_data", false); err == nil || !strings.Contains(err.Error(), "volume is in use") {
		t.Errorf("remove a volume in use: %v", err)
	}
	if err := docker.ContainerStop(ctx, list[0].ID, container.StopOptions{}); err != nil {
		t.Error(err)
	}
	if err := docker.ContainerRemove(ctx, list[0].ID, container.RemoveOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := docker.ContainerInspect(ctx, list[0].ID); !cerrdefs.IsNotFound(err) {
		t.Errorf("inspect what is gone: %v", err)
	}
	if info, err := docker.Info(ctx); err != nil || info.DockerRootDir != "/var/lib/docker" {
		t.Errorf("info: %+v, %v", info, err)
	}
}

func TestDeployAsComposeDoes(t *testing.T) {
	const two = "services: {web: {image: 'web:1'}, db: {image: 'db:1'}}"
	for name, c := range map[string]struct {
		first, then string
		env, env2   []string
		before      func(*portainer.Memory, *portainer.Registry)
		pull        bool
		want        []string
		fails       string
		pulling     bool
		kept        bool // the container of web is the same
		reason      string
	}{
		"same text": {first: two, then: two, want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, kept: true,
			reason: "what did not change is not touched"},
		"other layout": {first: two, then: "# hello\nservices:\n  db: {image: \"db:1\"}\n  web:\n    image: web:1\n", want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, kept: true,
			reason: "the hash is of the configuration, not of the text"},
		"changed": {first: two, then: "services: {web: {image: 'web:1', environment: {A: b}}, db: {image: 'db:1'}}", want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"},
			reason: "a service that changed is made anew"},
		"removed service": {first: two, then: "services: {web: {image: 'web:1'}}", want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, kept: true,
			reason: "orphans stay"},
		"stopped by hand": {first: two, then: two, before: func(m *portainer.Memory, _ *portainer.Registry) { _ = m.Stop(context.Background(), "shop-web-1", 0) },
			want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, kept: true, reason: "what does not run is started"},
		"removed by hand": {first: two, then: two, before: func(m *portainer.Memory, _ *portainer.Registry) { _ = m.Remove("shop-web-1", true, false) },
			want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, reason: "what is missing is made"},
		"replicas": {first: "services: {web: {image: 'web:1', deploy: {replicas: 3}}}", then: "services: {web: {image: 'web:1', deploy: {replicas: 2}}}",
			want: []string{"shop-web-1 web:1 running", "shop-web-2 web:1 running"}, kept: true, reason: "the highest numbers go first, and the number is not in the hash"},
		"profile": {first: "services: {web: {image: 'web:1'}, db: {image: 'db:1', profiles: [later]}}", then: "services: {web: {image: 'web:1'}}",
			want: []string{"shop-web-1 web:1 running"}, kept: true, reason: "a profile that is not on starts nothing"},
		"tag moved": {first: two, then: two, pull: true, before: func(_ *portainer.Memory, r *portainer.Registry) { r.Push("web:1", portainer.NewImage("new")) },
			want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, reason: "a new image under the old name makes the container anew"},
		"tag moved, not pulled": {first: two, then: two, before: func(_ *portainer.Memory, r *portainer.Registry) { r.Push("web:1", portainer.NewImage("new")) },
			want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, kept: true, reason: "images that are there are not pulled"},
		"variables": {first: "services: {web: {image: 'web:${TAG}'}}", env: []string{"TAG=1"}, then: "services: {web: {image: 'web:${TAG}'}}", env2: []string{"TAG=2"},
			want: []string{"shop-web-1 web:2 running"}, reason: "variables come from stack.env"},
		"no such image": {first: two, then: "services: {web: {image: 'nobody/has:1'}, db: {image: 'db:1'}}", kept: true,
			want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, fails: "Error response from daemon: pull access denied for nobody/has, repository does not exist",
			reason: "images are pulled before anything is touched"},
		"never pulled": {first: two, then: "services: {web: {image: 'nobody/has:1', pull_policy: never}, db: {image: 'db:1', labels: [a=b]}}", kept: true,
			want: []string{"shop-db-1 db:1 created", "shop-web-1 web:1 running"}, fails: "Error response from daemon: No such image: nobody/has:1",
			reason: "what was recreated before the failure is not started"},
		"pull fails": {first: two, then: two, pull: true, before: func(_ *portainer.Memory, r *portainer.Registry) {
			r.Break("web:1", errors.New("Get \"https://registry-1.docker.io/v2/\": net/http: TLS handshake timeout"))
		}, want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, kept: true, fails: "TLS handshake timeout", pulling: true, reason: "a pull that fails leaves everything"},
		"port taken": {first: two, then: "services: {web: {image: 'web:1', ports: ['443:443']}, db: {image: 'db:1'}}",
			want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 created"}, fails: "Bind for 0.0.0.0:443 failed: port is already allocated",
			reason: "the old container is gone when the new one cannot start"},
		"broken": {first: two, then: "services: {web: {image: 'lab/broken:1'}, db: {image: 'db:1'}}",
			want: []string{"shop-db-1 db:1 running", "shop-web-1 lab/broken:1 created"}, fails: "OCI runtime create failed", reason: "an image that cannot be started"},
		"crash": {first: two, then: "services: {web: {image: 'lab/crash:1'}, db: {image: 'db:1'}}",
			want: []string{"shop-db-1 db:1 running", "shop-web-1 lab/crash:1 exited"}, reason: "compose does not wait for what ends later"},
		"crash again and again": {first: two, then: "services: {web: {image: 'lab/crash:1', restart: always}, db: {image: 'db:1'}}",
			want: []string{"shop-db-1 db:1 running", "shop-web-1 lab/crash:1 restarting"}, reason: "its policy starts it again"},
		"sick dependency": {first: two, then: "services: {web: {image: 'web:1', depends_on: {db: {condition: service_healthy}}}, db: {image: 'lab/sick:1', healthcheck: {test: [CMD, 'true']}}}",
			want: []string{"shop-db-1 lab/sick:1 running", "shop-web-1 web:1 running"}, kept: true, fails: "dependency failed to start: container shop-db-1 is unhealthy",
			reason: "depends_on is not in the hash, but it is waited for"},
		"bad yaml": {first: two, then: "services: {web: {image: ", want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, kept: true, fails: "yaml", reason: "what cannot be read changes nothing"},
		"quoted value": {first: two, then: two, env2: []string{`A="b`}, want: []string{"shop-db-1 db:1 running", "shop-web-1 web:1 running"}, kept: true, fails: "unterminated quoted value",
			reason: "stack.env is read as compose reads it: nothing in it is quoted for it"},
	} {
		t.Run(name, func(t *testing.T) {
			m, registry, _ := engine(t, map[string]string{"other:1": "other"}, map[string]string{
				"web:1": "web", "web:2": "web two", "db:1": "db", "lab/broken:1": "broken", "lab/crash:1": "crash", "lab/sick:1": "sick",
			})
			if _, _, err := m.Run(t.Context(), portainer.Spec{Name: "other", Image: "other:1", Ports: []portainer.Port{{Published: 443, Target: 443}}}); err != nil {
				t.Fatal(err)
			}
			deploy(t, m, c.first, c.env...)
			web, err := m.Container("shop-web-1")
			if err != nil {
				t.Fatal(err)
			}
			if c.before != nil {
				c.before(m, registry)
			}
			out, err := m.Deploy(t.Context(), portainer.Deployment{Project: "shop", Text: c.then, Env: c.env2, Pull: c.pull})
			var failed *portainer.ComposeError
			if errors.As(err, &failed) != (c.fails != "") || failed != nil && (!strings.Contains(failed.Output, c.fails) || failed.Pulling != c.pulling) {
				t.Errorf("%s: deploy: %v\n%s", c.reason, err, out)
			}
			if diff := cmp.Diff(c.want, services(m)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			now, err := m.Container("shop-web-1")
			if err != nil || (now.ID == web.ID) != c.kept {
				t.Errorf("%s: web was %s, and is %s (%v)", c.reason, web.ID, now.ID, err)
			}
		})
	}
}

func TestDownLeavesVolumes(t *testing.T) {
	m, _, _ := engine(t, map[string]string{"web:1": "web"}, nil)
	deploy(t, m, "services: {web: {image: 'web:1', volumes: ['data:/data']}}\nvolumes: {data: {}}")
	if err := m.Down(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if left := services(m); len(left) > 0 {
		t.Errorf("containers %v are left", left)
	}
	if slices.ContainsFunc(m.Networks(), func(n portainer.Network) bool { return n.Name == "shop_default" }) {
		t.Error("the network is left")
	}
	if volumes := m.Volumes(); len(volumes) != 1 || volumes[0].Name != "shop_data" {
		t.Errorf("volumes: %v", volumes)
	}
	if err := m.Down(t.Context(), "shop"); err != nil {
		t.Errorf("down of nothing: %v", err)
	}
}

func TestConfigsAndStackEnv(t *testing.T) {
	m, _, _ := engine(t, map[string]string{"web:1": "web"}, nil)
	const text = "services: {web: {image: 'web:1', env_file: [stack.env], environment: {B: '${A}', C: null, D: null}, configs: [{source: c, target: /etc/c}]}}\nconfigs: {c: {content: 'a $$ ${A}'}}"
	deploy(t, m, text, "A=one # two", "C=c")
	c, err := m.Container("shop-web-1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A=one", "B=one", "C=c"}, c.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"/etc/c": "a $ one"}, c.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestNoFileOfThisComputer has compose texts name a file that is there: an engine in memory does not see it.
func TestNoFileOfThisComputer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte("services: {web: {image: from-the-disk}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"include": "include: [" + file + "]\nservices: {api: {image: api}}",
		"extends": "services: {api: {extends: {file: " + file + ", service: web}}}",
	} {
		t.Run(name, func(t *testing.T) {
			m := portainer.NewMemory(portainer.MemoryOptions{Images: map[string]string{"from-the-disk": "", "api": ""}})
			_, err := m.Deploy(t.Context(), portainer.Deployment{Project: "shop", Text: text})
			if err == nil || !strings.Contains(err.Error(), "no such file or directory") || len(m.Containers()) > 0 {
				t.Errorf("it read the file: %v, %d containers", err, len(m.Containers()))
			}
		})
	}
}
