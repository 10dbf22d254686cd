// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// logIn opens a connection to a node, with its host key pinned.
func logIn(t *testing.T, n pve.SSHNode, user string) (*ssh.Client, error) {
	t.Helper()
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(n.HostKey))
	if err != nil {
		t.Fatalf("read host key: %v", err)
	}
	key, err := ssh.ParsePrivateKey(n.ClientKeyPEM)
	if err != nil {
		t.Fatalf("read client key: %v", err)
	}
	c, err := ssh.Dial("tcp", n.Address, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(host),
	})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// execute runs a command in a session of its own.
func execute(t *testing.T, c *ssh.Client, command, input string) (stdout, stderr string, exit int) {
	t.Helper()
	session, err := c.NewSession()
	if err != nil {
		t.Fatalf("open a session: %v", err)
	}
	defer session.Close()
	var out, errs strings.Builder
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(input), &out, &errs
	err = session.Run(command)
	var status *ssh.ExitError
	switch {
	case errors.As(err, &status):
		exit = status.ExitStatus()
	case err != nil:
		t.Fatalf("run %q: %v", command, err)
	}
	return out.String(), errs.String(), exit
}

func sshSite(t *testing.T) (*pve.Server, *ssh.Client) {
	t.Helper()
	s := start(t, pve.Options{Nodes: []string{"pve1", "pve2"}, NoTemplate: true, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Config: plain, Running: true},
		{VMID: 102, Kind: "lxc", Node: "pve2", Config: strings.ReplaceAll(plain, "101", "102")},
		{VMID: 201, Kind: "qemu", Config: "memory: 512\nname: v\nscsi0: local-lvm:vm-201-disk-0,size=4G\n"},
	}})
	c, err := logIn(t, s.SSH[0], "root")
	if err != nil {
		t.Fatalf("log in: %v", err)
	}
	return s, c
}

func TestSSHCommands(t *testing.T) {
	s, c := sshSite(t)
	digest := func(vmid int) string { g, _ := s.Guest(vmid); return g.Digest }
	const a, b, v = "/etc/pve/nodes/pve1/lxc/101.conf", "/etc/pve/nodes/pve2/lxc/102.conf", "/etc/pve/nodes/pve1/qemu-server/201.conf"
	sum := func(vmid int, path string) string { return digest(vmid) + "  " + path + "\n" }
	for _, tc := range []struct {
		reason, command, input string
		stdout, stderr         string
		exit                   int
	}{
		{"nothing", "true", "", "", "", 0},
		{"the node's name", "hostname", "", "pve1\n", "", 0},
		{"the digests of every guest are the API's", "sha1sum /etc/pve/nodes/*/{lxc,qemu-server}/*.conf 2>/dev/null", "", sum(101, a) + sum(102, b) + sum(201, v), "", 0},
		{"a pattern without a match complains, the rest stands", "sha1sum /etc/pve/nodes/pve2/lxc/*.conf /etc/pve/nodes/pve2/qemu-server/*.conf", "",
			sum(102, b), "sha1sum: /etc/pve/nodes/pve2/qemu-server/*.conf: No such file or directory\n", 1},
		{"a configuration", "cat /etc/pve/lxc/101.conf", "", plain, "", 0},
		{"a missing file", "cat /nope", "", "", "cat: /nope: No such file or directory\n", 1},
		{"an unknown command", "frobnicate --hard", "", "", "bash: line 1: frobnicate: command not found\n", 127},
		{"sh -c with quotes and variables", `sh -c 'x="a  b"; echo "$x" $1' name arg`, "", "a  b arg\n", "", 0},
		{"a pipe", "cat /etc/hostname | sha1sum", "", "de3778f96de41d04023c7181b609cc148f9e9eb4  -\n", "", 0},
		{"redirections", "echo one > /tmp/x; echo two >> /tmp/x; cat < /tmp/x", "", "one\ntwo\n", "", 0},
		{"an exit status", "sh -c 'exit 7'", "", "", "", 7},
		{"standard input", "cat", "from afar", "from afar", "", 0},
		{"a script on standard input", "bash -s", "echo hi\n", "hi\n", "", 0},
		{"a program's place", "command -v pct", "", "/usr/bin/pct\n", "", 0},
		{"a program that is not there", "command -v go", "", "", "", 1},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			stdout, stderr, exit := execute(t, c, tc.command, tc.input)
			if stdout != tc.stdout || stderr != tc.stderr || exit != tc.exit {
				t.Errorf("%s:\nstdout %q, want %q\nstderr %q, want %q\nexit %d, want %d", tc.command, stdout, tc.stdout, stderr, tc.stderr, exit, tc.exit)
			}
		})
	}
}

func TestSSHSetsWhatNoTokenMay(t *testing.T) {
	s, c := sshSite(t)
	locked := func() { _ = s.SetLock(101, "backup") }
	for _, tc := range []struct {
		reason, command string
		before          func()
		stderr          string
		exit            int
		vmid            int
		key, want       string
	}{
		{"a bind mount, on a running container", "pct set 101 --mp0 /srv/data,mp=/data", nil, "", 0, 101, "mp0", "/srv/data,mp=/data"},
		{"features", "pct set 101 -features nesting=1,keyctl=1 --tags=b,a", nil, "", 0, 101, "tags", "a;b"},
		{"a device", "pct set 101 --dev0 /dev/fuse,mode=0666", nil, "", 0, 101, "dev0", ""},
		{"arguments of a VM", `qm set 201 --args '-cpu host' --onboot 1`, nil, "", 0, 201, "args", "-cpu host"},
		{"a deletion", "pct set 101 --delete tags", nil, "", 0, 101, "tags", ""},
		{"a wrong value", "pct set 101 --memory abc", nil,
			"400 Parameter verification failed.\nmemory: type check ('integer') failed - got 'abc'\npct set <vmid> [OPTIONS]\n", 255, 101, "memory", "512"},
		{"an unknown option", "pct set 101 --frob 1", nil, "Unknown option: frob\n400 unable to parse option\npct set <vmid> [OPTIONS]\n", 255, 101, "memory", "512"},
		{"no guest", "pct set", nil, "400 not enough arguments\npct set <vmid> [OPTIONS]\n", 255, 101, "memory", "512"},
		{"a missing guest", "pct set 999 --memory 64", nil, "Configuration file 'nodes/pve1/lxc/999.conf' does not exist\n", 255, 101, "memory", "512"},
		{"another node's guest", "pct set 102 --memory 64", nil, "Configuration file 'nodes/pve1/lxc/102.conf' does not exist\n", 255, 102, "memory", "512"},
		{"a stale digest", "pct set 101 --memory 64 --digest 00", nil, "detected modified configuration - file changed by other user? Try again.\n", 255, 101, "memory", "512"},
		{"a locked guest", "pct set 101 --memory 64", locked, "CT is locked (backup)\n", 255, 101, "memory", "512"},
		{"the lock taken away", "pct unlock 101 && pct set 101 --memory 64", nil, "", 0, 101, "memory", "64"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if tc.before != nil {
				tc.before()
			}
			_, stderr, exit := execute(t, c, tc.command, "")
			if stderr != tc.stderr || exit != tc.exit {
				t.Errorf("%s: exit %d, want %d; stderr %q, want %q", tc.command, exit, tc.exit, stderr, tc.stderr)
			}
			if g, _ := s.Guest(tc.vmid); g.Options[tc.key] != tc.want {
				t.Errorf("%s: %s is %q, want %q", tc.command, tc.key, g.Options[tc.key], tc.want)
			}
		})
	}
	if g, _ := s.Guest(101); g.Pending["dev0"] != "/dev/fuse,mode=0666" || g.Pending["features"] != "nesting=1,keyctl=1" {
		t.Errorf("what waits for the stop: %v", g.Pending)
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("the command line made %d API requests", n)
	}
}

func TestSSHRefusesStrangers(t *testing.T) {
	s, _ := sshSite(t)
	other := start(t, pve.Options{})
	if _, err := logIn(t, s.SSH[0], "nobody"); err == nil {
		t.Error("another user was let in")
	}
	stolen := s.SSH[0]
	stolen.ClientKeyPEM = other.SSH[0].ClientKeyPEM
	if _, err := logIn(t, stolen, "root"); err == nil {
		t.Error("another key was let in")
	}
	masked := s.SSH[0]
	masked.HostKey = s.SSH[1].HostKey
	if _, err := logIn(t, masked, "root"); err == nil {
		t.Error("the nodes share a host key")
	}
	s.SetNodeOnline("pve2", false, 0)
	if _, err := logIn(t, s.SSH[1], "root"); err == nil {
		t.Error("a dead node let somebody in")
	}
}

// TestCanary runs what would read, change or reveal the computer that runs the
// simulator, and finds a canary there unharmed and unseen.
func TestCanary(t *testing.T) {
	s, _ := sshSite(t)
	dir := t.TempDir()
	canary, made := filepath.Join(dir, "canary"), filepath.Join(dir, "made")
	if err := os.WriteFile(canary, []byte("TWEET"), 0o600); err != nil {
		t.Fatalf("set the canary: %v", err)
	}
	t.Setenv("CANARY", "TWEET")
	for _, tc := range []struct{ reason, command string }{
		{"read it", "cat " + canary},
		{"read it by redirection", "cat < " + canary},
		{"read it by the shell", `x=$(<` + canary + `); echo "$x"`},
		{"read it line by line", "read x < " + canary + "; echo $x"},
		{"run it", ". " + canary + "; source " + canary + "; sh " + canary},
		{"overwrite it", "echo gone > " + canary},
		{"append to it", "echo gone >> " + canary},
		{"make a file beside it", "echo made > " + made + "; sha1sum " + canary + " &> " + made},
		{"remove it", "rm -rf " + dir + "; /bin/rm " + canary + "; exec rm " + canary},
		{"touch", "touch " + made + "; /usr/bin/touch " + made},
		{"find it by a pattern", "echo " + dir + "/can*; for f in " + dir + "/*; do cat $f; done"},
		{"test for it", "test -e " + canary + " && echo TWEET; [[ -f " + canary + " ]] && echo TWEET; [ -r " + canary + " ] && echo TWEET"},
		{"go there", "cd " + dir + " && echo TWEET; cd " + dir + " && cat canary"},
		{"look for programs", "command -v git && echo TWEET; type go && echo TWEET; hash perl && echo TWEET"},
		{"process substitution", "cat <(echo TWEET); echo x > >(cat > " + made + ")"},
		{"the environment", "echo $CANARY; env; printenv"},
		{"an interpreter", "python3 -c 'print(open(\"" + canary + "\").read())'; perl -e 1; go version && echo TWEET"},
		{"another shell", "bash -c 'cat " + canary + "'; bash -c 'rm " + canary + "'; eval 'cat " + canary + "'"},
		{"a here document", "cat <<EOF\n$(cat " + canary + ")\nEOF"},
		{"a trap", "trap 'cat " + canary + "' EXIT; exit 0"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			stdout, stderr, _ := s.Run(t.Context(), "pve1", tc.command)
			if strings.Contains(stdout+stderr, "TWEET") {
				t.Errorf("%s: stdout %q stderr %q", tc.command, stdout, stderr)
			}
			text, err := os.ReadFile(canary)
			if err != nil || string(text) != "TWEET" {
				t.Fatalf("%s: the canary is %q, %v", tc.command, text, err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 {
				t.Fatalf("%s: %d files beside the canary, %v", tc.command, len(entries), err)
			}
		})
	}
}
