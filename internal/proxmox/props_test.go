// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseProps(t *testing.T) {
	cases := map[string]struct {
		reason, text, defaultKey string
		keys                     []string
		wantErr                  string
	}{
		"container net": {
			reason: "the order of the file is kept",
			text:   "name=eth0,bridge=vmbr0,firewall=1,gw=10.99.0.1,hwaddr=BC:24:11:5D:6E:BF,ip=10.99.0.101/24,type=veth",
			keys:   []string{"name", "bridge", "firewall", "gw", "hwaddr", "ip", "type"},
		},
		"volume":            {reason: "the default key stands bare", text: "local:101/vm-101-disk-0.raw,size=1G", defaultKey: "volume", keys: []string{"volume", "size"}},
		"bare later":        {reason: "Proxmox takes the bare value at any place", text: "mp=/data,local:8", defaultKey: "volume", keys: []string{"mp", "volume"}},
		"spelled out":       {reason: "the default key may be written", text: "volume=local:8,mp=/data", defaultKey: "volume", keys: []string{"volume", "mp"}},
		"value with equals": {reason: "only the first = parts", text: "cicustom=user=local:snippets/x.yml", keys: []string{"cicustom"}},
		"blank parts":       {reason: "Proxmox passes them over", text: "a=1,, ,b=2,", keys: []string{"a", "b"}},
		"empty":             {reason: "no key at all", text: "", keys: []string{}},
		"no default key":    {reason: "a bare value means nothing there", text: "eth0,bridge=vmbr0", wantErr: "has no key"},
		"twice":             {reason: "Proxmox refuses a key twice", text: "a=1,a=2", wantErr: "twice"},
		"bare twice":        {reason: "it is the default key twice", text: "x,y", defaultKey: "volume", wantErr: "twice"},
		"no value":          {reason: "Proxmox refuses an empty value", text: "a=", wantErr: "lacks"},
		"no key":            {reason: "and an empty key", text: "=1", wantErr: "lacks"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := ParseProps(c.text, c.defaultKey)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("%s: ParseProps() = %v, want %q", c.reason, err, c.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", c.reason, err)
			}
			if diff := cmp.Diff(c.keys, p.Keys()); diff != "" {
				t.Errorf("%s: keys (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestPropsChange(t *testing.T) {
	cases := map[string]struct {
		reason, text, defaultKey string
		change                   func(p *Props) error
		want, wantErr            string
	}{
		"replace":           {"in its place", "a=1,b=2,c=3", "", func(p *Props) error { return p.Set("b", "9") }, "a=1,b=9,c=3", ""},
		"append":            {"what is new comes last", "a=1", "", func(p *Props) error { return p.Set("z", "9") }, "a=1,z=9", ""},
		"default":           {"the default key comes first and bare", "size=8G", "volume", func(p *Props) error { return p.Set("volume", "local:8") }, "local:8,size=8G", ""},
		"default in place":  {"it stays where it was", "mp=/d,local:8", "volume", func(p *Props) error { return p.Set("volume", "local:9") }, "mp=/d,local:9", ""},
		"default with =":    {"bare it would read as a key", "local:8", "volume", func(p *Props) error { return p.Set("volume", "/mnt/a=b") }, "volume=/mnt/a=b", ""},
		"spelled default":   {"its spelling stays", "volume=local:8", "volume", func(p *Props) error { return p.Set("volume", "local:9") }, "volume=local:9", ""},
		"delete":            {"the rest stays", "a=1,b=2", "", func(p *Props) error { p.Delete("a"); return nil }, "b=2", ""},
		"delete absent":     {"nothing to do", "a=1", "", func(p *Props) error { p.Delete("x"); return nil }, "a=1", ""},
		"comma":             {"a value must not bring in a second key", "a=1", "", func(p *Props) error { return p.Set("b", "1,mp=/etc") }, "a=1", "comma"},
		"newline":           {"nor a second line", "a=1", "", func(p *Props) error { return p.Set("b", "1\nlxc.x: y") }, "a=1", "control"},
		"blank value":       {"Proxmox would pass it over", "a=1", "", func(p *Props) error { return p.Set("b", " ") }, "a=1", "blank"},
		"key with equals":   {"it would be another key", "a=1", "", func(p *Props) error { return p.Set("b=c", "1") }, "a=1", "not a key"},
		"clone is detached": {"a change of a copy must not show", "a=1", "", func(p *Props) error { c := p.Clone(); return c.Set("a", "2") }, "a=1", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := ParseProps(c.text, c.defaultKey)
			if err != nil {
				t.Fatal(err)
			}
			err = c.change(&p)
			if (err != nil) != (c.wantErr != "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("%s: change = %v, want %q", c.reason, err, c.wantErr)
			}
			if got := p.String(); got != c.want {
				t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
			}
		})
	}
}

func TestEqualProps(t *testing.T) {
	cases := map[string]struct {
		reason, a, b, defaultKey string
		want                     bool
	}{
		"order":     {"Proxmox sorts what it stores", "name=eth0,ip=dhcp,bridge=vmbr0", "name=eth0,bridge=vmbr0,ip=dhcp", "", true},
		"spelling":  {"the default key may be written", "local:8,mp=/d", "volume=local:8,mp=/d", "volume", true},
		"value":     {"another value is a change", "a=1", "a=2", "", false},
		"more":      {"one key more is a change", "a=1", "a=1,b=1", "", false},
		"other key": {"as many keys are not the same keys", "a=1,b=1", "a=1,c=1", "", false},
		"broken":    {"what cannot be read equals itself", "a,a", "a,a", "", true},
		"broken a":  {"and nothing else", "a,a", "a=1", "", false},
		"broken b":  {"on either side", "a=1", "b", "", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := EqualProps(c.a, c.b, c.defaultKey); got != c.want {
				t.Errorf("%s: EqualProps(%q, %q) = %v", c.reason, c.a, c.b, got)
			}
		})
	}
}

// FuzzProps holds the codec to its promise: what can be read is rendered so
// that it reads the same, keys in the same order, and each typed view that can
// read a text renders one that means exactly the same.
func FuzzProps(f *testing.F) {
	for _, seed := range []string{
		"name=eth0,bridge=vmbr0,firewall=1,gw=10.99.0.1,hwaddr=BC:24:11:5D:6E:BF,ip=10.99.0.101/24,type=veth",
		"virtio=BC:24:11:73:4C:0A,bridge=vmbr0", "virtio,bridge=vmbr0,firewall=1", "model=virtio,macaddr=BC:24:11:73:4C:0A",
		"local:101/vm-101-disk-0.raw,size=1G", "local:1", "local:1,format=qcow2", "local:100/vm-100-cloudinit.qcow2,media=cdrom",
		"/srv/data,mp=/data,ro=1,backup=0", "local:1,mp=/data1", "nesting=1,keyctl=1,mount=nfs;cifs", "order=1,up=30,down=60", "5",
		"1", "enabled=1,fstrim_cloned_disks=1,type=virtio", "order=scsi0;ide2;net0", "ip=10.99.0.100/24,gw=10.99.0.1",
		"creation-qemu=10.0.13,ctime=1795287846", "uuid=47c21de7-b5b3-465e-a881-9e331a9495b2", "a=1,,b=2,", "firewall=0,future=x",
	} {
		f.Add(seed, "volume")
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, text, defaultKey string) {
		if strings.ContainsAny(defaultKey, "=,") {
			return // no default key of Proxmox looks so
		}
		p, err := ParseProps(text, defaultKey)
		if err != nil {
			return
		}
		again, err := ParseProps(p.String(), defaultKey)
		if err != nil {
			t.Fatalf("%q reads, %q does not: %v", text, p.String(), err)
		}
		if diff := cmp.Diff(p.Keys(), again.Keys()); diff != "" {
			t.Fatalf("keys of %q changed:\n%s", text, diff)
		}
		if p.String() != again.String() || !p.Equal(again) {
			t.Fatalf("%q became %q", p.String(), again.String())
		}
		for name, view := range views {
			out, key, err := view(text)
			if err != nil {
				continue
			}
			if !EqualProps(text, out, key) {
				t.Fatalf("%s: %q became %q", name, text, out)
			}
		}
	})
}

// views read and render a text with each of the typed views.
var views = map[string]func(string) (out, defaultKey string, err error){
	"net lxc":     view("", func(s string) (Net, error) { return ParseNet(LXC, s) }, func(n Net) (string, error) { return n.Encode(LXC) }),
	"net qemu":    view("model", func(s string) (Net, error) { return ParseNet(QEMU, s) }, func(n Net) (string, error) { return n.Encode(QEMU) }),
	"disk":        view("file", ParseDisk, Disk.Encode),
	"mount point": view("volume", ParseMountPoint, MountPoint.Encode),
	"features":    view("", ParseFeatures, Features.Encode),
	"ipconfig":    view("", ParseIPConfig, IPConfig.Encode),
	"startup":     view("order", ParseStartup, Startup.Encode),
}

func view[T any](defaultKey string, parse func(string) (T, error), encode func(T) (string, error)) func(string) (string, string, error) {
	return func(s string) (string, string, error) {
		v, err := parse(s)
		if err != nil {
			return "", defaultKey, err
		}
		out, err := encode(v)
		return out, defaultKey, err
	}
}
