// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// etab is where exportfs keeps what is exported.
const etab = "/var/lib/nfs/etab"

// export is a folder that one client, or a network of them, may mount.
type export struct {
	path, client string
	options      []string
}

var exportOptions = []string{
	"rw", "ro", "sync", "async", "wdelay", "no_wdelay", "hide", "nohide", "crossmnt", "nocrossmnt", "secure", "insecure", "root_squash", "no_root_squash",
	"all_squash", "no_all_squash", "subtree_check", "no_subtree_check", "secure_locks", "insecure_locks", "auth_nlm", "no_auth_nlm", "acl", "no_acl", "mountpoint", "mp",
	"pnfs", "no_pnfs", "security_label",
}

// knownExportOption tells whether exports(5) knows an option.
func knownExportOption(option string) bool {
	name, value, given := strings.Cut(option, "=")
	switch name {
	case "anonuid", "anongid":
		_, err := strconv.Atoi(value)
		return given && err == nil
	case "fsid", "sec", "replicas", "refer", "xprtsec", "mp", "mountpoint":
		return given || name == "mp" || name == "mountpoint"
	}
	return !given && slices.Contains(exportOptions, option)
}

func (e export) has(option string) bool { return slices.Contains(e.options, option) }

// readExports reads /etc/exports and /etc/exports.d; what cannot be read is told.
func (m *Machine) readExports() (list []export, problems []string) {
	files := []string{"/etc/exports"}
	entries, err := m.readDir("/etc/exports.d")
	if err == nil {
		for _, entry := range entries {
			if strings.HasSuffix(entry.Base, ".exports") && !strings.HasPrefix(entry.Base, ".") {
				files = append(files, "/etc/exports.d/"+entry.Base)
			}
		}
	}
	for _, file := range files {
		text, err := m.readFile(file)
		if err != nil {
			continue
		}
		number := 0
		for _, line := range lines(strings.ReplaceAll(text, "\\\n", " ")) {
			number++
			more, problem := parseExport(line)
			if problem != "" {
				problems = append(problems, fmt.Sprintf("exportfs: %s:%d: %s", file, number, problem))
				break
			}
			list = append(list, more...)
		}
	}
	return list, problems
}

// exportWords splits a line of exports; quotes keep blanks.
func exportWords(line string) []string {
	var out []string
	var word strings.Builder
	quoted := false
	flush := func() {
		if word.Len() > 0 {
			out = append(out, unoctal(word.String()))
		}
		word.Reset()
	}
	for i := range len(line) {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
		case c == '#' && !quoted:
			flush()
			return out
		case (c == ' ' || c == '\t') && !quoted:
			flush()
		default:
			word.WriteByte(c)
		}
	}
	flush()
	return out
}

// unoctal reads \040 and its like.
func unoctal(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func parseExport(line string) (list []export, problem string) {
	words := exportWords(line)
	if len(words) == 0 {
		return nil, ""
	}
	if !path.IsAbs(words[0]) {
		return nil, fmt.Sprintf("syntax error: bad path %q", words[0])
	}
	var defaults []string
	clients := words[1:]
	if len(clients) == 0 {
		clients = []string{"*"}
	}
	for _, word := range clients {
		if strings.HasPrefix(word, "-") {
			defaults = strings.Split(word[1:], ",")
			continue
		}
		e, problem := parseClient(word, defaults)
		if problem != "" {
			return nil, problem
		}
		e.path = path.Clean(words[0])
		list = append(list, e)
	}
	return list, ""
}

// parseClient reads CLIENT(OPTION,...).
func parseClient(word string, defaults []string) (e export, problem string) {
	client, rest, options := strings.Cut(word, "(")
	e = export{client: first(client, "*"), options: slices.Clone(defaults)}
	if options {
		inner, closed := strings.CutSuffix(rest, ")")
		if !closed {
			return e, "syntax error: missing )"
		}
		e.options = append(e.options, strings.FieldsFunc(inner, func(r rune) bool { return r == ',' })...)
	}
	for _, option := range e.options {
		if !knownExportOption(option) {
			return e, fmt.Sprintf("unknown keyword %q", option)
		}
	}
	if _, err := netip.ParsePrefix(e.client); err != nil && strings.Contains(e.client, "/") {
		return e, "Invalid prefix length or address: " + e.client
	}
	return e, ""
}

// verbose are the options as exportfs -v shows them.
func (e export) verbose() string {
	pick := func(yes, no string, standard bool) string {
		on := standard
		for _, option := range e.options {
			if option == yes || option == no {
				on = option == yes
			}
		}
		if on {
			return yes
		}
		return no
	}
	out := []string{pick("async", "sync", false), pick("wdelay", "no_wdelay", true), pick("hide", "nohide", true)}
	out = append(out, pick("subtree_check", "no_subtree_check", false), "sec=sys", pick("rw", "ro", false), pick("secure", "insecure", true),
		pick("root_squash", "no_root_squash", true), pick("all_squash", "no_all_squash", false))
	for _, option := range e.options {
		if strings.HasPrefix(option, "fsid=") || strings.HasPrefix(option, "anon") {
			out = append(out, option)
		}
	}
	return strings.Join(out, ",")
}

// table reads what is exported.
func (m *Machine) table() []export {
	text, err := m.readFile(etab)
	if err != nil {
		return nil
	}
	var out []export
	for _, line := range lines(text) {
		folder, rest, _ := strings.Cut(line, "\t")
		client, options, _ := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
		out = append(out, export{path: unoctal(folder), client: client, options: strings.Split(options, ",")})
	}
	return out
}

func (m *Machine) setTable(list []export) error {
	var b strings.Builder
	for _, e := range list {
		fmt.Fprintf(&b, "%s\t%s(%s)\n", strings.ReplaceAll(e.path, " ", `\040`), e.client, strings.Join(append([]string{e.verbose()}, e.options...), ","))
	}
	if text, err := m.readFile(etab); err == nil && text == b.String() {
		return nil
	}
	if err := m.mkdirAll(path.Dir(etab), 0o755); err != nil {
		return err
	}
	return m.writeFile(etab, b.String(), 0o644)
}

func runExportfs(_ context.Context, p *Process) int {
	f, ok := p.parse("r a u v s f i o: d:")
	if !ok {
		return 1
	}
	switch {
	case f.has("u"):
		return p.unexport(f)
	case f.has("r"), f.has("a"):
		return p.exportAll(f)
	case len(f.args) > 0:
		return p.exportNow(f)
	case f.has("f"):
		return 0
	}
	list := p.M.table()
	sort.SliceStable(list, func(i, j int) bool { return list[i].path < list[j].path })
	for _, e := range list {
		client := e.client
		if client == "*" {
			client = "<world>"
		}
		switch {
		case f.has("s"):
			p.Printf("%s  %s(%s)\n", strings.ReplaceAll(e.path, " ", `\040`), e.client, e.verbose())
		case f.has("v"):
			p.Printf("%s%s(%s)\n", exportColumn(e.path), client, e.verbose())
		default:
			p.Printf("%s%s\n", exportColumn(e.path), client)
		}
	}
	return 0
}

func exportColumn(name string) string {
	if len(name) > 14 {
		return name + "\n\t\t"
	}
	return fmt.Sprintf("%-14s\t", name)
}

// exportAll makes the table what the files say; a folder that is not there is
// left out and fails the call in the end.
func (p *Process) exportAll(f flags) int {
	list, problems := p.M.readExports()
	var kept []export
	for _, e := range list {
		info, err := p.M.stat(e.path)
		if err == nil && !info.IsDir() {
			err = syscall.ENOTDIR
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("exportfs: Failed to stat %s: %s", e.path, reason(err)))
			continue
		}
		if f.has("v") {
			p.Printf("exporting %s:%s\n", e.client, e.path)
		}
		kept = append(kept, e)
	}
	if !f.has("r") {
		kept = append(kept, slices.DeleteFunc(p.M.table(), func(old export) bool {
			return slices.ContainsFunc(kept, func(e export) bool { return e.path == old.path && e.client == old.client })
		})...)
	}
	if err := p.M.setTable(kept); err != nil {
		problems = append(problems, "exportfs: can't write "+etab+": "+reason(err))
	}
	for _, problem := range problems {
		fmt.Fprintln(p.Stderr, problem)
	}
	return bitOf(len(problems) > 0)
}

func (p *Process) unexport(f flags) int {
	var kept []export
	if !f.has("a") {
		kept = slices.DeleteFunc(p.M.table(), func(e export) bool { return slices.Contains(f.args, e.client+":"+e.path) })
	}
	if err := p.M.setTable(kept); err != nil {
		return p.Errorf("can't write %s: %s", etab, reason(err))
	}
	return 0
}

// exportNow is exportfs -o OPTIONS CLIENT:PATH.
func (p *Process) exportNow(f flags) int {
	list := p.M.table()
	for _, arg := range f.args {
		client, folder, ok := strings.Cut(arg, ":/")
		more, problem := parseExport(fmt.Sprintf("%q %s(%s)", "/"+folder, client, f.last("o", "")))
		if !ok || problem != "" {
			return p.Errorf("%s: %s", arg, first(problem, "Invalid argument"))
		}
		if _, err := p.M.stat("/" + folder); err != nil {
			return p.Errorf("Failed to stat /%s: %s", folder, reason(err))
		}
		list = append(list, more...)
	}
	if err := p.M.setTable(list); err != nil {
		return p.Errorf("can't write %s: %s", etab, reason(err))
	}
	return 0
}

// kernelServes tells whether the kernel's server runs.
func (m *Machine) kernelServes() bool {
	return m.hasPackage("nfs-kernel-server") && m.sys.isActive("nfs-server.service")
}

func runShowmount(_ context.Context, p *Process) int {
	f, ok := p.parse("e exports=e no-headers a d")
	if !ok {
		return 1
	}
	host := "localhost"
	if len(f.args) > 0 {
		host = f.args[0]
	}
	server, _, err := p.M.serverOf(host)
	switch {
	case errors.Is(err, errNoName):
		fmt.Fprintf(p.Stderr, "clnt_create: RPC: Unknown host\n")
		return 1
	case err != nil || !server.hasPackage("rpcbind") || !server.sys.isActive("rpcbind.service"):
		fmt.Fprintf(p.Stderr, "clnt_create: RPC: Unable to receive\n")
		return 1
	case !server.kernelServes():
		fmt.Fprintf(p.Stderr, "clnt_create: RPC: Program not registered\n")
		return 1
	}
	if !f.has("no-headers") {
		p.Printf("Export list for %s:\n", host)
	}
	clients := map[string][]string{}
	var folders []string
	for _, e := range server.table() {
		if clients[e.path] == nil {
			folders = append(folders, e.path)
		}
		clients[e.path] = append(clients[e.path], e.client)
	}
	sort.Strings(folders)
	for _, folder := range folders {
		p.Printf("%s %s\n", folder, strings.ReplaceAll(strings.Join(clients[folder], ","), "*", "(everyone)"))
	}
	return 0
}

// runNFSD is rpc.nfsd: it starts and stops the kernel's threads, which the
// unit's state stands for.
func runNFSD(context.Context, *Process) int { return 0 }
