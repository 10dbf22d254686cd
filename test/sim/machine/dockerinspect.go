// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// get asks the engine's API, as the program docker does.
func get(ctx context.Context, m *portainer.Memory, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	answer := httptest.NewRecorder()
	m.ServeHTTP(answer, request)
	if answer.Code == http.StatusOK {
		return answer.Body.Bytes(), nil
	}
	var said struct{ Message string }
	if err := json.Unmarshal(answer.Body.Bytes(), &said); err != nil {
		return nil, fmt.Errorf("request returned %s for API route", http.StatusText(answer.Code))
	}
	return nil, &portainer.EngineError{Status: answer.Code, Message: said.Message}
}

func dockerInspectImages(ctx context.Context, c *dockerCall) int {
	return c.inspect(ctx, "image", "/images/")
}

func dockerInspectContainers(ctx context.Context, c *dockerCall) int {
	return c.inspect(ctx, "container", "/containers/")
}

func dockerInspectVolumes(ctx context.Context, c *dockerCall) int {
	return c.inspect(ctx, "volume", "/volumes/")
}

func dockerInspectAny(ctx context.Context, c *dockerCall) int {
	switch kind := c.last("type", ""); kind {
	case "image", "container", "volume":
		return c.inspect(ctx, kind, "/"+kind+"s/")
	case "":
		return c.inspect(ctx, "object", "/containers/", "/images/", "/volumes/")
	default:
		fmt.Fprintf(c.Stderr, "%q is not a valid value for --type\n", kind)
		return 1
	}
}

// inspect prints what the API says of things, as JSON or by a template.
func (c *dockerCall) inspect(ctx context.Context, kind string, places ...string) int {
	format := c.last("f", "")
	if _, err := fill(format, map[string]any{}); err != nil && !strings.Contains(err.Error(), "executing") {
		fmt.Fprintln(c.Stderr, err)
		return 64
	}
	m, away := c.memory()
	var found [][]byte
	var complaints []string
	for _, name := range c.args {
		text, err := []byte(nil), away
		if away == nil {
			text, err = find(ctx, m, kind, name, places)
		}
		if err != nil {
			complaints = append(complaints, plain(err))
			continue
		}
		found = append(found, text)
	}
	if err := c.show(format, found); err != nil {
		complaints = append(complaints, err.Error())
	}
	if len(complaints) == 0 {
		return 0
	}
	fmt.Fprintln(c.Stderr, strings.Join(complaints, "\n"))
	return 1
}

// find looks a thing up in the places where it may be.
func find(ctx context.Context, m *portainer.Memory, kind, name string, places []string) ([]byte, error) {
	for _, place := range places {
		path := place + url.PathEscape(name)
		if place == "/images/" {
			path = place + name // it may have slashes
		}
		if place == "/images/" || place == "/containers/" {
			path += "/json"
		}
		text, err := get(ctx, m, path)
		var engine *portainer.EngineError
		if err == nil || !errors.As(err, &engine) || engine.Status != http.StatusNotFound {
			return text, err
		}
	}
	return nil, &portainer.EngineError{Status: http.StatusNotFound, Message: "No such " + kind + ": " + name}
}

func (c *dockerCall) show(format string, found [][]byte) error {
	if format == "" {
		var b bytes.Buffer
		if err := json.Indent(&b, append(append([]byte{'['}, bytes.Join(found, []byte{','})...), ']'), "", "    "); err != nil {
			return err
		}
		c.Printf("%s\n", b.Bytes())
		return nil
	}
	if len(found) == 0 {
		c.Printf("\n")
	}
	for _, one := range found {
		text, err := render(format, one)
		if err != nil {
			c.Printf("\n")
			return errors.New(strings.Replace(err.Error(), "template: :", "template: :", 1))
		}
		c.Printf("%s\n", text)
	}
	return nil
}

// firstField is what a template asks for first.
var firstField = regexp.MustCompile(`\{\{[^.}]*(\.[A-Za-z]+)`)

func dockerInfo(ctx context.Context, c *dockerCall) int {
	format := c.last("f", "")
	d, err := c.engine()
	if err != nil && format == "" {
		c.Printf("Client:\n Context:    default\n Debug Mode: false\n\nServer:\nERROR: %v\n", err)
		fmt.Fprintln(c.Stderr, "errors pretty printing info")
		return 1
	}
	if err != nil {
		field := "."
		if found := firstField.FindStringSubmatch(format); found != nil {
			field = found[1]
		}
		c.Printf("\n")
		fmt.Fprintf(c.Stderr, "template: :1:%d: executing \"\" at <%s>: reflect: indirection through nil pointer to embedded struct field Info\n", max(strings.Index(format, field), 0), field)
		return 1
	}
	info, err := c.info(ctx, d)
	if err != nil {
		return c.fail(err)
	}
	if format == "" {
		c.printInfo(info)
		return 0
	}
	text, err := json.Marshal(info)
	if err == nil {
		var out string
		if out, err = render(format, text); err == nil {
			c.Printf("%s\n", out)
			return 0
		}
	}
	fmt.Fprintln(c.Stderr, err)
	return 1
}

// info is what the API says of the engine, with what its daemon knows besides.
func (c *dockerCall) info(ctx context.Context, d *dockerDaemon) (map[string]any, error) {
	text, err := get(ctx, d.engine.memory, "/info")
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	info := map[string]any{}
	if err := decoder.Decode(&info); err != nil {
		return nil, err
	}
	conf := d.config()
	version, _ := c.M.dockerRelease()
	mirrors := conf.Mirrors
	if mirrors == nil {
		mirrors = []string{}
	}
	info["DockerRootDir"], info["LiveRestoreEnabled"], info["LoggingDriver"], info["ServerVersion"] = conf.DataRoot, conf.LiveRestore, conf.LogDriver, version
	info["Debug"], info["Name"], info["IndexServerAddress"] = conf.Debug, c.M.Hostname(), "https://index.docker.io/v1/"
	info["RegistryConfig"] = map[string]any{"InsecureRegistryCIDRs": append([]string{"127.0.0.0/8"}, conf.Insecure...), "Mirrors": mirrors}
	info["ClientInfo"] = map[string]any{"Debug": false, "Context": "default", "Plugins": []any{}, "Warnings": nil}
	return info, nil
}

func (c *dockerCall) printInfo(info map[string]any) {
	c.Printf("Client:\n Context:    default\n Debug Mode: false\n\nServer:\n Containers: %v\n  Running: %v\n  Paused: 0\n  Stopped: %v\n Images: %v\n", info["Containers"], info["ContainersRunning"], info["ContainersStopped"], info["Images"])
	for _, line := range [][2]string{
		{"Server Version", "ServerVersion"}, {"Storage Driver", "Driver"}, {"Logging Driver", "LoggingDriver"}, {"Cgroup Driver", "CgroupDriver"}, {"Kernel Version", "KernelVersion"},
		{"Operating System", "OperatingSystem"}, {"OSType", "OSType"}, {"Architecture", "Architecture"}, {"CPUs", "NCPU"}, {"Name", "Name"}, {"ID", "ID"},
		{"Docker Root Dir", "DockerRootDir"}, {"Debug Mode", "Debug"}, {"Registry", "IndexServerAddress"}, {"Live Restore Enabled", "LiveRestoreEnabled"},
	} {
		c.Printf(" %s: %v\n", line[0], info[line[1]])
	}
	c.Printf("\n")
}

// dockerVersion tells the versions of the client and, if it answers, the server.
func dockerVersion(_ context.Context, c *dockerCall) int {
	version, old := c.M.dockerRelease()
	api, language := "1.51", "go1.24.8"
	if old {
		api, language = "1.41", "go1.19.8"
	}
	about := map[string]any{"Client": map[string]any{"Version": version, "ApiVersion": api, "DefaultAPIVersion": api, "GoVersion": language, "Os": "linux", "Arch": "amd64", "Context": "default"}}
	_, err := c.engine()
	if err == nil {
		about["Server"] = map[string]any{"Version": version, "ApiVersion": api, "MinAPIVersion": "1.12", "GoVersion": language, "Os": "linux", "Arch": "amd64"}
	}
	if format := c.last("f", ""); format != "" {
		out, bad := c.versionBy(format, about)
		c.Printf("%s\n", out)
		if bad != nil && err == nil {
			err = bad
		}
	} else {
		c.Printf("Client:\n Version:           %s\n API version:       %s\n Go version:        %s\n OS/Arch:           linux/amd64\n Context:           default\n Experimental:      true\n", version, api, language)
		if err == nil {
			c.Printf("\nServer:\n Engine:\n  Version:          %s\n  API version:      %s (minimum version 1.12)\n  Go version:       %s\n  OS/Arch:          linux/amd64\n  Experimental:     false\n", version, api, language)
		}
	}
	if err != nil {
		fmt.Fprintln(c.Stderr, err)
		return 1
	}
	return 0
}

// versionBy fills a template in; what it wants of a server that does not answer is nothing.
func (c *dockerCall) versionBy(format string, about map[string]any) (string, error) {
	text, err := json.Marshal(about)
	if err != nil {
		return "", err
	}
	out, err := render(format, text)
	if _, answers := about["Server"]; err != nil && !answers {
		return "", nil
	}
	return out, err
}
