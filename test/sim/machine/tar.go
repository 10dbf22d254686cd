// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// runTar is tar -xO, which prints members of an archive, and tar -t.
func runTar(_ context.Context, p *Process) int {
	args := p.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		args = append([]string{"-" + args[0]}, args[1:]...) // tar xzf is as good
	}
	f, bad := parseFlags(args, parseSpec("x extract=x t list=t z gzip=z O to-stdout=O f: file:=f v no-same-owner no-same-permissions"), true)
	if bad != "" {
		return p.tarFailed(bad + "\nTry 'tar --help' or 'tar --usage' for more information.")
	}
	if !f.has("f") || f.has("x") == f.has("t") || f.has("x") && !f.has("O") {
		return p.tarFailed("this use of it is not simulated")
	}
	data, err := p.ReadFile(f.last("f", ""))
	if err != nil {
		who, code := "tar", ""
		if f.has("z") {
			who, code = "tar (child)", "tar: Child returned status 2\ntar: Error is not recoverable: exiting now\n"
		}
		fmt.Fprintf(p.Stderr, "%s: %s: Cannot open: %s\n%s: Error is not recoverable: exiting now\n%s", who, f.last("f", ""), reason(err), who, code)
		return 2
	}
	if zipped := strings.HasPrefix(data, "\x1f\x8b"); zipped || f.has("z") {
		z, err := gzip.NewReader(strings.NewReader(data))
		if err != nil {
			return p.gzipFailed("not in gzip format")
		}
		plain, err := io.ReadAll(z)
		if err != nil {
			return p.gzipFailed("unexpected end of file")
		}
		data = string(plain)
	}
	return p.members(f, tar.NewReader(strings.NewReader(data)))
}

func (p *Process) tarFailed(text string) int {
	p.Errorf("%s", text)
	return 2
}

func (p *Process) gzipFailed(text string) int {
	fmt.Fprintf(p.Stderr, "\ngzip: stdin: %s\ntar: Child returned status 1\ntar: Error is not recoverable: exiting now\n", text)
	return 2
}

// members prints the members that were asked for, all when none was.
func (p *Process) members(f flags, archive *tar.Reader) int {
	found := map[string]bool{}
	broken, count := false, 0
	header, err := archive.Next()
	for ; err == nil; header, err = archive.Next() {
		count++
		if asked := asks(f.args, header.Name); asked != "" || len(f.args) == 0 {
			found[asked] = true
			broken = p.member(f, header.Name, archive) != nil || broken
		}
	}
	if !errors.Is(err, io.EOF) {
		broken = true
		if count == 0 {
			p.Errorf("This does not look like a tar archive")
		}
	}
	for _, name := range f.args {
		if !found[name] {
			p.Errorf("%s: Not found in archive", name)
			broken = true
		}
	}
	if broken {
		return p.tarFailed("Exiting with failure status due to previous errors")
	}
	return 0
}

// member prints a member's name, or what is in it.
func (p *Process) member(f flags, name string, archive io.Reader) error {
	if f.has("t") {
		p.Printf("%s\n", name)
		return nil
	}
	text, err := io.ReadAll(archive)
	p.Printf("%s", text)
	return err
}

// asks is the operand that a member answers to: its own name, or a folder's.
func asks(names []string, member string) string {
	for _, name := range names {
		if bare := strings.TrimSuffix(name, "/"); bare == strings.TrimSuffix(member, "/") || strings.HasPrefix(member, bare+"/") {
			return name
		}
	}
	return ""
}
