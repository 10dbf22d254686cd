// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"strings"
	"testing"
)

// The smallest objects that are right.
const (
	certificate = `
kind: Certificate
spec:
  authority: {serviceRef: {name: step-ca}}
  secretName: site-tls
  dnsNames: [www.phoenix.lan]`
	stepCA = `
kind: HostService
spec:
  guestRef: {name: step-ca}
  stepCA: {packageName: step-ca}`
	nginx = `
kind: HostService
spec:
  guestRef: {name: nginx}
  nginx: {servers: [{name: site, certificateRef: {name: site}}]}`
)

var sha256sum = strings.Repeat("0a", 32)

func TestCertificateRefused(t *testing.T) {
	t.Parallel()
	checkRefused(t, certificate, []refused{
		{"nobody's certificate", `dnsNames: null`, "spec", "needs a name"},
		{"no authority", `authority: null`, "spec.authority", "Required value"},
		{"an authority that is none", `authority: {serviceRef: null}`, "spec.authority", "exactly one of serviceRef and outside"},
		{"two authorities", `authority: {outside: {url: "https://10.0.0.10", fingerprint: "` + sha256sum + `"}}`, "spec.authority", "exactly one"},
		{"an outside authority without a provisioner", `authority: {serviceRef: null, outside: {url: "https://10.0.0.10", fingerprint: "` + sha256sum + `"}}`,
			"spec.authority", "provisioner belongs to outside"},
		{"an authority without TLS", `authority: {serviceRef: null, outside: {url: "http://10.0.0.10", fingerprint: "` + sha256sum + `"}}`,
			"spec.authority.outside.url", "https without a path"},
		{"an authority's ACME directory", `authority: {serviceRef: null, outside: {url: "https://10.0.0.10/acme/acme/directory", fingerprint: "` + sha256sum + `"}}`,
			"spec.authority.outside.url", "https without a path"},
		{"a fingerprint with colons", `authority: {serviceRef: null, outside: {url: "https://10.0.0.10", fingerprint: "AB:CD"}}`,
			"spec.authority.outside.fingerprint", "64"},
		{"a Secret without a name", `secretName: ""`, "spec.secretName", "at least 1 chars"},
		{"a Secret in another namespace", `secretName: other/site-tls`, "spec.secretName", "lower case letters, digits, - and ."},
		{"a DNS name in capitals", `dnsNames: [WWW.phoenix.lan]`, "spec.dnsNames", "in lower case"},
		{"a DNS name with an underscore", `dnsNames: [my_host]`, "spec.dnsNames", "must be host names"},
		{"a wildcard within a name", `dnsNames: ["www.*.lan"]`, "spec.dnsNames", "for example www.phoenix.lan or *.phoenix.lan"},
		{"an address among the names", `dnsNames: ["10.0.0.0/24"]`, "spec.dnsNames", "must be host names"},
		{"one name twice", `dnsNames: [a.lan, a.lan]`, "spec.dnsNames[1]", "Duplicate value"},
		{"a name among the addresses", `ipAddresses: [www.phoenix.lan]`, "spec.ipAddresses", "for example 10.0.0.153"},
		{"a relative URI", `uris: [nginx]`, "spec.uris", "must be absolute"},
		{"an e-mail address without a domain", `emailAddresses: [admin]`, "spec.emailAddresses", "for example admin@phoenix.lan"},
		{"a common name longer than X.509's", `commonName: ` + strings.Repeat("a", 65), "spec.commonName", "may not be more than 64"},
		{"a life of a second", `duration: 1s`, "spec.duration", "at least 10s"},
		{"a life in days", `duration: 90d`, "spec.duration", ""},
		{"renewed before it is issued", `{duration: 24h, renewBefore: 24h}`, "spec", "renewBefore must be shorter than duration"},
		{"renewed by two rules", `{renewBefore: 1h, renewBeforePercentage: 30}`, "spec", "not both"},
		{"renewed all the time", `renewBeforePercentage: 100`, "spec.renewBeforePercentage", "less than or equal to 99"},
		{"an algorithm that there is not", `privateKey: {algorithm: DSA}`, "spec.privateKey.algorithm", `"ECDSA", "RSA", "Ed25519"`},
		{"an RSA key of an elliptic curve's size", `privateKey: {algorithm: RSA, size: 256}`, "spec.privateKey", "2048, 3072, 4096 or 8192 for RSA"},
		{"an ECDSA key of RSA's size", `privateKey: {size: 2048}`, "spec.privateKey", "256, 384 or 521 for ECDSA"},
		{"an Ed25519 key with a size", `privateKey: {algorithm: Ed25519, size: 256}`, "spec.privateKey", "unset for Ed25519"},
		{"an Ed25519 key in PKCS#1", `privateKey: {algorithm: Ed25519, encoding: PKCS1}`, "spec.privateKey", "use PKCS8"},
		{"a usage that there is not", `usages: [Server]`, "spec.usages[0]", `"ServerAuth", "ClientAuth"`},
		{"a keystore without a password", `keystores: {pkcs12: {}}`, "spec.keystores.pkcs12.passwordSecretRef", "Required value"},
		{"a password in the open", `keystores: {jks: {password: secret, passwordSecretRef: {name: a, key: b}}}`, "spec.keystores.jks.password", "unknown field"},
	})
}

func TestDeliveryRefused(t *testing.T) {
	t.Parallel()
	checkRefused(t, certificate, []refused{
		{"to no machine", `deliverTo: [{name: a, probe: {}}]`, "spec.deliverTo[0]", "exactly one of hostRef and guestRef"},
		{"to two machines", `deliverTo: [{name: a, guestRef: {name: b}, hostRef: {name: c}, probe: {}}]`, "spec.deliverTo[0]", "exactly one of hostRef and guestRef"},
		{"to a guest's node", `deliverTo: [{name: a, guestRef: {name: b}, node: pve1, probe: {}}]`, "spec.deliverTo[0]", "node belongs to hostRef"},
		{"of nothing", `deliverTo: [{name: a, guestRef: {name: b}}]`, "spec.deliverTo[0]", "needs files, a probe, or both"},
		{"of no file", `deliverTo: [{name: a, guestRef: {name: b}, files: {owner: root}}]`, "spec.deliverTo[0].files", "set certificate, chain, key, ca or combined"},
		{"twice by one name", `deliverTo: [{name: a, guestRef: {name: b}, probe: {}}, {name: a, guestRef: {name: c}, probe: {}}]`, "spec.deliverTo[1]", "Duplicate value"},
		{"to a relative path", `deliverTo: [{name: a, guestRef: {name: b}, files: {key: ssl/key.pem}}]`, "spec.deliverTo[0].files.key", "must be absolute"},
		{"to a path with a command", `deliverTo: [{name: a, guestRef: {name: b}, files: {key: "/etc/$(reboot)"}}]`, "spec.deliverTo[0].files.key", "letters, digits and - . _"},
		{"out of its directory", `deliverTo: [{name: a, guestRef: {name: b}, files: {key: /etc/ssl/../shadow}}]`, "spec.deliverTo[0].files.key", "without '.' and '..'"},
		{"of files that all can write", `deliverTo: [{name: a, guestRef: {name: b}, files: {key: /etc/k, mode: "0666"}}]`, "spec.deliverTo[0].files.mode", "for example 0640"},
		{"of files that run", `deliverTo: [{name: a, guestRef: {name: b}, files: {key: /etc/k, mode: "0755"}}]`, "spec.deliverTo[0].files.mode", "for example 0640"},
		{"to an owner with a blank", `deliverTo: [{name: a, guestRef: {name: b}, files: {key: /etc/k, owner: "a b"}}]`, "spec.deliverTo[0].files.owner", "for example www-data"},
		{"with a reload and no file", `deliverTo: [{name: a, guestRef: {name: b}, probe: {}, reload: [{unit: nginx.service}]}]`, "spec.deliverTo[0]", "reload belongs to files"},
		{"with a command as unit", `deliverTo: [{name: a, guestRef: {name: b}, files: {key: /etc/k}, reload: [{unit: "nginx; reboot"}]}]`, "spec.deliverTo[0].reload[0].unit", "for example nginx.service"},
		{"with a free command", `deliverTo: [{name: a, guestRef: {name: b}, files: {key: /etc/k}, command: [nginx, -s, reload]}]`, "spec.deliverTo[0].command", "unknown field"},
		{"with an action that there is not", `deliverTo: [{name: a, guestRef: {name: b}, files: {key: /etc/k}, reload: [{unit: nginx.service, action: Kill}]}]`,
			"spec.deliverTo[0].reload[0].action", `"Reload", "Restart"`},
		{"probed at a URL", `deliverTo: [{name: a, guestRef: {name: b}, probe: {address: "https://10.0.0.1"}}]`, "spec.deliverTo[0].probe.address", "IP address or a host name"},
		{"probed at port 0", `deliverTo: [{name: a, guestRef: {name: b}, probe: {port: 0}}]`, "spec.deliverTo[0].probe.port", "greater than or equal to 1"},
		{"probed for a wildcard", `deliverTo: [{name: a, guestRef: {name: b}, probe: {serverName: "*.lan"}}]`, "spec.deliverTo[0].probe.serverName", "for example www.phoenix.lan"},
	})
}

func TestStepCARefused(t *testing.T) {
	t.Parallel()
	artifact := func(fields string) string { return `stepCA: {packageName: null, artifact: {` + fields + `}}` }
	checkRefused(t, stepCA, []refused{
		{"on the node", `{guestRef: null, hostRef: {name: phoenix}}`, "spec", "a Guest of its own"},
		{"no program", `stepCA: {packageName: null}`, "spec.stepCA", "exactly one of artifact and packageName"},
		{"two programs", `stepCA: {artifact: {url: "https://a/b", sha256: "` + sha256sum + `"}}`, "spec.stepCA", "exactly one of artifact and packageName"},
		{"a package with an option", `stepCA: {packageName: "-y step-ca"}`, "spec.stepCA.packageName", "for example step-ca"},
		{"a program from a file", artifact(`url: "file:///etc/shadow", sha256: "` + sha256sum + `"`), "spec.stepCA.artifact.url", "http:// or https://"},
		{"a URL that a shell would run", artifact(`url: "https://a/$(reboot)", sha256: "` + sha256sum + `"`), "spec.stepCA.artifact.url", "http:// or https://"},
		{"a URL with credentials", artifact(`url: "https://me:secret@a/b", sha256: "` + sha256sum + `"`), "spec.stepCA.artifact.url", "hold no credentials"},
		{"a URL of curl's many", artifact(`url: "https://a/{b,c}", sha256: "` + sha256sum + `"`), "spec.stepCA.artifact.url", "hold no credentials"},
		{"a program that is not pinned", artifact(`url: "https://a/b"`), "spec.stepCA.artifact.sha256", "Required value"},
		{"a program pinned by MD5", artifact(`url: "https://a/b", sha256: d41d8cd98f00b204e9800998ecf8427e`), "spec.stepCA.artifact.sha256", "at least 64"},
		{"a member outside its archive", artifact(`url: "https://a/b.tar.gz", sha256: "` + sha256sum + `", member: ../step-ca`), "spec.stepCA.artifact.member", "within the archive"},
		{"port 0", `stepCA: {port: 0}`, "spec.stepCA.port", "greater than or equal to 1"},
		{"an address among its names", `stepCA: {dnsNames: ["10.0.0.0/24"]}`, "spec.stepCA.dnsNames", "for example ca.phoenix.lan"},
		{"a root of a second", `stepCA: {root: {duration: 1s}}`, "spec.stepCA.root.duration", "at least 1m"},
		{"claims upside down", `stepCA: {claims: {minDuration: 2h, maxDuration: 1h}}`, "spec.stepCA.claims", "minDuration must not be longer than maxDuration"},
		{"a default beyond the most", `stepCA: {claims: {defaultDuration: 2h, maxDuration: 1h}}`, "spec.stepCA.claims", "defaultDuration must not be longer"},
		{"a default below the least", `stepCA: {claims: {defaultDuration: 1m, minDuration: 1h}}`, "spec.stepCA.claims", "defaultDuration must not be shorter"},
		{"ACME without a database", `stepCA: {acme: {name: acme}, database: None}`, "spec.stepCA", "acme needs a database"},
		{"an ACME provisioner of our name", `stepCA: {acme: {name: phoenix}}`, "spec.stepCA.acme.name", "not phoenix"},
		{"a root key in the open", `stepCA: {root: {key: "-----BEGIN PRIVATE KEY-----"}}`, "spec.stepCA.root.key", "unknown field"},
		{"the first root by number 0", `stepCA: {rootGeneration: 0}`, "spec.stepCA.rootGeneration", "greater than or equal to 1"},
		{"another service in its place", `{stepCA: null}`, "spec", "exactly one of dnsmasq, docker, firewall, nfs, nginx, portainer, portainerAgent, stepCA and traefik"},
	})
}

func TestNginxRefused(t *testing.T) {
	t.Parallel()
	checkRefused(t, nginx, []refused{
		{"on the node", `{guestRef: null, hostRef: {name: phoenix}}`, "spec", "runs in a Guest"},
		{"no server", `nginx: {servers: []}`, "spec.nginx.servers", "at least 1 items"},
		{"a server without a certificate", `nginx: {servers: [{name: site}]}`, "spec.nginx.servers[0]", "exactly one of certificateRef and secretRef"},
		{"a server with two", `nginx: {servers: [{name: site, certificateRef: {name: a}, secretRef: {name: b}}]}`, "spec.nginx.servers[0]", "exactly one of certificateRef and secretRef"},
		{"two servers of one name", `nginx: {servers: [{name: site, secretRef: {name: b}}, {name: site, secretRef: {name: b}}]}`, "spec.nginx.servers[1]", "Duplicate value"},
		{"one host name in two servers", `nginx: {servers: [{name: a, names: [www.lan], secretRef: {name: b}}, {name: b, names: [www.lan], secretRef: {name: b}}]}`,
			"spec.nginx.servers", "one name is served by one server"},
		{"a name that would end its line", `nginx: {servers: [{name: a, names: ["a.lan; return 200"], secretRef: {name: b}}]}`, "spec.nginx.servers[0].names", "must be host names"},
		{"a regular expression", `nginx: {servers: [{name: a, names: ["~^www"], secretRef: {name: b}}]}`, "spec.nginx.servers[0].names", "must be host names"},
		{"a package that is no nginx", `nginx: {packageName: apache2}`, "spec.nginx.packageName", `"nginx-light"`},
		{"a port beyond TCP's", `nginx: {httpsPort: 65536}`, "spec.nginx.httpsPort", "less than or equal to 65535"},
		{"lines of its own", `nginx: {extraConfig: "lua_code"}`, "spec.nginx.extraConfig", "unknown field"},
	})
}

func TestTrustRefused(t *testing.T) {
	t.Parallel()
	checkRefused(t, vm, []refused{
		{"a VM that cannot be reached", `{agent: false, trustAuthorities: [{serviceRef: {name: a}}]}`, "spec", "trustAuthorities of a VM needs agent: true"},
		{"nobody", `{agent: true, trustAuthorities: [{}]}`, "spec.trustAuthorities[0]", "exactly one of serviceRef and outside"},
		{"an authority that is not pinned", `{agent: true, trustAuthorities: [{outside: {url: "https://10.0.0.10"}}]}`, "spec.trustAuthorities[0].outside.fingerprint", "Required value"},
	})
	checkRefused(t, host, []refused{
		{"nodes that cannot be reached", `{ssh: null, trustAuthorities: [{serviceRef: {name: a}}]}`, "spec", "trustAuthorities needs ssh"},
		{"every path to deliver to", `allow: {certificatePaths: ["/"]}`, "spec.allow.certificatePaths[0]", "absolute and not /"},
	})
}
