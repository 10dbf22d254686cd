// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// outputLimit is how much output the agent keeps of each stream.
const outputLimit = 16 << 20

// agentExec is a command that the guest agent was asked to run.
type agentExec struct {
	ends time.Time

	mu       sync.Mutex
	done     bool
	exit     int
	out, err capped
}

// capped keeps the beginning of what is written.
type capped struct {
	mu        sync.Mutex
	buf       bytes.Buffer
	truncated bool
}

// Write implements io.Writer.
func (c *capped) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := outputLimit - c.buf.Len()
	if len(b) > room {
		c.truncated = true
		c.buf.Write(b[:room])
		return len(b), nil
	}
	return c.buf.Write(b)
}

// text is the output as JSON can carry it: UTF-8, or each byte as a character.
func (c *capped) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if utf8.Valid(c.buf.Bytes()) {
		return c.buf.String()
	}
	var b strings.Builder
	for _, one := range c.buf.Bytes() {
		b.WriteRune(rune(one))
	}
	return b.String()
}

// agentExecute runs a command inside a VM and answers with its number at once.
func agentExecute(c *call) (any, error) {
	g, err := c.agentUp()
	if err != nil {
		return nil, err
	}
	argv := strings.Split(c.params["command"], "\x00")
	known := c.opts.Backend != nil || c.unlocked(func() bool { return c.follow(g).Knows(argv[0]) })
	if argv[0] == "" || !known {
		return nil, failf("Agent error: Guest agent command failed, error was 'Failed to execute child process “%s” (No such file or directory)'", argv[0])
	}
	c.pids++
	run := &agentExec{ends: c.now.Add(c.scaled(100 * time.Millisecond))}
	g.execs[c.pids] = run
	s, vmid, input := c.Server, g.vmid, c.params["input-data"]
	s.running.Go(func() {
		exit, err := s.execGuest(s.ctx, vmid, nil, argv, strings.NewReader(input), &run.out, &run.err)
		if err != nil {
			exit = 127
			_, _ = io.WriteString(&run.err, err.Error()) // it is kept in memory
		}
		run.mu.Lock()
		defer run.mu.Unlock()
		run.done, run.exit = true, exit
	})
	return map[string]any{"pid": c.pids}, nil
}

// agentExecStatus reports an exit once: the first read reaps it.
func agentExecStatus(c *call) (any, error) {
	g, err := c.agentUp()
	if err != nil {
		return nil, err
	}
	pid := atoi(c.params["pid"])
	run := g.execs[pid]
	if run == nil {
		return nil, failf("Agent error: PID ld does not exist")
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	if !run.done || c.now.Before(run.ends) {
		return map[string]any{"exited": 0}, nil
	}
	delete(g.execs, pid)
	out := map[string]any{"exited": 1, "exitcode": run.exit}
	if text := run.out.text(); text != "" {
		out["out-data"] = text
	}
	if text := run.err.text(); text != "" {
		out["err-data"] = text
	}
	if run.out.truncated {
		out["out-truncated"] = 1
	}
	return out, nil
}

// inGuest runs a command inside a VM and waits for it. The site must be locked;
// it is not while the command runs.
func (c *call) inGuest(g *guest, argv []string, input string) (out, errs string, exit int, err error) {
	var stdout, stderr bytes.Buffer
	c.unlocked(func() bool {
		exit, err = c.execGuest(c.ctx, g.vmid, nil, argv, strings.NewReader(input), &stdout, &stderr)
		return err == nil
	})
	return stdout.String(), strings.TrimSpace(stderr.String()), exit, err
}

// agentProblem is how the agent words what the system says.
func agentProblem(name, mode, text string) error {
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return failf("Agent error: failed to open file '%s' (mode: '%s'): %s", name, mode, text)
}

// fileReadLimit is how much of a file one call reads.
const fileReadLimit = 16 << 20

func agentFileRead(c *call) (any, error) {
	g, err := c.agentUp()
	if err != nil {
		return nil, err
	}
	name := c.params["file"]
	text, problem, exit, err := c.inGuest(g, []string{"cat", name}, "")
	if err != nil || exit != 0 {
		return nil, agentProblem(name, "rb", problem)
	}
	text = text[min(atoi(c.params["offset"]), len(text)):]
	limit := fileReadLimit
	if n := atoi(c.params["count"]); n > 0 {
		limit = min(n, limit)
	}
	out := map[string]any{}
	if len(text) > limit {
		text = text[:limit]
		out["truncated"] = 1
	}
	out["content"] = text
	if c.params["decode"] == "0" {
		out["content"] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	return out, nil
}

func agentFileWrite(c *call) (any, error) {
	g, err := c.agentUp()
	if err != nil {
		return nil, err
	}
	name, content := c.params["file"], c.params["content"]
	if c.params["encode"] == "0" {
		plain, err := base64.StdEncoding.DecodeString(content)
		if err != nil {
			return nil, failf("Agent error: Invalid parameter 'buf-b64'")
		}
		content = string(plain)
	}
	_, problem, exit, err := c.inGuest(g, []string{"sh", "-c", `cat > "$1"`, "sh", name}, content)
	if err != nil || exit != 0 {
		return nil, agentProblem(name, "wb", problem)
	}
	return nil, nil
}
