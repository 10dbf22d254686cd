// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// basicAuth asks for a user and a password.
func (s *Server) basicAuth(conf *basicAuth, next http.Handler) (http.Handler, error) {
	users, err := s.users(conf)
	if err != nil {
		return nil, err
	}
	realm := conf.Realm
	if realm == "" {
		realm = "traefik"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		note(r).user = user
		if hash, known := users[user]; !known || !passwordFits(password, hash) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Www-Authenticate", `Basic realm="`+realm+`"`)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, "%d %s\n", http.StatusUnauthorized, http.StatusText(http.StatusUnauthorized))
			return
		}
		if conf.HeaderField != "" {
			r.Header.Set(conf.HeaderField, user)
		}
		if conf.RemoveHeader {
			r.Header.Del("Authorization")
		}
		next.ServeHTTP(w, r)
	}), nil
}

// users are those of a file, and those that are named, with their hashes.
func (s *Server) users(conf *basicAuth) (map[string]string, error) {
	var lines []string
	if conf.UsersFile != "" {
		text, err := s.o.Files.ReadFile(conf.UsersFile)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", conf.UsersFile, err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
	}
	out := map[string]string{}
	for _, line := range append(lines, conf.Users...) {
		parts := strings.Split(line, ":")
		if len(parts) != 2 {
			return nil, fmt.Errorf("error parsing BasicUser: %v", line)
		}
		out[parts[0]] = parts[1]
	}
	if len(out) == 0 {
		return nil, errors.New("runtime error: index out of range [0] with length 0") // Traefik recovers from it
	}
	return out, nil
}

// passwordFits compares a password with a hash of htpasswd: bcrypt, SHA-1, or else MD5.
func passwordFits(password, hash string) bool {
	if strings.HasPrefix(hash, "$2") {
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	}
	if strings.HasPrefix(hash, "{SHA}") {
		sum := sha1.Sum([]byte(password))
		return same("{SHA}"+base64.StdEncoding.EncodeToString(sum[:]), hash)
	}
	parts := strings.SplitN(hash, "$", 4)
	return len(parts) == 4 && same(md5Crypt(password, parts[2], "$"+parts[1]+"$"), hash)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// md5Crypt is the hash of crypt(3) that begins with $1$, and Apache's with $apr1$.
func md5Crypt(password, salt, magic string) string {
	alternate := md5.Sum([]byte(password + salt + password))
	var first bytes.Buffer
	first.WriteString(password + magic + salt)
	for left := len(password); left > 0; left -= 16 {
		first.Write(alternate[:min(left, 16)])
	}
	for i := len(password); i > 0; i >>= 1 {
		if i&1 == 1 {
			first.WriteByte(0)
		} else {
			first.WriteByte(password[0])
		}
	}
	sum := md5.Sum(first.Bytes())
	for i := range 1000 {
		sum = md5Round(i, password, salt, sum)
	}
	return magic + salt + "$" + md5Text(sum)
}

func md5Round(i int, password, salt string, sum [16]byte) [16]byte {
	var b bytes.Buffer
	either := func(odd bool) {
		if odd {
			b.WriteString(password)
			return
		}
		b.Write(sum[:])
	}
	either(i&1 == 1)
	if i%3 != 0 {
		b.WriteString(salt)
	}
	if i%7 != 0 {
		b.WriteString(password)
	}
	either(i&1 == 0)
	return md5.Sum(b.Bytes())
}

// md5Text is a sum in crypt's own base64.
func md5Text(sum [16]byte) string {
	const letters = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var out strings.Builder
	write := func(a, b, c byte, n int) {
		for v := uint(a)<<16 | uint(b)<<8 | uint(c); n > 0; n-- {
			out.WriteByte(letters[v&0x3f])
			v >>= 6
		}
	}
	for i := range 5 {
		write(sum[i], sum[i+6], sum[[]int{12, 13, 14, 15, 5}[i]], 4)
	}
	write(0, 0, sum[11], 2)
	return out.String()
}
