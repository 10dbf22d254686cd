// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bytes"
	"context"
	"crypto/md5"  //nolint:gosec // so htpasswd hashes
	"crypto/sha1" //nolint:gosec // so htpasswd hashes
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// basicAuth asks for a user and a password.
func (s *Server) basicAuth(conf *basicAuth, next http.Handler) (http.Handler, error) {
	users, err := s.users(conf)
	if err != nil {
		return nil, err
	}
	realm := conf.Realm
	if realm == "" {
		realm = "traefik"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		note(r).user = user
		if hash, known := users[user]; !known || !passwordFits(password, hash) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Www-Authenticate", `Basic realm="`+realm+`"`)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, "%d %s\n", http.StatusUnauthorized, http.StatusText(http.StatusUnauthorized))
			return
		}
		if conf.HeaderField != "" {
			r.Header.Set(conf.HeaderField, user)
		}
		if conf.RemoveHeader {
			r.Header.Del("Authorization")
		}
		next.ServeHTTP(w, r)
	}), nil
}

// users are those of a file, and those that are named, with their hashes.
func (s *Server) users(conf *basicAuth) (map[string]string, error) {
	var lines []string
	if conf.UsersFile != "" {
		text, err := s.o.Files.ReadFile(conf.UsersFile)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", conf.UsersFile, err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
	}
	out := map[string]string{}
	for _, line := range append(lines, conf.Users...) {
		parts := strings.Split(line, ":")
		if len(parts) != 2 {
			return nil, fmt.Errorf("error parsing BasicUser: %v", line)
		}
		out[parts[0]] = parts[1]
	}
	if len(out) == 0 {
		return nil, errors.New("runtime error: index out of range [0] with length 0") // Traefik recovers from it
	}
	return out, nil
}

// passwordFits compares a password with a hash of htpasswd: bcrypt, SHA-1, or else MD5.
func passwordFits(password, hash string) bool {
	if strings.HasPrefix(hash, "$2") {
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	}
	if strings.HasPrefix(hash, "{SHA}") {
		sum := sha1.Sum([]byte(password)) //nolint:gosec // so htpasswd hashes
		return same("{SHA}"+base64.StdEncoding.EncodeToString(sum[:]), hash)
	}
	parts := strings.SplitN(hash, "$", 4)
	return len(parts) == 4 && same(md5Crypt(password, parts[2], "$"+parts[1]+"$"), hash)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// md5Crypt is the hash of crypt(3) that begins with $1$, and Apache's with $apr1$.
func md5Crypt(password, salt, magic string) string {
	alternate := md5.Sum([]byte(password + salt + password)) //nolint:gosec // so htpasswd hashes
	var first bytes.Buffer
	first.WriteString(password + magic + salt)
	for left := len(password); left > 0; left -= 16 {
		first.Write(alternate[:min(left, 16)])
	}
	for i := len(password); i > 0; i >>= 1 {
		if i&1 == 1 {
			first.WriteByte(0)
		} else {
			first.WriteByte(password[0])
		}
	}
	sum := md5.Sum(first.Bytes()) //nolint:gosec // so htpasswd hashes
	for i := range 1000 {
		sum = md5Round(i, password, salt, sum)
	}
	return magic + salt + "$" + md5Text(sum)
}

func md5Round(i int, password, salt string, sum [16]byte) [16]byte {
	var b bytes.Buffer
	either := func(odd bool) {
		if odd {
			b.WriteString(password)
			return
		}
		b.Write(sum[:])
	}
	either(i&1 == 1)
	if i%3 != 0 {
		b.WriteString(salt)
	}
	if i%7 != 0 {
		b.WriteString(password)
	}
	either(i&1 == 0)
	return md5.Sum(b.Bytes()) //nolint:gosec // so htpasswd hashes
}

// md5Text is a sum in crypt's own base64.
func md5Text(sum [16]byte) string {
	const letters = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var out strings.Builder
	write := func(a, b, c byte, n int) {
		for v := uint(a)<<16 | uint(b)<<8 | uint(c); n > 0; n-- {
			out.WriteByte(letters[v&0x3f])
			v >>= 6
		}
	}
	for i := range 5 {
		write(sum[i], sum[i+6], sum[[]int{12, 13, 14, 15, 5}[i]], 4)
	}
	write(0, 0, sum[11], 2)
	return out.String()
}

// forwardAuth asks another server whether a request may pass.
func (s *Server) forwardAuth(conf *forwardAuth, next http.Handler) (http.Handler, error) {
	var pattern *regexp.Regexp
	if conf.AuthResponseHeadersRegex != "" {
		var err error
		if pattern, err = regexp.Compile(conf.AuthResponseHeadersRegex); err != nil {
			return nil, fmt.Errorf("error compiling regular expression %s: %w", conf.AuthResponseHeadersRegex, err)
		}
	}
	client, err := s.authClient(conf.TLS)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question, err := authQuestion(conf, r)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		answer, err := client.Do(question)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20)) // what came counts
		_ = answer.Body.Close()                                   // it was read
		if answer.StatusCode < 200 || answer.StatusCode >= 300 {
			refusedBy(w, answer, body)
			return
		}
		for _, name := range conf.AuthResponseHeaders {
			key := http.CanonicalHeaderKey(name)
			r.Header.Del(key)
			if values := answer.Header[key]; len(values) > 0 {
				r.Header[key] = slices.Clone(values)
			}
		}
		if pattern != nil {
			copyFitting(r.Header, answer.Header, pattern)
		}
		r.RequestURI = r.URL.RequestURI()
		next.ServeHTTP(w, r)
	}), nil
}

func copyFitting(into, from http.Header, pattern *regexp.Regexp) {
	for key := range into {
		if pattern.MatchString(key) {
			into.Del(key)
		}
	}
	for key, values := range from {
		if pattern.MatchString(key) {
			into[key] = slices.Clone(values)
		}
	}
}

func refusedBy(w http.ResponseWriter, answer *http.Response, body []byte) {
	for key, values := range answer.Header {
		if key != "Connection" && key != "Content-Length" && key != "Transfer-Encoding" {
			w.Header()[key] = values
		}
	}
	if location, err := answer.Location(); err == nil {
		w.Header().Set("Location", location.String())
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(body) // the client may have left
}

// authClient speaks to the server that is asked.
func (s *Server) authClient(conf *clientTLS) (*http.Client, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12, Time: s.o.Now, RootCAs: s.o.Roots()}
	if conf != nil {
		if conf.CA != "" {
			secure = s.clientTLS([]string{s.source.content(conf.CA)})
		}
		secure.InsecureSkipVerify = conf.InsecureSkipVerify //nolint:forbidigo // so Traefik does when it is told to
		if conf.Cert != "" {
			pair, err := tls.X509KeyPair([]byte(s.source.content(conf.Cert)), []byte(s.source.content(conf.Key)))
			if err != nil {
				return nil, fmt.Errorf("unable to create client TLS configuration: failed to load TLS keypair: %w", err)
			}
			secure.Certificates = []tls.Certificate{pair}
		}
	}
	return &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: secure, DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.o.Dial(ctx, network, address)
		}},
	}, nil
}

// authQuestion is what the other server is asked about a request.
func authQuestion(conf *forwardAuth, r *http.Request) (*http.Request, error) {
	q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, conf.Address, nil)
	if err != nil {
		return nil, err
	}
	for key, values := range r.Header {
		if slices.Contains([]string{"Connection", "Keep-Alive", "Te", "Trailers", "Transfer-Encoding", "Upgrade"}, key) {
			continue
		}
		if len(conf.AuthRequestHeaders) == 0 || slices.ContainsFunc(conf.AuthRequestHeaders, func(name string) bool { return http.CanonicalHeaderKey(name) == key }) {
			q.Header[key] = slices.Clone(values)
		}
	}
	seen := func(name, value string) {
		if !conf.TrustForwardHeader || q.Header.Get(name) == "" {
			q.Header.Set(name, value)
		}
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if conf.TrustForwardHeader {
		q.Header.Set("X-Forwarded-For", strings.TrimPrefix(strings.Join(append(r.Header.Values("X-Forwarded-For"), remoteIP(r)), ", "), ", "))
	} else {
		q.Header.Set("X-Forwarded-For", remoteIP(r))
	}
	seen("X-Forwarded-Method", r.Method)
	seen("X-Forwarded-Proto", scheme)
	seen("X-Forwarded-Host", r.Host)
	seen("X-Forwarded-Uri", (&url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}).RequestURI())
	return q, nil
}
