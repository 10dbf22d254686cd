// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// Names of files and labels, as Portainer and compose give them.
const (
	composeFile  = "docker-compose.yml"
	envFile      = "stack.env"
	labelPrefix  = "com.docker.compose."
	labelProject = labelPrefix + "project"
	labelService = labelPrefix + "service"
	labelNumber  = labelPrefix + "container-number"
	labelHash    = labelPrefix + "config-hash"
	labelImage   = labelPrefix + "image"
	labelOneOff  = labelPrefix + "oneoff"
	labelVolume  = labelPrefix + "volume"
	labelNetwork = labelPrefix + "network"
)

// parsed is a compose file as compose understands it.
type parsed struct {
	*types.Project
	dir string
}

// parse reads a deployment's text, with the variables of its stack.env.
func (d Deployment) parse(ctx context.Context) (*parsed, error) {
	values, err := dotenv.UnmarshalWithLookup(strings.Join(d.Env, "\n"), nil)
	if err != nil {
		return nil, fmt.Errorf("failed to read %s: %w", path.Join(d.dir(), envFile), err) //nolint:revive // compose says so
	}
	project, err := loader.LoadWithContext(ctx, types.ConfigDetails{
		WorkingDir:  d.dir(),
		ConfigFiles: []types.ConfigFile{{Filename: path.Join(d.dir(), composeFile), Content: []byte(d.Text)}},
		Environment: maps.Clone(values), // the loader adds to it
	}, func(o *loader.Options) {
		o.SetProjectName(d.Project, true)
		o.SkipResolveEnvironment, o.SkipResolveLabels = true, true // they read files, and an engine in memory has none
		o.ResourceLoaders = []loader.ResourceLoader{noFiles{}}
		o.Profiles = strings.FieldsFunc(values["COMPOSE_PROFILES"], func(r rune) bool { return r == ',' })
	})
	if err != nil {
		return nil, err
	}
	for name, service := range project.Services {
		if err := d.resolve(&service, values); err != nil {
			return nil, err
		}
		project.Services[name] = service
	}
	return &parsed{Project: project, dir: d.dir()}, nil
}

// noFiles is what include and extends find on the disk of an engine in memory: nothing, rather than this computer's files.
type noFiles struct{}

func (noFiles) Accept(string) bool { return true }

func (noFiles) Load(_ context.Context, name string) (string, error) {
	return "", fmt.Errorf("stat %s: no such file or directory", name)
}

func (noFiles) Dir(name string) string { return path.Dir(name) }

// dir is where the compose file is said to be.
func (d Deployment) dir() string {
	if d.Dir == "" {
		return "/data/compose/" + d.Project
	}
	return d.Dir
}

// resolve fills a service's environment in: the file stack.env is the only one
// that is there.
func (d Deployment) resolve(s *types.ServiceConfig, values map[string]string) error {
	environment := types.MappingWithEquals{}
	for _, file := range s.EnvFiles {
		switch {
		case file.Path == path.Join(d.dir(), envFile) && d.Env != nil:
			for name, value := range values {
				environment[name] = &value
			}
		case bool(file.Required):
			return fmt.Errorf("env file %s not found: stat %[1]s: no such file or directory", file.Path)
		}
	}
	s.EnvFiles = nil
	for name, value := range s.Environment {
		if given, there := values[name]; value == nil && there {
			value = &given
		}
		if value != nil {
			environment[name] = value
		}
	}
	s.Environment = environment
	return nil
}

// order are the services that are not switched off by a profile, those that
// others depend on first.
func (p *parsed) order() []types.ServiceConfig {
	var out []types.ServiceConfig
	done := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		service, there := p.Services[name]
		if done[name] || !there {
			return
		}
		done[name] = true
		for _, other := range service.GetDependencies() {
			visit(other)
		}
		out = append(out, service)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		visit(name)
	}
	return out
}

// hash is the configuration of a service as compose compares it: without what does
// not make a container another one. The content of configs is not in it.
func hash(s types.ServiceConfig) (string, error) {
	s.Build, s.PullPolicy, s.Scale, s.DependsOn, s.Profiles = nil, "", nil, nil, nil
	if s.Deploy != nil {
		deploy := *s.Deploy
		deploy.Replicas = nil
		s.Deploy = &deploy
	}
	text, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("hash service %s: %w", s.Name, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// spec is a service's container.
func (p *parsed) spec(s types.ServiceConfig, number int, image Image) (Spec, error) {
	configHash, err := hash(s)
	if err != nil {
		return Spec{}, err
	}
	out := Spec{
		Name: p.containerName(s, number), Image: imageOf(p.Name, s), Entrypoint: s.Entrypoint, Command: s.Command,
		Labels: map[string]string{}, Networks: p.networksOf(s), Restart: restartOf(s), Files: p.filesOf(s),
		Healthcheck: s.HealthCheck != nil && !s.HealthCheck.Disable && len(s.HealthCheck.Test) > 0 && s.HealthCheck.Test[0] != "NONE",
	}
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		out.Env = append(out.Env, name+"="+*s.Environment[name])
	}
	maps.Copy(out.Labels, s.Labels)
	maps.Copy(out.Labels, map[string]string{
		labelProject: p.Name, labelService: s.Name, labelNumber: fmt.Sprint(number), labelHash: configHash, labelImage: image.ID, labelOneOff: "False",
		labelPrefix + "version": "2.40.3", labelPrefix + "depends_on": dependsOn(s),
		labelPrefix + "project.working_dir": p.dir, labelPrefix + "project.config_files": path.Join(p.dir, composeFile),
	})
	for _, port := range s.Ports {
		one := Port{Address: port.HostIP, Target: int(port.Target), Protocol: port.Protocol}
		if _, err := fmt.Sscan(port.Published, &one.Published); err != nil && port.Published != "" {
			return Spec{}, fmt.Errorf("invalid hostPort: %s", port.Published)
		}
		out.Ports = append(out.Ports, one)
	}
	for _, v := range s.Volumes {
		source := v.Source
		if v.Type == types.VolumeTypeVolume && source != "" {
			source = p.Volumes[source].Name
		}
		out.Mounts = append(out.Mounts, Mount{Type: v.Type, Source: source, Target: v.Target, ReadOnly: v.ReadOnly})
	}
	return out, nil
}

func (p *parsed) containerName(s types.ServiceConfig, number int) string {
	if s.ContainerName != "" {
		return s.ContainerName
	}
	return fmt.Sprintf("%s-%s-%d", p.Name, s.Name, number)
}

// imageOf is the image of a service; one that is built has the project's name.
func imageOf(project string, s types.ServiceConfig) string {
	if s.Image != "" {
		return s.Image
	}
	return project + "-" + s.Name
}

func (p *parsed) networksOf(s types.ServiceConfig) []string {
	if s.NetworkMode != "" {
		return []string{s.NetworkMode}
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(s.Networks)) {
		out = append(out, p.Networks[key].Name)
	}
	return out
}

// filesOf are the configs and secrets of a service, by their path in the container.
func (p *parsed) filesOf(s types.ServiceConfig) map[string]string {
	out := map[string]string{}
	put := func(target, folder, source, content, variable string) {
		if target == "" {
			target = folder + source
		}
		if !path.IsAbs(target) {
			target = folder + target
		}
		if variable != "" {
			content = p.Environment[variable]
		}
		out[target] = content
	}
	for _, c := range s.Configs {
		from := p.Configs[c.Source]
		put(c.Target, "/", c.Source, from.Content, from.Environment)
	}
	for _, c := range s.Secrets {
		from := p.Secrets[c.Source]
		put(c.Target, "/run/secrets/", c.Source, from.Content, from.Environment)
	}
	return out
}

// restartOf is a service's restart policy.
func restartOf(s types.ServiceConfig) string {
	if s.Restart != "" {
		return s.Restart
	}
	if s.Deploy == nil || s.Deploy.RestartPolicy == nil {
		return "no"
	}
	policy := s.Deploy.RestartPolicy
	switch policy.Condition {
	case "none":
		return "no"
	case "on-failure":
		if policy.MaxAttempts != nil {
			return fmt.Sprintf("on-failure:%d", *policy.MaxAttempts)
		}
		return "on-failure"
	}
	return "always"
}

// dependsOn is the label that tells what a service depends on.
func dependsOn(s types.ServiceConfig) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		one := s.DependsOn[name]
		out = append(out, fmt.Sprintf("%s:%s:%t", name, one.Condition, one.Restart))
	}
	return strings.Join(out, ",")
}
