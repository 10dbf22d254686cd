// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const curlSpec = "f fail=f s silent=s S show-error=S L location=L k insecure=k I head=I o: output:=o w: write-out:=w H: header:=H X: request:=X d: data:=d " +
	"proto: connect-timeout: m: max-time:=m retry: cacert: pinnedpubkey: resolve: noproxy: fail-with-body=f compressed"

// bundle is where Debian's programs look for certificates that they trust.
const bundle = "/etc/ssl/certs/ca-certificates.crt"

// curlError is what curl ends with.
type curlError struct {
	exit int
	text string
}

// Error implements error.
func (e curlError) Error() string { return fmt.Sprintf("curl: (%d) %s", e.exit, e.text) }

// transfer is one call of curl.
type transfer struct {
	p       *Process
	flags   flags
	url     *url.URL
	began   time.Time
	timeout time.Duration
}

// runCurl is curl for one URL: a machine of the network is asked there, everybody
// else by Options.Web.
func runCurl(ctx context.Context, p *Process) int {
	f, bad := parseFlags(p.Args[1:], parseSpec(curlSpec), true)
	switch {
	case bad != "":
		if name, ok := strings.CutPrefix(bad, "unrecognized option '"); ok {
			bad = "option " + strings.TrimSuffix(name, "'") + ": is unknown"
		}
		fmt.Fprintf(p.Stderr, "curl: %s\ncurl: try 'curl --help' or 'curl --manual' for more information\n", bad)
		return 2
	case len(f.args) == 0:
		fmt.Fprint(p.Stderr, "curl: no URL specified!\ncurl: try 'curl --help' or 'curl --manual' for more information\n")
		return 2
	}
	t := &transfer{p: p, flags: f, began: time.Now()}
	if err := t.run(ctx); err != nil {
		var e curlError
		if !errors.As(err, &e) {
			e = curlError{56, err.Error()}
		}
		if !f.has("s") || f.has("S") {
			fmt.Fprintln(p.Stderr, e)
		}
		return e.exit
	}
	return 0
}

func (t *transfer) run(ctx context.Context) error {
	address := t.flags.args[0]
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" {
		return curlError{3, "URL using bad/illegal format or missing URL"}
	}
	t.url = parsed
	if !t.allowed(parsed.Scheme) {
		return curlError{1, fmt.Sprintf("Protocol %q not supported or disabled in libcurl", parsed.Scheme)}
	}
	seconds, err := strconv.ParseFloat(t.flags.last("m", t.flags.last("connect-timeout", "300")), 64)
	if err != nil {
		return curlError{2, "expected a proper numerical parameter"}
	}
	t.timeout = time.Duration(seconds * float64(time.Second))
	short, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	body, status, err := t.get(short)
	cut := errors.Is(err, ErrCutShort)
	if err != nil && !cut {
		return t.failure(err)
	}
	if t.flags.has("f") && status >= 400 {
		return curlError{22, fmt.Sprintf("The requested URL returned error: %d", status)}
	}
	if err := t.write(body, status); err != nil {
		return err
	}
	if cut {
		return curlError{18, "transfer closed with outstanding read data remaining"}
	}
	return nil
}

// allowed asks --proto about a protocol; without it curl speaks both.
func (t *transfer) allowed(scheme string) bool {
	if scheme != "http" && scheme != "https" {
		return false
	}
	list := t.flags.last("proto", "=http,https")
	return !strings.HasPrefix(list, "=") || strings.Contains(","+list[1:]+",", ","+scheme+",")
}

func (t *transfer) write(body []byte, status int) error {
	if name := t.flags.last("o", "-"); name == "-" {
		t.p.Printf("%s", body)
	} else if name != "/dev/null" {
		if err := t.p.M.writeFile(t.p.abs(name), string(body), 0o666&^t.p.Umask); err != nil {
			return curlError{23, "Failure writing output to destination"}
		}
	}
	t.p.Printf("%s", strings.NewReplacer("%{http_code}", fmt.Sprintf("%03d", status), `\n`, "\n").Replace(t.flags.last("w", "")))
	return nil
}

// get asks a machine of the network, or the web.
func (t *transfer) get(ctx context.Context) (body []byte, status int, err error) {
	addresses, err := t.resolve()
	var at *Machine
	if err == nil {
		at = t.p.M.reach(addresses[0])
	}
	if at != nil {
		return t.ask(ctx, at, addresses[0])
	}
	if t.url.Scheme == "https" && !t.flags.has("k") {
		if _, err := t.trusted(); err != nil {
			return nil, 0, err
		}
	}
	if t.p.M.opts.Web == nil {
		if err == nil {
			return nil, 0, syscall.EHOSTUNREACH
		}
		return nil, 0, ErrNoHost
	}
	return t.p.M.opts.Web(t.url.String())
}

// resolve finds the addresses of the URL's host: --resolve goes before all names.
func (t *transfer) resolve() ([]netip.Addr, error) {
	for _, entry := range t.flags.set["resolve"] {
		address, ok := strings.CutPrefix(entry, t.url.Hostname()+":"+t.port()+":")
		if at, err := netip.ParseAddr(strings.Trim(address, "[]")); ok && err == nil {
			return []netip.Addr{at}, nil
		}
	}
	return t.p.M.resolveName(t.url.Hostname())
}

// port of the URL.
func (t *transfer) port() string {
	if port := t.url.Port(); port != "" {
		return port
	}
	return map[string]string{"http": "80", "https": "443"}[t.url.Scheme]
}

// judge is what a server's certificate is measured by: those that are trusted, nobody's, or one key.
func (t *transfer) judge(c *tls.Config) (err error) {
	if c.InsecureSkipVerify = t.flags.has("k"); !c.InsecureSkipVerify { //nolint:forbidigo // so curl does when it is told to
		if c.RootCAs, err = t.trusted(); err != nil {
			return err
		}
	}
	if pin, ok := strings.CutPrefix(t.flags.last("pinnedpubkey", ""), "sha256//"); ok {
		c.VerifyConnection = func(state tls.ConnectionState) error {
			sum := sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
			if base64.StdEncoding.EncodeToString(sum[:]) != pin {
				return curlError{90, "SSL: public key does not match pinned public key"}
			}
			return nil
		}
	}
	return nil
}

// trusted are the certificates that curl checks a server's against.
func (t *transfer) trusted() (*x509.CertPool, error) {
	file := t.flags.last("cacert", bundle)
	text, err := t.p.M.readFile(t.p.abs(file))
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM([]byte(text)) {
		return nil, curlError{77, "error setting certificate file: " + file}
	}
	return pool, nil
}

// ask speaks to a machine of the network.
func (t *transfer) ask(ctx context.Context, at *Machine, address netip.Addr) (body []byte, status int, err error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12, Time: t.p.M.now}
	if t.url.Scheme == "https" {
		if err := t.judge(secure); err != nil {
			return nil, 0, err
		}
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: secure, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, target string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(target)
			if err != nil {
				return nil, err
			}
			if host == t.url.Hostname() {
				return at.dial(ctx, t.p.M.source(address), atoi(port))
			}
			return t.p.M.dialHost(ctx, host, atoi(port))
		},
	}}
	if !t.flags.has("L") {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url.String(), nil)
	if err != nil {
		return nil, 0, curlError{3, "URL using bad/illegal format or missing URL"}
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	body, err = io.ReadAll(answer.Body)
	if err != nil {
		err = ErrCutShort
	}
	return body, answer.StatusCode, err
}

// failure is an error as curl prints it.
func (t *transfer) failure(err error) error {
	host, port := t.url.Hostname(), t.port()
	var known curlError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, ErrNoHost), errors.Is(err, errNoName):
		return curlError{6, "Could not resolve host: " + host}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH):
		return curlError{7, fmt.Sprintf("Failed to connect to %s port %s after 0 ms: Couldn't connect to server", host, port)}
	case errors.Is(err, context.DeadlineExceeded):
		return curlError{28, fmt.Sprintf("Operation timed out after %d milliseconds with 0 bytes received", max(t.timeout, time.Since(t.began)).Milliseconds())}
	case errors.As(err, &verify):
		return curlError{60, "SSL certificate problem: " + verifyText(verify.Err)}
	case errors.Is(err, io.EOF):
		return curlError{52, "Empty reply from server"}
	}
	return curlError{35, err.Error()}
}

// verifyText is why a certificate is not trusted, in OpenSSL's words.
func verifyText(err error) string {
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case errors.As(err, &name):
		return "no alternative certificate subject name matches target host name '" + name.Host + "'"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate has expired"
	}
	return "unable to get local issuer certificate"
}
