// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// setHeaders sets and removes headers.
func setHeaders(conf *headers, next http.Handler) (http.Handler, error) {
	if !conf.custom() && !conf.cors() && !conf.secure() {
		return nil, errors.New("headers configuration not valid")
	}
	var origins []*regexp.Regexp
	for _, text := range conf.AccessControlAllowOriginListRegex {
		expression, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("error occurred during origin parsing: %w", err)
		}
		origins = append(origins, expression)
	}
	h := &headerSetter{conf, origins}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conf.cors() && h.preflight(w, r) {
			return
		}
		h.request(r)
		origin := r.Header.Get("Origin")
		next.ServeHTTP(&headerWriter{ResponseWriter: w, change: func(out http.Header) {
			h.response(out, origin, r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https")
		}}, r)
	}), nil
}

type headerSetter struct {
	*headers
	origins []*regexp.Regexp
}

// allowed is the origin that an answer may go to.
func (h *headerSetter) allowed(origin string) (string, bool) {
	for _, one := range h.AccessControlAllowOriginList {
		if one == "*" || one == origin {
			return one, true
		}
	}
	return origin, slices.ContainsFunc(h.origins, func(e *regexp.Regexp) bool { return e.MatchString(origin) })
}

// preflight answers a browser that asks whether it may ask.
func (h *headerSetter) preflight(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if r.Method != http.MethodOptions || origin == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	out := w.Header()
	if h.AccessControlAllowCredentials {
		out.Set("Access-Control-Allow-Credentials", "true")
	}
	if len(h.AccessControlAllowHeaders) > 0 {
		out.Set("Access-Control-Allow-Headers", strings.Join(h.AccessControlAllowHeaders, ","))
	}
	if len(h.AccessControlAllowMethods) > 0 {
		out.Set("Access-Control-Allow-Methods", strings.Join(h.AccessControlAllowMethods, ","))
	}
	if to, ok := h.allowed(origin); ok {
		out.Set("Access-Control-Allow-Origin", to)
	}
	out.Set("Access-Control-Max-Age", strconv.FormatInt(h.AccessControlMaxAge, 10))
	out.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return true
}

func (h *headerSetter) request(r *http.Request) {
	for name, value := range h.CustomRequestHeaders {
		switch {
		case value == "" && name == "X-Forwarded-For":
			r.Header[name] = nil
		case value == "":
			r.Header.Del(name)
		case strings.EqualFold(name, "Host"):
			r.Host = value
		default:
			r.Header.Set(name, value)
		}
	}
}

func (h *headerSetter) response(out http.Header, origin string, secure bool) {
	h.secureResponse(out, secure)
	for name, value := range h.CustomResponseHeaders {
		if value == "" {
			out.Del(name)
			continue
		}
		out.Set(name, value)
	}
	if to, ok := h.allowed(origin); ok && h.cors() {
		out.Set("Access-Control-Allow-Origin", to)
	}
	if h.AccessControlAllowCredentials {
		out.Set("Access-Control-Allow-Credentials", "true")
	}
	if len(h.AccessControlExposeHeaders) > 0 {
		out.Set("Access-Control-Expose-Headers", strings.Join(h.AccessControlExposeHeaders, ","))
	}
	if h.AddVaryHeader && out.Get("Vary") != "Origin" {
		out.Set("Vary", strings.TrimPrefix(out.Get("Vary")+",Origin", ","))
	}
}

// secureResponse sets the headers that browsers protect themselves by.
func (h *headerSetter) secureResponse(out http.Header, secure bool) {
	set := func(name, value string, is bool) {
		if is && value != "" {
			out.Set(name, value)
		}
	}
	if h.IsDevelopment {
		return
	}
	if h.STSSeconds != nil && *h.STSSeconds > 0 && (secure || h.ForceSTSHeader) {
		value := fmt.Sprintf("max-age=%d", *h.STSSeconds)
		if h.STSIncludeSubdomains {
			value += "; includeSubDomains"
		}
		if h.STSPreload {
			value += "; preload"
		}
		out.Set("Strict-Transport-Security", value)
	}
	set("X-Frame-Options", "DENY", h.FrameDeny)
	set("X-Frame-Options", h.CustomFrameOptionsValue, true)
	set("X-Content-Type-Options", "nosniff", h.ContentTypeNosniff)
	set("X-XSS-Protection", "1; mode=block", h.BrowserXSSFilter)
	set("X-XSS-Protection", h.CustomBrowserXSSValue, true)
	set("Content-Security-Policy", h.ContentSecurityPolicy, true)
	set("Content-Security-Policy-Report-Only", h.ContentSecurityPolicyReportOnly, true)
	set("Referrer-Policy", h.ReferrerPolicy, true)
	set("Permissions-Policy", h.PermissionsPolicy, true)
}

// headerWriter changes the headers of an answer before they are sent.
type headerWriter struct {
	http.ResponseWriter
	change func(http.Header)
	sent   bool
}

// WriteHeader implements http.ResponseWriter.
func (w *headerWriter) WriteHeader(status int) {
	if !w.sent && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.sent = true
		w.change(w.Header())
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *headerWriter) Write(b []byte) (int, error) {
	if !w.sent {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *headerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush implements http.Flusher.
func (w *headerWriter) Flush() {
	if !w.sent {
		w.WriteHeader(http.StatusOK)
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush() // it is flushed at its end
}
