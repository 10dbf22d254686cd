// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"syscall"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// prefix of paths that are not absolute.
const prefix = "/etc/nginx"

// Files are the machine's.
type Files struct {
	// Read reads a file.
	Read func(name string) ([]byte, error)
	// Glob finds files by a pattern of package path, sorted.
	Glob func(pattern string) ([]string, error)
}

// Config is a configuration that nginx accepts.
type Config struct {
	// Warnings are what nginx says about it all the same.
	Warnings []string

	files   Files
	servers []*server
	groups  []*group
	web     section
	stream  section
	passers []*passer
	// wideNames says that names of servers may be long.
	wideNames bool
	// modules that are loaded.
	modules []string
}

// dynamic are modules that are packages of their own.
var dynamic = []string{"mail", "geoip_country", "geoip_city", "geoip_org", "perl", "perl_modules", "perl_set", "perl_require", "xslt_stylesheet", "image_filter"}

func (c *Config) known(directive string) ([]uint, bool) {
	if slices.Contains(dynamic, directive) || directive == "stream" && !slices.Contains(c.modules, "ngx_stream_module.so") {
		return nil, false
	}
	return crossplane.MatchOss124(directive)
}

// Load reads a configuration. The error is what nginx writes behind [emerg].
func Load(main string, files Files) (*Config, error) {
	c := &Config{files: files, web: newSection(ofHTTP), stream: newSection(ofStream)}
	text, err := files.Read(main)
	if err != nil {
		return nil, openFailed(main, err)
	}
	if err := c.loadModules(main, 0); err != nil {
		return nil, err
	}
	payload, err := crossplane.Parse(main, &crossplane.ParseOptions{
		StopParsingOnError: true, CombineConfigs: true, ErrorOnUnknownDirectives: true, DirectiveSources: []crossplane.MatchFunc{c.known},
		Open: c.open, Glob: func(pattern string) ([]string, error) { return files.Glob(absolute(pattern)) },
	})
	if err != nil {
		return nil, c.complaint(err, main, text)
	}
	var tree crossplane.Directives
	for _, one := range payload.Config {
		tree = append(tree, one.Parsed...)
	}
	if err := c.read(tree); err != nil {
		return nil, err
	}
	if err := c.group(); err != nil {
		return nil, err
	}
	return c, nil
}

// loadModules finds the modules that a file, and those that it includes before its
// first block, load.
func (c *Config) loadModules(file string, depth int) error {
	text, err := c.files.Read(absolute(file))
	if err != nil || depth > maxIncludes {
		return nil //nolint:nilerr // whoever reads it next complains
	}
	entries, _ := entriesOf(file, string(text)) // of a broken file, those before
	for _, d := range entries {
		if slices.Contains(d.Args, "{") {
			return nil
		}
		if len(d.Args) == 1 && d.Directive == "load_module" {
			err = c.loadModule(d)
		}
		if len(d.Args) == 1 && d.Directive == "include" {
			err = c.loadIncluded(d.Args[0], depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) loadIncluded(pattern string, depth int) error {
	files, _ := c.files.Glob(absolute(pattern)) // a pattern that is none fits nothing
	for _, file := range files {
		if err := c.loadModules(file, depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) loadModule(d *crossplane.Directive) error {
	name := path.Base(d.Args[0])
	if slices.Contains(c.modules, name) {
		return at(d, "module %q is already loaded", strings.TrimSuffix(name, ".so"))
	}
	place := path.Join("/usr/lib/nginx/modules", name)
	if _, err := c.files.Read(place); err != nil {
		return at(d, "dlopen() %q failed (%s: cannot open shared object file: No such file or directory)", place, place)
	}
	c.modules = append(c.modules, name)
	return nil
}

// absolute is a path as nginx means it.
func absolute(name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(prefix, name)
}

func openFailed(name string, err error) error {
	return fmt.Errorf("open() %q failed (%s)", name, errno(err))
}

func errno(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		text := number.Error()
		return fmt.Sprintf("%d: %s", int(number), strings.ToUpper(text[:1])+text[1:])
	}
	return err.Error()
}

func (c *Config) open(name string) (io.ReadCloser, error) {
	text, err := c.files.Read(absolute(name))
	if err != nil {
		return nil, openFailed(absolute(name), err)
	}
	return io.NopCloser(strings.NewReader(string(text))), nil
}

// complaint is the parser's error in nginx's words.
func (c *Config) complaint(err error, main string, text []byte) error {
	var bad *crossplane.ParseError
	if !errors.As(err, &bad) {
		return err
	}
	file, line := main, 0
	if bad.File != nil {
		file = *bad.File
	}
	if bad.Line != nil {
		line = *bad.Line
	}
	if other, readErr := c.files.Read(absolute(file)); readErr == nil {
		text = other
	}
	what, lines := bad.What, strings.Split(string(text), "\n")
	switch {
	case errors.Is(err, crossplane.ErrPrematureLexEnd):
		what, line = `unexpected end of file, expecting ";" or "}"`, len(lines)
	case what == `unexpected "}"`, strings.HasSuffix(what, `is not terminated by ";"`): // the parser names the line on which the directive begins
		what = `unexpected "}"`
		for line > 0 && line < len(lines) && !strings.Contains(lines[line-1], "}") {
			line++
		}
	}
	return fmt.Errorf("%s in %s:%d", what, file, line)
}

// at puts a directive's place behind a complaint.
func at(d *crossplane.Directive, format string, args ...any) error {
	return fmt.Errorf(format+" in %s:%d", append(args, d.File, d.Line)...)
}
