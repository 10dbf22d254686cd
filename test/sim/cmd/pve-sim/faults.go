// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// settingsOf splits "WORD WORD key=value ..." into the words and the values; a
// value may hold spaces: it ends where the next key begins.
func settingsOf(text string) (words []string, values map[string]string) {
	values = map[string]string{}
	key := ""
	for _, part := range strings.Fields(text) {
		if name, value, ok := strings.Cut(part, "="); ok {
			key = name
			values[key] = value
			continue
		}
		if key == "" {
			words = append(words, part)
			continue
		}
		values[key] += " " + part
	}
	return words, values
}

// reader reads values and keeps the first error.
type reader struct {
	values map[string]string
	err    error
}

func (r *reader) text(key string) string {
	value := r.values[key]
	delete(r.values, key)
	return value
}

func (r *reader) number(key string) int {
	text := r.text(key)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	r.keep(key, err)
	return n
}

func (r *reader) duration(key string) time.Duration {
	text := r.text(key)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	r.keep(key, err)
	return d
}

func (r *reader) flag(key string) bool {
	text := r.text(key)
	if text == "" {
		return false
	}
	b, err := strconv.ParseBool(text)
	r.keep(key, err)
	return b
}

func (r *reader) keep(key string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", key, err)
	}
}

// done complains about what nobody asked for.
func (r *reader) done(what string) error {
	for key := range r.values {
		r.keep(key, fmt.Errorf("unknown setting of a %s", what))
	}
	return r.err
}

func parseFault(text string) (pve.Fault, error) {
	words, values := settingsOf(text)
	if len(words) != 2 {
		return pve.Fault{}, fmt.Errorf("fault %q: want METHOD PATH key=value", text)
	}
	r := &reader{values: values}
	f := pve.Fault{
		Method: strings.TrimPrefix(words[0], "*"), Path: words[1], From: r.number("from"), To: r.number("to"), Delay: r.duration("delay"),
		Status: r.number("status"), Reason: r.text("reason"), Body: r.text("body"), Trickle: r.duration("trickle"),
	}
	switch cut := r.text("cut"); cut {
	case "":
	case "before":
		f.Cut = pve.CutBefore
	case "after":
		f.Cut = pve.CutAfter
	default:
		return f, fmt.Errorf("fault %q: cut is before or after", text)
	}
	return f, r.done("fault")
}

func parseTaskFault(text string) (pve.TaskFault, error) {
	words, values := settingsOf(text)
	if len(words) == 0 || len(words) > 2 {
		return pve.TaskFault{}, fmt.Errorf("task fault %q: want KIND [ID] key=value", text)
	}
	r := &reader{values: values}
	f := pve.TaskFault{
		Kind: strings.TrimPrefix(words[0], "*"), Fail: r.text("fail"), AfterEffect: r.flag("after"), Warnings: r.number("warnings"),
		Lost: r.flag("lost"), Delay: r.duration("delay"), Times: r.number("times"),
	}
	if len(words) == 2 {
		f.ID = words[1]
	}
	return f, r.done("task fault")
}
