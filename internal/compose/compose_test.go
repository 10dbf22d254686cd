// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestParseGolden holds the text that is sent, byte by byte.
func TestParseGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/blog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		reason string
		golden string
		change func(*Input)
	}{
		{reason: "all that can be added is in the text, and no value is", golden: "full.golden", change: func(in *Input) {
			in.Labels = map[string]string{"tier": "all", "price": "5$ or ${LESS}"}
			in.PullPolicy = PullAlways
		}},
		{reason: "without labels and policy the text keeps its own", golden: "plain.golden", change: func(in *Input) { in.Owner = "" }},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			in := blog(text)
			c.change(&in)
			got, err := Parse(in)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", c.golden)
			if *update {
				if err := os.WriteFile(path, []byte(got.Text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.Text); diff != "" {
				t.Errorf("the text differs (-want +got):\n%s", diff)
			}
			if strings.Contains(got.Text, in.Values["PASSWORD"]) {
				t.Errorf("the text holds a value:\n%s", got.Text)
			}
		})
	}
}

func blog(text []byte) Input {
	in := sample(string(text))
	in.Configs = map[string][]byte{"nginx-conf": []byte("server {\n\tlisten 80;\n\tset $who \"$host\";\n}\n")}
	return in
}

// TestParseModel says what a text asks for.
func TestParseModel(t *testing.T) {
	text, err := os.ReadFile("testdata/blog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(blog(text))
	if err != nil {
		t.Fatal(err)
	}
	const app = "registry.lan/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	want := &Project{
		Services: []Service{
			{Name: "app", Image: app, PullPolicy: PullMissing, Containers: 3, Healthcheck: true},
			{Name: "db", Image: "postgres:16", PullPolicy: PullMissing, Containers: 1, OneShot: true},
			{Name: "front", Image: "registry.lan/front:1.27", PullPolicy: PullMissing, Containers: 1, Ports: []Port{
				{Target: 80, Published: 8080, Protocol: "tcp"},
				{Target: 443, Published: 8443, Protocol: "tcp"},
				{Address: "127.0.0.1", Target: 9000, Published: 9000, Through: 9002, Protocol: "udp"},
			}},
			{Name: "migrate", Image: app, PullPolicy: PullMissing, Healthcheck: true},
		},
		Volumes: []Volume{{Short: "data", Name: "blog_data"}, {Short: "old", Name: "old-data", External: true}},
		Images: []Image{{Name: "postgres:16", PullPolicy: PullMissing}, {Name: app, PullPolicy: PullMissing},
			{Name: "registry.lan/front:1.27", PullPolicy: PullMissing}},
		Variables: []string{"BUFFERS", "PASSWORD", "TAG"},
	}
	got.Text = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the project differs (-want +got):\n%s", diff)
	}
}

func TestParseServices(t *testing.T) {
	cases := []struct {
		reason string
		lines  string
		want   Service
		change func(*Input)
	}{
		{reason: "nothing is said: one container, which may end", want: Service{Containers: 1, OneShot: true}},
		{reason: "a restart policy keeps it running", lines: "    restart: always\n", want: Service{Containers: 1}},
		{reason: "on-failure leaves an exit with 0 alone", lines: "    restart: on-failure:3\n", want: Service{Containers: 1, OneShot: true}},
		{reason: "deploy decides over restart, as compose has it", lines: "    restart: always\n    deploy: {restart_policy: {condition: none}}\n", want: Service{Containers: 1, OneShot: true}},
		{reason: "deploy keeps it running", lines: "    deploy: {restart_policy: {condition: any}}\n", want: Service{Containers: 1}},
		{reason: "no replicas", lines: "    deploy: {replicas: 0}\n", want: Service{OneShot: true}},
		{reason: "the older way to say how many", lines: "    scale: 2\n", want: Service{Containers: 2, OneShot: true}},
		{reason: "how many may be a value", lines: "    scale: ${N}\n", change: value("N", "4"), want: Service{Containers: 4, OneShot: true}},
		{reason: "a profile that is on", lines: "    profiles: [a, b]\n", change: value("COMPOSE_PROFILES", "x, b"), want: Service{Containers: 1, OneShot: true}},
		{reason: "all profiles are on", lines: "    profiles: [a]\n", change: value("COMPOSE_PROFILES", "*"), want: Service{Containers: 1, OneShot: true}},
		{reason: "a health check", lines: "    healthcheck: {test: curl localhost}\n", want: Service{Containers: 1, Healthcheck: true}},
		{reason: "a health check that is switched off", lines: "    healthcheck: {disable: true}\n", want: Service{Containers: 1, OneShot: true}},
		{reason: "the same in other words", lines: "    healthcheck: {test: [NONE]}\n", want: Service{Containers: 1, OneShot: true}},
		{reason: "a health check's times alone say nothing of a test", lines: "    healthcheck: {interval: 5s}\n", want: Service{Containers: 1, OneShot: true}},
		{reason: "a port of the engine's choice", lines: "    ports: [80]\n", want: Service{Containers: 1, Ports: []Port{{Target: 80, Protocol: "tcp"}}}},
		{reason: "ranges of one size go together", lines: "    ports: ['8000-8001:80-81']\n", want: Service{Containers: 1,
			Ports: []Port{{Target: 80, Published: 8000, Protocol: "tcp"}, {Target: 81, Published: 8001, Protocol: "tcp"}}}},
		{reason: "a range for several containers", lines: "    ports: ['8000-8002:80']\n    scale: 3\n", want: Service{Containers: 3,
			Ports: []Port{{Target: 80, Published: 8000, Through: 8002, Protocol: "tcp"}}}},
		{reason: "all addresses need no name", lines: "    ports: ['0.0.0.0:53:53/udp']\n", want: Service{Containers: 1, Ports: []Port{{Target: 53, Published: 53, Protocol: "udp"}}}},
		{reason: "an address of version 6", lines: "    ports: ['[::1]:80:80']\n", want: Service{Containers: 1, Ports: []Port{{Address: "::1", Target: 80, Published: 80, Protocol: "tcp"}}}},
		{reason: "a port may be a value", lines: "    ports: ['${N}:80']\n", change: value("N", "8080"), want: Service{Containers: 1, Ports: []Port{{Target: 80, Published: 8080, Protocol: "tcp"}}}},
		{reason: "the machine's own network publishes nothing", lines: "    network_mode: host\n    ports: ['80:80']\n", want: Service{Containers: 1}},
		{reason: "the service's pull policy", lines: "    pull_policy: never\n", want: Service{Containers: 1, OneShot: true, PullPolicy: PullNever}},
		{reason: "the stack's pull policy comes first", lines: "    pull_policy: never\n", change: func(in *Input) { in.PullPolicy = PullAlways }, want: Service{Containers: 1, OneShot: true, PullPolicy: PullAlways}},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			in := sample(web(c.lines))
			if c.change != nil {
				c.change(&in)
			}
			got, err := Parse(in)
			if err != nil {
				t.Fatal(err)
			}
			c.want.Name, c.want.Image = "web", "nginx"
			if c.want.PullPolicy == "" {
				c.want.PullPolicy = PullMissing
			}
			if diff := cmp.Diff([]Service{c.want}, got.Services); diff != "" {
				t.Errorf("the service differs (-want +got):\n%s", diff)
			}
		})
	}
}

func value(name, content string) func(*Input) {
	return func(in *Input) { in.Values[name] = content }
}

// TestParseTakes holds texts that look as if they could not work.
func TestParseTakes(t *testing.T) {
	cases := []struct {
		reason    string
		text      string
		change    func(*Input)
		variables []string
		contains  string
	}{
		{reason: "a variable that need not be set", text: web("    hostname: ${NOPE:+x}\n"), variables: []string{"NOPE"}},
		{reason: "a default that is not taken needs no value", text: web("    hostname: ${TAG:-${NOPE}}\n"), variables: []string{"NOPE", "TAG"}},
		{reason: "a default that is empty", text: web("    hostname: a${NOPE-}\n"), variables: []string{"NOPE"}},
		{reason: "a value that is empty is a value", text: web("    hostname: a${EMPTY}\n"), variables: []string{"EMPTY"}},
		{reason: "dollars for a shell", text: web("    command: echo $$HOME $${X} $1 $(id) $\n"), contains: "$$HOME $${X} $1 $(id) $"},
		{reason: "compose knows its project", text: web("    hostname: ${COMPOSE_PROJECT_NAME}\n")},
		{reason: "the name that it has anyway", text: "name: ${N}\n" + web(""), change: value("N", "blog"), variables: []string{"N"}},
		{reason: "the last dollar of a value", text: web("    hostname: a\n"), change: value("N", "$"), variables: nil},
		{reason: "a folder by a value", text: web("    volumes: ['${DATA}/x:/x']\n"), variables: []string{"DATA"}},
		{reason: "a file of the machine as a config", text: web("    configs: [c]\nconfigs: {c: {file: /etc/hosts}}\n")},
		{reason: "a secret of a value", text: web("    secrets: [c]\nsecrets: {c: {environment: PASSWORD}}\n"), variables: []string{"PASSWORD"}, contains: FilesLabel},
		{reason: "environment that is passed on", text: web("    environment: [PASSWORD]\n"), variables: []string{"PASSWORD"}},
		{reason: "a config that the text leaves open", text: web("    configs: [{source: c, target: /c}]\nconfigs: {c: {}}\n"), change: config("c", "a$b\n"), contains: "a$$b"},
		{reason: "a config that nothing uses", text: web(""), change: config("c", "x"), contains: "content: x"},
		{reason: "white space at ends within a config stays", text: web(""), change: config("c", "a  \n\tb\n\n"), contains: `"a  \n\tb\n\n"`},
		{reason: "line ends of Windows within a config stay", text: web(""), change: config("c", "a\r\nb\r\n"), contains: `"a\r\nb\r\n"`},
		{reason: "a config that begins with white space stays so", text: web(""), change: config("c", "\n  a\n"), contains: `"\n  a\n"`},
		{reason: "characters that YAML cannot show", text: web(""), change: config("c", "a\x00b\u2028\ufeff"), contains: `\0`},
		{reason: "label values are no variables", text: web(""), change: func(in *Input) { in.Labels = map[string]string{"a": "${X}"} }, contains: `a: "$${X}"`},
		{reason: "an extension may hold what it likes", text: web("    x-foo: {build: ., a: [1, 2.5, true, null]}\n"), contains: "2.5"},
		{reason: "the engine is asked for volumes of other drivers", text: web("volumes: {d: {driver_opts: {type: nfs, o: 'addr=10.0.0.13,rw', device: ':/export'}}}\n")},
		{reason: "a value that looks like a boolean stays a string", text: web("    environment: {A: 'yes', B: \"off\", C: '~'}\n"), contains: `A: "yes"`},
		{reason: "a number stays the number that it is", text: web("    environment: {A: 0x1F, B: 1.10, C: 007}\n"), contains: "B: 1.10"},
		{reason: "names with dots", text: "services:\n  a.b: {image: nginx, depends_on: [a.b.c]}\n  a.b.c: {image: nginx}\n"},
		{reason: "two machines' addresses for one port", text: web("    ports: ['127.0.0.1:80:80', '10.0.0.1:80:80', '80:80/udp']\n")},
		{reason: "one port, of which one service is off", text: web("    ports: ['80:80']\n  b: {image: nginx, ports: ['80:80'], profiles: [x]}\n")},
		{reason: "a merge key in quotes is a key", text: web("    labels: {'<<': x}\n"), contains: `"<<": x`},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			in := sample(c.text)
			if c.change != nil {
				c.change(&in)
			}
			got, err := Parse(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.variables, got.Variables); diff != "" {
				t.Errorf("the variables differ (-want +got):\n%s", diff)
			}
			if !strings.Contains(got.Text, c.contains) {
				t.Errorf("want %q in\n%s", c.contains, got.Text)
			}
		})
	}
}

// TestParseText says which changes of the Input change the text that is sent, and which do not.
func TestParseText(t *testing.T) {
	base := web("    environment: {A: x, B: $TAG}\n    configs: [c]\n  other:\n    image: busybox\n")
	cases := []struct {
		reason string
		text   string
		same   bool
		change func(*Input)
	}{
		{reason: "nothing", text: base, same: true},
		{reason: "line ends of Windows", text: strings.ReplaceAll(base, "\n", "\r\n"), same: true},
		{reason: "white space at line ends", text: strings.ReplaceAll(base, "\n", "  \n"), same: true},
		{reason: "empty lines at the end", text: base + "\n\n", same: true},
		{reason: "a byte order mark", text: "\ufeff" + base, same: true},
		{reason: "comments", text: "# a\n" + strings.ReplaceAll(base, "busybox\n", "busybox # b\n"), same: true},
		{reason: "the order of keys", text: "services:\n  other: {image: busybox}\n  web:\n    configs: [c]\n    environment: {B: $TAG, A: x}\n    image: nginx\n", same: true},
		{reason: "quotes", text: strings.ReplaceAll(base, "busybox", `"busybox"`), same: true},
		{reason: "the line about the version", text: "version: '3'\n" + base, same: true},
		{reason: "a value, which stays outside", text: base, same: true, change: value("TAG", "2")},
		{reason: "the order of a list", text: strings.ReplaceAll(base, "[c]", "[c, d]"), change: config("d", "x")},
		{reason: "another image", text: strings.ReplaceAll(base, "busybox", "busybox:2")},
		{reason: "a string in place of a number", text: strings.ReplaceAll(base, "A: x", "A: 1")},
		{reason: "the content of a config, which compose would not notice", text: base, change: config("c", "other")},
		{reason: "another owner", text: base, change: func(in *Input) { in.Owner = "x" }},
		{reason: "a label", text: base, change: func(in *Input) { in.Labels = map[string]string{"a": "b"} }},
		{reason: "a pull policy", text: base, change: func(in *Input) { in.PullPolicy = PullNever }},
	}
	parse := func(t *testing.T, text string, change func(*Input)) string {
		in := sample(text)
		config("c", "content")(&in)
		if change != nil {
			content := in.Configs
			change(&in)
			for name, c := range content {
				if in.Configs[name] == nil {
					in.Configs[name] = c
				}
			}
		}
		got, err := Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		return got.Text
	}
	want := parse(t, base, nil)
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			got := parse(t, c.text, c.change)
			if (got == want) != c.same {
				t.Errorf("same text: %v, want %v:\n%s", got == want, c.same, got)
			}
			if Same(got, want) != c.same {
				t.Errorf("Same is %v, want %v", Same(got, want), c.same)
			}
		})
	}
}

// TestParseFilesLabel makes sure that compose makes a container anew when what it is given as a file changes.
func TestParseFilesLabel(t *testing.T) {
	text := "services:\n  a: {image: nginx, secrets: [s]}\n  b: {extends: a, configs: [{source: c}]}\n  d: {image: nginx}\nsecrets: {s: {environment: PASSWORD}}\nconfigs: {c: {content: 'x ${TAG}'}}\n"
	labels := func(change func(*Input)) []string {
		in := sample(text)
		if change != nil {
			change(&in)
		}
		got, err := Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for line := range strings.Lines(got.Text) {
			if _, hash, ok := strings.Cut(line, FilesLabel+": "); ok {
				found = append(found, strings.TrimSpace(hash))
			}
		}
		if len(found) != 2 {
			t.Fatalf("want labels of a and b, got %v in\n%s", found, got.Text)
		}
		return found
	}
	before, secret, tag := labels(nil), labels(value("PASSWORD", "x")), labels(value("TAG", "x"))
	if before[0] == secret[0] || before[1] == secret[1] {
		t.Errorf("another secret: %v, before %v", secret, before)
	}
	if before[0] != tag[0] || before[1] == tag[1] {
		t.Errorf("another value in the config of b alone: %v, before %v", tag, before)
	}
}

func TestSame(t *testing.T) {
	cases := []struct {
		reason string
		a, b   string
		want   bool
	}{
		{reason: "one text", a: web(""), b: web(""), want: true},
		{reason: "Portainer hands out what it was given, with other line ends", a: web(""), b: strings.ReplaceAll(web(""), "\n", "\r\n"), want: true},
		{reason: "an anchor is what stands at it", a: "a: &x {b: c}\nd: *x\n", b: "a: {b: c}\nd: {b: c}\n", want: true},
		{reason: "a number is not a string", a: "a: 1", b: "a: '1'"},
		{reason: "nothing is nothing", a: "a: ~", b: "a:", want: true},
		{reason: "nothing is not an empty string", a: "a:", b: "a: ''"},
		{reason: "a list has an order", a: "a: [1, 2]", b: "a: [2, 1]"},
		{reason: "white space within a value is a value", a: "a: |\n  b  \n", b: "a: |\n  b\n"},
		{reason: "a key more", a: "a: 1", b: "a: 1\nb: 2"},
		{reason: "texts that are broken alike", a: "a: [\n", b: "a: [  \r\n", want: true},
		{reason: "texts that are broken otherwise", a: "a: [\n", b: "a: {\n"},
		{reason: "one that is broken", a: "a: [\n", b: "a: 1\n"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			if got := Same(c.a, c.b); got != c.want {
				t.Errorf("Same is %v, want %v", got, c.want)
			}
			if got := Same(c.b, c.a); got != c.want {
				t.Errorf("the other way round it is %v, want %v", got, c.want)
			}
		})
	}
}

func TestNormalise(t *testing.T) {
	cases := []struct{ reason, name, want string }{
		{"upper case", "My-App", "my-app"},
		{"what it takes", "a_b-1", "a_b-1"},
		{"white space and dots are left out", "my app.v2", "myappv2"},
		{"it begins with a letter or digit", "_-x", "x"},
		{"nothing is left", "…", ""},
		{"letters of other alphabets are left out", "straße", "strae"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			if got := Normalise(c.name); got != c.want {
				t.Errorf("%q becomes %q, want %q", c.name, got, c.want)
			}
		})
	}
}

// TestParseReadsNothing lays out what compose would read beside a text, and in the environment. The files are pipes without
// a writer: who opened one would wait for ever.
func TestParseReadsNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	for _, name := range []string{".env", "stack.env", "compose.yaml", "docker-compose.yaml", "base.yaml", "labels", "secret", "cred"} {
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"CANARY", "TAG", "COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME", "COMPOSE_ENV_FILES"} {
		t.Setenv(name, "canary")
	}
	texts := []string{
		web("    environment: {A: ${CANARY:-none}}\n"), web("    environment: {A: $CANARY}\n"), web("    environment: [CANARY]\n"),
		web("    environment:\n      CANARY:\n"), web("    hostname: ${COMPOSE_PROJECT_NAME}\n"), web("    profiles: [canary]\n"),
		web("    env_file: .env\n"), web("    env_file: [{path: stack.env, required: false}]\n"), web("    env_file: " + dir + "/.env\n"),
		web("    label_file: labels\n"), web("    label_file: [" + dir + "/labels]\n"),
		web("    extends: {file: base.yaml, service: a}\n"), web("    extends: {file: " + dir + "/base.yaml, service: a}\n"),
		"include: [base.yaml]\n" + web(""), "include: [{path: " + dir + "/base.yaml, env_file: .env}]\n" + web(""),
		web("    secrets: [s]\nsecrets: {s: {file: secret}}\n"), web("    secrets: [s]\nsecrets: {s: {file: " + dir + "/secret}}\n"),
		web("    secrets: [s]\nsecrets: {s: {environment: CANARY}}\n"), web("    configs: [s]\nconfigs: {s: {file: " + dir + "/secret}}\n"),
		web("    configs: [s]\nconfigs: {s: {environment: CANARY}}\n"), web("    build: .\n"), web("    credential_spec: {file: cred}\n"),
		web("    volumes: ['~/secret:/s']\n"), web("    volumes: ['./secret:/s']\n"), web("    develop: {watch: [{path: ., action: rebuild}]}\n"),
	}
	taken := 0
	for _, text := range texts {
		got, err := Parse(Input{Text: []byte(text), Project: "blog"})
		if err != nil {
			continue
		}
		taken++
		if strings.Contains(strings.ReplaceAll(got.Text, "CANARY", ""), "canary") && !strings.Contains(text, "canary") {
			t.Errorf("the environment got into the text:\n%s", got.Text)
		}
		for _, s := range got.Services {
			if s.Containers == 1 && strings.Contains(text, "profiles") {
				t.Errorf("the environment switched a profile on:\n%s", text)
			}
		}
	}
	if taken == 0 || taken == len(texts) {
		t.Errorf("%d of %d texts were taken: want some", taken, len(texts))
	}
}

// FuzzParse makes sure that no text brings Parse down, and that what it sends means one thing: it reads as itself.
func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/blog.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(web("    ports: ['8000-8002:80/udp', {target: 1}]\n    hostname: ${TAG:-${A}}$$x\n")))
	f.Add([]byte(laughs(3)))
	f.Add([]byte(mergedLaughs()))
	f.Add([]byte("services: &s {a: {image: \"\\u2028 \", <<: [*s]}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		in := blog(text)
		first, err := Parse(in)
		if err != nil {
			return
		}
		in.Owner, in.Configs = "", nil
		in.Text = withoutOwn(first.Text)
		second, err := Parse(in)
		if err != nil {
			t.Fatalf("the text that is sent is refused: %v\n%s", err, first.Text)
		}
		first.Text, second.Text = "", ""
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("the text that is sent means something else (-before +after):\n%s", diff)
		}
	})
}

// withoutOwn takes out of a text what only Phoenix may add.
func withoutOwn(text string) []byte {
	tree, problems := readTree([]byte(text))
	if len(problems) > 0 {
		return []byte(text)
	}
	for _, e := range tree.get("services").entries {
		labels := e.value.get("labels")
		if labels == nil {
			continue
		}
		labels.remove(OwnerLabel)
		labels.remove(FilesLabel)
		var kept []*node
		for _, item := range labels.items {
			if !strings.HasPrefix(item.value, labelPrefix) {
				kept = append(kept, item)
			}
		}
		labels.items = kept
	}
	written, err := tree.write()
	if err != nil {
		return []byte(text)
	}
	return []byte(written)
}
