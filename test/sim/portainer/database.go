// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Store keeps a database.
type Store interface {
	// Read gives what was written last; nil: nothing was.
	Read() ([]byte, error)
	// Write replaces it.
	Write(data []byte) error
}

// disk is a Store in a file; without a folder, in memory.
type disk struct {
	folder string
	memory []byte
}

var _ Store = (*disk)(nil)

// Read implements Store.
func (d *disk) Read() ([]byte, error) {
	if d.folder == "" {
		return d.memory, nil
	}
	data, err := os.ReadFile(filepath.Join(d.folder, "portainer.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Write implements Store.
func (d *disk) Write(data []byte) error {
	if d.folder == "" {
		d.memory = data
		return nil
	}
	if err := os.MkdirAll(d.folder, 0o700); err != nil {
		return err
	}
	name := filepath.Join(d.folder, "portainer.json")
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// database is all that a server keeps.
type database struct {
	InstanceID string
	AgentKey   []byte
	Settings   settings
	Users      []*user
	APIKeys    []*apiKey
	Tags       []*tag
	Endpoints  []*endpoint
	Stacks     []*stack
	Files      map[int]string // of stacks
	Next       map[string]int // the number that was given last, by table
}

// next is a number that was never given in a table. The caller holds the lock.
func (d *database) next(table string) int {
	d.Next[table]++
	return d.Next[table]
}

// open reads the database, or makes one.
func (s *Server) open() error {
	data, err := s.store.Read()
	if err != nil {
		return fmt.Errorf("read the database: %w", err)
	}
	db := &database{}
	if len(data) > 0 {
		if err := json.Unmarshal(data, db); err != nil {
			return fmt.Errorf("read the database: %w", err)
		}
	} else {
		db.InstanceID, db.Settings = uuid(), defaultSettings()
		db.Files, db.Next = map[int]string{}, map[string]int{}
	}
	own, der, err := newSigner(db.AgentKey, s.opts.AgentSecret)
	if err != nil {
		return err
	}
	db.AgentKey = der
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db, s.signer, s.secret = db, own, random(32)
	clear(s.revoked)
	clear(s.engines)
	return s.save()
}

// save keeps the database. The caller holds the lock.
func (s *Server) save() error {
	data, err := json.MarshalIndent(s.db, "", " ")
	if err != nil {
		return fmt.Errorf("write the database: %w", err)
	}
	if err := s.store.Write(data); err != nil {
		return fmt.Errorf("write the database: %w", err)
	}
	return nil
}

// Backup is the database as it is now.
func (s *Server) Backup() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := json.MarshalIndent(s.db, "", " ")
	if err != nil {
		panic(err) // plain structs can be written
	}
	return data
}

// Restore puts a backup in the place of the database, as if the server were started with
// it: every session ends. Containers stay as they are. nil is an empty database:
// a server that was made anew.
func (s *Server) Restore(backup []byte) error {
	s.mu.Lock()
	err := s.store.Write(slices.Clone(backup))
	s.deadline = s.opts.Clock().Add(s.opts.AdminWait)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("restore the database: %w", err)
	}
	return s.open()
}

// random gives bytes that nobody can guess.
func random(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.Read(out) // it never fails
	return out
}

func uuid() string {
	text := hex.EncodeToString(random(16))
	return text[:8] + "-" + text[8:12] + "-4" + text[13:16] + "-a" + text[17:20] + "-" + text[20:]
}
