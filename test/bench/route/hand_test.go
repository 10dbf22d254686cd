// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/phoenix-hypervisor/phoenix/internal/machine"
	"github.com/phoenix-hypervisor/phoenix/internal/secret"
)

// The guests that Routes are written to, and the folders.
const (
	nginx, nginxFolder     = "101", "/etc/nginx/phoenix/nginx/routes"
	traefik, traefikFolder = "102", "/etc/traefik/dynamic/routes"
)

// hand writes by hand what Phoenix writes, over a connection to the host that stands, as Phoenix's does.
type hand struct {
	*stage
	conn *machine.Conn
	// name is of the Route whose files are copied, and files are they, by guest and by what follows the name.
	name  string
	files map[string]map[string]string
}

// hand takes the files of a Route as an example.
func (s *stage) hand() *hand {
	s.Helper()
	door := s.Site.SSH[0]
	conn, err := machine.Dial(machine.SSH{Address: door.Address, Key: secret.Secret(door.ClientKeyPEM), HostKeys: []string{door.HostKey}})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	h := &hand{stage: s, conn: conn, name: "pattern0", files: map[string]map[string]string{}}
	s.declare(h.name)
	for guest, folder := range map[string]string{nginx: nginxFolder, traefik: traefikFolder} {
		h.files[guest] = map[string]string{}
		for _, path := range strings.Fields(h.run(guest, "ls "+folder+"/*-"+h.name+".*")) {
			_, suffix, _ := strings.Cut(path, "-"+h.name+".")
			h.files[guest][suffix] = h.run(guest, "cat "+path)
		}
		if len(h.files[guest]) == 0 {
			s.Fatalf("guest %s has no files of Route %s in %s", guest, h.name, folder)
		}
	}
	return h
}

// run runs a script in a guest, as Phoenix does.
func (h *hand) run(guest, script string) string {
	h.Helper()
	out, err := h.conn.Run(h.Context(), []string{"lxc-attach", "-n", guest, "--", "sh", "-e"}, []byte(script))
	if err != nil {
		h.Fatalf("guest %s: %v", guest, err)
	}
	return string(out.Stdout)
}

// scripts write the files of Routes that are like the example, and have nginx read them.
func (h *hand) scripts(names ...string) map[string]string {
	out := map[string]string{}
	for guest, folder := range map[string]string{nginx: nginxFolder, traefik: traefikFolder} {
		var b strings.Builder
		b.WriteString("umask 027\ncd " + folder + "\n")
		for _, name := range names {
			for suffix, text := range h.files[guest] {
				fmt.Fprintf(&b, "cat >../%s.new <<'END'\n%s\nEND\nmv ../%s.new hand-%s.%s\n", name, strings.ReplaceAll(strings.TrimRight(text, "\n"), h.name, name), name, name, suffix)
			}
		}
		out[guest] = b.String()
	}
	out[traefik] += "chgrp traefik hand-*\ntouch .\n"
	out[nginx] += "nginx -t 2>&1\nsystemctl reload nginx\n"
	return out
}

// write writes the files of one Route, and says how long it takes until it is served.
func (h *hand) write(name string) time.Duration {
	h.Helper()
	scripts := h.scripts(name)
	began := time.Now()
	h.both(scripts)
	h.answered(name, began)
	return time.Since(began)
}

// writeAll writes those of many.
func (h *hand) writeAll(prefix string, n int) time.Duration {
	h.Helper()
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("%s%03d", prefix, i))
	}
	scripts := h.scripts(names...)
	began := time.Now()
	h.both(scripts)
	h.allAnswered(prefix, n, began)
	return time.Since(began)
}

// both runs the scripts at the same time.
func (h *hand) both(scripts map[string]string) {
	h.Helper()
	var all sync.WaitGroup
	errs := make([]error, 0, 2)
	var mu sync.Mutex
	for guest, script := range scripts {
		all.Go(func() {
			_, err := h.conn.Run(h.Context(), []string{"lxc-attach", "-n", guest, "--", "sh", "-e"}, []byte(script))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("guest %s: %w", guest, err))
			}
		})
	}
	all.Wait()
	if len(errs) > 0 {
		h.Fatal(errs)
	}
}
