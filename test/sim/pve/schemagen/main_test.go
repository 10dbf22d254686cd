// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	for _, tc := range []struct{ reason, schema, want, err string }{
		{"what the simulator does not know is left out, prose too",
			`{"/foo":{"GET":{"parameters":{}}},"/version":{"GET":{"allowtoken":1,"description":"long","permissions":{"user":"all"},"parameters":{"additionalProperties":0}}}}`,
			"GET /version\t{\"perm\":{\"user\":\"all\"}}\n", ""},
		{"inline formats are property strings, Perl's expressions Go's",
			`{"/pools":{"GET":{"protected":1,"proxyto":"node","permissions":{"user":"all"},"parameters":{"properties":{"a":{"format":{"x":{}},"optional":1,"type":"string"},"b":{"pattern":"(?^:\\0x){0,4096}","type":"string"}}}}}}`,
			"GET /pools\t" + `{"perm":{"user":"all"},"noToken":true,"daemon":true,"proxy":true,"props":{"a":{"type":"string","format":"property-string","optional":1},"b":{"type":"string","maxLength":4096,"pattern":"(?:\\x00x)*"}}}` + "\n", ""},
		{"no schema", `[`, "", "decode schema: unexpected end of JSON input"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			from, to := filepath.Join(t.TempDir(), "schema.json"), filepath.Join(t.TempDir(), "schema.table")
			if err := os.WriteFile(from, []byte(tc.schema), 0o600); err != nil {
				t.Fatal(err)
			}
			err := run(from, to)
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
