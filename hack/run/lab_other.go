// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"
)

func labMain(run func() int) int { return run() }

func startLab(context.Context) (*place, error) { return nil, errors.New("the lab needs Debian") }
