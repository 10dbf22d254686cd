// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
)

const (
	username = "reader"
	password = "correct-horse-battery"
)

// quiet keeps the servers' complaints about bad clients, which the tests are, out of the tests' output.
var quiet = log.New(io.Discard, "", 0)

// git runs git in a folder, without the configuration of the machine.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", args...)
	command.Dir = dir
	command.Env = environment(dir)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func environment(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@lan", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@lan",
		"GIT_AUTHOR_DATE=2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z",
	}
}

// repositories is a folder of bare repositories, and the commits in them by name.
type repositories struct {
	root    string
	work    string
	commits map[string]string
}

// newRepositories makes stacks.git, with a history, and empty.git.
func newRepositories(t *testing.T) *repositories {
	t.Helper()
	r := &repositories{root: t.TempDir(), work: t.TempDir(), commits: map[string]string{}}
	git(t, r.root, "init", "-q", "--bare", "-b", "main", "empty.git")
	git(t, r.work, "init", "-q", "-b", "main")
	r.write(t, "compose.yaml", "old\n")
	r.commit(t, "first")
	git(t, r.work, "tag", "-a", "-m", "one", "v1")
	git(t, r.work, "tag", "light")
	r.write(t, "compose.yaml", "between\n")
	r.commit(t, "second")
	r.write(t, "compose.yaml", "new\n")
	r.write(t, "blog/compose.yaml", "services: {}\n")
	r.write(t, "large.yaml", strings.Repeat("a", fileLimit+1))
	r.write(t, "largest.yaml", strings.Repeat("a", fileLimit))
	r.write(t, "lfs.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
	if err := os.Symlink("compose.yaml", filepath.Join(r.work, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	git(t, r.work, "update-index", "--add", "--cacheinfo", "160000,"+r.commits["first"]+",module")
	r.commit(t, "main")
	git(t, r.work, "tag", "both")
	git(t, r.work, "tag", "-a", "-m", "of a file", "blob", "HEAD:compose.yaml")
	git(t, r.work, "checkout", "-q", "-b", "dev/next")
	r.write(t, "compose.yaml", "dev\n")
	r.commit(t, "dev")
	git(t, r.work, "branch", "both")
	git(t, r.work, "clone", "-q", "--bare", r.work, filepath.Join(r.root, "stacks.git"))
	git(t, filepath.Join(r.root, "stacks.git"), "symbolic-ref", "HEAD", "refs/heads/main")
	return r
}

func (r *repositories) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(r.work, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, r.work, "add", name)
}

func (r *repositories) commit(t *testing.T, name string) {
	t.Helper()
	if name == "main" {
		git(t, r.work, "add", "link.yaml")
	}
	git(t, r.work, "commit", "-q", "-m", name)
	r.commits[name] = git(t, r.work, "rev-parse", "HEAD")
}

// https serves the repositories over TLS to who knows the password.
func (r *repositories) https(t *testing.T) Source {
	t.Helper()
	core := git(t, r.root, "--exec-path")
	backend := &cgi.Handler{
		Path:   filepath.Join(core, "git-http-backend"),
		Env:    append(environment(r.root), "GIT_PROJECT_ROOT="+r.root, "GIT_HTTP_EXPORT_ALL=1"),
		Stderr: io.Discard, Logger: quiet,
	}
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		user, pass, _ := request.BasicAuth()
		if (user != username && user != "git") || subtle.ConstantTimeCompare([]byte(pass), []byte(password)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you, "+user+":"+pass+"?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, request)
	}))
}

// serve runs a handler over TLS and returns a source that trusts it.
func serve(t *testing.T, handler http.Handler) Source {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return Source{URL: server.URL + "/stacks.git", Path: "compose.yaml", Username: username, Password: password, Roots: roots}
}

// sshServer serves the repositories over ssh to who has the key.
type sshServer struct {
	*repositories
	config  *ssh.ServerConfig
	address string
	host    ssh.PublicKey
	said    atomic.Value // what the server says instead of running git, if anything
}

func newKey(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

func (r *repositories) ssh(t *testing.T) (*sshServer, Source) {
	t.Helper()
	host, _ := newKey(t)
	user, key := newKey(t)
	s := &sshServer{repositories: r, host: host.PublicKey()}
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(k.Marshal()) != string(user.PublicKey().Marshal()) {
			return nil, errors.New("unknown")
		}
		return &ssh.Permissions{}, nil
	}}
	s.config.AddHostKey(host)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	s.address = listener.Addr().String()
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(t, connection)
		}
	}()
	return s, Source{URL: "ssh://git@" + s.address + "/stacks.git", Path: "compose.yaml", SSHKey: key, KnownHosts: s.knownHosts()}
}

func (s *sshServer) knownHosts() []byte {
	return []byte("# the lab\n" + knownName(s.address) + " " + string(ssh.MarshalAuthorizedKey(s.host)))
}

func (s *sshServer) serve(t *testing.T, connection net.Conn) {
	c, channels, requests, err := ssh.NewServerConn(connection, s.config)
	if err != nil {
		_ = connection.Close()
		return
	}
	defer func() { _ = c.Close() }()
	go ssh.DiscardRequests(requests)
	for open := range channels {
		channel, requests, err := open.Accept()
		if err != nil {
			return
		}
		for request := range requests {
			if request.Type != "exec" {
				_ = request.Reply(false, nil)
				continue
			}
			_ = request.Reply(true, nil)
			status := s.run(t, channel, string(request.Payload[4:]))
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			_ = channel.Close()
		}
	}
}

// run is what git-shell does: git-upload-pack of a path in quotes, and nothing else.
func (s *sshServer) run(t *testing.T, channel ssh.Channel, line string) uint32 {
	path, ok := strings.CutPrefix(line, "git-upload-pack '")
	if words, _ := s.said.Load().(string); words != "" || !ok {
		_, _ = channel.Stderr().Write([]byte(words + "\n"))
		return 1
	}
	path = strings.ReplaceAll(strings.TrimSuffix(path, "'"), `'\''`, "'")
	command := exec.CommandContext(t.Context(), "git", "upload-pack", filepath.Join(s.root, filepath.Clean("/"+path)))
	command.Env = environment(s.root)
	command.Stdout, command.Stderr = channel, channel.Stderr()
	in, err := command.StdinPipe() // with Stdin, Run would wait for the client to end first
	if err != nil {
		return 127
	}
	go func() {
		_, _ = io.Copy(in, channel)
		_ = in.Close()
	}()
	if err := command.Run(); err != nil {
		return 128
	}
	return 0
}
