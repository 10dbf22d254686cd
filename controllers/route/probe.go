// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
)

const (
	// mostAsked is how many questions travel together: each is a process of its own on the machine.
	mostAsked = 48
	// asking bounds, in seconds, how long one may take.
	asking = 3
	// linger is how long the next questions are waited for once some were asked.
	linger = 100 * time.Millisecond
	// sharedFor is how long a good answer serves all.
	sharedFor = 2 * time.Second
)

// question is something that is asked on a router's machine: the addresses of a name, or whether a server answers.
type question struct {
	name   string // of which the addresses are asked
	server string // a URL
}

// answer is what was said.
type answer struct {
	ok bool
	// text is the addresses of a name, with blanks between them, or why a server does not answer.
	text string
	err  error
}

// reply is an answer that some wait for.
type reply struct {
	done chan struct{}
	at   time.Time // when it came; zero: it did not yet
	answer
}

// serves says whether those who ask now may have the reply: one that is still to come, or a good one that came just now.
func (r *reply) serves(now time.Time) bool {
	return r != nil && (r.at.IsZero() || r.ok && r.err == nil && now.Sub(r.at) < sharedFor)
}

// lane are the questions for one machine.
type lane struct {
	machine *machine.Machine
	queue   []question
	replies map[question]*reply
	working bool
}

// probes ask machines what concerns many Routes: what is asked for twice is asked once, and one script asks for all that came
// meanwhile.
type probes struct {
	life context.Context
	end  context.CancelFunc
	jobs sync.WaitGroup

	mu    sync.Mutex
	lanes map[string]*lane
}

// stop ends what is asked.
func (p *probes) stop() {
	p.end()
	p.jobs.Wait()
}

// ask returns the answers to all questions, in their order.
func (p *probes) ask(ctx context.Context, at *side, all []question) ([]answer, error) {
	replies := p.queue(at, all)
	out := make([]answer, 0, len(all))
	for _, r := range replies {
		select {
		case <-r.done:
			if r.err != nil {
				return nil, r.err
			}
			out = append(out, r.answer)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return out, nil
}

func (p *probes) queue(at *side, all []question) []*reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lanes == nil {
		p.lanes = map[string]*lane{}
	}
	l := p.lanes[at.key()]
	if l == nil {
		l = &lane{replies: map[question]*reply{}}
		p.lanes[at.key()] = l
	}
	l.machine = at.machine
	replies := make([]*reply, 0, len(all))
	for _, q := range all {
		r := l.replies[q]
		if !r.serves(time.Now()) {
			r = &reply{done: make(chan struct{})}
			l.replies[q] = r
			l.queue = append(l.queue, q)
		}
		replies = append(replies, r)
	}
	if !l.working && len(l.queue) > 0 {
		l.working = true
		p.jobs.Go(func() { p.work(l) })
	}
	return replies
}

// work asks until there is nothing to ask.
func (p *probes) work(l *lane) {
	for {
		now, replies, m := p.take(l)
		if len(now) == 0 {
			return
		}
		answers, err := askMachine(p.life, m, now)
		p.mu.Lock()
		for i, r := range replies {
			if r.at, r.err = time.Now(), err; err == nil {
				r.answer = answers[i]
			}
			close(r.done)
		}
		p.mu.Unlock()
		select {
		case <-time.After(linger):
		case <-p.life.Done():
		}
	}
}

// take takes the next questions of a lane; with none, the lane rests, and what it knows is forgotten.
func (p *probes) take(l *lane) ([]question, []*reply, *machine.Machine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(l.queue), mostAsked)
	now := slices.Clone(l.queue[:n])
	l.queue = l.queue[n:]
	if l.working = n > 0; !l.working {
		maps.DeleteFunc(l.replies, func(_ question, r *reply) bool { return !r.serves(time.Now()) })
	}
	replies := make([]*reply, 0, n)
	for _, q := range now {
		replies = append(replies, l.replies[q])
	}
	return now, replies, l.machine
}

// askMachine asks for everything at once by one script. Each question is a line of the answer, which is written at once.
func askMachine(ctx context.Context, m *machine.Machine, all []question) ([]answer, error) {
	var b strings.Builder
	b.WriteString("set -f\ntell() { i=$1 code=$2; set -- $3; printf '@%s %s %s\\n' \"$i\" \"$code\" \"$*\"; }\n")
	for i, q := range all {
		command := fmt.Sprintf("timeout %d getent ahosts %s 2>/dev/null | cut -d ' ' -f 1", asking, quoted(q.name))
		if q.name == "" {
			command = fmt.Sprintf("curl --silent --show-error --insecure --noproxy '*' --output /dev/null --connect-timeout %d --max-time %d %s 2>&1",
				asking, asking, quoted(q.server))
		}
		fmt.Fprintf(&b, "{ out=$(%s); tell %d $? \"$out\"; } &\n", command, i)
	}
	b.WriteString("wait\n")
	result, err := m.Script(ctx, b.String())
	if err != nil {
		return nil, machineError(err)
	}
	return readAnswers(all, string(result.Stdout))
}

// readAnswers reads what the script says.
func readAnswers(all []question, text string) ([]answer, error) {
	out := make([]answer, len(all))
	told := 0
	for line := range strings.Lines(text) {
		var i, exit int
		if n, err := fmt.Sscanf(line, "@%d %d", &i, &exit); n != 2 || err != nil || i < 0 || i >= len(all) {
			return nil, fmt.Errorf("read what the machine sees: line %.60q says nothing", line)
		}
		told++
		parts := strings.SplitN(strings.TrimSpace(line), " ", 3)
		said := strings.Join(parts[2:], "")
		out[i] = answer{ok: said != "", text: said}
		if all[i].name == "" {
			out[i].ok = connects(exit)
		}
	}
	if told != len(all) {
		return nil, fmt.Errorf("read what the machine sees: %d of %d answers came", told, len(all))
	}
	return out, nil
}

// connects says by curl's exit code whether somebody took the connection: what he speaks, and whether his certificate is
// right, is another question.
func connects(exit int) bool {
	switch exit {
	case 0, 1, 8, 16, 22, 35, 43, 47, 51, 52, 55, 56, 58, 60, 61, 92:
		return true
	}
	return false
}

// probeURL is how a server is asked. One that speaks no HTTP takes the connection, too.
func probeURL(t target) string {
	scheme := "http"
	if t.scheme == "https" || t.scheme == "" {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: t.address(), Path: "/"}).String()
}

// quoted is a word of a shell.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// lookup finds the addresses of a name as a machine sees it, at most some minutes ago; none: it has none.
func (k *Kind) lookup(ctx context.Context, at *side, name string, now time.Time) []string {
	key := at.key() + " " + name
	if known, ok := k.memory.addressesOf(key, now); ok {
		return known
	}
	answers, err := k.probes.ask(ctx, at, []question{{name: name}})
	if err != nil {
		return nil
	}
	addresses := strings.Fields(answers[0].text)
	k.memory.keepAddresses(key, addresses, now)
	return addresses
}
