// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package portainer simulates Portainer CE 2.23: the server with its API, its
// database and its quirks, and the agent. Behind them stands an Engine: Memory,
// a Docker engine with a memory of its own that knows what compose does, or
// Docker, a real one with the program docker-compose.
//
// What is simplified: there is one kind of user (administrators), one kind of
// environment (a Docker engine, behind its socket or an agent), and one kind of
// stack (compose text, sent as a string).
package portainer
