// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package hostservice

// Reasons of the steps of a portainer service.
const (
	// MakingAgentSecretReason and MakingAdminReason: what nobody chose is made by chance, and put into a Secret.
	MakingAgentSecretReason = "MakingAgentSecret"
	MakingAdminReason       = "MakingAdmin"
	// InitialisingAdminReason: the server gets its first administrator.
	InitialisingAdminReason = "InitialisingAdmin"
	// MakingAPIKeyReason: the server makes a key for Phoenix, which is put into a Secret.
	MakingAPIKeyReason = "MakingAPIKey"
	// RestartingReason: the server waited for its administrator in vain, and does nothing until it is restarted.
	RestartingReason = "Restarting"
	// SettingReason: settings of the server are set.
	SettingReason = "Setting"
)

// Reasons of the steps of a portainerAgent service.
const (
	// RegisteringReason: the engine becomes an environment of Portainer.
	RegisteringReason = "Registering"
	// ReregisteringReason: the environment is named, marked or reached in another way than it should.
	ReregisteringReason = "Reregistering"
	// UnregisteringReason: the environment is removed from Portainer.
	UnregisteringReason = "Unregistering"
)

// Reasons of failures of both that are tried again.
const (
	// PortainerAwayReason: the server does not answer to Phoenix, or cannot prove that it is the one.
	PortainerAwayReason = "PortainerAway"
	// PortainerFailedReason: the server refused or failed what it was asked.
	PortainerFailedReason = "PortainerFailed"
	// APIKeyRefusedReason: the server does not accept the key that it made. Another one is made.
	APIKeyRefusedReason = "APIKeyRefused"
	// AdminPasswordDiffersReason: the administrator of the server has another name or password than the Secret says.
	AdminPasswordDiffersReason = "AdminPasswordDiffers"
	// AdminSecretMissingReason: the Secret with the administrator's password is not there.
	AdminSecretMissingReason = "AdminSecretMissing"
	// SignInsLimitedReason: there were so many sign-ins that the next one has to wait.
	SignInsLimitedReason = "SignInsLimited"
)

// Reasons of the condition Registered.
const (
	RegisteredReason      = "Registered"
	NotRegisteredReason   = "NotRegistered"
	EnvironmentDownReason = "EnvironmentDown" // Portainer has it, and does not reach the agent
)
