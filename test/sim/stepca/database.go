// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/smallstep/nosql/database"
)

// memory is a nosql database. It is the file that Dump writes.
type memory struct {
	mu     sync.Mutex
	tables map[string]map[string][]byte
}

var _ database.DB = (*memory)(nil)

// newMemory reads what dump wrote; nothing is an empty database.
func newMemory(dump []byte) (*memory, error) {
	m := &memory{tables: map[string]map[string][]byte{}}
	if len(dump) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(dump, &m.tables); err != nil {
		return nil, fmt.Errorf("Error opening database of Type badgerv2: %w", err) //nolint:staticcheck // step-ca says so
	}
	return m, nil
}

func (m *memory) dump() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, err := json.Marshal(m.tables)
	if err != nil {
		panic(err) // maps of bytes can be written
	}
	return out
}

// Open implements database.DB.
func (m *memory) Open(string, ...database.Option) error { return nil }

// Close implements database.DB.
func (m *memory) Close() error { return nil }

// Get implements database.DB.
func (m *memory) Get(bucket, key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, there := m.tables[string(bucket)][string(key)]
	if !there {
		return nil, database.ErrNotFound
	}
	return bytes.Clone(value), nil
}

// Set implements database.DB.
func (m *memory) Set(bucket, key, value []byte) error {
	tx := &database.Tx{}
	tx.Set(bucket, key, value)
	return m.Update(tx)
}

// Del implements database.DB.
func (m *memory) Del(bucket, key []byte) error {
	tx := &database.Tx{}
	tx.Del(bucket, key)
	return m.Update(tx)
}

// CmpAndSwap implements database.DB.
func (m *memory) CmpAndSwap(bucket, key, old, fresh []byte) ([]byte, bool, error) {
	tx := &database.Tx{Operations: []*database.TxEntry{{Bucket: bucket, Key: key, CmpValue: old, Value: fresh, Cmd: database.CmpAndSwap}}}
	err := m.Update(tx)
	return tx.Operations[0].Result, tx.Operations[0].Swapped, err
}

// List implements database.DB.
func (m *memory) List(bucket []byte) ([]*database.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	table := m.tables[string(bucket)]
	if table == nil {
		return nil, database.ErrNotFound
	}
	var out []*database.Entry
	for _, key := range slices.Sorted(maps.Keys(table)) {
		out = append(out, &database.Entry{Bucket: bucket, Key: []byte(key), Value: bytes.Clone(table[key])})
	}
	return out, nil
}

// CreateTable implements database.DB.
func (m *memory) CreateTable(bucket []byte) error {
	tx := &database.Tx{}
	tx.CreateTable(bucket)
	return m.Update(tx)
}

// DeleteTable implements database.DB.
func (m *memory) DeleteTable(bucket []byte) error {
	tx := &database.Tx{}
	tx.DeleteTable(bucket)
	return m.Update(tx)
}

// Update implements database.DB: all of a transaction, or nothing.
func (m *memory) Update(tx *database.Tx) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := map[string]map[string][]byte{}
	for name, table := range m.tables {
		before[name] = maps.Clone(table)
	}
	for _, op := range tx.Operations {
		if err := m.do(op); err != nil {
			m.tables = before
			return err
		}
	}
	return nil
}

func (m *memory) do(op *database.TxEntry) error {
	name, key := string(op.Bucket), string(op.Key)
	table := m.tables[name]
	switch op.Cmd {
	case database.CreateTable:
		if table == nil {
			m.tables[name] = map[string][]byte{}
		}
		return nil
	case database.DeleteTable:
		if table == nil {
			return database.ErrNotFound
		}
		delete(m.tables, name)
		return nil
	}
	if table == nil {
		return fmt.Errorf("bucket %s: %w", name, database.ErrNotFound)
	}
	value, there := table[key]
	switch op.Cmd {
	case database.Get:
		if !there {
			return database.ErrNotFound
		}
		op.Result = bytes.Clone(value)
	case database.Set:
		table[key] = bytes.Clone(op.Value)
	case database.Delete:
		delete(table, key)
	case database.CmpAndSwap:
		op.Result, op.Swapped = bytes.Clone(value), bytes.Equal(value, op.CmpValue)
		if op.Swapped {
			op.Result = bytes.Clone(op.Value)
			table[key] = op.Result
		}
	default:
		return database.ErrOpNotSupported
	}
	return nil
}
