// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func ptr[T any](v T) *T { return &v }

// codec checks one typed view: what it reads, and that a change renders as
// wanted while everything else keeps its place.
type codec[T any] struct {
	reason, text string
	want         T
	change       func(*T) // nil: none
	rendered     string   // empty: the text itself
}

func (c codec[T]) check(t *testing.T, parse func(string) (T, error), encode func(T) (string, error)) {
	t.Helper()
	got, err := parse(c.text)
	if err != nil {
		t.Fatalf("%s: %v", c.reason, err)
	}
	if diff := cmp.Diff(c.want, got, cmpopts.IgnoreUnexported(got)); diff != "" {
		t.Errorf("%s: (-want +got):\n%s", c.reason, diff)
	}
	if c.change != nil {
		c.change(&got)
	}
	rendered, err := encode(got)
	if err != nil {
		t.Fatalf("%s: %v", c.reason, err)
	}
	want := c.rendered
	if want == "" && c.change == nil {
		want = c.text
	}
	if rendered != want {
		t.Errorf("%s: rendered %q, want %q", c.reason, rendered, want)
	}
}

func TestContainerNet(t *testing.T) {
	const recorded = "name=eth0,bridge=vmbr0,firewall=1,gw=10.99.0.1,hwaddr=BC:24:11:5D:6E:BF,ip=10.99.0.101/24,type=veth"
	seen := Net{
		Name: "eth0", Bridge: "vmbr0", Firewall: true, GW: "10.99.0.1", MAC: "BC:24:11:5D:6E:BF",
		IP: "10.99.0.101/24", Type: "veth",
	}
	cases := map[string]codec[Net]{
		"recorded":        {reason: "as 9.2 writes it", text: recorded, want: seen},
		"new address":     {reason: "the rest stays in place", text: recorded, want: seen, change: func(n *Net) { n.IP = "dhcp"; n.GW = "" }, rendered: "name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:5D:6E:BF,ip=dhcp,type=veth"},
		"MAC in case":     {reason: "the case of a MAC is no change", text: recorded, want: seen, change: func(n *Net) { n.MAC = "bc:24:11:5d:6e:bf" }, rendered: recorded},
		"firewall=0":      {reason: "no firewall in other words is no change", text: "name=eth0,firewall=0", want: Net{Name: "eth0"}},
		"firewall off":    {reason: "the key goes", text: "name=eth0,firewall=1,bridge=vmbr0", want: Net{Name: "eth0", Firewall: true, Bridge: "vmbr0"}, change: func(n *Net) { n.Firewall = false }, rendered: "name=eth0,bridge=vmbr0"},
		"unknown":         {reason: "a key of the future survives a change", text: "name=eth0,host-managed=1,tag=5", want: Net{Name: "eth0", Tag: 5}, change: func(n *Net) { n.Tag = 7; n.MTU = 1400 }, rendered: "name=eth0,host-managed=1,tag=7,mtu=1400"},
		"rate":            {reason: "a fraction", text: "name=eth0,rate=12.5", want: Net{Name: "eth0", Rate: 12.5}},
		"rate in zeroes":  {reason: "the same number is no change", text: "name=eth0,rate=12.50", want: Net{Name: "eth0", Rate: 12.5}},
		"IPv6":            {reason: "both families", text: "name=eth0,ip6=auto,gw6=fe80::1", want: Net{Name: "eth0", IP6: "auto", GW6: "fe80::1"}},
		"made from zero":  {reason: "a new one in the order of the API", text: "", want: Net{}, change: func(n *Net) { *n = Net{Bridge: "vmbr0", Name: "eth0", IP: "dhcp", Tag: 3, LinkDown: true} }, rendered: "name=eth0,bridge=vmbr0,tag=3,link_down=1,ip=dhcp"},
		"boolean in word": {reason: "Proxmox reads on as 1", text: "name=eth0,firewall=on", want: Net{Name: "eth0", Firewall: true}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.check(t, func(s string) (Net, error) { return ParseNet(LXC, s) }, func(n Net) (string, error) { return n.Encode(LXC) })
		})
	}
}

func TestVMNet(t *testing.T) {
	const mac = "BC:24:11:73:4C:0A"
	seen := Net{Model: "virtio", MAC: mac, Bridge: "vmbr0"}
	set := func(f func(*Net)) func(*Net) { return f }
	cases := map[string]codec[Net]{
		"recorded":       {reason: "the model is a key", text: "virtio=" + mac + ",bridge=vmbr0", want: seen},
		"other model":    {reason: "in the same place, the MAC stays", text: "virtio=" + mac + ",bridge=vmbr0", want: seen, change: set(func(n *Net) { n.Model = "e1000" }), rendered: "e1000=" + mac + ",bridge=vmbr0"},
		"other MAC":      {reason: "in the same place", text: "virtio=" + mac + ",bridge=vmbr0", want: seen, change: set(func(n *Net) { n.MAC = "02:00:00:00:00:01" }), rendered: "virtio=02:00:00:00:00:01,bridge=vmbr0"},
		"MAC in case":    {reason: "the case of a MAC is no change", text: "virtio=" + mac + ",bridge=vmbr0", want: seen, change: set(func(n *Net) { n.MAC = strings.ToLower(mac) }), rendered: "virtio=" + mac + ",bridge=vmbr0"},
		"MAC given up":   {reason: "Proxmox is to choose one", text: "virtio=" + mac + ",bridge=vmbr0", want: seen, change: set(func(n *Net) { n.MAC = "" }), rendered: "virtio,bridge=vmbr0"},
		"bare":           {reason: "the model is the default key", text: "virtio,bridge=vmbr0", want: Net{Model: "virtio", Bridge: "vmbr0"}},
		"bare gets MAC":  {reason: "the alias takes the place", text: "virtio,bridge=vmbr0", want: Net{Model: "virtio", Bridge: "vmbr0"}, change: set(func(n *Net) { n.MAC = mac }), rendered: "virtio=" + mac + ",bridge=vmbr0"},
		"spelled":        {reason: "model and macaddr apart", text: "model=virtio,macaddr=" + mac + ",bridge=vmbr0", want: seen},
		"spelled change": {reason: "each in its place", text: "model=virtio,macaddr=" + mac + ",bridge=vmbr0", want: seen, change: set(func(n *Net) { n.Model = "vmxnet3"; n.MAC = "02:00:00:00:00:01" }), rendered: "model=vmxnet3,macaddr=02:00:00:00:00:01,bridge=vmbr0"},
		"unknown":        {reason: "a key of the future survives", text: "virtio=" + mac + ",future=1,queues=4", want: Net{Model: "virtio", MAC: mac, Queues: 4}},
		"new":            {reason: "with a MAC", text: "", want: Net{}, change: set(func(n *Net) { *n = Net{Model: "virtio", MAC: mac, Bridge: "vmbr0", Firewall: true} }), rendered: "virtio=" + mac + ",bridge=vmbr0,firewall=1"},
		"new without":    {reason: "Proxmox chooses the MAC", text: "", want: Net{}, change: set(func(n *Net) { *n = Net{Model: "virtio", Bridge: "vmbr0", MTU: 1} }), rendered: "virtio,bridge=vmbr0,mtu=1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.text == "" { // a VM's network needs a model: an empty text cannot be rendered
				n := Net{}
				c.change(&n)
				got, err := n.Encode(QEMU)
				if err != nil || got != c.rendered {
					t.Fatalf("%s: %q, %v, want %q", c.reason, got, err, c.rendered)
				}
				return
			}
			c.check(t, func(s string) (Net, error) { return ParseNet(QEMU, s) }, func(n Net) (string, error) { return n.Encode(QEMU) })
		})
	}
	if _, err := (Net{Bridge: "vmbr0"}).Encode(QEMU); err == nil {
		t.Error("a VM's network without a model was rendered")
	}
}

func TestVolumes(t *testing.T) {
	disks := map[string]codec[Disk]{
		"recorded":   {reason: "as 9.2 writes it", text: "local:100/vm-100-disk-0.raw,size=1G", want: Disk{Volume: "local:100/vm-100-disk-0.raw", Size: gib}},
		"new":        {reason: "storage:gigabytes", text: "local:1,format=qcow2", want: Disk{Volume: "local:1", Format: "qcow2"}},
		"cloud-init": {reason: "a CD-ROM drive", text: "local:100/vm-100-cloudinit.qcow2,media=cdrom", want: Disk{Volume: "local:100/vm-100-cloudinit.qcow2", Media: "cdrom"}},
		"options":    {reason: "backup=0 is not absence", text: "a:b,backup=0,discard=on,iothread=1,ssd=1,future=2", want: Disk{Volume: "a:b", Backup: ptr(false), Discard: "on", IOThread: true, SSD: true}},
		"changed":    {reason: "what is unknown stays", text: "a:b,future=2,iothread=1", want: Disk{Volume: "a:b", IOThread: true}, change: func(d *Disk) { d.SSD = true; d.Backup = ptr(true) }, rendered: "a:b,future=2,iothread=1,backup=1,ssd=1"},
		"same size":  {reason: "1024M is 1G", text: "a:b,size=1024M", want: Disk{Volume: "a:b", Size: gib}},
		"copied":     {reason: "a new volume of an image", text: "", want: Disk{}, change: func(d *Disk) { d.Volume = "local:0"; d.Import = "local:import/debian.qcow2" }, rendered: "local:0,import-from=local:import/debian.qcow2"},
	}
	for name, c := range disks {
		t.Run("disk "+name, func(t *testing.T) { c.check(t, ParseDisk, Disk.Encode) })
	}
	mounts := map[string]codec[MountPoint]{
		"rootfs":  {reason: "as 9.2 writes it", text: "local:101/vm-101-disk-0.raw,size=1G", want: MountPoint{Volume: "local:101/vm-101-disk-0.raw", Size: gib}},
		"bind":    {reason: "a path of the node", text: "/srv/export,mp=/data,ro=1", want: MountPoint{Volume: "/srv/export", Path: "/data", ReadOnly: true}},
		"options": {reason: "lists and both kinds of flags", text: "a:b,mp=/d,acl=0,mountoptions=noatime;nodev,quota=1,replicate=0,shared=1,backup=1", want: MountPoint{Volume: "a:b", Path: "/d", ACL: ptr(false), Options: []string{"noatime", "nodev"}, Quota: true, Replicate: ptr(false), Shared: true, Backup: true}},
		"moved":   {reason: "only the path changes", text: "a:b,mp=/d,keep=1,size=8G", want: MountPoint{Volume: "a:b", Path: "/d", Size: 8 * gib}, change: func(m *MountPoint) { m.Path = "/e" }, rendered: "a:b,mp=/e,keep=1,size=8G"},
		"new":     {reason: "a volume to be made", text: "", want: MountPoint{}, change: func(m *MountPoint) { *m = MountPoint{Volume: NewVolume("local", 8*gib), Path: "/data"} }, rendered: "local:8,mp=/data"},
	}
	for name, c := range mounts {
		t.Run("mount point "+name, func(t *testing.T) { c.check(t, ParseMountPoint, MountPoint.Encode) })
	}
}

func TestVolumeNames(t *testing.T) {
	cases := map[string]struct {
		reason  string
		mount   MountPoint
		storage string
		isNew   bool
		bind    bool
	}{
		"new":      {"storage:gigabytes", MountPoint{Volume: "local-zfs:8"}, "local-zfs", true, false},
		"fraction": {"Proxmox takes one", MountPoint{Volume: "local:0.5"}, "local", true, false},
		"made":     {"a name, not a number", MountPoint{Volume: "local:101/vm-101-disk-0.raw"}, "local", false, false},
		"bind":     {"a path has no storage, even with a colon", MountPoint{Volume: "/srv/a:8"}, "", false, true},
		"none":     {"an empty drive", MountPoint{Volume: "none"}, "", false, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := Disk{Volume: c.mount.Volume}
			if c.mount.Storage() != c.storage || d.Storage() != c.storage {
				t.Errorf("%s: storage %q", c.reason, c.mount.Storage())
			}
			if c.mount.IsNew() != c.isNew || d.IsNew() != c.isNew || c.mount.IsBind() != c.bind {
				t.Errorf("%s: new %v, bind %v", c.reason, c.mount.IsNew(), c.mount.IsBind())
			}
		})
	}
	if got := NewVolume("local", gib/2); got != "local:0.5" {
		t.Errorf("half a gigabyte is %q", got)
	}
}

func TestOptions(t *testing.T) {
	features := map[string]codec[Features]{
		"recorded": {reason: "the one that a token may set", text: "nesting=1", want: Features{Nesting: true}},
		"all":      {reason: "each has its member", text: "nesting=1,keyctl=1,fuse=1,mknod=1,force_rw_sys=1,mount=nfs;cifs", want: Features{Nesting: true, KeyCtl: true, FUSE: true, MkNod: true, ForceRWSys: true, Mount: []string{"nfs", "cifs"}}},
		"off":      {reason: "nothing is left", text: "nesting=1", want: Features{Nesting: true}, change: func(f *Features) { f.Nesting = false }},
	}
	for name, c := range features {
		t.Run("features "+name, func(t *testing.T) { c.check(t, ParseFeatures, Features.Encode) })
	}
	startups := map[string]codec[Startup]{
		"all":   {reason: "as 9.2 writes it", text: "order=1,up=30,down=60", want: Startup{Order: ptr(1), Up: ptr(30), Down: ptr(60)}},
		"bare":  {reason: "the short form", text: "5", want: Startup{Order: ptr(5)}},
		"first": {reason: "0 is an order", text: "", want: Startup{}, change: func(s *Startup) { s.Order = ptr(0); s.Up = ptr(5) }, rendered: "order=0,up=5"},
	}
	for name, c := range startups {
		t.Run("startup "+name, func(t *testing.T) { c.check(t, ParseStartup, Startup.Encode) })
	}
	agents := map[string]codec[AgentOpts]{
		"recorded": {reason: "the short form", text: "1", want: AgentOpts{Enabled: true}},
		"all":      {reason: "each has its member", text: "enabled=1,freeze-fs-on-backup=0,fstrim_cloned_disks=1,type=isa", want: AgentOpts{Enabled: true, FreezeFSOnBackup: ptr(false), FSTrimClonedDisks: true, Type: "isa"}},
		"off":      {reason: "the required key stays", text: "1,type=isa", want: AgentOpts{Enabled: true, Type: "isa"}, change: func(a *AgentOpts) { a.Enabled = false }, rendered: "0,type=isa"},
		"new":      {reason: "the short form again", text: "", want: AgentOpts{}, change: func(a *AgentOpts) { a.Enabled = true }, rendered: "1"},
	}
	for name, c := range agents {
		t.Run("agent "+name, func(t *testing.T) { c.check(t, ParseAgent, AgentOpts.Encode) })
	}
	configs := map[string]codec[IPConfig]{
		"recorded": {reason: "as 9.2 writes it", text: "ip=10.99.0.100/24,gw=10.99.0.1", want: IPConfig{IP: "10.99.0.100/24", GW: "10.99.0.1"}},
		"dhcp":     {reason: "the gateway goes", text: "ip=10.99.0.100/24,gw=10.99.0.1", want: IPConfig{IP: "10.99.0.100/24", GW: "10.99.0.1"}, change: func(c *IPConfig) { c.IP, c.GW, c.IP6 = "dhcp", "", "auto" }, rendered: "ip=dhcp,ip6=auto"},
	}
	for name, c := range configs {
		t.Run("ipconfig "+name, func(t *testing.T) { c.check(t, ParseIPConfig, IPConfig.Encode) })
	}
}

func TestMalformedValues(t *testing.T) {
	cases := map[string]struct {
		reason string
		parse  func() error
	}{
		"tag":     {"not a number", func() error { _, err := ParseNet(LXC, "name=eth0,tag=x"); return err }},
		"rate":    {"not a number", func() error { _, err := ParseNet(LXC, "name=eth0,rate=x"); return err }},
		"flag":    {"not a boolean", func() error { _, err := ParseNet(LXC, "name=eth0,firewall=2"); return err }},
		"net":     {"a container's has no default key", func() error { _, err := ParseNet(LXC, "eth0"); return err }},
		"size":    {"an unknown unit", func() error { _, err := ParseDisk("a:b,size=8X"); return err }},
		"backup":  {"not a boolean", func() error { _, err := ParseDisk("a:b,backup=x"); return err }},
		"disk":    {"two volumes", func() error { _, err := ParseDisk("a:b,c:d"); return err }},
		"mount":   {"two volumes", func() error { _, err := ParseMountPoint("a:b,c:d"); return err }},
		"acl":     {"not a boolean", func() error { _, err := ParseMountPoint("a:b,acl=x"); return err }},
		"startup": {"not a number", func() error { _, err := ParseStartup("order=x"); return err }},
		"starts":  {"two orders", func() error { _, err := ParseStartup("1,2"); return err }},
		"feature": {"no default key", func() error { _, err := ParseFeatures("nesting"); return err }},
		"agent":   {"two enabled", func() error { _, err := ParseAgent("1,0"); return err }},
		"ip":      {"no default key", func() error { _, err := ParseIPConfig("dhcp"); return err }},
		"inject":  {"a value must not bring in a key", func() error { _, err := Net{Name: "eth0", Bridge: "a,ip=x"}.Encode(LXC); return err }},
		"inject model": {"nor in the place of a model", func() error {
			n, err := ParseNet(QEMU, "virtio=02:00:00:00:00:01")
			if err != nil {
				t.Fatal(err)
			}
			n.MAC = "02:00:00:00:00:01,bridge=vmbr1"
			_, err = n.Encode(QEMU)
			return err
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.parse() == nil {
				t.Errorf("%s: accepted", c.reason)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	cases := map[string]struct {
		reason, text string
		bytes        int64
		rendered     string // empty: the text itself
		bad          bool
	}{
		"G":        {"as 9.2 writes it", "8G", 8 * gib, "", false},
		"M":        {"no whole G", "1536M", 1536 << 20, "", false},
		"T":        {"the largest unit", "2T", 2 << 40, "", false},
		"4 P":      {"there is none above T", "4096T", 4096 << 40, "", false},
		"K":        {"as EFI disks have", "528K", 528 << 10, "", false},
		"bytes":    {"no unit", "1025", 1025, "", false},
		"fraction": {"a person may write one", "1.5G", 1536 << 20, "1536M", false},
		"zero":     {"nothing", "0", 0, "", false},
		"Gi":       {"that is Kubernetes' word", "8Gi", 0, "", true},
		"negative": {"no size", "-1G", 0, "", true},
		"plus":     {"an increment is no size", "+1G", 0, "", true},
		"huge":     {"beyond 63 bits", "9999999999T", 0, "", true},
		"empty":    {"nothing to read", "", 0, "", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSize(c.text)
			if (err != nil) != c.bad || got != c.bytes {
				t.Fatalf("%s: ParseSize(%q) = %d, %v", c.reason, c.text, got, err)
			}
			want := c.rendered
			if want == "" {
				want = c.text
			}
			if !c.bad && FormatSize(got) != want {
				t.Errorf("%s: FormatSize(%d) = %q, want %q", c.reason, got, FormatSize(got), want)
			}
		})
	}
}

func TestTagsAndKeys(t *testing.T) {
	if got := FormatTags([]string{"web", "prod", "web"}); got != "prod;web" {
		t.Errorf("tags render as %q, 9.2 stores prod;web", got)
	}
	if diff := cmp.Diff([]string{"one", "two"}, ParseTags("two,one two")); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	keys := []string{"ssh-ed25519 AAAA+/= me@home", "ssh-rsa BBBB"}
	encoded := EncodeSSHKeys(keys)
	if strings.ContainsAny(encoded, "+ /\n=@") {
		t.Errorf("%q holds what Proxmox refuses as an urlencoded string", encoded)
	}
	decoded, err := DecodeSSHKeys(encoded + "%0A")
	if diff := cmp.Diff(keys, decoded); err != nil || diff != "" {
		t.Errorf("keys: %v (-want +got):\n%s", err, diff)
	}
	if _, err := DecodeSSHKeys("%zz"); err == nil {
		t.Error("a broken encoding was read")
	}
}

func TestRootOnlyKeys(t *testing.T) {
	cases := map[string]struct {
		reason, key, value string
		guest              GuestType
		want               bool
	}{
		"bind":      {"403 to every token", "mp0", "/srv/x,mp=/data", LXC, true},
		"volume":    {"a token may", "mp0", "local:8,mp=/data", LXC, false},
		"device":    {"403 to every token", "dev0", "/dev/fuse", LXC, true},
		"nesting":   {"the one feature that a token may set", "features", "nesting=1", LXC, false},
		"keyctl":    {"403 to every token", "features", "nesting=1,keyctl=1", LXC, true},
		"malformed": {"Proxmox says better why", "features", "nesting", LXC, false},
		"lock":      {"root alone", "lock", "backup", QEMU, true},
		"args":      {"root alone", "args", "-x", QEMU, true},
		"raw":       {"root alone", "lxc.apparmor.profile", "unconfined", LXC, true},
		"memory":    {"a token may", "memory", "512", LXC, false},
		"VM disk":   {"mp and features are keys of containers", "scsi0", "/dev/sda", QEMU, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := RootOnly(c.guest, c.key, c.value); got != c.want {
				t.Errorf("%s: RootOnly(%s=%s) = %v", c.reason, c.key, c.value, got)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	set := map[string]string{"mp0": "/srv/x,mp=/data", "features": "keyctl=1,nesting=1"}
	want := []string{"pct", "set", "101", "--features", "keyctl=1,nesting=1", "--mp0", "/srv/x,mp=/data", "--delete", "mp1,dev0", "--digest", "abc"}
	got := SetCommand(Ref{Node: "pve1", Type: LXC, VMID: 101}, "abc", set, []string{"mp1", "dev0"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("container (-want +got):\n%s", diff)
	}
	got = SetCommand(Ref{Type: QEMU, VMID: 7}, "", map[string]string{"args": "-x"}, nil)
	if diff := cmp.Diff([]string{"qm", "set", "7", "--args", "-x"}, got); diff != "" {
		t.Errorf("VM (-want +got):\n%s", diff)
	}
}

func TestParseDigests(t *testing.T) {
	const sum = "47101a903c2fd13cf37e39403efa07fd9d326d8b"
	got, err := ParseDigests([]byte(sum + "  /etc/pve/nodes/pve1/lxc/101.conf\n" + sum + "  /etc/pve/nodes/pve2/qemu-server/1001.conf\n\n"))
	if diff := cmp.Diff(map[int]string{101: sum, 1001: sum}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"sha1sum: not found", "abc  /etc/pve/nodes/pve1/lxc/101.conf", sum + "  /etc/passwd", sum} {
		if got, err := ParseDigests([]byte(bad)); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}
