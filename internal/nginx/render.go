// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

const (
	// longName is the longest name that nginx takes without further ado.
	longName = 46
	// wideBucket is enough for the longest name that there is. Routes bring their names without asking, so it is always set.
	wideBucket = 512
	bucketSize = "server_names_hash_bucket_size"
	// ProbePath is answered with 204 to the machine itself, for every name that it shows a certificate for.
	ProbePath = "/.well-known/phoenix"
)

// Files are the files of a configuration.
type Files struct {
	// Main is for /etc/nginx/conf.d.
	Main []byte
	// Server is for server.conf in the Folder of the configuration.
	Server []byte
	// Stream is for a file that is read outside of http, behind the one that loads the stream module: in
	// /etc/nginx/modules-enabled, where Debian's packages put their own. Nil: there is none.
	Stream []byte
}

// ServerFile is the path of Files.Server.
func (c Config) ServerFile() string { return path.Join(c.Folder, serverFile) }

// Render returns the files. Its errors are *FieldError, one for each value that cannot be written. Behind a line that is
// declared stands a comment with the field.
func (c Config) Render() (Files, error) {
	if err := c.check(); err != nil {
		return Files{}, err
	}
	return Files{Main: []byte(c.head() + c.main()), Server: []byte(c.head() + c.server()), Stream: c.stream()}, nil
}

func (c Config) head() string {
	return fmt.Sprintf("# %s\n# Made by Phoenix: what is changed here by hand is put back.\n", c.About)
}

func (c Config) main() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d;\n", bucketSize, wideBucket)
	b.WriteString(c.hosts("$host", mapSuffix, ""))
	b.WriteString(asks)
	b.WriteString(c.Headers.maps())
	for _, u := range c.Upstreams {
		fmt.Fprintf(&b, "upstream %s {\n\tserver %s; # HostService/%s\n\tkeepalive 64;\n}\n", upstream(u.Router), u.at(u.WebPort), u.Router)
	}
	fmt.Fprintf(&b, `
# HTTP sends the hosts of Routes to HTTPS.
server {
	listen %d default_server; # httpPort
	listen [::]:%d default_server; # httpPort
	server_name _;
	server_tokens off;
%s	if ($phoenix_router = "") {
		return 444;
	}
	return 308 %s;
}

# Names without a certificate get no handshake, and no answer.
server {
%s	server_name _;
%s	ssl_reject_handshake on;
	error_page 497 @nothing;
	location @nothing {
		return 499;
	}
	return 499;
}
`, c.HTTPPort, c.HTTPPort, indented(probe, "\t"), c.target(), c.listens(" default_server"), protocols)
	for _, s := range c.Servers {
		fmt.Fprintf(&b, "\n# %s\nserver {\n\tinclude %s;\n\tserver_name %s; # %s.names\n\tssl_certificate %s; # %s\n\tssl_certificate_key %s; # %s\n}\n",
			s.Source, c.ServerFile(), strings.Join(s.Names, " "), s.Source, s.Certificate, s.Source, s.Key, s.Source)
	}
	fmt.Fprintf(&b, "\n# Routes with a certificate of their own.\ninclude %s/routes/*%s;\n", c.Folder, serverSuffix)
	return b.String()
}

func (u Upstream) at(port int) string { return net.JoinHostPort(u.Address, strconv.Itoa(port)) }

// hosts are the variables that say for a host, which name holds, who takes it: $phoenix_router is an upstream, or empty
// where nobody does, or not for who asks. It is the same for requests and, indented, for connections.
func (c Config) hosts(name, suffix, indent string) string {
	var b strings.Builder
	b.WriteString("\n# Who may come to Routes that are Internal.\ngeo $phoenix_inside {\n\tdefault 0;\n")
	for _, network := range c.Inside {
		fmt.Fprintf(&b, "\t%s 1; # internalNetworks\n", netip.MustParsePrefix(network).Masked())
	}
	fmt.Fprintf(&b, `}

# The hosts of the Routes with who may come, and the router. *.HOST is every name with one label more.
map %s $phoenix_above {
	default "";
	"~^[^.]+(?<phoenix_rest>[.].+)$" "*$phoenix_rest";
}
map %s $phoenix_exact {
	default "";
	include %s/routes/*%s;
}
map $phoenix_above $phoenix_below {
	default "";
	include %s/routes/*%s;
}
map $phoenix_exact $phoenix_route {
	default $phoenix_exact;
	"" $phoenix_below;
}
map "$phoenix_inside $phoenix_route" $phoenix_router {
	default "";
	"~^[01] external:(?<phoenix_open>.+)$" $phoenix_open;
	"~^1 internal:(?<phoenix_closed>.+)$" $phoenix_closed;
}
`, name, name, c.Folder, suffix, c.Folder, suffix)
	return indented(b.String(), indent)
}

// indented puts something before every line that is not empty.
func indented(text, indent string) string {
	if indent == "" {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = indent + line
		}
	}
	return strings.Join(lines, "\n")
}

// asks are the variables of a request: whether it is a probe of the machine itself, and which other protocol it may go
// over to.
const asks = `
# Nobody but the machine itself comes from the address that it asks.
map $proxy_protocol_server_addr $phoenix_self {
	default $proxy_protocol_server_addr;
	"" $server_addr;
}

# A request may become a websocket, and nothing else: one that became HTTP/2 would reach the router unseen.
map $http_upgrade $phoenix_upgrade {
	default "";
	"~*^websocket$" websocket;
}
map $phoenix_upgrade $phoenix_connection {
	default "";
	websocket upgrade;
}
`

// probe answers what the machine asks itself.
const probe = `set $phoenix_probe $uri;
if ($remote_addr != $phoenix_self) {
	set $phoenix_probe "";
}
if ($phoenix_probe = ` + ProbePath + `) {
	return 204;
}
`

// protocols stand in the default server too, as some versions take them from there.
const protocols = "\tssl_protocols TLSv1.2 TLSv1.3;\n"

// target is where HTTP sends to.
func (c Config) target() string { return "https://" + c.authority() + "$request_uri" }

// authority is the host of a request, with the port that clients come to where that is not the one of HTTPS.
func (c Config) authority() string {
	if c.HTTPSPort == 443 {
		return "$host"
	}
	return fmt.Sprintf("$host:%d", c.HTTPSPort)
}

// Field is the field that a line of the files is made from, such as "servers[site].names"; empty for one that is always
// there.
func Field(line string) string {
	_, field, ok := strings.Cut(line, "; # ")
	if !ok {
		return ""
	}
	return field
}
