// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// wrap puts a middleware before a handler.
type wrap func(next http.Handler) (http.Handler, error)

// chain puts middlewares before a handler, the first one first. path are those that led here.
func (b *builder) chain(names, path []string, last http.Handler) (http.Handler, error) {
	next := last
	for _, name := range slices.Backward(names) {
		info := b.middlewares[name]
		if info == nil {
			return nil, fmt.Errorf("middleware %q does not exist", name)
		}
		h, err := b.middleware(name, info, path, next)
		if err != nil {
			info.add(err, true)
			return nil, err
		}
		next = h
	}
	return next, nil
}

func (b *builder) middleware(name string, info *MiddlewareInfo, path []string, next http.Handler) (http.Handler, error) {
	path, err := recursion(path, "middleware", name)
	if err != nil {
		return nil, err
	}
	kinds := info.kinds()
	switch len(kinds) {
	case 0:
		return nil, fmt.Errorf("invalid middleware %q configuration: invalid middleware type or middleware does not exist", name)
	case 1:
	default:
		return nil, multiTypes("middleware")
	}
	m := info.Middleware
	if kinds[0] == "chain" {
		var names []string
		for _, one := range m.Chain.Middlewares {
			names = append(names, beside(name, one))
		}
		m.Chain.Middlewares = names
		return b.chain(names, path, next)
	}
	if make := b.wraps(m)[kinds[0]]; make != nil {
		return make(next)
	}
	return next, nil
}

// wraps are the middlewares that do something here.
func (b *builder) wraps(m *Middleware) map[string]wrap {
	return map[string]wrap{
		"addPrefix":        func(next http.Handler) (http.Handler, error) { return addPrefix(m.AddPrefix, next) },
		"stripPrefix":      func(next http.Handler) (http.Handler, error) { return strip(m.StripPrefix, next), nil },
		"stripPrefixRegex": func(next http.Handler) (http.Handler, error) { return stripRegex(m.StripPrefixRegex, next) },
		"replacePath":      func(next http.Handler) (http.Handler, error) { return replace(m.ReplacePath, next), nil },
		"replacePathRegex": func(next http.Handler) (http.Handler, error) { return replaceRegex(m.ReplacePathRegex, next) },
		"ipWhiteList":      func(next http.Handler) (http.Handler, error) { return allow(m.IPWhiteList, "IPWhiteLister", next) },
		"ipAllowList":      func(next http.Handler) (http.Handler, error) { return allow(m.IPAllowList, "IPAllowLister", next) },
		"headers":          func(next http.Handler) (http.Handler, error) { return setHeaders(m.Headers, next) },
		"rateLimit":        func(next http.Handler) (http.Handler, error) { return limitRate(m.RateLimit, next) },
		"redirectRegex": func(next http.Handler) (http.Handler, error) {
			return redirect(m.RedirectRegex.Regex, m.RedirectRegex.Replacement, m.RedirectRegex.Permanent, rawURL, next)
		},
		"redirectScheme": func(next http.Handler) (http.Handler, error) { return toScheme(m.RedirectScheme, next) },
		"basicAuth":      func(next http.Handler) (http.Handler, error) { return b.server.basicAuth(m.BasicAuth, next) },
		"forwardAuth":    func(next http.Handler) (http.Handler, error) { return b.server.forwardAuth(m.ForwardAuth, next) },
		"inFlightReq":    func(next http.Handler) (http.Handler, error) { return limitInFlight(m.InFlightReq, next) },
		"buffering":      func(next http.Handler) (http.Handler, error) { return limitBody(m.Buffering, next), nil },
		"compress":       func(next http.Handler) (http.Handler, error) { return compressed(m.Compress, next) },
		"retry":          func(next http.Handler) (http.Handler, error) { return retried(m.Retry, next) },
	}
}

// slashed is a path that begins with a slash, if it is one.
func slashed(path string) string {
	if path == "" || path[0] == '/' {
		return path
	}
	return "/" + path
}

func addPrefix(conf *prefixed, next http.Handler) (http.Handler, error) {
	if conf.Prefix == "" {
		return nil, errors.New("prefix cannot be empty")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = slashed(conf.Prefix + r.URL.Path)
		if r.URL.RawPath != "" {
			r.URL.RawPath = slashed(conf.Prefix + r.URL.RawPath)
		}
		r.RequestURI = r.URL.RequestURI()
		next.ServeHTTP(w, r)
	}), nil
}

func strip(conf *stripPrefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, prefix := range conf.Prefixes {
			if strings.HasPrefix(r.URL.Path, prefix) {
				cut(r, prefix, conf.ForceSlash != nil && *conf.ForceSlash)
				r.Header.Add("X-Forwarded-Prefix", strings.TrimSpace(prefix))
				break
			}
		}
		next.ServeHTTP(w, r)
	})
}

// cut takes a prefix off a request's path.
func cut(r *http.Request, prefix string, force bool) {
	raw := r.URL.RawPath
	r.URL.Path = slashed(strings.TrimPrefix(r.URL.Path, prefix))
	if raw != "" {
		at := 0
		for n := 0; at < len(raw) && n < len(prefix); n++ {
			if raw[at] == '%' && at+2 < len(raw) {
				at += 2
			}
			at++
		}
		r.URL.RawPath = slashed(raw[at:])
	}
	if force && r.URL.Path == "" {
		r.URL.Path = "/"
	}
	r.RequestURI = r.URL.RequestURI()
}

func stripRegex(conf *regexes, next http.Handler) (http.Handler, error) {
	var list []*regexp.Regexp
	for _, text := range conf.Regex {
		expression, err := regexp.Compile(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		list = append(list, expression)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, expression := range list {
			found := expression.FindStringSubmatch(r.URL.Path)
			if len(found) > 0 && found[0] != "" && strings.HasPrefix(r.URL.Path, found[0]) {
				cut(r, found[0], false)
				r.Header.Add("X-Forwarded-Prefix", found[0])
				break
			}
		}
		next.ServeHTTP(w, r)
	}), nil
}

// instead puts another path in the place of a request's.
func instead(r *http.Request, path string) {
	r.Header.Add("X-Replaced-Path", r.URL.EscapedPath())
	r.URL.RawPath = path
	if plain, err := r.URL.Parse(path); err == nil {
		r.URL.Path = plain.Path
	}
	r.RequestURI = r.URL.RequestURI()
}

func replace(conf *replacePath, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		instead(r, conf.Path)
		next.ServeHTTP(w, r)
	})
}

func replaceRegex(conf *replacement, next http.Handler) (http.Handler, error) {
	expression, err := regexp.Compile(strings.TrimSpace(conf.Regex))
	if err != nil {
		return nil, fmt.Errorf("error compiling regular expression %s: %w", conf.Regex, err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.EscapedPath(); expression.MatchString(path) {
			instead(r, expression.ReplaceAllString(path, strings.TrimSpace(conf.Replacement)))
		}
		next.ServeHTTP(w, r)
	}), nil
}

func allow(conf *ipAllowList, kind string, next http.Handler) (http.Handler, error) {
	if len(conf.SourceRange) == 0 {
		return nil, fmt.Errorf("sourceRange is empty, %s not created", kind)
	}
	status := conf.RejectStatusCode
	if status == 0 {
		status = http.StatusForbidden
	} else if http.StatusText(status) == "" {
		return nil, fmt.Errorf("invalid HTTP status code %d", status)
	}
	list, err := newIPList(conf.SourceRange)
	if err != nil {
		return nil, fmt.Errorf("cannot parse CIDRs %s: %w", conf.SourceRange, err)
	}
	client, err := conf.IPStrategy.client()
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !list.contains(client(r)) {
			w.WriteHeader(status)
			fmt.Fprint(w, http.StatusText(status))
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

// client tells how the client's address is found.
func (s *ipStrategy) client() (func(*http.Request) string, error) {
	switch {
	case s == nil:
		return remoteIP, nil
	case s.IPv6Subnet != nil && (*s.IPv6Subnet <= 0 || *s.IPv6Subnet > 128):
		return nil, fmt.Errorf("invalid IPv6 subnet %d value, should be greater to 0 and lower or equal to 128", *s.IPv6Subnet)
	case s.Depth > 0:
		return func(r *http.Request) string {
			all := forwardedFor(r)
			if len(all) < s.Depth {
				return ""
			}
			return all[len(all)-s.Depth]
		}, nil
	case len(s.ExcludedIPs) == 0:
		return remoteIP, nil
	}
	list, err := newIPList(s.ExcludedIPs)
	if err != nil {
		return nil, err
	}
	return func(r *http.Request) string {
		for _, one := range slices.Backward(forwardedFor(r)) {
			if one != "" && !list.contains(one) {
				return one
			}
		}
		return ""
	}, nil
}

// forwardedFor are the addresses of X-Forwarded-For.
func forwardedFor(r *http.Request) []string {
	var out []string
	for one := range strings.SplitSeq(r.Header.Get("X-Forwarded-For"), ",") {
		out = append(out, strings.TrimSpace(one))
	}
	return out
}
