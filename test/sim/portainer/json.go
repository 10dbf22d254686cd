// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer

import (
	"encoding/json"
	"io"
	"net/http"
)

// maxBody bounds what a client may send.
const maxBody = 8 << 20

// decode reads a request's body.
func decode(r *http.Request, into any) error {
	return json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(into)
}
