// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
)

const (
	dockerUnit    = "docker.service"
	dockerConf    = "/etc/docker/daemon.json"
	dockerDropIn  = "/etc/systemd/system/docker.service.d/phoenix.conf"
	dockerSource  = "/etc/apt/sources.list.d/phoenix-docker.sources"
	dockerSocket  = "/var/run/docker.sock"
	dockerPackage = "docker.io"
	// defaultDataRoot is where an engine keeps what it has, when nobody says otherwise.
	defaultDataRoot = "/var/lib/docker"
	defaultLogMiB   = 10
	defaultLogFiles = 3
	// dockerPatience is how long an engine may take from a restart to its first answer: it looks through its containers.
	dockerPatience = time.Minute
)

// dockerCheck validates a daemon.json where the engine knows how to (since 23.0); an older one says so when it starts.
const dockerCheck = `if dockerd --help 2>&1 | grep -q -e --validate; then exec dockerd --validate --config-file "$1"; fi`

// designDocker turns a docker service into the state of its machine.
func designDocker(s *v1alpha1.HostService, t target, older []v1alpha1.HostService) (design, error) {
	if i := slices.IndexFunc(older, func(o v1alpha1.HostService) bool { return o.Spec.Docker != nil }); i >= 0 {
		return design{}, reconcile.Stall(AlreadyServedReason, fmt.Errorf(
			"run a Docker engine on %s: HostService/%s does so already, and is older: delete one of them", t, older[i].Name))
	}
	spec := s.Spec.Docker
	conf, err := daemonJSON(spec)
	if err != nil {
		return design{}, reconcile.Stall(InvalidReason, err)
	}
	restart := []machine.Trigger{{Unit: dockerUnit, Action: machine.Restart}}
	d := design{fields: noField, blocked: otherDataRoot(s)}
	d.want.Packages = []string{cmp.Or(spec.PackageName, dockerPackage)}
	d.want.Files = []machine.File{{
		Path: dockerConf, Content: conf, Replaces: true, Triggers: restart, Validate: []string{"sh", "-c", dockerCheck, "sh", "{}"},
	}}
	if spec.DataRoot != "" { // a line for systemd alone: it matters when the engine starts
		text := madeFor(s) + "[Unit]\nRequiresMountsFor=" + string(spec.DataRoot) + "\n"
		d.want.Files = append(d.want.Files, machine.File{Path: dockerDropIn, Content: []byte(text)})
	}
	if spec.Repository != nil {
		source, err := aptSource(s, spec.Repository)
		if err != nil {
			return design{}, reconcile.Stall(InvalidReason, err)
		}
		d.want.Files = append(d.want.Files, source)
	}
	d.want.Units = []machine.Unit{{Name: dockerUnit, Enabled: true, Running: true}}
	d.want.Probes = []machine.Probe{dockerProbe(spec)}
	d.want.Reads = []string{dockerConf}
	return d, nil
}

// noField has files shown as a whole, not line by line: no line of them is declared by a field of its own.
func noField(string, string) string { return "" }

// madeFor begins a file of ours.
func madeFor(s *v1alpha1.HostService) string {
	return "# Made by Phoenix for " + about(s) + ": changes are put back.\n"
}

// dockerProbe asks the engine where it keeps what it has: only one that runs knows. Of one that was not told, any folder
// will do.
func dockerProbe(spec *v1alpha1.Docker) machine.Probe {
	p := machine.Probe{Name: "the Docker engine", Argv: []string{"docker", "info", "--format", "{{.DockerRootDir}}"}, Patience: dockerPatience, Match: "^/"}
	if spec.DataRoot != "" {
		p.Match = "^" + regexp.QuoteMeta(string(spec.DataRoot)) + "$"
	}
	return p
}

// daemonConfig is the engine's configuration file.
type daemonConfig struct {
	DataRoot     string            `json:"data-root,omitempty"`
	LiveRestore  bool              `json:"live-restore"`
	LogDriver    string            `json:"log-driver"`
	LogOptions   map[string]string `json:"log-opts"`
	Mirrors      []string          `json:"registry-mirrors,omitempty"`
	AddressPools []daemonPool      `json:"default-address-pools,omitempty"`
	DNS          []string          `json:"dns,omitempty"`
}

type daemonPool struct {
	Base string `json:"base"`
	Size int    `json:"size"`
}

func daemonJSON(spec *v1alpha1.Docker) ([]byte, error) {
	logs := cmp.Or(spec.Logs, &v1alpha1.DockerLogs{})
	c := daemonConfig{
		DataRoot: string(spec.DataRoot), LiveRestore: isTrue(spec.LiveRestore, true), LogDriver: "json-file", LogOptions: map[string]string{
			"max-size": strconv.Itoa(int(cmp.Or(logs.MaxSizeMiB, defaultLogMiB))) + "m",
			"max-file": strconv.Itoa(int(cmp.Or(logs.MaxFiles, defaultLogFiles))),
		},
		Mirrors: spec.RegistryMirrors, DNS: spec.DNSServers,
	}
	for i, p := range spec.AddressPools {
		base, err := netip.ParsePrefix(p.Base)
		if err != nil || int(p.Size) < base.Bits() || int(p.Size) > base.Addr().BitLen() {
			return nil, fmt.Errorf("addressPools[%d]: networks of size %d cannot be cut from %s: want a range such as 172.30.0.0/16, and a size from its prefix length on",
				i, p.Size, p.Base)
		}
		c.AddressPools = append(c.AddressPools, daemonPool{Base: base.Masked().String(), Size: int(p.Size)})
	}
	text, err := json.MarshalIndent(c, "", "  ")
	return append(text, '\n'), err
}

// aptSource is the file by which apt knows a repository, with the key that signs it and nothing else.
func aptSource(s *v1alpha1.HostService, r *v1alpha1.AptRepository) (machine.File, error) {
	components := r.Components
	flat := strings.HasSuffix(r.Suite, "/")
	switch {
	case flat && len(components) > 0:
		return machine.File{}, fmt.Errorf("repository: suite %s is a folder, which has no components: take components out", r.Suite)
	case !flat && len(components) == 0:
		components = []string{"stable"}
	}
	var text strings.Builder
	text.WriteString(madeFor(s) + "Types: deb\nURIs: " + r.URL + "\nSuites: " + r.Suite + "\n")
	if len(components) > 0 {
		text.WriteString("Components: " + strings.Join(components, " ") + "\n")
	}
	text.WriteString("Signed-By:\n")
	for line := range strings.SplitSeq(strings.TrimSpace(r.Key), "\n") {
		// An empty line would end what is said of the repository.
		text.WriteString(" " + cmp.Or(strings.TrimSpace(line), ".") + "\n")
	}
	return machine.File{Path: dockerSource, Content: []byte(text.String()), Early: true}, nil
}

// otherDataRoot refuses a machine whose engine was told by hand to keep what it has elsewhere than is declared: it would
// come up without its containers.
func otherDataRoot(s *v1alpha1.HostService) func(*machineSeen) error {
	return func(m *machineSeen) error {
		var there daemonConfig
		content := m.seen.Contents[dockerConf]
		if len(content) == 0 || adopts(s) || m.owns(dockerConf) || json.Unmarshal(content, &there) != nil {
			return nil // what cannot be read keeps the engine from starting: it is replaced
		}
		declared := string(s.Spec.Docker.DataRoot)
		if there.DataRoot == "" || there.DataRoot == cmp.Or(declared, defaultDataRoot) {
			return nil
		}
		return fmt.Errorf("%s of somebody else has data-root %s, and declared is %s: the engine would come up without its containers: "+
			"make a HostService with that dataRoot, or set adoptionPolicy: IfUnowned to have the file replaced", dockerConf, there.DataRoot, cmp.Or(declared, defaultDataRoot))
	}
}

// owns says whether a file on the machine is in the record of the service: what is not is refused, whatever its content.
func (m *machineSeen) owns(path string) bool {
	_, err := machine.Plan(m.owner, machine.State{Files: []machine.File{{Path: path}}}, m.seen, machine.PlanOptions{})
	return err == nil
}

// engineOf says where the engine keeps what it has that a portainer or portainerAgent service uses.
func engineOf(s *v1alpha1.HostService, ref *v1alpha1.LocalReference, all []v1alpha1.HostService) (dataRoot string, err error) {
	if ref == nil {
		return defaultDataRoot, nil
	}
	i := slices.IndexFunc(all, func(o v1alpha1.HostService) bool { return o.Name == ref.Name })
	switch {
	case i < 0:
		return "", reconcile.Wait(TargetMissingReason, leftOutFor, fmt.Errorf("dockerRef: HostService/%s is not on this machine: declare it", ref.Name))
	case all[i].Spec.Docker == nil:
		return "", reconcile.Stall(InvalidReason, fmt.Errorf("dockerRef: HostService/%s is not a docker service: name the one of Guest/%s", ref.Name, guestOf(s)))
	}
	return cmp.Or(string(all[i].Spec.Docker.DataRoot), defaultDataRoot), nil
}

var errNoGuest = errors.New("set guestRef: it runs in a Guest with a Docker engine")

func guestOf(s *v1alpha1.HostService) string {
	if s.Spec.GuestRef == nil {
		return ""
	}
	return s.Spec.GuestRef.Name
}
