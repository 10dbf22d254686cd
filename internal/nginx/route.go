// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// RouteEntry is what a gateway has to know of one Route.
//
// Routes of one host on one gateway, as for several paths, must agree on Internal, TCP and Router: the gateway looks at
// hosts alone. A certificate of its own serves the host whole, so one Route of a host alone may bring it.
type RouteEntry struct {
	// About is the first line of each file, such as "Route home/blog". Printable ASCII.
	About string
	// Hosts in lower case, each once; the first label may be *, which stands for one label.
	Hosts []string
	// Shared are those of Hosts that an older Route has on the gateway too. nginx takes a host from one file alone, so the
	// younger ones say it another way, which stands back behind the oldest's: when that one goes, theirs is there already.
	Shared []string
	// Router is the name of the traefik HostService that takes the requests, which is an Upstream of the gateway.
	Router string
	// Internal lets only the gateway's internal networks in; for all others the hosts are not there.
	Internal bool
	// TCP passes the TLS connections of the hosts on as they come. The gateway needs PassThrough; else it changes nothing.
	TCP bool
	// Kept says that the gateway has PassThrough, and that the hosts are to be kept out of it, as they are not TCP: the
	// wildcard of a TCP Route would take them else.
	Kept bool
	// Certificate and Key in PEM are those of the Route's own; nil: the gateway's server that covers a host serves it. A
	// host that a server of the gateway has among its names, other than by a wildcard above it, is served by that one.
	Certificate, Key []byte
}

// The ends of the names of a Route's files, behind its prefix.
const (
	mapSuffix         = ".map"
	streamSuffix      = ".stream"
	serverSuffix      = ".server"
	certificateSuffix = ".crt"
	keySuffix         = ".key"
)

const (
	// keyFolder holds the files of an nginx service that are not read by themselves.
	keyFolder = "/etc/nginx/phoenix/"
	// serverFile is what every server of the service begins with.
	serverFile = "server.conf"
	// longestPrefix leaves room for a suffix, and for what a staged file is called.
	longestPrefix = 180
	// longKey is the longest key of a map that nginx takes without further ado. A longer one is written as an expression:
	// map_hash_bucket_size would have to stand before every other map of the machine.
	longKey = longName
)

// Folder is where the files of an nginx HostService lie.
func Folder(service string) string { return keyFolder + short(service) }

// RoutesFolder is where the files of the Routes through an nginx HostService lie. The service holds the folder, the Routes
// hold what is in it.
func RoutesFolder(service string) string { return Folder(service) + "/routes" }

// short is an object's name as a part of another one; a long one is cut and told apart by its hash.
func short(name string) string {
	const most = 100
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:most] + "-" + hex.EncodeToString(sum[:])[:8]
}

// upstream is the name of a router in the configuration.
func upstream(router string) string { return "phoenix-" + short(router) }

var (
	prefixPattern  = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9._]*$`)
	servicePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
)

// RouteFiles renders the files of one Route by their names, for the folder of its gateway: see RoutesFolder. All of their
// names begin with prefix and a dot. Its errors are *FieldError, one for each value that cannot be written.
func RouteFiles(folder, prefix string, r RouteEntry) (map[string][]byte, error) {
	if err := r.check(folder, prefix); err != nil {
		return nil, err
	}
	head := fmt.Sprintf("# %s\n# Made by Phoenix: what is changed here by hand is put back.\n", r.About)
	files := map[string][]byte{}
	suffix := mapSuffix
	if r.TCP {
		suffix = streamSuffix
	}
	files[prefix+suffix] = []byte(head + r.lines())
	if r.Kept && !r.TCP {
		files[prefix+streamSuffix] = []byte(head + r.entries(nobody))
	}
	if r.Certificate == nil {
		return files, nil
	}
	at := path.Join(folder, prefix)
	files[prefix+serverSuffix] = fmt.Appendf(nil, "%sserver {\n\tinclude %s;\n\tserver_name %s;\n\tssl_certificate %s;\n\tssl_certificate_key %s;\n}\n",
		head, path.Join(path.Dir(folder), serverFile), strings.Join(r.Hosts, " "), at+certificateSuffix, at+keySuffix)
	files[prefix+certificateSuffix] = r.Certificate
	files[prefix+keySuffix] = r.Key
	return files, nil
}

// lines are the entries of a map: the hosts with who may come, and who takes it.
func (r RouteEntry) lines() string {
	who := "external:"
	if r.Internal {
		who = "internal:"
	}
	return r.entries(who + upstream(r.Router))
}

// nobody is the value of a host that no router takes before TLS: it is no upstream, and not empty, as a wildcard would be
// asked then.
const nobody = "nobody"

// entries are those of a map, all with one value.
func (r RouteEntry) entries(value string) string {
	var b strings.Builder
	for _, host := range r.Hosts {
		fmt.Fprintf(&b, "%s %s;\n", mapKey(host, slices.Contains(r.Shared, host)), value)
	}
	return b.String()
}

// mapKey is a host as the key of a map. A map may have a key once, yet an expression as often as one likes: it is asked
// when no key fits. A backslash before a word keeps that from being a directive of the map.
func mapKey(host string, shared bool) string {
	if shared || len(host) > longKey {
		return `~*^` + regexp.QuoteMeta(host) + `$`
	}
	if slices.Contains([]string{"default", "hostnames", "include", "volatile"}, host) {
		return `\` + host
	}
	return host
}

// check returns everything that is wrong with an entry: a *FieldError for each value.
func (r RouteEntry) check(folder, prefix string) error {
	var errs []error
	refuse := func(field, value, why string) { errs = append(errs, &FieldError{field, value, why}) }
	if !isPath(folder) {
		refuse("folder", folder, pathWords)
	}
	if !prefixPattern.MatchString(prefix) || len(prefix) > longestPrefix {
		refuse("prefix", prefix, fmt.Sprintf("must be at most %d letters, digits and - . _", longestPrefix))
	}
	if !linePattern.MatchString(r.About) {
		refuse("about", r.About, "must be printable ASCII")
	}
	if !servicePattern.MatchString(r.Router) || len(r.Router) > maxName {
		refuse("routerRef", r.Router, "must be the name of an object")
	}
	if len(r.Hosts) == 0 {
		refuse("hosts", "", "must not be empty")
	}
	for i, host := range r.Hosts {
		field := fmt.Sprintf("hosts[%d]", i)
		if !IsName(host) {
			refuse(field, host, nameWords)
		}
		if slices.Contains(r.Hosts[:i], host) {
			refuse(field, host, "must not be there twice")
		}
	}
	for _, host := range r.Shared {
		if !slices.Contains(r.Hosts, host) {
			refuse("shared", host, "must be one of hosts")
		}
	}
	return errors.Join(append(errs, r.checkPair())...)
}

// checkPair refuses a certificate and a key that nginx could not use: it would refuse the whole configuration. The error
// holds nothing of them.
func (r RouteEntry) checkPair() error {
	switch {
	case r.Certificate == nil && r.Key == nil:
		return nil
	case r.TCP:
		return &FieldError{"tls", "", "must not be set: the TLS of a TCP Route is the backend's"}
	case !pemAlone(r.Certificate, "CERTIFICATE") || !pemAlone(r.Key, "PRIVATE KEY"):
		return &FieldError{"tls", "", "must be a chain and a private key in PEM, and nothing else"}
	}
	if _, err := tls.X509KeyPair(r.Certificate, r.Key); err != nil {
		return &FieldError{"tls", "", "must be a certificate and its own private key"}
	}
	return nil
}

// pemAlone says whether a text is blocks of PEM of a type, and nothing else.
func pemAlone(text []byte, kind string) bool {
	rest := bytes.TrimSpace(text)
	for len(rest) > 0 {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			return false
		}
		block, after := pem.Decode(rest)
		if block == nil || !strings.HasSuffix(block.Type, kind) {
			return false
		}
		rest = bytes.TrimSpace(after)
	}
	return len(text) > 0
}
