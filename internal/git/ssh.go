// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha1" // known_hosts hashes names so
	"encoding/base64"
	"errors"
	"io"
	"net"
	"path"
	"strings"

	"golang.org/x/crypto/ssh"
)

// hostKeys are those that a host may show, and those that it must not.
type hostKeys struct {
	allowed, revoked []ssh.PublicKey
	shown            *Error // what the host showed and must not
}

// parseKnownHosts reads the keys of a host, which is host or [host]:port, from lines of known_hosts.
func parseKnownHosts(lines []byte, host string) (*hostKeys, error) {
	keys := &hostKeys{}
	for {
		marker, patterns, key, _, rest, err := ssh.ParseKnownHosts(lines)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, problem(Invalid, "the known hosts cannot be read: their lines must be as those of known_hosts")
		}
		lines = rest
		switch {
		case !matches(patterns, host):
		case marker == "revoked":
			keys.revoked = append(keys.revoked, key)
		case marker == "":
			keys.allowed = append(keys.allowed, key)
		}
	}
	if len(keys.allowed) == 0 {
		return nil, problem(Invalid, "the known hosts have no key of %s: add a line as ssh-keyscan prints it, after comparing the key", host)
	}
	return keys, nil
}

// knownName is how known_hosts calls a host.
func knownName(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "22" {
		return strings.ToLower(host)
	}
	return "[" + strings.ToLower(host) + "]:" + port
}

// matches says whether patterns of known_hosts mean a host: one must match, and none of those with ! may.
func matches(patterns []string, host string) bool {
	found := false
	for _, pattern := range patterns {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if !matchesOne(pattern, host) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

func matchesOne(pattern, host string) bool {
	hashed, ok := strings.CutPrefix(pattern, "|1|")
	if !ok {
		// In a file name [ begins a class; in known_hosts it is itself.
		escaped := strings.NewReplacer(`[`, `\[`, `]`, `\]`, `\`, `\\`).Replace(strings.ToLower(pattern))
		ok, err := path.Match(escaped, host)
		return err == nil && ok
	}
	salt, sum, _ := strings.Cut(hashed, "|")
	rawSalt, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		return false
	}
	rawSum, err := base64.StdEncoding.DecodeString(sum)
	if err != nil {
		return false
	}
	mac := hmac.New(sha1.New, rawSalt)
	mac.Write([]byte(host))
	return hmac.Equal(mac.Sum(nil), rawSum)
}

// check is the callback that accepts the host's keys and no other.
func (k *hostKeys) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	name := key.Type() + " " + ssh.FingerprintSHA256(key)
	for _, revoked := range k.revoked {
		if bytes.Equal(revoked.Marshal(), key.Marshal()) {
			k.shown = problem(Untrusted, "the server shows the host key %s, which is revoked", name)
			return k.shown
		}
	}
	for _, allowed := range k.allowed {
		if bytes.Equal(allowed.Marshal(), key.Marshal()) {
			return nil
		}
	}
	k.shown = problem(Untrusted, "the server shows the host key %s, which is not among the known hosts: compare it before you add it", name)
	return k.shown
}

// algorithms are those of the keys that are known: a server with several keys then shows one of them.
func (k *hostKeys) algorithms() []string {
	var all []string
	for _, key := range k.allowed {
		if key.Type() == ssh.KeyAlgoRSA {
			all = append(all, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		all = append(all, key.Type())
	}
	// Then all others, so that a server without such a key shows what it has, and the error can name it.
	return append(all, ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
}

// ssh prepares conversations over ssh.
func (r *remote) ssh() (func(context.Context) (session, error), error) {
	address := r.address("22")
	if _, err := parseKnownHosts(r.KnownHosts, knownName(address)); err != nil {
		return nil, err
	}
	config := ssh.ClientConfig{User: cmp.Or(r.url.User.Username(), r.Username, "git")}
	if len(r.SSHKey) > 0 {
		signer, err := ssh.ParsePrivateKey(r.SSHKey)
		var locked *ssh.PassphraseMissingError
		if errors.As(err, &locked) {
			return nil, problem(Invalid, "the ssh key has a passphrase: give one without")
		}
		if err != nil {
			return nil, problem(Invalid, "the ssh key cannot be read: it must be a private key in PEM")
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if r.Password != "" {
		config.Auth = append(config.Auth, ssh.Password(r.Password))
	}
	return func(ctx context.Context) (session, error) { return r.dialSSH(ctx, address, config) }, nil
}
