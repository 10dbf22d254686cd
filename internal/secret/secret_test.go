// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretIsNeverShown(t *testing.T) {
	const value = "hunter2-correct-horse"
	s := Secret(value)
	type holder struct {
		Token Secret
		List  []Secret
	}
	h := holder{Token: s, List: []Secret{s}}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", s, "holder", h)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", s, "holder", h)
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ reason, shown string }{
		"v":    {"the verb of most errors", fmt.Sprintf("%v %+v", s, h)},
		"s":    {"the verb of strings", fmt.Sprintf("%s %s", s, h)},
		"q":    {"quoted", fmt.Sprintf("%q", s)},
		"x":    {"hex would be the value in another spelling", fmt.Sprintf("%x %X", s, s)},
		"go":   {"%#v is what a failing test prints", fmt.Sprintf("%#v %#v", s, h)},
		"d":    {"a wrong verb prints the operand", fmt.Sprintf("%d", s)},
		"json": {"objects are stored as JSON", string(encoded)},
		"slog": {"both handlers", log.String()},
	}
	hexed := fmt.Sprintf("%x", value)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(c.shown, value) || strings.Contains(strings.ToLower(c.shown), hexed) {
				t.Errorf("%s: shows the value: %s", c.reason, c.shown)
			}
			if !strings.Contains(c.shown, s.String()) {
				t.Errorf("%s: lacks the hash %s: %s", c.reason, s, c.shown)
			}
		})
	}
}

func TestSecretCompares(t *testing.T) {
	if one, other := Secret("a"), Secret([]byte("a")); one.String() != other.String() {
		t.Error("equal secrets look different: a plan would show a change that is none")
	}
	if Secret("a").String() == Secret("b").String() {
		t.Error("different secrets look equal: a plan would hide a change")
	}
	if got := Secret("").String(); got != "secret:none" {
		t.Errorf("an empty secret prints %q", got)
	}
	if got := string(Secret("abc").Reveal()); got != "abc" {
		t.Errorf("Reveal() = %q", got)
	}
	if !Secret("").Empty() || Secret("x").Empty() {
		t.Error("Empty() is wrong")
	}
}
