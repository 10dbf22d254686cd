// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire is how a program of the lab's Proxmox VE host asks the lab to run it: one message with the caller's standard
// input, output and errors as open files, and one answer. Whoever calls and leaves ends what was asked for.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// The folder of the host in which the programs and the socket are.
const (
	Folder = "/usr/local/lib/pve"
	Socket = Folder + "/socket"
)

// longest is the longest message, in bytes: arguments and environment fit.
const longest = 8 << 20

// Call is a program with its arguments and environment, as execve gets them.
type Call struct {
	Args, Env []string
	// Files are the caller's standard input, output and errors.
	Files [3]*os.File `json:"-"`
}

// Answer is how the program ended.
type Answer struct{ Exit int }

// Send writes a call.
func Send(c *net.UnixConn, call Call) error {
	text, err := json.Marshal(call)
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(text))) // arguments and environment are far below 4 GiB
	rights := syscall.UnixRights(int(call.Files[0].Fd()), int(call.Files[1].Fd()), int(call.Files[2].Fd()))
	if _, _, err := c.WriteMsgUnix(head, rights, nil); err != nil {
		return fmt.Errorf("send call: %w", err)
	}
	_, err = c.Write(text)
	return err
}

// Receive reads a call. The receiver closes its files, also after an error.
func Receive(c *net.UnixConn) (call Call, err error) {
	head, rights := make([]byte, 4), make([]byte, syscall.CmsgSpace(3*4))
	n, got, _, _, err := c.ReadMsgUnix(head, rights)
	if err != nil {
		return call, err
	}
	files, err := filesOf(rights[:got])
	copy(call.Files[:], files)
	if err != nil {
		return call, err
	}
	if n != len(head) || len(files) != 3 {
		return call, errors.New("receive call: it is cut short")
	}
	size := binary.BigEndian.Uint32(head)
	if size > longest {
		return call, fmt.Errorf("receive call: %d bytes are too many", size)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(c, text); err != nil {
		return call, fmt.Errorf("receive call: %w", err)
	}
	return call, json.Unmarshal(text, &call)
}

func filesOf(rights []byte) ([]*os.File, error) {
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "caller's"))
		}
	}
	return files, nil
}
