// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	sim "github.com/phoenix-hypervisor/phoenix/test/sim/machine"
)

// instant is a clock whose timers fire at once.
type instant struct{ clock.RealClock }

func (i instant) NewTimer(time.Duration) clock.Timer { return i.RealClock.NewTimer(0) }

// door is a connection to a simulated machine.
type door struct {
	m *sim.Machine

	mu     sync.Mutex
	trips  int
	inputs []string
	argv   [][]string
	kill   func(cancel func()) // prepares the end of what runs there
}

func (d *door) Run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.mu.Lock()
	d.trips++
	d.inputs, d.argv = append(d.inputs, string(stdin)), append(d.argv, argv)
	if d.kill != nil {
		d.kill(cancel)
	}
	d.mu.Unlock()
	var out, errs bytes.Buffer
	exit, err := d.m.Session(ctx, argv, bytes.NewReader(stdin), &out, &errs)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return Result{}, &awayError{err}
	}
	return Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), ExitCode: exit}, nil
}

// world is a simulated machine, one service on it, and what one owner wants.
type world struct {
	*testing.T
	sim   *sim.Machine
	door  *door
	m     *Machine
	owner Owner
	adopt bool
	app   *app
	web   *sim.Mirror
}

// app is a service: appd takes its configuration when it starts and when it
// reloads, app-ask says which one it has, and app-check reads a file.
type app struct {
	mu                        sync.Mutex
	has                       string
	starts, reload, refreshes int
}

// refresh makes one file of those in a folder, as update-ca-certificates does.
func (a *app) refresh(_ context.Context, p *sim.Process) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refreshes++
	return p.Exec([]string{"sh", "-c", "cat /etc/app/trust/* >/etc/app/bundle 2>/dev/null; if grep bad /etc/app/bundle; then exit 3; fi"})
}

func (a *app) run(_ context.Context, p *sim.Process) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch verb := append(p.Args, "start")[1]; verb {
	case "stop":
		a.has = ""
		return 0
	case "start":
		a.starts++
	case "reload":
		a.reload++
	}
	text, err := p.ReadFile("/etc/app/app.conf")
	if err != nil {
		text = "default"
	}
	if strings.Contains(text, "crash") {
		return p.Errorf("configuration refused: %s", text)
	}
	a.has = strings.TrimSpace(text)
	return 0
}

func (a *app) ask(_ context.Context, p *sim.Process) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.has == "" {
		return p.Errorf("nobody answers")
	}
	p.Printf("  %s\n", strings.TrimPrefix(a.has, "mute "))
	return 0
}

func checkApp(_ context.Context, p *sim.Process) int {
	for _, name := range p.Args[1:] {
		text, err := p.ReadFile(name)
		if err != nil || strings.Contains(text, "bad") {
			return p.Errorf("%s: line 1: cannot read %q: %v", name, text, err)
		}
	}
	return 0
}

func appPackages() map[string]sim.Package {
	unit := "[Unit]\nDescription=An app\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/sbin/appd\n" +
		"ExecStop=/usr/sbin/appd stop\nExecReload=/usr/sbin/appd reload\n[Install]\nWantedBy=multi-user.target\n"
	all := sim.DebianPackages()
	all["app"] = sim.Package{
		Version: "1.2-3", Starts: []string{"app.service"}, Users: map[string]int{"app": 120}, Depends: []string{"app-common"},
		Files: []sim.PackageFile{
			{Path: "/usr/lib/systemd/system/app.service", Text: unit}, {Path: "/etc/app/"},
			{Path: "/etc/app/app.conf", Conf: true, Text: "distribution\n", Mode: 0o640},
		},
	}
	all["app-common"] = sim.Package{Version: "1.2-3"}
	all["app-tools"] = sim.Package{Version: "1.2-3", Depends: []string{"app"}}
	return all
}

func newWorld(t *testing.T, installed ...string) *world {
	t.Helper()
	return newWorldAt(t, time.Now, installed...)
}

func newWorldAt(t *testing.T, now func() time.Time, installed ...string) *world {
	t.Helper()
	web := sim.NewMirror()
	s := sim.New(sim.Options{Hostname: "pve", Repository: appPackages(), Installed: installed, Clock: now, Web: web.Get, Registry: sim.DockerHub()})
	d := &door{m: s}
	w := &world{T: t, sim: s, door: d, m: New(d, Options{Clock: instant{}}), owner: "home/HostService/default/app", app: new(app), web: web}
	s.Program("appd", w.app.run)
	s.Program("app-ask", w.app.ask)
	s.Program("app-check", checkApp)
	s.Program("app-refresh", w.app.refresh)
	s.Boot()
	t.Cleanup(s.Halt)
	return w
}

// service is a State that uses all there is.
func service(value string) State {
	return State{
		Packages: []string{"app"},
		Dirs:     []Dir{{Path: "/etc/app/parts", Mode: 0o750, Group: "app"}},
		Files: []File{
			{
				Path: "/etc/app/app.conf", Replaces: true, Content: []byte(value + "\n"),
				Validate: []string{"app-check", "{}"}, Triggers: []Trigger{{"app.service", Restart}},
			},
			{Path: "/etc/app/parts/it's a part", Group: "app", Mode: 0o640, Content: []byte("$(reboot)\n"), Triggers: []Trigger{{"app.service", Reload}}},
			{Path: "/etc/app/token", Secret: true, Content: []byte("password=hunter2-correct-horse\n")},
			{Path: `/etc/systemd/system/mnt-my\x2ddata.mount.d/50-app.conf`, Content: []byte("[Unit]\nDescription=Data\n")},
		},
		Units:  []Unit{{Name: "app.service", Enabled: true, Running: true}},
		Verify: []Command{{Name: "all files", Argv: []string{"app-check", "/etc/app/app.conf"}}},
		Probes: []Probe{{Name: "answer", Argv: []string{"app-ask"}, Want: value, Patience: time.Second}},
		Reads:  []string{"/etc/app/*.conf"},
	}
}

// pass is one pass of the loop: it returns whether there was anything to do.
func (w *world) pass(want State, plan func(Seen) ([]Step, error)) (bool, error) {
	w.Helper()
	seen, err := w.m.Observe(w.Context(), w.owner, want)
	if err != nil {
		return true, err
	}
	steps, err := plan(seen)
	if err != nil || len(steps) == 0 {
		return false, err
	}
	return true, steps[0].Do(w.Context(), w.m)
}

func (w *world) planner(want State) func(Seen) ([]Step, error) {
	return func(seen Seen) ([]Step, error) { return Plan(w.owner, want, seen, PlanOptions{Adopt: w.adopt}) }
}

// settle runs passes until there is nothing to do, waiting for what is pending.
func (w *world) settle(want State, plan func(Seen) ([]Step, error)) error {
	w.Helper()
	for range 400 {
		more, err := w.pass(want, plan)
		var pending *PendingError
		switch {
		case errors.As(err, &pending):
			time.Sleep(5 * time.Millisecond)
		case err != nil:
			return err
		case !more:
			return nil
		}
	}
	return errors.New("it does not come to an end")
}

func (w *world) converge(want State) {
	w.Helper()
	if err := w.settle(want, w.planner(want)); err != nil {
		w.Fatalf("%v", err)
	}
}

func (w *world) clear() {
	w.Helper()
	if err := w.settle(State{}, func(seen Seen) ([]Step, error) { return Clear(w.owner, seen), nil }); err != nil {
		w.Fatalf("%v", err)
	}
}

// quiet holds the machine to one round trip and no write for a pass in which
// nothing is to do.
func (w *world) quiet(want State) {
	w.Helper()
	writes, trips := w.sim.Writes(), w.door.trips
	if more, err := w.pass(want, w.planner(want)); more || err != nil {
		w.Errorf("a second pass finds something to do: %v", err)
	}
	if n := w.sim.Writes() - writes; n != 0 {
		w.Errorf("a second pass writes %d times", n)
	}
	if n := w.door.trips - trips; n != 1 {
		w.Errorf("a second pass takes %d round trips", n)
	}
}

// sh runs a line on the machine and returns its output.
func (w *world) sh(line string) string {
	w.Helper()
	var out bytes.Buffer
	w.sim.Shell(w.Context(), line, nil, &out, &out)
	return out.String()
}

func (w *world) plan(want State) []Step {
	w.Helper()
	seen, err := w.m.Observe(w.Context(), w.owner, want)
	if err != nil {
		w.Fatal(err)
	}
	steps, err := w.planner(want)(seen)
	if err != nil {
		w.Fatal(err)
	}
	return steps
}

// snapshot is all that is on the machine and may be changed by anybody here,
// but for users, who stay.
func (w *world) snapshot() string {
	w.Helper()
	return w.sh("find /etc /srv /run /var/lib /usr/local | grep -v '^/etc/\\(passwd\\|group\\|shadow\\)$' | sort | while IFS= read -r f; do stat -c '%n %F %a %U:%G' \"$f\"; " +
		"if [ -L \"$f\" ]; then readlink \"$f\"; elif [ -f \"$f\" ]; then sha256sum <\"$f\"; fi; done; " +
		"systemctl is-active app; systemctl is-enabled app; app-ask; dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n'")
}

// changed compares two snapshots.
func changed(before, after string) string {
	return cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n"))
}
