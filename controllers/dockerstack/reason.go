// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package dockerstack

import "time"

// Reasons of steps: of their events and their entries in the plan.
const (
	PullingReason          = "Pulling"          // images, before anything is touched
	DeployingReason        = "Deploying"        // for the first time
	RedeployingReason      = "Redeploying"      // in the place of what is there
	RollingBackReason      = "RollingBack"      // to what was last seen to run, or to nothing
	PruningReason          = "Pruning"          // containers of services that are gone
	RecordingReason        = "Recording"        // what runs as it should, in the Secret
	RemovingReason         = "Removing"         // the stack
	DestroyingVolumeReason = "DestroyingVolume" // by deleteVolumes
	WaitingReason          = "Waiting"          // for what the plan's entries say; the condition Ready has a reason of its own
)

// Reasons for which a stack is deployed again.
const (
	NotDeployedReason        = "NotDeployed"
	RecordMissingReason      = "RecordMissing" // Portainer lost it, or somebody deleted it there
	TextChangedReason        = "TextChanged"
	ValuesChangedReason      = "ValuesChanged"
	EditedInPortainerReason  = "EditedInPortainer"
	StoppedInPortainerReason = "StoppedInPortainer"
	ContainerMissingReason   = "ContainerMissing"
	ContainerStoppedReason   = "ContainerStopped"
	ContainerExtraReason     = "ContainerExtra"
	ContainerChangedReason   = "ContainerChanged" // it was made of something else
	ImageChangedReason       = "ImageChanged"
	PortsChangedReason       = "PortsChanged"
)

// Reasons of the conditions Deployed and Healthy when they are True.
const (
	DeployedReason = "Deployed"
	HealthyReason  = "Healthy"
)

// Reasons of stalls.
const (
	NotOwnedReason     = "NotOwned"
	ProjectTakenReason = "ProjectTaken"
	InvalidReason      = "Invalid"
	WrongServiceReason = "WrongService" // a reference names a HostService of another sort
)

// Reasons of what is in the way of a stack.
const (
	PortainerAwayReason      = "PortainerAway"
	UnauthorizedReason       = "Unauthorized"
	EnvironmentMissingReason = "EnvironmentMissing"
	SourceMissingReason      = "SourceMissing" // a Secret, a ConfigMap, or an entry
	FetchingReason           = "Fetching"
	GitFailedReason          = "GitFailed"
	ImageMissingReason       = "ImageMissing" // and not to be pulled
	PullFailedReason         = "PullFailed"
	DeployFailedReason       = "DeployFailed"
	RolledBackReason         = "RolledBack"
	BusyReason               = "Busy" // as many deployments run in the environment as may
	UnhealthyReason          = "Unhealthy"
	StartingReason           = "Starting"
)

const (
	// firstWait and lastWait bound the waits between tries, which double.
	firstWait = 10 * time.Second
	lastWait  = 15 * time.Minute
	// settleFor is how long a deployment whose answer was lost may go on at Portainer.
	settleFor = 2 * time.Minute
	// settleLook is how often such a one, and containers that start, are looked at.
	settleLook = 5 * time.Second
	// refusedFor is how long what was rolled back is not tried again.
	refusedFor = time.Hour
	// missingFor is how long what only a change of objects can mend is left alone, unless an event tells before.
	missingFor = 5 * time.Minute
	// environmentFor is how often a missing environment is looked for.
	environmentFor = 30 * time.Second
	// ailingFor is how often containers that are not healthy are looked at.
	ailingFor = 30 * time.Second
	// busyFor is how long room for a deployment is waited for, unless the end of another one tells before.
	busyFor = 30 * time.Second
	// jobFor is how long a job is waited for, unless its end tells before.
	jobFor = 5 * time.Minute
	// partingFor is how long a job is waited for that does not come to an end while its stack is being deleted.
	partingFor = 5 * time.Minute
	// jobLimit bounds a job: large images on a slow line take their time.
	jobLimit = time.Hour
	// defaultJobs is how many run in one environment at the same time where the Host does not say.
	defaultJobs = 4
)
