// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// HostKeyError says that a machine showed a host key that is not pinned.
type HostKeyError struct {
	Address     string
	Type        string // such as "ssh-ed25519"
	Fingerprint string // "SHA256:...", as ssh-keygen -l prints it
}

// Error names what was shown, so that a person can compare and pin it.
func (e *HostKeyError) Error() string {
	return fmt.Sprintf("verify host key of %s: %s %s is not pinned", e.Address, e.Type, e.Fingerprint)
}

// pinned are the host keys that a machine may show.
type pinned [][]byte

// parseHostKeys reads lines of known_hosts or authorized_keys. Host names in
// them are not looked at: the lines are declared for this one machine. Blank
// lines and comments are passed over.
func parseHostKeys(lines []string) (pinned, []string, error) {
	var keys pinned
	var types []string
	for _, line := range lines {
		for one := range strings.Lines(line) {
			one = strings.TrimSpace(one)
			if one == "" || one[0] == '#' {
				continue
			}
			key, err := parseHostKey(one)
			if err != nil {
				return nil, nil, err
			}
			keys = append(keys, key.Marshal())
			types = append(types, key.Type())
		}
	}
	if len(keys) == 0 {
		return nil, nil, errors.New("read host keys: none is pinned")
	}
	return keys, types, nil
}

func parseHostKey(line string) (ssh.PublicKey, error) {
	fields := strings.Fields(line)
	if strings.HasPrefix(fields[0], "@") {
		return nil, fmt.Errorf("read host key: marker %s is not supported, pin the key itself", fields[0])
	}
	if !slices.Contains(hostKeyTypes, fields[0]) { // a list of hosts comes first
		fields = fields[1:]
	}
	if len(fields) < 2 {
		return nil, fmt.Errorf("read host key %.60q: want a type and a key", line)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(fields[0] + " " + fields[1]))
	if err != nil {
		return nil, fmt.Errorf("read host key %.60q: %w", line, err)
	}
	return key, nil
}

var hostKeyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA,
	ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
}

// check is the callback that accepts a pinned key and no other.
func (p pinned) check(address string, _ net.Addr, key ssh.PublicKey) error {
	shown := key.Marshal()
	for _, want := range p {
		if bytes.Equal(want, shown) {
			return nil
		}
	}
	return &HostKeyError{Address: address, Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key)}
}

// algorithms are those to offer: the pinned keys' own first, so that a machine
// with several keys shows a pinned one; then the rest, so that one without it
// shows what it has and the error can tell.
func algorithms(types []string) []string {
	var wanted []string
	for _, t := range types {
		if t == ssh.KeyAlgoRSA {
			wanted = append(wanted, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		wanted = append(wanted, t)
	}
	wanted = append(wanted,
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
	var unique []string
	for _, a := range wanted {
		if !slices.Contains(unique, a) {
			unique = append(unique, a)
		}
	}
	return unique
}
