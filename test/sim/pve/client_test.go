// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	proxmox "github.com/luthermonson/go-proxmox"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

const template = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"

// start serves a site for the length of a test.
func start(t *testing.T, opts pve.Options) *pve.Server {
	t.Helper()
	s, err := pve.Start(t.Context(), opts)
	if err != nil {
		t.Fatalf("start the simulator: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// client trusts the site's authority and nothing else.
func client(t *testing.T, s *pve.Server) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.CAPEM) {
		t.Fatal("read the authority's certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// answer is a response, read.
type answer struct {
	status string // "400 Parameter verification failed."
	body   string
	data   any
}

// asker sends requests with one credential.
type asker struct {
	t      *testing.T
	s      *pve.Server
	http   *http.Client
	header http.Header
}

func asToken(t *testing.T, s *pve.Server, id, secret string) *asker {
	t.Helper()
	header := http.Header{}
	if id != "" {
		header.Set("Authorization", "PVEAPIToken="+id+"="+secret)
	}
	return &asker{t: t, s: s, http: client(t, s), header: header}
}

func asRootToken(t *testing.T, s *pve.Server) *asker {
	t.Helper()
	return asToken(t, s, s.TokenID, s.TokenSecret)
}

// ask sends "VERB /path", with parameters as key=value.
func (a *asker) ask(request string, params ...string) answer {
	a.t.Helper()
	got, err := a.try(request, params...)
	if err != nil {
		a.t.Fatalf("%s: %v", request, err)
	}
	return got
}

func (a *asker) try(request string, params ...string) (answer, error) {
	verb, path, _ := strings.Cut(request, " ")
	values := url.Values{}
	for _, p := range params {
		key, value, _ := strings.Cut(p, "=")
		values.Add(key, value)
	}
	address, kind := a.s.URL+"/api2/json"+path, ""
	var body io.Reader
	if len(values) > 0 && (verb == http.MethodGet || verb == http.MethodDelete) {
		address += "?" + values.Encode()
	} else if len(values) > 0 {
		body, kind = strings.NewReader(values.Encode()), "application/x-www-form-urlencoded"
	}
	return a.raw(verb, address, kind, body)
}

func (a *asker) raw(verb, address, kind string, body io.Reader) (answer, error) {
	req, err := http.NewRequestWithContext(context.Background(), verb, address, body)
	if err != nil {
		return answer{}, err
	}
	req.Header = a.header.Clone()
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	got := answer{status: resp.Status, body: string(text)}
	var doc struct {
		Data any `json:"data"`
	}
	if json.Unmarshal(bytes.TrimSpace(text), &doc) == nil {
		got.data = doc.Data
	}
	return got, nil
}

// task sends a request that starts a task and waits for the task's end.
func (a *asker) task(request string, params ...string) (exit string) {
	a.t.Helper()
	got := a.ask(request, params...)
	upid, ok := got.data.(string)
	if !ok || !strings.HasPrefix(upid, "UPID:") {
		a.t.Fatalf("%s: no task: %s %s", request, got.status, got.body)
	}
	return a.wait(upid)
}

func (a *asker) wait(upid string) (exit string) {
	a.t.Helper()
	node := strings.Split(upid, ":")[1]
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		got := a.ask("GET /nodes/" + node + "/tasks/" + upid + "/status")
		row, ok := got.data.(map[string]any)
		if !ok {
			a.t.Fatalf("status of %s: %s %s", upid, got.status, got.body)
		}
		if row["status"] == "stopped" {
			exit, _ = row["exitstatus"].(string)
			return exit
		}
		<-ticker.C
	}
}

func (a *asker) mustTask(request string, params ...string) {
	a.t.Helper()
	if exit := a.task(request, params...); exit != "OK" {
		a.t.Fatalf("%s: the task ended with %q", request, exit)
	}
}

// config reads a guest's configuration.
func (a *asker) config(path string, params ...string) map[string]any {
	a.t.Helper()
	got := a.ask("GET "+path+"/config", params...)
	config, ok := got.data.(map[string]any)
	if !ok {
		a.t.Fatalf("config of %s: %s %s", path, got.status, got.body)
	}
	return config
}

func TestStrangersClient(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true})
	ctx := t.Context()
	c := proxmox.NewClient(s.URL+"/api2/json", proxmox.WithHTTPClient(client(t, s)), proxmox.WithAPIToken(s.TokenID, s.TokenSecret))
	proxmox.DefaultWaitInterval = 5 * time.Millisecond

	v, err := c.Version(ctx)
	if err != nil || v.Release != "9.2" {
		t.Fatalf("version: %+v, %v", v, err)
	}
	node, err := c.Node(ctx, "phoenix")
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	task, err := node.NewContainer(ctx, 101,
		proxmox.ContainerOption{Name: "ostemplate", Value: template},
		proxmox.ContainerOption{Name: "hostname", Value: "nginx"},
		proxmox.ContainerOption{Name: "rootfs", Value: "local-lvm:4"},
		proxmox.ContainerOption{Name: "net0", Value: "name=eth0,bridge=vmbr0,ip=10.0.0.153/24,gw=10.0.0.1"},
		proxmox.ContainerOption{Name: "unprivileged", Value: 1})
	finish(t, task, err)
	ct, err := node.Container(ctx, 101)
	if err != nil {
		t.Fatalf("container: %v", err)
	}
	if ct.Name != "nginx" || ct.Status != "stopped" {
		t.Errorf("container: name %q status %q, want nginx, stopped", ct.Name, ct.Status)
	}
	task, err = ct.Start(ctx)
	finish(t, task, err)
	list, err := node.Containers(ctx)
	if err != nil || len(list) != 1 || list[0].Status != "running" {
		t.Fatalf("list containers: %+v, %v", list, err)
	}
	vm, err := node.VirtualMachine(ctx, 9000)
	if err != nil {
		t.Fatalf("template: %v", err)
	}
	newid, task, err := vm.Clone(ctx, &proxmox.VirtualMachineCloneOptions{NewID: 1001, Name: "portainer", Full: true})
	finish(t, task, err)
	if newid != 1001 {
		t.Errorf("clone: id %d, want 1001", newid)
	}
	cluster, err := c.Cluster(ctx)
	if err != nil {
		t.Fatalf("cluster: %v", err)
	}
	s.StatusRound()
	resources, err := cluster.Resources(ctx, "vm")
	if err != nil || len(resources) != 3 || resources[0].Name != "nginx" || resources[0].Status != "running" {
		t.Fatalf("resources: %+v, %v", resources, err)
	}
	copied, err := node.VirtualMachine(ctx, 1001)
	if err != nil || copied.VirtualMachineConfig.Name != "portainer" || copied.VirtualMachineConfig.SCSIs["scsi0"] != "local-lvm:vm-1001-disk-0,size=2G" {
		t.Fatalf("the clone: %+v, %v", copied, err)
	}
	task, err = ct.Stop(ctx)
	finish(t, task, err)
	task, err = ct.Delete(ctx, nil)
	finish(t, task, err)
	if _, there := s.Guest(101); there {
		t.Error("container 101 is there after its deletion")
	}
}

func finish(t *testing.T, task *proxmox.Task, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("start a task: %v", err)
	}
	if err := task.Wait(t.Context(), 5*time.Millisecond, 30*time.Second); err != nil {
		t.Fatalf("wait for %s: %v", task.UPID, err)
	}
	if task.ExitStatus != "OK" {
		t.Fatalf("%s ended with %q", task.UPID, task.ExitStatus)
	}
}
