// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestNewLoggerRefusesLevelsThatShowSecrets(t *testing.T) {
	if _, err := NewLogger(io.Discard, lowestLevel-1); err == nil || !strings.Contains(err.Error(), "Secrets") {
		t.Errorf("level %s: error %v, want a refusal that says why", lowestLevel-1, err)
	}
	for _, level := range []slog.Level{lowestLevel, slog.LevelDebug, slog.LevelInfo, slog.LevelError} {
		if _, err := NewLogger(io.Discard, level); err != nil {
			t.Errorf("level %s: %v", level, err)
		}
	}
}

// Where the Kubernetes client logs bodies is its own matter, so a Secret is really read and patched here.
func TestLowestLevelLogsNoBodies(t *testing.T) {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "mine", Name: "logged"}, StringData: map[string]string{"key": "hidden-value"}}
	if err := installed.admin.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = installed.admin.Delete(context.Background(), s) })
	for level, want := range map[slog.Level]bool{lowestLevel: false, lowestLevel - 1: true} {
		var out bytes.Buffer
		ctx := klog.NewContext(t.Context(), newLogger(&out, level))
		c, err := client.New(installed.manager, client.Options{Scheme: installed.admin.Scheme()})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Get(ctx, client.ObjectKeyFromObject(s), s); err != nil {
			t.Fatal(err)
		}
		before := s.DeepCopy()
		s.Labels = map[string]string{"level": fmt.Sprint(-int(level))}
		if err := c.Patch(ctx, s, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), "Response Body"); got != want {
			t.Errorf("level %s logs bodies: %t, want %t: lowestLevel is not where it belongs", level, got, want)
		}
	}
}
