// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"io/fs"
	"maps"
)

// essential packages are on every machine.
var essential = []string{"apt", "base-files", "coreutils", "dpkg", "openssh-server", "systemd"}

// DebianPackages are the packages of Debian 12 that this simulator knows.
func DebianPackages() map[string]Package {
	simple := func(version string) Package { return Package{Version: version} }
	out := map[string]Package{
		"apt": simple("2.6.1"), "base-files": simple("12.4+deb12u9"), "coreutils": simple("9.1-1"), "dpkg": simple("1.21.22"), "systemd": simple("252.36-1~deb12u1"),
		"dnsmasq-utils": simple("2.90-4~deb12u1"), "openssl": simple("3.0.15-1~deb12u1"),
		"ca-certificates": caCertificates(), "step-ca": stepCAPackage(),
		"curl": {Version: "7.88.1-10+deb12u8", Programs: []string{"curl"}, Files: []PackageFile{binary("/usr/bin/curl")}},
		"openssh-server": {
			Version: "1:9.2p1-2+deb12u4", Starts: []string{"ssh.service"}, Users: map[string]int{"sshd": 105},
			Files: []PackageFile{service("ssh", "OpenBSD Secure Shell server", "Type=notify\nExecStart=/usr/sbin/sshd -D\nExecReload=/bin/kill -HUP $MAINPID\nRestart=on-failure"), binary("/usr/sbin/sshd")},
		},
		"qemu-guest-agent": {
			Version: "1:7.2+dfsg-7+deb12u12", Starts: []string{"qemu-guest-agent.service"},
			Files: []PackageFile{service("qemu-guest-agent", "QEMU Guest Agent", "ExecStart=/usr/sbin/qemu-ga\nRestart=always"), binary("/usr/sbin/qemu-ga")},
		},
		"dnsmasq-base":      dnsmasqBase(),
		"dnsmasq":           dnsmasqPackage(),
		"bind9-dnsutils":    {Version: "1:9.18.28-1~deb12u2", Programs: []string{"dig"}, Files: []PackageFile{binary("/usr/bin/dig")}},
		"nftables":          {Version: "1.0.6-2+deb12u2", Files: []PackageFile{binary("/usr/sbin/nft")}},
		"dnsutils":          {Version: "1:9.18.28-1~deb12u2", Depends: []string{"bind9-dnsutils"}},
		"rpcbind":           {Version: "1.2.6-6+b1", Starts: []string{"rpcbind.service"}, Files: []PackageFile{service("rpcbind", "RPC bind portmap service", "Type=notify\nExecStart=/sbin/rpcbind -f -w"), binary("/usr/sbin/rpcbind")}},
		"dbus-bin":          {Version: "1.14.10-1~deb12u1", Programs: []string{"dbus-send"}, Files: []PackageFile{binary("/usr/bin/dbus-send")}},
		"nfs-common":        nfsCommon(),
		"nfs-kernel-server": nfsKernelServer(),
		"nfs-ganesha":       ganeshaPackage(),
		"nfs-ganesha-vfs":   {Version: "4.3-2", Depends: []string{"nfs-ganesha"}, Files: []PackageFile{{Path: "/usr/lib/ganesha/libfsalvfs.so", Text: "\x7fELF"}}},
	}
	maps.Copy(out, nginxPackages())
	maps.Copy(out, dockerPackages())
	return out
}

func binary(name string) PackageFile { return PackageFile{Path: name, Text: "\x7fELF", Mode: 0o755} }

// service is a unit of a package that starts with the machine.
func service(name, description, settings string) PackageFile {
	return PackageFile{
		Path: "/usr/lib/systemd/system/" + name + ".service",
		Text: fmt.Sprintf("[Unit]\nDescription=%s\nAfter=network.target\n\n[Service]\n%s\n\n[Install]\nWantedBy=multi-user.target\n", description, settings),
	}
}

func dnsmasqBase() Package {
	return Package{
		Version: "2.90-4~deb12u1", Programs: []string{"dnsmasq"}, Users: map[string]int{"dnsmasq": 108},
		Files: []PackageFile{binary("/usr/sbin/dnsmasq"), {Path: "/var/lib/misc/"}, {Path: "/usr/share/dnsmasq-base/"}},
	}
}

func dnsmasqPackage() Package {
	return Package{
		Version: "2.90-4~deb12u1", Depends: []string{"dnsmasq-base"}, Starts: []string{"dnsmasq.service"},
		Files: []PackageFile{
			{Path: "/etc/dnsmasq.conf", Conf: true, Text: "# Configuration file for dnsmasq.\n#\n# Include all files in a directory which end in .conf\n#conf-dir=/etc/dnsmasq.d/,*.conf\n"},
			{Path: "/etc/default/dnsmasq", Conf: true, Text: "#DOMAIN_SUFFIX=`dnsdomainname`\n#DNSMASQ_OPTS=\"--conf-file=/etc/dnsmasq.alt\"\nENABLED=1\nCONFIG_DIR=/etc/dnsmasq.d,.dpkg-dist,.dpkg-old,.dpkg-new\n"},
			{Path: "/etc/dnsmasq.d/"},
			{Path: "/etc/dnsmasq.d/README", Conf: true, Text: "# All files in this directory will be read by dnsmasq as \n# configuration files, except if their names end in \n# \".dpkg-dist\",\".dpkg-old\" or \".dpkg-new\"\n"},
			{Path: "/usr/share/dnsmasq/systemd-helper", Text: "\x7fELF", Mode: 0o755},
			{
				Path: "/usr/lib/systemd/system/dnsmasq.service",
				Text: "[Unit]\nDescription=dnsmasq - A lightweight DHCP and caching DNS server\nRequires=network.target\nWants=nss-lookup.target\nBefore=nss-lookup.target\nAfter=network.target\n\n" +
					"[Service]\nType=forking\nPIDFile=/run/dnsmasq/dnsmasq.pid\n\n# Test the config file and refuse starting if it is not valid.\nExecStartPre=/usr/share/dnsmasq/systemd-helper checkconfig\n\n" +
					"ExecStart=/usr/share/dnsmasq/systemd-helper exec\nExecStartPost=/usr/share/dnsmasq/systemd-helper start-resolvconf\nExecStop=/usr/share/dnsmasq/systemd-helper stop-resolvconf\n\n" +
					"ExecReload=/bin/kill -HUP $MAINPID\n\n[Install]\nWantedBy=multi-user.target\n",
			},
		},
	}
}

func nfsCommon() Package {
	return Package{
		Version: "1:2.6.2-4+deb12u1", Depends: []string{"rpcbind"}, Programs: []string{"showmount", "mount.nfs", "mount.nfs4"}, Users: map[string]int{"statd": 109},
		Files: []PackageFile{binary("/usr/sbin/showmount"), binary("/usr/sbin/mount.nfs"), binary("/usr/sbin/mount.nfs4"), {Path: "/var/lib/nfs/"}},
	}
}

func nfsKernelServer() Package {
	return Package{
		Version: "1:2.6.2-4+deb12u1", Depends: []string{"nfs-common"}, Programs: []string{"exportfs", "rpc.nfsd", "rpc.mountd"}, Starts: []string{"nfs-server.service"},
		Files: []PackageFile{
			binary("/usr/sbin/exportfs"), binary("/usr/sbin/rpc.nfsd"), binary("/usr/sbin/rpc.mountd"),
			{Path: "/etc/exports", Conf: true, Text: "# /etc/exports: the access control list for filesystems which may be exported\n#\t\tto NFS clients.  See exports(5).\n#\n" +
				"# Example for NFSv2 and NFSv3:\n# /srv/homes       hostname1(rw,sync,no_subtree_check) hostname2(ro,sync,no_subtree_check)\n#\n" +
				"# Example for NFSv4:\n# /srv/nfs4        gss/krb5i(rw,sync,fsid=0,crossmnt,no_subtree_check)\n# /srv/nfs4/homes  gss/krb5i(rw,sync,no_subtree_check)\n#\n"},
			{Path: "/etc/exports.d/"}, {Path: "/etc/nfs.conf", Conf: true, Text: "[general]\npipefs-directory=/run/rpc_pipefs\n[nfsd]\n"},
			{
				Path: "/usr/lib/systemd/system/nfs-server.service",
				Text: "[Unit]\nDescription=NFS server and services\nDefaultDependencies=no\nRequires=network.target\nWants=rpcbind.service\nAfter=network-online.target local-fs.target\n\n" +
					"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStartPre=-/usr/sbin/exportfs -r\nExecStart=/usr/sbin/rpc.nfsd\nExecStop=/usr/sbin/rpc.nfsd 0\n" +
					"ExecStopPost=/usr/sbin/exportfs -au\nExecStopPost=/usr/sbin/exportfs -f\n\nExecReload=-/usr/sbin/exportfs -r\n\n[Install]\nWantedBy=multi-user.target\n",
			},
			{Path: "/usr/lib/systemd/system/nfs-kernel-server.service", Target: "nfs-server.service"},
		},
	}
}

func ganeshaPackage() Package {
	return Package{
		Version: "4.3-2", Depends: []string{"rpcbind", "dbus-bin"}, Programs: []string{"ganesha.nfsd"}, Starts: []string{"nfs-ganesha.service"},
		Files: []PackageFile{
			binary("/usr/bin/ganesha.nfsd"), {Path: "/var/log/ganesha/"}, {Path: "/var/lib/nfs/ganesha/"},
			{Path: "/etc/ganesha/ganesha.conf", Conf: true, Text: "# NFS-Ganesha\n#EXPORT\n#{\n#\tExport_Id = 77;\n#\tPath = /nonexistent;\n#\tPseudo = /nonexistent;\n#\tAccess_Type = RW;\n#\tFSAL {\n#\t\tName = VFS;\n#\t}\n#}\n"},
			{
				Path: "/usr/lib/systemd/system/nfs-ganesha.service",
				Text: "[Unit]\nDescription=NFS-Ganesha file server\nWants=rpcbind.service\nAfter=network-online.target rpcbind.service\n\n" +
					"[Service]\nType=forking\nEnvironment=\"NOFILE=1048576\"\nExecStart=/usr/bin/ganesha.nfsd -L /var/log/ganesha/ganesha.log -f /etc/ganesha/ganesha.conf -N NIV_EVENT\nExecReload=/bin/kill -HUP $MAINPID\n\n[Install]\nWantedBy=multi-user.target\nAlso=\n",
			},
		},
	}
}

func baseFolders() map[string]fs.FileMode {
	out := map[string]fs.FileMode{"/root": 0o700, "/tmp": 0o777 | fs.ModeSticky, "/var/tmp": 0o777 | fs.ModeSticky}
	for _, name := range []string{
		"/usr/bin", "/usr/sbin", "/usr/lib/systemd/system", "/usr/share", "/usr/local/bin", "/usr/local/sbin", "/etc/systemd/system/multi-user.target.wants", "/etc/default",
		"/etc/ssh", "/var/lib/dpkg", "/var/lib/systemd", "/var/log", "/var/cache", "/run", "/dev", "/proc", "/srv", "/mnt", "/media", "/home", "/opt", "/boot",
	} {
		out[name] = 0o755
	}
	return out
}

// baseFolder are folders that no package takes with it.
var baseFolder = map[string]bool{
	"/etc": true, "/usr": true, "/usr/bin": true, "/usr/sbin": true, "/usr/lib": true, "/usr/lib/systemd/system": true, "/usr/share": true,
	"/etc/default": true, "/var/lib": true, "/var/log": true, "/var": true,
}

func baseFiles(hostname string) map[string]string {
	return map[string]string{
		"/etc/hostname": hostname + "\n",
		"/etc/hosts":    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
		"/etc/os-release": `PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
SUPPORT_URL="https://www.debian.org/support"
BUG_REPORT_URL="https://bugs.debian.org/"
`,
		"/etc/debian_version": "12.9\n",
		"/etc/machine-id":     randomHex(16) + "\n",
		"/etc/resolv.conf":    "",
		"/etc/fstab":          "",
		"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\n" +
			"www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"/etc/group":  "root:x:0:\ndaemon:x:1:\nbin:x:2:\nadm:x:4:\nshadow:x:42:\nwww-data:x:33:\nnogroup:x:65534:\n",
		"/etc/shadow": "root:*:19000:0:99999:7:::\n",
	}
}
