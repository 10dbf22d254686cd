// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

const loop = "[Unit]\nDescription=A job\n[Service]\nExecStart=/usr/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"

func TestUnits(t *testing.T) {
	m := booted(t, machine.Options{})
	if err := m.WriteFile("/etc/systemd/system/job.service", loop, 0o644); err != nil {
		t.Fatal(err)
	}
	show := "systemctl show -p LoadState,ActiveState,SubState,UnitFileState job"
	play(t, m, []script{
		{"a unit that was never started", show, "", "LoadState=loaded\nActiveState=inactive\nSubState=dead\nUnitFileState=disabled\n", "", 0},
		{"not enabled, not active", "systemctl is-enabled job; systemctl is-active job", "", "disabled\ninactive\n", "", 3},
		{"enable and start", "systemctl enable --now job; readlink /etc/systemd/system/multi-user.target.wants/job.service", "", "/etc/systemd/system/job.service\n",
			"Created symlink /etc/systemd/system/multi-user.target.wants/job.service → /etc/systemd/system/job.service.\n", 0},
		{"it runs", show + "; systemctl is-active job && systemctl is-enabled job.service", "", "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nactive\nenabled\n", "", 0},
		{"starting it again changes nothing", "a=$(systemctl show -P InvocationID job); systemctl start job; [ \"$a\" = \"$(systemctl show -P InvocationID job)\" ] && echo same", "", "same\n", "", 0},
		{"a restart is another invocation", "a=$(systemctl show -P InvocationID job); systemctl restart job; [ \"$a\" = \"$(systemctl show -P InvocationID job)\" ] || echo other", "", "other\n", "", 0},
		{"a changed file wants a reload", "echo '# x' >> /etc/systemd/system/job.service; systemctl show -P NeedDaemonReload job; systemctl daemon-reload; systemctl show -P NeedDaemonReload job", "", "yes\nno\n", "", 0},
		{"a drop-in too", "mkdir /etc/systemd/system/job.service.d; printf '[Unit]\\nDescription=B\\n' > /etc/systemd/system/job.service.d/x.conf; systemctl show -p NeedDaemonReload,DropInPaths job; systemctl daemon-reload; systemctl show -P Description job", "",
			"DropInPaths=\nNeedDaemonReload=yes\nB\n", "", 0},
		{"no way to reload it", "systemctl reload job", "", "", "Failed to reload job.service: Job type reload is not applicable for unit job.service.\n", 1},
		{"stop", "systemctl stop job; " + show + "; systemctl try-restart job; systemctl is-active job", "", "LoadState=loaded\nActiveState=inactive\nSubState=dead\nUnitFileState=enabled\ninactive\n", "", 3},
		{"disable", "systemctl disable job; systemctl is-enabled job", "", "disabled\n", "Removed \"/etc/systemd/system/multi-user.target.wants/job.service\".\n", 1},
		{"mask", "systemctl mask qemu-x 2>/dev/null; systemctl is-enabled qemu-x; systemctl start qemu-x", "", "masked\n", "Failed to start qemu-x.service: Unit qemu-x.service is masked.\n", 1},
		{"no such unit", "systemctl start nope", "", "", "Failed to start nope.service: Unit nope.service not found.\n", 5},
		{"no such unit to stop, enable, look at", "systemctl stop nope; systemctl enable nope; systemctl is-enabled nope; systemctl is-active nope; systemctl show -p LoadState,ActiveState nope", "",
			"inactive\nLoadState=not-found\nActiveState=inactive\n",
			"Failed to stop nope.service: Unit nope.service not loaded.\nFailed to enable unit: Unit file nope.service does not exist.\nFailed to get unit file state for nope.service: No such file or directory\n", 0},
		{"a unit that fails", "printf '[Service]\\nType=oneshot\\nExecStart=/usr/bin/sh -c \"echo why; exit 3\"\\n' > /etc/systemd/system/bad.service; systemctl start bad; systemctl show -p ActiveState,SubState,Result,ExecMainStatus bad; journalctl -u bad -n 3 -o cat --no-pager", "",
			"Result=exit-code\nExecMainStatus=3\nActiveState=failed\nSubState=failed\nbad.service: Main process exited, code=exited, status=3/FAILURE\nbad.service: Failed with result 'exit-code'.\nFailed to start bad.service - bad.service.\n",
			"Job for bad.service failed because the control process exited with error code.\nSee \"systemctl status bad.service\" and \"journalctl -xeu bad.service\" for details.\n", 0},
		{"the system is degraded until it is reset", "systemctl is-system-running; systemctl reset-failed bad; systemctl is-system-running", "", "degraded\nrunning\n", "", 0},
		{"a unit with a bad setting", "printf '[Service]\\nType=simple\\n' > /etc/systemd/system/odd.service; systemctl start odd", "", "",
			"Failed to start odd.service: Unit odd.service has a bad unit file setting.\nSee system logs and 'systemctl status odd.service' for details.\n", 1},
	})
}

func TestTransientUnits(t *testing.T) {
	m := booted(t, machine.Options{})
	release := m.Hold("/usr/bin/sh *hold-me*")
	play(t, m, []script{
		{"a shell that runs stands in /proc, and no other", "[ -d /proc/$$ ] && echo runs; other=$(sh -c 'echo $$'); [ -d /proc/$other ] || echo over", "", "runs\nover\n", "", 0},
		{"a job in the background", "systemd-run --quiet --unit=phoenix-1 --collect sh -c 'echo hold-me; echo done > /var/tmp/done'; systemctl is-active phoenix-1; cat /var/tmp/done", "", "active\n",
			"cat: /var/tmp/done: No such file or directory\n", 1},
		{"its name is taken", "systemd-run --unit=phoenix-1 true", "", "", "Failed to start transient service unit: Unit phoenix-1.service already exists.\n", 1},
		{"its state", "systemctl show -p LoadState,ActiveState,SubState,UnitFileState,Transient phoenix-1", "", "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=transient\nTransient=yes\n", "", 0},
	})
	release()
	wait(t, "the job to end", func() bool { return m.Unit("phoenix-1").Load == "not-found" })
	play(t, m, []script{
		{"it has run", "cat /var/tmp/done; journalctl -u phoenix-1 -o cat | head -n2", "", "done\nStarting phoenix-1.service - /usr/bin/sh -c echo hold-me; echo done > /var/tmp/done...\nStarted phoenix-1.service - /usr/bin/sh -c echo hold-me; echo done > /var/tmp/done.\n", "", 0},
		{"one that fails is kept", "systemd-run -q --wait --unit=phoenix-2 sh -c 'echo why >&2; exit 9'; systemctl show -p ActiveState,Result,ExecMainStatus phoenix-2; systemd-run -q --unit=phoenix-2 true", "",
			"Result=exit-code\nExecMainStatus=9\nActiveState=failed\n", "Failed to start transient service unit: Unit phoenix-2.service already exists.\n", 1},
		{"until it is reset", "systemctl reset-failed phoenix-2; systemctl show -P LoadState phoenix-2; systemd-run -q --wait --unit=phoenix-2 true; systemctl show -P LoadState phoenix-2", "", "not-found\nnot-found\n", "", 0},
		{"one that fails and is collected is gone", "systemd-run -q --wait --collect --unit=phoenix-3 false; systemctl show -P LoadState phoenix-3; journalctl -u phoenix-3 -n1 -o cat", "", "not-found\nphoenix-3.service: Failed with result 'exit-code'.\n", "", 0},
		{"one that stays when it has ended", "systemd-run -q --wait -p RemainAfterExit=yes -p Type=oneshot --unit=phoenix-4 true; systemctl show -P SubState phoenix-4; systemctl stop phoenix-4; systemctl show -P LoadState phoenix-4", "", "exited\nnot-found\n", "", 0},
		{"words reach the program as they are", `systemd-run -q --wait --unit=w --setenv=V='a b' sh -c 'printf "<%s>" "$1" "$V" > /var/tmp/w' x 'a"b $HOME %n \
line'; cat /var/tmp/w`, "", "<a\"b $HOME %n \\\nline><a b>", "", 0},
		{"a program that is not there", "systemd-run frobnicate", "", "", "Failed to find executable frobnicate: No such file or directory\n", 1},
		{"a timer", "systemd-run --on-active=120 --unit=back sh -c 'echo restored > /var/tmp/back'; systemctl is-active back.timer back.service; systemctl list-timers --no-legend | grep -o 'back.timer back.service'", "",
			"active\ninactive\nback.timer back.service\n", "Running timer as unit: back.timer\nWill run service as unit: back.service\n", 0},
	})
	m.Advance(119 * time.Second)
	if _, err := m.ReadFile("/var/tmp/back"); err == nil {
		t.Error("the timer fired too early")
	}
	m.Advance(2 * time.Second)
	wait(t, "the timer's work", func() bool { text, _ := m.ReadFile("/var/tmp/back"); return text == "restored\n" })
	wait(t, "the timer to be forgotten", func() bool { return m.Unit("back.timer").Load == "not-found" })
	play(t, m, []script{
		{"a timer that is stopped", "systemd-run -q --on-active=60 --unit=never touch /var/tmp/never; systemctl stop never.timer; systemctl show -P LoadState never.timer", "", "not-found\n", "", 0},
	})
	m.Advance(time.Hour)
	if _, err := m.Stat("/var/tmp/never"); err == nil {
		t.Error("a stopped timer fired")
	}
}

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

func TestPower(t *testing.T) {
	m := booted(t, machine.Options{})
	must(t, m, "echo '"+loop+"' > /etc/systemd/system/job.service; systemctl enable -q --now job; echo a > /run/x; echo b > /tmp/y; echo c > /srv/z; systemd-run -q --unit=gone sleep 1000")
	before := m.Unit("job").Invocation
	done := make(chan int)
	go func() { done <- m.Shell(t.Context(), "sleep 1000", nil, io.Discard, io.Discard) }()
	wait(t, "the command to run", func() bool { c := m.Commands(); return c[len(c)-1].Line == "sleep 1000" })
	m.Halt()
	if exit := <-done; exit != 137 {
		t.Errorf("a command on a machine that went down ended with %d", exit)
	}
	if exit := m.Shell(t.Context(), "true", nil, io.Discard, io.Discard); exit != 137 {
		t.Errorf("a command on a machine that is down ended with %d", exit)
	}
	m.Boot()
	play(t, m, []script{{"what is left", "cat /run/x /tmp/y /srv/z; systemctl is-active job gone", "", "c\nactive\ninactive\n", "cat: /run/x: No such file or directory\ncat: /tmp/y: No such file or directory\n", 0}})
	if after := m.Unit("job").Invocation; after == before || after == "" {
		t.Errorf("the service runs as %q, before the boot as %q", after, before)
	}
}

func TestPackages(t *testing.T) {
	m := booted(t, machine.Options{})
	query := "dpkg-query -W -f='${db:Status-Abbrev}|${Package}|${Version}\\n' "
	play(t, m, []script{
		{"no lists yet", "apt-get install -y dnsmasq >/dev/null", "", "", "E: Unable to locate package dnsmasq\n", 100},
		{"nothing is installed", query + "dnsmasq systemd", "", "ii |systemd|252.36-1~deb12u1\n", "dpkg-query: no packages found matching dnsmasq\n", 1},
		{"no answer is no", "apt-get update -q >/dev/null && apt-get install qemu-guest-agent nfs-kernel-server | tail -n 1", "", "Do you want to continue? [Y/n] Abort.\n", "", 0},
		{"with its service and its files", "apt-get -qq -o Dpkg::Use-Pty=0 install -y qemu-guest-agent >/dev/null && systemctl is-active qemu-guest-agent && systemctl is-enabled qemu-guest-agent && ls /usr/sbin; " + query + "qemu-guest-agent", "",
			"active\nenabled\nqemu-ga\nsshd\nii |qemu-guest-agent|1:7.2+dfsg-7+deb12u12\n", "", 0},
		{"an unknown package", "apt-get install -y nope >/dev/null", "", "", "E: Unable to locate package nope\n", 100},
		{"configuration files stay when it is removed", "apt-get install -y dnsmasq >/dev/null; echo mine >> /etc/dnsmasq.conf; apt-get remove -y dnsmasq > /dev/null; tail -n1 /etc/dnsmasq.conf; " + query + "dnsmasq; systemctl show -P LoadState dnsmasq", "",
			"mine\nrc |dnsmasq|2.90-4~deb12u1\nnot-found\n", "", 0},
		{"and are kept when it comes back", "apt-get install -y dnsmasq >/dev/null && tail -n1 /etc/dnsmasq.conf", "", "mine\n", "", 0},
		{"a purge takes them", "apt-get purge -y dnsmasq >/dev/null; ls /etc/dnsmasq.conf; " + query + "dnsmasq", "", "", "ls: cannot access '/etc/dnsmasq.conf': No such file or directory\ndpkg-query: no packages found matching dnsmasq\n", 1},
		{"somebody's file in the way", "echo own > /etc/dnsmasq.conf; apt-get install -y dnsmasq > /dev/null", "", "",
			"dpkg: error processing package dnsmasq (--configure):\n end of file on stdin at conffile prompt: /etc/dnsmasq.conf\nErrors were encountered while processing:\n dnsmasq\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n", 100},
		{"which can be kept", "apt-get install -y -o Dpkg::Options::=--force-confold dnsmasq > /dev/null; cat /etc/dnsmasq.conf", "", "own\n", "", 0},
		{"what depends on it goes along", "apt-get remove -y dnsmasq-base | grep Removing; id -u dnsmasq", "", "Removing dnsmasq ...\nRemoving dnsmasq-base ...\n108\n", "", 0},
		{"no service may start", "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; apt-get install -y nfs-ganesha >/dev/null; systemctl is-active nfs-ganesha; systemctl is-enabled nfs-ganesha", "", "inactive\nenabled\n", "", 0},
		{"who brought a file", "dpkg -S /usr/sbin/qemu-ga; dpkg-query -L qemu-guest-agent | head -n1; dpkg -s nope", "", "qemu-guest-agent: /usr/sbin/qemu-ga\n/usr/lib/systemd/system/qemu-guest-agent.service\n", "dpkg: package 'nope' is not installed and no information is available\n", 1},
	})
}

func TestFaults(t *testing.T) {
	m := booted(t, machine.Options{})
	m.HoldDpkg(true)
	play(t, m, []script{{"dpkg's lock is held", "apt-get update >/dev/null; apt-get install -y dnsmasq", "", "",
		"E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 871 (apt-get)\nE: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?\n", 100}})
	m.HoldDpkg(false)
	m.Fail("mv *target*", 2, 1, "mv: no space left")
	play(t, m, []script{
		{"a command fails twice", "touch /srv/a; mv /srv/a /srv/target; sh -c 'mv /srv/a /srv/target'; mv /srv/a /srv/target && echo moved", "", "moved\n", "mv: no space left\nmv: no space left\n", 0},
	})
	writes := m.Writes()
	play(t, m, []script{{"looking changes nothing", "cat /etc/hosts >/dev/null; systemctl show ssh >/dev/null; dpkg-query -W >/dev/null; find /etc >/dev/null; x=$(sha256sum /etc/hosts); sh -c 'cat <<E\nx\nE' | wc -c", "", "2\n", "", 0}})
	if n := m.Writes() - writes; n != 0 {
		t.Errorf("looking made %d changes", n)
	}
	for _, tc := range []struct {
		reason string
		when   machine.Cut
		stdout string
		file   bool
	}{
		{"before the command", machine.CutBefore, "", false},
		{"while it runs", machine.CutDuring, "", true},
		{"after it", machine.CutAfter, "", true},
	} {
		t.Run("the connection breaks "+tc.reason, func(t *testing.T) {
			must(t, m, "rm -f /srv/cut")
			m.Cut("*cut*", 1, tc.when)
			var out strings.Builder
			_, err := m.Session(t.Context(), []string{"sh"}, strings.NewReader(""), &out, io.Discard)
			if err != nil {
				t.Fatalf("another command was cut: %v", err)
			}
			_, err = m.Session(t.Context(), []string{"bash", "-c", "trap '' PIPE; echo said; echo x > /srv/cut"}, nil, &out, io.Discard)
			if !errors.Is(err, machine.ErrCut) || out.String() != tc.stdout {
				t.Errorf("error %v, output %q", err, out.String())
			}
			if tc.file {
				wait(t, "the command's effect", func() bool { _, err := m.Stat("/srv/cut"); return err == nil })
			} else if _, err := m.Stat("/srv/cut"); err == nil {
				t.Error("the command ran")
			}
		})
	}
	m.Cut("*pipe*", 1, machine.CutAfter)
	if _, err := m.Session(t.Context(), []string{"bash", "-c", "echo pipe; echo x > /srv/pipe"}, nil, io.Discard, io.Discard); !errors.Is(err, machine.ErrCut) {
		t.Errorf("error %v", err)
	}
	if _, err := m.Stat("/srv/pipe"); err == nil {
		t.Error("a script that does not ignore PIPE went on although nobody reads it")
	}
}
