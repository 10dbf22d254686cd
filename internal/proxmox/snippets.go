// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// SnippetStorage is a storage that keeps snippets: files that cloud-init reads.
// The API lists them and takes none, so they are written on the node.
type SnippetStorage struct {
	Name   string
	Folder string   // of the snippets on every node that has the storage
	Nodes  []string // that have it, sorted; none: all
	Shared bool     // every node sees the same files
}

// On says whether a node has the storage.
func (s SnippetStorage) On(node string) bool {
	return len(s.Nodes) == 0 || slices.Contains(s.Nodes, node)
}

// Volume names a snippet of the storage as a configuration does.
func (s SnippetStorage) Volume(file string) string { return s.Name + ":snippets/" + file }

// SnippetStorages lists the storages in use that keep snippets in a folder,
// sorted by name. Those that the token may not see (Datastore.Audit) are left
// out in silence.
func (c *Client) SnippetStorages(ctx context.Context) ([]SnippetStorage, error) {
	var rows []struct {
		Storage scalar  `json:"storage"`
		Content scalar  `json:"content"`
		Path    scalar  `json:"path"`
		Nodes   scalar  `json:"nodes"`
		Shared  truth   `json:"shared"`
		Disable truth   `json:"disable"`
		Folders folders `json:"content-dirs"`
	}
	if err := c.get(ctx, "/storage", nil, &rows); err != nil {
		return nil, err
	}
	var storages []SnippetStorage
	for _, row := range rows {
		if bool(row.Disable) || !path.IsAbs(string(row.Path)) || !slices.Contains(ParseTags(string(row.Content)), "snippets") {
			continue
		}
		folder := row.Folders["snippets"]
		if folder == "" {
			folder = "snippets"
		}
		storages = append(storages, SnippetStorage{
			Name: string(row.Storage), Folder: path.Join(string(row.Path), folder), Nodes: ParseTags(string(row.Nodes)), Shared: bool(row.Shared),
		})
	}
	slices.SortFunc(storages, func(a, b SnippetStorage) int { return strings.Compare(a.Name, b.Name) })
	return storages, nil
}

// folders are the folders of a storage that are not where they are by default,
// by content. They come as an object, or as text as they stand in the file.
type folders map[string]string

// UnmarshalJSON reads either form.
func (f *folders) UnmarshalJSON(raw []byte) error {
	*f = folders{}
	if raw = bytes.TrimSpace(raw); len(raw) > 0 && raw[0] == '{' {
		var of map[string]scalar
		if err := json.Unmarshal(raw, &of); err != nil {
			return fmt.Errorf("read folders: %w", err)
		}
		for content, folder := range of {
			(*f)[content] = string(folder)
		}
		return nil
	}
	var text scalar
	if err := text.UnmarshalJSON(raw); err != nil {
		return fmt.Errorf("read folders: %w", err)
	}
	for part := range strings.SplitSeq(string(text), ",") {
		if content, folder, ok := strings.Cut(strings.TrimSpace(part), "="); ok {
			(*f)[content] = folder
		}
	}
	return nil
}
