// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// sample has all that a text may refer to.
func sample(text string) Input {
	return Input{
		Text:    []byte(text),
		Project: "blog",
		Values:  map[string]string{"TAG": "1.27", "PASSWORD": "correct-horse-battery", "EMPTY": "", "DATA": "/srv/data"},
		Owner:   "default/pve/default/blog",
	}
}

func web(lines string) string { return "services:\n  web:\n    image: nginx\n" + lines }

func TestParseRefuses(t *testing.T) {
	cases := []struct {
		reason string
		text   string
		line   int
		path   string
		why    string // part of it
		change func(*Input)
	}{
		{reason: "an empty text", text: "", why: "the text is empty"},
		{reason: "only comments", text: "# nothing\n", why: "the text is empty"},
		{reason: "a string is no stack", text: "hello", line: 1, why: "not a mapping"},
		{reason: "a list is no stack", text: "- a\n- b\n", line: 1, why: "not a mapping"},
		{reason: "broken YAML", text: web("    command: [a, b\n"), line: 4, why: "this is not YAML"},
		{reason: "tabs are not YAML", text: "services:\n\tweb:\n", line: 2, why: "this is not YAML"},
		{reason: "text that is not UTF-8", text: "services:\n  web: \xff\n", why: "not UTF-8"},
		{reason: "two stacks in one text", text: web("---\nservices: {}\n"), line: 4, why: "second document"},
		{reason: "a key twice, of which one would win silently", text: web("    image: nginx:2\n"), line: 4, path: "services.web.image", why: "stands in line 3 already"},
		{reason: "a key that is a number", text: web("    labels:\n      1: x\n"), line: 5, path: "services.web.labels", why: "put it in quotes"},
		{reason: "a key that is a boolean", text: web("    labels:\n      true: x\n"), line: 5, path: "services.web.labels", why: "put it in quotes"},
		{reason: "a key that is a list", text: web("    labels:\n      [a]: x\n"), line: 5, path: "services.web.labels", why: "must be a string"},
		{reason: "a date that compose would write otherwise", text: web("    environment:\n      DAY: 2024-01-01\n"), line: 5, path: "services.web.environment.DAY", why: "put it in quotes"},
		{reason: "infinity", text: web("    environment:\n      N: .inf\n"), line: 5, path: "services.web.environment.N", why: "put it in quotes"},
		{reason: "a tag that resets nothing", text: web("    ports: !reset []\n"), line: 4, path: "services.web.ports", why: "leave it out"},
		{reason: "a tag of another program", text: web("    command: !vault x\n"), line: 4, path: "services.web.command", why: "leave it out"},
		{reason: "an anchor without an end", text: "x-a: &a\n  b: *a\nservices: {web: {image: nginx}}\n", line: 2, path: "x-a.b", why: "stands within itself"},
		{reason: "an anchor that is not there", text: web("    labels: *nope\n"), why: "this is not YAML"},
		{reason: "a merge of no mapping", text: web("    <<: [1, 2]\n"), line: 4, path: "services.web.<<", why: "only mappings"},
		{reason: "no services", text: "volumes: {data: {}}\n", line: 1, path: "services", why: "there is none"},
		{reason: "services that are empty", text: "services:\n", line: 1, path: "services", why: "there is none"},
		{reason: "services as a list", text: "services:\n- web\n", line: 2, path: "services", why: "must be a mapping"},
		{reason: "a service that is a string", text: "services:\n  web: nginx\n", line: 2, path: "services.web", why: "must be a mapping"},
		{reason: "a service that is nothing", text: "services:\n  web:\n", line: 2, path: "services.web", why: "must be a mapping"},
		{reason: "a name with a space", text: "services:\n  my web: {image: nginx}\n", line: 2, path: "services.my web", why: "letters, digits"},
		{reason: "a mistyped top level key", text: "servces:\n  web: {image: nginx}\n", line: 1, path: "servces", why: "does not know this key"},
		{reason: "a mistyped key of a service", text: web("    port: ['80']\n"), line: 4, path: "services.web.port", why: "does not know this key"},
		{reason: "no image", text: "services:\n  web:\n    command: x\n", line: 2, path: "services.web", why: "has no image"},
		{reason: "an image with an upper case name", text: "services:\n  web:\n    image: NGINX\n", line: 3, path: "services.web.image", why: "not the name of an image"},
		{reason: "an image that a value spoils", text: "services:\n  web:\n    image: nginx:${PASSWORD}!\n", line: 3, path: "services.web.image", why: `"nginx:${PASSWORD}!"`},
		{reason: "build needs a folder", text: web("    build: .\n"), line: 4, path: "services.web.build", why: "not built here"},
		{reason: "build in a long form", text: web("    build:\n      context: /src\n"), line: 4, path: "services.web.build", why: "not built here"},
		{reason: "a relative bind mount", text: web("    volumes:\n      - ./data:/data\n"), line: 5, path: "services.web.volumes[0]", why: "not absolute"},
		{reason: "a relative bind mount above", text: web("    volumes:\n      - ../data:/data\n"), line: 5, path: "services.web.volumes[0]", why: "not absolute"},
		{reason: "a bind mount of Portainer's own home", text: web("    volumes:\n      - ~/data:/data\n"), line: 5, path: "services.web.volumes[0]", why: "not absolute"},
		{reason: "a relative bind mount in the long form", text: web("    volumes:\n      - {type: bind, source: data, target: /data}\n"), line: 5, path: "services.web.volumes[0]", why: `"data" is not absolute`},
		{reason: "a relative bind mount of a service that is off", text: web("  job:\n    image: nginx\n    profiles: [x]\n    volumes: ['./a:/b']\n"), line: 7, path: "services.job.volumes[0]", why: "not absolute"},
		{reason: "a volume that is a relative folder", text: web("volumes:\n  data:\n    driver_opts: {type: none, o: bind, device: ./data}\n"), line: 6, path: "volumes.data.driver_opts.device", why: "not absolute"},
		{reason: "a volume that is not declared", text: web("    volumes: [data:/data]\n"), line: 4, path: "services.web.volumes[0]", why: "there is no volume data"},
		{reason: "env_file, which Portainer does not have", text: web("    env_file: .env\n"), line: 4, path: "services.web.env_file", why: "environment"},
		{reason: "env_file of the server's own machine", text: web("    env_file: [/etc/environment]\n"), line: 4, path: "services.web.env_file", why: "environment"},
		{reason: "label_file", text: web("    label_file: labels\n"), line: 4, path: "services.web.label_file", why: "labels"},
		{reason: "extends of another file", text: web("    extends: {file: base.yaml, service: base}\n"), line: 4, path: "services.web.extends.file", why: "put the service in here"},
		{reason: "extends of a service that is not there", text: web("    extends: base\n"), line: 2, path: "services.web", why: `service "base" not found`},
		{reason: "extends of itself", text: web("    extends: web\n"), line: 4, path: "services.web.extends", why: "Circular"},
		{reason: "include", text: "include: [other.yaml]\n" + web(""), line: 1, path: "include", why: "put what they hold in here"},
		{reason: "a relative config file", text: web("    configs: [c]\nconfigs:\n  c:\n    file: ./nginx.conf\n"), line: 7, path: "configs.c.file", why: "configs of the DockerStack"},
		{reason: "a relative secret file", text: web("    secrets: [s]\nsecrets:\n  s:\n    file: s.txt\n"), line: 7, path: "secrets.s.file", why: "environment"},
		{reason: "a secret of the server's own environment", text: web("    secrets: [s]\nsecrets:\n  s:\n    environment: HOME\n"), line: 7, path: "secrets.s.environment", why: "the variable HOME has no value"},
		{reason: "a config of the server's own environment", text: web("    configs: [s]\nconfigs:\n  s:\n    environment: HOME\n"), line: 7, path: "configs.s.environment", why: "the variable HOME has no value"},
		{reason: "a secret of Swarm", text: web("    secrets: [s]\nsecrets:\n  s:\n    external: true\n"), line: 7, path: "secrets.s.external", why: "Swarm"},
		{reason: "a config of Swarm", text: web("    configs: [s]\nconfigs:\n  s:\n    external: true\n"), line: 7, path: "configs.s.external", why: "Swarm"},
		{reason: "a secret's driver", text: web("secrets:\n  s:\n    driver: vault\n"), line: 6, path: "secrets.s.driver", why: "Swarm"},
		{reason: "a config that is not declared", text: web("    configs: [nginx]\n"), line: 4, path: "services.web.configs[0]", why: "configs of the DockerStack"},
		{reason: "a secret that is not declared", text: web("    secrets: [s]\n"), line: 4, path: "services.web.secrets[0]", why: "there is no secret s"},
		{reason: "a network that is not declared", text: web("    networks: [back]\n"), line: 4, path: "services.web.networks", why: "there is no network back"},
		{reason: "a service that is not there", text: web("    depends_on: [db]\n"), line: 4, path: "services.web.depends_on", why: "there is no service db"},
		{reason: "a service that is off", text: web("    depends_on: [db]\n  db:\n    image: nginx\n    profiles: [x]\n"), line: 4, path: "services.web.depends_on", why: "is not started"},
		{reason: "services that wait for one another", text: web("    depends_on: [db]\n  db:\n    image: nginx\n    depends_on: [web]\n"), line: 7, path: "services.db.depends_on", why: "cycle"},
		{reason: "all services are off", text: web("    profiles: [x]\n"), line: 1, path: "services", why: "COMPOSE_PROFILES"},
		{reason: "a name that Portainer would not use", text: "name: other\n" + web(""), line: 1, path: "name", why: "the project is called blog"},
		{reason: "a variable without a value", text: web("    command: [a, b, '${NOPE}']\n"), line: 4, path: "services.web.command[2]", why: "the variable NOPE has no value"},
		{reason: "the same without braces", text: web("    hostname: $NOPE\n"), line: 4, path: "services.web.hostname", why: "the variable NOPE has no value"},
		{reason: "a default that itself has no value", text: web("    hostname: ${NOPE:-${NADA}}\n"), line: 4, path: "services.web.hostname", why: "the variable NADA has no value"},
		{reason: "a variable that must not be empty", text: web("    hostname: ${EMPTY:?give one}\n"), line: 4, path: "services.web.hostname", why: "give one"},
		{reason: "a variable without an end", text: web("    hostname: '${TAG'\n"), line: 4, path: "services.web.hostname", why: "does not end"},
		{reason: "a variable without a name", text: web("    hostname: '${}'\n"), line: 4, path: "services.web.hostname", why: "$$"},
		{reason: "a dollar of a shell", text: web("    command: echo ${PATH#/}\n"), line: 4, path: "services.web.command", why: "$$"},
		{reason: "variables within variables without end", text: web("    hostname: " + strings.Repeat("${EMPTY:-", 40) + strings.Repeat("}", 40) + "\n"), line: 4, path: "services.web.hostname", why: "deeper"},
		{reason: "environment passed on that is not there", text: web("    environment: [HOME]\n"), line: 4, path: "services.web.environment[0]", why: "the variable HOME has no value"},
		{reason: "the same as a mapping", text: web("    environment:\n      HOME:\n"), line: 5, path: "services.web.environment.HOME", why: `HOME: ""`},
		{reason: "one container name for two", text: web("    container_name: app\n  db:\n    image: nginx\n    container_name: app\n"), line: 4, path: "services.web.container_name", why: "the service db has the same"},
		{reason: "one container name for two of one service", text: web("    container_name: app\n    scale: 2\n"), line: 4, path: "services.web.container_name", why: "2 containers"},
		{reason: "a port of the machine twice", text: web("    ports: ['80:80']\n  db:\n    image: nginx\n    ports: ['80:8080']\n"), line: 4, path: "services.web.ports", why: "port 80/tcp is published by the service db"},
		{reason: "a port of the machine for two containers", text: web("    ports: ['80:80']\n    deploy: {replicas: 2}\n"), line: 4, path: "services.web.ports", why: "cannot share"},
		{reason: "a port that is none", text: web("    ports:\n      - 80a:80\n"), line: 5, path: "services.web.ports[0]", why: `"80a:80" is not a port`},
		{reason: "millions of ports", text: web("    ports: ['1-65000:1-65000']\n"), line: 4, path: "services.web.ports[0]", why: "must not exceed 1000"},
		{reason: "many ranges of ports", text: web("    ports: ['1000-1900:1-901', '2000-2900:1-901', '3000-3900:1-901']\n"), line: 1, path: "services", why: "more than 2000 ports"},
		{reason: "a number that is none", text: web("    deploy: {replicas: two}\n"), line: 4, path: "services.web.deploy.replicas", why: `"two"`},
		{reason: "a size that is none", text: web("    mem_limit: lots\n"), line: 4, path: "services.web.mem_limit", why: "invalid size"},
		{reason: "a duration that is none", text: web("    healthcheck: {test: x, interval: often}\n"), line: 4, path: "services.web.healthcheck.interval", why: "invalid duration"},
		{reason: "a health check that does not say how", text: web("    healthcheck: {test: [curl]}\n"), line: 4, path: "services.web.healthcheck.test", why: "CMD-SHELL"},
		{reason: "a restart policy that is none", text: web("    restart: sometimes\n"), line: 4, path: "services.web.restart", why: "unless-stopped"},
		{reason: "a pull policy that builds", text: web("    pull_policy: build\n"), line: 4, path: "services.web.pull_policy", why: "always, missing"},
		{reason: "a pull policy that old composes do not know", text: web("    pull_policy: daily\n"), line: 4, path: "services.web.pull_policy", why: "always, missing"},
		{reason: "a content in a container that cannot be written to", text: web("    read_only: true\n    configs: [c]\nconfigs:\n  c: {content: x}\n"), line: 5, path: "services.web.configs[0]", why: "read_only"},
		{reason: "a config without content", text: web("    configs: [c]\nconfigs:\n  c: {content: ''}\n"), line: 6, path: "configs.c.content", why: "empty"},
		{reason: "two networks in one", text: web("    network_mode: host\n    networks: [default]\n"), line: 2, path: "services.web", why: "mutually exclusive"},
		{reason: "jobs, which are too new", text: "jobs: {}\n" + web(""), line: 1, path: "jobs", why: "make a service of it"},
		{reason: "models", text: "models: {}\n" + web(""), line: 1, path: "models", why: "as a service"},
		{reason: "containers that are no services", text: web("    pre_start: [{command: x}]\n"), line: 4, path: "services.web.pre_start", why: "depends_on"},
		{reason: "a program beside compose", text: "services:\n  web:\n    provider: {type: x}\n", line: 3, path: "services.web.provider", why: "name an image"},
		{reason: "a label that is the mark", text: web("    labels:\n      phoenix-hypervisor.io/stack: mine\n"), line: 5, path: "services.web.labels.phoenix-hypervisor.io/stack", why: "Phoenix's own"},
		{reason: "the same in a list", text: web("    labels: [phoenix-hypervisor.io/stack=mine]\n"), line: 4, path: "services.web.labels", why: "Phoenix's own"},
		{reason: "a label that compose counts by", text: web("    labels:\n      com.docker.compose.project: x\n"), line: 5, path: "services.web.labels.com.docker.compose.project", why: "compose's own"},
		{reason: "labels that are a string", text: web("    labels: x\n"), line: 4, path: "services.web.labels", why: "mapping"},
		{reason: "environment of mappings", text: web("    environment: {A: {b: c}}\n"), line: 4, path: "services.web.environment.A", why: "must be"},
		{reason: "devices that are confusing", text: web("    devices: ['aa:bb:cc:dd:ee']\n"), line: 4, path: "services.web.devices[0]", why: "device mapping"},
		{reason: "a text that is too large", text: web("    command: " + strings.Repeat("a", maxText) + "\n"), why: "must not exceed"},
		{reason: "a text that is too deep", text: web("    x-a: " + strings.Repeat("[", 80) + strings.Repeat("]", 80) + "\n"), line: 4, why: "deeper than 64"},
		{reason: "billion laughs", text: laughs(12), why: "anchors in all their places"},
		{reason: "billion laughs of long lines", text: longLaughs(), why: "anchors in all their places"},
		{reason: "billion laughs that are merged", text: mergedLaughs(), why: "anchors in all their places"},
		{reason: "work without end for a few bytes", text: web("    command: '" + strings.Repeat("${EMPTY:-x}", 8000) + "'\n"), line: 4, path: "services.web.command", why: "too many variables"},

		{reason: "a project that compose would call otherwise", text: web(""), change: func(in *Input) { in.Project = "My-App" }, why: `the project "My-App"`},
		{reason: "no project", text: web(""), change: func(in *Input) { in.Project = "" }, why: "the project"},
		{reason: "a pull policy that is none", text: web(""), change: func(in *Input) { in.PullPolicy = "IfNotPresent" }, why: "always, missing or never"},
		{reason: "labels of the stack that are the mark", text: web(""), change: func(in *Input) { in.Labels = map[string]string{OwnerLabel: "x"} }, why: "Phoenix's own"},
		{reason: "a config twice", text: web("configs:\n  c: {content: x}\n"), change: config("c", "y"), line: 5, path: "configs.c.content", why: "leave one of them out"},
		{reason: "an empty config", text: web(""), change: config("c", ""), path: "configs.c", why: "empty"},
		{reason: "a config that is no text", text: web(""), change: config("c", "\xff\xfe"), path: "configs.c", why: "UTF-8"},
		{reason: "a config that is too large", text: web(""), change: config("c", strings.Repeat("a", maxConfig+1)), path: "configs.c", why: "must not exceed"},
		{reason: "configs that are a list", text: web("configs: [a]\n"), change: config("c", "x"), line: 4, path: "configs", why: "mapping"},
		{reason: "a config that is a string", text: web("configs: {c: a}\n"), change: config("c", "x"), line: 4, path: "configs.c", why: "mapping"},
	}
	if len(cases) < 40 {
		t.Fatalf("%d cases, want at least 40", len(cases))
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			in := sample(c.text)
			if c.change != nil {
				c.change(&in)
			}
			project, err := Parse(in)
			if err == nil {
				t.Fatalf("the text was taken:\n%s", project.Text)
			}
			var first *Error
			if !errors.As(err, &first) {
				t.Fatalf("%v is not an *Error", err)
			}
			if c.line != 0 && first.Line != c.line || c.path != "" && first.Path != c.path || !strings.Contains(first.Why, c.why) {
				t.Errorf("want line %d, path %q and %q, got:\n%v", c.line, c.path, c.why, err)
			}
			if strings.Contains(err.Error(), in.Values["PASSWORD"]) {
				t.Errorf("the error holds a value: %v", err)
			}
		})
	}
}

func config(name, content string) func(*Input) {
	return func(in *Input) { in.Configs = map[string][]byte{name: []byte(content)} }
}

// laughs is a text of a few hundred bytes that has ten times as many values with each level.
func laughs(levels int) string {
	var b strings.Builder
	b.WriteString("x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n")
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "x-%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String() + web("")
}

func longLaughs() string {
	var b strings.Builder
	fmt.Fprintf(&b, "x-0: &a0 %s\n", strings.Repeat("ha", 100_000))
	for i := range 40 {
		fmt.Fprintf(&b, "x-%d: *a0\n", i+1)
	}
	return b.String() + web("")
}

func mergedLaughs() string {
	var b strings.Builder
	b.WriteString("x-0: &a0 {k0: 1}\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&b, "x-%d: &a%d {<<: [*a%d, *a%d], k%d: 1}\n", i, i, i-1, i-1, i)
	}
	return b.String() + web("")
}

// TestParseErrorsAreBounded takes a text in which much is wrong.
func TestParseErrorsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := range 30 {
		fmt.Fprintf(&b, "  s%02d:\n    image: nginx\n    build: .\n", i)
	}
	_, err := Parse(sample(b.String()))
	var all interface{ Unwrap() []error }
	if !errors.As(err, &all) || len(all.Unwrap()) != 10 {
		t.Fatalf("want 10 errors, got:\n%v", err)
	}
	if first := all.Unwrap()[0].Error(); !strings.HasPrefix(first, "line 4: services.s00.build: ") {
		t.Errorf("the first error is %s", first)
	}
}

// TestParseHidesValues puts a value where compose quotes what it does not like.
func TestParseHidesValues(t *testing.T) {
	places := []string{
		"    ports: ['${PASSWORD}:80']", "    ports: ['80:${PASSWORD}']", "    stdin_open: ${PASSWORD}", "    mem_limit: ${PASSWORD}",
		"    scale: ${PASSWORD}", "    cpus: ${PASSWORD}", "    restart: ${PASSWORD}", "    pull_policy: ${PASSWORD}",
		"    volumes: ['${PASSWORD}']", "    volumes: ['a:${PASSWORD}:b:c']", "    volumes: ['${PASSWORD}:/a']", "    network_mode: service:${PASSWORD}",
		"    devices: ['a:b:c:${PASSWORD}:e']", "    extra_hosts: ['${PASSWORD}']", "    depends_on: ['${PASSWORD}']", "    configs: ['${PASSWORD}']",
		"    healthcheck: {test: a, interval: '${PASSWORD}'}", "    healthcheck: {test: ['${PASSWORD}']}", "    networks: ['${PASSWORD}']",
		"    stop_grace_period: x${PASSWORD}", "    ulimits: {nofile: '${PASSWORD}'}", "    extends: ${PASSWORD}", "    shm_size: ${PASSWORD}y",
		"    platform: ${PASSWORD}/x", "    deploy: {resources: {limits: {memory: '${PASSWORD}', cpus: '${PASSWORD}'}}}", "    blkio_config: {weight: '${PASSWORD}'}",
		"    container_name: '${PASSWORD} x'", "    environment: ['${PASSWORD} =x']", "    image: '${PASSWORD} x'",
	}
	refused := 0
	for _, place := range places {
		text := web(place + "\n")
		if strings.Contains(place, "image:") {
			text = "services:\n  web:\n" + place + "\n"
		}
		_, err := Parse(sample(text))
		if err == nil {
			continue
		}
		refused++
		for _, part := range []string{"correct", "horse", "battery"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error holds %s: %v", place, part, err)
			}
		}
	}
	if refused < 20 {
		t.Errorf("only %d of %d places were refused", refused, len(places))
	}
}
