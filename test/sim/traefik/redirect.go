// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

var (
	absolute = regexp.MustCompile(`^(https?):\/\/(\[[\w:.]+\]|[\w\._-]+)?(:\d+)?(.*)$`)
	anyURL   = `^(https?:\/\/)?(\[[\w:.]+\]|[\w\._-]+)?(:\d+)?(.*)$`
)

// redirect sends clients elsewhere whose URL fits an expression.
func redirect(expression, replacement string, permanent bool, of func(*http.Request) string, next http.Handler) (http.Handler, error) {
	compiled, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		old := of(r)
		if !compiled.MatchString(old) {
			next.ServeHTTP(w, r)
			return
		}
		fresh := compiled.ReplaceAllString(old, replacement)
		target, err := url.Parse(fresh)
		switch {
		case err != nil:
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, http.StatusText(http.StatusInternalServerError))
		case fresh == old:
			r.URL = target
			r.RequestURI = target.RequestURI()
			next.ServeHTTP(w, r)
		default:
			move(w, r, target.String(), permanent)
		}
	}), nil
}

func move(w http.ResponseWriter, r *http.Request, to string, permanent bool) {
	status := map[bool]int{false: http.StatusFound, true: http.StatusMovedPermanently}[permanent]
	if r.Method != http.MethodGet {
		status = map[bool]int{false: http.StatusTemporaryRedirect, true: http.StatusPermanentRedirect}[permanent]
	}
	w.Header().Set("Location", to)
	w.WriteHeader(status)
	fmt.Fprint(w, http.StatusText(status))
}

// rawURL is a request's URL as it came to Traefik.
func rawURL(r *http.Request) string {
	scheme, host, port, uri := "http", r.Host, "", r.RequestURI
	if found := absolute.FindStringSubmatch(uri); found != nil {
		scheme, uri, port = found[1], found[4], found[3]
		if found[2] != "" {
			host = found[2]
		}
	}
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + host + port + uri
}

// toScheme sends clients to the same URL of another scheme.
func toScheme(conf *redirectScheme, next http.Handler) (http.Handler, error) {
	if conf.Scheme == "" {
		return nil, errors.New("you must provide a target scheme")
	}
	port := ""
	if conf.Port != "" && conf.Scheme+conf.Port != "http80" && conf.Scheme+conf.Port != "https443" {
		port = ":" + conf.Port
	}
	return redirect(anyURL, conf.Scheme+"://${2}"+port+"${4}", conf.Permanent, clientURL, next)
}

// clientURL is a request's URL as the client has asked for it.
func clientURL(r *http.Request) string {
	scheme, uri := "http", r.RequestURI
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	} else {
		port = ":" + port
	}
	if found := absolute.FindStringSubmatch(uri); found != nil {
		scheme, uri = found[1], found[4]
	}
	if r.TLS != nil {
		scheme = "https"
	}
	switch strings.ToLower(r.Header.Get("X-Forwarded-Proto")) {
	case "http", "ws":
		scheme = "http"
	case "https", "wss":
		scheme = "https"
	}
	if scheme+port == "http:80" || scheme+port == "https:443" {
		port = ""
	}
	return scheme + "://" + host + port + uri
}
