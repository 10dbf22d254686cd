// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Image is an image of the machine's Docker engine, which must be there: what
// brings it is another State, or a package of this one that starts it. A name
// that was given to another image by hand is seen, and mended.
//
// One that was there before us stays when its owner goes, and gets its name
// back; so does one that a container still uses, or that another owner needs.
type Image struct {
	// Name as docker pull takes it, such as portainer/agent:2.23.0, with or
	// without a registry, a tag and a digest. Without a tag it is that of latest.
	Name string
	// Archive has the image; nil: the engine pulls it when it has none of the name.
	Archive *Archive
	// Triggers are for units that run while the image is made anew. When the
	// change that restarts them fails, the name is given to the image before.
	Triggers []Trigger
}

// Archive is a file with images as docker save writes it, compressed or not,
// that the machine downloads. Another SHA256 loads it anew.
type Archive struct {
	// URL and SHA256 are as those of an Artifact.
	URL, SHA256 string
}

var (
	imageForm = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	idForm    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

func (s *State) validateImages() error {
	seen := map[string]bool{}
	for i := range s.Images {
		image := &s.Images[i]
		switch {
		case len(image.Name) > 512 || !imageForm.MatchString(image.Name):
			return invalid("is no name of an image", "image %.80q", image.Name)
		case seen[image.ref()]:
			return invalid("is there twice", "image %s", image.Name)
		}
		seen[image.ref()] = true
		if err := validateTriggers(image.Triggers, "image "+image.Name); err != nil {
			return err
		}
		if image.Archive == nil {
			continue
		}
		if strings.Contains(image.Name, "@") {
			return invalid("an archive gives no digest: its own hash pins it", "image %s", image.Name)
		}
		if err := validateSource(image.Archive.URL, image.Archive.SHA256, "image "+image.Name); err != nil {
			return err
		}
	}
	return nil
}

// ref is the name with its tag: without one, docker could take it for an ID.
func (i *Image) ref() string {
	if strings.ContainsAny(i.Name[strings.LastIndexByte(i.Name, '/')+1:], ":@") {
		return i.Name
	}
	return i.Name + ":latest"
}

// hash is that of the archive; empty: there is none.
func (i *Image) hash() string {
	if i.Archive == nil {
		return ""
	}
	return i.Archive.SHA256
}

// source is the archive as something to download; nil: there is none.
func (i *Image) source() *Artifact {
	if i.Archive == nil {
		return nil
	}
	return &Artifact{URL: i.Archive.URL, SHA256: i.Archive.SHA256}
}

// note is the file in which the job that makes the image leaves its ID.
func (i *Image) note(owner Owner) string {
	return owner.keep() + "/" + shortHash([]byte(i.Name+"\x00"+i.hash())) + ".image"
}

// downloads says whether the State has anything to download.
func (s *State) downloads() bool {
	for i := range s.Images {
		if s.Images[i].Archive != nil {
			return true
		}
	}
	return len(s.Artifacts) > 0
}

// imageFunctions are of observations that look at images.
const imageFunctions = `
# engine: says why no Docker engine answers. Whoever spoke to the socket of one that was stopped would start it
engine() {
	if ! command -v docker >/dev/null; then
		echo "there is no docker command"
		return
	fi
	unit=$(systemctl show -p LoadState,ActiveState docker.service 2>/dev/null)
	case $unit in
	*LoadState=loaded*)
		case $unit in
		*ActiveState=inactive* | *ActiveState=failed*)
			echo "docker.service does not run"
			return
			;;
		esac
		;;
	esac
	if ! said=$(timeout 10 docker version --format '{{.Server.Version}}' 2>&1); then
		echo "${said:-it does not answer within 10 s}"
	fi
}
# look_image NUMBER NAME NOTE
look_image() {
	if said=$(timeout 10 docker image inspect --format '{{.Id}}' "$2" 2>&1); then
		printf '@image %d\n%s\n' "$1" "$said"
	else
		case $said in
		*'o such image'*) ;;
		*)
			echo @engine
			printf '%s' "${said:-it does not answer within 10 s}" | base64
			;;
		esac
	fi
	if [ -f "$3" ]; then
		printf '@made %d\n' "$1"
		cat "$3"
	fi
}
`

// lookImages looks at the images, if there are any and an engine answers.
func (s *State) lookImages(out *script, owner Owner) {
	if len(s.Images) == 0 {
		return
	}
	out.WriteString(imageFunctions)
	out.line("away=$(engine)")
	out.line(`if [ -n "$away" ]; then`)
	out.line(`echo @engine; printf '%%s' "$away" | base64`)
	out.line("else")
	for i := range s.Images {
		out.line("look_image %d %s %s", i, word(s.Images[i].ref()), word(s.Images[i].note(owner)))
	}
	out.line(":")
	out.line("fi")
}

// image takes an ID that is seen of one.
func (p *parser) image(s section, into map[string]string) error {
	number := -1
	if len(s.fields) == 1 {
		if n, err := strconv.Atoi(s.fields[0]); err == nil && n < len(p.want.Images) {
			number = n
		}
	}
	at := slices.IndexFunc(s.lines, idForm.MatchString)
	if number < 0 || at < 0 {
		return fmt.Errorf("read ID of an image: got %q", tail(strings.Join(s.lines, "\n"), 200))
	}
	into[p.want.Images[number].Name] = s.lines[at]
	return nil
}
