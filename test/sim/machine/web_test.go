// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const (
	getIt   = "curl -fsSL --proto '=http,https' --connect-timeout 2 --max-time 2 -o /var/tmp/got -- "
	account = "useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "
)

func TestAccounts(t *testing.T) {
	m := booted(t, machine.Options{})
	play(t, m, []script{
		{"a system user with a group of its name", account + "step-ca; getent passwd step-ca; getent group step-ca; id step-ca; tail -n1 /etc/shadow | cut -d: -f1,2; stat -c %a /etc/shadow", "",
			"step-ca:x:999:999::/nonexistent:/usr/sbin/nologin\nstep-ca:x:999:\nuid=999(step-ca) gid=999(step-ca) groups=999(step-ca)\nstep-ca:!\n640\n", "", 0},
		{"it is there", account + "step-ca", "", "", "useradd: user 'step-ca' already exists\n", 9},
		{"the group is there", "groupadd --system media; " + account + "media", "", "", "useradd: group media exists - if you want to add this user to that group, use -g.\n", 9},
		{"in that group", "useradd -r -g media -d /srv/media -m -s /bin/sh media; getent passwd media; stat -c %U:%G /srv/media", "", "media:x:997:998::/srv/media:/bin/sh\nmedia:media\n", "", 0},
		{"a name that is none", account + "'Bad:x'", "", "", "useradd: invalid user name 'Bad:x': use --badname to ignore\n", 3},
		{"a shell that is none", "useradd --system -s sh four", "", "", "useradd: invalid shell 'sh'\n", 3},
		{"a group that is none", "useradd --system -g nobodys four", "", "", "useradd: group 'nobodys' does not exist\n", 6},
		{"a person counts up", "useradd ann; getent passwd ann", "", "ann:x:1000:1000::/home/ann:/bin/sh\n", "", 0},
		{"a number that is taken", "useradd -u 999 bob", "", "", "useradd: UID 999 is not unique\n", 4},
		{"a group that is there", "groupadd media; groupadd -f media", "", "", "groupadd: group 'media' already exists\n", 0},
		{"files are theirs", "echo x > /srv/x; chown step-ca: /srv/x; stat -c %U:%G /srv/x", "", "step-ca:step-ca\n", "", 0},
	})
}

func TestCurl(t *testing.T) {
	web := machine.NewMirror()
	web.Put("http://mirror.test/a", []byte("hello"))
	web.Put("https://mirror.test/a", []byte("secret"))
	m := booted(t, machine.Options{Web: web.Get, Installed: []string{"curl"}})
	alone := booted(t, machine.Options{Installed: []string{"curl"}})
	play(t, booted(t, machine.Options{}), []script{{"curl is a package", "curl x", "", "", "bash: line 1: curl: command not found\n", 127}})
	play(t, alone, []script{
		{"no way out", getIt + "http://mirror.test/a", "", "", "curl: (6) Could not resolve host: mirror.test\n", 6},
		{"no way out by address", getIt + "http://192.0.2.1/a", "", "", "curl: (7) Failed to connect to 192.0.2.1 port 80 after 0 ms: Couldn't connect to server\n", 7},
	})
	play(t, m, []script{
		{"a file", getIt + "http://mirror.test/a; cat /var/tmp/got", "", "hello", "", 0},
		{"a file that is not there", getIt + "http://mirror.test/b", "", "", "curl: (22) The requested URL returned error: 404\n", 22},
		{"without -f it is an answer", "curl -s -o /dev/null -w '%{http_code}' http://mirror.test/b", "", "404", "", 0},
		{"an unknown host", getIt + "http://nowhere.test/a", "", "", "curl: (6) Could not resolve host: nowhere.test\n", 6},
		{"another protocol", getIt + "ftp://mirror.test/a", "", "", "curl: (1) Protocol \"ftp\" not supported or disabled in libcurl\n", 1},
		{"a folder that is not there", "curl -fsSL -o /nowhere/x http://mirror.test/a", "", "", "curl: (23) Failure writing output to destination\n", 23},
		{"no URL", "curl -fsSL", "", "", "curl: no URL specified!\ncurl: try 'curl --help' or 'curl --manual' for more information\n", 2},
		{"not a URL", "curl -fsSL http://", "", "", "curl: (3) URL using bad/illegal format or missing URL\n", 3},
		{"an unknown option", "curl --frob", "", "", "curl: option --frob: is unknown\ncurl: try 'curl --help' or 'curl --manual' for more information\n", 2},
		{"silent", "curl -s http://nowhere.test/a", "", "", "", 6},
		{"TLS without certificates that are trusted", getIt + "https://mirror.test/a", "", "", "curl: (77) error setting certificate file: /etc/ssl/certs/ca-certificates.crt\n", 77},
		{"TLS", "apt-get update >/dev/null; apt-get install -y ca-certificates >/dev/null; " + getIt + "https://mirror.test/a; cat /var/tmp/got", "", "secret", "", 0},
	})
	faults := []struct {
		reason string
		status int
		err    error
		stderr string
		exit   int
	}{
		{"the server refuses", http.StatusServiceUnavailable, nil, "curl: (22) The requested URL returned error: 503\n", 22},
		{"nobody listens", 0, syscall.ECONNREFUSED, "curl: (7) Failed to connect to mirror.test port 80 after 0 ms: Couldn't connect to server\n", 7},
		{"nobody answers", 0, context.DeadlineExceeded, "curl: (28) Operation timed out after 2000 milliseconds with 0 bytes received\n", 28},
		{"the connection breaks", 0, machine.ErrCutShort, "curl: (18) transfer closed with outstanding read data remaining\n", 18},
	}
	for _, tc := range faults {
		web.Fail("http://mirror.test/*", 1, tc.status, tc.err)
		play(t, m, []script{
			{tc.reason, getIt + "http://mirror.test/a", "", "", tc.stderr, tc.exit},
			{tc.reason + ", once", getIt + "http://mirror.test/a; cat /var/tmp/got", "", "hello", "", 0},
		})
	}
	if n := len(web.Requests()); n < 10 {
		t.Errorf("the mirror counted %d requests", n)
	}
}

func archive(t *testing.T, name, text string) (zipped, plain string) {
	t.Helper()
	var flat, small bytes.Buffer
	w := tar.NewWriter(&flat)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&small)
	for _, err := range []error{second(w.Write([]byte(text))), w.Close(), second(z.Write(flat.Bytes())), z.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return small.String(), flat.String()
}

func second(_ int, err error) error { return err }

func TestTar(t *testing.T) {
	m := booted(t, machine.Options{})
	zipped, plain := archive(t, "a_1/p", "prog\n")
	for name, text := range map[string]string{"/srv/a.tgz": zipped, "/srv/a.tar": plain, "/srv/junk": "junk\n", "/srv/cut.tgz": zipped[:40]} {
		if err := m.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const notZipped = "\ngzip: stdin: not in gzip format\ntar: Child returned status 1\ntar: Error is not recoverable: exiting now\n"
	play(t, m, []script{
		{"a member", "tar -xzOf /srv/a.tgz a_1/p", "", "prog\n", "", 0},
		{"a member of a plain archive", "tar -xOf /srv/a.tar a_1/p", "", "prog\n", "", 0},
		{"tar finds out what it is", "tar -xOf /srv/a.tgz -- a_1/p", "", "prog\n", "", 0},
		{"what is in it", "tar tzf /srv/a.tgz", "", "a_1/p\n", "", 0},
		{"another member", "tar -xzOf /srv/a.tgz a_1/q", "", "", "tar: a_1/q: Not found in archive\ntar: Exiting with failure status due to previous errors\n", 2},
		{"not zipped", "tar -xzOf /srv/a.tar a_1/p", "", "", notZipped, 2},
		{"no archive", "tar -xOf /srv/junk a", "", "", "tar: This does not look like a tar archive\ntar: a: Not found in archive\ntar: Exiting with failure status due to previous errors\n", 2},
		{"half of an archive", "tar -xzOf /srv/cut.tgz a_1/p", "", "", strings.Replace(notZipped, "not in gzip format", "unexpected end of file", 1), 2},
		{"no file", "tar -xzOf /srv/none a", "", "", "tar (child): /srv/none: Cannot open: No such file or directory\ntar (child): Error is not recoverable: exiting now\ntar: Child returned status 2\ntar: Error is not recoverable: exiting now\n", 2},
	})
}

func TestTrustStore(t *testing.T) {
	m := booted(t, machine.Options{})
	const update = "update-ca-certificates"
	said := func(added, removed string) string {
		return "Updating certificates in /etc/ssl/certs...\n" + added + " added, " + removed + " removed; done.\nRunning hooks in /etc/ca-certificates/update.d...\ndone.\n"
	}
	const cleared = "Clearing symlinks in /etc/ssl/certs...\ndone.\n"
	count := "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt"
	play(t, m, []script{
		{"it is a package", update, "", "", "bash: line 1: " + update + ": command not found\n", 127},
		{"which makes the bundle", "apt-get update -q >/dev/null; apt-get install -y ca-certificates >/dev/null; " + count + "; ls /etc/ssl/certs", "", "1\nSimulated_Public_Root.pem\nca-certificates.crt\n", "", 0},
		{"a root of one's own", "cp /usr/share/ca-certificates/mozilla/*.crt /usr/local/share/ca-certificates/own.crt; " + update + "; " + count + "; readlink /etc/ssl/certs/own.pem", "",
			said("1", "0") + "2\n/usr/local/share/ca-certificates/own.crt\n", "", 0},
		{"again", update, "", said("0", "0"), "", 0},
		{"only .crt counts", "cp /usr/local/share/ca-certificates/own.crt /usr/local/share/ca-certificates/own.pem; " + update, "", said("0", "0"), "", 0},
		{"a root that goes leaves the bundle, its link stays", "rm /usr/local/share/ca-certificates/own.*; " + update + "; " + count + "; ls /etc/ssl/certs | grep -c own", "", said("0", "0") + "1\n1\n", "", 0},
		{"until all is made fresh", update + " --fresh; ls /etc/ssl/certs | grep -c own", "", cleared + said("1", "0") + "0\n", "", 1},
	})
}
