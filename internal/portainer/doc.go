// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package portainer is a driver of a Portainer CE server (2.23 and alike) and
// of the Docker engines behind it. It knows no Kubernetes. Nothing is logged,
// and no error holds a password, a key or a token.
//
// # How the server answers
//
// What follows is what Portainer 2.23.0 does by its sources.
//
// Errors are JSON, {"message", "details"}: details often say more, and for a
// deployment both hold compose's standard error. A proxy in front of it, or an
// agent that is away (502 without a body), has no such words: a 404 or a 5xx
// without them says nothing about Portainer and is Away here.
//
// A server that got no administrator within five minutes does not end: it
// answers every call with 303 and "Administrator initialization timeout" until
// it is restarted (Locked). Sign-ins, new keys and changes of a password,
// right or wrong, share one allowance per address: ten at once and one more a
// second; who goes beyond is refused with 403 "Access denied" for an hour, or
// until the server is restarted (Limited).
//
// An API key acts with its user's rights, is sent as X-API-Key and must not be
// sent together with a token. Its description has 1 to 127 characters and need
// not be unique; the key itself is shown once. A new key needs a token (not a
// key) and the password: 403 when that is wrong. Deleting a key that is gone is
// answered with 500. A user without administrator's rights gets 403 for tags,
// environments and settings.
//
// PUT /endpoints/{id} and PUT /settings change what they are given and keep the
// rest; TagIds given as an empty list clears them. Tags have unique names (409);
// deleting one takes it off its environments. Creating an environment with an
// agent speaks to the agent first: 500 when it does not answer or knows another
// secret, and nothing is kept. Deleting an environment leaves the records of
// its stacks behind. Whether an environment is up is what the last snapshot
// found, five minutes ago at most by default; Engine.Ping asks now.
//
// A stack's name is lower-cased and stripped of what is not a-z, 0-9, - and _;
// it is unique in its environment (409), and once containers of that project
// run, among all environments. UpdateDate is 0 until the first update; dates
// are whole seconds; stop and start do not touch them. A stack is Inactive only
// after a stop, which removes its containers: one whose containers are gone is
// still active, and starting it is refused with 400 ("already active"), or 409
// when containers are there. PUT /stacks/{id} with another endpointId moves the
// record to that environment. Deployments of all environments run one after
// another under one lock, and go on when the caller is gone.
//
// A deployment that fails at "up" is followed by "down": all containers of the
// project are gone, those that ran before as well; volumes stay. A new stack's
// record is not kept then; an updated one keeps its old text and values.
//
// Containers with a label that the settings hide are missing in the lists of
// the Docker proxy, for administrators as well.
//
// # How values reach compose
//
// The values of a stack are kept as they are sent and written to the file
// stack.env, a line NAME=VALUE each, nothing quoted; compose gets it with
// --env-file. Compose reads it as a dotenv file: quotes are taken off, $NAME is
// filled in, what follows " #" is a comment, spaces at the ends and everything
// after a line's end are lost. So a value that would not survive is sent in
// quotes of ours (and shown so in Portainer's pages), and quotes of ours are
// taken off what is read: a Variable's Value is what the containers see. Only
// what cannot be in an environment at all is refused: see CheckValue.
//
// Compose inherits the server's own environment, and what is set there wins
// over the file: see CheckName. All of this was tried with compose 2.40.3; the
// dotenv reader of 2.29.2, which Portainer 2.23 brings along, is the same.
package portainer
