// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"strings"
	"testing"
)

type refused struct {
	reason, patch string
	// field and remedy stand in the error.
	field, remedy string
}

func checkRefused(t *testing.T, base string, cases []refused) {
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			refusal(t, tc.reason, try(t.Context(), object(t, base, "bad", tc.patch)), tc.field, tc.remedy)
		})
	}
}

func TestHostRefused(t *testing.T) {
	t.Parallel()
	checkRefused(t, host, []refused{
		{"no URL", `url: null`, "spec.url", "Required value"},
		{"a URL without TLS", `url: "http://10.0.0.13:8006"`, "spec.url", "https://HOST:PORT"},
		{"a URL with a path", `url: "https://10.0.0.13:8006/api2/json"`, "spec.url", "without a path"},
		{"a URL with a password", `url: "https://root:secret@10.0.0.13:8006"`, "spec.url", "a user"},
		{"a URL with a query", `url: "https://10.0.0.13:8006?x=1"`, "spec.url", "a query"},
		{"a bare host name", `url: "10.0.0.13"`, "spec.url", "for example https://10.0.0.13:8006"},
		{"no certificate pinned", `tls: {caSecretRef: null}`, "spec.tls", "exactly one of caSecretRef and fingerprint"},
		{"no tls at all", `tls: null`, "spec.tls", "Required value"},
		{"two certificates pinned", `tls: {fingerprint: "` + strings.Repeat("ab", 32) + `"}`, "spec.tls", "exactly one"},
		{"a SHA-1 fingerprint", `tls: {caSecretRef: null, fingerprint: "` + strings.TrimSuffix(strings.Repeat("AB:", 20), ":") + `"}`,
			"spec.tls.fingerprint", "SHA-256 of the certificate: 64 hex digits"},
		{"trusting everything", `tls: {insecureSkipVerify: true}`, "spec.tls.insecureSkipVerify", "unknown field"},
		{"no token", `tokenSecretRef: null`, "spec.tokenSecretRef", "Required value"},
		{"a token in the open", `tokenSecret: "12345678-1234-1234-1234-123456789012"`, "spec.tokenSecret", "unknown field"},
		{"a token Secret without a name", `tokenSecretRef: {name: ""}`, "spec.tokenSecretRef.name", "at least 1 chars"},
		{"an entry that no Secret can have", `tls: {caSecretRef: {key: "ca pem"}}`, "spec.tls.caSecretRef.key", "letters, digits and - . _"},
		{"SSH without nodes", `ssh: {keySecretRef: {name: k, key: id}, nodes: []}`, "spec.ssh.nodes", "at least 1 items"},
		{"SSH without a key", `ssh: {nodes: [{name: a, address: a, hostKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"]}]}`, "spec.ssh.keySecretRef", "Required value"},
		{"an SSH node without host keys", `ssh: {keySecretRef: {name: k, key: id}, nodes: [{name: a, address: a}]}`, "spec.ssh.nodes[0].hostKeys", "Required value"},
		{"a whole line of ssh-keyscan", `ssh: {keySecretRef: {name: k, key: id}, nodes: [{name: a, address: a, hostKeys: ["10.0.0.13 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"]}]}`,
			"spec.ssh.nodes[0].hostKeys[0]", "without the host name before it"},
		{"a user in an SSH address", `ssh: {keySecretRef: {name: k, key: id}, nodes: [{name: a, address: root@a, hostKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"]}]}`,
			"spec.ssh.nodes[0].address", "HOST or HOST:PORT without a user"},
		{"an SSH node twice", `ssh: {keySecretRef: {name: k, key: id}, nodes: [{name: a, address: a, hostKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"]}, {name: a, address: b, hostKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"]}]}`,
			"spec.ssh.nodes[1]", "Duplicate value"},
		{"an SSH node by its DNS name", `ssh: {keySecretRef: {name: k, key: id}, nodes: [{name: pve1.lan, address: a, hostKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"]}]}`,
			"spec.ssh.nodes[0].name", "letters, digits and -"},
		{"a default node that would be another path", `defaults: {node: "pve1/../pve2"}`, "spec.defaults.node", "letters, digits and -"},
		{"an SSH user with a space", `ssh: {user: "the root", keySecretRef: {name: k, key: id}, nodes: [{name: a, address: a, hostKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"]}]}`,
			"spec.ssh.user", "Linux user name"},
		{"an owner with a space", `ownerID: "my site"`, "spec.ownerID", "letters, digits and - . _ /"},
		{"an owner that would end the mark's comment", `ownerID: "a-->"`, "spec.ownerID", "a letter or digit at both ends"},
		{"a range upside down", `vmidRange: {first: 300, last: 200}`, "spec.vmidRange", "first must not be above vmidRange.last"},
		{"a range below what Proxmox gives", `vmidRange: {first: 1, last: 200}`, "spec.vmidRange.first", "greater than or equal to 100"},
		{"a range beyond what Proxmox gives", `vmidRange: {first: 100, last: 1000000000}`, "spec.vmidRange.last", "less than or equal to 999999999"},
		{"a VMID beyond 32 bits", `vmidRange: {first: 100, last: 4294967396}`, "spec.vmidRange.last", "less than or equal to 999999999"},
		{"half a range", `vmidRange: {first: 100}`, "spec.vmidRange.last", "Required value"},
		{"a storage with a colon", `defaults: {storage: "local:lvm"}`, "spec.defaults.storage", "name of a Proxmox storage"},
		{"a bridge with a slash", `defaults: {bridge: "vmbr0/1"}`, "spec.defaults.bridge", "for example vmbr0"},
		{"a gateway that is no address", `defaults: {gateway: "10.0.0"}`, "spec.defaults.gateway", "for example 10.0.0.1"},
		{"an IPv6 gateway where IPv4's stands", `defaults: {gateway: "fd00::1"}`, "spec.defaults.gateway", "IPv4 address"},
		{"a nameserver by name", `defaults: {nameservers: [dns.lan]}`, "spec.defaults.nameservers[0]", "IP address"},
		{"more nameservers than resolv.conf reads", `defaults: {nameservers: [10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4]}`, "spec.defaults.nameservers", "at most 3 items"},
		{"a domain with an underscore", `defaults: {domain: "my_lan"}`, "spec.defaults.domain", "DNS domain"},
		{"no requests at all", `limits: {requestsPerSecond: 0}`, "spec.limits.requestsPerSecond", "greater than or equal to 1"},
		{"a negative budget", `safety: {destructionsPerHour: -1}`, "spec.safety.destructionsPerHour", "greater than or equal to 0"},
		{"the whole node to bind", `allow: {bindMountPaths: ["/"]}`, "spec.allow.bindMountPaths[0]", "absolute and not /"},
		{"a way out of what may be bound", `allow: {bindMountPaths: ["/srv/../etc"]}`, "spec.allow.bindMountPaths[0]", "without '.' and '..'"},
		{"a relative path to bind", `allow: {bindMountPaths: ["srv"]}`, "spec.allow.bindMountPaths[0]", "for example /srv/data"},
		{"a management that there is not", `management: Off`, "spec.management", `"Enforce", "Observe", "Paused"`},
		{"a dependency of an unknown kind", `dependsOn: [{kind: Pod, name: x}]`, "spec.dependsOn[0].kind", `"Host", "Guest"`},
	})
}

func TestGuestRefused(t *testing.T) {
	t.Parallel()
	checkRefused(t, vm, []refused{
		{"no host", `hostRef: null`, "spec.hostRef", "Required value"},
		{"no type", `type: null`, "spec.type", "Required value"},
		{"a type by Proxmox's name", `type: lxc`, "spec.type", `"Container", "VM"`},
		{"a field with a typing error", `memroy: 1Gi`, "spec.memroy", "unknown field"},
		{"a VMID that Proxmox keeps", `vmid: 99`, "spec.vmid", "greater than or equal to 100"},
		{"a VMID too large", `vmid: 1000000000`, "spec.vmid", "less than or equal to 999999999"},
		{"a VMID in quotes", `vmid: "101"`, "spec.vmid", "must be of type integer"},
		{"a node with a dot", `node: pve1.lan`, "spec.node", "letters, digits and -"},
		{"a hostname with an underscore", `hostname: my_vm`, "spec.hostname", "DNS name"},
		{"a hostname with an empty label", `hostname: a..b`, "spec.hostname", "for example step-ca"},
		{"a hostname with a long label", `hostname: ` + strings.Repeat("a", 64), "spec.hostname", "at most 63 characters"},
		{"no cores", `cores: 0`, "spec.cores", "greater than or equal to 1"},
		{"half a core", `cores: 0.5`, "spec.cores", "must be of type integer"},
		{"memory as a number", `memory: 512`, "spec.memory", "must be of type string"},
		{"memory in bytes", `memory: "536870912"`, "spec.memory", "whole Mi, Gi or Ti"},
		{"memory in Ki", `memory: 524288Ki`, "spec.memory", "whole Mi, Gi or Ti"},
		{"memory in decimal units", `memory: 512M`, "spec.memory", "for example 512Mi"},
		{"memory below what boots", `memory: 8Mi`, "spec.memory", "from 16Mi to 16Ti"},
		{"memory beyond any machine", `memory: 17Ti`, "spec.memory", "from 16Mi to 16Ti"},
		{"fractional memory", `memory: 1.5Gi`, "spec.memory", "for example 512Mi or 2Gi"},
		{"negative memory", `memory: "-1Gi"`, "spec.memory", "from 16Mi"},
		{"balloon above memory", `{memory: 1Gi, balloon: 2Gi}`, "balloon", "must not be above memory"},
		{"a VM with swap", `swap: 512Mi`, "swap", "a VM has balloon"},
		{"a VM with mount points", `mountPoints: [{path: /srv, volume: {size: 1Gi}}]`, "mountPoints", "give a VM disks"},
		{"a VM with features", `features: {nesting: true}`, "features", "for a container"},
		{"a VM with user mapping", `unprivileged: true`, "unprivileged", "for a container"},
		{"a VM from a container template", `source: {template: "local:vztmpl/debian.tar.zst"}`, "source.template", "source.clone"},
		{"an empty source", `source: {}`, "spec.source", "exactly one of template and clone"},
		{"a clone of nothing", `source: {clone: {mode: Full}}`, "spec.source.clone", "exactly one of vmid, name and guestRef"},
		{"a clone of two", `source: {clone: {vmid: 9000, name: debian}}`, "spec.source.clone", "exactly one of vmid, name and guestRef"},
		{"a linked clone that moves", `source: {clone: {vmid: 9000, mode: Linked, storage: local-lvm}}`, "clone.storage", "stays on its template's storage"},
		{"a clone mode that there is not", `source: {clone: {vmid: 9000, mode: Thin}}`, "spec.source.clone.mode", `"Full", "Linked"`},
		{"a root disk in MB", `rootDisk: {size: 8192MB}`, "spec.rootDisk.size", "for example 8Gi"},
		{"a root disk of no size", `rootDisk: {size: 0Gi}`, "spec.rootDisk.size", "whole Mi, Gi or Ti"},
		{"a root disk on a device that there is not", `rootDisk: {device: sda}`, "spec.rootDisk.device", "scsi0 to scsi30"},
		{"a disk in MiB", `disks: [{device: scsi1, size: 512Mi}]`, "spec.disks[0].size", "whole Gi or Ti"},
		{"a disk without a size", `disks: [{device: scsi1}]`, "spec.disks[0].size", "Required value"},
		{"a disk without a device", `disks: [{size: 8Gi}]`, "spec.disks[0].device", "Required value"},
		{"a disk beyond the controller", `disks: [{device: scsi31, size: 8Gi}]`, "spec.disks[0].device", "scsi0 to scsi30"},
		{"two disks on one device", `disks: [{device: scsi1, size: 8Gi}, {device: scsi1, size: 9Gi}]`, "spec.disks[1]", "Duplicate value"},
		{"a disk on the root disk's device", `{rootDisk: {size: 8Gi}, disks: [{device: scsi0, size: 8Gi}]}`, "disks[].device", "must differ from the root disk's"},
		{"a disk on the root disk's declared device", `{rootDisk: {device: virtio0}, disks: [{device: virtio0, size: 8Gi}]}`, "disks[].device", "must differ from the root disk's"},
		{"a network beyond the slots", `networks: [{device: net32}]`, "spec.networks[0].device", "net0 to net31"},
		{"a network by its Linux name", `networks: [{device: eth0}]`, "spec.networks[0].device", "net0 to net31"},
		{"two networks in one slot", `networks: [{device: net0}, {device: net0}]`, "spec.networks[1]", "Duplicate value"},
		{"an interface name for a VM", `networks: [{device: net0, name: eth0}]`, "networks[].name", "for a container"},
		{"a card that there is not", `networks: [{device: net0, model: ne2k}]`, "spec.networks[0].model", `"virtio"`},
		{"a bridge with a space", `networks: [{device: net0, bridge: "vm br0"}]`, "spec.networks[0].bridge", "for example vmbr0"},
		{"VLAN 0", `networks: [{device: net0, vlan: 0}]`, "spec.networks[0].vlan", "greater than or equal to 1"},
		{"VLAN 4095", `networks: [{device: net0, vlan: 4095}]`, "spec.networks[0].vlan", "less than or equal to 4094"},
		{"a MAC with dashes", `networks: [{device: net0, mac: BC-24-11-00-00-01}]`, "spec.networks[0].mac", "colon form"},
		{"a short MAC", `networks: [{device: net0, mac: "BC:24:11"}]`, "spec.networks[0].mac", "colon form"},
		{"a multicast MAC", `networks: [{device: net0, mac: "01:24:11:00:00:01"}]`, "spec.networks[0].mac", "unicast"},
		{"one MAC twice", `networks: [{device: net0, mac: "BC:24:11:00:00:0A"}, {device: net1, mac: "bc:24:11:00:00:0a"}]`, "networks[].mac", "must differ"},
		{"an MTU for a card that has none", `networks: [{device: net0, model: e1000, mtu: 1400}]`, "networks[].mtu", "model: virtio"},
		{"no throughput", `networks: [{device: net0, rateMBps: 0}]`, "spec.networks[0].rateMBps", "greater than or equal to 1"},
		{"an address without cloud-init", `networks: [{device: net0, ipv4: {method: DHCP}}]`, "networks[].ipv4", "add cloudInit"},
		{"nameservers without cloud-init", `nameservers: [10.0.0.13]`, "nameservers", "add cloudInit"},
		{"a search domain without cloud-init", `searchDomain: lan`, "searchDomain", "add cloudInit"},
		{"a static address that is missing", `{cloudInit: {}, networks: [{device: net0, ipv4: {method: Static}}]}`, "ipv4.address", "must stand there"},
		{"an address beside DHCP", `{cloudInit: {}, networks: [{device: net0, ipv4: {method: DHCP, address: 10.0.0.10/24}}]}`, "ipv4.address", "method: Static"},
		{"an address without its prefix", `{cloudInit: {}, networks: [{device: net0, ipv4: {method: Static, address: 10.0.0.10}}]}`, "spec.networks[0].ipv4.address", "prefix length"},
		{"a whole network as address", `{cloudInit: {}, networks: [{device: net0, ipv4: {method: Static, address: 10.0.0.0/24}}]}`, "spec.networks[0].ipv4.address", "10.0.0.0/24 is a network"},
		{"a gateway elsewhere", `{cloudInit: {}, networks: [{device: net0, ipv4: {method: Static, address: 10.0.0.10/24, gateway: 10.0.1.1}}]}`, "ipv4.gateway", "must lie in the network"},
		{"a gateway beside DHCP", `{cloudInit: {}, networks: [{device: net0, ipv4: {method: DHCP, gateway: 10.0.0.1}}]}`, "ipv4.gateway", "method: Static"},
		{"IPv4 by stateless configuration", `{cloudInit: {}, networks: [{device: net0, ipv4: {method: Auto}}]}`, "spec.networks[0].ipv4.method", `"Static", "DHCP"`},
		{"an IPv4 address for IPv6", `{cloudInit: {}, networks: [{device: net0, ipv6: {method: Static, address: 10.0.0.10/24}}]}`, "spec.networks[0].ipv6.address", "IPv6 address"},
		{"a password for cloud-init", `cloudInit: {password: secret}`, "spec.cloudInit.password", "unknown field"},
		{"an SSH key in the open", `cloudInit: {sshKeys: ["ssh-ed25519 AAAA"]}`, "spec.cloudInit.sshKeys", "unknown field"},
		{"a user name in capitals", `cloudInit: {user: Admin}`, "spec.cloudInit.user", "lower case"},
		{"a tag in capitals", `tags: [Web]`, "spec.tags[0]", "lower case letters"},
		{"a tag that marks ownership", `tags: [phoenix-0123456789ab]`, "spec.tags[0]", "which marks ownership"},
		{"a tag with the separator", `tags: ["a;b"]`, "spec.tags[0]", "letters, digits and _ - + . only"},
		{"one tag twice", `tags: [web, web]`, "spec.tags[1]", "Duplicate value"},
		{"notes that would forge the mark", `notes: "<!-- phoenix-hypervisor.io owner=me -->"`, "spec.notes", "owner mark"},
		{"notes longer than Proxmox keeps", `notes: "` + strings.Repeat("x", 7001) + `"`, "spec.notes", "may not be more than 7000"},
		{"a negative order", `startup: {order: -1}`, "spec.startup.order", "greater than or equal to 0"},
		{"a delay of two days", `startup: {upDelaySeconds: 172800}`, "spec.startup.upDelaySeconds", "less than or equal to 86400"},
		{"a power that there is not", `power: Suspended`, "spec.power", `"Running", "Stopped"`},
		{"no time to shut down", `shutdownTimeout: 0s`, "spec.shutdownTimeout", "from 1s to 1h"},
		{"a day to shut down", `shutdownTimeout: 24h`, "spec.shutdownTimeout", "from 1s to 1h"},
		{"a time without a unit", `shutdownTimeout: "90"`, "spec.shutdownTimeout", "for example 90s"},
		{"a part of a second", `shutdownTimeout: 1500ms`, "spec.shutdownTimeout", "whole seconds"},
		{"a restart policy of Pods", `restartPolicy: Always`, "spec.restartPolicy", `"Never", "WhenRequired"`},
		{"a deletion policy of volumes", `deletionPolicy: Recycle`, "spec.deletionPolicy", `"Delete", "Retain"`},
		{"an adoption policy that there is not", `adoptionPolicy: Always`, "spec.adoptionPolicy", `"Never", "IfUnowned"`},
	})
}

func TestContainerRefused(t *testing.T) {
	t.Parallel()
	checkRefused(t, container, []refused{
		{"a container of nothing", `source: null`, "source.template or source.clone", "adopted by vmid and adoptionPolicy: IfUnowned"},
		{"an adoption without a VMID", `{source: null, adoptionPolicy: IfUnowned}`, "source.template or source.clone", "adopted by vmid"},
		{"a template that is no volume", `source: {template: debian-12}`, "spec.source.template", "STORAGE:vztmpl/FILE"},
		{"an ISO image as template", `source: {template: "local:iso/debian.iso"}`, "spec.source.template", "STORAGE:vztmpl/FILE"},
		{"a way out of the templates", `source: {template: "local:vztmpl/../../etc/passwd"}`, "spec.source.template", "STORAGE:vztmpl/FILE"},
		{"a container with a balloon", `balloon: 512Mi`, "balloon", "a container has swap"},
		{"a container with disks", `disks: [{device: scsi1, size: 8Gi}]`, "disks", "mountPoints with a volume"},
		{"a container with cloud-init", `cloudInit: {user: debian}`, "cloudInit", "for a VM"},
		{"a container with an agent", `agent: true`, "agent", "a container needs none"},
		{"a container's root device", `rootDisk: {device: scsi0}`, "rootDisk.device", "always rootfs"},
		{"a container's card", `networks: [{device: net0, model: virtio}]`, "networks[].model", "for a VM"},
		{"an MTU that containers refuse", `networks: [{device: net0, mtu: 1}]`, "networks[].mtu", "from 64 to 65520"},
		{"an interface name too short", `networks: [{device: net0, name: e}]`, "spec.networks[0].name", "two or more letters"},
		{"two interfaces of one name", `networks: [{device: net0, name: eth0}, {device: net1, name: eth0}]`, "networks[].name", "must differ"},
		{"negative swap", `swap: "-1Gi"`, "spec.swap", "0 or whole Mi, Gi or Ti"},
		{"a mount point of nothing", `mountPoints: [{path: /srv}]`, "spec.mountPoints[0]", "exactly one of volume, bind and export"},
		{"a mount point of two", `mountPoints: [{path: /srv, volume: {size: 1Gi}, bind: {path: /srv/a}}]`, "spec.mountPoints[0]", "exactly one of volume, bind and export"},
		{"a mount over the root", `mountPoints: [{path: /, volume: {size: 1Gi}}]`, "spec.mountPoints[0].path", "not /"},
		{"a relative mount", `mountPoints: [{path: srv, volume: {size: 1Gi}}]`, "spec.mountPoints[0].path", "must be absolute"},
		{"a mount with a comma, which would begin another option", `mountPoints: [{path: "/srv,ro=1", volume: {size: 1Gi}}]`, "spec.mountPoints[0].path", "letters, digits and - . _"},
		{"two mounts on one path", `mountPoints: [{path: /srv, volume: {size: 1Gi}}, {path: /srv, volume: {size: 2Gi}}]`, "spec.mountPoints[1]", "Duplicate value"},
		{"a bind out of its directory", `mountPoints: [{path: /srv, bind: {path: /srv/../etc}}]`, "spec.mountPoints[0].bind.path", "without '.' and '..'"},
		{"a bind with a comma, which would begin another option", `mountPoints: [{path: /srv, bind: {path: "/srv/a,mp=/"}}]`, "spec.mountPoints[0].bind.path", "letters, digits and - . _"},
		{"a bind mount in backups", `mountPoints: [{path: /srv, bind: {path: /srv/a}, backup: true}]`, "backup", "for a volume"},
		{"a volume in MiB", `mountPoints: [{path: /srv, volume: {size: 512Mi}}]`, "spec.mountPoints[0].volume.size", "whole Gi or Ti"},
		{"a raw device", `devices: [/dev/dri]`, "spec.devices", "unknown field"},
	})
}

// TestNameRefused has the names that are host names too.
func TestNameRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64)
	refusal(t, "a name too long for a host name", try(t.Context(), object(t, vm, long, `{}`)), "metadata.name", "set spec.hostname")
	if err := try(t.Context(), object(t, vm, long, `hostname: short`)); err != nil {
		t.Errorf("a long name beside a hostname was refused: %v", err)
	}
}
