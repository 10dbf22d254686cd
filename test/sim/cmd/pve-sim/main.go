// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Command pve-sim serves a simulated Proxmox VE site until it is interrupted.
// Its first line on standard output is JSON: url, caFile, fingerprint, tokenID,
// tokenSecret and the SSH doors of the nodes.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pve-sim:", err)
		os.Exit(1)
	}
}

// announcement is the first line on standard output.
type announcement struct {
	URL         string     `json:"url"`
	CAFile      string     `json:"caFile"`
	Fingerprint string     `json:"fingerprint"`
	TokenID     string     `json:"tokenID"`
	TokenSecret string     `json:"tokenSecret"`
	SSH         []sshEntry `json:"ssh"`
}

type sshEntry struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	HostKey string `json:"hostKey"`
	KeyFile string `json:"keyFile"`
}

// settings are what the flags say.
type settings struct {
	options    pve.Options
	faults     []pve.Fault
	taskFaults []pve.TaskFault
	down       []string
	noQuorum   bool
}

func run(ctx context.Context, args []string, out io.Writer) error {
	set, err := parse(args)
	if err != nil {
		return err
	}
	site, err := pve.Start(ctx, set.options)
	if err != nil {
		return fmt.Errorf("start site: %w", err)
	}
	defer site.Close()
	for _, f := range set.faults {
		site.Inject(f)
	}
	for _, f := range set.taskFaults {
		site.InjectTask(f)
	}
	for _, name := range set.down {
		site.SetNodeOnline(name, false, 3*time.Second)
	}
	site.SetQuorum(!set.noQuorum)
	dir, err := os.MkdirTemp("", "pve-sim-")
	if err != nil {
		return fmt.Errorf("make a folder for keys: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the last thing that happens: nobody is left to tell
	if err := announce(site, dir, out); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// announce writes the certificate and the keys, then the first line.
func announce(site *pve.Server, dir string, out io.Writer) error {
	a := announcement{
		URL: site.URL, CAFile: filepath.Join(dir, "ca.pem"), Fingerprint: site.Fingerprint,
		TokenID: site.TokenID, TokenSecret: site.TokenSecret, SSH: []sshEntry{},
	}
	if err := os.WriteFile(a.CAFile, site.CAPEM, 0o600); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	for _, n := range site.SSH {
		entry := sshEntry{Name: n.Name, Address: n.Address, HostKey: n.HostKey, KeyFile: filepath.Join(dir, n.Name+".key")}
		if err := os.WriteFile(entry.KeyFile, n.ClientKeyPEM, 0o600); err != nil {
			return fmt.Errorf("write key of %s: %w", n.Name, err)
		}
		a.SSH = append(a.SSH, entry)
	}
	if err := json.NewEncoder(out).Encode(a); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

func parse(args []string) (settings, error) {
	var set settings
	flags := flag.NewFlagSet("pve-sim", flag.ContinueOnError)
	flags.StringVar(&set.options.Listen, "listen", "127.0.0.1:0", "address of the API")
	nodes := flags.String("nodes", "phoenix", "names of the nodes, with commas")
	bridges := flags.String("bridges", "vmbr0", "bridges of every node, with commas")
	flags.DurationVar(&set.options.TaskTime, "task-time", 2*time.Second, "how long a middling task takes; 4s is a real site")
	flags.DurationVar(&set.options.StatusRound, "status-round", 0, "how often figures reach cluster/resources (default: scaled as tasks are)")
	flags.BoolVar(&set.options.NoSSH, "no-ssh", false, "leave out the nodes' SSH doors")
	flags.BoolVar(&set.options.NoTemplate, "no-template", false, "leave out VM template 9000")
	flags.BoolVar(&set.noQuorum, "no-quorum", false, "begin without quorum")
	down := flags.String("down", "", "nodes that are down, with commas")
	flags.Func("guest", "a guest to begin with: lxc|qemu:VMID:NAME[:running]; may be repeated", func(text string) error {
		spec, err := parseGuest(text)
		set.options.Guests = append(set.options.Guests, spec)
		return err
	})
	flags.Func("fault", "METHOD PATH key=value...: status reason body delay from to cut=before|after trickle; may be repeated", func(text string) error {
		f, err := parseFault(text)
		set.faults = append(set.faults, f)
		return err
	})
	flags.Func("task-fault", "KIND [ID] key=value...: fail after warnings lost delay times; may be repeated", func(text string) error {
		f, err := parseTaskFault(text)
		set.taskFaults = append(set.taskFaults, f)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return set, fmt.Errorf("read flags: %w", err)
	}
	set.options.Nodes = strings.Split(*nodes, ",")
	set.options.Bridges = strings.Split(*bridges, ",")
	if *down != "" {
		set.down = strings.Split(*down, ",")
	}
	return set, nil
}

func parseGuest(text string) (pve.GuestSpec, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 3 {
		return pve.GuestSpec{}, fmt.Errorf("guest %q: want KIND:VMID:NAME[:running]", text)
	}
	vmid, err := strconv.Atoi(parts[1])
	if err != nil {
		return pve.GuestSpec{}, fmt.Errorf("guest %q: %w", text, err)
	}
	spec := pve.GuestSpec{VMID: vmid, Kind: parts[0], Running: len(parts) > 3 && parts[3] == "running"}
	if spec.Kind == "lxc" {
		spec.Config = fmt.Sprintf("arch: amd64\ncores: 1\nhostname: %s\nmemory: 512\nnet0: name=eth0,bridge=vmbr0,ip=dhcp,type=veth\nostype: debian\n"+
			"rootfs: local-lvm:vm-%d-disk-0,size=4G\nswap: 512\nunprivileged: 1\n", parts[2], vmid)
	} else {
		spec.Config = fmt.Sprintf("agent: 1\nboot: order=scsi0\ncores: 1\nmemory: 1024\nname: %s\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n"+
			"scsi0: local-lvm:vm-%d-disk-0,size=8G\nscsihw: virtio-scsi-single\n", parts[2], vmid)
	}
	return spec, nil
}
