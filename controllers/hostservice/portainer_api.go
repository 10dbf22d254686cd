// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

import (
	"context"
	"errors"

	"github.com/phoenix-hypervisor/phoenix/internal/portainer"
)

// PortainerAddress is where a Portainer server is, and how it proves to be the one.
type PortainerAddress struct {
	// URL such as https://10.0.0.111:9443.
	URL string
	// ServerName that its certificate is verified for.
	ServerName string
	// CABundle in PEM that its certificate is verified with; empty: what this machine trusts.
	CABundle string
}

// PortainerServer is a Portainer server, as the services that run it or that it manages need it. Errors of its calls are
// *portainer.Error.
type PortainerServer interface {
	// Status says what it is; it needs no key.
	Status(ctx context.Context) (portainer.Status, error)
	// HasAdmin says whether it has an administrator; it needs no key.
	HasAdmin(ctx context.Context) (bool, error)
	// InitAdmin makes the first administrator.
	InitAdmin(ctx context.Context, username, password string) error
	// SignIn opens a session. Too many of them in a short time are refused.
	SignIn(ctx context.Context, username, password string) (PortainerSession, error)
	// Settings are reached with an API key.
	Settings(apiKey string) PortainerSettings
	// Environments are reached with an API key.
	Environments(apiKey string) PortainerEnvironments
	// Ping asks the Docker engine of an environment, through the server, whether it answers.
	Ping(ctx context.Context, apiKey string, environment int) error
}

// PortainerSession is somebody who signed in with a password.
type PortainerSession interface {
	// Keys are those of the API that belong to the user.
	Keys(ctx context.Context) ([]portainer.Key, error)
	// MakeKey makes one. It is shown once.
	MakeKey(ctx context.Context, description, password string) (string, error)
	// DeleteKey removes one.
	DeleteKey(ctx context.Context, id int) error
}

// PortainerSettings are whose a key is, and the settings of the server.
type PortainerSettings interface {
	Me(ctx context.Context) (portainer.User, error)
	Settings(ctx context.Context) (portainer.Settings, error)
	SetSettings(ctx context.Context, change portainer.SettingsChange) error
}

// PortainerEnvironments are the engines that a server manages, and the tags that they bear.
type PortainerEnvironments interface {
	Tags(ctx context.Context) ([]portainer.Tag, error)
	MakeTag(ctx context.Context, name string) (int, error)
	DeleteTag(ctx context.Context, id int) error
	Environments(ctx context.Context) ([]portainer.Environment, error)
	MakeEnvironment(ctx context.Context, e portainer.NewEnvironment) (int, error)
	UpdateEnvironment(ctx context.Context, id int, change portainer.EnvironmentChange) error
	DeleteEnvironment(ctx context.Context, id int) error
}

// portainerSaid says whether a server refused a call in one of these ways.
func portainerSaid(err error, kinds ...portainer.Kind) bool {
	var said *portainer.Error
	if !errors.As(err, &said) {
		return false
	}
	for _, k := range kinds {
		if said.Kind == k {
			return true
		}
	}
	return false
}
