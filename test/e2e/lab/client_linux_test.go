// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// caller calls the site's API with its token, every time on a connection of its own: a firewall lets old ones live.
type caller struct {
	http        *http.Client
	root, token string
}

func newCaller(s *pve.Server) *caller {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CAPEM)
	return &caller{
		root: s.URL + "/api2/json", token: "PVEAPIToken=" + s.TokenID + "=" + s.TokenSecret,
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
			// The certificate is for the addresses that a simulated site has by itself.
			TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
		}},
	}
}

// call makes one request; the answer's data goes to out.
func (c *caller) call(method, path string, params url.Values, out any) error {
	target, body := c.root+path, io.Reader(nil)
	if method == "GET" || method == "DELETE" {
		target += "?" + params.Encode()
	} else {
		body = strings.NewReader(params.Encode())
	}
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", c.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, text)
	}
	answer := struct{ Data any }{out}
	return json.Unmarshal(text, &answer)
}

// task makes a request that starts a task, and waits for its end.
func (c *caller) task(method, path string, params url.Values) error {
	var upid string
	if err := c.call(method, path, params, &upid); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(tick) {
		var state struct{ Status, ExitStatus string }
		if err := c.call("GET", "/nodes/phoenix/tasks/"+upid+"/status", nil, &state); err != nil {
			return err
		}
		if state.Status != "stopped" {
			continue
		}
		if state.ExitStatus != "OK" {
			return fmt.Errorf("%s %s: the task ended with %s", method, path, state.ExitStatus)
		}
		return nil
	}
	return fmt.Errorf("%s %s: the task did not end within %s", method, path, patience)
}
