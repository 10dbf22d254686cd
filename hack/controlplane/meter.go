// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// meter tells how far a long piece of work is: on a terminal in one line that changes every second, elsewhere in a
// line every 15 seconds.
type meter struct {
	out   io.Writer
	verb  string
	total int // 0: unknown
	start time.Time
	live  bool

	mu   sync.Mutex
	done int

	stop    chan struct{}
	stopped chan struct{}
}

func newMeter(out io.Writer, verb string, total int, start time.Time) *meter {
	m := &meter{out: out, verb: verb, total: total, start: start, live: terminal(out),
		stop: make(chan struct{}), stopped: make(chan struct{})}
	every := 15 * time.Second
	if m.live {
		every = time.Second
	}
	go m.run(time.NewTicker(every))
	return m
}

// step counts one unit of work.
func (m *meter) step() {
	m.mu.Lock()
	m.done++
	m.mu.Unlock()
}

// end stops the telling and ends the line on a terminal.
func (m *meter) end() {
	close(m.stop)
	<-m.stopped
}

func (m *meter) run(tick *time.Ticker) {
	defer close(m.stopped)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-m.stop:
			if told && m.live {
				fmt.Fprintf(m.out, "\r\x1b[K%s\n", m.line(time.Now()))
			}
			return
		case now := <-tick.C:
			told = true
			if m.live {
				fmt.Fprintf(m.out, "\r\x1b[K%s", m.line(now))
			} else {
				fmt.Fprintln(m.out, m.line(now))
			}
		}
	}
}

// line says how far the work is at the moment now.
func (m *meter) line(now time.Time) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	spent := now.Sub(m.start).Round(time.Second)
	switch {
	case m.total == 0:
		return fmt.Sprintf("controlplane: %s: %d, %s", m.verb, m.done, spent)
	case m.done >= m.total:
		return fmt.Sprintf("controlplane: %s %d of %d packages, linking, %s", m.verb, m.done, m.total, spent)
	default:
		return fmt.Sprintf("controlplane: %s %d of %d packages (%d %%), %s", m.verb, m.done, m.total, 100*m.done/m.total, spent)
	}
}

// terminal says whether out is a character device that a person looks at.
func terminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
