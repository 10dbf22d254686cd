// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package stepca is step-ca in this process: the authority and the API of
// smallstep/certificates behind a listener of the caller's, with files and a
// database that the caller keeps, and a clock that may be wrong. It can be told
// to fail.
package stepca
