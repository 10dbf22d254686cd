// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/go-git/go-billy/v5/memfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// download returns the pack that a server makes for a request.
func download(ctx context.Context, s session, request *packp.UploadPackRequest) (pack []byte, err error) {
	if len(request.Wants) == 0 {
		return nil, problem(NoReference, "the repository has no branch and no tag")
	}
	response, err := s.UploadPack(ctx, request)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Close()) }()
	var from io.Reader = response
	switch {
	case request.Capabilities.Supports(capability.Sideband64k):
		from = sideband.NewDemuxer(sideband.Sideband64k, response)
	case request.Capabilities.Supports(capability.Sideband):
		from = sideband.NewDemuxer(sideband.Sideband, response)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(&limitReader{from: from, left: repositoryLimit}); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// unpack finds the file of a commit in a pack. It holds the pack, not its objects, in memory.
func unpack(ctx context.Context, pack []byte, commit plumbing.Hash, name string) (File, error) {
	if err := measure(ctx, pack); err != nil {
		return File{}, err
	}
	store := filesystem.NewStorage(memfs.New(), cache.NewObjectLRU(8*cache.MiByte))
	if err := packfile.UpdateObjectStorage(store, bytes.NewReader(pack)); err != nil {
		return File{}, problem(Broken, "the server's pack cannot be read")
	}
	c, err := object.GetCommit(store, commit)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		if other, err := store.EncodedObject(plumbing.AnyObject, commit); err == nil {
			return File{}, problem(NoReference, "%s is a %s, not a commit", commit, other.Type())
		}
		return File{}, problem(NoReference, "the repository has no commit %s in a branch or tag", commit)
	}
	if err != nil {
		return File{}, problem(Broken, "the commit %s cannot be read", commit)
	}
	text, err := read(c, name)
	if err != nil {
		return File{}, err
	}
	return File{Text: text, Commit: commit.String()}, nil
}

// measure bounds what a pack holds before anything of it is kept: a few bytes can become many.
func measure(ctx context.Context, pack []byte) error {
	scanner := packfile.NewScanner(bytes.NewReader(pack))
	_, count, err := scanner.Header()
	if err != nil {
		return problem(Broken, "the server's pack cannot be read")
	}
	total := int64(0)
	for range count {
		if err := ctx.Err(); err != nil {
			return err
		}
		size, err := objectSize(scanner)
		if err != nil {
			return err
		}
		if total += size; size > repositoryLimit || total > unpackedLimit {
			return errTooLarge
		}
	}
	return nil
}

// objectSize is how many bytes the next object has when it is unpacked.
func objectSize(scanner *packfile.Scanner) (int64, error) {
	header, err := scanner.NextObjectHeader()
	if err != nil {
		return 0, problem(Broken, "the server's pack cannot be read")
	}
	if header.Length > repositoryLimit {
		return header.Length, nil
	}
	var first head
	if _, _, err := scanner.NextObject(&first); err != nil {
		return 0, problem(Broken, "the server's pack cannot be read")
	}
	size := header.Length
	if header.Type.IsDelta() { // which begins with the sizes of what it changes and of what it makes
		_, n := binary.Uvarint(first.bytes)
		made, m := binary.Uvarint(first.bytes[max(n, 0):])
		if n <= 0 || m <= 0 || made > unpackedLimit {
			return unpackedLimit + 1, nil
		}
		size += int64(made)
	}
	return size, nil
}

// head keeps the first bytes that are written to it.
type head struct{ bytes []byte }

// Write keeps what it has room for, and takes all.
func (h *head) Write(p []byte) (int, error) {
	const enough = 2 * binary.MaxVarintLen64
	h.bytes = append(h.bytes, p[:min(len(p), enough-len(h.bytes))]...)
	return len(p), nil
}

// read returns the file of a commit.
func read(c *object.Commit, name string) ([]byte, error) {
	in := fmt.Sprintf("commit %.12s", c.Hash)
	tree, err := c.Tree()
	if err != nil {
		return nil, problem(Broken, "%s has no tree", in)
	}
	entry, err := tree.FindEntry(name)
	if err != nil {
		return nil, problem(NoFile, "%s has no file %s%s", in, name, hint(tree, name))
	}
	switch entry.Mode {
	case filemode.Regular, filemode.Executable, filemode.Deprecated:
	case filemode.Dir:
		return nil, problem(NoFile, "%s in %s is a directory: name the file in it", name, in)
	case filemode.Symlink:
		return nil, problem(NoFile, "%s in %s is a symbolic link: name the file that it leads to", name, in)
	case filemode.Submodule:
		return nil, problem(NoFile, "%s in %s is another repository: fetch it from there", name, in)
	default:
		return nil, problem(NoFile, "%s in %s is not a file", name, in)
	}
	file, err := tree.TreeEntryFile(entry)
	if err != nil {
		return nil, problem(Broken, "%s in %s cannot be read", name, in)
	}
	if file.Size > fileLimit {
		return nil, problem(TooLarge, "%s in %s has %d bytes: it must not exceed %d", name, in, file.Size, fileLimit)
	}
	text, err := file.Contents()
	if err != nil {
		return nil, problem(Broken, "%s in %s cannot be read", name, in)
	}
	if bytes.HasPrefix([]byte(text), []byte("version https://git-lfs.github.com/spec/")) {
		return nil, problem(NoFile, "%s in %s is kept in LFS: keep it in the repository itself", name, in)
	}
	return []byte(text), nil
}

// hint names a file that could have been meant.
func hint(tree *object.Tree, name string) string {
	dir, base := path.Split(name)
	if dir != "" {
		found, err := tree.Tree(path.Clean(dir))
		if err != nil {
			return fmt.Sprintf(", and no directory %s", path.Clean(dir))
		}
		tree = found
	}
	for _, usual := range []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"} {
		if _, err := tree.FindEntry(usual); err == nil && usual != base {
			return fmt.Sprintf(", but a file %s", dir+usual)
		}
	}
	return ""
}
