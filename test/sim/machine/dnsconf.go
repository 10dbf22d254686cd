// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// dnsRule says what becomes of the names of a domain ("" is every domain).
type dnsRule struct {
	domain string // with *. in front: what is below it
	kind   dnsRuleKind
	server netip.AddrPort // of ruleServer
	addr   netip.Addr     // of ruleAddress
}

type dnsRuleKind int

const (
	ruleAddress dnsRuleKind = iota // the address is the answer
	ruleZeros                      // 0.0.0.0 and :: are
	ruleLocal                      // nobody else is asked
	ruleServer                     // the server is asked
	ruleDefault                    // the servers of every domain are asked
)

// record is a resource record.
type record struct {
	name, kind, data string
}

// dnsConf is what a dnsmasq has read of its options.
type dnsConf struct {
	m         *Machine
	listen    []netip.Addr
	port      int
	flags     map[string]bool
	domain    string
	rules     []dnsRule
	records   []record
	names     []hostLine // host-record
	cnames    map[string]string
	addnHosts []string
	hostsDirs []string
	resolv    string
	ranges    int
	values    map[string]int // how often an option stood
	depth     int
}

// optionKind says what an option of dnsmasq takes.
type optionKind struct {
	arg   string // "", "required" or "optional"
	once  bool
	check func(c *dnsConf, arg string) string // what is wrong, "" for nothing
}

var dnsOptions map[string]optionKind

func need(check func(*dnsConf, string) string) optionKind {
	return optionKind{arg: "required", check: check}
}

func init() { // the table refers to functions that refer to it
	dnsOptions = map[string]optionKind{
		"address": need((*dnsConf).address), "local": need((*dnsConf).server), "server": need((*dnsConf).server), "rev-server": need((*dnsConf).revServer),
		"host-record": need((*dnsConf).hostRecord), "cname": need((*dnsConf).cname), "srv-host": need((*dnsConf).srv), "txt-record": need((*dnsConf).txt),
		"ptr-record": need((*dnsConf).ptr), "domain": need((*dnsConf).setDomain), "listen-address": need((*dnsConf).listenAddress),
		"addn-hosts":  need(func(c *dnsConf, arg string) string { c.addnHosts = append(c.addnHosts, arg); return "" }),
		"hostsdir":    need(func(c *dnsConf, arg string) string { c.hostsDirs = append(c.hostsDirs, arg); return "" }),
		"resolv-file": need(func(c *dnsConf, arg string) string { c.resolv = arg; return "" }),
		"conf-file":   need((*dnsConf).confFile),
		"conf-dir":    need((*dnsConf).confDir),
		"port":        {arg: "required", once: true, check: (*dnsConf).setPort},
		"cache-size":  {arg: "required", once: true, check: number},
		"dhcp-range":  need((*dnsConf).dhcpRange),
		"dhcp-host":   need(dhcpHost),
		"dhcp-option": need(dhcpOption),
	}
	plainOptions()
}

// plainOptions are those that need no look at their values; what the flags
// among them mean is looked up by their names.
func plainOptions() {
	for _, name := range []string{
		"no-resolv", "no-hosts", "no-poll", "expand-hosts", "domain-needed", "bogus-priv", "bind-interfaces", "bind-dynamic", "strict-order", "all-servers", "local-service",
		"no-negcache", "dhcp-authoritative", "read-ethers", "localise-queries", "filterwin2k", "stop-dns-rebind", "rebind-localhost-ok", "no-daemon", "keep-in-foreground",
		"no-ping", "log-dhcp", "dhcp-sequential-ip", "dnssec", "proxy-dnssec", "filter-A", "filter-AAAA", "clear-on-reload", "enable-ra", "no-round-robin", "dns-loop-detect", "localmx", "selfmx",
		"dhcp-fqdn", "conntrack", "leasefile-ro", "quiet-dhcp", "quiet-ra",
	} {
		dnsOptions[name] = optionKind{check: func(c *dnsConf, _ string) string { c.flags[name] = true; return "" }}
	}
	for _, name := range []string{"log-queries", "log-async", "enable-dbus", "umbrella", "add-mac", "auth-server", "enable-tftp", "use-stale-cache"} {
		dnsOptions[name] = optionKind{arg: "optional", check: anything}
	}
	for _, name := range []string{
		"dhcp-boot", "mx-host", "interface", "except-interface", "no-dhcp-interface", "interface-name", "user", "group", "pid-file", "dhcp-leasefile", "log-facility", "local-ttl", "neg-ttl", "max-ttl", "min-cache-ttl", "max-cache-ttl", "dns-forward-max", "edns-packet-max", "dhcp-lease-max",
		"dhcp-hostsfile", "dhcp-optsfile", "dhcp-hostsdir", "dhcp-optsdir", "trust-anchor", "dhcp-script", "query-port", "min-port", "max-port", "rebind-domain-ok", "servers-file",
		"alias", "bogus-nxdomain", "ignore-address", "caa-record", "naptr-record", "dns-rr", "dhcp-match", "dhcp-vendorclass", "dhcp-userclass", "dhcp-mac", "dhcp-ignore", "tag-if", "auth-zone",
		"synth-domain", "tftp-root", "dhcp-option-force", "mx-target", "max-port", "fast-dns-retry", "dhcp-name-match", "dhcp-generate-names", "dhcp-broadcast", "ra-param", "ipset", "nftset", "connmark-allowlist",
	} {
		dnsOptions[name] = need(anything)
	}
}

func anything(*dnsConf, string) string { return "" }

func number(_ *dnsConf, arg string) string {
	if _, err := strconv.Atoi(arg); err != nil {
		return "error"
	}
	return ""
}

func newDNSConf(m *Machine) *dnsConf {
	return &dnsConf{m: m, port: 53, flags: map[string]bool{}, cnames: map[string]string{}, values: map[string]int{}, resolv: "/etc/resolv.conf"}
}

// configError is what dnsmasq dies of.
type configError struct {
	text string
	exit int
}

// Error implements error.
func (e *configError) Error() string { return e.text }

// readFile reads a file of options.
func (c *dnsConf) readFile(file string) error {
	if c.depth++; c.depth > 50 {
		return &configError{"files nested too deep in " + file, 1}
	}
	defer func() { c.depth-- }()
	text, err := c.m.readFile(file)
	if err != nil {
		return &configError{fmt.Sprintf("cannot read %s: %s", file, reason(err)), 3}
	}
	for i, line := range lines(text) {
		if err := c.line(line); err != "" {
			if strings.HasPrefix(err, "\x00") { // from a file further in
				return &configError{err[2:], int(err[1] - '0')}
			}
			return &configError{fmt.Sprintf("%s at line %d of %s", err, i+1, file), 1}
		}
	}
	return nil
}

// line takes one line; the answer says what is wrong with it.
func (c *dnsConf) line(line string) string {
	line, problem := uncomment(line)
	if problem != "" || line == "" {
		return problem
	}
	name, arg, given := strings.Cut(line, "=")
	return c.option(strings.TrimSpace(name), strings.TrimSpace(arg), given)
}

// Characters inside of quotes mean nothing.
const (
	hiddenComma, hiddenHash, hiddenSlash = "\x01", "\x02", "\x03"
)

// uncomment takes comments and quotes away; what stood in quotes is hidden from
// those who split.
func uncomment(line string) (string, string) {
	var b strings.Builder
	quoted, white := false, true
	for i := 0; i < len(line); i++ {
		ch := line[i]
		switch {
		case ch == '"':
			quoted = !quoted
		case ch == '\\' && quoted && i+1 < len(line):
			i++
			b.WriteByte(unescape(line[i]))
		case quoted && ch == ',':
			b.WriteString(hiddenComma)
		case quoted && ch == '#':
			b.WriteString(hiddenHash)
		case ch == '#' && white && !quoted:
			return strings.TrimSpace(b.String()), ""
		default:
			b.WriteByte(ch)
		}
		white = ch == ' ' || ch == '\t'
	}
	if quoted {
		return "", `missing "`
	}
	return strings.TrimSpace(b.String()), ""
}

func unescape(ch byte) byte {
	switch ch {
	case 'n':
		return '\n'
	case 't':
		return '\t'
	case 'e':
		return 27
	}
	return ch
}

func reveal(text string) string {
	return strings.NewReplacer(hiddenComma, ",", hiddenHash, "#", hiddenSlash, "/").Replace(text)
}

// option takes an option of a file or of the command line.
func (c *dnsConf) option(name, arg string, given bool) string {
	o, known := dnsOptions[name]
	switch {
	case !known:
		return "bad option"
	case o.arg == "" && given:
		return "extraneous parameter"
	case o.arg == "required" && (!given || arg == ""):
		if given && name == "domain" {
			return ""
		}
		return "missing parameter"
	}
	if c.values[name]++; o.once && c.values[name] > 1 {
		return "illegal repeated keyword"
	}
	return o.check(c, arg)
}

func (c *dnsConf) confFile(arg string) string {
	return nested(c.readFile(arg))
}

// nested carries an error of a file that another one names.
func nested(err error) string {
	if e, ok := err.(*configError); ok { //nolint:errorlint // readFile returns nothing else
		return "\x00" + strconv.Itoa(e.exit) + e.text
	}
	return ""
}

// confDir is DIR[,.ext ...]: files that end so are left out; with *.ext only
// those that end so are read.
func (c *dnsConf) confDir(arg string) string {
	parts := strings.Split(arg, ",")
	entries, err := c.m.readDir(parts[0])
	if err != nil {
		return "\x003" + fmt.Sprintf("cannot access directory %s: %s", parts[0], reason(err))
	}
	for _, entry := range entries {
		if entry.IsDir() || !readableName(entry.Base, parts[1:]) {
			continue
		}
		if problem := nested(c.readFile(path.Join(parts[0], entry.Base))); problem != "" {
			return problem
		}
	}
	return ""
}

func readableName(name string, filters []string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") {
		return false
	}
	wanted, only := false, false
	for _, filter := range filters {
		if suffix, ok := strings.CutPrefix(filter, "*"); ok {
			only = true
			wanted = wanted || strings.HasSuffix(name, suffix)
		} else if filter != "" && strings.HasSuffix(name, filter) {
			return false
		}
	}
	return wanted || !only
}

// domainName puts a name into the form in which names are compared; false when
// it is none.
func domainName(text string) (string, bool) {
	text = strings.ToLower(strings.TrimSuffix(text, "."))
	if len(text) > 253 || text == "" {
		return "", false
	}
	for _, label := range strings.Split(text, ".") {
		if label == "" || len(label) > 63 || strings.ContainsAny(label, " \t\n\"\\()<>@,;:/") {
			return "", false
		}
	}
	return text, true
}

// domains splits /a/b/rest. What is below a domain alone keeps its *. in front.
func domains(arg string) (list []string, rest string, ok bool) {
	parts := strings.Split(arg, "/")
	if len(parts) < 3 || parts[0] != "" {
		return nil, "", false
	}
	for _, one := range parts[1 : len(parts)-1] {
		below := ""
		if strings.HasPrefix(one, "*.") {
			below = "*."
		}
		one = strings.TrimPrefix(strings.TrimPrefix(one, "*"), ".")
		if one == "#" || one == "" {
			list = append(list, "")
			continue
		}
		name, valid := domainName(one)
		if !valid {
			return nil, "", false
		}
		list = append(list, below+name)
	}
	return list, parts[len(parts)-1], true
}

func (c *dnsConf) address(arg string) string {
	list, rest, ok := domains(arg)
	if !ok {
		return "error"
	}
	rule := dnsRule{kind: ruleAddress}
	switch rest {
	case "":
		rule.kind = ruleLocal
	case "#":
		rule.kind = ruleZeros
	default:
		addr, err := netip.ParseAddr(rest)
		if err != nil {
			return "bad address"
		}
		rule.addr = addr
	}
	for _, rule.domain = range list {
		c.rules = append(c.rules, rule)
	}
	return ""
}

func (c *dnsConf) server(arg string) string {
	list, rest := []string{""}, arg
	if strings.HasPrefix(arg, "/") {
		var ok bool
		if list, rest, ok = domains(arg); !ok {
			return "error"
		}
	}
	rule := dnsRule{kind: ruleServer}
	switch rest {
	case "":
		rule.kind = ruleLocal
	case "#":
		rule.kind = ruleDefault
	default:
		target, _, _ := strings.Cut(rest, "@")
		host, port, given := strings.Cut(target, "#")
		addr, err := netip.ParseAddr(host)
		number := 53
		if given {
			number, _ = strconv.Atoi(port) // 0 is refused below
		}
		switch {
		case err != nil:
			return "bad address"
		case number <= 0 || number > 65535:
			return "bad port"
		}
		rule.server = netip.AddrPortFrom(addr, uint16(number))
	}
	for _, rule.domain = range list {
		c.rules = append(c.rules, rule)
	}
	return ""
}

func (c *dnsConf) revServer(arg string) string {
	network, server, ok := strings.Cut(arg, ",")
	prefix, err := netip.ParsePrefix(network)
	if !ok || err != nil || !prefix.Addr().Is4() || prefix.Bits()%8 != 0 {
		return "bad prefix length"
	}
	labels := strings.Split(prefix.Addr().String(), ".")[:prefix.Bits()/8]
	slices.Reverse(labels)
	return c.server("/" + strings.Join(append(labels, "in-addr.arpa"), ".") + "/" + server)
}

func (c *dnsConf) listenAddress(arg string) string {
	for _, one := range strings.Split(arg, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(one))
		if err != nil {
			return "error"
		}
		c.listen = append(c.listen, addr)
	}
	return ""
}

func (c *dnsConf) setDomain(arg string) string {
	name, _, _ := strings.Cut(arg, ",")
	if name == "#" {
		return ""
	}
	domain, ok := domainName(name)
	if !ok {
		return "error"
	}
	if c.domain == "" {
		c.domain = domain
	}
	return ""
}

func (c *dnsConf) setPort(arg string) string {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 0 || n > 65535 {
		return "bad port"
	}
	c.port = n
	return ""
}
