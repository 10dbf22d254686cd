// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

func pair(t *testing.T, server string) (*machine.Machine, *machine.Machine) {
	t.Helper()
	network := machine.NewNetwork()
	packages := map[string][]string{"kernel": {"nfs-kernel-server"}, "ganesha": {"nfs-ganesha", "nfs-ganesha-vfs"}}[server]
	s := booted(t, machine.Options{Hostname: "nas", Network: network, Addresses: []netip.Addr{addr("10.0.0.13")}, Installed: packages})
	c := booted(t, machine.Options{Hostname: "box", Network: network, Addresses: []netip.Addr{addr("10.0.0.20")}, Installed: []string{"nfs-common"}})
	must(t, s, "mkdir -p /srv/data/sub /srv/open; echo film > /srv/data/film; chmod 777 /srv/open")
	return s, c
}

func TestExports(t *testing.T) {
	s, _ := pair(t, "kernel")
	play(t, s, []script{
		{"nothing is exported", "exportfs -v; showmount -e localhost", "", "Export list for localhost:\n", "", 0},
		{"a file of its own", "echo '/srv/data 10.0.0.0/24(rw,sync,no_subtree_check,root_squash) 10.0.0.111/32(ro)' > /etc/exports.d/x.exports; exportfs; exportfs -ra; exportfs -s", "",
			"/srv/data  10.0.0.0/24(sync,wdelay,hide,no_subtree_check,sec=sys,rw,secure,root_squash,no_all_squash)\n/srv/data  10.0.0.111/32(sync,wdelay,hide,no_subtree_check,sec=sys,ro,secure,root_squash,no_all_squash)\n", "", 0},
		{"who may mount", "showmount -e localhost --no-headers", "", "/srv/data 10.0.0.0/24,10.0.0.111/32\n", "", 0},
		{"a folder that is not there", "echo '/srv/none *(rw)\n/srv/open *(rw)' > /etc/exports; exportfs -r; echo $?; exportfs", "", "1\n/srv/data     \t10.0.0.0/24\n/srv/data     \t10.0.0.111/32\n/srv/open     \t<world>\n",
			"exportfs: Failed to stat /srv/none: No such file or directory\n", 0},
		{"an unknown word", "echo '/srv/open *(rw,frob)' > /etc/exports; exportfs -r", "", "", "exportfs: /etc/exports:1: unknown keyword \"frob\"\n", 1},
		{"the unit reads them too", "echo '\"/srv/open\" 10.0.0.20(rw)' > /etc/exports; systemctl reload nfs-server; exportfs | grep open", "", "/srv/open     \t10.0.0.20\n", "", 0},
		{"a stopped server exports nothing", "systemctl stop nfs-kernel-server; exportfs; showmount -e; systemctl is-active nfs-server", "", "inactive\n", "clnt_create: RPC: Program not registered\n", 3},
		{"a dot file is not read", "mv /etc/exports.d/x.exports /etc/exports.d/.x.exports; systemctl start nfs-server; exportfs", "", "/srv/open     \t10.0.0.20\n", "", 0},
	})
}

const mountUnit = "[Unit]\nDescription=Data\n[Mount]\nWhat=10.0.0.13:/srv/data\nWhere=/mnt/my-data\nType=nfs\nOptions=rw,hard,vers=4.2\n[Install]\nWantedBy=multi-user.target\n"

func TestNFSMounts(t *testing.T) {
	s, c := pair(t, "kernel")
	must(t, s, "echo '/srv/data 10.0.0.0/24(ro) 10.0.0.20(rw)\n/srv/open *(rw,no_root_squash)' > /etc/exports; exportfs -ra")
	if err := c.WriteFile(`/etc/systemd/system/mnt-my\x2ddata.mount`, mountUnit, 0o644); err != nil {
		t.Fatal(err)
	}
	play(t, c, []script{
		{"a mount unit", `systemctl enable -q --now 'mnt-my\x2ddata.mount'; cat /mnt/my-data/film; mountpoint /mnt/my-data; findmnt -n -o SOURCE,FSTYPE /mnt/my-data; systemctl is-active "$(systemd-escape -p --suffix=mount /mnt/my-data)"`, "",
			"film\n/mnt/my-data is a mountpoint\n10.0.0.13:/srv/data nfs4\nactive\n", "", 0},
		{"root is nobody there", "echo x > /mnt/my-data/x", "", "", "open bash: line 1: /mnt/my-data/x: Permission denied\n", 1},
		{"a name that is not its path's", "printf '[Mount]\\nWhat=10.0.0.13:/srv/data\\nWhere=/other\\nType=nfs\\n' > /etc/systemd/system/mnt-x.mount; systemctl start mnt-x.mount; systemctl show -P LoadState mnt-x.mount", "",
			"bad-setting\n", "Failed to start mnt-x.mount: Unit mnt-x.mount has a bad unit file setting.\nSee system logs and 'systemctl status mnt-x.mount' for details.\n", 0},
		{"root is root where it is not squashed", "mkdir /mnt/o; mount -t nfs 10.0.0.13:/srv/open /mnt/o && echo x > /mnt/o/x && stat -c %U /mnt/o/x; umount /mnt/o; ls /mnt/o", "", "root\n", "", 0},
		{"an export that is not there", "mount -t nfs 10.0.0.13:/srv/none /mnt/o", "", "", "mount.nfs: mounting 10.0.0.13:/srv/none failed, reason given by server: No such file or directory\n", 32},
		{"an unknown server", "mount -t nfs nowhere:/srv/data /mnt/o", "", "", "mount.nfs: Failed to resolve server nowhere: Name or service not known\n", 32},
		{"a server that is off", "mount -t nfs 10.0.0.99:/srv/data /mnt/o", "", "", "mount.nfs: Connection timed out for 10.0.0.99:/srv/data on /mnt/o\n", 32},
		{"a folder that is not there", "mount -t nfs 10.0.0.13:/srv/data /mnt/none", "", "", "mount: /mnt/none: mount point does not exist.\n", 32},
	})
	c.Halt()
	c.Boot()
	play(t, c, []script{{"an enabled mount comes back with the machine", "cat /mnt/my-data/film", "", "film\n", "", 0}})
	must(t, s, "echo '/srv/data 10.0.0.99(rw)' > /etc/exports; systemctl reload nfs-server")
	play(t, c, []script{
		{"an export that is taken away", "cat /mnt/my-data/film", "", "", "cat: /mnt/my-data/film: Stale file handle\n", 1},
		{"and is refused now", `systemctl restart 'mnt-my\x2ddata.mount'; systemctl show -p ActiveState,Result 'mnt-my\x2ddata.mount'; journalctl -u 'mnt-my\x2ddata.mount' -o cat -n 4 | head -n1`, "", "Result=exit-code\nActiveState=failed\nmount.nfs: access denied by server while mounting 10.0.0.13:/srv/data\n",
			"Job for mnt-my\\x2ddata.mount failed because the control process exited with error code.\nSee \"systemctl status mnt-my\\x2ddata.mount\" and \"journalctl -xeu mnt-my\\x2ddata.mount\" for details.\n", 0},
	})
	plain := booted(t, machine.Options{})
	play(t, plain, []script{{"a machine without the helper", "mount -t nfs 10.0.0.13:/srv/data /mnt 2>&1 | grep -c helper", "", "1\n", "", 0}})
	container := booted(t, machine.Options{Container: true, Installed: []string{"nfs-common"}})
	play(t, container, []script{{"a container", "mount -t nfs 10.0.0.13:/srv/data /mnt", "", "", "mount: /mnt: permission denied.\n", 32}})
}

func TestGanesha(t *testing.T) {
	s, c := pair(t, "ganesha")
	conf := func(body string) {
		t.Helper()
		if err := s.Edit("/etc/ganesha/ganesha.conf", "%include \"/etc/ganesha/ours.conf\"\n"); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteFile("/etc/ganesha/ours.conf", body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	conf(`EXPORT {
	Export_Id = 1; Path = "/srv/data"; Pseudo = /data; Access_Type = NONE;
	FSAL { Name = VFS; }
	CLIENT { Clients = 10.0.0.99, 10.0.0.20/32; Access_Type = RO; }
}
EXPORT { Export_Id = 2; Path = /srv/none; Pseudo = /none; Access_Type = RW; FSAL { Name = VFS; } }
`)
	must(t, s, "systemctl reload nfs-ganesha")
	play(t, c, []script{
		{"a listed client", "mkdir -p /mnt/d; mount -t nfs4 10.0.0.13:/data /mnt/d && cat /mnt/d/film; touch /mnt/d/x; umount /mnt/d", "", "film\n", "touch: cannot touch '/mnt/d/x': Read-only file system\n", 0},
		{"another path", "mount -t nfs4 10.0.0.13:/srv/data /mnt/d", "", "", "mount.nfs: mounting 10.0.0.13:/srv/data failed, reason given by server: No such file or directory\n", 32},
		{"a folder that is not there costs that export alone", "mount -t nfs4 10.0.0.13:/none /mnt/d", "", "", "mount.nfs: mounting 10.0.0.13:/none failed, reason given by server: No such file or directory\n", 32},
		{"no version 3", "mount -t nfs -o vers=3 10.0.0.13:/data /mnt/d; showmount -e 10.0.0.13", "", "", "mount.nfs: requested NFS version or transport protocol is not supported for 10.0.0.13:/data on /mnt/d\nclnt_create: RPC: Program not registered\n", 1},
	})
	conf("EXPORT { Export_Id = 1; Path = /srv/data")
	must(t, s, "systemctl reload nfs-ganesha")
	play(t, c, []script{{"a file that cannot be read costs all exports", "mount -t nfs4 10.0.0.13:/data /mnt/d", "", "", "mount.nfs: mounting 10.0.0.13:/data failed, reason given by server: No such file or directory\n", 32}})
	stdout, _, exit := run(t, s, "systemctl restart nfs-ganesha; systemctl is-active nfs-ganesha; journalctl -u nfs-ganesha -o cat", "")
	if exit != 0 || !strings.Contains(stdout, "failed\n") || !strings.Contains(stdout, "syntax error, unexpected end of file") {
		t.Errorf("it starts with a file that cannot be read: %d\n%s", exit, stdout)
	}
}
