// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKernelConflicts(t *testing.T) {
	const file = "/etc/exports"
	for name, c := range map[string]struct {
		reason, content string
		want            []Conflict
	}{
		"another directory": {"it stands beside ours", "/srv/other *(rw)\n/srv/data2 *(rw)\n", nil},
		"a comment":         {"it says nothing", "# /srv/data *(rw)\n", nil},
		"the same": {
			"one directory has one list of clients", "/srv/other *(rw)\n/srv/data\t10.0.0.1(rw)\n",
			[]Conflict{{file, 2, 2, "/srv/data\t10.0.0.1(rw)", "exports the directory of exports[data]"}},
		},
		"quoted":  {"it is the same path", `"/srv/data" *(rw)`, []Conflict{{file, 1, 1, `"/srv/data" *(rw)`, "exports the directory of exports[data]"}}},
		"escaped": {"it is the same path", `/srv\057data/ *(rw)`, []Conflict{{file, 1, 1, `/srv\057data/ *(rw)`, "exports the directory of exports[data]"}}},
		"continued": {
			"all of its lines go", "/srv/data \\\n  10.0.0.1(rw) \\\n  10.0.0.2(ro)\n/srv/x *(ro)\n",
			[]Conflict{{file, 1, 3, `/srv/data \`, "exports the directory of exports[data]"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, site().KernelConflicts(map[string]string{file: c.content})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestGaneshaConflicts(t *testing.T) {
	const file = "/etc/ganesha/ganesha.conf"
	const content = `# EXPORT { Path = /srv/data; }
EXPORT
{
	Export_Id = 1;
	Path = /srv/other;
	FSAL { Name = VFS; }
}
EXPORT { Export_Id = 2; Path = "/srv/data"; Pseudo = /x; FSAL { Name = VFS; } }
EXPORT {
	Pseudo = /srv/media/;
	Path = /mnt/media;
	CLIENT {
		Clients = *;
	}
}
LOG { }
`
	want := []Conflict{
		{file, 8, 8, `EXPORT { Export_Id = 2; Path = "/srv/data"; Pseudo = /x; FSAL { Name = VFS; } }`, "exports the directory of exports[data]"},
		{file, 9, 15, "EXPORT {", "exports the directory of exports[media]"},
	}
	if diff := cmp.Diff(want, site().GaneshaConflicts(map[string]string{file: content})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
