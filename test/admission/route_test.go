// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// The smallest objects that are right.
const (
	route = `
kind: Route
spec:
  gatewayRef: {name: nginx}
  routerRef: {name: traefik}
  hosts: [blog.phoenix.lan]
  backends: [{guest: {name: blog, port: 8080}}]`
	traefik = `
kind: HostService
spec:
  guestRef: {name: traefik}
  traefik:
    artifact: {url: "https://mirror.lan/traefik_v3.6.12_linux_amd64.tar.gz", sha256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", member: traefik}
    gatewayRefs: [{name: nginx}]`
	gateway = `
kind: HostService
spec:
  guestRef: {name: nginx}
  nginx: {servers: [{name: site, certificateRef: {name: site}}]}`
)

// every is the list with n numbered elements.
func every(n int, element string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = strings.ReplaceAll(element, "#", fmt.Sprint(i))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func TestRouteAccepted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(strings.Repeat("a", 62)+".", 4) + "a" // 253 characters
	middleware := func(m string) string { return `middlewares: [` + m + `]` }
	for _, tc := range []accepted{
		{"the smallest Route", route, `{}`},
		{"every field of a Route of HTTP", route, `
management: Enforce
deletionPolicy: Retain
dependsOn: [{kind: DockerStack, name: blog}]
hosts: [blog.phoenix.lan, "*.blog.phoenix.lan", intranet]
paths: [{value: /}, {type: Exact, value: /robots.txt}, {type: Regex, value: "^/v[0-9]{1,2}/(a|b)"}, {type: Prefix, value: "/a~b!c$d&e(f)*+,;=:@%2F"}]
priority: 100
expose: External
backends:
- {guest: {name: blog, port: 8080}, weight: 3}
- {hostService: {name: portainer}}
- {hostService: {name: portainer, port: 9443}, weight: 0}
- {stack: {name: blog, service: web}}
- {stack: {name: blog, service: web, port: 80}}
- {url: "https://10.0.0.9:8443/"}
- {url: "h2c://[fd00::9]:50051"}
- {url: "http://shop.example.org"}
protocol: HTTPS
backendTLS: {authorityRef: {name: step-ca}, serverName: blog.phoenix.lan}
passHostHeader: false
healthCheck: {path: "/healthz?full=1", interval: 10s, timeout: 500ms, status: 204}
sticky: {cookie: blog_backend, sameSite: Strict, maxAge: 24h}
middlewares:
- redirect: {regex: "^https://([^/]+)/old/(.*)$", replacement: "https://${1}/new/${2}", permanent: true}
- stripPrefix: {prefixes: [/api, /v1]}
- addPrefix: {prefix: /app}
- headers: {request: [{name: X-Tier, value: "a \"b\" {{c}} 'd' $e"}, {name: Cookie}], response: [{name: Server}, {name: X-Empty, value: ""}]}
- basicAuth: {usersSecretRef: {name: users, key: htpasswd}, realm: "The blog's [back] door", userHeader: X-Webauth-User, keepHeader: true}
- ipAllowList: {networks: [10.0.0.0/24, 10.1.0.7, "fd00::/8", "fd00::7"]}
- rateLimit: {average: 100, period: 1m, burst: 50}
- compress: {minBodySize: 4096}
- retry: {attempts: 3, initialInterval: 50ms}
- forwardAuth: {url: "https://auth.phoenix.lan:9091/api/authz/forward-auth?x=1", authorityRef: {name: step-ca}, responseHeaders: [Remote-User, Remote-Groups]}
tls: {issue: true, authorityRef: {name: step-ca}}
dnsRefs: [{name: dns}, {name: dns-2}]`},
		{"a certificate of its own", route, `tls: {certificateRef: {name: blog}}`},
		{"a certificate of somebody else", route, `tls: {secretRef: {name: blog-tls}}`},
		{"TCP", route, `{tcp: {proxyProtocol: 2}, hosts: [db.phoenix.lan, "*.db.phoenix.lan"], expose: External, dnsRefs: [{name: dns}]}`},
		{"TCP to a service that speaks TLS", route, `{tcp: {}, backends: [{hostService: {name: step-ca}}, {stack: {name: db, service: db}, weight: 2}]}`},
		{"roots from a Secret", route, `{protocol: HTTPS, backendTLS: {caSecretRef: {name: roots, key: ca.crt}}}`},
		{"a url that verifies what it speaks to", route, `{backends: [{url: "https://nas.lan:5001"}], backendTLS: {serverName: nas.lan}}`},
		{"gRPC", route, `protocol: H2C`},
		{"the longest name", route, `hosts: [` + long + `]`},
		{"the longest label", route, `hosts: [` + strings.Repeat("a", 63) + `.lan]`},
		{"as many of everything as there may be", route, `
hosts: ` + every(16, "host-#.phoenix.lan") + `
paths: ` + every(16, "{value: /"+strings.Repeat("a", 500)+"#}") + `
backends: ` + every(16, "{url: \"http://10.0.0.#:65535\"}") + `
middlewares: ` + every(16, "{headers: {request: "+every(16, "{name: X-#, value: "+strings.Repeat("v", 512)+"}")+", response: "+every(16, "{name: X-#}")+"}}")},
		{"a redirect to a group", route, middleware(`{redirect: {regex: "^(https?://)old[.]lan/(.*)", replacement: "${1}new.lan/${2}"}}`)},
		{"a redirect on the same host", route, middleware(`{redirect: {regex: "^https://[^/]+/$", replacement: /app/}}`)},
		{"the smallest traefik", traefik, `{}`},
		{"every field of a traefik", traefik, `traefik: {gatewayRefs: [{name: nginx}, {name: nginx-2}], webPort: 8000, webSecurePort: 8443, apiPort: 8081, metricsPort: 9100, accessLog: true, logLevel: DEBUG}`},
		{"the smallest gateway", gateway, `{}`},
		{"every field of a gateway", gateway, `
nginx:
  packageName: nginx
  httpPort: 8080
  httpsPort: 8443
  servers: [{name: site, names: [phoenix.lan, "*.phoenix.lan"], certificateRef: {name: site}}, {name: public, secretRef: {name: public-tls}}]
  internalNetworks: [10.0.0.0/24, "fd00::/8"]
  proxy: {maxBodySizeMiB: 0, connectTimeout: 75s, idleTimeout: 24h, buffering: true}
  securityHeaders: {hsts: 17520h, contentTypeNosniff: false, frameOptions: SAMEORIGIN, referrerPolicy: no-referrer}
  passThrough: {idleTimeout: 1h}`},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if err := try(t.Context(), object(t, tc.base, "good", tc.patch)); err != nil {
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}

// TestRouteHostsRefused: a host is written into rules of Traefik, maps of nginx and files of dnsmasq.
func TestRouteHostsRefused(t *testing.T) {
	t.Parallel()
	const remedy = "for example blog.phoenix.lan or *.apps.phoenix.lan"
	host := func(h string) string { return `hosts: ["` + h + `"]` }
	checkRefused(t, route, []refused{
		{"none", `hosts: null`, "spec.hosts", "Required value"},
		{"an empty list", `hosts: []`, "spec.hosts", "at least 1 items"},
		{"an empty name", host(``), "spec.hosts[0]", "at least 1 chars"},
		{"a rule behind a backtick", host("a.lan`) || Host(`b.lan"), "spec.hosts", remedy},
		{"a rule behind a quote", host(`a.lan\") || PathPrefix(\"/`), "spec.hosts", remedy},
		{"a rule in parentheses", host(`a.lan)||(b.lan`), "spec.hosts", remedy},
		{"two names in one", host(`a.lan||b.lan`), "spec.hosts", remedy},
		{"two names with a comma", host(`a.lan,b.lan`), "spec.hosts", remedy},
		{"a second line for nginx", host(`a.lan external:x;\n~.* external`), "spec.hosts", remedy},
		{"a second option for dnsmasq", host(`a.lan\naddress=/#/1.2.3.4`), "spec.hosts", remedy},
		{"a carriage return", host(`a.lan\r\nX-Evil: 1`), "spec.hosts", remedy},
		{"an end of text", host(`a.lan\0`), "spec.hosts", remedy},
		{"a space", host(`a.lan b.lan`), "spec.hosts", remedy},
		{"a semicolon", host(`a.lan;`), "spec.hosts", remedy},
		{"a regular expression of nginx", host(`~^.*$`), "spec.hosts", remedy},
		{"a variable of nginx", host(`$host`), "spec.hosts", remedy},
		{"a dollar within", host(`a.$b.lan`), "spec.hosts", remedy},
		{"a template of Traefik", host(`{{ env \"HOME\" }}.lan`), "spec.hosts", remedy},
		{"a Cyrillic a", host(`р\u0430ypal.lan`), "spec.hosts", remedy},
		{"a full-width dot", host(`blog\uff0elan`), "spec.hosts", remedy},
		{"an emoji", host(`\U0001F600.lan`), "spec.hosts", remedy},
		{"a character that nobody sees", host(`blog\u200b.lan`), "spec.hosts", remedy},
		{"capitals", host(`Blog.lan`), "spec.hosts", remedy},
		{"254 characters", host(strings.Repeat("a.", 126) + "aa"), "spec.hosts[0]", "more than 253"},
		{"a label of 64 characters", host(strings.Repeat("a", 64) + ".lan"), "spec.hosts", remedy},
		{"an empty label", host(`a..lan`), "spec.hosts", remedy},
		{"a dot before", host(`.lan`), "spec.hosts", remedy},
		{"a dot behind", host(`a.lan.`), "spec.hosts", remedy},
		{"a label that begins with a dash", host(`-a.lan`), "spec.hosts", remedy},
		{"an underscore", host(`a_b.lan`), "spec.hosts", remedy},
		{"every name there is", host(`*`), "spec.hosts", remedy},
		{"a wildcard in the middle", host(`a.*.lan`), "spec.hosts", remedy},
		{"a wildcard within a label", host(`a*.lan`), "spec.hosts", remedy},
		{"two wildcards", host(`*.*.lan`), "spec.hosts", remedy},
		{"a port", host(`a.lan:443`), "spec.hosts", remedy},
		{"a URL", host(`https://a.lan`), "spec.hosts", remedy},
		{"an address", host(`10.0.0.9`), "spec.hosts", "must be names, not addresses"},
		{"an IPv6 address", host(`fd00::9`), "spec.hosts", remedy},
		{"twice the same", `hosts: [a.lan, a.lan]`, "spec.hosts[1]", "Duplicate value"},
		{"seventeen", `hosts: ` + every(17, "a#.lan"), "spec.hosts", "at most 16 items"},
		{"a text in place of a list", `hosts: a.lan`, "spec.hosts", "must be of type array"},
	})
}

func TestRouteRefused(t *testing.T) {
	t.Parallel()
	path := func(value string) string { return `paths: [{value: "` + value + `"}]` }
	const url = "without a path, for example http://10.0.0.9:8080"
	backend := func(b string) string { return `backends: [{` + b + `}]` }
	checkRefused(t, route, []refused{
		{"no gateway", `gatewayRef: null`, "spec.gatewayRef", "Required value"},
		{"no router", `routerRef: null`, "spec.routerRef", "Required value"},
		{"a gateway in another namespace", `gatewayRef: {name: nginx, namespace: other}`, "spec.gatewayRef.namespace", "unknown field"},
		{"an exposure that there is not", `expose: Public`, "spec.expose", `"Internal", "External"`},
		{"no priority", `priority: 0`, "spec.priority", "greater than or equal to 1"},
		{"a rule of its own", `rule: "HostRegexp(\".*\")"`, "spec.rule", "unknown field"},

		{"a path with a backtick", path("/a`) || Host(`b.lan"), "spec.paths[0].value", "without spaces and backticks"},
		{"a path with a space", path(`/a b`), "spec.paths[0].value", "without spaces and backticks"},
		{"a path with a line break", path(`/a\nb`), "spec.paths[0].value", "without spaces and backticks"},
		{"a path with braces", path(`/{{ env }}`), "spec.paths[0]", "for patterns set type: Regex"},
		{"a path with a quote", path(`/a\"`), "spec.paths[0]", "for example /api"},
		{"a path in Chinese", path(`/\u4e2d`), "spec.paths[0].value", "printable ASCII"},
		{"a path with a question", path(`/a?b=c`), "spec.paths[0]", "nothing that a URL's path cannot"},
		{"a relative path", path(`api`), "spec.paths[0]", "must begin with /"},
		{"an empty path", path(``), "spec.paths[0].value", "at least 1 chars"},
		{"a pattern with a backtick", "paths: [{type: Regex, value: \"^/a`\"}]", "spec.paths[0].value", "without spaces and backticks"},
		{"a path that is too long", path("/" + strings.Repeat("a", 512)), "spec.paths[0].value", "more than 512"},
		{"a type of path that there is not", `paths: [{type: Glob, value: /a}]`, "spec.paths[0].type", `"Prefix", "Exact", "Regex"`},

		{"no backend", `backends: []`, "spec.backends", "at least 1 items"},
		{"a backend of nothing", backend(`weight: 1`), "spec.backends[0]", "exactly one of guest, hostService, stack and url"},
		{"a backend of two", backend(`guest: {name: a, port: 80}, url: "http://a.lan"`), "spec.backends[0]", "exactly one of guest, hostService, stack and url"},
		{"a weight below nothing", backend(`guest: {name: a, port: 80}, weight: -1`), "spec.backends[0].weight", "greater than or equal to 0"},
		{"a weight of everything", backend(`guest: {name: a, port: 80}, weight: 1001`), "spec.backends[0].weight", "less than or equal to 1000"},
		{"half a weight", backend(`guest: {name: a, port: 80}, weight: 0.5`), "spec.backends[0].weight", "must be of type integer"},
		{"a guest without a port", backend(`guest: {name: a}`), "spec.backends[0].guest.port", "Required value"},
		{"port 0", backend(`guest: {name: a, port: 0}`), "spec.backends[0].guest.port", "greater than or equal to 1"},
		{"port 65536", backend(`stack: {name: a, service: b, port: 65536}`), "spec.backends[0].stack.port", "less than or equal to 65535"},
		{"a port by its name", backend(`guest: {name: a, port: http}`), "spec.backends[0].guest.port", "must be of type integer"},
		{"a stack without a service", backend(`stack: {name: a}`), "spec.backends[0].stack.service", "Required value"},
		{"a url with credentials", backend(`url: "http://me:secret@a.lan"`), "spec.backends[0].url", url},
		{"a url with a path", backend(`url: "http://a.lan/admin"`), "spec.backends[0].url", url},
		{"a url with a question", backend(`url: "http://a.lan?x=1"`), "spec.backends[0].url", url},
		{"a url with a fragment", backend(`url: "http://a.lan#x"`), "spec.backends[0].url", url},
		{"a script", backend(`url: "javascript:alert(1)"`), "spec.backends[0].url", url},
		{"a file", backend(`url: "file:///etc/shadow"`), "spec.backends[0].url", url},
		{"a url without a scheme", backend(`url: "a.lan:80"`), "spec.backends[0].url", url},
		{"a url without a host", backend(`url: "http://:80"`), "spec.backends[0].url", url},
		{"a url with an empty label", backend(`url: "http://a..lan"`), "spec.backends[0].url", url},
		{"a url with a line break", backend(`url: "http://a.lan\nb"`), "spec.backends[0].url", url},
		{"a url with a variable", backend(`url: "http://${HOST}"`), "spec.backends[0].url", url},
		{"a url with port 0", backend(`url: "http://a.lan:0"`), "spec.backends[0].url", "a port from 1 to 65535"},
		{"a url with port 65536", backend(`url: "http://a.lan:65536"`), "spec.backends[0].url", "a port from 1 to 65535"},
		{"a url with port 99999", backend(`url: "http://[fd00::9]:99999"`), "spec.backends[0].url", "a port from 1 to 65535"},

		{"a protocol that there is not", `protocol: GRPC`, "spec.protocol", `"HTTP", "HTTPS", "H2C"`},
		{"TLS to backends that speak none", `backendTLS: {serverName: a.lan}`, "spec", "set protocol: HTTPS"},
		{"roots from two places", `{protocol: HTTPS, backendTLS: {authorityRef: {name: a}, caSecretRef: {name: a, key: b}}}`, "spec.backendTLS", "not both"},
		{"no verification", `{protocol: HTTPS, backendTLS: {insecureSkipVerify: true}}`, "spec.backendTLS.insecureSkipVerify", "unknown field"},
		{"a server name with a wildcard", `{protocol: HTTPS, backendTLS: {serverName: "*.lan"}}`, "spec.backendTLS.serverName", "for example portainer.phoenix.lan"},
		{"a question of the health check with a line break", `healthCheck: {path: "/a\nX: 1"}`, "spec.healthCheck.path", "for example /healthz"},
		{"a health check of another server", `healthCheck: {path: "http://a.lan/"}`, "spec.healthCheck.path", "must begin with /"},
		{"health all the time", `healthCheck: {path: /, interval: 0s}`, "spec.healthCheck.interval", "from 1s to 1h"},
		{"a timeout of nothing", `healthCheck: {path: /, timeout: 1ms}`, "spec.healthCheck.timeout", "from 100ms to 1m"},
		{"a timeout that is no time", `healthCheck: {path: /, timeout: soon}`, "spec.healthCheck.timeout", "from 100ms to 1m"},
		{"a status that is none", `healthCheck: {path: /, status: 600}`, "spec.healthCheck.status", "less than or equal to 599"},
		{"a cookie with an attribute", `sticky: {cookie: "a; Domain=lan"}`, "spec.sticky.cookie", "letters, digits, - and _"},
		{"a cookie for ever", `sticky: {maxAge: 8761h}`, "spec.sticky.maxAge", "from 1s to 8760h"},
		{"a cookie for other sites' sake", `sticky: {sameSite: Any}`, "spec.sticky.sameSite", `"None", "Lax", "Strict"`},

		{"no certificate at all", `tls: {}`, "spec.tls", "exactly one of certificateRef, secretRef and issue: true"},
		{"two certificates", `tls: {certificateRef: {name: a}, secretRef: {name: b}}`, "spec.tls", "exactly one of certificateRef, secretRef and issue: true"},
		{"a certificate that is there and to be made", `tls: {certificateRef: {name: a}, issue: true, authorityRef: {name: ca}}`, "spec.tls", "exactly one"},
		{"a certificate by nobody", `tls: {issue: true}`, "spec.tls", "tls.issue and tls.authorityRef belong together"},
		{"an authority for nothing", `tls: {secretRef: {name: a}, authorityRef: {name: ca}}`, "spec.tls", "tls.issue and tls.authorityRef belong together"},
		{"a key in the open", `tls: {key: "-----BEGIN PRIVATE KEY-----"}`, "spec.tls.key", "unknown field"},
		{"TCP with middlewares", `{tcp: {}, middlewares: [{compress: {}}]}`, "spec", "are for HTTP"},
		{"TCP with paths", `{tcp: {}, paths: [{value: /a}]}`, "spec", "are for HTTP"},
		{"TCP with a certificate", `{tcp: {}, tls: {secretRef: {name: a}}}`, "spec", "passes connections through as they come"},
		{"TCP with a Host header", `{tcp: {}, passHostHeader: false}`, "spec", "passHostHeader are for HTTP"},
		{"TCP to a url", `{tcp: {}, backends: [{url: "https://a.lan"}]}`, "spec", "guest, hostService or stack"},
		{"a PROXY protocol that there is not", `tcp: {proxyProtocol: 3}`, "spec.tcp.proxyProtocol", `"1", "2"`},
		{"one dnsmasq twice", `dnsRefs: [{name: a}, {name: a}]`, "spec.dnsRefs[1]", "Duplicate value"},
		{"a dnsmasq without a name", `dnsRefs: [{name: ""}]`, "spec.dnsRefs[0].name", "at least 1 chars"},
	})
}

func TestRouteMiddlewaresRefused(t *testing.T) {
	t.Parallel()
	const m = "spec.middlewares[0]"
	one := func(m string) string { return `middlewares: [{` + m + `}]` }
	header := func(h string) string { return one(`headers: {request: [{` + h + `}]}`) }
	auth := func(fields string) string {
		return one(`basicAuth: {usersSecretRef: {name: a, key: b}, ` + fields + `}`)
	}
	checkRefused(t, route, []refused{
		{"of nothing", one(``), m, "exactly one of redirect, stripPrefix"},
		{"of two", one(`compress: {}, retry: {attempts: 2}`), m, "exactly one of redirect, stripPrefix"},
		{"a plugin", one(`plugin: {evil: {}}`), m + ".plugin", "unknown field"},
		{"one of another Route", one(`ref: {name: other}`), m + ".ref", "unknown field"},
		{"seventeen", `middlewares: ` + every(17, "{compress: {}}"), "spec.middlewares", "at most 16 items"},
		{"a redirect with a line break", one(`redirect: {regex: "^a", replacement: "https://a.lan/\r\nSet-Cookie: x"}`), m + ".redirect.replacement", "printable ASCII"},
		{"a redirect to a script", one(`redirect: {regex: "^a", replacement: "javascript:alert(1)"}`), m + ".redirect.replacement", "must begin with http://"},
		{"a redirect by a regex with a backtick", one("redirect: {regex: \"^`\", replacement: /}"), m + ".redirect.regex", "without spaces and backticks"},
		{"a prefix that is none", one(`stripPrefix: {prefixes: [api]}`), m + ".stripPrefix.prefixes", "for example /api"},
		{"a prefix with a line break", one(`addPrefix: {prefix: "/a\nb"}`), m + ".addPrefix.prefix", "for example /app"},
		{"headers of nothing", one(`headers: {}`), m + ".headers", "needs request or response"},
		{"a header name with a line break", header(`name: "X\r\nEvil", value: a`), m + ".headers.request[0].name", "for example X-Frame-Options"},
		{"a header name with a colon", header(`name: "X: a", value: b`), m + ".headers.request[0].name", "letters, digits and -"},
		{"a header value with a line break", header(`name: X, value: "a\r\nX-Evil: 1"`), m + ".headers.request[0].value", "printable ASCII"},
		{"a header value with an end of text", header(`name: X, value: "a\0"`), m + ".headers.request[0].value", "printable ASCII"},
		{"a header value in Greek", header(`name: X, value: "\u03b1"`), m + ".headers.request[0].value", "printable ASCII"},
		{"a header twice", one(`headers: {request: [{name: X}, {name: X}]}`), m + ".headers.request[1]", "Duplicate value"},
		{"a header twice in other letters", one(`headers: {response: [{name: X-a}, {name: x-A}]}`), m + ".headers.response", "capitals make no difference"},
		{"users in the open", one(`basicAuth: {users: ["a:b"]}`), m + ".basicAuth.users", "unknown field"},
		{"users of nobody", one(`basicAuth: {}`), m + ".basicAuth.usersSecretRef", "Required value"},
		{"a realm with a quote", auth(`realm: "a\", x=\""`), m + ".basicAuth.realm", "without double quotes"},
		{"a realm with a backslash", auth(`realm: "a\\"`), m + ".basicAuth.realm", "and backslashes"},
		{"a realm with a line break", auth(`realm: "a\r\nSet-Cookie: x"`), m + ".basicAuth.realm", "printable ASCII"},
		{"a user's header with a line break", auth(`userHeader: "X\nY"`), m + ".basicAuth.userHeader", "for example X-Webauth-User"},
		{"a network that is none", one(`ipAllowList: {networks: [10.0.0.0/33]}`), m + ".ipAllowList.networks", "for example 10.0.0.0/24"},
		{"a network by its name", one(`ipAllowList: {networks: [office.lan]}`), m + ".ipAllowList.networks", "for example 10.0.0.0/24"},
		{"a network with a line break", one(`ipAllowList: {networks: ["10.0.0.0/24\n0.0.0.0/0"]}`), m + ".ipAllowList.networks", "for example 10.0.0.0/24"},
		{"nobody let in", one(`ipAllowList: {networks: []}`), m + ".ipAllowList.networks", "at least 1 items"},
		{"a limit of nothing", one(`rateLimit: {average: 0}`), m + ".rateLimit.average", "greater than or equal to 1"},
		{"a limit by the year", one(`rateLimit: {average: 1, period: 8760h}`), m + ".rateLimit.period", "from 1s to 1h"},
		{"compression of less than nothing", one(`compress: {minBodySize: -1}`), m + ".compress.minBodySize", "greater than or equal to 1"},
		{"retries without an end", one(`retry: {attempts: 1000}`), m + ".retry.attempts", "less than or equal to 10"},
		{"retries by the hour", one(`retry: {attempts: 2, initialInterval: 1h}`), m + ".retry.initialInterval", "from 1ms to 10s"},
		{"an authentication with credentials", one(`forwardAuth: {url: "http://me:secret@a.lan/"}`), m + ".forwardAuth.url", "no credentials"},
		{"an authentication by a script", one(`forwardAuth: {url: "javascript:1"}`), m + ".forwardAuth.url", "must begin with http://"},
		{"an authentication with a fragment", one(`forwardAuth: {url: "http://a.lan/#x"}`), m + ".forwardAuth.url", "must begin with http://"},
		{"an authentication at port 70000", one(`forwardAuth: {url: "http://a.lan:70000/"}`), m + ".forwardAuth.url", "a port from 1 to 65535"},
		{"an answer's header with a line break", one(`forwardAuth: {url: "http://a.lan", responseHeaders: ["X\nY"]}`), m + ".forwardAuth.responseHeaders", "for example Remote-User"},
	})
}

func TestTraefikRefused(t *testing.T) {
	t.Parallel()
	artifact := func(fields string) string { return `traefik: {artifact: {` + fields + `}}` }
	checkRefused(t, traefik, []refused{
		{"on the node", `{guestRef: null, hostRef: {name: phoenix}}`, "spec", "traefik needs guestRef"},
		{"beside another service", `nginx: {servers: [{name: a, secretRef: {name: a}}]}`, "spec", "exactly one of dnsmasq"},
		{"no program", `traefik: {artifact: null}`, "spec.traefik.artifact", "Required value"},
		{"a program that is not pinned", artifact(`sha256: null`), "spec.traefik.artifact.sha256", "Required value"},
		{"a program of another hash", artifact(`sha256: ` + strings.Repeat("Z", 64)), "spec.traefik.artifact.sha256", "64 hexadecimal digits"},
		{"a program with credentials", artifact(`url: "https://me:secret@a.lan/x"`), "spec.traefik.artifact.url", "no credentials"},
		{"a program of the machine's", artifact(`url: "file:///bin/sh"`), "spec.traefik.artifact.url", "must begin with http://"},
		{"a member out of its archive", artifact(`member: ../../bin/sh`), "spec.traefik.artifact.member", "a path within the archive"},
		{"no gateway", `traefik: {gatewayRefs: []}`, "spec.traefik.gatewayRefs", "at least 1 items"},
		{"a gateway twice", `traefik: {gatewayRefs: [{name: a}, {name: a}]}`, "spec.traefik.gatewayRefs[1]", "Duplicate value"},
		{"everybody as a gateway", `traefik: {gatewayRefs: null, trustedIPs: [0.0.0.0/0]}`, "spec.traefik.trustedIPs", "unknown field"},
		{"one port for two", `traefik: {webPort: 443}`, "spec.traefik", "must differ from each other"},
		{"the API for everybody", `traefik: {metricsPort: 8080}`, "spec.traefik", "must differ from each other"},
		{"port 65536", `traefik: {webPort: 65536}`, "spec.traefik.webPort", "less than or equal to 65535"},
		{"a level of logs that there is not", `traefik: {logLevel: debug}`, "spec.traefik.logLevel", `"DEBUG", "INFO", "WARN", "ERROR"`},
		{"arguments of its own", `traefik: {args: ["--api.insecure"]}`, "spec.traefik.args", "unknown field"},
	})
	nginx := func(fields string) string { return `nginx: {` + fields + `}` }
	checkRefused(t, gateway, []refused{
		{"on the node", `{guestRef: null, hostRef: {name: phoenix}}`, "spec", "nginx needs guestRef"},
		{"one port for two", nginx(`httpPort: 443`), "spec.nginx", "must differ from each other"},
		{"no server", nginx(`servers: []`), "spec.nginx.servers", "at least 1 items"},
		{"a server without a certificate", nginx(`servers: [{name: a}]`), "spec.nginx.servers[0]", "exactly one of certificateRef and secretRef"},
		{"a name of two servers", nginx(`servers: [{name: a, names: [x.lan], secretRef: {name: a}}, {name: b, names: [x.lan], secretRef: {name: b}}]`), "spec.nginx.servers", "one name is served by one server"},
		{"a name with a directive", nginx(`servers: [{name: a, names: ["x.lan; return 200"], secretRef: {name: a}}]`), "spec.nginx.servers[0].names", "for example www.phoenix.lan"},
		{"a server with a path", nginx(`servers: [{name: ../a, secretRef: {name: a}}]`), "spec.nginx.servers[0].name", "for example site"},
		{"a network that is none", nginx(`internalNetworks: [10.0.0.0/33]`), "spec.nginx.internalNetworks", "for example 10.0.0.0/24"},
		{"a network with a directive", nginx(`internalNetworks: ["0.0.0.0/0 1; include /etc/passwd"]`), "spec.nginx.internalNetworks", "for example 10.0.0.0/24"},
		{"an address for a network", nginx(`internalNetworks: [10.0.0.7]`), "spec.nginx.internalNetworks", "must be networks"},
		{"a body of less than nothing", nginx(`proxy: {maxBodySizeMiB: -1}`), "spec.nginx.proxy.maxBodySizeMiB", "greater than or equal to 0"},
		{"a connection that takes for ever", nginx(`proxy: {connectTimeout: 10m}`), "spec.nginx.proxy.connectTimeout", "from 1s to 75s"},
		{"no patience", nginx(`proxy: {idleTimeout: 0s}`), "spec.nginx.proxy.idleTimeout", "from 1s to 24h"},
		{"HTTPS for ever", nginx(`securityHeaders: {hsts: 100000h}`), "spec.nginx.securityHeaders.hsts", "at most 17520h"},
		{"HTTPS for less than nothing", nginx(`securityHeaders: {hsts: -1h}`), "spec.nginx.securityHeaders.hsts", "at most 17520h"},
		{"frames with a line break", nginx(`securityHeaders: {frameOptions: "DENY\r\nX: 1"}`), "spec.nginx.securityHeaders.frameOptions", `"DENY", "SAMEORIGIN"`},
		{"connections without an end", nginx(`passThrough: {idleTimeout: 48h}`), "spec.nginx.passThrough.idleTimeout", "from 1s to 24h"},
		{"lines of its own", nginx(`snippet: "return 200;"`), "spec.nginx.snippet", "unknown field"},
	})
}

// TestRouteChanges: whatever a Route is, it may become another one: what it leaves behind is cleared.
func TestRouteChanges(t *testing.T) {
	t.Parallel()
	for i, tc := range []struct {
		reason, then string
		// field and remedy stand in the error; empty: the change is accepted.
		field, remedy string
	}{
		{"another gateway", `gatewayRef: {name: other}`, "", ""},
		{"another router", `routerRef: {name: other}`, "", ""},
		{"another host", `hosts: [news.phoenix.lan]`, "", ""},
		{"another backend of another sort", `backends: [{url: "http://10.0.0.9"}]`, "", ""},
		{"TCP", `tcp: {}`, "", ""},
		{"for everybody", `expose: External`, "", ""},
		{"a host that is none", "hosts: [\"a`b\"]", "spec.hosts", "for example blog.phoenix.lan"},
		{"TCP with what HTTP had", `{tcp: {}, sticky: {}}`, "spec", "are for HTTP"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			o := object(t, route, fmt.Sprintf("route-change-%d", i), `{}`)
			if err := kube.Create(t.Context(), o, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
				t.Fatal(err)
			}
			patch := map[string]any{}
			if err := yaml.UnmarshalStrict([]byte(tc.then), &patch); err != nil {
				t.Fatal(err)
			}
			o.Object["spec"] = merge(o.Object["spec"].(map[string]any), patch)
			err := kube.Update(t.Context(), o, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
			switch {
			case tc.field != "":
				refusal(t, tc.reason, err, tc.field, tc.remedy)
			case err != nil:
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}
