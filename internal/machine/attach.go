// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
)

// searchPath is where root's programs are on Debian and Ubuntu, whatever the
// environment that a transport begins with says.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Attach runs commands in a container by lxc-attach on the node that it is on,
// with a clean environment. A container that does not run there is away.
func Attach(node Runner, vmid int) Runner { return attached{node, vmid} }

type attached struct {
	node Runner
	vmid int
}

// complaint is how lxc-attach begins every line of its own.
var complaint = []byte("lxc-attach: ")

// Run runs a command in the container.
func (a attached) Run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	if len(argv) == 0 || argv[0] == "" {
		return Result{}, errors.New("run command: there is none")
	}
	result, err := a.node.Run(ctx, append(a.prefix(), argv...), stdin)
	if err != nil {
		return Result{}, fmt.Errorf("run %s in container %d: %w", argv[0], a.vmid, err)
	}
	// lxc-attach exits 1 when it cannot get in, as many commands do; then it
	// speaks and nothing else does.
	if result.ExitCode != 0 && len(result.Stdout) == 0 && bytes.HasPrefix(result.Stderr, complaint) {
		return Result{}, Away(fmt.Errorf("run %s in container %d: %s", argv[0], a.vmid, oneLine(string(result.Stderr))))
	}
	return result, nil
}

func (a attached) prefix() []string {
	return []string{
		"lxc-attach", "-n", strconv.Itoa(a.vmid), "--clear-env",
		"--set-var", "PATH=" + searchPath, "--set-var", "HOME=/root", "--set-var", "LANG=C.UTF-8", "--",
	}
}
