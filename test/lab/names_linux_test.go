// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestResolver(t *testing.T) {
	r := &resolver{names: map[string]netip.Addr{"four.example.": netip.MustParseAddr("192.0.2.1"), "six.example.": netip.MustParseAddr("2001:db8::1")}}
	for _, tc := range []struct {
		reason, name string
		kind         dnsmessage.Type
		answers      int
		code         dnsmessage.RCode
	}{
		{"a name of any case", "Four.Example.", dnsmessage.TypeA, 1, dnsmessage.RCodeSuccess},
		{"an address of the other family", "four.example.", dnsmessage.TypeAAAA, 0, dnsmessage.RCodeSuccess},
		{"an IPv6 address", "six.example.", dnsmessage.TypeAAAA, 1, dnsmessage.RCodeSuccess},
		{"a name that nobody has", "other.example.", dnsmessage.TypeA, 0, dnsmessage.RCodeNameError},
	} {
		q := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(tc.name), Type: tc.kind, Class: dnsmessage.ClassINET}},
		}
		text, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if text, err = r.answer(text); err != nil {
			t.Fatal(err)
		}
		var got dnsmessage.Message
		if err := got.Unpack(text); err != nil {
			t.Fatal(err)
		}
		if got.ID != 7 || !got.Response || got.RCode != tc.code || len(got.Answers) != tc.answers {
			t.Errorf("%s: got %v", tc.reason, got.GoString())
		}
	}
	if _, err := r.answer([]byte("nonsense")); err == nil {
		t.Error("nonsense was answered")
	}
}
