// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"fmt"
	"time"

	"github.com/traefik/paerser/types"
)

// Middleware changes requests or answers; it is of one type. Those without a type of their own here are accepted, and let
// everything pass.
type Middleware struct {
	AddPrefix         *prefixed         `json:"addPrefix,omitempty"`
	StripPrefix       *stripPrefix      `json:"stripPrefix,omitempty"`
	StripPrefixRegex  *regexes          `json:"stripPrefixRegex,omitempty"`
	ReplacePath       *replacePath      `json:"replacePath,omitempty"`
	ReplacePathRegex  *replacement      `json:"replacePathRegex,omitempty"`
	Chain             *chain            `json:"chain,omitempty"`
	IPWhiteList       *ipAllowList      `json:"ipWhiteList,omitempty"`
	IPAllowList       *ipAllowList      `json:"ipAllowList,omitempty"`
	Headers           *headers          `json:"headers,omitempty"`
	Errors            map[string]any    `json:"errors,omitempty"`
	RateLimit         *rateLimit        `json:"rateLimit,omitempty"`
	RedirectRegex     *redirectRegex    `json:"redirectRegex,omitempty"`
	RedirectScheme    *redirectScheme   `json:"redirectScheme,omitempty"`
	BasicAuth         *basicAuth        `json:"basicAuth,omitempty"`
	DigestAuth        map[string]any    `json:"digestAuth,omitempty"`
	ForwardAuth       *forwardAuth      `json:"forwardAuth,omitempty"`
	InFlightReq       *inFlightRequests `json:"inFlightReq,omitempty"`
	Buffering         *buffering        `json:"buffering,omitempty"`
	CircuitBreaker    map[string]any    `json:"circuitBreaker,omitempty"`
	Compress          *compress         `json:"compress,omitempty" file:"allowEmpty"`
	PassTLSClientCert map[string]any    `json:"passTLSClientCert,omitempty"`
	Retry             *retry            `json:"retry,omitempty"`
	ContentType       *contentType      `json:"contentType,omitempty" file:"allowEmpty"`
	GrpcWeb           map[string]any    `json:"grpcWeb,omitempty"`
	Plugin            map[string]any    `json:"plugin,omitempty"`
}

type prefixed struct {
	Prefix string `json:"prefix,omitempty"`
}

type stripPrefix struct {
	Prefixes   []string `json:"prefixes,omitempty"`
	ForceSlash *bool    `json:"forceSlash,omitempty"`
}

type regexes struct {
	Regex []string `json:"regex,omitempty"`
}

type replacePath struct {
	Path string `json:"path,omitempty"`
}

type replacement struct {
	Regex       string `json:"regex,omitempty"`
	Replacement string `json:"replacement,omitempty"`
}

type chain struct {
	Middlewares []string `json:"middlewares,omitempty"`
}

type ipAllowList struct {
	SourceRange      []string    `json:"sourceRange,omitempty"`
	IPStrategy       *ipStrategy `json:"ipStrategy,omitempty" file:"allowEmpty"`
	RejectStatusCode int         `json:"rejectStatusCode,omitempty"`
}

type ipStrategy struct {
	Depth       int      `json:"depth,omitempty"`
	ExcludedIPs []string `json:"excludedIPs,omitempty"`
	IPv6Subnet  *int     `json:"ipv6Subnet,omitempty"`
}

type headers struct {
	CustomRequestHeaders              map[string]string `json:"customRequestHeaders,omitempty"`
	CustomResponseHeaders             map[string]string `json:"customResponseHeaders,omitempty"`
	AccessControlAllowCredentials     bool              `json:"accessControlAllowCredentials,omitempty"`
	AccessControlAllowHeaders         []string          `json:"accessControlAllowHeaders,omitempty"`
	AccessControlAllowMethods         []string          `json:"accessControlAllowMethods,omitempty"`
	AccessControlAllowOriginList      []string          `json:"accessControlAllowOriginList,omitempty"`
	AccessControlAllowOriginListRegex []string          `json:"accessControlAllowOriginListRegex,omitempty"`
	AccessControlExposeHeaders        []string          `json:"accessControlExposeHeaders,omitempty"`
	AccessControlMaxAge               int64             `json:"accessControlMaxAge,omitempty"`
	AddVaryHeader                     bool              `json:"addVaryHeader,omitempty"`
	AllowedHosts                      []string          `json:"allowedHosts,omitempty"`
	HostsProxyHeaders                 []string          `json:"hostsProxyHeaders,omitempty"`
	SSLProxyHeaders                   map[string]string `json:"sslProxyHeaders,omitempty"`
	STSSeconds                        *int64            `json:"stsSeconds,omitempty"`
	STSIncludeSubdomains              bool              `json:"stsIncludeSubdomains,omitempty"`
	STSPreload                        bool              `json:"stsPreload,omitempty"`
	ForceSTSHeader                    bool              `json:"forceSTSHeader,omitempty"`
	FrameDeny                         bool              `json:"frameDeny,omitempty"`
	CustomFrameOptionsValue           string            `json:"customFrameOptionsValue,omitempty"`
	ContentTypeNosniff                bool              `json:"contentTypeNosniff,omitempty"`
	BrowserXSSFilter                  bool              `json:"browserXssFilter,omitempty"`
	CustomBrowserXSSValue             string            `json:"customBrowserXSSValue,omitempty"`
	ContentSecurityPolicy             string            `json:"contentSecurityPolicy,omitempty"`
	ContentSecurityPolicyReportOnly   string            `json:"contentSecurityPolicyReportOnly,omitempty"`
	PublicKey                         string            `json:"publicKey,omitempty"`
	ReferrerPolicy                    string            `json:"referrerPolicy,omitempty"`
	PermissionsPolicy                 string            `json:"permissionsPolicy,omitempty"`
	IsDevelopment                     bool              `json:"isDevelopment,omitempty"`
}

type sourceCriterion struct {
	IPStrategy        *ipStrategy `json:"ipStrategy,omitempty"`
	RequestHeaderName string      `json:"requestHeaderName,omitempty"`
	RequestHost       bool        `json:"requestHost,omitempty"`
}

type rateLimit struct {
	Average         int64            `json:"average,omitempty"`
	Period          types.Duration   `json:"period,omitempty"`
	Burst           int64            `json:"burst,omitempty"`
	SourceCriterion *sourceCriterion `json:"sourceCriterion,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (r *rateLimit) SetDefaults() { r.Burst, r.Period = 1, types.Duration(time.Second) }

type redirectRegex struct {
	Regex       string `json:"regex,omitempty"`
	Replacement string `json:"replacement,omitempty"`
	Permanent   bool   `json:"permanent,omitempty"`
}

type redirectScheme struct {
	Scheme    string `json:"scheme,omitempty"`
	Port      string `json:"port,omitempty"`
	Permanent bool   `json:"permanent,omitempty"`
}

type basicAuth struct {
	Users        []string `json:"users,omitempty"`
	UsersFile    string   `json:"usersFile,omitempty"`
	Realm        string   `json:"realm,omitempty"`
	RemoveHeader bool     `json:"removeHeader,omitempty"`
	HeaderField  string   `json:"headerField,omitempty"`
}

type forwardAuth struct {
	Address                  string     `json:"address,omitempty"`
	TLS                      *clientTLS `json:"tls,omitempty"`
	TrustForwardHeader       bool       `json:"trustForwardHeader,omitempty"`
	AuthResponseHeaders      []string   `json:"authResponseHeaders,omitempty"`
	AuthResponseHeadersRegex string     `json:"authResponseHeadersRegex,omitempty"`
	AuthRequestHeaders       []string   `json:"authRequestHeaders,omitempty"`
	MaxResponseBodySize      *int64     `json:"maxResponseBodySize,omitempty"`
	AddAuthCookiesToResponse []string   `json:"addAuthCookiesToResponse,omitempty"`
	HeaderField              string     `json:"headerField,omitempty"`
	ForwardBody              bool       `json:"forwardBody,omitempty"`
	MaxBodySize              *int64     `json:"maxBodySize,omitempty"`
	PreserveLocationHeader   bool       `json:"preserveLocationHeader,omitempty"`
	PreserveRequestMethod    bool       `json:"preserveRequestMethod,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (f *forwardAuth) SetDefaults() {
	all := int64(-1)
	f.MaxBodySize = &all
}

type clientTLS struct {
	CA                 string `json:"ca,omitempty"`
	Cert               string `json:"cert,omitempty"`
	Key                string `json:"key,omitempty"`
	InsecureSkipVerify bool   `json:"insecureSkipVerify,omitempty"`
	CAOptional         *bool  `json:"caOptional,omitempty"`
}

type inFlightRequests struct {
	Amount          int64            `json:"amount,omitempty"`
	SourceCriterion *sourceCriterion `json:"sourceCriterion,omitempty"`
}

type buffering struct {
	MaxRequestBodyBytes  int64  `json:"maxRequestBodyBytes,omitempty"`
	MemRequestBodyBytes  int64  `json:"memRequestBodyBytes,omitempty"`
	MaxResponseBodyBytes int64  `json:"maxResponseBodyBytes,omitempty"`
	MemResponseBodyBytes int64  `json:"memResponseBodyBytes,omitempty"`
	RetryExpression      string `json:"retryExpression,omitempty"`
}

type compress struct {
	ExcludedContentTypes []string `json:"excludedContentTypes,omitempty"`
	IncludedContentTypes []string `json:"includedContentTypes,omitempty"`
	MinResponseBodyBytes int      `json:"minResponseBodyBytes,omitempty"`
	Encodings            []string `json:"encodings,omitempty"`
	DefaultEncoding      string   `json:"defaultEncoding,omitempty"`
}

// SetDefaults implements paerser's initializer.
func (c *compress) SetDefaults() { c.Encodings = []string{"gzip", "br", "zstd"} }

type retry struct {
	Attempts        int            `json:"attempts,omitempty"`
	InitialInterval types.Duration `json:"initialInterval,omitempty"`
}

type contentType struct {
	AutoDetect *bool `json:"autoDetect,omitempty"`
}

// kinds are the names of the types that a middleware has, in Traefik's order.
func (m *Middleware) kinds() []string {
	var out []string
	add := func(name string, is bool) {
		if is {
			out = append(out, name)
		}
	}
	add("addPrefix", m.AddPrefix != nil)
	add("stripPrefix", m.StripPrefix != nil)
	add("stripPrefixRegex", m.StripPrefixRegex != nil)
	add("replacePath", m.ReplacePath != nil)
	add("replacePathRegex", m.ReplacePathRegex != nil)
	add("chain", m.Chain != nil)
	add("ipWhiteList", m.IPWhiteList != nil)
	add("ipAllowList", m.IPAllowList != nil)
	add("headers", m.Headers != nil)
	add("errors", m.Errors != nil)
	add("rateLimit", m.RateLimit != nil)
	add("redirectRegex", m.RedirectRegex != nil)
	add("redirectScheme", m.RedirectScheme != nil)
	add("basicAuth", m.BasicAuth != nil)
	add("digestAuth", m.DigestAuth != nil)
	add("forwardAuth", m.ForwardAuth != nil)
	add("inFlightReq", m.InFlightReq != nil)
	add("buffering", m.Buffering != nil)
	add("circuitBreaker", m.CircuitBreaker != nil)
	add("compress", m.Compress != nil)
	add("passTLSClientCert", m.PassTLSClientCert != nil)
	add("retry", m.Retry != nil)
	add("contentType", m.ContentType != nil)
	add("grpcWeb", m.GrpcWeb != nil)
	add("plugin", m.Plugin != nil)
	return out
}

func (h *headers) custom() bool {
	return len(h.CustomRequestHeaders)+len(h.CustomResponseHeaders) > 0
}

func (h *headers) cors() bool {
	return h.AccessControlAllowCredentials || h.AccessControlMaxAge != 0 || h.AddVaryHeader ||
		len(h.AccessControlAllowHeaders)+len(h.AccessControlAllowMethods)+len(h.AccessControlAllowOriginList)+len(h.AccessControlAllowOriginListRegex)+len(h.AccessControlExposeHeaders) > 0
}

func (h *headers) secure() bool {
	texts := h.CustomFrameOptionsValue + h.CustomBrowserXSSValue + h.ContentSecurityPolicy + h.ContentSecurityPolicyReportOnly + h.PublicKey + h.ReferrerPolicy + h.PermissionsPolicy
	return texts != "" || h.STSSeconds != nil || h.STSIncludeSubdomains || h.STSPreload || h.ForceSTSHeader || h.FrameDeny || h.ContentTypeNosniff ||
		h.BrowserXSSFilter || h.IsDevelopment || len(h.AllowedHosts)+len(h.HostsProxyHeaders)+len(h.SSLProxyHeaders) > 0
}

// multiTypes is what is said of a thing with two types.
func multiTypes(thing string) error {
	return fmt.Errorf("cannot create %[1]s: multi-types %[1]s not supported, consider declaring two different pieces of %[1]s instead", thing)
}
