// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package portainer simulates Portainer CE 2.23: the server with its API, its
// database and its quirks, and the agent. Behind them stands an Engine: Memory,
// a Docker engine with a memory of its own that knows what compose does, or
// Docker, a real one with the program docker-compose.
//
// What is simplified: all users are administrators; environments are Docker engines
// behind a socket or an agent; stacks are compose text sent as a string; there are no
// teams, registries, groups, resource controls, edge agents, webhooks, or snapshots' contents.
// Environments are looked at when they are listed and it is time to, not in the
// background. An agent does not end itself for lack of a server, and may deploy on
// a server's behalf. Memory builds nothing, knows no swarm, and its containers are
// healthy from the start; its networks reach nothing.
//
// How values come to compose, as in 2.23: a stack's env is written to the file
// stack.env as NAME=VALUE lines, with nothing quoted, and compose reads it as any
// such file. So a value that begins with a quote, holds a line break, a $ or " #", or
// ends in white space comes out as another, or breaks the file.
package portainer
