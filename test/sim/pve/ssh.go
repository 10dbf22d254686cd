// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

// SSHNode is a node's SSH door.
type SSHNode struct {
	// Name of the node and Address (host:port) of its door.
	Name, Address string
	// HostKey is the door's public key, as an authorized_keys line.
	HostKey string
	// ClientKeyPEM is a private key that may log in as root.
	ClientKeyPEM []byte
}

type sshDoor struct{}

func (s *Server) openSSH() error { return nil }
func (s *Server) closeSSH()      {}
