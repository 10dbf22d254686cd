// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/types"
)

// Deploy implements Engine, as docker-compose up -d does: images that are missing are
// pulled first; then the containers of services that changed are made anew; then all that does
// not run is started. A failure leaves things as they are at that moment. Containers of services that
// are not in the text stay.
func (m *Memory) Deploy(ctx context.Context, d Deployment) (string, error) {
	lock := m.project(d.Project)
	lock.Lock()
	defer lock.Unlock()
	up := &deploying{m: m, out: &strings.Builder{}}
	if err := m.awake(); err != nil {
		return up.fail(err)
	}
	p, err := d.parse(ctx)
	if err != nil {
		return up.fail(err)
	}
	up.p = p
	if d.Pull {
		if err := up.pull(ctx, true); err != nil {
			return up.fail(err)
		}
	}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return up.pull(ctx, false) }, up.volumes, up.networks, up.converge, up.start,
	} {
		if err := step(ctx); err != nil {
			return up.fail(err)
		}
	}
	return up.out.String(), nil
}

// Hold lets deployments of a project wait until release is called, and waits for
// one that is under way.
func (m *Memory) Hold(project string) (release func()) {
	lock := m.project(project)
	lock.Lock()
	return sync.OnceFunc(lock.Unlock)
}

func (m *Memory) project(name string) *sync.Mutex {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.projects[name] == nil {
		m.projects[name] = &sync.Mutex{}
	}
	return m.projects[name]
}

// deploying is one docker-compose up.
type deploying struct {
	m       *Memory
	p       *parsed
	out     *strings.Builder
	pulling bool
}

// fail is what compose says at the end.
func (up *deploying) fail(err error) (string, error) {
	text := err.Error()
	var engine *EngineError
	if errors.As(err, &engine) {
		text = "Error response from daemon: " + text
	}
	fmt.Fprintln(up.out, text)
	return up.out.String(), &ComposeError{Pulling: up.pulling, Output: up.out.String()}
}

// say writes a line of progress.
func (up *deploying) say(kind, name, what string) {
	fmt.Fprintf(up.out, " %s %s  %s\n", kind, name, what)
}

// pull gets images: all of them, or those that are needed.
func (up *deploying) pull(ctx context.Context, all bool) error {
	up.pulling = all
	for _, s := range up.p.order() {
		image := imageOf(up.p.Name, s)
		_, err := up.m.Image(image)
		switch {
		case s.PullPolicy == types.PullPolicyNever, s.Image == "", s.PullPolicy == types.PullPolicyBuild:
			continue
		case err == nil && !all && s.PullPolicy != types.PullPolicyAlways:
			continue
		case err == nil && all && (s.PullPolicy == types.PullPolicyMissing || s.PullPolicy == types.PullPolicyIfNotPresent):
			continue
		}
		up.say("", s.Name, "Pulling")
		if _, err := up.m.Pull(ctx, image); err != nil {
			up.say("", s.Name, "Error")
			return err
		}
		up.say("", s.Name, "Pulled")
	}
	up.pulling = false
	return nil
}

func (up *deploying) volumes(context.Context) error {
	for _, key := range slices.Sorted(maps.Keys(up.p.Volumes)) {
		v := up.p.Volumes[key]
		there := slices.ContainsFunc(up.m.Volumes(), func(one Volume) bool { return one.Name == v.Name })
		if there {
			continue
		}
		if v.External {
			return fmt.Errorf("external volume %q not found", v.Name)
		}
		labels := map[string]string{labelProject: up.p.Name, labelVolume: key, labelPrefix + "version": "2.40.3"}
		maps.Copy(labels, v.Labels)
		if err := up.m.CreateVolume(v.Name, labels); err != nil {
			return err
		}
		up.say("Volume", strconv.Quote(v.Name), "Created")
	}
	return nil
}

func (up *deploying) networks(context.Context) error {
	for _, key := range slices.Sorted(maps.Keys(up.p.Networks)) {
		n := up.p.Networks[key]
		there := slices.ContainsFunc(up.m.Networks(), func(one Network) bool { return one.Name == n.Name })
		if there {
			continue
		}
		if n.External {
			return fmt.Errorf("network %s declared as external, but could not be found", n.Name)
		}
		labels := map[string]string{labelProject: up.p.Name, labelNetwork: key, labelPrefix + "version": "2.40.3"}
		maps.Copy(labels, n.Labels)
		if err := up.m.CreateNetwork(n.Name, n.Driver, labels); err != nil {
			return err
		}
		up.say("Network", n.Name, "Created")
	}
	return nil
}

// converge makes the containers that there should be, and removes the surplus.
func (up *deploying) converge(ctx context.Context) error {
	for _, s := range up.p.order() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := up.service(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// service brings the containers of one service up to date.
func (up *deploying) service(ctx context.Context, s types.ServiceConfig) error {
	have, old, err := up.compare(s)
	if err != nil {
		return err
	}
	want, most := s.GetScale(), 0
	if want > 1 && s.ContainerName != "" {
		return fmt.Errorf("WARNING: The %q service is using the custom container name %q. Docker requires each container to have a unique name. Remove the custom name to scale the service", s.Name, s.ContainerName)
	}
	for i, c := range have {
		most = max(most, number(c))
		switch {
		case i >= want:
			err = up.drop(ctx, c)
		case old(c):
			err = up.recreate(ctx, s, c)
		}
		if err != nil {
			return err
		}
	}
	for n := most + 1; n <= most+want-len(have); n++ {
		if err := up.create(s, n); err != nil {
			return err
		}
	}
	return nil
}

// compare gives a service's containers, those that are up to date first, low
// numbers first, and what says of each whether it is out of date.
func (up *deploying) compare(s types.ServiceConfig) (have []Container, old func(Container) bool, err error) {
	image, _ := up.m.Image(imageOf(up.p.Name, s)) // without one all are out of date, and cannot be made anew
	configHash, err := hash(s)
	if err != nil {
		return nil, nil, err
	}
	old = func(c Container) bool { return c.Labels[labelHash] != configHash || c.Labels[labelImage] != image.ID }
	have = up.of(s.Name)
	slices.SortStableFunc(have, func(a, b Container) int {
		switch {
		case old(a) == old(b):
			return number(a) - number(b)
		case old(a):
			return 1
		}
		return -1
	})
	return have, old, nil
}

// of are the containers of a service; of all, when it is "".
func (up *deploying) of(service string) []Container {
	return up.m.projectContainers(up.p.Name, service)
}

// projectContainers are a project's containers by number; those of one service, or all.
func (m *Memory) projectContainers(project, service string) []Container {
	var out []Container
	for _, c := range m.Containers() {
		if c.Labels[labelProject] == project && (service == "" || c.Labels[labelService] == service) && c.Labels[labelOneOff] != "True" {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b Container) int { return number(a) - number(b) })
	return out
}

func number(c Container) int {
	n, err := strconv.Atoi(c.Labels[labelNumber])
	if err != nil {
		return 0
	}
	return n
}

func (up *deploying) drop(ctx context.Context, c Container) error {
	if err := up.m.Stop(ctx, c.ID, 0); err != nil {
		return err
	}
	up.say("Container", c.Name, "Stopped")
	if err := up.m.Remove(c.ID, false, false); err != nil {
		return err
	}
	up.say("Container", c.Name, "Removed")
	return nil
}

// recreate puts a new container in the place of an old one, which is gone when the new
// one is made, and before it is started. Volumes without a name go on with the new one.
func (up *deploying) recreate(ctx context.Context, s types.ServiceConfig, c Container) error {
	up.say("Container", c.Name, "Recreate")
	spec, err := up.spec(s, max(1, number(c)))
	if err != nil {
		return err
	}
	name := spec.Name
	spec.Name = c.ID[:12] + "_" + name
	inherit(spec.Mounts, c.Mounts)
	spec.Labels[labelPrefix+"replace"] = c.Name
	id, err := up.m.Create(spec)
	if err != nil {
		return err
	}
	if err := up.m.Stop(ctx, c.ID, 0); err != nil {
		return err
	}
	if err := up.m.Remove(c.ID, false, false); err != nil {
		return err
	}
	if err := up.m.Rename(id, name); err != nil {
		return err
	}
	up.say("Container", name, "Recreated")
	return nil
}

// inherit gives mounts without a source the volume that the old container has there.
func inherit(mounts, old []Mount) {
	for i := range mounts {
		for _, was := range old {
			if mounts[i].Type == mountVolume && mounts[i].Source == "" && was.Type == mountVolume && was.Target == mounts[i].Target {
				mounts[i].Source = was.Source
			}
		}
	}
}

// spec is what a service's container is made of.
func (up *deploying) spec(s types.ServiceConfig, number int) (Spec, error) {
	image, err := up.m.Image(imageOf(up.p.Name, s))
	if err != nil {
		return Spec{}, err
	}
	return up.p.spec(s, number, image)
}

func (up *deploying) create(s types.ServiceConfig, number int) error {
	spec, err := up.spec(s, number)
	if err != nil {
		return err
	}
	up.say("Container", spec.Name, "Creating")
	if _, err := up.m.Create(spec); err != nil {
		up.say("Container", spec.Name, "Error")
		return err
	}
	up.say("Container", spec.Name, "Created")
	return nil
}

// start starts what does not run, when what it depends on is as far as it should be.
func (up *deploying) start(ctx context.Context) error {
	for _, s := range up.p.order() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := up.dependencies(s); err != nil {
			return err
		}
		for _, c := range up.of(s.Name) {
			if c.State == stateRunning {
				continue
			}
			up.say("Container", c.Name, "Starting")
			if err := up.m.Start(c.ID); err != nil {
				return err
			}
			up.say("Container", c.Name, "Started")
		}
	}
	return nil
}

// dependencies says whether what a service depends on is as far as it asks for.
func (up *deploying) dependencies(s types.ServiceConfig) error {
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		for _, c := range up.of(name) {
			err := judge(c, s.DependsOn[name].Condition)
			if err != nil && s.DependsOn[name].Required {
				return err
			}
		}
	}
	return nil
}

// judge says whether a container fulfils a condition of depends_on.
func judge(c Container, condition string) error {
	switch condition {
	case types.ServiceConditionHealthy:
		const words = "dependency failed to start: container " // of compose
		switch {
		case c.State == stateExited:
			return fmt.Errorf(words+"%s exited (%d)", c.Name, c.ExitCode)
		case c.Health == "":
			return errors.New(words + c.Name + " has no healthcheck configured")
		case c.Health == unhealthy:
			return errors.New(words + c.Name + " is unhealthy")
		}
	case types.ServiceConditionCompletedSuccessfully:
		if c.ExitCode != 0 {
			return fmt.Errorf("service %q didn't complete successfully: exit %d", c.Labels[labelService], c.ExitCode)
		}
	}
	return nil
}

// Down implements Engine.
func (m *Memory) Down(ctx context.Context, project string) error {
	lock := m.project(project)
	lock.Lock()
	defer lock.Unlock()
	down := &deploying{m: m, out: &strings.Builder{}}
	if err := m.awake(); err != nil {
		_, err = down.fail(err)
		return err
	}
	for _, c := range m.Containers() {
		if c.Labels[labelProject] != project {
			continue
		}
		if err := down.drop(ctx, c); err != nil && !missing(err) {
			_, err = down.fail(err)
			return err
		}
	}
	for _, n := range m.Networks() {
		if n.Labels[labelProject] != project {
			continue
		}
		if err := m.RemoveNetwork(n.Name); err != nil && !missing(err) {
			_, err = down.fail(err)
			return err
		}
	}
	return nil
}

// missing says whether something was not there.
func missing(err error) bool {
	var engine *EngineError
	return errors.As(err, &engine) && engine.Status == 404
}
