// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"strings"
	"testing"
)

func TestErrorsAreOneLine(t *testing.T) {
	journal := "Job for app.service failed because the control process exited with error code.\nSee \"systemctl status app.service\" and \"journalctl -xeu app.service\" for details.\n" +
		"Starting app.service - An app...\n  appd: line 3: no such word\n\nappd: giving up\nappd: giving up\n" +
		"app.service: Main process exited, code=exited, status=1/FAILURE\napp.service: Failed with result 'exit-code'.\nFailed to start app.service - An app.\n"
	back := Undone{Complete: true}
	for reason, c := range map[string]struct {
		err  error
		want string
	}{
		"what the program said":          {&UnitError{What: "restart app.service", Output: journal, Undone: back}, "rolled back: restart app.service: appd: line 3: no such word; appd: giving up"},
		"systemd alone knows":            {&UnitError{What: "start app.service", Output: "app.service: Failed with result 'timeout'.\n"}, "not rolled back in full: start app.service: app.service: Failed with result 'timeout'."},
		"a validator":                    {&ValidateError{What: "/etc/x", Output: "x:1: bad\nx: failed\n", Undone: back}, "rolled back: validate /etc/x: x:1: bad; x: failed"},
		"a probe":                        {&ProbeError{Name: "p", Output: "a \"b\"\nc", Undone: back}, `rolled back: probe p: got "a \"b\"; c"`},
		"a refresh":                      {&RefreshError{What: "update", Output: "a\nb", Undone: back}, "rolled back: run update: a; b"},
		"a job":                          {&JobError{Unit: "u", What: "install x", Log: "Started u.\nE: one\nE: two\nu: Failed with result 'exit-code'."}, "install x (u): E: one; E: two"},
		"an image":                       {&ImageError{Name: "x:1", Output: "Started u.\nError response from daemon: a\nb"}, "get image x:1: Error response from daemon: a; b"},
		"no engine":                      {&ImageError{Name: "x:1", Output: "there is no docker command", NoEngine: true}, "get image x:1: no Docker engine: there is no docker command"},
		"a write":                        {failure([]string{"write", "no"}, "/etc/x", "mv: a\nmv: b"), "not rolled back in full: write /etc/x: mv: a; mv: b"},
		"the end of what is much":        {&JobError{Unit: "u", What: "install x", Log: strings.Repeat("noise\n", 3) + strings.Repeat("x", 400) + "E: end"}, "install x (u): ..." + strings.Repeat("x", 294) + "E: end"},
		"a program that said nothing":    {&JobError{Unit: "u", What: "install x"}, "install x (u): it said nothing"},
		"a script that a terminal obeys": {&ValidateError{What: "v", Output: "a\x1b[2J\r\nb", Undone: back}, "rolled back: validate v: a [2J; b"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", reason, got, c.want)
		}
	}
}

func TestLastTry(t *testing.T) {
	for reason, c := range map[string]struct{ log, want string }{
		"the first":           {"Started u.\na\nb", "a\nb"},
		"the second":          {"Started u.\na\nu: Failed\nStarted u.\nb", "b"},
		"longer than we look": {"a\nb", "a\nb"},
		"nothing yet":         {"a\nStarted u.", "a\nStarted u."},
	} {
		if got := lastTry(c.log); got != c.want {
			t.Errorf("%s: %q, want %q", reason, got, c.want)
		}
	}
}
