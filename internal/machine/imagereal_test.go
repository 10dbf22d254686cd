// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dockerTool is an engine whose images are files: names/NAME holds an ID, ids/ID
// is there. Its answers are those of Docker 20.10, blank line and all.
const dockerTool = `#!/bin/sh
echo "$*" >>DIR/dockers
cd DIR || exit 1
[ ! -f away ] || { echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?" >&2; exit 1; }
file() { printf '%s' "$1" | tr / _; }
id() { if [ -f "ids/$1" ]; then echo "$1"; else cat "names/$(file "$1")" 2>/dev/null; fi; }
give() { echo "$2" >"names/$(file "$1")"; true >"ids/$2"; }
uses() { cat names/* 2>/dev/null | grep -c -x "$1"; }
none() { echo; echo "Error: No such image: $1" >&2; exit 1; }
case "$1 $2 $3" in
"version --format {{.Server.Version}}") echo 20.10.24 ;;
"image inspect --format")
	found=$(id "$5") || none "$5"
	case $4 in
	'{{.Id}}') echo "$found" ;;
	'{{len .RepoTags}} {{len .RepoDigests}}') echo "$(uses "$found") 0" ;;
	*) exit 64 ;;
	esac
	;;
"pull -q "*) [ -f "registry/$(file "$3")" ] || { echo "Error response from daemon: manifest for $3 not found" >&2; exit 1; }; give "$3" "$(cat "registry/$(file "$3")")"; echo "docker.io/$3" ;;
"load -q -i")
	grep -q ^archive "$4" || { echo "open /var/lib/docker/tmp/docker-import-1/repositories: no such file or directory" >&2; exit 1; }
	sed 1d "$4" | while read -r name given; do
		old=$(id "$name")
		[ -z "$old" ] || [ "$old" = "$given" ] || echo "The image $name already exists, renaming the old one with ID $old to empty string"
		give "$name" "$given"
		echo "Loaded image: $name"
	done
	;;
"tag $2 $3") found=$(id "$2") || none "$2"; give "$3" "$found" ;;
"image rm $3")
	found=$(id "$3") || none "$3"
	rm -f "names/$(file "$3")"
	[ "$(uses "$found")" != 0 ] || rm -f "ids/$found"
	;;
*) exit 64 ;;
esac
`

// TestRealImages has the computer's own sh and coreutils load and pull images,
// mend them, put them back and take them away.
func TestRealImages(t *testing.T) {
	dir, m := programFolder(t)
	write := func(name, text string) {
		if err := os.WriteFile(dir+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/names", "/ids", "/registry"} {
		if err := os.Mkdir(dir+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	archive := func(version string) *Archive {
		text := "archive\nlab/base:1 " + imageID("base") + "\nlab/app:latest " + imageID("app "+version) + "\n"
		write("/web/app;$(odd)"+version, text)
		return &Archive{URL: "http://mirror/app;$(odd)" + version, SHA256: fullHash([]byte(text))}
	}
	state := func(version, conf string) State {
		return State{
			Images: []Image{{Name: "lab/app", Archive: archive(version)}, {Name: "lab/agent:1"}},
			Files:  []File{{Path: dir + "/app/app.conf", Content: []byte(conf)}},
			Probes: []Probe{{Name: "conf", Argv: []string{"grep", "good", dir + "/app/app.conf"}, Patience: 1}},
		}
	}
	apply := func(want State) error {
		for range 20 {
			err := settled(t, m, func(seen Seen) ([]Step, error) { return Plan(planOwner, want, seen, PlanOptions{}) }, want)
			if pending := new(PendingError); !errors.As(err, &pending) {
				return err
			}
		}
		return errors.New("it does not come to an end")
	}
	images := func() []string {
		entries, err := os.ReadDir(dir + "/names")
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, e := range entries {
			raw, _ := os.ReadFile(dir + "/names/" + e.Name()) // it is there: nobody else is
			list = append(list, e.Name()+" "+strings.TrimSpace(string(raw)))
		}
		return list
	}
	is := func(reason string, want ...string) {
		t.Helper()
		for i, pair := range want {
			name, word, _ := strings.Cut(pair, " ")
			want[i] = name + " " + imageID(word)
		}
		if diff := cmp.Diff(want, images()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", reason, diff)
		}
	}
	write("/away", "")
	write("/bin/docker", strings.ReplaceAll(dockerTool, "DIR", dir))
	write("/registry/lab_agent:1", imageID("agent")+"\n")
	write("/names/lab_app:latest", imageID("mine")+"\n")
	write("/ids/"+imageID("mine"), "")
	var failed *ImageError
	if err := apply(state("1", "good\n")); !errors.As(err, &failed) || !failed.NoEngine || !strings.HasPrefix(failed.Output, "Cannot connect") {
		t.Errorf("an engine that is away: %v", err)
	}
	if err := os.Remove(dir + "/away"); err != nil {
		t.Fatal(err)
	}
	if err := apply(state("1", "good\n")); err != nil {
		t.Fatal(err)
	}
	is("first time", "lab_agent:1 agent", "lab_app:latest app 1", "lab_base:1 base")
	write("/names/lab_app:latest", imageID("evil")+"\n")
	write("/ids/"+imageID("evil"), "")
	if err := apply(state("1", "good\n")); err != nil {
		t.Fatal(err)
	}
	is("the name was moved", "lab_agent:1 agent", "lab_app:latest app 1", "lab_base:1 base")
	var probe *ProbeError
	if err := apply(state("2", "bad\n")); !errors.As(err, &probe) || !probe.Complete {
		t.Errorf("%v", err)
	}
	is("put back", "lab_agent:1 agent", "lab_app:latest app 1", "lab_base:1 base")
	if err := apply(state("2", "good\n")); err != nil {
		t.Fatal(err)
	}
	is("another archive", "lab_agent:1 agent", "lab_app:latest app 2", "lab_base:1 base")
	if _, err := os.Stat(dir + "/ids/" + imageID("app 1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old one, which nobody has a name for, stays: %v", err)
	}
	for text, says := range map[string]string{
		"text": "get image lab/app: open /var/lib/docker/tmp/docker-import-1/repositories: no such file or directory",
		"archive\nlab/other:1 " + imageID("other"): "get image lab/app: the archive does not hold it; docker load: Loaded image: lab/other:1",
	} {
		want := state("2", "good\n")
		write("/web/x", text+"\n")
		want.Images[0].Archive = &Archive{URL: "http://mirror/x", SHA256: fullHash([]byte(text + "\n"))}
		if err := apply(want); !errors.As(err, &failed) || failed.NoEngine || err.Error() != says {
			t.Errorf("%v\nwant\n%s", err, says)
		}
	}
	none := state("2", "good\n")
	none.Images[1].Name = "lab/none:1"
	if err := apply(none); err == nil || err.Error() != "get image lab/none:1: Error response from daemon: manifest for lab/none:1 not found" {
		t.Errorf("%v", err)
	}
	if err := settled(t, m, func(seen Seen) ([]Step, error) { return Clear(planOwner, seen), nil }, State{}); err != nil {
		t.Fatal(err)
	}
	is("after the way back", "lab_app:latest mine", "lab_base:1 base", "lab_other:1 other")
	if left, err := os.ReadDir(dir + "/store"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the store is left, with %v: %v", left, err)
	}
}
