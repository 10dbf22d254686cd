// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/compose"
	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// tried are the words of a try that did not succeed.
var tried = &problem{reason: DeployFailedReason, err: fmt.Errorf("no")}

const ownerOfTest = "site/home/blog"

// releaseOf is one of two services; of another text, another one.
func releaseOf(text string) *release {
	r := &release{
		text: text, env: []value{{Name: "A", Value: "1"}},
		services: []compose.Service{
			{Name: "db", Image: "lab/db:1", PullPolicy: compose.PullMissing, Containers: 1},
			{Name: "web", Image: "lab/web:1", PullPolicy: compose.PullMissing, Containers: 2, Ports: []compose.Port{{Target: 80, Published: 8080, Through: 8089, Protocol: "tcp"}}},
			{Name: "off", Image: "lab/off:1", PullPolicy: compose.PullMissing},
		},
		images: []compose.Image{{Name: "lab/db:1", PullPolicy: compose.PullMissing}, {Name: "lab/web:1", PullPolicy: compose.PullMissing}},
	}
	return r.sealed([]byte("key"))
}

func containerOf(service string, number int) portainer.Container {
	c := portainer.Container{
		ID: fmt.Sprintf("%s-%d", service, number), Project: "blog", Service: service, Number: number, Image: "lab/" + service + ":1",
		ImageID: "sha256:" + service, State: "running", ConfigHash: "hash-" + service, Labels: map[string]string{compose.OwnerLabel: ownerOfTest},
	}
	if service == "web" {
		c.Ports = []portainer.Port{{Address: "0.0.0.0", Target: 80, Published: 8079 + number, Protocol: "tcp"}, {Address: "::", Target: 80, Published: 8079 + number, Protocol: "tcp"}}
	}
	return c
}

// inSync is what is seen of a stack that is as it should be.
func inSync() Seen {
	r := releaseOf("text")
	seen := Seen{
		now: noon, known: true, project: "blog", owner: ownerOfTest, want: r, images: map[string]string{},
		place: place{environment: "drphoenix", environmentID: 2, host: &v1alpha1.Host{}},
		vault: vault{key: []byte("key"), good: r},
		outside: outside{
			record:     &portainer.Stack{ID: 7, Name: "blog", EnvironmentID: 2, Active: true, Env: r.variables(ownerOfTest)},
			text:       r.text,
			containers: []portainer.Container{containerOf("db", 1), containerOf("web", 1), containerOf("web", 2)},
		},
	}
	seen.vault.notes = notes{
		Project: "blog", Place: "drphoenix", Made: map[string]string{"db": "hash-db", "web": "hash-web"}, Services: r.services, Images: r.images,
	}
	return seen
}

// compareAll does what Observe does with what was read.
func (seen *Seen) compareAll(s *v1alpha1.DockerStack) {
	seen.aim()
	if seen.target == nil {
		return
	}
	seen.diffs = seen.differences(seen.target)
	if prunes(s) {
		seen.orphans = seen.orphansOf(seen.target)
	}
}

func TestPlan(t *testing.T) {
	newer := releaseOf("newer text")
	container := func(change func(*portainer.Container)) func(*v1alpha1.DockerStack, *Seen) {
		return func(_ *v1alpha1.DockerStack, seen *Seen) { change(&seen.outside.containers[0]) }
	}
	cases := map[string]struct {
		reason string
		change func(s *v1alpha1.DockerStack, seen *Seen)
		want   []string
	}{
		"InSync": {"nothing is to be done", func(*v1alpha1.DockerStack, *Seen) {}, nil},
		"Nothing": {"the first time disturbs nobody", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.outside, seen.vault.good, seen.vault.notes = outside{}, nil, notes{}
		}, []string{"Deploying [compose - text None]"}},
		"NothingAndImages": {"what the engine lacks is pulled first", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.outside, seen.vault.good, seen.vault.notes = outside{}, nil, notes{}
			seen.images = map[string]string{"lab/db:1": "sha256:db", "lab/web:1": ""}
		}, []string{"Pulling [image - lab/web:1 None]", "Deploying [compose - text None]"}},
		"NothingMayBePulled": {"nothing is touched without the image", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.outside, seen.vault.good, seen.vault.notes = outside{}, nil, notes{}
			seen.want.images[0].PullPolicy, seen.images = compose.PullNever, map[string]string{"lab/db:1": "", "lab/web:1": ""}
		}, []string{"Waiting ImageMissing [compose - text None]"}},
		"RecordLost": {"the containers are ours", func(_ *v1alpha1.DockerStack, seen *Seen) { seen.outside.record = nil }, []string{"Redeploying [stackID - blog Restart]"}},
		"Text":       {"the spec has another text", func(_ *v1alpha1.DockerStack, seen *Seen) { seen.want = newer }, []string{"Redeploying [compose text text Restart]"}},
		"Value": {"the spec has another value", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want = releaseOf("text")
			seen.want.env = []value{{Name: "B", Value: "2"}}
			seen.want.sealed(seen.vault.key)
		}, []string{"Redeploying [env[A] hash - Restart] [env[B] - hash Restart]"}},
		"Edited":  {"Portainer has another text", func(_ *v1alpha1.DockerStack, seen *Seen) { seen.outside.text = "services: {}" }, []string{"Redeploying [compose text text Restart]"}},
		"Cleared": {"Portainer has no values", func(_ *v1alpha1.DockerStack, seen *Seen) { seen.outside.record.Env = nil }, []string{"Redeploying [env[A] - hash Restart] [env[PHOENIX_STACK] - hash Restart]"}},
		"Stopped": {"the stack was stopped", func(_ *v1alpha1.DockerStack, seen *Seen) { seen.outside.record.Active = false }, []string{"Redeploying [state stopped active Restart]"}},
		"Missing": {"one of two containers is gone", func(_ *v1alpha1.DockerStack, seen *Seen) { seen.outside.containers = seen.outside.containers[:2] },
			[]string{"Redeploying [services[web].containers 1 2 Restart]"}},
		"Extra": {"there is one too many", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.outside.containers = append(seen.outside.containers, containerOf("web", 3))
		}, []string{"Redeploying [services[web].containers 3 2 Restart]"}},
		"Exited":  {"a container ended", container(func(c *portainer.Container) { c.State, c.ExitCode = "exited", 137 }), []string{"Redeploying [services[db].state exited (137) running Restart]"}},
		"Paused":  {"somebody paused it", container(func(c *portainer.Container) { c.State = "paused" }), []string{"Redeploying [services[db].state paused running Restart]"}},
		"Created": {"it never started", container(func(c *portainer.Container) { c.State = "created" }), []string{"Redeploying [services[db].state created running Restart]"}},
		"Changed": {"it was made of something else", container(func(c *portainer.Container) { c.ConfigHash = "other" }), []string{"Redeploying [services[db].configHash other hash-db Restart]"}},
		"NewlyMade": {"after a deployment nobody knows what it should be made of", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.outside.containers[0].ConfigHash, seen.vault.Made = "other", nil
		}, []string{"Recording [status.deployed - hash None]"}},
		"Image": {"the tag is another image's now", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.outside.containers[0].Image, seen.images["lab/db:1"] = "sha256:db", "sha256:newer"
		}, []string{"Redeploying [services[db].image sha256:db sha256:newer Restart]"}},
		"ImageUnknown": {"the tag is nobody's now: what runs is fine", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.outside.containers[0].Image, seen.images["lab/db:1"] = "sha256:db", ""
		}, nil},
		"Port": {"it is published elsewhere", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.outside.containers[1].Ports = []portainer.Port{{Address: "0.0.0.0", Target: 80, Published: 9000, Protocol: "tcp"}}
		}, []string{"Redeploying [services[web].ports 9000:80/tcp 8080:80/tcp Restart]"}},
		"OneShot": {"what ends with 0 may do so", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want.services[0].OneShot, seen.outside.containers[0].State = true, "exited"
		}, nil},
		"OneShotFailed": {"what ends with 1 is run again", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want.services[0].OneShot, seen.outside.containers[0].State, seen.outside.containers[0].ExitCode = true, "exited", 1
		}, []string{"Redeploying [services[db].state exited (1) running Restart]"}},
		"Orphan": {"a service is gone", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.outside.containers = append(seen.outside.containers, containerOf("old", 1))
		}, []string{"Pruning [services[old] running - Restart]"}},
		"OrphanOff": {"a profile is off", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.outside.containers = append(seen.outside.containers, containerOf("off", 1))
		}, []string{"Pruning [services[off] running - Restart]"}},
		"OrphanKept": {"prune is off", func(s *v1alpha1.DockerStack, seen *Seen) {
			s.Spec.Prune = new(bool)
			seen.outside.containers = append(seen.outside.containers, containerOf("old", 1))
		}, nil},
		"Unhealthy":  {"it is said, and nothing is done", container(func(c *portainer.Container) { c.Health = "unhealthy" }), []string{"Waiting Unhealthy [services[db].health unhealthy healthy Restart]"}},
		"Restarting": {"it is said, and nothing is done", container(func(c *portainer.Container) { c.State, c.ExitCode = "restarting", 1 }), []string{"Waiting Unhealthy [services[db].state restarting (1) running Restart]"}},
		"Starting":   {"it takes a while", container(func(c *portainer.Container) { c.Health = "starting" }), []string{"Waiting Starting [services[db].health starting healthy Restart]"}},
		"Unrecorded": {"the Secret is lost", func(_ *v1alpha1.DockerStack, seen *Seen) { seen.vault.good, seen.vault.notes = nil, notes{} }, []string{"Recording [status.deployed - hash None]"}},
		"UnrecordedObserved": {"Observe writes nothing", func(s *v1alpha1.DockerStack, seen *Seen) {
			s.Spec.Management, seen.vault.good, seen.vault.notes = v1alpha1.ManagementObserve, nil, notes{}
		}, nil},
		"UnrecordedSick": {"what is not well is not what to come back to", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.good, seen.vault.notes, seen.outside.containers[0].Health = nil, notes{}, "unhealthy"
		}, []string{"Waiting Unhealthy [services[db].health unhealthy healthy Restart]"}},
		"Lost": {"a deployment may go on whose answer nobody got", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.Attempt, seen.outside.containers = &attempt{At: noon}, nil
		}, []string{"Waiting Deploying [services[db].containers 0 1 Restart] [services[web].containers 0 2 Restart]"}},
		"LostOther": {"also when something else is wanted since", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.Attempt, seen.memory.lost, seen.want = &attempt{At: noon.Add(-time.Minute)}, lost{noon.Add(-time.Minute), noon.Add(-time.Minute)}, newer
		}, []string{"Waiting Deploying [compose text text Restart]"}},
		"LostLately": {"it was begun long ago, and was followed until a moment ago", func(_ *v1alpha1.DockerStack, seen *Seen) {
			at := noon.Add(-30 * time.Minute)
			seen.vault.Attempt, seen.memory.lost, seen.want = &attempt{At: at}, lost{at, noon.Add(time.Second - settleFor)}, newer
		}, []string{"Waiting Deploying [compose text text Restart]"}},
		"LostAgain": {"this is another one than was lost before", func(_ *v1alpha1.DockerStack, seen *Seen) {
			at := noon.Add(-time.Hour)
			seen.vault.Attempt, seen.memory.lost, seen.memory.ended, seen.want = &attempt{At: noon}, lost{at, at}, at, newer
		}, []string{"Waiting Deploying [compose text text Restart]"}},
		"LostLong": {"it would have come to its end", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.Attempt, seen.memory.lost, seen.want = &attempt{At: noon.Add(-settleFor)}, lost{noon.Add(-settleFor), noon.Add(-settleFor)}, newer
		}, []string{"Redeploying [compose text text Restart]"}},
		"LostByAnother": {"no manager follows one for so long", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.Attempt, seen.want = &attempt{At: noon.Add(-jobLimit - settleFor)}, newer
		}, []string{"Redeploying [compose text text Restart]"}},
		"LostAndWell": {"it has come to its end", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.Attempt = &attempt{At: noon}
		}, []string{"Recording [status.deployed - hash None]"}},
		"Answered": {"what is not as it should be since the answer is nobody's work any more", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.Made, seen.outside.containers = nil, seen.outside.containers[1:]
		}, []string{"Redeploying [services[db].containers 0 1 Restart]"}},
		"AnsweredUnsaid": {"also while the Secret does not say so yet", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.Attempt, seen.memory.ended, seen.outside.containers[0].State = &attempt{At: noon}, noon, "created"
		}, []string{"Redeploying [services[db].state created running Restart]"}},
		"AnsweredOther": {"also when something else is wanted since", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.Attempt, seen.memory.ended, seen.want = &attempt{At: noon}, noon, newer
		}, []string{"Redeploying [compose text text Restart]"}},
		"Tried": {"it is too early to try again", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want = newer
			seen.memory.tries = map[string]try{theDeployment: {of: newer.hash + ";TextChanged compose", next: noon.Add(time.Second), problem: tried}}
		}, []string{"Waiting DeployFailed [compose text text Restart]"}},
		"TriedOther": {"another difference is another matter", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want = newer
			seen.memory.tries = map[string]try{theDeployment: {of: newer.hash + ";ContainerStopped services[db].state", next: noon.Add(time.Second), problem: tried}}
		}, []string{"Redeploying [compose text text Restart]"}},
		"TriedLong": {"it is time to try again", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want = newer
			seen.memory.tries = map[string]try{theDeployment: {of: newer.hash + ";TextChanged compose", next: noon, problem: tried}}
		}, []string{"Redeploying [compose text text Restart]"}},
		"Refused": {"what failed is not tried again, and what ran before is there", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want, seen.vault.Refused = newer, &refused{Hash: newer.hash, At: noon.Add(-time.Minute), Why: "no"}
		}, []string{"Waiting RolledBack [compose - text Restart]"}},
		"RefusedDown": {"what ran before comes back", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want, seen.vault.Refused, seen.outside.containers = newer, &refused{Hash: newer.hash, At: noon.Add(-time.Minute), Why: "no"}, nil
		}, []string{"RollingBack [services[db].containers 0 1 Restart] [services[web].containers 0 2 Restart]", "Waiting RolledBack [compose - text Restart]"}},
		"RefusedLong": {"an hour later it is tried again", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want, seen.vault.Refused = newer, &refused{Hash: newer.hash, At: noon.Add(-refusedFor), Why: "no"}
		}, []string{"Redeploying [compose text text Restart]"}},
		"RefusedOther": {"something else is wanted by now", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want, seen.vault.Refused = releaseOf("newest text"), &refused{Hash: newer.hash, At: noon, Why: "no"}
		}, []string{"Redeploying [compose text text Restart]"}},
		"RefusedFirst": {"what a first deployment left is cleared", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.good, seen.vault.notes = nil, notes{Refused: &refused{Hash: seen.want.hash, At: noon, Why: "no"}}
		}, []string{"RollingBack [stack blog in drphoenix - Restart]", "Waiting DeployFailed [compose - text Restart]"}},
		"RefusedFirstClear": {"nothing is left", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.vault.good, seen.vault.notes, seen.outside = nil, notes{Refused: &refused{Hash: seen.want.hash, At: noon, Why: "no"}}, outside{}
		}, []string{"Waiting DeployFailed [compose - text Restart]"}},
		"RefusedUnreadable": {"what ran before is not cleared, though nobody knows what it asked for", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want, seen.vault.notes = newer, notes{Refused: &refused{Hash: newer.hash, At: noon, Why: "no"}}
		}, []string{"Waiting DeployFailed [compose - text Restart]"}},
		"Always": {"newer images are looked for", func(_ *v1alpha1.DockerStack, seen *Seen) { seen.want.images[0].PullPolicy = compose.PullAlways }, []string{"Pulling [image - lab/db:1 None]"}},
		"AlwaysPulled": {"that was a short while ago", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.want.images[0].PullPolicy, seen.memory.pulled, seen.memory.pulledAt = compose.PullAlways, seen.want.hash, noon.Add(-time.Minute)
		}, nil},
		"AlwaysObserved": {"nothing else is to be done, and nothing may be", func(s *v1alpha1.DockerStack, seen *Seen) {
			seen.want.images[0].PullPolicy, s.Spec.Management = compose.PullAlways, v1alpha1.ManagementObserve
		}, nil},
		"Problem": {"what holds up nothing is said", func(_ *v1alpha1.DockerStack, seen *Seen) {
			seen.problems = []*problem{{reason: GitFailedReason, err: fmt.Errorf("away")}}
		}, []string{"Waiting GitFailed [ - away None]"}},
		"Unknown": {"nothing was seen", func(_ *v1alpha1.DockerStack, seen *Seen) { seen.known = false }, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, seen := &v1alpha1.DockerStack{}, inSync()
			s.Namespace, s.Name = "home", "blog"
			c.change(s, &seen)
			seen.compareAll(s)
			before := fmt.Sprint(seen.vault.notes, seen.outside, s)
			k := &Kind{Config: Config{PullInterval: 15 * time.Minute}, jobs: newJobs(nil)}
			if diff := cmp.Diff(c.want, brieflyOf(t, k.Plan(s, seen))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if fmt.Sprint(seen.vault.notes, seen.outside, s) != before {
				t.Error("a plan changes what was seen")
			}
		})
	}
}

// brieflyOf are steps in a few words: hashes of texts as text, others as hash.
func brieflyOf(t *testing.T, steps []reconcile.Step) []string {
	t.Helper()
	var all []string
	for _, s := range steps {
		said := s.Reason
		if s.Reason == WaitingReason {
			said += " " + reconcile.ReasonOf(s.Do(t.Context()))
		}
		for _, c := range s.Changes {
			said += fmt.Sprintf(" [%s %s %s %s]", c.Field, word(c.From), word(c.To), c.Impact)
		}
		all = append(all, said)
	}
	return all
}

func word(value string) string {
	switch {
	case value == "":
		return "-"
	case len(value) == len("text:")+briefLength && value[:5] == "text:":
		return "text"
	case (len(value) == briefLength || len(value) == 32) && isHex(value):
		return "hash"
	}
	return value
}

func isHex(text string) bool {
	for _, r := range text {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return true
}

func TestPlanRemove(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(seen *Seen)
		want   []string
	}{
		"Ours":     {"it is removed", func(*Seen) {}, []string{"Removing [stack blog in drphoenix - Restart]"}},
		"NoRecord": {"the containers bear our label", func(seen *Seen) { seen.outside.record = nil }, []string{"Removing [stack blog in drphoenix - Restart]"}},
		"NoLabels": {"the record bears our mark", func(seen *Seen) { seen.outside.containers = nil }, []string{"Removing [stack blog in drphoenix - Restart]"}},
		"Cleared": {"the text bears our mark", func(seen *Seen) {
			seen.outside = outside{record: &portainer.Stack{ID: 7}, text: "labels:\n  - \"" + compose.OwnerLabel + "=" + ownerOfTest + "\"\n"}
		}, []string{"Removing [stack blog in drphoenix - Restart]"}},
		"Unmarked": {"nothing says that it is ours", func(seen *Seen) { seen.outside = outside{record: &portainer.Stack{ID: 7}, text: "services: {}"} }, nil},
		"Foreign":  {"it is somebody else's", func(seen *Seen) { seen.outside.record.Env = []portainer.Variable{{Name: markVariable, Value: "other"}} }, nil},
		"Nothing":  {"nothing is left", func(seen *Seen) { seen.outside = outside{} }, nil},
		"Volumes": {"volumes go last", func(seen *Seen) {
			seen.outside, seen.volumes = outside{}, []portainer.Volume{{Name: "blog_data", Short: "data"}}
		}, []string{"DestroyingVolume [deleteVolumes[data] blog_data - Destroy]"}},
		"Lost": {"a dead manager's deployment may go on", func(seen *Seen) { seen.outside, seen.vault.Attempt = outside{}, &attempt{At: noon.Add(-time.Minute)} }, []string{"Waiting Deploying [ - a deployment of stack blog in drphoenix was begun at 2026-03-01T11:59:00Z and may still go on None]"}},
		"LostLong": {"it would have come to its end", func(seen *Seen) {
			at := noon.Add(-settleFor)
			seen.vault.Attempt, seen.memory.lost = &attempt{At: at}, lost{at, at}
		}, []string{"Removing [stack blog in drphoenix - Restart]"}},
		"Answered": {"our own has ended", func(seen *Seen) { seen.vault.Attempt, seen.memory.ended = &attempt{At: noon}, noon }, []string{"Removing [stack blog in drphoenix - Restart]"}},
		"Tried": {"it is too early to try again", func(seen *Seen) {
			seen.memory.tries = map[string]try{theRemoval: {next: noon.Add(time.Second), problem: tried}}
		}, []string{"Waiting DeployFailed [ - no None]"}},
		"Gone": {"there is nothing to clean up through", func(seen *Seen) { seen.gone = "HostService/drphoenix" }, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, seen := &v1alpha1.DockerStack{}, inSync()
			s.DeletionTimestamp = &metav1.Time{Time: noon}
			c.change(&seen)
			k := &Kind{jobs: newJobs(nil)}
			if diff := cmp.Diff(c.want, brieflyOf(t, k.Remove(s, seen))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// TestDestroyIsNamed has each destruction name what it destroys.
func TestDestroyIsNamed(t *testing.T) {
	seen := inSync()
	seen.outside, seen.volumes = outside{}, []portainer.Volume{{Name: "blog_data", Short: "data"}, {Name: "blog_logs", Short: "logs"}}
	var names []string
	for _, step := range (&Kind{}).Remove(&v1alpha1.DockerStack{}, seen) {
		names = append(names, step.Identity)
	}
	if diff := cmp.Diff([]string{"volume blog_data in drphoenix", "volume blog_logs in drphoenix"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestSealed(t *testing.T) {
	hash := func(change func(*release)) string {
		r := releaseOf("text")
		change(r)
		return r.sealed([]byte("key")).hash
	}
	same := hash(func(*release) {})
	for name, other := range map[string]string{
		"text":  hash(func(r *release) { r.text = "texts" }),
		"value": hash(func(r *release) { r.env[0].Value = "2" }),
		"name":  hash(func(r *release) { r.env[0].Name = "A1"; r.env[0].Value = "" }),
		"none":  hash(func(r *release) { r.env = nil }),
		"key":   releaseOf("text").sealed([]byte("another key")).hash,
	} {
		if other == same {
			t.Errorf("another %s has the same hash", name)
		}
	}
	if again := hash(func(*release) {}); again != same {
		t.Error("the same release has two hashes")
	}
}

func TestHidden(t *testing.T) {
	var h hidden
	for _, secret := range []string{"pass", "password", "two\nlines of it", `quo"ted`, "ab"} {
		h.add(secret)
	}
	h.addText("a:\n  b: in-the-text\n  - LIST=of-a-list\n  - an-item\n")
	cases := map[string]struct{ text, want string }{
		"LongestFirst": {"the password is wrong", "the *** is wrong"},
		"Lines":        {"found lines of it", "found ***"},
		"Quoted":       {`yaml: "quo\"ted"`, `yaml: "***"`},
		"Short":        {"ab is no secret", "ab is no secret"},
		"Text":         {"in-the-text, of-a-list and an-item", "***, *** and ***"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := h.in(c.text); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	long := h.err(fmt.Errorf("%01000d password: %w", 0, &portainer.Error{Kind: portainer.Failed, Message: "end"}))
	if text := long.Error(); len(text) > maxWords+len("… ") || text[len(text)-len("***: end"):] != "***: end" || portainer.KindOf(long) != portainer.Failed {
		t.Errorf("%q of kind %s", text, portainer.KindOf(long))
	}
}

func TestServiceStatus(t *testing.T) {
	service := releaseOf("text").services[1]
	two := []portainer.Container{containerOf("web", 1), containerOf("web", 2)}
	cases := map[string]struct {
		reason string
		change func(all []portainer.Container) []portainer.Container
		want   string
	}{
		"Well": {"all run", func(all []portainer.Container) []portainer.Container { return all }, "running  2/2 true"},
		"Healthy": {"all are well", func(all []portainer.Container) []portainer.Container {
			all[0].Health, all[1].Health = "healthy", "healthy"
			return all
		}, "running healthy 2/2 true"},
		"Worst": {"the worst counts", func(all []portainer.Container) []portainer.Container {
			all[0].Health, all[1].Health = "healthy", "unhealthy"
			return all
		}, "running unhealthy 2/2 false"},
		"Exited":  {"one has ended", func(all []portainer.Container) []portainer.Container { all[1].State = "exited"; return all }, "exited  1/2 false"},
		"Restart": {"one tries again and again", func(all []portainer.Container) []portainer.Container { all[0].State = "restarting"; return all }, "restarting  1/2 false"},
		"Missing": {"one is gone", func(all []portainer.Container) []portainer.Container { return all[:1] }, "running  1/2 false"},
		"None":    {"all are gone", func([]portainer.Container) []portainer.Container { return nil }, "  0/2 false"},
		"Many":    {"one too many", func(all []portainer.Container) []portainer.Container { return append(all, containerOf("web", 3)) }, "running  3/2 false"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			all := append([]portainer.Container(nil), two...)
			got, well := serviceStatus(service, c.change(all))
			if said := fmt.Sprintf("%s %s %s %t", got.State, got.Health, got.Containers, well); said != c.want {
				t.Errorf("%s: %q, want %q", c.reason, said, c.want)
			}
		})
	}
	got, _ := serviceStatus(service, two)
	ports := map[int32]string{}
	for _, p := range got.Ports {
		ports[p.Published] += fmt.Sprint(p.Target, p.Protocol, p.Address)
	}
	if !maps.Equal(ports, map[int32]string{8080: "80tcp", 8081: "80tcp"}) {
		t.Errorf("ports are %+v", got.Ports)
	}
}
