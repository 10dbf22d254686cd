// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package proxmox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// scalar is any JSON scalar as text. Measured: the same value comes as a
// number in one answer and as a string in the next. true is "1", false "0",
// null "".
type scalar string

// UnmarshalJSON reads a string, number, boolean or null.
func (s *scalar) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[':
		return fmt.Errorf("read scalar: got %.20q", raw)
	case raw[0] == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		*s = scalar(text)
	case bytes.Equal(raw, []byte("true")):
		*s = "1"
	case bytes.Equal(raw, []byte("false")):
		*s = "0"
	case bytes.Equal(raw, []byte("null")):
		*s = ""
	default:
		*s = scalar(raw)
	}
	return nil
}

// integer is a whole number that may come as a number, a string with a
// fraction, a boolean or null (0).
type integer int64

// UnmarshalJSON reads any scalar that is a number.
func (n *integer) UnmarshalJSON(raw []byte) error {
	var s scalar
	if err := s.UnmarshalJSON(raw); err != nil {
		return err
	}
	text := strings.TrimSpace(string(s))
	if text == "" {
		*n = 0
		return nil
	}
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		*n = integer(whole)
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) >= math.MaxInt64 {
		return fmt.Errorf("read number: got %.20q", text)
	}
	*n = integer(f)
	return nil
}

// truth is a boolean that may come as 0 and 1, "0" and "1", true and false,
// or null (false).
type truth bool

// UnmarshalJSON reads any scalar that is a boolean.
func (b *truth) UnmarshalJSON(raw []byte) error {
	var s scalar
	if err := s.UnmarshalJSON(raw); err != nil {
		return err
	}
	if s == "" {
		*b = false
		return nil
	}
	v, err := parseBool(string(s))
	*b = truth(v)
	return err
}
