// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package git fetches one file of a git repository over https or ssh. It keeps everything in memory, takes one commit
// where the server can give it alone, and is bounded in time and size. It uses neither git's nor ssh's configuration of the
// machine that it runs on, and no proxy of its environment.
package git

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// Bounds of a fetch.
const (
	timeLimit       = 60 * time.Second
	fileLimit       = 1 << 20   // bytes of the file
	repositoryLimit = 64 << 20  // bytes that the server sends, and of any one object
	unpackedLimit   = 256 << 20 // bytes of all objects
)

// slots bounds how many repositories are in memory at once.
var slots = make(chan struct{}, 2)

// Source is a file in a repository.
type Source struct {
	// URL of the repository: https://host/path or ssh://user@host/path, without a password. The default user is git.
	URL string
	// Ref is a branch, a tag, a full name such as refs/heads/main, or the 40 digits of a commit. Empty: the repository's HEAD.
	// A branch comes before a tag of the same name.
	Ref string
	// Path of the file within the repository.
	Path string
	// Username and Password (or a token as Password) for https; for ssh, Username when the URL has none.
	Username, Password string
	// SSHKey is a private key without a passphrase, in PEM.
	SSHKey []byte
	// KnownHosts are the keys that the ssh server may show, as in known_hosts. There is no default.
	KnownHosts []byte
	// Roots verify the https server. Nil: those of the machine.
	Roots *x509.CertPool
	// Dial opens connections. Nil: a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// File is a file as it is in a commit.
type File struct {
	Text   []byte
	Commit string // 40 digits
}

// Fetch returns the file that a source names. Its errors are *Error.
func Fetch(ctx context.Context, s Source) (File, error) {
	r, err := newRemote(s)
	if err != nil {
		return File{}, err
	}
	if err := checkPath(s.Path); err != nil {
		return File{}, r.fail("fetch", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return File{}, r.fail("fetch", context.Cause(ctx))
	}
	file, err := r.fetch(ctx)
	if err != nil {
		return File{}, r.fail("fetch", err)
	}
	return file, nil
}

// Head returns the commit that the source's Ref stands for now; of a commit, that commit itself without asking. Its errors
// are *Error.
func Head(ctx context.Context, s Source) (string, error) {
	r, err := newRemote(s)
	if err != nil {
		return "", err
	}
	if fullCommit.MatchString(s.Ref) {
		return strings.ToLower(s.Ref), nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	found, err := r.head(ctx)
	if err != nil {
		return "", r.fail("look at", err)
	}
	return found.commit.String(), nil
}

var fullCommit = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)

// remote is a source that is being talked to.
type remote struct {
	Source
	url  *url.URL
	open func(ctx context.Context) (session, error)
}

// session is one conversation with git-upload-pack.
type session interface {
	AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error)
	UploadPack(ctx context.Context, request *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	Close() error
}

func newRemote(s Source) (*remote, error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, &Error{Kind: Invalid, Message: "read URL: it must be as https://host/path or ssh://git@host/path"}
	}
	r := &remote{Source: s, url: u}
	if _, has := u.User.Password(); has || u.Scheme == "https" && u.User != nil {
		return nil, r.fail("read URL of", problem(Invalid, "it must hold no credentials: give them beside it"))
	}
	switch u.Scheme {
	case "https":
		r.open, err = r.https()
	case "ssh":
		r.open, err = r.ssh()
	default:
		err = problem(Invalid, "%s is not supported: use https or ssh", u.Scheme)
	}
	if err != nil {
		return nil, r.fail("reach", err)
	}
	return r, nil
}

// address is the host and port of the repository.
func (r *remote) address(port string) string {
	if p := r.url.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(r.url.Hostname(), port)
}

func (r *remote) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dial := r.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	connection, err := dial(ctx, network, address)
	if err != nil {
		return nil, &Error{Kind: Away, Message: "the server is away", Err: err}
	}
	return connection, nil
}

func checkPath(p string) error {
	if p == "" || p != path.Clean(p) || path.IsAbs(p) || p == "." || p == ".." || strings.HasPrefix(p, "../") {
		return problem(Invalid, "the path %q must lead to a file within the repository, as blog/compose.yaml does", p)
	}
	return nil
}

// tip is a commit and what the server is asked for to get it: for an annotated tag the tag.
type tip struct{ commit, want plumbing.Hash }

// head resolves the Ref among those that the server has.
func (r *remote) head(ctx context.Context) (tip, error) {
	s, err := r.open(ctx)
	if err != nil {
		return tip{}, err
	}
	refs, err := s.AdvertisedReferencesContext(ctx)
	err = errors.Join(err, s.Close())
	if err != nil {
		return tip{}, err
	}
	return resolve(refs, r.Ref)
}

func resolve(refs *packp.AdvRefs, ref string) (tip, error) {
	if ref == "" {
		if refs.Head == nil {
			return tip{}, problem(NoReference, "the repository's HEAD is of a branch that does not exist: name a branch")
		}
		return tip{*refs.Head, *refs.Head}, nil
	}
	for _, name := range []string{"refs/heads/" + ref, "refs/tags/" + ref, ref} {
		want, ok := refs.References[name]
		if !ok {
			continue
		}
		if peeled, ok := refs.Peeled[name]; ok {
			return tip{peeled, want}, nil
		}
		return tip{want, want}, nil
	}
	return tip{}, problem(NoReference, "the repository has no branch or tag %s", ref)
}

// fetch gets the commit alone where the server gives it so, and else all history.
func (r *remote) fetch(ctx context.Context) (File, error) {
	s, err := r.open(ctx)
	if err != nil {
		return File{}, err
	}
	refs, err := s.AdvertisedReferencesContext(ctx)
	if err != nil {
		return File{}, errors.Join(err, s.Close())
	}
	found, alone, err := r.find(refs)
	if err != nil {
		return File{}, errors.Join(err, s.Close())
	}
	request := newRequest(refs, alone)
	if alone {
		request.Wants = []plumbing.Hash{found.want}
	}
	pack, err := download(ctx, s, request)
	if err = errors.Join(err, s.Close()); err != nil {
		return File{}, err
	}
	return unpack(ctx, pack, found.commit, r.Path)
}

// find says which commit is meant, and whether it can be asked for alone: servers give what a branch or tag is at, and
// other commits when they say so.
func (r *remote) find(refs *packp.AdvRefs) (found tip, alone bool, err error) {
	if !fullCommit.MatchString(r.Ref) {
		found, err = resolve(refs, r.Ref)
		return found, true, err
	}
	commit := plumbing.NewHash(strings.ToLower(r.Ref))
	for name, hash := range refs.References {
		if hash == commit || refs.Peeled[name] == commit {
			return tip{commit, hash}, true, nil
		}
	}
	return tip{commit, commit}, refs.Capabilities.Supports(capability.AllowReachableSHA1InWant), nil
}

// newRequest asks for one commit, or for all branches and tags with their history.
func newRequest(refs *packp.AdvRefs, alone bool) *packp.UploadPackRequest {
	transport.FilterUnsupportedCapabilities(refs.Capabilities)
	request := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	if refs.Capabilities.Supports(capability.NoProgress) {
		_ = request.Capabilities.Set(capability.NoProgress) // it takes no argument, which is all that Set can refuse
	}
	if alone {
		if refs.Capabilities.Supports(capability.Shallow) {
			_ = request.Capabilities.Set(capability.Shallow) // as above
			request.Depth = packp.DepthCommits(1)
		}
		return request
	}
	seen := map[plumbing.Hash]bool{}
	for name, hash := range refs.References {
		if !seen[hash] && (strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/")) {
			seen[hash] = true
			request.Wants = append(request.Wants, hash)
		}
	}
	return request
}
