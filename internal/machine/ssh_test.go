// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestRun(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<15) // half a MiB: more than a window
	cases := map[string]struct {
		reason string
		argv   []string
		stdin  []byte
		want   Result
	}{
		"output":     {"both outputs apart", []string{"echo", "hello"}, nil, Result{Stdout: []byte("hello\n")}},
		"exit code":  {"another code than 0 is data", []string{"grumble"}, nil, Result{Stderr: []byte("it hurts\n"), ExitCode: 3}},
		"not found":  {"so is an unknown command", []string{"nosuch"}, nil, Result{Stderr: []byte("nosuch: not found\n"), ExitCode: 127}},
		"stdin":      {"secrets travel here", []string{"cat"}, []byte("p4ss\nword"), Result{Stdout: []byte("p4ss\nword")}},
		"big":        {"in both directions at once", []string{"cat"}, big, Result{Stdout: big}},
		"not read":   {"input that nobody reads is no failure", []string{"true"}, big, Result{}},
		"arguments":  {"a shell reads them as they are", []string{"echo", "a b", "$HOME", "it's"}, nil, Result{Stdout: []byte(`'a b' '$HOME' 'it'\''s'` + "\n")}},
		"no injects": {"nor ends a command", []string{"echo", "x; reboot"}, nil, Result{Stdout: []byte("'x; reboot'\n")}},
	}
	h := serve(t)
	c := h.conn(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := c.Run(t.Context(), tc.argv, tc.stdin)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if diff := cmp.Diff(string(tc.want.Stdout), string(got.Stdout)); diff != "" {
				t.Errorf("%s: stdout (-want +got):\n%.300s", tc.reason, diff)
			}
			if string(got.Stderr) != string(tc.want.Stderr) || got.ExitCode != tc.want.ExitCode {
				t.Errorf("%s: %q, exit code %d", tc.reason, got.Stderr, got.ExitCode)
			}
		})
	}
	if n := h.dials(); n != 1 {
		t.Errorf("%d commands made %d connections", len(cases), n)
	}
}

func TestDialRefuses(t *testing.T) {
	hostKey, key := newKey(t)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(hostKey.PublicKey())))
	cases := map[string]struct {
		reason string
		config SSH
		want   string // part of the error; empty: accepted
	}{
		"authorized_keys": {"a type and a key", SSH{Address: "10.0.0.13", Key: key, HostKeys: []string{line}}, ""},
		"known_hosts":     {"as ssh-keyscan prints it, comments and all", SSH{Address: "10.0.0.13:2222", Key: key, HostKeys: []string{"# 10.0.0.13:22 SSH-2.0", "10.0.0.13,pve " + line + " root@pve\n"}}, ""},
		"file":            {"a whole file in one", SSH{Address: "::1", Key: key, HostKeys: []string{"\n[::1]:22 " + line + "\n" + line + "\n"}}, ""},
		"none":            {"any host key is never accepted", SSH{Address: "10.0.0.13", Key: key}, "none is pinned"},
		"comment":         {"nor with a comment alone", SSH{Address: "10.0.0.13", Key: key, HostKeys: []string{"# later", ""}}, "none is pinned"},
		"marker":          {"an authority would sign for any host", SSH{Address: "10.0.0.13", Key: key, HostKeys: []string{"@cert-authority * " + line}}, "marker"},
		"half":            {"a host alone", SSH{Address: "10.0.0.13", Key: key, HostKeys: []string{"10.0.0.13 ssh-ed25519"}}, "type and a key"},
		"garbled":         {"not a key", SSH{Address: "10.0.0.13", Key: key, HostKeys: []string{"ssh-ed25519 AAAA"}}, "read host key"},
		"no key":          {"an empty Secret", SSH{Address: "10.0.0.13", HostKeys: []string{line}}, "private key"},
		"not a key":       {"the error must not show it", SSH{Address: "10.0.0.13", Key: "p4ssword", HostKeys: []string{line}}, "private key"},
		"no address":      {"nothing to dial", SSH{Key: key, HostKeys: []string{line}}, "address"},
		"port":            {"not a port", SSH{Address: "10.0.0.13:ssh", Key: key, HostKeys: []string{line}}, "address"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Dial(c.config)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: Dial() = %v, want %q", c.reason, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "p4ssword") {
				t.Errorf("%s: the error shows the key", c.reason)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	h := serve(t)
	for given, want := range map[string]string{"10.0.0.13": "10.0.0.13:22", "::1": "[::1]:22", "[::1]": "[::1]:22", "pve:2222": "pve:2222"} {
		cfg := h.config()
		cfg.Address = given
		c, err := Dial(cfg)
		if err != nil || c.address != want || c.config.User != "root" {
			t.Errorf("Dial(%s) = %v: dials %s as %s", given, err, c.address, c.config.User)
		}
	}
}

func TestHostKeyMismatch(t *testing.T) {
	h := serve(t)
	other, _ := newKey(t)
	cfg := h.config()
	cfg.HostKeys = []string{string(ssh.MarshalAuthorizedKey(other.PublicKey()))}
	c, err := Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Run(t.Context(), []string{"echo", "secret"}, nil)
	var mismatch *HostKeyError
	if !errors.As(err, &mismatch) || IsAway(err) {
		t.Fatalf("Run() = %v, want a HostKeyError", err)
	}
	want := &HostKeyError{Address: h.address, Type: "ssh-ed25519", Fingerprint: ssh.FingerprintSHA256(h.key.PublicKey())}
	if diff := cmp.Diff(want, mismatch); diff != "" {
		t.Errorf("what was shown (-want +got):\n%s", diff)
	}
	if len(h.began) != 0 {
		t.Error("a command ran on a host that is not trusted")
	}
}

// TestPinnedTypeIsAskedFor pins an ECDSA key: the offer must name its type
// first, and the others after it, so that a host without it shows what it has.
func TestPinnedTypeIsAskedFor(t *testing.T) {
	got := algorithms([]string{ssh.KeyAlgoRSA, ssh.KeyAlgoECDSA384})
	want := []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA521}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongUserKey(t *testing.T) {
	h := serve(t)
	cfg := h.config()
	_, cfg.Key = newKey(t)
	c, err := Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(t.Context(), []string{"true"}, nil); err == nil || !strings.Contains(err.Error(), "authenticate") || IsAway(err) {
		t.Errorf("Run() = %v", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	h := serve(t)
	c := h.conn(t)
	if _, err := c.Run(t.Context(), []string{"flood"}, nil); !errors.Is(err, ErrOutputTooLong) {
		t.Errorf("Run() = %v", err)
	}
	if _, err := c.Run(t.Context(), []string{"true"}, nil); err != nil || h.dials() != 1 {
		t.Errorf("the connection does not survive a flood: %v, dialled %d times", err, h.dials())
	}
}

func TestContextKillsTheCommand(t *testing.T) {
	h := serve(t)
	c := h.conn(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-h.began
		cancel()
	}()
	if _, err := c.Run(ctx, []string{"hold"}, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("Run() = %v", err)
	}
	// The place is free again only when the command is gone: six more fit.
	fill(t, c, maxSessions)
	var signals []string
	for range 500 { // the server hears of it in its own time
		if h.do(func() { signals = slices.Clone(h.signals) }); len(signals) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if diff := cmp.Diff([]string{"KILL"}, signals); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
}

// fill runs n commands one after another and expects them all to succeed.
func fill(t *testing.T, c *Conn, n int) {
	t.Helper()
	for range n {
		if _, err := c.Run(t.Context(), []string{"true"}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSixSessions(t *testing.T) {
	h := serve(t)
	c := h.conn(t)
	var running sync.WaitGroup
	for range 3 * maxSessions {
		running.Go(func() {
			if _, err := c.Run(t.Context(), []string{"hold"}, nil); err != nil {
				t.Errorf("Run() = %v", err)
			}
		})
	}
	for range maxSessions {
		<-h.began
	}
	waiting, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Run(waiting, []string{"true"}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a seventh command must wait within its context: %v", err)
	}
	close(h.release)
	running.Wait()
	h.do(func() {
		if h.most != 6 || h.dialled != 1 {
			t.Errorf("%d sessions at once on %d connections, want 6 on 1", h.most, h.dialled)
		}
	})
}

func TestReconnect(t *testing.T) {
	h := serve(t)
	c := h.conn(t)
	fill(t, c, 1)
	for range 3 { // broken between commands: the next one makes a new connection
		h.cut()
		fill(t, c, 1)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := c.Run(t.Context(), []string{"hold"}, nil)
		failed <- err
	}()
	for line := range h.began {
		if line == "hold" {
			break
		}
	}
	h.cut()
	if err := <-failed; !IsAway(err) || !strings.Contains(err.Error(), "outcome unknown") {
		t.Errorf("a command whose connection broke: %v", err)
	}
	close(h.release)
	fill(t, c, maxSessions+1) // and its place is free again
	h.do(func() {
		if h.dialled != 5 {
			t.Errorf("dialled %d times, want 5: a command that may have run is not run again", h.dialled)
		}
	})
}

func TestRefusedSession(t *testing.T) {
	h := serve(t)
	c := h.conn(t)
	fill(t, c, 1)
	h.do(func() { h.refuse = true })
	if _, err := c.Run(t.Context(), []string{"true"}, nil); err == nil || !strings.Contains(err.Error(), "too many sessions") {
		t.Errorf("Run() = %v", err)
	}
	h.do(func() { h.refuse = false })
	fill(t, c, 1)
	if n := h.dials(); n != 1 {
		t.Errorf("a refused session broke the connection: dialled %d times", n)
	}
	if _, err := c.Run(t.Context(), []string{"forbidden"}, nil); err == nil || !strings.Contains(err.Error(), "start") {
		t.Errorf("a command that the host does not start: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	h := serve(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never speaks
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	cases := map[string]struct {
		reason, address string
		want            error
	}{
		"silent": {"a handshake without an answer ends with the context", silent.Addr().String(), context.DeadlineExceeded},
		"closed": {"nobody listens", closed.Addr().String(), nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := h.config()
			cfg.Address = c.address
			conn, err := Dial(cfg)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err = conn.Run(ctx, []string{"true"}, nil)
			if !IsAway(err) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s: Run() = %v", c.reason, err)
			}
		})
	}
}

func TestClose(t *testing.T) {
	h := serve(t)
	c := h.conn(t)
	fill(t, c, 1)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	if _, err := c.Run(t.Context(), []string{"true"}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Run() = %v after Close", err)
	}
	if err := h.conn(t).Close(); err != nil {
		t.Errorf("Close() = %v without a connection", err)
	}
}

func TestKeepAlive(t *testing.T) {
	h := serve(t)
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	cfg := h.config()
	cfg.Clock = clock
	c, err := Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	fill(t, c, 1)
	tick := func(d time.Duration) {
		t.Helper()
		for !clock.HasWaiters() {
			if t.Context().Err() != nil {
				t.Fatal("no keep-alive")
			}
			runtime.Gosched()
		}
		clock.Step(d)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := c.Run(t.Context(), []string{"hold"}, nil)
		failed <- err
	}()
	for line := range h.began {
		if line == "hold" {
			break
		}
	}
	h.do(func() { h.deaf = true })
	tick(aliveEvery)
	tick(aliveTimeout)
	if err := <-failed; err == nil {
		t.Error("a command on a dead connection went on")
	}
	close(h.release)
	h.do(func() { h.deaf = false })
	fill(t, c, 1)
	if n := h.dials(); n != 2 {
		t.Errorf("dialled %d times, want 2", n)
	}
}

func TestErrorsNameNoArguments(t *testing.T) {
	h := serve(t)
	c := h.conn(t)
	h.do(func() { h.refuse = true })
	_, err := c.Run(t.Context(), []string{"echo", "p4ssword"}, []byte("p4ssword"))
	if err == nil || strings.Contains(err.Error(), "p4ssword") {
		t.Errorf("Run() = %v", err)
	}
}

// TestQuote gives quoted arguments to a real POSIX shell, which must hand each
// of them on as it was.
func TestQuote(t *testing.T) {
	cases := map[string]struct{ reason, word string }{
		"plain":     {"needs no quotes", "/etc/pve/nodes/pve1/lxc/101.conf"},
		"empty":     {"still a word", ""},
		"blank":     {"one word", "a b"},
		"quote":     {"the one character that quotes cannot hold", "it's"},
		"quotes":    {"many of them", "''\"'"},
		"variable":  {"no meaning", "$HOME ${x} $(id) `id`"},
		"glob":      {"no meaning", "/etc/* ?[a]{b,c} ~"},
		"line":      {"a new line ends no command", "a\nreboot"},
		"operators": {"no meaning", "a;b|c&d>e<f#g!h\\i"},
		"dash":      {"an option stays one", "--mp0=/srv,mp=/x"},
		"UTF-8":     {"as it is", "Grüße, 世界"},
		"bytes":     {"not even text", "\xff\x01\x7f"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			line, err := Quote([]string{"printf", "%s|", c.word, "end"})
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
			if err != nil || string(out) != c.word+"|end|" {
				t.Errorf("%s: %s gives %q, %v", c.reason, line, out, err)
			}
		})
	}
	for _, bad := range [][]string{nil, {""}, {"echo", "a\x00b"}} {
		if line, err := Quote(bad); err == nil {
			t.Errorf("%q became %q", bad, line)
		}
	}
	if _, err := (&Conn{}).Run(t.Context(), nil, nil); err == nil {
		t.Error("no command at all was run")
	}
}

func TestKeyIsNotShown(t *testing.T) {
	_, key := newKey(t)
	shown := fmt.Sprintf("%v %+v", SSH{Key: key}, SSH{Key: key})
	if strings.Contains(shown, "PRIVATE") || !strings.Contains(shown, key.String()) {
		t.Errorf("a configuration prints as %s", shown)
	}
}
