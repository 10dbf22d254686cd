// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestPinnedRoots(t *testing.T) {
	a, other := newAuthority(t, nil), newAuthority(t, nil)
	c := a.clientWith(t, func(o *Options) { o.Dial = dialTo(strings.TrimPrefix(other.url, "https://")) })
	checkKind(t, c.Health(t.Context()), Untrusted, "unknown authority")
	r, _ := a.request(t, everyName)
	_, err := c.Sign(t.Context(), r)
	checkKind(t, err, Untrusted, "unknown authority")

	name := a.clientWith(t, func(o *Options) {
		o.URL, o.Dial = "https://ca.phoenix.lan", dialTo(strings.TrimPrefix(a.url, "https://"))
	})
	checkKind(t, name.Health(t.Context()), Untrusted, "ca.phoenix.lan")
	if err := a.client(t).Health(t.Context()); err != nil {
		t.Errorf("the right root: %v", err)
	}
}

func TestRoot(t *testing.T) {
	a := newAuthority(t, nil)
	want := a.roots(t)[0]
	colons := strings.ToUpper(Fingerprint(want))
	for _, fingerprint := range []string{Fingerprint(want), colons} {
		got, err := Root(t.Context(), nil, a.url+"/", fingerprint)
		if err != nil || !got.Equal(want) {
			t.Errorf("Root(%s) = %v, %v", fingerprint, got, err)
		}
	}
	_, err := Root(t.Context(), nil, a.url, strings.Repeat("0", 64))
	checkKind(t, err, Untrusted, "not found")
	if _, err := Root(t.Context(), nil, a.url, "abc"); err == nil {
		t.Error("a fingerprint of another length is taken")
	}
	if _, err := Root(t.Context(), nil, "http://127.0.0.1", Fingerprint(want)); err == nil {
		t.Error("a URL without TLS is taken")
	}
	// Somebody else answers with a root of their own.
	liar := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		mine := must(NewRoot(Template{CommonName: "Liar", Duration: time.Hour}))(t)
		answerJSON(w, 200, map[string]string{"ca": string(mine.CertificatePEM)})
	})
	_, err = Root(t.Context(), nil, liar.URL, Fingerprint(want))
	checkKind(t, err, Untrusted, "fingerprint is")
}

func TestNewClientRefused(t *testing.T) {
	root := must(ParseChain(must(NewRoot(Template{CommonName: "Root", Duration: time.Hour}))(t).CertificatePEM))(t)
	cases := map[string]struct {
		reason string
		o      Options
	}{
		"no TLS":      {"a token is a credential", Options{URL: "http://10.0.0.10", Roots: root}},
		"path":        {"the audience of a token has none", Options{URL: "https://10.0.0.10/ca", Roots: root}},
		"user":        {"a credential in a URL gets into errors", Options{URL: "https://a:b@10.0.0.10", Roots: root}},
		"no host":     {"nobody to be asked", Options{URL: "https://", Roots: root}},
		"no URL":      {"nobody to be asked", Options{Roots: root}},
		"no roots":    {"the system's roots are never trusted by accident", Options{URL: "https://10.0.0.10"}},
		"no such URL": {"not a URL", Options{URL: "https://[::1", Roots: root}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := NewClient(tc.o); err == nil {
				t.Errorf("%s: no error", tc.reason)
			}
		})
	}
}

// fake is a TLS server that is no step-ca.
func fake(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func answerJSON(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func clientOf(t *testing.T, s *httptest.Server, now time.Time) *Client {
	t.Helper()
	c := must(NewClient(Options{
		URL: s.URL, Roots: []*x509.Certificate{s.Certificate()}, Clock: clocktesting.NewFakePassiveClock(now),
	}))(t)
	t.Cleanup(c.Close)
	return c
}

func newRequest(t *testing.T) SignRequest {
	t.Helper()
	key := must(NewKey(ECDSA, 0))(t)
	return SignRequest{
		Provisioner: Provisioner{Name: "phoenix", JWK: must(NewProvisionerKey())(t)},
		Names:       everyName, CSR: must(NewCSR(key, everyName))(t), Duration: time.Hour,
	}
}

func TestAnswers(t *testing.T) {
	now := time.Now()
	refuse := func(status int, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			answerJSON(w, status, map[string]any{"status": status, "message": message})
		}
	}
	const hint = "The request lacked necessary authorization to be completed. Please see the certificate authority logs for more info."
	cases := map[string]struct {
		reason  string
		handler http.HandlerFunc
		kind    Kind
		text    string
		skew    time.Duration
	}{
		"500": {"a disk that is full", refuse(500, "The certificate authority encountered an Internal Server Error."), Away, "answers 500: The certificate", 0},
		"503": {"a proxy in front of it", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, Away, "503 Service Unavailable", 0},
		"429": {"a proxy that slows us down", refuse(429, "slow"), Away, "429", 0},
		"501": {"asking again does not help", refuse(501, "no"), Invalid, "501", 0},
		"404": {"not a step-ca", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, Invalid, "404 Not Found", 0},
		"400": {"our own fault", refuse(400, "The request could not be completed: missing csr."), Invalid, "answers 400: missing csr", 0},
		"401": {"step-ca gives no reason", refuse(401, hint), Unauthorized, "to be completed", 0},
		"403": {"a policy", refuse(403, "The request was forbidden by the certificate authority: dns name not allowed."), Forbidden, "answers 403: dns name not allowed", 0},
		"redirection": {"a token follows nobody", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, Invalid, "307", 0},
		"no JSON":          {"a login page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, Invalid, "not that of a step-ca", 0},
		"no certificate":   {"a JSON of somebody else", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 201, map[string]string{}) }, Invalid, "no certificate", 0},
		"no PEM":           {"a broken answer", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 201, map[string]string{"crt": "x"}) }, Invalid, "parse certificates", 0},
		"cut answer":       {"whether it was signed is not known", cutAnswer, Away, "unexpected EOF", 0},
		"cut before":       {"as above", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Away, "EOF", 0},
		"clock behind":     {"the token is not valid there yet", dated(now.Add(-3*time.Hour), refuse(401, hint)), Unauthorized, "is 3h0m0s behind", -3 * time.Hour},
		"clock ahead":      {"the token is over there", dated(now.Add(2*time.Minute), refuse(401, hint)), Unauthorized, "is 2m0s ahead", 2 * time.Minute},
		"clock a bit off":  {"tokens and certificates bear that", dated(now.Add(-20*time.Second), refuse(401, hint)), Unauthorized, "401", 0},
		"no clock":         {"a proxy may take the Date away", func(w http.ResponseWriter, r *http.Request) { w.Header()["Date"] = nil; refuse(401, hint)(w, r) }, Unauthorized, "401", 0},
		"long message":     {"a message stays short", refuse(403, strings.Repeat("é", 5000)), Forbidden, strings.Repeat("é", maxMessage), 0},
		"unreadable limit": {"another version words it differently", refuse(403, "requested duration of soon is more than the authorized maximum certificate duration of later"), TooLong, "soon", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			asked := 0
			s := fake(t, func(w http.ResponseWriter, r *http.Request) { asked++; tc.handler(w, r) })
			_, err := clientOf(t, s, now.Truncate(time.Second)).Sign(t.Context(), newRequest(t))
			checkKind(t, err, tc.kind, tc.text)
			var e *Error
			if !asError(err, &e) || e.ClockSkew.Round(10*time.Second) != tc.skew || e.URL != s.URL {
				t.Errorf("%s: %+v, want a skew of %s and the URL", tc.reason, e, tc.skew)
			}
			if asked != 1 {
				t.Errorf("%s: asked %d times, want once: a token is good for one time", tc.reason, asked)
			}
			if len(err.Error()) > 2*maxMessage+512 {
				t.Errorf("%s: the error has %d bytes", tc.reason, len(err.Error()))
			}
		})
	}
}

func cutAnswer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	w.WriteHeader(201)
	_, _ = io.WriteString(w, `{"crt":"`)
}

func dated(at time.Time, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", at.UTC().Truncate(time.Second).Format(http.TimeFormat))
		next(w, r)
	}
}

// An authority that repeats the token or the request gets neither into an error.
func TestSecretsStayOut(t *testing.T) {
	var sent string
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		var body signBody
		_ = json.NewDecoder(r.Body).Decode(&body)
		sent = body.Token
		answerJSON(w, 401, map[string]string{"message": "bad token " + body.Token + "!"})
	})
	r := newRequest(t)
	_, err := clientOf(t, s, time.Now()).Sign(t.Context(), r)
	if sent == "" || strings.Contains(err.Error(), sent) || strings.Contains(fmt.Sprintf("%+v", err), sent) {
		t.Errorf("error %v holds the token", err)
	}
	checkKind(t, err, Unauthorized, "bad token [token]!")
	checkKind(t, clientOf(t, s, time.Now()).Revoke(t.Context(), r.Provisioner, big.NewInt(7), ""), Unauthorized, "[token]")
}

// What comes back is checked before anybody uses it.
func TestAnswerOfAnother(t *testing.T) {
	a := newAuthority(t, nil)
	other := newAuthority(t, nil)
	c := a.client(t)
	r, _ := a.request(t, everyName)
	fromOther, key := other.request(t, everyName)
	otherChain := must(other.client(t).Sign(t.Context(), fromOther))(t)
	mine := a.issue(t, c, func(in *SignRequest) { in.Names = everyName; in.CSR = r.CSR })
	cases := map[string]struct {
		reason string
		chain  []byte
		key    any
		names  Names
		text   string
	}{
		"good":        {"the one that was asked for", mine.CertificatePEM, r.CSR.PublicKey, everyName, ""},
		"other root":  {"nobody would trust it", otherChain, key.Public(), everyName, "does not lead to the pinned roots"},
		"other key":   {"nobody could use it", mine.CertificatePEM, key.Public(), everyName, "another key"},
		"other names": {"the difference is named", mine.CertificatePEM, r.CSR.PublicKey, Names{SANs: append([]string{"more.phoenix.lan"}, everyName.SANs[1:]...)}, "lacks more.phoenix.lan; it also names www.phoenix.lan"},
		"a root":      {"not what was asked for", a.root.CertificatePEM, r.CSR.PublicKey, everyName, "is a root"},
		"leaf alone":  {"servers need the intermediate", EncodeChain([]*x509.Certificate{leafOf(t, mine.CertificatePEM)}), r.CSR.PublicKey, everyName, "does not lead"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			names := must(tc.names.full())(t)
			_, err := c.issued(t.Context(), signAnswer{Chain: []pemText{pemText(tc.chain)}}, tc.key, names)
			if tc.text == "" {
				if err != nil {
					t.Errorf("%s: %v", tc.reason, err)
				}
				return
			}
			checkKind(t, err, Invalid, tc.text)
		})
	}
}

func TestCutConnections(t *testing.T) {
	cases := map[string]struct {
		reason string
		dial   Dial
		text   string
	}{
		"refused": {"the guest is down", func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("connection refused")
		}, "connection refused"},
		"closed at once": {"a proxy without a way", func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			return ours, theirs.Close()
		}, "closed"},
		"not TLS": {"another service took the port", func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				_, _ = io.WriteString(theirs, "SSH-2.0-OpenSSH_9.2\r\n")
			}()
			go func() {
				_, _ = io.Copy(io.Discard, theirs)
			}()
			return ours, nil
		}, "TLS"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			root := must(ParseChain(must(NewRoot(Template{CommonName: "Root", Duration: time.Hour}))(t).CertificatePEM))(t)
			c := must(NewClient(Options{URL: "https://10.0.0.10", Roots: root, Dial: tc.dial}))(t)
			defer c.Close()
			_, err := c.Sign(t.Context(), newRequest(t))
			checkKind(t, err, Away, tc.text)
			var e *Error
			if asError(err, &e) && e.ClockSkew != 0 {
				t.Errorf("%s: a skew of %s out of nothing", tc.reason, e.ClockSkew)
			}
		})
	}
}

// A call ends with the context of its caller, also while nothing answers.
func TestSilence(t *testing.T) {
	silent := make(chan struct{})
	s := fake(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-silent:
		case <-r.Context().Done():
		}
	})
	defer close(silent)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := clientOf(t, s, time.Now()).Sign(ctx, newRequest(t))
	checkKind(t, err, Away, "deadline")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not unwrap to the context's error", err)
	}
}

// shifted is a clock that goes wrong by a constant.
type shifted time.Duration

func (s shifted) Now() time.Time                   { return time.Now().Add(time.Duration(s)) }
func (s shifted) Since(at time.Time) time.Duration { return s.Now().Sub(at) }

// A wrong clock is named, whatever it makes fail.
func TestClocks(t *testing.T) {
	a := newAuthority(t, nil)
	cases := map[string]struct {
		reason string
		ours   time.Duration // how far our clock is ahead
		kind   Kind
		text   string
	}{
		"3 h behind":   {"its certificate is good, but our token begins later", 3 * time.Hour, Unauthorized, "behind"},
		"3 h ahead":    {"its certificate begins later", -3 * time.Hour, Untrusted, "ahead"},
		"30 h behind":  {"its certificate is over", 30 * time.Hour, Untrusted, "behind"},
		"years behind": {"the battery is empty", 9 * 365 * 24 * time.Hour, Untrusted, "behind"},
		"10 s behind":  {"is borne", 10 * time.Second, "", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, _ := a.request(t, everyName)
			_, err := a.clientWith(t, func(o *Options) { o.Clock = shifted(tc.ours) }).Sign(t.Context(), r)
			if tc.kind == "" {
				if err != nil {
					t.Errorf("%s: %v", tc.reason, err)
				}
				return
			}
			checkKind(t, err, tc.kind, "the clock of "+a.url+" is ")
			checkKind(t, err, tc.kind, tc.text)
			var e *Error
			if !asError(err, &e) || (e.ClockSkew+tc.ours).Abs() > 10*time.Second {
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}

// A certificate that begins in a moment is taken.
func TestClockOfCertificate(t *testing.T) {
	a := newAuthority(t, nil)
	pair := a.issue(t, a.client(t), nil) // begins a minute ago
	answer := signAnswer{Chain: []pemText{pemText(pair.CertificatePEM)}}
	leaf := leafOf(t, pair.CertificatePEM)
	soon := a.clientWith(t, func(o *Options) { o.Clock = shifted(-80 * time.Second) })
	if _, err := soon.issued(t.Context(), answer, leaf.PublicKey, NamesOf(leaf)); err != nil {
		t.Errorf("it begins in 20 s: %v", err)
	}
	later := a.clientWith(t, func(o *Options) { o.Clock = shifted(-10 * time.Minute) })
	_, err := later.issued(t.Context(), answer, leaf.PublicKey, NamesOf(leaf))
	checkKind(t, err, Invalid, "not yet valid")
	checkKind(t, err, Invalid, "ahead")
}

// An authority whose clock is wrong may refuse the certificate that renews itself.
func TestClockOfRenewal(t *testing.T) {
	a := newAuthority(t, nil)
	c := a.clientWith(t, func(o *Options) { o.Clock = shifted(10 * time.Minute) })
	pair := a.issue(t, a.client(t), func(r *SignRequest) { r.Usages = []string{UsageServerAuth} }) // is refused as well
	checkKind(t, renewDespite(t, c, pair), Unauthorized, "behind")
}

func TestHealth(t *testing.T) {
	for body, kind := range map[string]Kind{`{"status":"ok"}`: "", `{"status":"starting"}`: Away, `{}`: Away, `nginx`: Invalid} {
		s := fake(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		if err := clientOf(t, s, time.Now()).Health(t.Context()); KindOf(err) != kind {
			t.Errorf("Health() of %s = %v, want %q", body, err, kind)
		}
	}
}

func TestOldTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // what is refused
	s.StartTLS()
	defer s.Close()
	checkKind(t, clientOf(t, s, time.Now()).Health(t.Context()), Away, "protocol version")
}
