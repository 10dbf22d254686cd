// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

// source reads dynamic files as Traefik's file provider does: one that cannot be read lets all be as it was.
type source struct {
	files Files
	conf  *fileProvider
	warn  func(text string)
}

// read is the present configuration.
func (s source) read() (*configuration, error) {
	switch {
	case s.conf.Directory != "":
		c := newConfiguration()
		return c, s.folder(s.conf.Directory, c)
	case s.conf.Filename != "":
		return s.file(s.conf.Filename)
	}
	return nil, errors.New("error using file configuration provider, neither filename nor directory is defined")
}

// folder adds what the files of a folder say, and of those below it.
func (s source) folder(dir string, c *configuration) error {
	entries, err := s.files.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("unable to read directory %s: open %s: %w", dir, dir, err)
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name)
		if entry.Dir {
			if err := s.folder(name, c); err != nil {
				return fmt.Errorf("unable to load content configuration from subdirectory d %s/: %w", entry.Name, err)
			}
			continue
		}
		switch strings.ToLower(path.Ext(name)) {
		case ".toml", ".yaml", ".yml":
		default:
			continue
		}
		one, err := s.file(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.merge(entry.Name, c, one)
	}
	return nil
}

// merge adds what one file says. Of two things of a name, the first one stays.
func (s source) merge(file string, into, one *configuration) {
	skip := func(thing, name string) {
		s.warn(fmt.Sprintf("%s already configured, skipping filename=%s providerName=file name=%s", thing, file, name))
	}
	join(into.HTTP.Routers, one.HTTP.Routers, "HTTP router", skip)
	join(into.HTTP.Middlewares, one.HTTP.Middlewares, "HTTP middleware", skip)
	join(into.HTTP.Services, one.HTTP.Services, "HTTP service", skip)
	join(into.HTTP.ServersTransports, one.HTTP.ServersTransports, "HTTP servers transport", skip)
	join(into.TCP.Routers, one.TCP.Routers, "TCP router", skip)
	join(into.TCP.Middlewares, one.TCP.Middlewares, "TCP middleware", skip)
	join(into.TCP.Services, one.TCP.Services, "TCP service", skip)
	join(into.TCP.ServersTransports, one.TCP.ServersTransports, "TCP servers transport", skip)
	join(into.TLS.Options, one.TLS.Options, "TLS options", skip)
	into.TLS.Certificates = append(into.TLS.Certificates, one.TLS.Certificates...)
}

func join[V any](into, from map[string]V, thing string, skip func(thing, name string)) {
	for name, value := range from {
		if _, there := into[name]; there {
			skip(thing, name)
			continue
		}
		into[name] = value
	}
}

// file reads one file, which is a template first.
func (s source) file(name string) (*configuration, error) {
	text, err := s.files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("error reading configuration file: %s - open %s: %w", name, name, err)
	}
	functions := sprig.TxtFuncMap()
	for _, outside := range []string{"env", "expandenv", "getHostByName"} {
		delete(functions, outside) // they would look at the developer's machine
	}
	functions["split"] = strings.Split
	functions["normalize"] = func(name string) string { return strings.Trim(notPlain.ReplaceAllString(name, "-"), "-") }
	parsed, err := template.New(s.conf.Filename).Funcs(functions).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, false); err != nil {
		return nil, err
	}
	c := newConfiguration()
	if err := decode(out.Bytes(), strings.ToLower(path.Ext(name)), c); err != nil {
		return nil, err
	}
	s.inline(c)
	return c, nil
}

// decode reads a dynamic file's text.
func decode(text []byte, extension string, c *configuration) error {
	if extension == ".toml" {
		return errors.New("TOML is not simulated")
	}
	return decodeText(text, extension, c)
}

// inline puts in the place of the names of files what is in them.
func (s source) inline(c *configuration) {
	for _, transport := range c.HTTP.ServersTransports {
		for i, root := range transport.RootCAs {
			transport.RootCAs[i] = s.content(root)
		}
	}
	for _, pair := range c.TLS.Certificates {
		pair.CertFile, pair.KeyFile = s.content(pair.CertFile), s.content(pair.KeyFile)
	}
}

// content is a text, or that of the file that it names.
func (s source) content(text string) string {
	if data, err := s.files.ReadFile(text); err == nil {
		return string(data)
	}
	return text
}
