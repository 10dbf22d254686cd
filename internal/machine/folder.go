// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// folderFresh is how old an answer may be that Look shares.
	folderFresh = 2 * time.Second
	// folderLinger is how long a commit that follows upon one of several waits
	// for those whom that one let go. After one of folderCrowd it waits as long as
	// that took, up to folderRest: with hundreds on their way, fewer commits have
	// all of them done sooner.
	folderLinger, folderRest = 5 * time.Millisecond, time.Second
	folderCrowd              = 8
	// A commit takes so many entries, of so many bytes, at most.
	folderGroup, folderBytes = 512, 1 << 20
	// folderPatience bounds a commit, and lookPatience a look.
	folderPatience, lookPatience = 7 * time.Minute, 90 * time.Second
)

// FolderOptions say what the files of a folder are like.
type FolderOptions struct {
	// Path of the folder, which is somebody else's to make.
	Path string
	// Beside is a folder of the same file system, that of nobody else; empty: the
	// one above Path. In it stand "previous", where Put keeps files, and for as
	// long as a commit lasts ".NAME.phoenix-new", both open to root alone. Who
	// makes Path makes and clears "previous" with it; where it is not there, the
	// first who keeps something makes it.
	Beside string
	// Owner and Group of the files are names or numbers; empty: root.
	Owner, Group string
	// Mode of the files are permission bits; 0: 0600.
	Mode fs.FileMode
	// Check is a command that must exit with 0 within a minute once files have
	// changed, before anybody hears of it, such as nginx -t; empty: none.
	Check []string
	// Refresh is a command that must exit with 0 within a minute after Check, such
	// as systemctl reload nginx.service; empty: none, for whoever watches a folder.
	Refresh []string
}

// Entry are all files of one who has his files in a folder, by their names.
type Entry map[string][]byte

// Look is what stands in a folder. Its maps are shared: only to be read.
type Look struct {
	// Files are the SHA-256, in hex, of every file in the folder, by its name. Of
	// what nobody can have wanted so it is empty: a link, a file with another mode
	// or owner, and the files of a commit that was killed before its end. Whoever
	// finds that of his own puts it again, which mends it.
	Files map[string]string
	// Previous are those of what is kept for Restore.
	Previous map[string]string
}

// MissingError says that a folder is not there, yet or any more. Whoever makes
// it is waited for; nothing was done.
type MissingError struct{ Path string }

// Error names the folder.
func (e *MissingError) Error() string { return "use folder " + e.Path + ": it is not there" }

// RefusedError says that a folder's Check refuses an entry. Its files are as
// they were before, and whoever travelled with it got in all the same.
type RefusedError struct {
	Command string // such as "nginx -t"
	Output  string // of the command, without private keys
	// Before: it refuses what stood there before, too, so that the entry may well
	// be right. Once that is mended, it is worth another try.
	Before bool
}

// Error shows what the command said.
func (e *RefusedError) Error() string {
	if e.Before {
		return fmt.Sprintf("%s refuses what was there before, too: %s", e.Command, said(e.Output))
	}
	return fmt.Sprintf("%s refuses it: %s", e.Command, said(e.Output))
}

// Folder is a folder of files that many have theirs in, each under a prefix of
// his own. What comes while a commit is under way travels together in the next
// one: one script, one Check, one Refresh. It is safe for concurrent use and
// needs no closing. It waits for no other scripts of the machine.
type Folder struct {
	m    *Machine
	path string

	mu      sync.Mutex
	options FolderOptions
	queue   []*order
	asked   *looking // what Looks wait for; nil: nobody does
	working bool     // somebody takes turns
	look    Look
	lookAt  time.Time // zero: it is not known what is there
}

// order is what one wants of a folder.
type order struct {
	prefix  string
	files   Entry
	keep    bool
	restore bool
	size    int

	ended chan struct{}
	found bool
	err   error
}

// looking is a look that some wait for.
type looking struct {
	ended chan struct{}
	look  Look
	err   error
}

// Folder returns the folder at a path, one and the same for all who ask for
// it; the options of the last who did are those of the next commit. Options
// that cannot be are an *InvalidError of its methods.
func (m *Machine) Folder(o FolderOptions) *Folder {
	o.Owner, o.Group, o.Mode = cmp.Or(o.Owner, "root"), cmp.Or(o.Group, "root"), cmp.Or(o.Mode, 0o600)
	o.Beside = cmp.Or(o.Beside, path.Dir(o.Path))
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.folders[o.Path]
	if f == nil {
		f = &Folder{m: m, path: o.Path}
		if m.folders == nil {
			m.folders = map[string]*Folder{}
		}
		m.folders[o.Path] = f
	}
	f.mu.Lock()
	f.options = o
	f.mu.Unlock()
	return f
}

// Look says what stands in the folder. All who ask while an answer is not there
// share one round trip; an answer that is at most two seconds old is shared,
// too, so that what somebody changed by hand may be seen that much later. What
// this Folder wrote is always in it. Its errors are IsAway, *MissingError,
// *PendingError while an earlier commit still runs whose connection was cut, or
// say what could not be read. A folder may hold some thousands of files.
func (f *Folder) Look(ctx context.Context) (Look, error) {
	if err := f.checked(); err != nil {
		return Look{}, err
	}
	f.mu.Lock()
	if f.fresh() {
		defer f.mu.Unlock()
		return f.look, nil
	}
	if f.asked == nil {
		f.asked = &looking{ended: make(chan struct{})}
		f.start()
	}
	asked := f.asked
	f.mu.Unlock()
	select {
	case <-asked.ended:
		if asked.err != nil {
			return Look{}, fmt.Errorf("look at folder: %w", asked.err)
		}
		return asked.look, nil
	case <-ctx.Done():
		return Look{}, fmt.Errorf("look at folder: %w", markAway(context.Cause(ctx)))
	}
}

// Put has the files whose names begin with the prefix and a dot be exactly
// those of the entry; of an empty one, there are none. What is there so already
// is not written and nobody hears of it. Each file is either the old or the new
// one at any time. With keep, what stood there before is kept for Restore in
// the place of what was kept before, even if it is nothing; it changes once all
// has gone well. Without keep what is kept stays, but goes with an entry that goes.
//
// Its errors are *RefusedError, *RefreshError (of all who travelled together),
// *MissingError, *PendingError, *InvalidError for a prefix or a name, IsAway
// when it is not known what was done, or say what could not be written. But for
// IsAway, and an error that says otherwise, everything is as it was before. When
// the context ends while the entry waits for its turn, nothing was done.
func (f *Folder) Put(ctx context.Context, prefix string, e Entry, keep bool) error {
	o := &order{prefix: prefix, files: maps.Clone(e), keep: keep, ended: make(chan struct{})}
	for name, content := range e {
		if !strings.HasPrefix(name, prefix+".") || !entryForm.MatchString(name) {
			return invalid("want the prefix, a dot, and letters, digits and -._", "file %.80q of %.80q", name, prefix)
		}
		o.size += len(content)
	}
	if o.size > folderBytes {
		return invalid(fmt.Sprintf("its files are longer than %d bytes", folderBytes), "entry %.80q", prefix)
	}
	if err := f.carry(ctx, o); err != nil {
		return fmt.Errorf("write %s: %w", path.Join(f.path, prefix), err)
	}
	return nil
}

// Restore has what Put kept take the place again; when nothing is kept, the
// entry goes. What is kept stays kept, so that it may be done again. It says
// whether there was something. Its errors are those of Put.
func (f *Folder) Restore(ctx context.Context, prefix string) (found bool, err error) {
	o := &order{prefix: prefix, restore: true, ended: make(chan struct{})}
	if err := f.carry(ctx, o); err != nil {
		return false, fmt.Errorf("restore %s: %w", path.Join(f.path, prefix), err)
	}
	return o.found, nil
}

// entryForm is what a prefix and a name look like: a shell gives none of it a
// meaning.
var entryForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

// checked says what of the options cannot be.
func (f *Folder) checked() error {
	f.mu.Lock()
	o := f.options
	f.mu.Unlock()
	switch {
	case badPath(o.Path) != "" || o.Beside == "/":
		return invalid(cmp.Or(badPath(o.Path), "it has no folder above it"), "folder %.80q", o.Path)
	case badPath(o.Beside) != "":
		return invalid(badPath(o.Beside), "folder %.80q beside %.80q", o.Beside, o.Path)
	case !userForm.MatchString(o.Owner), !userForm.MatchString(o.Group):
		return invalid("is no name of a user and a group", "owner %.80q of folder %.80q", o.Owner+":"+o.Group, o.Path)
	case o.Mode&^fs.ModePerm != 0:
		return invalid("want permission bits alone", "mode %v of folder %.80q", o.Mode, o.Path)
	}
	for _, argv := range [][]string{o.Check, o.Refresh} {
		if len(argv) == 0 {
			continue
		}
		if err := validateArgv(argv); err != nil {
			return invalid(err.Error(), "command of folder %.80q", o.Path)
		}
	}
	return nil
}

// fresh says whether the answer that is there may be shared.
func (f *Folder) fresh() bool {
	return !f.lookAt.IsZero() && f.m.clock.Since(f.lookAt) <= folderFresh
}

// carry takes an order along and waits for its end.
func (f *Folder) carry(ctx context.Context, o *order) error {
	if !entryForm.MatchString(o.prefix) {
		return invalid("want letters, digits and -._", "prefix %.80q", o.prefix)
	}
	if err := f.checked(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return markAway(context.Cause(ctx))
	}
	f.mu.Lock()
	f.queue = append(f.queue, o)
	f.start()
	f.mu.Unlock()
	select {
	case <-o.ended:
		return o.err
	case <-ctx.Done():
		f.mu.Lock()
		defer f.mu.Unlock()
		f.queue = slices.DeleteFunc(f.queue, func(one *order) bool { return one == o })
		return markAway(context.Cause(ctx))
	}
}

// start has somebody take turns.
func (f *Folder) start() {
	if !f.working {
		f.working = true
		go f.work()
	}
}

// work takes one turn after the other until there is nothing to do: a commit or
// a look, never two at once.
func (f *Folder) work() {
	var linger time.Duration
	for {
		if linger > 0 {
			timer := f.m.clock.NewTimer(linger)
			<-timer.C()
		}
		f.mu.Lock()
		group, asked, options := f.group(), f.asked, f.options
		if len(group) == 0 && asked == nil {
			f.working = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		linger = 0
		if len(group) == 0 {
			f.lookNow(options)
			continue
		}
		began := f.m.clock.Now()
		f.commit(options, group)
		linger = lingerAfter(len(group), f.m.clock.Since(began))
	}
}

// lingerAfter is how long the next commit waits after one of so many that took so long.
func lingerAfter(group int, took time.Duration) time.Duration {
	switch {
	case group >= folderCrowd:
		return min(max(took, folderLinger), folderRest)
	case group > 1:
		return folderLinger
	}
	return 0
}

// group takes those off the queue who travel together: no two of whom one could
// have the other's files.
func (f *Folder) group() []*order {
	var group, rest []*order
	size := 0
	for _, o := range f.queue {
		meets := func(one *order) bool {
			return one.prefix == o.prefix || strings.HasPrefix(one.prefix, o.prefix+".") || strings.HasPrefix(o.prefix, one.prefix+".")
		}
		full := len(group) > 0 && (len(group) >= folderGroup || size+o.size > folderBytes)
		if full || slices.ContainsFunc(group, meets) || slices.ContainsFunc(rest, meets) {
			rest = append(rest, o)
			continue
		}
		group = append(group, o)
		size += o.size
	}
	f.queue = rest
	return group
}

// run runs a script of the folder, which belongs to no single caller.
func (f *Folder) run(script string, patience time.Duration) (folderReport, error) {
	p := &passenger{script: script, patience: patience}
	f.m.run(context.Background(), []*passenger{p})
	if p.err != nil {
		return folderReport{}, p.err
	}
	return parseFolder(f.path, p.result)
}

// lookNow looks, for all who wait for it.
func (f *Folder) lookNow(o FolderOptions) {
	report, err := f.run(o.lookScript(), lookPatience)
	if err == nil && report.look == nil {
		err = fmt.Errorf("it holds more than %d files", mostLooked)
	}
	f.saw(report.look, err, true)
}

// commit makes the changes of a group, and tells each how it went.
func (f *Folder) commit(o FolderOptions, group []*order) {
	report, err := f.run(o.commitScript(group), folderPatience)
	f.saw(report.look, err, false)
	for i, one := range group {
		if one.err = err; err == nil {
			one.found, one.err = report.found[i], report.outcome(o, i, group)
		}
		close(one.ended)
	}
}

// saw takes what is known now. Those who wait for a look have it, unless a
// commit did not say.
func (f *Folder) saw(look *Look, err error, looked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookAt = time.Time{}
	if err == nil && look != nil {
		f.look, f.lookAt = *look, f.m.clock.Now()
	}
	if f.asked != nil && (looked || !f.lookAt.IsZero()) {
		f.asked.look, f.asked.err = f.look, err
		close(f.asked.ended)
		f.asked = nil
	}
}

// hide takes the lines of private keys out of what a program said.
func (e Entry) hide(text string) string {
	var secrets State
	for name, content := range e {
		if strings.HasSuffix(name, ".key") || bytes.Contains(content, []byte("PRIVATE KEY")) {
			secrets.Files = append(secrets.Files, File{Secret: true, Content: content})
		}
	}
	return secrets.hide(text)
}
