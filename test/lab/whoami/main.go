// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Command whoami is a web server that says who answers. It stands in the lab for what people run in containers: one static
// program that serves at once, ends at once when it is told to, and is as healthy as it was last told to be.
//
//	GET /          the host name, the name that it was given, who asks, and how
//	GET /health    the status that was set last: 200 at first
//	POST /health   sets it: the body is the number
//	POST /count    how many bytes the body has
//	GET /ticks     five lines, one each fifth of a second
//	GET /echo      with Upgrade: websocket, every byte comes back as it is, without frames
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	port := flag.String("port", or(os.Getenv("WHOAMI_PORT_NUMBER"), "80"), "the port to serve at")
	name := flag.String("name", os.Getenv("WHOAMI_NAME"), "a name to answer with")
	check := flag.Bool("check", false, "ask the server of this container for its health, and fail if it is not well")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	run := func() error { return serve(ctx, ":"+*port, handler(*name)) }
	if *check {
		run = func() error { return ask(ctx, "http://127.0.0.1:"+*port+"/health") }
	}
	err := run()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "whoami:", err)
		os.Exit(1)
	}
}

func or(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

// serve serves until ctx ends.
func serve(ctx context.Context, address string, h http.Handler) error {
	server := &http.Server{Addr: address, Handler: h, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // it ends, and nobody waits for an answer
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(name string) http.Handler {
	var health atomic.Int32
	health.Store(http.StatusOK)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		host, err := os.Hostname()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "Hostname: %s\n", host)
		if name != "" {
			fmt.Fprintf(w, "Name: %s\n", name)
		}
		fmt.Fprintf(w, "RemoteAddr: %s\n%s %s %s\nHost: %s\n", r.RemoteAddr, r.Method, r.URL.RequestURI(), r.Proto, r.Host)
		_ = r.Header.Write(w) // who asked has left then
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(health.Load())) })
	mux.HandleFunc("POST /health", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(io.LimitReader(r.Body, 16))
		status, e := strconv.Atoi(strings.TrimSpace(string(text)))
		if errors.Join(err, e) != nil || status < 200 || status > 599 {
			http.Error(w, "the body must be an HTTP status from 200 to 599", http.StatusBadRequest)
			return
		}
		health.Store(int32(status))
	})
	mux.HandleFunc("POST /count", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, n)
	})
	mux.HandleFunc("GET /ticks", tick)
	mux.HandleFunc("GET /echo", echo)
	return mux
}

// tick answers line by line.
func tick(w http.ResponseWriter, r *http.Request) {
	for i := range 5 {
		fmt.Fprintf(w, "tick %d\n", i)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return // who asked has left
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// echo has the connection go over to another protocol, as websockets do: what comes goes back.
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

// ask is one request, which has to be answered with 200.
func ask(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return errors.Join(err, answer.Body.Close())
}
