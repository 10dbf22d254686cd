// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
)

// lowestLevel is the most talkative level: one below, the Kubernetes client logs the bodies that it sends and receives,
// and Secrets are among them.
const lowestLevel = slog.LevelDebug - 3

// NewLogger returns a logger that writes JSON. It returns an error for a level at which Secrets would be logged.
func NewLogger(out io.Writer, level slog.Level) (logr.Logger, error) {
	if level < lowestLevel {
		return logr.Logger{}, fmt.Errorf("log at level %s: below %s the Kubernetes client logs the Secrets that it reads", level, lowestLevel)
	}
	return newLogger(out, level), nil
}

func newLogger(out io.Writer, level slog.Level) logr.Logger {
	return logr.FromSlogHandler(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}))
}
