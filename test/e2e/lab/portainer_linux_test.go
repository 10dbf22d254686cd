// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/lab"
)

// deployByPortainer runs the images of a Portainer server and its agent on a machine's engine, and has the server deploy a stack
// through the agent.
func deployByPortainer(t *testing.T, vmid int, address string, who lab.Image) {
	t.Helper()
	const run = "docker run -d --restart always -v /var/run/docker.sock:/var/run/docker.sock "
	inside(t, vmid, "sh", "-c", run+"-p 9000:9000 -v /var/lib/portainer:/data -e AGENT_SECRET=known-to-both "+lab.PortainerImage+" && "+
		run+"-p 9001:9001 -v /var/lib/docker/volumes:/var/lib/docker/volumes -e AGENT_SECRET=known-to-both "+lab.AgentImage)
	p := &portainerCaller{url: "http://" + address + ":9000/api"}
	var status struct{ Version string }
	until(t, "the Portainer server answers", func() error { return p.call(t.Context(), "GET", "/system/status", nil, &status) })
	if status.Version != "2.23.0" {
		t.Errorf("the server is %+v", status)
	}
	admin := map[string]string{"Username": "admin", "Password": "long enough for it"}
	var session struct{ JWT string }
	err := errors.Join(p.call(t.Context(), "POST", "/users/admin/init", admin, nil), p.call(t.Context(), "POST", "/auth", admin, &session))
	if err != nil {
		t.Fatal(err)
	}
	p.token = session.JWT
	var environment struct{ ID int }
	until(t, "the server accepts the agent", func() error {
		return p.form(t.Context(), "/endpoints", map[string]string{
			"Name": "box", "EndpointCreationType": "2", "URL": "tcp://" + address + ":9001", "TLS": "true", "TLSSkipVerify": "true", "TLSSkipClientVerify": "true",
		}, &environment)
	})
	err = p.call(t.Context(), "POST", fmt.Sprintf("/stacks/create/standalone/string?endpointId=%d", environment.ID), map[string]any{
		"name": "b", "stackFileContent": "services:\n  web:\n    image: " + who.Name + "\n    ports: ['8082:80']\n    environment: {WHOAMI_NAME: '${NAME}'}\n" +
			"    healthcheck: {test: [CMD, /whoami, -check], interval: 1s}\n    restart: always\n",
		"env": []map[string]string{{"name": "NAME", "value": "from-portainer"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

// portainerCaller calls a Portainer server's API.
type portainerCaller struct{ url, token string }

func (p *portainerCaller) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return p.send(ctx, method, path, "application/json", body, out)
}

func (p *portainerCaller) form(ctx context.Context, path string, fields map[string]string, out any) error {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	var err error
	for name, value := range fields {
		err = errors.Join(err, w.WriteField(name, value))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return p.send(ctx, "POST", path, w.FormDataContentType(), body.Bytes(), out)
}

func (p *portainerCaller) send(ctx context.Context, method, path, kind string, body []byte, out any) error {
	q, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", kind)
	if p.token != "" {
		q.Header.Set("Authorization", "Bearer "+p.token)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, strings.TrimSpace(string(text)))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
