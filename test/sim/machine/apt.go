// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// dpkgLock is held by the apt that works.
type dpkgLock struct{ held atomic.Bool }

const aptSpec = "y yes=y assume-yes=y q quiet=q qq o: option:=o no-install-recommends purge autoremove auto-remove=autoremove s simulate=s f m " +
	"allow-downgrades allow-change-held-packages reinstall d t:"

func runAptGet(ctx context.Context, p *Process) int {
	f, ok := p.parse(aptSpec)
	if !ok {
		return 100
	}
	if len(f.args) == 0 {
		p.Printf("apt 2.6.1 (amd64)\nUsage: apt-get [options] command\n")
		return 1
	}
	command, names := f.args[0], f.args[1:]
	switch command {
	case "update":
		return p.aptUpdate()
	case "install", "remove", "purge", "autoremove":
	case "clean", "autoclean", "check":
		return 0
	default:
		return p.aptError("Invalid operation %s", command)
	}
	if !p.lockDpkg(ctx, f) {
		fmt.Fprintf(p.Stderr, "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 871 (apt-get)\n")
		return p.aptError("Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?")
	}
	defer p.M.dpkg.held.Store(false)
	p.Printf("Reading package lists...\nBuilding dependency tree...\nReading state information...\n")
	if command == "install" {
		return p.aptInstall(ctx, f, names)
	}
	return p.aptRemove(f, command, names)
}

func (p *Process) aptError(format string, args ...any) int {
	fmt.Fprintf(p.Stderr, "E: "+format+"\n", args...)
	return 100
}

// lockDpkg takes the lock, and waits for it as long as DPkg::Lock::Timeout says.
func (p *Process) lockDpkg(ctx context.Context, f flags) bool {
	patience := time.Duration(0)
	for _, o := range f.set["o"] {
		if seconds, ok := strings.CutPrefix(o, "DPkg::Lock::Timeout="); ok {
			patience = time.Duration(atoi(seconds)) * time.Second
		}
	}
	give := time.After(patience)
	for {
		if !p.M.faults.dpkgHeld() && p.M.dpkg.held.CompareAndSwap(false, true) {
			return true
		}
		if patience == 0 {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-give:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *Process) aptInstall(ctx context.Context, f flags, names []string) int {
	m := p.M
	var all []string
	seen := map[string]bool{}
	for _, name := range names {
		if !m.hasPackage(name) && (!m.offers(name) || !p.hasLists()) {
			return p.aptError("Unable to locate package %s", name)
		}
		more, err := m.wanted(name, seen, false)
		if err != nil {
			return p.aptError("%v", err)
		}
		if len(more) == 0 && m.hasPackage(name) {
			p.Printf("%s is already the newest version (%s).\n", name, m.packageRecord(name).Version)
			m.setManual(name)
		}
		all = append(all, more...)
	}
	p.Printf("0 upgraded, %d newly installed, 0 to remove and 0 not upgraded.\n", len(all))
	if len(all) > len(names) && !f.has("y") {
		p.Printf("Do you want to continue? [Y/n] Abort.\n")
		return 1
	}
	if f.has("s") {
		return 0
	}
	return p.aptUnpack(ctx, f, all, names)
}

func (p *Process) hasLists() bool {
	p.M.mu.Lock()
	defer p.M.mu.Unlock()
	return p.M.lists
}

func (m *Machine) setManual(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if one := m.packages[name]; one != nil {
		one.auto = false
	}
}

func (p *Process) aptUnpack(ctx context.Context, f flags, all, asked []string) int {
	m := p.M
	keep := slices.ContainsFunc(f.set["o"], func(o string) bool { return strings.Contains(o, "force-confold") })
	for _, name := range all {
		if m.opts.PackageTime > 0 {
			select {
			case <-time.After(m.opts.PackageTime):
			case <-ctx.Done():
				return 100
			}
		}
		p.removeRivals(name)
		p.Printf("Unpacking %s (%s) ...\n", name, m.opts.Repository[name].Version)
		if err := m.unpack(name, !slices.Contains(asked, name), keep); err != nil {
			fmt.Fprintf(p.Stderr, "dpkg: error processing package %s (--configure):\n %v\nErrors were encountered while processing:\n %s\n", name, err, name)
			return p.aptError("Sub-process /usr/bin/dpkg returned an error code (1)")
		}
	}
	for _, name := range all {
		p.Printf("Setting up %s (%s) ...\n", name, m.opts.Repository[name].Version)
		p.child(ctx).configure(name)
		m.sys.enablePackage(name)
		if exit := p.child(ctx).policy(); exit != 101 {
			m.sys.startPackage(name)
		}
	}
	return 0
}

// removeRivals removes the packages that cannot stand beside another one.
func (p *Process) removeRivals(name string) {
	for _, rival := range p.M.opts.Repository[name].Conflicts {
		if p.M.hasPackage(rival) {
			p.erase(p.M.cascade(rival), false)
		}
	}
}

// configure is the end of a package's installation.
func (p *Process) configure(name string) {
	if command := p.M.packageRecord(name).Configure; len(command) > 0 {
		p.Exec(command) // an installation does not fail with it
	}
}

// policy asks /usr/sbin/policy-rc.d, if there is one, whether services may start.
func (p *Process) policy() int {
	if !p.exists("/usr/sbin/policy-rc.d") {
		return 0
	}
	return p.Exec([]string{"/usr/sbin/policy-rc.d", "x", "start"})
}

func (p *Process) aptRemove(f flags, command string, names []string) int {
	m := p.M
	purge := f.has("purge") || command == "purge"
	var gone []string
	for _, name := range names {
		_, known := m.opts.Repository[name]
		switch one := m.packageRecord(name); {
		case one == nil && !known:
			return p.aptError("Unable to locate package %s", name)
		case one == nil, one.state == stateRemoved && !purge:
			p.Printf("Package '%s' is not installed, so not removed\n", name)
		default:
			gone = append(gone, slices.DeleteFunc(m.cascade(name), func(one string) bool { return slices.Contains(gone, one) })...)
		}
	}
	p.Printf("0 upgraded, 0 newly installed, %d to remove and 0 not upgraded.\n", len(gone))
	if f.has("s") {
		for _, name := range gone {
			p.Printf("Remv %s [%s]\n", name, m.packageRecord(name).Version)
		}
		return 0
	}
	if len(gone) > 0 && !f.has("y") {
		p.Printf("Do you want to continue? [Y/n] Abort.\n")
		return 1
	}
	p.erase(gone, purge)
	if command != "autoremove" && !f.has("autoremove") {
		return 0
	}
	for rest := m.needless(); len(rest) > 0; rest = m.needless() {
		p.erase(rest, purge)
	}
	return 0
}

// cascade is a package behind those that cannot do without it.
func (m *Machine) cascade(name string) []string {
	var out []string
	for _, other := range m.dependants(name) {
		out = append(out, m.cascade(other)...)
	}
	return append(out, name)
}

func (p *Process) erase(names []string, purge bool) {
	for _, name := range names {
		p.Printf("Removing %s ...\n", name)
		p.M.sys.stopPackage(name)
		p.M.takeOff(name, purge)
		p.M.sys.reload()
	}
}

func runAptCache(_ context.Context, p *Process) int {
	f, ok := p.parse("q o: n names-only=n")
	if !ok || len(f.args) == 0 || f.args[0] != "policy" {
		return p.aptError("Invalid operation")
	}
	for _, name := range f.args[1:] {
		candidate, known := p.M.opts.Repository[name], p.M.offers(name)
		have := "(none)"
		if p.M.hasPackage(name) {
			have = p.M.packageRecord(name).Version
		}
		if !p.hasLists() {
			known = false
		}
		switch {
		case known:
			p.Printf("%s:\n  Installed: %s\n  Candidate: %s\n", name, have, candidate.Version)
		case have != "(none)":
			p.Printf("%s:\n  Installed: %s\n  Candidate: %s\n", name, have, have)
		}
	}
	return 0
}

// runDpkgQuery is dpkg-query -W, -s, -S and -L, and dpkg's options of that name.
func runDpkgQuery(_ context.Context, p *Process) int {
	f, ok := p.parse("W show=W f: showformat:=f s status=s S search=S L listfiles=L l list=l print-architecture no-pager")
	if !ok {
		return 2
	}
	switch {
	case f.has("print-architecture"):
		p.Printf("amd64\n")
	case f.has("W"), f.has("l"):
		format := f.last("f", "${Package}\t${Version}\n")
		if f.has("l") {
			format = "${db:Status-Abbrev} ${Package} ${Version} amd64\n"
		}
		return p.dpkgShow(f.args, strings.TrimPrefix(format, "=")) // -f=FORMAT is dpkg's own
	case f.has("s"):
		return p.dpkgStatus(f.args)
	case f.has("S"):
		return p.dpkgSearch(f.args)
	case f.has("L"):
		return p.dpkgFiles(f.args)
	default:
		p.Errorf("error: need an action option")
		return 2
	}
	return 0
}

func (p *Process) dpkgShow(patterns []string, format string) int {
	exit, names := 0, p.M.packageNames()
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	for _, pattern := range patterns {
		re, found := glob(pattern), false
		for _, name := range names {
			if re.MatchString(name) {
				found = true
				p.Printf("%s", p.dpkgLine(format, name))
			}
		}
		if !found {
			exit = 1
			p.Errorf("no packages found matching %s", pattern)
		}
	}
	return exit
}

func (p *Process) dpkgLine(format, name string) string {
	one := p.M.packageRecord(name)
	status := map[string]string{stateInstalled: "install ok installed", stateRemoved: "deinstall ok config-files"}[one.state]
	words := strings.Fields(status)
	return strings.NewReplacer("${db:Status-Abbrev}", one.state+" ", "${Status}", status, "${db:Status-Status}", words[2], "${db:Status-Want}", words[0],
		"${binary:Package}", name, "${Package}", name, "${Version}", one.Version, "${Architecture}", "amd64", `\n`, "\n", `\t`, "\t").Replace(format)
}

func (p *Process) dpkgStatus(names []string) int {
	exit := 0
	for _, name := range names {
		if p.M.packageRecord(name) == nil {
			exit = p.Errorf("package '%s' is not installed and no information is available", name)
			continue
		}
		p.Printf("%s", p.dpkgLine("Package: ${Package}\nStatus: ${Status}\nArchitecture: amd64\nVersion: ${Version}\n", name))
	}
	return exit
}

func (p *Process) dpkgSearch(names []string) int {
	exit := 0
	for _, name := range names {
		owner := p.M.ownerOf(name)
		if owner == "" {
			exit = p.Errorf("no path found matching pattern %s", name)
			continue
		}
		p.Printf("%s: %s\n", owner, name)
	}
	return exit
}

func (p *Process) dpkgFiles(names []string) int {
	exit := 0
	for _, name := range names {
		one := p.M.packageRecord(name)
		if one == nil {
			exit = p.Errorf("package '%s' is not installed", name)
			continue
		}
		for _, f := range one.Files {
			p.Printf("%s\n", strings.TrimSuffix(f.Path, "/"))
		}
	}
	return exit
}
