// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// dockerHost is where the program docker looks for the engine.
const dockerHost = "unix:///var/run/docker.sock"

// dockerCommand is a command of the program docker.
type dockerCommand struct {
	spec         string
	usage, about string
	least, most  int // operands; most -1: any number
	leading      bool
	run          func(ctx context.Context, c *dockerCall) int
}

// dockerCall is one call of it.
type dockerCall struct {
	*Process
	flags
	name string
	host string
}

var dockerCommands map[string]*dockerCommand

// dockerOther are other words for commands.
var dockerOther = map[string]string{
	"images": "image ls", "image list": "image ls", "rmi": "image rm", "image remove": "image rm", "image pull": "pull", "image load": "load", "image tag": "tag",
	"container run": "run", "container rm": "rm", "container remove": "rm", "container stop": "stop", "container start": "start", "container restart": "restart",
	"container kill": "kill", "container wait": "wait", "container ls": "ps", "container list": "ps", "container ps": "ps", "container logs": "logs", "system info": "info",
	"volume list": "volume ls", "volume remove": "volume rm",
}

const manyContainers = " [OPTIONS] CONTAINER [CONTAINER...]"

func init() { // the table refers to functions that refer to it
	dockerCommands = map[string]*dockerCommand{
		"version":           {"f: format:=f", " [OPTIONS]", "Show the Docker version information", 0, 0, false, dockerVersion},
		"info":              {"f: format:=f", " [OPTIONS]", "Display system-wide information", 0, 0, false, dockerInfo},
		"pull":              {"q quiet=q a all-tags=a platform: disable-content-trust", " [OPTIONS] NAME[:TAG|@DIGEST]", "Pull an image or a repository from a registry", 1, 1, false, dockerPull},
		"load":              {"q quiet=q i: input:=i", " [OPTIONS]", "Load an image from a tar archive or STDIN", 0, 0, false, dockerLoad},
		"tag":               {"", " SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", 2, 2, false, dockerTag},
		"image ls":          {"a all=a q quiet=q f: filter:=f format: no-trunc digests", " [OPTIONS] [REPOSITORY[:TAG]]", "List images", 0, 1, false, dockerImages},
		"image rm":          {"f force=f no-prune", " [OPTIONS] IMAGE [IMAGE...]", "Remove one or more images", 1, -1, false, dockerImageRemove},
		"image inspect":     {"f: format:=f", " [OPTIONS] IMAGE [IMAGE...]", "Display detailed information on one or more images", 1, -1, false, dockerInspectImages},
		"inspect":           {"f: format:=f type: s size=s", " [OPTIONS] NAME|ID [NAME|ID...]", "Return low-level information on Docker objects", 1, -1, false, dockerInspectAny},
		"container inspect": {"f: format:=f s size=s", manyContainers, "Display detailed information on one or more containers", 1, -1, false, dockerInspectContainers},
		"volume inspect":    {"f: format:=f", " [OPTIONS] VOLUME [VOLUME...]", "Display detailed information on one or more volumes", 1, -1, false, dockerInspectVolumes},
		"volume ls":         {"f: filter:=f q quiet=q format:", " [OPTIONS]", "List volumes", 0, 0, false, dockerVolumes},
		"volume rm":         {"f force=f", " [OPTIONS] VOLUME [VOLUME...]", "Remove one or more volumes", 1, -1, false, dockerVolumeRemove},
		"network ls":        {"f: filter:=f q quiet=q format: no-trunc", " [OPTIONS]", "List networks", 0, 0, false, dockerNetworks},
		"run":               {dockerRunSpec, " [OPTIONS] IMAGE [COMMAND] [ARG...]", "Run a command in a new container", 1, -1, true, dockerRun},
		"rm":                {"f force=f v volumes=v l link=l", manyContainers, "Remove one or more containers", 1, -1, false, dockerRemove},
		"stop":              {"t: time:=t", manyContainers, "Stop one or more running containers", 1, -1, false, dockerStop},
		"start":             {"a attach=a i interactive=i", manyContainers, "Start one or more stopped containers", 1, -1, false, dockerStart},
		"restart":           {"t: time:=t", manyContainers, "Restart one or more containers", 1, -1, false, dockerRestart},
		"kill":              {"s: signal:=s", manyContainers, "Kill one or more running containers", 1, -1, false, dockerKill},
		"wait":              {"", " CONTAINER [CONTAINER...]", "Block until one or more containers stop, then print their exit codes", 1, -1, false, dockerWait},
		"ps":                {"a all=a q quiet=q f: filter:=f format: no-trunc l latest=l n: last:=n s size=s", " [OPTIONS]", "List containers", 0, 0, false, dockerPs},
		"logs":              {"f follow=f n: tail:=n since: until: t timestamps=t details", " [OPTIONS] CONTAINER", "Fetch the logs of a container", 1, 1, false, dockerLogs},
	}
}

// runDocker is the program docker.
func runDocker(ctx context.Context, p *Process) int {
	f, bad := parseDocker(p.Args[1:], parseSpec("H: host:=H c: context:=c config: D debug=D l: log-level:=l v version=v help tls tlsverify tlscacert: tlscert: tlskey:"), false)
	switch {
	case bad != "":
		fmt.Fprintf(p.Stderr, "%s\nSee 'docker --help'.\n", bad)
		return 125
	case f.has("v"):
		version, _ := p.M.dockerRelease()
		p.Printf("Docker version %s, build 297e128\n", version)
		return 0
	case len(f.args) == 0 || f.has("help"):
		p.Printf("\nUsage:  docker [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers\n")
		return 0
	}
	c := &dockerCall{Process: p, host: f.last("H", p.Getenv("DOCKER_HOST"))}
	if c.host == "" {
		c.host = dockerHost
	}
	command, rest := c.command(f.args)
	if command == nil {
		fmt.Fprintf(p.Stderr, "docker: '%s' is not a docker command.\nSee 'docker --help'\n", f.args[0])
		return 1
	}
	return c.do(ctx, command, rest)
}

// command finds a command by its first words.
func (c *dockerCall) command(args []string) (*dockerCommand, []string) {
	for n := min(2, len(args)); n > 0; n-- {
		name := strings.Join(args[:n], " ")
		c.name = "docker " + name
		if other := dockerOther[name]; other != "" {
			name = other
		}
		if command := dockerCommands[name]; command != nil {
			return command, args[n:]
		}
	}
	return nil, nil
}

func (c *dockerCall) do(ctx context.Context, command *dockerCommand, args []string) int {
	var bad string
	c.flags, bad = parseDocker(args, parseSpec(command.spec+" help"), !command.leading)
	usage := "\nUsage:  " + c.name + command.usage + "\n\n" + command.about + "\n"
	switch {
	case bad != "":
		return c.usage(125, "%s", bad)
	case c.has("help"):
		c.Printf("%s", usage)
		return 0
	}
	if wrong := command.operands(len(c.args)); wrong != "" {
		fmt.Fprintf(c.Stderr, "%q %s.\nSee '%s --help'.\n%s", c.name, wrong, c.name, usage)
		return 1
	}
	return command.run(ctx, c)
}

// operands says what is wrong with the number of operands.
func (c *dockerCommand) operands(n int) string {
	plural := func(n int) string {
		if n == 1 {
			return "1 argument"
		}
		return fmt.Sprintf("%d arguments", n)
	}
	switch {
	case c.most == 0 && n > 0:
		return "accepts no arguments"
	case c.least == c.most && n != c.least:
		return "requires exactly " + plural(c.least)
	case n < c.least:
		return "requires at least " + plural(c.least)
	case c.most > 0 && n > c.most:
		return "requires at most " + plural(c.most)
	}
	return ""
}

// usage prints a complaint with the way to help.
func (c *dockerCall) usage(exit int, format string, args ...any) int {
	fmt.Fprintf(c.Stderr, format+"\nSee '%s --help'.\n", append(slices.Clone(args), c.name)...)
	return exit
}

// engine is the engine at the socket. Who speaks to the socket of one that was
// stopped lets systemd start it.
func (c *dockerCall) engine() (*dockerDaemon, error) {
	if c.host == dockerHost || c.host == "unix://"+dockerSocket {
		if d := c.M.dockerd(); d != nil {
			return d, nil
		}
		s := c.M.sys
		if s.stateOf("docker.socket") == "active" && s.stateOf("docker.service") == "inactive" {
			_ = s.start(c.M.alive(), "docker.service") // it shows as failed
			if d := c.M.dockerd(); d != nil {
				return d, nil
			}
		}
	}
	return nil, fmt.Errorf("Cannot connect to the Docker daemon at %s. Is the docker daemon running?", c.host) //nolint:staticcheck // Docker says so
}

// memory is the engine at the socket, for those who need nothing else of it.
func (c *dockerCall) memory() (*portainer.Memory, error) {
	d, err := c.engine()
	if err != nil {
		return nil, err
	}
	return d.engine.memory, nil
}

// fromDaemon is an error with the words that docker puts before it.
func fromDaemon(err error) string {
	var engine *portainer.EngineError
	if errors.As(err, &engine) {
		return "Error response from daemon: " + engine.Message
	}
	return err.Error()
}

// plain is an error of the engine with "Error: " alone, as docker words what is
// not there in some commands.
func plain(err error) string {
	var engine *portainer.EngineError
	if errors.As(err, &engine) && engine.Status == 404 {
		return "Error: " + engine.Message
	}
	return fromDaemon(err)
}

// fail prints an error.
func (c *dockerCall) fail(err error) int {
	fmt.Fprintln(c.Stderr, fromDaemon(err))
	return 1
}

// each does something with every operand, and prints what comes of it: the
// results at once, the complaints at the end.
func (c *dockerCall) each(word func(error) string, do func(m *portainer.Memory, name string) (string, error)) int {
	m, err := c.memory()
	if err != nil {
		return c.fail(err)
	}
	var complaints []string
	for _, name := range c.args {
		said, err := do(m, name)
		if err != nil {
			complaints = append(complaints, word(err))
			continue
		}
		c.Printf("%s\n", said)
	}
	if len(complaints) == 0 {
		return 0
	}
	fmt.Fprintln(c.Stderr, strings.Join(complaints, "\n"))
	return 1
}
