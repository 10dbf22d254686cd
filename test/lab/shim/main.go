// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Command shim is every program of Proxmox VE on the lab's host: pct, qm, pvesm, lxc-attach and so on, by the name that it
// is called by. It has the lab run the program and ends as that did.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/phoenix-hypervisor/phoenix/test/lab/wire"
)

func main() {
	exit, err := run()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: the lab does not answer: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(255)
	}
	os.Exit(exit)
}

func run() (int, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: wire.Socket, Net: "unix"})
	if err != nil {
		return 0, err
	}
	args := append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...)
	call := wire.Call{Args: args, Env: os.Environ(), Files: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}}
	if err := wire.Send(c, call); err != nil {
		return 0, err
	}
	var answer wire.Answer
	err = json.NewDecoder(c).Decode(&answer)
	return answer.Exit, err
}
