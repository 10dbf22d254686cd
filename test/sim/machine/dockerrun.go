// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

const dockerRunSpec = "rm name: p: publish:=p v: volume:=v e: env:=e env-file: l: label:=l network: net:=network restart: d detach=d i interactive=i t tty=t init privileged " +
	"read-only entrypoint: h: hostname:=h u: user:=u w: workdir:=w m: memory:=m cpus: pull: platform: log-driver: log-opt: security-opt: cap-add: cap-drop: tmpfs: stop-timeout: " +
	"add-host: dns: cidfile: sig-proxy ulimit: health-cmd: no-healthcheck pids-limit: mount: a: attach:=a"

var containerName = regexp.MustCompile(`^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// dockerRun makes a container and runs it: in the background, or until it ends.
func dockerRun(ctx context.Context, c *dockerCall) int {
	spec, err := c.spec()
	if err != nil {
		return c.refuse(err)
	}
	d, err := c.engine()
	if err != nil {
		return c.refuse(err)
	}
	if err := c.check(spec); err != nil {
		return c.refuse(err)
	}
	if err := c.provide(ctx, d, spec.Image); err != nil {
		return c.refuse(err)
	}
	for i := range spec.Mounts {
		if err := c.mountPoint(d, spec.Mounts[i]); err != nil {
			return c.refuse(err)
		}
	}
	if c.has("d") {
		return c.background(ctx, d, spec)
	}
	return c.foreground(ctx, d, spec)
}

// refuse prints why a container is not made.
func (c *dockerCall) refuse(err error) int {
	return c.usage(125, "docker: %s.", strings.TrimSuffix(fromDaemon(err), "."))
}

// spec is the container that the options ask for. The errors are docker's own.
func (c *dockerCall) spec() (portainer.Spec, error) {
	s := portainer.Spec{
		Name: c.last("name", ""), Image: c.args[0], Networks: c.set["network"], Restart: c.last("restart", "no"), AutoRemove: c.has("rm"), Labels: map[string]string{},
	}
	if command := c.args[1:]; len(command) > 0 {
		s.Command = command
	}
	if entrypoint := c.last("entrypoint", ""); entrypoint != "" {
		s.Entrypoint = []string{entrypoint}
	}
	if s.Name == "" {
		s.Name = "quirky_" + randomText(8)
	}
	if _, err := imageName(s.Image); err != nil {
		return s, err
	}
	for _, one := range c.set["l"] {
		key, value, _ := strings.Cut(one, "=")
		s.Labels[key] = value
	}
	var err error
	if s.Env, err = c.containerEnv(); err != nil {
		return s, err
	}
	for _, one := range c.set["p"] {
		ports, err := parsePublish(one)
		if err != nil {
			return s, err
		}
		s.Ports = append(s.Ports, ports...)
	}
	for _, one := range c.set["v"] {
		mount, err := parseVolume(one)
		if err != nil {
			return s, err
		}
		s.Mounts = append(s.Mounts, mount)
	}
	if s.AutoRemove && s.Restart != "no" {
		return s, errors.New("Conflicting options: --restart and --rm") //nolint:staticcheck // Docker says so
	}
	return s, nil
}

// check finds what the engine does not like.
func (c *dockerCall) check(s portainer.Spec) error {
	refuse := func(format string, args ...any) error {
		return &portainer.EngineError{Status: 400, Message: fmt.Sprintf(format, args...)}
	}
	if !containerName.MatchString(s.Name) {
		return refuse("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", s.Name)
	}
	switch policy, _, _ := strings.Cut(s.Restart, ":"); policy {
	case "no", "always", "unless-stopped", "on-failure":
		return nil
	}
	return refuse("invalid restart policy '%s'", s.Restart)
}

// containerEnv are the variables of --env-file and --env, the later over the earlier.
func (c *dockerCall) containerEnv() ([]string, error) {
	var out []string
	add := func(entry string) {
		name, _, given := strings.Cut(entry, "=")
		if !given {
			value, there := lookupEnv(c.Env, name)
			if !there {
				return
			}
			entry = name + "=" + value
		}
		out = append(out, entry)
	}
	for _, file := range c.set["env-file"] {
		text, err := c.readAs(file)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", file, err)
		}
		for _, line := range lines(string(text)) {
			line = strings.TrimLeftFunc(strings.TrimSuffix(line, "\r"), unicode.IsSpace)
			name, _, _ := strings.Cut(line, "=")
			switch {
			case line == "" || line[0] == '#':
			case strings.ContainsFunc(name, unicode.IsSpace):
				return nil, fmt.Errorf("poorly formatted environment: variable '%s' contains whitespaces", name)
			case name == "":
				return nil, fmt.Errorf("poorly formatted environment: no variable name on line '%s'", line)
			default:
				add(line)
			}
		}
	}
	for _, one := range c.set["e"] {
		add(one)
	}
	return out, nil
}

func lookupEnv(env []string, name string) (string, bool) {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// parsePublish reads [[ADDRESS:]PORT:]PORT[/PROTOCOL], where PORT may be a range.
func parsePublish(text string) ([]portainer.Port, error) {
	rest, protocol, given := strings.Cut(text, "/")
	if !given {
		protocol = "tcp"
	}
	parts := strings.Split(rest, ":")
	target := parts[len(parts)-1]
	address, published := "", ""
	if len(parts) > 1 {
		published = parts[len(parts)-2]
	}
	if len(parts) > 2 {
		address = strings.Trim(strings.Join(parts[:len(parts)-2], ":"), "[]")
		if net.ParseIP(address) == nil {
			return nil, fmt.Errorf("Invalid ip address %s", address) //nolint:staticcheck // Docker says so
		}
	}
	first, last, ok := portRange(target)
	if !ok {
		return nil, fmt.Errorf("Invalid containerPort: %s", target) //nolint:staticcheck // Docker says so
	}
	from, to, ok := portRange(published)
	if !ok && published != "" || published != "" && to-from != last-first {
		return nil, fmt.Errorf("Invalid hostPort: %s", published) //nolint:staticcheck // Docker says so
	}
	if protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
		return nil, fmt.Errorf("Invalid proto: %s", protocol) //nolint:staticcheck // Docker says so
	}
	var out []portainer.Port
	for n := first; n <= last; n++ {
		one := portainer.Port{Address: address, Target: n, Protocol: protocol}
		if published != "" {
			one.Published = from + n - first
		}
		out = append(out, one)
	}
	return out, nil
}

func portRange(text string) (first, last int, ok bool) {
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	first, err := strconv.Atoi(low)
	last, bad := strconv.Atoi(high)
	return first, last, err == nil && bad == nil && first > 0 && last >= first && last < 1<<16
}

// parseVolume reads [SOURCE:]TARGET[:OPTIONS].
func parseVolume(text string) (portainer.Mount, error) {
	refuse := func(format string, args ...any) (portainer.Mount, error) {
		return portainer.Mount{}, &portainer.EngineError{Status: 400, Message: fmt.Sprintf(format, args...)}
	}
	parts := strings.Split(text, ":")
	m := portainer.Mount{Type: "volume"}
	switch len(parts) {
	case 1:
		m.Target = parts[0]
	case 2:
		m.Source, m.Target = parts[0], parts[1]
	case 3:
		m.Source, m.Target = parts[0], parts[1]
		for _, option := range strings.Split(parts[2], ",") {
			m.ReadOnly = m.ReadOnly || option == "ro"
		}
	default:
		return refuse("invalid volume specification: '%s'", text)
	}
	if path.IsAbs(m.Source) {
		m.Type = "bind"
	}
	switch {
	case !path.IsAbs(m.Target) && m.Type == "bind", !path.IsAbs(m.Target) && len(parts) > 1:
		return refuse("invalid volume specification: '%s': invalid mount config for type %q: invalid mount path: '%s' mount path must be absolute", text, m.Type, m.Target)
	case m.Type == "volume" && m.Source != "" && !containerName.MatchString(m.Source):
		return refuse("create %s: %q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", m.Source, m.Source)
	}
	return m, nil
}

// mountPoint makes the folder of the machine that a container is to see.
func (c *dockerCall) mountPoint(d *dockerDaemon, m portainer.Mount) error {
	if m.Type != "bind" {
		if m.Source != "" {
			d.engine.volume(m.Source)
		}
		return nil
	}
	if _, err := c.M.stat(m.Source); err == nil {
		return nil
	}
	if err := c.M.mkdirAll(m.Source, 0o755); err != nil {
		return &portainer.EngineError{Status: 500, Message: fmt.Sprintf("error while creating mount source path '%s': mkdir %s: %v", m.Source, m.Source, err)}
	}
	return nil
}

// provide pulls an image that is not there.
func (c *dockerCall) provide(ctx context.Context, d *dockerDaemon, name string) error {
	_, missing := d.engine.memory.Image(name)
	policy := c.last("pull", "missing")
	if missing == nil && policy != "always" || missing != nil && policy == "never" {
		return missing
	}
	named, err := imageName(name)
	if err != nil {
		return err
	}
	if missing != nil {
		fmt.Fprintf(c.Stderr, "Unable to find image '%s' locally\n", strings.TrimPrefix(strings.TrimPrefix(named.String(), "docker.io/library/"), "docker.io/"))
	}
	return c.pull(ctx, d.engine.memory, named, false, c.Stderr)
}

func (c *dockerCall) background(ctx context.Context, d *dockerDaemon, s portainer.Spec) int {
	id, _, err := d.engine.memory.Run(ctx, s)
	if id != "" {
		c.Printf("%s\n", id)
	}
	if err != nil {
		return c.notStarted(id, err)
	}
	return 0
}

// notStarted prints why a container that was made, or not even that, does not run.
func (c *dockerCall) notStarted(id string, err error) int {
	if id == "" {
		return c.refuse(err)
	}
	fmt.Fprintf(c.Stderr, "docker: %s.\n", fromDaemon(err))
	switch text := err.Error(); {
	case strings.Contains(text, "no such file or directory"), strings.Contains(text, "executable file not found"):
		return 127
	case strings.Contains(text, "permission denied"):
		return 126
	}
	return 125
}

// foreground runs a container until it ends. It ends with the program docker, and the program docker
// with the engine, even where the container goes on.
func (c *dockerCall) foreground(ctx context.Context, d *dockerDaemon, s portainer.Spec) int {
	detach := d.engine.attach(s.Name, c.Stdout)
	defer detach()
	id, wait, err := d.engine.memory.Run(ctx, s)
	if err != nil {
		return c.notStarted(id, err)
	}
	type end struct {
		code int
		err  error
	}
	patience, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan end, 1)
	go func() {
		code, err := wait(patience)
		ended <- end{code, err}
	}()
	select {
	case e := <-ended:
		return e.code
	case <-ctx.Done():
		_ = d.engine.memory.Stop(c.M.alive(), id, 0) // it may be gone
		return 143
	case <-d.gone:
	}
	select {
	case e := <-ended: // it ended with the engine
		return e.code
	default:
	}
	fmt.Fprintf(c.Stderr, "time=%q level=error msg=\"error waiting for container: unexpected EOF\"\n", c.M.now().UTC().Format("2006-01-02T15:04:05Z"))
	return 125
}
