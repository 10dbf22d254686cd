// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"regexp"
	"slices"
)

// imageJob is the script of a transient unit that pulls an image, or loads it
// from an archive that was downloaded. It notes the ID of what has the name
// then: that it came to its end, the note alone tells. An archive may hold
// other images, so what it gave must be what has the name.
const imageJob = `umask 077
name=$1 note=$2 archive=$3 want=$4
fail() {
	printf '%s\n' "$1"
	exit 1
}
identify() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null; }
command -v docker >/dev/null || fail "no Docker engine: there is no docker command"
said=$(timeout 60 docker version --format '{{.Server.Version}}' 2>&1) || fail "no Docker engine: ${said:-it does not answer within 60 s}"
if [ -z "$archive" ]; then
	said=$(docker pull -q "$name" 2>&1) || fail "${said:-docker pull ended with exit code $?}"
	id=$(identify "$name") || fail "it was pulled, and is not there: $said"
else
	got=$(sha256sum <"$archive")
	got=${got%% *}
	[ "$got" = "$want" ] || fail "the SHA-256 of what was downloaded is $got, want $want"
	said=$(docker load -q -i "$archive" 2>&1) || fail "${said:-docker load ended with exit code $?}"
	id=$(identify "$name") found=
	for one in $(printf '%s\n' "$said" | sed -n -e 's/^Loaded image: //p' -e 's/^Loaded image ID: //p'); do
		if [ -n "$id" ] && [ "$(identify "$one")" = "$id" ]; then found=yes; fi
	done
	[ -n "$found" ] || fail "the archive does not hold it; docker load: ${said:-nothing}"
fi
printf '%s\n' "$id" >"$note.part" && sync "$note.part" && mv -f -T "$note.part" "$note"
`

// noEngine is how imageJob, and docker in the middle of its work, say that there is no engine.
var noEngine = regexp.MustCompile(`no Docker engine: |Cannot connect to the Docker daemon`)

// imageGoal is an image as it is to be.
type imageGoal struct {
	*Image
	had  *ownedImage
	seen string // ID of what has the name; empty: nothing has
	id   string // that it is to have and has; empty: it is still to be made
	made bool   // by a job, of which the units have not heard
}

// image is what becomes of an image. That what has its name is what its
// archive gave, the record alone knows, or the note of the job until then.
func (p *planner) image(i *Image) imageGoal {
	g := imageGoal{Image: i, had: p.seen.record.image(i.Name), seen: p.seen.Images[i.Name]}
	switch {
	case g.seen == "":
	case g.had != nil && g.had.Making && g.seen == p.seen.made[i.Name]:
		g.id, g.made = g.seen, true
	case i.Archive == nil && (g.had == nil || g.had.ID == ""), // any will do
		g.had != nil && g.had.ID == g.seen && (i.Archive == nil || g.had.Archive == i.Archive.SHA256):
		g.id = g.seen
	}
	return g
}

// owns is the entry of the record. What somebody else of us found before is
// what was there before us.
func (p *planner) owns(g imageGoal) ownedImage {
	if g.had != nil {
		return *g.had
	}
	owns := ownedImage{Name: g.Name, Before: g.seen}
	for _, other := range p.seen.others {
		if theirs, ok := other.images[g.Name]; ok {
			owns.Before = theirs.Before
		}
	}
	return owns
}

// making has an image made anew.
func (r *record) making(owns ownedImage) {
	r.Images = slices.DeleteFunc(slices.Clone(r.Images), func(other ownedImage) bool { return other.Name == owns.Name })
	owns.Making = true
	r.Images = append(r.Images, owns)
}

// toMake is the first image that is still to be made; nil: all are there.
func (p *planner) toMake() *imageGoal {
	at := slices.IndexFunc(p.images, func(g imageGoal) bool { return g.id == "" })
	if at < 0 {
		return nil
	}
	return &p.images[at]
}

// waits says whether an artifact waits for its turn.
func (p *planner) waits(a *Artifact) bool {
	there := p.seen.Paths[a.staged(p.owner)]
	return there.Kind == "file" && there.Hash == a.SHA256
}

// what is for people.
func (i *Image) what() string {
	if i.Archive == nil {
		return "pull image " + i.Name
	}
	return "load image " + i.Name
}

// shown is what is seen of an image and what it is to be, for people.
func (p *planner) shown(g imageGoal) (from, to string) {
	from, to = shortID(g.seen), "pulled"
	if p.seen.NoEngine != "" {
		from = "unknown"
	}
	if g.Archive != nil {
		to = "of archive sha256:" + g.Archive.SHA256[:12]
	}
	return from, to
}

// makeImages are the steps that make the images, one at a time.
func (p *planner) makeImages() []Step {
	var steps []Step
	for _, g := range p.images {
		if g.id != "" {
			continue
		}
		source := g.source()
		step := Step{Reason: ReasonInstall, Message: g.what(), Do: p.imageJob(g).do}
		from, to := p.shown(g)
		step.Changes = []Change{{What: g.what(), From: from, To: to, Impact: ImpactNone}}
		switch {
		case p.seen.NoEngine != "":
			step.Do = func(context.Context, *Machine) error {
				return &ImageError{Name: g.Name, Output: p.seen.NoEngine, NoEngine: true}
			}
		case source != nil && !p.waits(source):
			step.Do = func(context.Context, *Machine) error {
				return &PendingError{"what is to be downloaded from " + source.URL}
			}
		}
		steps = append(steps, step)
	}
	return steps
}

func (p *planner) imageJob(g imageGoal) job {
	archive := ""
	if a := g.source(); a != nil {
		archive = a.staged(p.owner)
	}
	var s script
	s.line("export LC_ALL=C HOME=/root PATH=%s", word(searchPath))
	s.line("set -- %s", words([]string{g.ref(), g.note(p.owner), archive, g.hash()}))
	s.WriteString(imageJob)
	return job{p: p, key: g.what() + " " + g.hash(), what: g.what(), text: s.String(), image: &g}
}

// failure is the error of a job that failed, by what it said.
func (j job) failure(what, log string) error {
	log = lastTry(log)
	if j.image == nil {
		return &JobError{Unit: j.unit(), What: what, Log: tail(log, 1500)}
	}
	e := &ImageError{Name: j.image.Name, NoEngine: noEngine.MatchString(log)}
	if at := noEngine.FindStringIndex(log); at != nil && log[at[0]] == 'n' {
		log = log[at[1]:]
	}
	e.Output = tail(log, 1500)
	return e
}

// shortID is an ID for people.
func shortID(id string) string { return id[:min(len("sha256:")+12, len(id))] }
