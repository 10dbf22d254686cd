// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"syscall"
)

const dockerConf = "/etc/docker/daemon.json"

// dockerConfig is what matters here of an engine's configuration.
type dockerConfig struct {
	DataRoot    string            `json:"data-root"`
	LiveRestore bool              `json:"live-restore"`
	Debug       bool              `json:"debug"`
	LogDriver   string            `json:"log-driver"`
	LogOpts     map[string]string `json:"log-opts"`
	Mirrors     []string          `json:"registry-mirrors"`
	Insecure    []string          `json:"insecure-registries"`
	DNS         []string          `json:"dns"`
	Labels      []string          `json:"labels"`
	Storage     string            `json:"storage-driver"`
	Pools       []struct {
		Base string `json:"base"`
		Size int    `json:"size"`
	} `json:"default-address-pools"`
}

// dockerOptions are the options of daemon.json that 20.10 knows, newDockerOptions those that came later.
var (
	dockerOptions = strings.Fields(`api-cors-header authorization-plugins bip bridge builder cgroup-parent cluster-advertise cluster-store cluster-store-opts containerd
		containerd-namespace containerd-plugin-namespace cpu-rt-period cpu-rt-runtime cri-containerd data-root debug default-address-pools default-cgroupns-mode default-gateway
		default-gateway-v6 default-ipc-mode default-runtime default-shm-size default-ulimits dns dns-opts dns-search exec-opts exec-root experimental features fixed-cidr
		fixed-cidr-v6 graph group hosts icc init init-path insecure-registries ip ip-forward ip-masq ip6tables iptables ipv6 labels live-restore log-driver log-level log-opts
		max-concurrent-downloads max-concurrent-uploads max-download-attempts metrics-addr mtu network-control-plane-mtu network-diagnostic-port no-new-privileges
		node-generic-resources oom-score-adjust pidfile raw-logs registry-mirrors rootless runtimes seccomp-profile selinux-enabled shutdown-timeout storage-driver storage-opts
		swarm-default-advertise-addr tls tlscacert tlscert tlskey tlsverify userland-proxy userland-proxy-path userns-remap`)
	newDockerOptions = strings.Fields("allow-direct-routing bip6 cdi-spec-dirs default-network-opts host-gateway-ip host-gateway-ips http-proxy https-proxy ip-forward-no-drop log-format no-proxy proxies")
	logOptions       = strings.Fields("max-size max-file compress labels labels-regex env env-regex tag mode max-buffer-size")
)

// dockerFlags are the options of dockerd's command line.
const dockerFlags = "H: host:=H containerd: config-file: data-root: g:=data-root exec-root: p: pidfile:=p live-restore debug=D D log-level: l:=log-level v version=v help validate"

// dockerConfig reads the configuration as dockerd does: a file that was not
// named need not be there.
func (m *Machine) dockerConfig(f flags) (dockerConfig, error) {
	c := dockerConfig{DataRoot: f.last("data-root", "/var/lib/docker"), LiveRestore: f.has("live-restore"), Debug: f.has("D"), LogDriver: "json-file"}
	name := f.last("config-file", dockerConf)
	text, err := m.readFile(name)
	if err != nil {
		if errors.Is(err, syscall.ENOENT) && !f.has("config-file") {
			return c, nil
		}
		return c, fmt.Errorf("unable to configure the Docker daemon with file %s: open %s: %w", name, name, err)
	}
	if err := m.readDockerConfig(&c, text, f); err != nil {
		return c, fmt.Errorf("unable to configure the Docker daemon with file %s: %w", name, err)
	}
	return c, nil
}

func (m *Machine) readDockerConfig(c *dockerConfig, text string, f flags) error {
	_, old := m.dockerRelease()
	if strings.TrimSpace(text) == "" {
		if old {
			return io.EOF
		}
		return nil
	}
	var set map[string]any
	if err := decodeFirst(text, &set); err != nil {
		return err
	}
	if err := judgeDockerOptions(set, f, old); err != nil {
		return err
	}
	if err := decodeFirst(text, c); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return fmt.Errorf("json: cannot unmarshal %s into Go struct field Config.%s of type %s", kind.Value, kind.Field, kind.Type)
		}
		return err
	}
	for _, server := range c.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			return fmt.Errorf("configuration validation from file failed: %s is not an ip address", server)
		}
	}
	return nil
}

// decodeFirst reads the first JSON value of a text; what follows it does not count.
func decodeFirst(text string, into any) error {
	return json.NewDecoder(strings.NewReader(text)).Decode(into)
}

// judgeDockerOptions refuses options that nobody knows, and those that the command line has, too.
func judgeDockerOptions(set map[string]any, f flags, old bool) error {
	var unknown, twice []string
	for name := range set {
		if !slices.Contains(dockerOptions, name) && (old || !slices.Contains(newDockerOptions, name)) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("the following directives don't match any configuration option: %s", strings.Join(unknown, ", "))
	}
	for name, flag := range map[string]string{"hosts": "H", "data-root": "data-root", "exec-root": "exec-root", "pidfile": "p", "live-restore": "live-restore", "debug": "D", "containerd": "containerd", "log-level": "log-level"} {
		if value, there := set[name]; there && f.has(flag) {
			given := f.last(flag, "")
			if name == "hosts" {
				given = "[" + strings.Join(f.set[flag], " ") + "]"
			}
			twice = append(twice, fmt.Sprintf("%s: (from flag: %s, from file: %v)", name, given, value))
		}
	}
	if len(twice) > 0 {
		slices.Sort(twice)
		return fmt.Errorf("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(twice, ", "))
	}
	return nil
}

// startable finds what keeps an engine from starting although its configuration
// can be read.
func (c dockerConfig) startable() error {
	for name := range c.LogOpts {
		if c.LogDriver == "json-file" && !slices.Contains(logOptions, name) {
			return fmt.Errorf("%s: unknown log opt '%s' for json-file log driver", "failed to set log opts", name)
		}
	}
	if err := c.judgeMirrors(); err != nil {
		return err
	}
	if err := c.judgePools(); err != nil {
		return fmt.Errorf("Error initializing network controller: error obtaining controller instance: %w", err)
	}
	switch c.Storage {
	case "", "overlay2", "vfs", "btrfs", "zfs", "fuse-overlayfs":
	default:
		return errors.New("error initializing graphdriver: driver not supported")
	}
	if !path.IsAbs(c.DataRoot) {
		return fmt.Errorf("unable to get the full path to root %s", c.DataRoot)
	}
	return nil
}

func (c dockerConfig) judgeMirrors() error {
	for _, mirror := range c.Mirrors {
		at, err := url.Parse(mirror)
		switch {
		case err != nil:
			return fmt.Errorf("invalid mirror: %q is not a valid URI", mirror)
		case at.Scheme != "http" && at.Scheme != "https":
			return fmt.Errorf("invalid mirror: unsupported scheme %q in %q", at.Scheme, mirror)
		case at.Path != "" && at.Path != "/" || at.RawQuery != "" || at.Fragment != "":
			return fmt.Errorf("invalid mirror: path, query, or fragment at end of the URI %q", mirror)
		}
	}
	return nil
}

func (c dockerConfig) judgePools() error {
	for _, pool := range c.Pools {
		base, err := netip.ParsePrefix(pool.Base)
		if err != nil {
			return fmt.Errorf("invalid base pool %q: invalid CIDR address: %s", pool.Base, pool.Base)
		}
		if pool.Size < base.Bits() {
			return fmt.Errorf("invalid pools size: %d", pool.Size)
		}
	}
	return nil
}
