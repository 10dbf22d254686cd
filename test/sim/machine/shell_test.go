// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

func TestShell(t *testing.T) {
	m := booted(t, machine.Options{Hostname: "box"})
	play(t, m, []script{
		{"an unknown command", "frobnicate --hard", "", "", "bash: line 1: frobnicate: command not found\n", 127},
		{"an unknown command of sh", "sh -c 'frobnicate'", "", "", "sh: 1: frobnicate: not found\n", 127},
		{"a program of a package that is not there", "dig x", "", "", "bash: line 1: dig: command not found\n", 127},
		{"a script on standard input", "sh", "echo a\necho b >&2\nexit 3\n", "a\n", "b\n", 3},
		{"set -e ends at the first failure", "sh", "set -e\necho a\nfalse\necho b\n", "a\n", "", 1},
		{"set -e does not end in a condition", "sh", "set -e\nif false; then :; fi\nfalse || echo b\n", "b\n", "", 0},
		{"a mask of a subshell is its own", "sh", "umask 022; (umask 077; : > /root/a); : > /root/b; stat -c '%a %U' /root/a /root/b; umask", "600 root\n644 root\n0022\n", "", 0},
		{"a mask inside a function", "sh", "f() { umask 077; echo secret > /root/c; }\nf\nstat -c %a /root/c", "600\n", "", 0},
		{"traps of signals that never come", "sh", "trap '' HUP PIPE\ntrap 'echo bye' EXIT INT\necho hi", "hi\nbye\n", "", 0},
		{"an exit trap sees the status and keeps it", "sh", "trap 'echo $?' EXIT\nexit 4", "4\n", "", 4},
		{"an exit trap at the end", "sh", "trap 'echo $?' EXIT\nfalse", "1\n", "", 1},
		{"a shell's number stays the same in it", "sh", `a=$$; b=$(echo $$); eval 'c=$$'; [ "$a" = "$b" ] && [ "$a" = "$c" ] && echo same`, "same\n", "", 0},
		{"a here document with expansion, and one without", "sh", "x=1\ncat <<EOF\n$x `echo 2`\nEOF\ncat <<'EOF'\n$x\nEOF\n", "1 2\n$x\n", "", 0},
		{"functions, local variables, loops", "sh", "f() { local x=$1; for i in 1 2; do echo $x$i; done; return 5; }\nf a || echo $?", "a1\na2\n5\n", "", 0},
		{"exec redirects the rest", "sh", "exec 2>&1\necho out >&2", "out\n", "", 0},
		{"exec replaces the shell", "sh", "exec echo a\necho b", "a\n", "", 0},
		{"background and wait", "sh", "(echo a; exit 3) & wait $!; echo $?", "a\n3\n", "", 0},
		{"what stands before a syntax error has run", "sh", "echo a\nif\n", "a\n", "sh: 2:1: `if` must be followed by a statement list\n", 2},
		{"a half of a compound command does nothing", "sh", "{\necho a\n", "", "sh: 1:1: reached EOF without matching `{` with `}`\n", 2},
		{"bash's brackets in sh", "sh -c '[[ a = a ]]'", "", "", "sh: 1: Syntax error: [[ is bash's\n", 2},
		{"bash's arrays in sh", "sh -c 'a=(1 2)'", "", "", "sh: 1: Syntax error: \"(\" unexpected\n", 2},
		{"bash's pipefail in sh", "sh -c 'set -o pipefail'", "", "", "sh: 1: set: Illegal option -o pipefail\n", 2},
		{"echo of sh gives backslashes a meaning", `sh -c 'echo "a\nb"'; echo "a\nb"`, "", "a\nb\na\\nb\n", "", 0},
		{"printf, arithmetic, parameter expansion", `sh -c 'printf "%s-%d\n" "$1" $((2+3)); x=a.b.c; echo ${x%%.*} ${x##*.}' n v`, "", "v-5\na c\n", "", 0},
		{"case and patterns", "sh", "case /etc/x in /etc/*) echo yes;; esac; for f in /etc/host*; do echo $f; done", "yes\n/etc/hostname\n/etc/hosts\n", "", 0},
		{"read lines", "sh", "printf 'a b\\nc d\\n' | while read -r x y; do echo $y; done", "b\nd\n", "", 0},
		{"standard input reaches a command", "cat", "from afar", "from afar", "", 0},
		{"a file that is a script", "printf '#!/bin/sh\\necho $1\\n' > /usr/local/bin/mine; chmod 755 /usr/local/bin/mine; mine x; /usr/local/bin/mine y", "", "x\ny\n", "", 0},
		{"a file without the permission", "printf '#!/bin/sh\\n' > /root/s; /root/s", "", "", "/root/s: Permission denied\n", 126},
		{"where programs are", "command -v sh stat; command -v dig || echo none", "", "/usr/bin/sh\n/usr/bin/stat\nnone\n", "", 0},
		{"where one is", "mkdir /srv/there && ln -s /srv/there /srv/here && cd /srv/here && readlink /proc/self/cwd", "", "/srv/there\n", "", 0},
		{"links of folders", "readlink -f /bin/sh; cat /var/run/none", "", "/usr/bin/sh\n", "cat: /var/run/none: No such file or directory\n", 1},
		{"what a program's environment is", "env -i A=1 env; sh -c 'x=1; export y=2; env' | grep -c SIM_", "", "A=1\n0\n", "", 1},
		{"timeout", "timeout 0.05 sleep 5; echo $?", "", "124\n", "", 0},
		{"a pipe's reader that leaves", "sh -c 'for i in 1 2 3 4 5; do echo $i; done | head -n1'", "", "1\n", "", 0},
		{"the name of the machine", "hostname; cat /etc/hostname", "", "box\nbox\n", "", 0},
	})
}

func TestFilePrograms(t *testing.T) {
	m := booted(t, machine.Options{})
	play(t, m, []script{
		{"make folders", "mkdir -p -m 750 /srv/a/b && stat -c '%F %a %n' /srv/a /srv/a/b", "", "directory 755 /srv/a\ndirectory 750 /srv/a/b\n", "", 0},
		{"make a folder twice", "mkdir /srv/a", "", "", "mkdir: cannot create directory ‘/srv/a’: File exists\n", 1},
		{"a folder that is not there", "echo x > /nope/x", "", "", "open bash: line 1: /nope/x: No such file or directory\n", 1},
		{"write, append, sizes", "echo one > /srv/f; echo two >> /srv/f; wc -c < /srv/f; cat /srv/f", "", "8\none\ntwo\n", "", 0},
		{"owner, group, mode", "chown daemon:adm /srv/f && chmod 640 /srv/f && stat -c '%U:%G %a %u:%g %s' /srv/f", "", "daemon:adm 640 1:4 8\n", "", 0},
		{"an unknown owner", "chown nobodyelse /srv/f", "", "", "chown: invalid user: ‘nobodyelse’\n", 1},
		{"symbolic modes", "chmod u+x,g-r,o=r /srv/f && stat -c '%a %A' /srv/f; chmod 0600 /srv/f", "", "704 -rwx---r--\n", "", 0},
		{"rename over a file keeps owner and mode", "echo new > /srv/.f; chmod 444 /srv/.f; mv -f /srv/.f /srv/f; stat -c '%a %U' /srv/f; cat /srv/f", "", "444 root\nnew\n", "", 0},
		{"move into a folder, and not into one", "touch /srv/g; mv /srv/g /srv/a; ls /srv/a; mv -T /srv/a/g /srv/a/b", "", "b\ng\n", "mv: cannot move '/srv/a/g' to '/srv/a/b': Is a directory\n", 1},
		{"links", "ln -s f /srv/l; readlink /srv/l; cat /srv/l; stat -c '%F %N' /srv/l; ln -sfn a /srv/l; readlink -f /srv/l", "", "f\nnew\nsymbolic link '/srv/l' -> 'f'\n/srv/a\n", "", 0},
		{"a link in a circle", "ln -s /srv/x /srv/y; ln -s /srv/y /srv/x; cat /srv/x", "", "", "cat: /srv/x: Too many levels of symbolic links\n", 1},
		{"a link to nowhere takes a file there", "ln -s /srv/far /srv/near; echo x > /srv/near; cat /srv/far", "", "x\n", "", 0},
		{"copies", "cp -p /srv/f /srv/f2 && cp -a /srv/a /srv/a2 && stat -c '%a %n' /srv/f2 && ls /srv/a2; cp /srv/a /srv/z", "", "444 /srv/f2\nb\ng\n", "cp: -r not specified; omitting directory '/srv/a'\n", 1},
		{"remove", "rm /srv/a; rmdir /srv/a; rm -f /srv/none; rm /srv/none; rm -rf /srv/a /srv/a2; ls /srv", "", "f\nf2\nfar\nl\nnear\nx\ny\n",
			"rm: cannot remove '/srv/a': Is a directory\nrmdir: failed to remove '/srv/a': Directory not empty\nrm: cannot remove '/srv/none': No such file or directory\n", 0},
		{"install", "install -d -o daemon -g adm -m 2770 /srv/d; echo s | install -m 600 /dev/stdin /srv/d/s; stat -c '%a %U %G' /srv/d /srv/d/s", "", "2770 daemon adm\n600 root root\n", "", 0},
		{"temporary files", "f=$(mktemp /run/x.XXXXXX); d=$(mktemp -d); stat -c '%a %F' $f $d; mktemp /nope/XXXXXX >/dev/null", "", "600 regular empty file\n700 directory\n",
			"mktemp: failed to create file via template ‘/nope/XXXXXX’: No such file or directory\n", 1},
		{"find", "mkdir -p /srv/e/f; touch /srv/e/a.conf /srv/e/f/b.conf; find /srv/e -maxdepth 1 -type f -name '*.conf'; find /srv/e -type d", "", "/srv/e/a.conf\n/srv/e\n/srv/e/f\n", "", 0},
		{"find links to nowhere", "ln -s none.conf /srv/e/n; ln -s n /srv/e/o; ln -s none.txt /srv/e/t; ln -s a.conf /srv/e/l; find /srv/e -xtype l; find /srv/e -xtype l -lname 'n*' ! -delete; find /srv/e -xtype l -lname '*n*.conf' -delete; find /srv/e -type l", "",
			"/srv/e/n\n/srv/e/o\n/srv/e/t\n/srv/e/l\n/srv/e/o\n/srv/e/t\n", "find: unknown predicate `!'\n", 0},
		{"tests", "[ -f /srv/f ] && [ -d /srv/d ] && [ ! -e /none ] && [ -L /srv/l ] && [ -s /srv/f ] && test -x /usr/bin/sh && ! test -x /srv/f && echo all", "", "all\n", "", 0},
		{"digests", "printf abc | sha256sum; printf abc | sha1sum; printf abc > /srv/abc; sha256sum /srv/abc /srv/nope", "",
			"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\na9993e364706816aba3e25717850c26c9cd0d89d  -\nba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  /srv/abc\n",
			"sha256sum: /srv/nope: No such file or directory\n", 1},
		{"base64", "printf 'a\\001b' | base64; echo YQFi | base64 -d | wc -c; echo '!' | base64 -d", "", "YQFi\n3\n", "base64: invalid input\n", 1},
		{"null", "echo x > /dev/null; cat /dev/null; stat -c %F /dev/null", "", "character special file\n", "", 0},
	})
}

func TestTextPrograms(t *testing.T) {
	m := booted(t, machine.Options{})
	play(t, m, []script{
		{"grep", "printf 'a\\nb.c\\nbxc\\n' > /t; grep -c b /t; grep -F b.c /t; grep -x 'b.c' /t | wc -l; grep -qxF bxc /t && echo yes; grep z /t", "", "2\nb.c\n2\nyes\n", "", 1},
		{"grep of several", "grep -E '^(a|bx)' /t; grep -v a /t | head -n1; grep -s x /none; echo $?", "", "a\nbxc\nb.c\n2\n", "", 0},
		{"grep of many files", "cp /t /u; grep -l a /t /u; grep -h bx /t /u; grep a /t /u", "", "/t\n/u\nbxc\nbxc\n/t:a\n/u:a\n", "", 0},
		{"sed", `printf 'x=1\ny=2\nz=3\n' | sed -e 's/^y=\(.*\)$/Y:\1/' -e '/^z/d'; printf 'a/b/c\n' | sed 's|/|-|g'; printf '1\n2\n3\n' | sed -n '2,$p'`, "", "x=1\nY:2\na-b-c\n2\n3\n", "", 0},
		{"cut, tr, sort, uniq", "printf 'b:1\\na:2\\nb:1\\n' | cut -d: -f1 | sort | uniq -c | tr -s ' '; echo aBc | tr 'a-z' 'A-Z'; printf '10\\n9\\n' | sort -n; echo a,b | tr -d ,", "",
			" 1 a\n 2 b\nABC\n9\n10\nab\n", "", 0},
		{"head and tail", "printf '1\\n2\\n3\\n' > /n; head -n 1 /n; tail -n 1 /n; head -c 2 /n; tail -n +2 /n", "", "1\n3\n1\n2\n3\n", "", 0},
		{"xargs", "printf 'a b\\nc' | xargs -n1 echo x; printf 'a\\0b c\\0' | xargs -0 printf '<%s>\\n'; printf '' | xargs -r echo none", "", "x a\nx b\nx c\n<a>\n<b c>\n", "", 0},
		{"tee and cmp", "echo x | tee /a /b >/dev/null; cmp -s /a /b && echo same; echo y | tee -a /b; cmp /a /b", "", "same\ny\n", "cmp: EOF on /a after byte 2\n", 1},
		{"accounts", "id -u; id -un; getent passwd root; getent group nogroup; id -u nobody; id who", "", "0\nroot\nroot:x:0:0:root:/root:/bin/bash\nnogroup:x:65534:\n65534\n", "id: ‘who’: no such user\n", 1},
		{"the system", ". /etc/os-release; echo $ID $VERSION_ID; uname -m; nproc; date -u -d @0 +%F", "", "debian 12\nx86_64\n2\n1970-01-01\n", "", 0},
	})
}

// TestCanary runs what would read, change or reveal the computer that runs the
// simulator, and finds a canary there unharmed and unseen.
func TestCanary(t *testing.T) {
	m := booted(t, machine.Options{})
	dir := t.TempDir()
	canary, made := filepath.Join(dir, "canary"), filepath.Join(dir, "made")
	if err := os.WriteFile(canary, []byte("TWEET"), 0o600); err != nil {
		t.Fatalf("set the canary: %v", err)
	}
	t.Setenv("CANARY", "TWEET")
	for _, tc := range []struct{ reason, command string }{
		{"read it", "cat " + canary + "; head " + canary + "; base64 " + canary + "; sha256sum " + canary + "; grep . " + canary + "; sed '' " + canary},
		{"read it by redirection", "cat < " + canary},
		{"read it by the shell", `x=$(<` + canary + `); echo "$x"; read y < ` + canary + `; echo $y; mapfile z < ` + canary + `; echo $z`},
		{"run it", ". " + canary + "; source " + canary + "; sh " + canary + "; bash " + canary + "; " + canary},
		{"overwrite it", "echo gone > " + canary + "; echo gone >> " + canary + "; echo gone >| " + canary + "; : <> " + canary},
		{"make a file beside it", "mkdir -p " + dir + "; echo made > " + made + "; sha1sum " + canary + " &> " + made + "; touch " + made + "; tee " + made + " < /dev/null"},
		{"remove it", "rm -rf " + dir + "; /bin/rm " + canary + "; exec rm " + canary},
		{"move it", "mv " + canary + " " + made + "; cp " + canary + " " + made + "; ln -s / /x; cat /x" + canary},
		{"find it by a pattern", "echo " + dir + "/can*; for f in " + dir + "/*; do cat $f; done; find " + dir + "; ls " + dir},
		{"test for it", "test -e " + canary + " && echo TWEET; [[ -f " + canary + " ]] && echo TWEET; [ -r " + canary + " ] && echo TWEET; [ -O " + canary + " ] && echo TWEET"},
		{"go there", "cd " + dir + "/.. && cat */canary; cd " + dir + " && cat canary; pushd " + dir + " && cat canary"},
		{"look for programs", "command -v go && echo TWEET; type python3 && echo TWEET; hash git && echo TWEET"},
		{"process substitution", "cat <(echo TWEET); echo x > >(cat > " + made + ")"},
		{"the environment", "echo $CANARY; env; printenv; sh -c 'echo $CANARY'"},
		{"an interpreter", "python3 -c 'print(open(\"" + canary + "\").read())'; perl -e 1; go version && echo TWEET"},
		{"another shell", "bash -c 'cat " + canary + "'; sh -c 'rm " + canary + "'; eval 'cat " + canary + "'; sh " + canary},
		{"a here document", "cat <<EOF\n$(cat " + canary + ")\nEOF"},
		{"a trap", "trap 'cat " + canary + "' EXIT; exit 0"},
		{"a unit", "systemd-run --wait --unit=x cat " + canary + "; journalctl -u x; systemd-run --wait --unit=y sh -c 'rm " + canary + "'"},
		{"a mount", "mount --bind " + dir + " /mnt; cat /mnt/canary; mount -t nfs 127.0.0.1:" + dir + " /mnt; cat /mnt/canary"},
		{"links through /proc", "cat /proc/self/root" + canary + "; cat /proc/1/environ; ls -l /proc/self/fd; cat /dev/fd/0"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			stdout, stderr, _ := run(t, m, tc.command, "")
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
