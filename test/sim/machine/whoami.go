// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// whoami is the program of traefik/whoami: it answers with who it is, who asks, and
// how. Its /health can be told what to say, /count counts a body, /ticks answers
// slowly, and /echo speaks another protocol.
type whoami struct {
	container portainer.Container
	health    atomic.Int32
}

// newWhoami answers at a port of a container. Where whoami does not listen, the
// connection ends without a word.
func newWhoami(c portainer.Container, target int) http.Handler {
	if port := envOf(c, "WHOAMI_PORT_NUMBER"); port == "" && target != 80 || port != "" && port != strconv.Itoa(target) {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	}
	h := &whoami{container: c}
	h.health.Store(http.StatusOK)
	mux := http.NewServeMux()
	mux.HandleFunc("/", h.tell)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(h.health.Load())) })
	mux.HandleFunc("POST /health", h.setHealth)
	mux.HandleFunc("POST /count", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body) // what came counts
		fmt.Fprintln(w, n)
	})
	mux.HandleFunc("GET /ticks", tick)
	mux.HandleFunc("GET /echo", echo)
	return mux
}

func envOf(c portainer.Container, name string) string {
	for _, entry := range slices.Backward(c.Env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

func (h *whoami) tell(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Hostname: %s\n", h.container.ID[:12])
	if name := envOf(h.container, "WHOAMI_NAME"); name != "" {
		fmt.Fprintf(w, "Name: %s\n", name)
	}
	fmt.Fprintf(w, "RemoteAddr: %s\n%s %s %s\nHost: %s\n", r.RemoteAddr, r.Method, r.URL.RequestURI(), r.Proto, r.Host)
	_ = r.Header.Write(w) // who asked has left then
}

func (h *whoami) setHealth(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(io.LimitReader(r.Body, 16)) // what came counts
	status := atoi(string(text))
	if status < 200 || status > 599 {
		http.Error(w, "the body must be an HTTP status from 200 to 599", http.StatusBadRequest)
		return
	}
	h.health.Store(int32(status))
}

// tick answers line by line.
func tick(w http.ResponseWriter, r *http.Request) {
	for i := range 5 {
		fmt.Fprintf(w, "tick %d\n", i)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return // who asked has left
		}
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case <-r.Context().Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// echo speaks another protocol on the connection, as websockets do: what comes
// goes back.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		http.Error(w, "this needs Upgrade: websocket", http.StatusUpgradeRequired)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }() // the other side has left
	fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_, _ = io.Copy(conn, buffered) // until it leaves
}
