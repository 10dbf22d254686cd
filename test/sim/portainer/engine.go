// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"context"
	"net/http"
)

// Engine is a Docker engine, and compose on it.
type Engine interface {
	// Handler is the Docker API, with a version before the path or without.
	http.Handler
	// Deploy is docker-compose up -d, after docker-compose pull where Pull is set.
	// The output is compose's; so is the text of an *ComposeError.
	Deploy(ctx context.Context, d Deployment) (output string, err error)
	// Down is docker-compose down --remove-orphans: containers and networks of a
	// project go, volumes stay. A project that is not there is no error.
	Down(ctx context.Context, project string) error
}

// Deployment is one docker-compose up.
type Deployment struct {
	// Project is the name for compose.
	Project string
	// Dir is the folder of the compose file, which relative paths start at; "": one
	// that lasts as long as the deployment.
	Dir string
	// Text is the compose file.
	Text string
	// Env is the text of the file stack.env, line by line, as Portainer writes it:
	// NAME=VALUE, with nothing quoted. nil: there is no file.
	Env []string
	// Pull says that the images are pulled first. A pull that fails leaves
	// everything as it is.
	Pull bool
}

// ComposeError is a docker-compose that ended with an error.
type ComposeError struct {
	// Pulling is set when docker-compose pull failed, and nothing was deployed.
	Pulling bool
	// Output is what it wrote to its standard error.
	Output string
}

// Error implements error.
func (e *ComposeError) Error() string { return e.Output }

// EngineError is what an engine answers when it cannot do as told. The program
// docker writes "Error response from daemon: " before it.
type EngineError struct {
	// Status of HTTP.
	Status int
	// Message of the engine.
	Message string
}

// Error implements error.
func (e *EngineError) Error() string { return e.Message }
