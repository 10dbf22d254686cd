// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"fmt"
	"strings"
)

const (
	// longName is the longest name that nginx takes without further ado.
	longName = 46
	// wideBucket is enough for the longest name that there is.
	wideBucket = 512
	bucketSize = "server_names_hash_bucket_size"
)

// Render returns the file, for /etc/nginx/conf.d. Its errors are *FieldError, one for each value that cannot be written.
// Behind a line that is declared stands a comment with the field.
func (c Config) Render() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n# Made by Phoenix: what is changed here by hand is put back.\n", c.About)
	if c.wide() {
		fmt.Fprintf(&b, "%s %d;\n", bucketSize, wideBucket)
	}
	b.WriteString("\n# Names that are not declared get no answer, and no handshake.\n")
	b.WriteString(c.plain(" default_server", "_", "") + "\treturn 444;\n}\n")
	b.WriteString(c.secure(" default_server", "_", "") + "\tssl_reject_handshake on;\n\treturn 421;\n}\n")
	for _, s := range c.Servers {
		names, field := strings.Join(s.Names, " "), " # "+s.Source+".names"
		fmt.Fprintf(&b, "\n# %s\n", s.Source)
		fmt.Fprintf(&b, "%s\treturn 308 %s;\n}\n", c.plain("", names, field), c.target())
		fmt.Fprintf(&b, "%s\tssl_certificate %s; # %s\n\tssl_certificate_key %s; # %s\n\treturn 404;\n}\n",
			c.secure("", names, field), s.Certificate, s.Source, s.Key, s.Source)
	}
	return []byte(b.String()), nil
}

// plain opens a server of HTTP.
func (c Config) plain(flags, names, field string) string {
	return fmt.Sprintf("server {\n\tlisten %d%s; # httpPort\n\tlisten [::]:%d%s; # httpPort\n\tserver_name %s;%s\n",
		c.HTTPPort, flags, c.HTTPPort, flags, names, field)
}

// secure opens a server of HTTPS. The protocols stand in the default server too, as some versions take them from there.
func (c Config) secure(flags, names, field string) string {
	return fmt.Sprintf("server {\n\tlisten %d ssl http2%s; # httpsPort\n\tlisten [::]:%d ssl http2%s; # httpsPort\n\tserver_name %s;%s\n\tssl_protocols TLSv1.2 TLSv1.3;\n",
		c.HTTPSPort, flags, c.HTTPSPort, flags, names, field)
}

// target is where HTTP sends to.
func (c Config) target() string {
	if c.HTTPSPort == 443 {
		return "https://$host$request_uri"
	}
	return fmt.Sprintf("https://$host:%d$request_uri", c.HTTPSPort)
}

// wide says whether a name needs more room than nginx gives by itself.
func (c Config) wide() bool {
	for _, s := range c.Servers {
		for _, name := range s.Names {
			if len(name) > longName {
				return true
			}
		}
	}
	return false
}

// Field is the field that a line of the file is made from, such as "servers[site].names"; empty for one that is always there.
func Field(line string) string {
	_, field, ok := strings.Cut(line, "; # ")
	if !ok {
		return ""
	}
	return field
}
