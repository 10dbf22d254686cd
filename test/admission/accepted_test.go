// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type accepted struct{ reason, base, patch string }

func TestAccepted(t *testing.T) {
	t.Parallel()
	for _, tc := range []accepted{
		{"the smallest Host", host, `{}`},
		{"a fingerprint with colons", host, `tls: {caSecretRef: null, fingerprint: "` + strings.TrimSuffix(strings.Repeat("AB:", 32), ":") + `"}`},
		{"a fingerprint without colons", host, `tls: {caSecretRef: null, fingerprint: "` + strings.Repeat("ab", 32) + `"}`},
		{"a slash behind the URL", host, `url: "https://pve.lan:8006/"`},
		{"an IPv6 URL", host, `url: "https://[fd00::13]:8006"`},
		{"every field of a Host", host, `
management: Observe
deletionPolicy: Retain
adoptionPolicy: Never
dependsOn: [{kind: Guest, name: router}]
ssh:
  user: root
  keySecretRef: {name: phoenix-ssh, key: id_ed25519}
  nodes:
  - {name: phoenix, address: 10.0.0.13, hostKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE root@phoenix", "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY="]}
  - {name: pve2, address: "pve2.lan:2222", hostKeys: ["ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ=="]}
  - {name: pve3, address: "[fd00::3]:22", hostKeys: ["ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ=="]}
ownerID: home/site
vmidRange: {first: 10000, last: 10999}
defaults: {node: phoenix, storage: local-lvm, bridge: vmbr0, gateway: 10.0.0.1, nameservers: [10.0.0.13, "fd00::13"], domain: phoenix.lan}
limits: {requestsPerSecond: 20, tasks: 4, tasksPerStorage: 2, clonesPerTemplate: 1}
safety: {destructionsPerHour: 0}
allow: {bindMountPaths: [/srv/data, /mnt/pve/nfs-1]}
controlPlaneGuest: {name: kind}`},
		{"the smallest container", container, `{}`},
		{"an existing container", container, `{source: null, vmid: 103, adoptionPolicy: IfUnowned}`},
		{"every field of a container", container, `
management: Enforce
deletionPolicy: Delete
adoptionPolicy: IfUnowned
dependsOn: [{kind: Guest, name: step-ca}]
vmid: 103
node: phoenix
hostname: step-ca.phoenix.lan
cores: 2
memory: 512Mi
swap: "0"
rootDisk: {storage: local-lvm, size: 8Gi}
mountPoints:
- {path: /var/lib/data, volume: {storage: local-lvm, size: 4Gi}, readOnly: false, backup: true}
- {path: /srv/shared, bind: {path: /srv/data/shared}, readOnly: true}
networks:
- {device: net0, name: eth0, bridge: vmbr0, vlan: 7, mac: "BC:24:11:00:00:01", mtu: 1400, rateMBps: 100, firewall: true, ipv4: {method: Static, address: 10.0.0.10/24, gateway: 10.0.0.1}, ipv6: {method: Auto}}
- {device: net31, ipv4: {method: DHCP}, ipv6: {method: Static, address: "fd00::10/64", gateway: "fe80::1"}}
- {device: net2, ipv4: {method: Static, address: 192.0.2.0/31}}
nameservers: [10.0.0.13]
searchDomain: phoenix.lan
features: {nesting: true, keyctl: true, fuse: false, mknod: false}
unprivileged: true
tags: [web, "a+b.c_d-e"]
notes: "The **authority**."
protection: true
startup: {onBoot: true, order: 1, upDelaySeconds: 30, downDelaySeconds: 60}
power: Running
shutdownTimeout: 1m30s
restartPolicy: WhenRequired`},
		{"an address of its own from a hosting provider", container, `networks: [{device: net0, ipv4: {method: Static, address: 198.51.100.7/32, gateway: 203.0.113.1}}]`},
		{"the smallest DockerStack", stack, `{}`},
		{"every field of a DockerStack", stack, `
dependsOn: [{kind: DockerStack, name: db}]
environment: {agentRef: null, portainerRef: {name: portainer}, name: local}
project: blog_staging-1
compose: {inline: null, git: {url: "https://git.phoenix.lan:3000/stacks.git", ref: release/1, path: blog/compose.yaml, credentialsSecretRef: {name: git}, caBundle: "-----BEGIN CERTIFICATE-----", interval: 1m}}
env:
- {name: PLAIN, value: "a value with $, ' and \""}
- {name: EMPTY, value: ""}
- {name: PASSWORD, valueFrom: {secretKeyRef: {name: blog, key: password}}}
- {name: LEVEL, valueFrom: {configMapKeyRef: {name: blog, key: level}}}
configs:
- {name: nginx-conf, configMapKeyRef: {name: blog, key: nginx.conf}}
- {name: token, secretKeyRef: {name: blog, key: token}}
labels: {tier: web}
pullPolicy: Always
prune: false
deleteVolumes: [cache]`},
		{"a DockerStack from git over ssh", stack, `compose: {inline: null, git: {url: "ssh://git@git.phoenix.lan:2222/stacks.git", credentialsSecretRef: {name: git}, knownHostsSecretRef: {name: git, key: known_hosts}}}`},
		{"a DockerStack from a Secret", stack, `compose: {inline: null, secretKeyRef: {name: a, key: compose.yaml}}`},
		{"the smallest docker", docker, `{}`},
		{"every field of a docker", docker, `
docker:
  packageName: docker-ce
  repository: {url: "https://download.docker.com/linux/debian", suite: bookworm, components: [stable], key: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDM=\n-----END PGP PUBLIC KEY BLOCK-----\n"}
  dataRoot: /srv/docker
  logs: {maxSizeMiB: 50, maxFiles: 2}
  liveRestore: false
  registryMirrors: ["https://mirror.phoenix.lan:5000"]
  addressPools: [{base: 172.30.0.0/16, size: 24}, {base: "fd00:1::/48", size: 64}]
  dnsServers: [10.0.0.13]`},
		{"the smallest portainer", portainer, `{}`},
		{"every field of a portainer", portainer, `
portainer:
  image: {name: "registry.phoenix.lan:5000/portainer/portainer-ce:2.23.0", archive: {url: "http://10.0.0.1/portainer.tar", sha256: "` + sha256sum + `"}}
  dockerRef: {name: engine}
  port: 443
  dataDir: /srv/portainer
  certificateRef: null
  secretRef: {name: portainer-tls}
  adminSecretRef: {name: admin}
  settings: {sessionTimeout: 8h, snapshotInterval: 5m, telemetry: false}`},
		{"the smallest agent", portainerAgent, `{}`},
		{"every field of an agent", portainerAgent, `
portainerAgent:
  image: {name: "portainer/agent@sha256:` + sha256sum + `"}
  dockerRef: {name: engine}
  portainerRef: {name: portainer}
  environment: "Dr. Phoenix"
  port: 9002`},
		{"the smallest VM", vm, `{}`},
		{"every field of a VM", vm, `
vmid: 1001
source: {clone: {vmid: 9000, mode: Full, storage: local-lvm}}
cores: 4
memory: 4Gi
balloon: 4Gi
rootDisk: {device: scsi0, storage: local-lvm, size: 32Gi}
disks: [{device: scsi1, storage: local-lvm, size: 100Gi, discard: true, ssd: true, backup: false}, {device: virtio15, size: 1Ti}]
networks: [{device: net0, bridge: vmbr0, model: virtio, mtu: 1, ipv4: {method: Static, address: 10.0.0.111/24, gateway: 10.0.0.1}, ipv6: {method: DHCP}}]
nameservers: [10.0.0.13]
searchDomain: phoenix.lan
cloudInit: {storage: local-lvm, user: debian, sshKeysSecretRef: {name: keys, key: authorized_keys}}
agent: true
notes: ""
shutdownTimeout: 1h`},
		{"a linked clone by name", vm, `source: {clone: {name: debian-12-cloud, mode: Linked}}`},
		{"a clone of another Guest", vm, `source: {clone: {guestRef: {name: golden}}}`},
		{"ballooning turned off", vm, `{memory: 1Gi, balloon: "0"}`},
		{"an export as a mount point", container, `mountPoints: [{path: /mnt/data, export: {serviceRef: {name: nfs}, name: data}, readOnly: true}]`},
		{"exports that a VM mounts", vm, `{agent: true, nfsMounts: [{path: /mnt/data, export: {serviceRef: {name: nfs}, name: data}, readOnly: true}]}`},
		{"directories to export", host, `allow: {exportPaths: [/srv]}`},
		{"the smallest dnsmasq", dnsmasq, `{}`},
		{"dnsmasq in a guest", dnsmasq, `{hostRef: null, guestRef: {name: dns}}`},
		{"every field of dnsmasq", dnsmasq, `
node: phoenix
dependsOn: [{kind: HostService, name: firewall}]
dnsmasq:
  listenAddresses: [10.0.0.13, "fd00::13"]
  upstreams: [9.9.9.9, "2620:fe::fe"]
  domain: phoenix.lan
  publishGuests: false
  records:
  - {name: nas, addresses: [10.0.0.20, "fd00::20"]}
  - {name: apps.phoenix.lan, addresses: [10.0.0.153], subdomains: true}
  - {name: www, cname: nginx}
  - {name: phoenix.lan, text: ["v=spf1 -all", "a b"]}
  - {name: _ldap._tcp, srv: {target: nas, port: 389, priority: 10, weight: 5}}
  zones: [{domain: example.org, servers: [192.168.1.1]}, {domain: 168.192.in-addr.arpa, servers: ["fd00::1"]}]
  dhcp:
    ranges: [{first: 10.0.0.200, last: 10.0.0.250, lease: 12h}]
    gateway: 10.0.0.1
    reservations: [{guestRef: {name: printer}, device: net1, address: 10.0.0.30}]`},
		{"the smallest firewall", firewall, `{}`},
		{"every field of the firewall", firewall, `
firewall:
  flows: Derive
  exclusive: true
  datacenter:
    enabled: true
    policyIn: Drop
    policyOut: Accept
    aliases: [{name: office, address: 10.0.0.0/24, comment: the office}]
    ipSets: [{name: admins, entries: [{address: 10.0.0.7}, {guestRef: {name: admin}}, {address: 10.0.0.128/25, except: true}], comment: who may}]
    rules:
    - {action: Accept, macro: SSH, source: {ipSet: admins}, log: info, comment: admins}
    - {direction: Out, action: Reject, protocol: udp, ports: "53", destination: {address: 8.8.8.8}, enabled: false}
    - {action: Accept, protocol: icmp, icmpType: echo-request, interface: vmbr0}
  nodes: [{name: pve1, enabled: true, rules: [{action: Accept, protocol: tcp, ports: "80,443,8000:8080", sourcePorts: "1024:65535", source: {alias: office}}]}]
  guests: [{name: nginx, enabled: true, policyIn: Drop, policyOut: Accept, dhcp: true, macFilter: true, ipFilter: true, rules: [{action: Accept, source: {guestRef: {name: traefik}}}]}]`},
		{"every field of nfs", nfs, `
nfs:
  server: Ganesha
  address: 10.0.0.13
  exports:
  - {name: media, path: /srv/media, owner: "100000", group: nogroup, mode: "2770", clients: [{guestRef: {name: a}, readOnly: true, squash: All, async: true}, {cidr: "fd00::/64", squash: None}, {cidr: 10.0.0.102/32}]}`},
		{"the smallest Certificate", certificate, `{}`},
		{"every field of a Certificate", certificate, `
dependsOn: [{kind: Certificate, name: other}]
commonName: www
dnsNames: [www.phoenix.lan, "*.www.phoenix.lan"]
ipAddresses: [10.0.0.153, "fd00::1"]
uris: ["spiffe://phoenix.lan/nginx"]
emailAddresses: [admin@phoenix.lan]
duration: 1m
renewBefore: 20s
privateKey: {algorithm: RSA, size: 4096, rotationPolicy: Never, encoding: PKCS1}
usages: [ServerAuth, ClientAuth, CodeSigning, EmailProtection]
secretTemplate: {labels: {a: b}, annotations: {c: d}}
keystores: {pkcs12: {passwordSecretRef: {name: a, key: b}}, jks: {alias: site, passwordSecretRef: {name: a, key: b}}}
revokeOnDeletion: true
deliverTo:
- {name: web, guestRef: {name: nginx}, probe: {address: 10.0.0.153, port: 8443, serverName: www.phoenix.lan}}
- {name: pve, hostRef: {name: phoenix}, node: pve1, files: {certificate: /etc/a, chain: /etc/b, key: /etc/c, ca: /etc/d, combined: /etc/e, owner: www-data, group: "33", mode: "0640"}, reload: [{unit: a@b.service, action: Restart}, {unit: c.service}]}`},
		{"a Certificate of an outside authority", certificate, `authority: {serviceRef: null, outside: {url: "https://ca.lan:9000", fingerprint: "` + sha256sum + `"}, provisioner: {name: admin, keySecretRef: {name: a, key: jwk}, passwordSecretRef: {name: a, key: password}}}`},
		{"the smallest authority", stepCA, `{}`},
		{"every field of an authority", stepCA, `
stepCA:
  packageName: null
  artifact: {url: "http://mirror.lan/step-ca_linux_0.30.2_amd64.tar.gz", sha256: "` + sha256sum + `", member: step-ca_0.30.2/step-ca}
  port: 9000
  dnsNames: [ca.phoenix.lan]
  root: {commonName: Phoenix Root, duration: 87600h}
  intermediate: {commonName: Phoenix Intermediate, duration: 43800h}
  rootGeneration: 2
  claims: {minDuration: 10s, maxDuration: 2160h, defaultDuration: 24h}
  acme: {name: acme}
  database: Badger`},
		{"the smallest nginx", nginx, `{}`},
		{"every field of nginx", nginx, `nginx: {packageName: nginx-full, httpPort: 8080, httpsPort: 8443, servers: [{name: a, names: [www.lan, "*.lan"], certificateRef: {name: a}}, {name: b, secretRef: {name: public}}]}`},
		{"a guest that trusts", vm, `{agent: true, trustAuthorities: [{serviceRef: {name: step-ca}}, {outside: {url: "https://ca.lan", fingerprint: "` + sha256sum + `"}}]}`},
		{"a balloon in another unit", vm, `{memory: 2Gi, balloon: 2048Mi}`},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			if err := try(t.Context(), object(t, tc.base, "good", tc.patch)); err != nil {
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}

// TestNothingFilledIn proves that what the user did not say is not said for them: a GitOps tool sees no difference.
func TestNothingFilledIn(t *testing.T) {
	t.Parallel()
	for kind, base := range map[string]string{"host": host, "container": container, "vm": vm, "dnsmasq": dnsmasq, "firewall": firewall, "nfs": nfs,
		"certificate": certificate, "step-ca": stepCA, "nginx": nginx} {
		o := object(t, base, "unset-"+kind, `{}`)
		want := o.DeepCopy().Object["spec"]
		if err := kube.Create(t.Context(), o, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, o.Object["spec"]); diff != "" {
			t.Errorf("%s: spec was changed (-declared +stored):\n%s", kind, diff)
		}
	}
}
