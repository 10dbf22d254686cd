// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/reconcile"
	"github.com/phoenix-hypervisor/phoenix/internal/traefik"
)

const (
	// takes is how often a router is asked within a pass whether it has taken what it was given just now.
	takes = 4
	// runtimeFor is how long an answer of a router serves all Routes. One that took long serves longer, but never as long as it
	// matters (pickUpLimit): a Route must not be judged by what was so before the router took it.
	runtimeFor, runtimeMost = 300 * time.Millisecond, time.Second
	// runtimeLimit bounds the question.
	runtimeLimit = 20 * time.Second
	// maxRuntime bounds what is unpacked of an answer.
	maxRuntime = 256 << 20
)

// loaded is what a router has loaded, and since when that is so.
type loaded struct {
	traefik.Runtime
	sum    [sha256.Size]byte // of the answer
	config [sha256.Size]byte // of the answer without what health checks found
	since  time.Time         // the same config
}

// serverStatus is what an answer says of the health of servers.
var serverStatus = regexp.MustCompile(`"serverStatus":\s*\{[^}]*\}`)

// runtimes asks routers what they have loaded, once for all Routes.
type runtimes struct {
	mu   sync.Mutex
	asks map[string]*ask
	last map[string]loaded
}

// ask is a question that some wait for.
type ask struct {
	at    time.Time // by the kind's clock
	began time.Time // by the machine's, as how long an answer serves is no matter of passes
	done  chan struct{}
	took  time.Duration
	value loaded
	err   error
}

// of returns what a router has loaded: as it was a moment ago, but not before a certain time, or now. One question at a time is
// asked.
func (r *runtimes) of(ctx context.Context, router *side, now, since time.Time) (loaded, error) {
	for {
		a := r.ask(ctx, router, now, since)
		select {
		case <-a.done:
			if !a.began.Before(since) {
				return a.value, a.err
			}
		case <-ctx.Done():
			return loaded{}, context.Cause(ctx)
		}
	}
}

// ask is the question that was asked last, if it still is or its answer serves, or a new one.
func (r *runtimes) ask(ctx context.Context, router *side, now, since time.Time) *ask {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.asks[router.key()]; a != nil && (!a.ended() || !a.began.Before(since) && time.Since(a.began) < a.serves()) {
		return a
	}
	if r.asks == nil {
		r.asks, r.last = map[string]*ask{}, map[string]loaded{}
	}
	a := &ask{at: now, began: time.Now(), done: make(chan struct{})}
	r.asks[router.key()] = a
	go r.run(ctx, router, a)
	return a
}

// taken returns what a router has loaded: once it has a version, where it was given that just now and takes it within about a
// second. It nearly always does, and every Route would otherwise say first that it waits for that.
func (k *Kind) taken(ctx context.Context, router *side, version string, given time.Time) (loaded, error) {
	var runtime loaded
	tries := 0
	err := wait.PollUntilContextCancel(ctx, runtimeFor, true, func(ctx context.Context) (bool, error) {
		var err error
		tries++
		runtime, err = k.runtimes.of(ctx, router, k.Clock.Now(), given)
		return tries == takes || time.Since(given) > takes*runtimeFor || runtime.Look(router.prefix, version).Loaded, err
	})
	return runtime, err
}

// serves is how long an answer does, from when it was asked for.
func (a *ask) serves() time.Duration {
	if a.err != nil {
		return runtimeFor
	}
	return max(runtimeFor, min(3*a.took, runtimeMost))
}

func (a *ask) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// run asks, for all who wait.
func (r *runtimes) run(ctx context.Context, router *side, a *ask) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), runtimeLimit)
	defer cancel()
	defer close(a.done)
	raw, err := askRouter(ctx, router)
	a.took = time.Since(a.began)
	if err != nil {
		a.err = err
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.value, err = r.last[router.key()].next(raw, a.at); err != nil {
		a.err = routerAway(router, err)
		return
	}
	r.last[router.key()] = a.value
}

// next is what an answer says that came after the last one.
func (l loaded) next(raw []byte, at time.Time) (loaded, error) {
	n := loaded{sum: sha256.Sum256(raw), since: at}
	if n.sum == l.sum {
		return l, nil
	}
	if n.config = sha256.Sum256(serverStatus.ReplaceAll(raw, nil)); n.config == l.config {
		n.since = l.since
	}
	var err error
	n.Runtime, err = traefik.ParseRuntime(raw)
	return n, err
}

// runtimeScript asks on the machine itself, as the API is open to nobody else. The answer of a router with many Routes is
// longer than what a machine may say, so it is packed; a machine that cannot do so says it as it is.
const runtimeScript = `raw=$(curl --silent --show-error --fail --noproxy '*' --max-time 4 http://127.0.0.1:%d/api/rawdata) || exit 4
if command -v gzip >/dev/null 2>&1; then printf '%%s' "$raw" | gzip -c -1 | base64; else printf '%%s' "$raw"; fi`

// askRouter returns the answer of a router's API. Its errors are outcomes.
func askRouter(ctx context.Context, router *side) ([]byte, error) {
	result, err := router.machine.Script(ctx, fmt.Sprintf(runtimeScript, apiPort(router.service)))
	switch {
	case err != nil:
		return nil, machineError(err)
	case result.ExitCode != 0:
		return nil, routerAway(router, errors.New(strings.TrimSpace(string(result.Stderr))))
	}
	raw, err := unpacked(result.Stdout)
	if err != nil {
		return nil, routerAway(router, err)
	}
	return raw, nil
}

// unpacked is an answer, whether it was packed or not.
func unpacked(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	if bytes.HasPrefix(text, []byte("{")) {
		return text, nil
	}
	packed, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text)))
	if err != nil {
		return nil, fmt.Errorf("unpack its answer: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(packed, maxRuntime))
	if err != nil {
		return nil, fmt.Errorf("unpack its answer: %w", err)
	}
	return raw, nil
}

// versionMark is where a router's file has its version.
var versionMark = regexp.MustCompile(`"X-Phoenix-Version": "([0-9a-f]+)"`)

// versionOf is the version of the file that a router has; empty: it is not known. Another manager may have written it.
func (k *Kind) versionOf(ctx context.Context, seen *Seen, sum string) string {
	if seen.memory.file == sum {
		return seen.memory.version
	}
	router := seen.router
	result, err := router.machine.Script(ctx, "cat "+quoted(path.Join(router.options.Path, router.prefix+routerSuffix)))
	if err != nil || result.ExitCode != 0 {
		return ""
	}
	if is := sha256.Sum256(result.Stdout); hex.EncodeToString(is[:]) != sum {
		return ""
	}
	found := versionMark.FindSubmatch(result.Stdout)
	if found == nil {
		return ""
	}
	return string(found[1])
}

// routerAway says that a router does not tell what it has loaded.
func routerAway(router *side, err error) error {
	return reconcile.Wait(RouterAwayReason, routerFor, fmt.Errorf("ask %s what it has loaded: %w", router, err))
}

// machineError turns an error of a machine's driver into an outcome.
func machineError(err error) error {
	var pending *machine.PendingError
	var missing *machine.MissingError
	switch {
	case err == nil:
		return nil
	case reconcile.ReasonOf(err) != "":
		return err
	case machine.IsAway(err):
		return reconcile.Wait(MachineAwayReason, awayFor, err)
	case errors.As(err, &pending):
		return reconcile.Wait(MachineBusyReason, busyFor, err)
	case errors.As(err, &missing): // its service makes it
		return reconcile.Wait(FolderMissingReason, awayFor, err)
	}
	return err
}
