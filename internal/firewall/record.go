// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
)

// Original is the value of an option before the owner first set it.
type Original struct {
	// From is the value; nil: it was not set.
	From *string `json:"from"`
	// To are the values that the owner gave it. One that somebody else gave it is not taken back.
	To []string `json:"to"`
}

// Record is what the owner has to know beside what stands in Proxmox. It is kept on the nodes.
type Record struct {
	Owner string `json:"owner"`
	// Serial grows with each writing: of several, the highest counts.
	Serial  int                           `json:"serial"`
	Options map[Level]map[string]Original `json:"options,omitempty"`
}

// ParseRecord reads a record of the owner; no text is an empty one.
func ParseRecord(owner string, text []byte) (Record, error) {
	r := Record{Owner: owner}
	if len(text) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, err
	}
	if r.Owner != owner {
		return Record{}, errors.New("it is of owner " + r.Owner)
	}
	return r, nil
}

// Text is the record as it is kept.
func (r Record) Text() []byte {
	text, err := json.Marshal(r)
	if err != nil { // strings and numbers alone: cannot be
		panic(err)
	}
	return text
}

// Empty says that nothing has to be known.
func (r Record) Empty() bool { return len(r.Options) == 0 }

func (r Record) clone() Record {
	c := r
	c.Options = make(map[Level]map[string]Original, len(r.Options))
	for l, options := range r.Options {
		c.Options[l] = maps.Clone(options)
	}
	return c
}

// same says whether two records hold the same, whatever their serials.
func (r Record) same(o Record) bool {
	r.Serial, o.Serial = 0, 0
	return string(r.Text()) == string(o.Text())
}

// note takes down what an option was before it is set for the first time, and what it is set to.
func (r Record) note(l Level, key string, now *string, to string) {
	if r.Options[l] == nil {
		r.Options[l] = map[string]Original{}
	}
	o, known := r.Options[l][key]
	if !known {
		o.From = now
	}
	if !slices.Contains(o.To, to) {
		o.To = append(slices.Clone(o.To), to)
	}
	r.Options[l][key] = o
}

// wantedOptions are the options of a level as they should be: nil stands for not set. What is not named stays as it is.
func wantedOptions(w LevelWant, s LevelState, originals map[string]Original) map[string]*string {
	wanted := map[string]*string{}
	for key, o := range originals {
		now, set := s.Options[key]
		if set && slices.Contains(o.To, now) {
			wanted[key] = o.From
		}
	}
	for key, value := range w.Options {
		wanted[key] = &value
	}
	return wanted
}

// recordFor is the record as it must stand before the changes, and as it may stand after them.
func recordFor(w Want, s State, r Record) (before, after Record) {
	before = r.clone()
	for l, want := range w.Levels {
		if state, there := s.Levels[l]; there {
			before.noteAll(l, want.Options, state.Options)
		}
	}
	return before, before.only(w)
}

// noteAll takes down what options are that will be set to something else.
func (r Record) noteAll(l Level, wanted, now map[string]string) {
	for key, value := range wanted {
		current, set := now[key]
		_, known := r.Options[l][key]
		switch {
		case !set:
			r.note(l, key, nil, value)
		case current != value || known:
			r.note(l, key, &current, value)
		}
	}
}

// only is the record without the options that are not wanted any more.
func (r Record) only(w Want) Record {
	kept := r.clone()
	for l, options := range kept.Options {
		maps.DeleteFunc(options, func(key string, _ Original) bool {
			_, wanted := w.Levels[l].Options[key]
			return !wanted
		})
		if len(options) == 0 {
			delete(kept.Options, l)
		}
	}
	return kept
}
