// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// TestFetch takes the same files over https and over ssh.
func TestFetch(t *testing.T) {
	r := newRepositories(t)
	overHTTPS := r.https(t)
	_, overSSH := r.ssh(t)
	cases := []struct {
		reason string
		ref    string
		path   string
		text   string
		commit string
	}{
		{reason: "without a ref it is the repository's HEAD", text: "new\n", commit: "main"},
		{reason: "a branch", ref: "main", text: "new\n", commit: "main"},
		{reason: "a branch with a slash", ref: "dev/next", text: "dev\n", commit: "dev"},
		{reason: "a branch by its full name", ref: "refs/heads/main", text: "new\n", commit: "main"},
		{reason: "a tag", ref: "light", text: "old\n", commit: "first"},
		{reason: "an annotated tag, of which the commit is told", ref: "v1", text: "old\n", commit: "first"},
		{reason: "a tag by its full name", ref: "refs/tags/v1", text: "old\n", commit: "first"},
		{reason: "a branch comes before a tag", ref: "both", text: "dev\n", commit: "dev"},
		{reason: "a commit that a branch is at", ref: r.commits["main"], text: "new\n", commit: "main"},
		{reason: "a commit that an annotated tag is of", ref: r.commits["first"], text: "old\n", commit: "first"},
		{reason: "a commit in the history, which the server does not give alone", ref: r.commits["second"], text: "between\n", commit: "second"},
		{reason: "a commit in capitals", ref: strings.ToUpper(r.commits["second"]), text: "between\n", commit: "second"},
		{reason: "a file in a folder", path: "blog/compose.yaml", text: "services: {}\n", commit: "main"},
		{reason: "a file as large as it may be", path: "largest.yaml", text: strings.Repeat("a", fileLimit), commit: "main"},
	}
	for _, c := range cases {
		for _, source := range []Source{overHTTPS, overSSH} {
			scheme, _, _ := strings.Cut(source.URL, ":")
			t.Run(scheme+"/"+c.reason, func(t *testing.T) {
				source.Ref = c.ref
				if c.path != "" {
					source.Path = c.path
				}
				got, err := Fetch(t.Context(), source)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(File{Text: []byte(c.text), Commit: r.commits[c.commit]}, got); diff != "" {
					t.Errorf("the file differs (-want +got):\n%.500s", diff)
				}
				head, err := Head(t.Context(), source)
				if err != nil || head != r.commits[c.commit] {
					t.Errorf("Head is %s, %v, want %s", head, err, r.commits[c.commit])
				}
			})
		}
	}
}

// TestFetchAlone asks a server that gives any commit alone.
func TestFetchAlone(t *testing.T) {
	r := newRepositories(t)
	git(t, filepath.Join(r.root, "stacks.git"), "config", "uploadpack.allowAnySHA1InWant", "true")
	source := r.https(t)
	source.Ref = r.commits["second"]
	got, err := Fetch(t.Context(), source)
	if err != nil || string(got.Text) != "between\n" {
		t.Errorf("got %q, %v", got.Text, err)
	}
	source.Ref = strings.Repeat("0123456789", 4)
	if _, err = Fetch(t.Context(), source); kindOf(err) != NoReference {
		t.Errorf("a commit that does not exist: %v", err)
	}
}

// TestFetchMoves sees what is pushed.
func TestFetchMoves(t *testing.T) {
	r := newRepositories(t)
	source := r.https(t)
	source.Ref = "dev/next"
	r.write(t, "compose.yaml", "pushed\n")
	r.commit(t, "pushed")
	git(t, r.work, "push", "-q", filepath.Join(r.root, "stacks.git"), "dev/next")
	got, err := Fetch(t.Context(), source)
	if err != nil || string(got.Text) != "pushed\n" || got.Commit != r.commits["pushed"] {
		t.Errorf("got %q at %s, %v", got.Text, got.Commit, err)
	}
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return -1
}

// TestFetchErrors names what is wrong, and never a credential.
func TestFetchErrors(t *testing.T) {
	r := newRepositories(t)
	overHTTPS := r.https(t)
	server, overSSH := r.ssh(t)
	_, otherKey := newKey(t)
	otherHost, _ := newKey(t)
	_, away := r.ssh(t)
	away.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route to host") }
	cases := []struct {
		reason string
		source Source
		change func(*Source)
		kind   Kind
		says   string
	}{
		{"a branch that does not exist", overHTTPS, func(s *Source) { s.Ref = "nope" }, NoReference, "no branch or tag nope"},
		{"the same over ssh", overSSH, func(s *Source) { s.Ref = "nope" }, NoReference, "no branch or tag nope"},
		{"a short commit is none", overHTTPS, func(s *Source) { s.Ref = r.commits["main"][:12] }, NoReference, "no branch or tag"},
		{"a commit that does not exist", overHTTPS, func(s *Source) { s.Ref = strings.Repeat("0123456789", 4) }, NoReference, "no commit 0123456789"},
		{"a tag of a file", overHTTPS, func(s *Source) { s.Ref = "blob" }, NoReference, "is a blob, not a commit"},
		{"a repository without commits", overHTTPS, func(s *Source) { s.URL = strings.Replace(s.URL, "stacks", "empty", 1) }, NoReference, "is empty"},
		{"the same over ssh", overSSH, func(s *Source) { s.URL = strings.Replace(s.URL, "stacks", "empty", 1) }, NoReference, "is empty"},
		{"a repository that does not exist", overHTTPS, func(s *Source) { s.URL = strings.Replace(s.URL, "stacks", "nope", 1) }, NoRepository, "no such repository"},
		{"the same over ssh", overSSH, func(s *Source) { s.URL = strings.Replace(s.URL, "stacks", "nope", 1) }, NoRepository, "no such repository"},
		{"a file that does not exist", overHTTPS, func(s *Source) { s.Path = "compose.yml" }, NoFile, "has no file compose.yml, but a file compose.yaml"},
		{"a folder that does not exist", overHTTPS, func(s *Source) { s.Path = "blig/compose.yaml" }, NoFile, "no directory blig"},
		{"a file in a file", overHTTPS, func(s *Source) { s.Path = "compose.yaml/x" }, NoFile, "has no file"},
		{"a directory", overHTTPS, func(s *Source) { s.Path = "blog" }, NoFile, "is a directory"},
		{"a symbolic link", overHTTPS, func(s *Source) { s.Path = "link.yaml" }, NoFile, "is a symbolic link"},
		{"another repository", overHTTPS, func(s *Source) { s.Path = "module" }, NoFile, "is another repository"},
		{"a file of LFS", overHTTPS, func(s *Source) { s.Path = "lfs.yaml" }, NoFile, "LFS"},
		{"a file that is too large", overHTTPS, func(s *Source) { s.Path = "large.yaml" }, TooLarge, "must not exceed"},
		{"a path out of the repository", overHTTPS, func(s *Source) { s.Path = "../x" }, Invalid, "within the repository"},
		{"a path of the machine", overHTTPS, func(s *Source) { s.Path = "/etc/passwd" }, Invalid, "within the repository"},
		{"no path", overHTTPS, func(s *Source) { s.Path = "" }, Invalid, "within the repository"},
		{"a wrong password", overHTTPS, func(s *Source) { s.Password = "hunter2" }, Unauthorized, "refuses the credentials"},
		{"no password", overHTTPS, func(s *Source) { s.Username, s.Password = "", "" }, Unauthorized, "there are none"},
		{"another key", overSSH, func(s *Source) { s.SSHKey = otherKey }, Unauthorized, "refuses the credentials"},
		{"no key", overSSH, func(s *Source) { s.SSHKey = nil }, Unauthorized, "there are none"},
		{"another user", overSSH, func(s *Source) { s.URL = strings.Replace(s.URL, "git@", "root@", 1) }, Unauthorized, "refuses the credentials"},
		{"a key that is none", overSSH, func(s *Source) { s.SSHKey = []byte("hunter2") }, Invalid, "cannot be read"},
		{"a certificate of a stranger", overHTTPS, func(s *Source) { s.Roots = x509.NewCertPool() }, Untrusted, "certificate is not trusted"},
		{"a certificate for another name", overHTTPS, func(s *Source) {
			s.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, strings.TrimSuffix(strings.TrimPrefix(overHTTPS.URL, "https://"), "/stacks.git"))
			}
			s.URL = "https://git.other.lan/stacks.git"
		}, Untrusted, "certificate is not trusted"},
		{"another host key", overSSH, func(s *Source) {
			s.KnownHosts = []byte(knownName(server.address) + " " + string(ssh.MarshalAuthorizedKey(otherHost.PublicKey())))
		}, Untrusted, ssh.FingerprintSHA256(server.host)},
		{"a revoked host key", overSSH, func(s *Source) {
			s.KnownHosts = append(s.KnownHosts, "@revoked * "+string(ssh.MarshalAuthorizedKey(server.host))...)
		}, Untrusted, "revoked"},
		{"no host key", overSSH, func(s *Source) { s.KnownHosts = nil }, Invalid, "have no key of ["},
		{"a host key of another host", overSSH, func(s *Source) {
			s.KnownHosts = []byte("git.lan " + string(ssh.MarshalAuthorizedKey(server.host)))
		}, Invalid, "have no key of ["},
		{"known hosts that are none", overSSH, func(s *Source) { s.KnownHosts = []byte("hello dear friend\n") }, Invalid, "known hosts cannot be read"},
		{"a server that is away", away, func(*Source) {}, Away, "no route to host"},
		{"a port without a server", overHTTPS, func(s *Source) { s.URL = "https://127.0.0.1:1/stacks.git" }, Away, "the server is away"},
		{"ssh to https", overSSH, func(s *Source) {
			address := strings.TrimSuffix(strings.TrimPrefix(overHTTPS.URL, "https://"), "/stacks.git")
			s.KnownHosts = []byte(strings.Replace(string(s.KnownHosts), knownName(server.address), knownName(address), 1))
			s.URL = "ssh://git@" + address + "/stacks.git"
		}, Away, "ended the conversation"},
		{"a password in the URL", overHTTPS, func(s *Source) { s.URL = strings.Replace(s.URL, "https://", "https://u:hunter2@", 1) }, Invalid, "no credentials"},
		{"a user in the URL of https", overHTTPS, func(s *Source) { s.URL = strings.Replace(s.URL, "https://", "https://hunter2@", 1) }, Invalid, "no credentials"},
		{"http", overHTTPS, func(s *Source) { s.URL = "http://git.lan/stacks.git" }, Invalid, "use https or ssh"},
		{"a file", overHTTPS, func(s *Source) { s.URL = "file:///srv/git/stacks.git" }, Invalid, "https://host/path"},
		{"the short form of ssh", overSSH, func(s *Source) { s.URL = "git@git.lan:stacks.git" }, Invalid, "https://host/path"},
		{"a URL without a path", overHTTPS, func(s *Source) { s.URL = "https://git.lan/" }, Invalid, "https://host/path"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			source := c.source
			source.KnownHosts = append([]byte(nil), source.KnownHosts...)
			c.change(&source)
			_, err := Fetch(t.Context(), source)
			if err == nil || kindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("want kind %d and %q, got kind %d: %v", c.kind, c.says, kindOf(err), err)
			}
			for _, secret := range []string{password, "hunter2", "PRIVATE KEY"} {
				if strings.Contains(fmt.Sprintf("%+v %#v", err, err), secret) {
					t.Errorf("the error holds a credential: %v", err)
				}
			}
		})
	}
}

// TestFetchSays tells what ssh servers say instead of running git.
func TestFetchSays(t *testing.T) {
	r := newRepositories(t)
	server, source := r.ssh(t)
	cases := []struct {
		words string
		kind  Kind
	}{
		{"ERROR: Repository not found.", NoRepository},
		{"GitLab: The project you were looking for could not be found", NoRepository},
		{"Gitea: Invalid repository path, access denied", Unauthorized},
		{"This account is currently not available. " + strings.Repeat("x", 5000), Broken},
		{" ", Broken},
	}
	for _, c := range cases {
		server.said.Store(c.words)
		_, err := Fetch(t.Context(), source)
		if kindOf(err) != c.kind {
			t.Errorf("%.40q: want kind %d, got kind %d: %v", c.words, c.kind, kindOf(err), err)
		}
		if err != nil && strings.Contains(err.Error(), strings.TrimSpace(c.words)+"x") {
			t.Errorf("the error holds the server's words: %v", err)
		}
	}
}

// TestFetchIsBounded talks to servers that never end, and to one with a repository that unpacks to too much.
func TestFetchIsBounded(t *testing.T) {
	t.Run("an answer without an end", func(t *testing.T) {
		source := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = fmt.Fprint(w, "001e# service=git-upload-pack\n0000")
			_, _ = fmt.Fprint(w, "003b"+strings.Repeat("1", 40)+" HEAD\x00 agent=x\n")
			line := "0065" + strings.Repeat("1", 40) + " refs/heads/" + strings.Repeat("a", 44) + "\n"
			lines := []byte(strings.Repeat(line, 1000))
			for {
				if _, err := w.Write(lines); err != nil {
					return
				}
			}
		}))
		if _, err := Fetch(t.Context(), source); kindOf(err) != TooLarge {
			t.Errorf("got kind %d: %v", kindOf(err), err)
		}
	})
	t.Run("an error page without an end", func(t *testing.T) {
		source := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			page := make([]byte, 1<<20)
			for {
				if _, err := w.Write(page); err != nil {
					return
				}
			}
		}))
		if _, err := Fetch(t.Context(), source); kindOf(err) != Away {
			t.Errorf("got kind %d: %v", kindOf(err), err)
		}
	})
	t.Run("a small pack that holds much", func(t *testing.T) {
		r := newRepositories(t)
		git(t, r.work, "checkout", "-q", "main")
		r.write(t, "zeros", strings.Repeat("\x00", repositoryLimit+1))
		r.commit(t, "zeros")
		git(t, r.work, "push", "-q", filepath.Join(r.root, "stacks.git"), "main")
		if _, err := Fetch(t.Context(), r.https(t)); kindOf(err) != TooLarge {
			t.Errorf("got kind %d: %v", kindOf(err), err)
		}
	})
	t.Run("a server that says nothing ends with the context", func(t *testing.T) {
		r := newRepositories(t)
		_, source := r.ssh(t)
		overHTTPS := r.https(t)
		for _, s := range []Source{source, overHTTPS} {
			ctx, cancel := context.WithCancel(t.Context())
			s.Dial = func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				t.Cleanup(func() { _ = there.Close() })
				go func() {
					_, _ = there.Read(make([]byte, 1)) // the first word of ours: now it hangs
					cancel()
				}()
				return here, nil
			}
			if _, err := Fetch(ctx, s); kindOf(err) != Away || !errors.Is(err, context.Canceled) {
				t.Errorf("got kind %d: %v", kindOf(err), err)
			}
			cancel()
		}
	})
}

// TestFetchRedirects follows a server within what it may say, and never with credentials to another one.
func TestFetchRedirects(t *testing.T) {
	r := newRepositories(t)
	source := r.https(t)
	stolen := make(chan string, 10)
	thief := serve(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		stolen <- request.Header.Get("Authorization")
		http.Error(w, "no", http.StatusNotFound)
	}))
	moved := func(to string) Source {
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			http.Redirect(w, request, to+strings.TrimPrefix(request.URL.String(), "/stacks.git"), http.StatusFound)
		}))
		s.Roots.AddCert(certificate(t, thief))
		return s
	}
	if _, err := Fetch(t.Context(), moved(thief.URL)); err == nil {
		t.Error("the thief has no repository")
	}
	if got := <-stolen; got != "" {
		t.Errorf("the thief was sent %q", got)
	}
	plain := moved("http" + strings.TrimPrefix(source.URL, "https"))
	if _, err := Fetch(t.Context(), plain); kindOf(err) != Broken || !strings.Contains(err.Error(), "must not") {
		t.Errorf("sent on to http: kind %d, %v", kindOf(err), err)
	}
}

// certificate is what a server shows.
func certificate(t *testing.T, s Source) *x509.Certificate {
	t.Helper()
	response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: tlsOf(s)}}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.TLS.PeerCertificates[0]
}

func tlsOf(s Source) *tls.Config { return &tls.Config{RootCAs: s.Roots, MinVersion: tls.VersionTLS12} }

func TestKnownHosts(t *testing.T) {
	key, _ := newKey(t)
	line := func(hosts string) string { return hosts + " " + string(ssh.MarshalAuthorizedKey(key.PublicKey())) }
	cases := []struct {
		reason string
		lines  string
		host   string
		known  bool
	}{
		{"the host itself", line("git.lan"), "git.lan", true},
		{"one of several", line("git.lan,10.0.0.9"), "10.0.0.9", true},
		{"in capitals", line("Git.LAN"), "git.lan", true},
		{"with another port", line("[git.lan]:2222"), "[git.lan]:2222", true},
		{"another port is another server", line("git.lan"), "[git.lan]:2222", false},
		{"the usual port is not another", line("[git.lan]:2222"), "git.lan", false},
		{"a pattern", line("*.lan"), "git.lan", true},
		{"a pattern with one exception", line("*.lan,!git.lan"), "git.lan", false},
		{"hashed", line(knownhosts.HashHostname("git.lan")), "git.lan", true},
		{"hashed, with a port", line(knownhosts.HashHostname("[git.lan]:2222")), "[git.lan]:2222", true},
		{"hashed, of another", line(knownhosts.HashHostname("other.lan")), "git.lan", false},
		{"after comments, empty lines and Windows' line ends", "# x\r\n\r\n" + line("git.lan") + "\r\n", "git.lan", true},
		{"an authority is no key", "@cert-authority " + line("git.lan"), "git.lan", false},
		{"revoked alone", "@revoked " + line("git.lan"), "git.lan", false},
		{"nothing", "", "git.lan", false},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			keys, err := parseKnownHosts([]byte(c.lines), c.host)
			if (err == nil) != c.known {
				t.Fatalf("known: %v, want %v (%v)", err == nil, c.known, err)
			}
			if err == nil && keys.check("", nil, key.PublicKey()) != nil {
				t.Error("the key is not accepted")
			}
		})
	}
}
